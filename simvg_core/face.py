"""What users call, whatever runs the model: texts made ready once and changed one by one, frames asked about them.

NumPy only: `simvg_core.grounder.Grounder` is the face with torch, `simvg_core.edge.EdgeGrounder` the one without.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from simvg_core.answers import Grounding
from simvg_core.asked_words import AskedWords
from simvg_core.composing import changed
from simvg_core.derived import Cells
from simvg_core.errors import ConfigurationError
from simvg_core.images import Frame
from simvg_core.quality import frame_problem
from simvg_core.questions import AnswerSettings, Question, answer_all, check_frames, check_texts
from simvg_core.words import WordPacker, places

Ready = TypeVar("Ready")
"""What an engine has compiled of texts."""


class CompiledQueries(Generic[Ready]):
    """Texts made ready for many frames; `add` and `remove` change the set without recompiling the rest.

    Changes are atomic for `Face.ground` calls in other threads. To compile beside the hot path and swap, change a
    `copy`.
    """

    def __init__(self, face: Face[Ready], texts: tuple[str, ...], ready: Ready) -> None:
        self._face = face
        self._lock = threading.Lock()
        self._state = (texts, ready)

    def __len__(self) -> int:
        return len(self._state[0])

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, in the order of the answers."""
        return self._state[0]

    @property
    def num_bytes(self) -> int:
        """Memory of what is compiled, bytes."""
        return self._face.bytes_of(self._state[1])

    def copy(self) -> CompiledQueries[Ready]:
        """The same texts, independent of later changes here; nothing is compiled again."""
        return CompiledQueries(self._face, *self._state)

    def add(self, texts: str | Sequence[str]) -> CompiledQueries[Ready]:
        """Compiles and appends texts; returns self. Raises TextError and then changes nothing."""
        new = [texts] if isinstance(texts, str) else list(texts)
        with self._lock:
            names = self._state[0]
            self._change((*names, *new))
        return self

    def remove(self, texts: str | int | Iterable[str | int]) -> CompiledQueries[Ready]:
        """Removes texts by name or place; returns self.

        Raises:
            QueryIndexError: there is no such text or place.
        """
        with self._lock:
            names = self._state[0]
            gone = places(texts, names)
            self._change(tuple(name for place, name in enumerate(names) if place not in gone))
        return self

    def _change(self, after: tuple[str, ...]) -> None:
        before, ready = self._state
        self._state = after, self._face.changed(ready, before, after)


class Face(ABC, Generic[Ready]):
    """A model that is asked about frames. `ground` may be called from several threads.

    Args:
        words: how the model reads texts.
        composed: how it is asked them in parts (`SimVGConfig.composing`), if it is.
        max_batch: frames per pass.
        check_quality: answer "unknown" for frames that `frame_problem` names.
        gate: with many queries, ask only those that the model's calibrated gate lets pass (`SimVGConfig.gate_queries`,
            `gate_floors`; nothing changes for a model without one).

    Attributes:
        model_fingerprint: names the weights, and whatever else gives other answers.

    Raises:
        ConfigurationError: a max_batch under 1.
    """

    model_fingerprint: str

    def __init__(
        self, words: WordPacker, composed: Cells | None, max_batch: int, check_quality: bool, gate: bool
    ) -> None:
        if max_batch < 1:
            raise ConfigurationError(f"max_batch={max_batch} must be at least 1.")
        self._asked_words = AskedWords(words, composed)
        self.max_batch, self.check_quality, self.gate = max_batch, check_quality, gate

    # -- what an engine does in its own way --------------------------------------------------------------------

    @property
    @abstractmethod
    def config(self) -> AnswerSettings:
        """Settings of the model."""

    @property
    @abstractmethod
    def averages_to(self) -> int | None:
        """Side of the square that frames are averaged down to on the processor, pixels: halving them before changes
        nothing as long as they stay larger. None: they are made smaller in another way."""

    @abstractmethod
    def compile_rows(self, rows: Sequence[str]) -> Ready:
        """Texts as the network reads them, none in parts: what a gate or a bias is taught on. Raises TextError."""

    @abstractmethod
    def bytes_of(self, ready: Ready) -> int:
        """Memory of compiled texts, bytes."""

    @abstractmethod
    def _selected(self, ready: Ready, more: Ready | None, kept: list[int]) -> Ready:
        """The rows at the places ``kept`` of those that were ready and ``more`` after them."""

    @abstractmethod
    def _run(self, frames: list[Frame], questions: list[Question]) -> list[list[Grounding]]:
        """Answers for frames that can be judged, at most `max_batch` of them."""

    # -- what all do alike -------------------------------------------------------------------------------------

    @property
    def composing(self) -> Cells | None:
        """Of a model that is asked texts in parts, the kinds whose states its cells tell; None: of any other."""
        return self.config.composing

    @property
    def gate_texts(self) -> int | None:
        """From how many texts on the gate looks first which of them a frame is asked; None: it has none."""
        return self.config.gate_queries if self.gate and self.config.gate_floors else None

    def compile(self, texts: Sequence[str]) -> CompiledQueries[Ready]:
        """Makes texts ready for many frames. Raises TextError for one the model cannot read."""
        names = tuple(check_texts(texts))
        return CompiledQueries(self, names, self.compile_rows(self._asked_words.rows(names)))

    def changed(self, ready: Ready, before: Sequence[str], after: Sequence[str]) -> Ready:
        """What was compiled for the texts before, for those after: only rows that are new are compiled."""
        missing, kept = changed(self._asked_words.rows(before), self._asked_words.rows(after))
        return self._selected(ready, self.compile_rows(missing) if missing else None, kept)

    def unknown_words(self, text: str) -> list[str]:
        """Words of a text that the model has never learned: its answer means nothing."""
        return self._asked_words.unknown(text)

    def complaint(self, text: str) -> str | None:
        """Why a text should not be asked, in words: the model does not know some of its words; None if it does."""
        return self._asked_words.complaint(text)

    def cut_words(self, text: str) -> str:
        """The words of a text that are too many for the model, "" if none. Raises TextError."""
        return self._asked_words.cut(text)

    def question(
        self,
        texts: Sequence[str] | CompiledQueries[Ready],
        thresholds: float | Sequence[float] | None = None,
        floors: float | Sequence[float] | None = None,
    ) -> Question:
        """What `ground_each` asks of a frame; arguments and errors as of `ground`."""
        queries = texts if isinstance(texts, CompiledQueries) else self.compile(texts)
        names, ready = queries._state
        gated, complaint = self.gate, self.complaint
        return Question.of(names, ready, self.config, thresholds, floors, gated=gated, complaint=complaint)

    def ground(
        self,
        frames_bgr: Sequence[Any],
        texts: Sequence[str] | CompiledQueries[Ready],
        thresholds: float | Sequence[float] | None = None,
        floors: float | Sequence[float] | None = None,
    ) -> list[list[Grounding]]:
        """Looks for every text in every frame.

        Args:
            frames_bgr: (H, W, 3) uint8 BGR arrays of any sizes; greyscale, alpha and 16 bit are converted (`as_bgr`).
            texts: words, or what `compile` made of them.
            thresholds: lowest score that counts as present, one for all or one per text; None = the model's own.
            floors: lowest score that makes a difference to the caller, likewise: a gate answers for texts that it
                trusts to stay below. None = the thresholds.

        Returns:
            [frame][text], in the given orders; boxes are corners in pixels of the frame as it was given. A text with
            words that the model never learned is unknown.

        Raises:
            ImageError: something that is no frame. TextError: a text the model cannot read. InputError: thresholds or
                floors outside 0 … 1, or not one per text.
        """
        check_frames(frames_bgr)
        return self.ground_each(frames_bgr, [self.question(texts, thresholds, floors)] * len(frames_bgr))

    def ground_each(self, frames_bgr: Sequence[Any], questions: Sequence[Question]) -> list[list[Grounding]]:
        """Looks in each frame for its own texts; all go through the frame pass together.

        Returns:
            [frame][text of its question]; as `ground`.

        Raises:
            ImageError: something that is no frame. InputError: not one question per frame.
        """
        problem_of = frame_problem if self.check_quality else None
        return answer_all(frames_bgr, questions, self._run, problem_of=problem_of, max_batch=self.max_batch)
