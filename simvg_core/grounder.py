"""The face for users: frames as arrays and words in, boxes in pixels out."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simvg_core import asking
from simvg_core.answers import Grounding, groundings
from simvg_core.asked_words import AskedWords
from simvg_core.calibration import calibrated
from simvg_core.composing import changed
from simvg_core.configuration import SimVGConfig
from simvg_core.denormals import flushed
from simvg_core.device_frames import DeviceFrames
from simvg_core.errors import ConfigurationError
from simvg_core.execution import Execution
from simvg_core.fingerprint import fingerprint_of_folder
from simvg_core.model import SimVGForGrounding, SimVGOutput
from simvg_core.processing import SimVGProcessor
from simvg_core.quality import frame_problem
from simvg_core.questions import Question, answer_all, check_frames, together
from simvg_core.standing import CompiledTexts, StandingQueries
from simvg_core.words import places

# Pairs of frame and text that a joint model runs at once; a standing model batches frames only.
_JOINT_PAIRS = 8


_Ready = StandingQueries | tuple[Tensor, Tensor]


class CompiledQueries:
    """Texts made ready for many frames; `add` and `remove` change the set without recompiling the rest.

    Changes are atomic for `Grounder.ground` calls in other threads. To compile beside the hot path and swap, change a
    `copy`.
    """

    def __init__(self, grounder: Grounder, texts: Sequence[str]) -> None:
        self._grounder = grounder
        self._lock = threading.Lock()
        self._state: tuple[tuple[str, ...], _Ready]
        self._state = (tuple(texts), grounder._prepare(texts))

    def __len__(self) -> int:
        return len(self._state[0])

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, in the order of the answers."""
        return self._state[0]

    @property
    def num_bytes(self) -> int:
        """Memory of what is compiled, bytes."""
        ready = self._state[1]
        if isinstance(ready, StandingQueries):
            return ready.num_bytes
        return sum(part.numel() * part.element_size() for part in ready)

    def copy(self) -> CompiledQueries:
        """The same texts, independent of later changes here; nothing is compiled again."""
        twin = object.__new__(CompiledQueries)
        twin._grounder, twin._lock, twin._state = self._grounder, threading.Lock(), self._state
        return twin

    def add(self, texts: str | Sequence[str]) -> CompiledQueries:
        """Compiles and appends texts; returns self. Raises TextError and then changes nothing."""
        new = [texts] if isinstance(texts, str) else list(texts)
        with self._lock:
            names, ready = self._state
            self._state = (*names, *new), self._grounder._changed(ready, names, (*names, *new))
        return self

    def remove(self, texts: str | int | Iterable[str | int]) -> CompiledQueries:
        """Removes texts by name or place; returns self.

        Raises:
            QueryIndexError: there is no such text or place.
        """
        with self._lock:
            names, ready = self._state
            gone = places(texts, names)
            left = tuple(name for index, name in enumerate(names) if index not in gone)
            self._state = left, self._grounder._changed(ready, names, left)
        return self


class Grounder:
    """A model with its processor, on one device."""

    def __init__(
        self,
        model: SimVGForGrounding,
        processor: SimVGProcessor,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        max_batch: int = 8,
        check_quality: bool = True,
        fingerprint: str | None = None,
        gate: bool = True,
        execution: Execution | None = None,
    ) -> None:
        """Args:
        dtype: "float32", or "bfloat16", about twice as fast where the processor has it: on a CPU matrix products alone,
            on a GPU weights and all between them as well (`Execution.cast_weights`).
        max_batch: frames that run at once.
        check_quality: answer "unknown" for frames that `frame_problem` names.
        gate: with many queries, ask only those that the model's calibrated gate lets pass (`SimVGConfig.gate_queries`,
            `gate_floors`; nothing changes for a model without one).
        execution: more choices of how the model runs, instead of `dtype`.

        Raises:
            ConfigurationError: a number format that is not offered, or a max_batch under 1.
        """
        self.execution = execution or Execution(dtype=dtype)
        if max_batch < 1:
            raise ConfigurationError(f"max_batch={max_batch} must be at least 1.")
        self.processor = processor
        self._asked_words = AskedWords(processor.text.words, processor.config.composed_answers)
        self.device = torch.device(device)
        on_device = self.execution.resizes_on(self.device)
        self._device_frames = DeviceFrames(processor.config, self.device) if on_device else None
        self.model_fingerprint = fingerprint or _fingerprint_of_weights(model)
        self.model = model
        self.execution.prepare(model, self.device)
        self.dtype, self.max_batch, self.check_quality = self.execution.dtype, max_batch, check_quality
        self.gate = gate

    @classmethod
    def from_pretrained(cls, folder: str | Path, **settings: Any) -> Grounder:
        """From a model folder (config.json, model.safetensors, tokenizer); `settings` as in the constructor.

        Raises:
            CheckpointError: the folder, its weights or its tokenizer is missing or broken.
            ConfigurationError: settings that contradict each other.
        """
        folder = Path(folder)
        processor = SimVGProcessor.from_pretrained(folder)
        model = SimVGForGrounding.from_pretrained(folder)
        settings.setdefault("fingerprint", fingerprint_of_folder(folder))
        return cls(model, processor, **settings)

    @property
    def config(self) -> SimVGConfig:
        """Settings of the model."""
        config: SimVGConfig = self.model.config
        return config

    @property
    def gate_texts(self) -> int | None:
        """From how many texts on the gate looks first which of them a frame is asked; None: it has none."""
        return self.config.gate_queries if self.gate and self.config.gate_floors else None

    @property
    def averages_to(self) -> int | None:
        """Side of the square that frames are averaged down to on the processor, pixels: halving them before changes
        nothing as long as they stay larger. None: they are made smaller in another way."""
        halves = self.config.resize == "area" and self._device_frames is None
        return self.config.image_size if halves else None

    @property
    def composes(self) -> bool:
        """Whether texts are asked in parts (`SimVGConfig.composed_answers`)."""
        return self.config.composed_answers

    def compile(self, texts: Sequence[str]) -> CompiledQueries:
        """Makes texts ready for many frames. Raises TextError for one the model cannot read."""
        return CompiledQueries(self, texts)

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
        texts: Sequence[str] | CompiledQueries,
        thresholds: float | Sequence[float] | None = None,
        floors: float | Sequence[float] | None = None,
    ) -> Question:
        """What `ground_each` asks of a frame; arguments and errors as of `ground`."""
        queries = texts if isinstance(texts, CompiledQueries) else self.compile(texts)
        names, ready = queries._state
        standing = isinstance(ready, StandingQueries)
        gated = self.gate and standing
        return Question.of(names, ready, self.config, thresholds, floors, gated=gated, complaint=self.complaint)

    def ground(
        self,
        frames_bgr: Sequence[Any],
        texts: Sequence[str] | CompiledQueries,
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

    def _run(self, frames: list[Any], questions: list[Question]) -> list[list[Grounding]]:
        if self._device_frames is None:
            pixels = self.processor.frames(frames).pixel_values.to(self.device)
        else:
            pixels = self._device_frames(frames)
        found: dict[int, list[Grounding]] = {}
        with torch.inference_mode(), self._precision(), flushed():
            standing = isinstance(questions[0].ready, StandingQueries)
            seen = asking.see(self.model, pixels) if standing else None
            for question, rows in together(questions):
                matter = None
                if seen is None:
                    outputs = self._run_joint(pixels[rows], *question.ready)
                else:
                    asked = self._ask(seen if len(rows) == len(frames) else seen.rows(rows), question)
                    outputs = SimVGOutput(token_logits=asked.logits, token_boxes=asked.boxes)
                    matter = self._matter(asked, question)
                sizes = [frames[place].shape[:2] for place in rows]
                # One frame that the model cannot put into numbers must not take the others with it.
                answers = self.processor.post_process_grounding(
                    outputs, sizes, question.thresholds, most=question.most, plan=question.plan, check=False
                )
                found |= dict(zip(rows, groundings(answers, matter, self.config.gate_score), strict=True))
        return [found[place] for place in range(len(frames))]

    def _ask(self, seen: asking.SeenFrames, question: Question) -> asking.Asked:
        texts: CompiledTexts = question.ready.texts
        if question.plan is not None:
            return asking.ask_plan(self.model, texts, seen, question.plan, question.gate)
        if question.gate is None:
            return asking.ask(self.model, texts, seen)
        return asking.ask_warm(self.model, texts, seen, torch.tensor(question.gate, device=self.device))

    def _matter(self, asked: asking.Asked, question: Question) -> NDArray[np.bool_] | None:
        """Which texts may score what matters in each frame, (B, N); None: there was no gate."""
        plan, floors = question.plan, question.floors
        if asked.warm is None or plan is None or floors is None:
            return None if asked.warm is None else asked.warm.cpu().numpy()
        scores = calibrated(asked.logits, self.config).float().cpu().numpy()
        places = (row.nonzero()[0] for row in asked.warm.cpu().numpy())
        return np.stack([plan.matter(own[kept], kept, floors) for own, kept in zip(scores, places, strict=True)])

    def _run_joint(self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor) -> SimVGOutput:
        frames, count = len(pixels), len(input_ids)
        logits, boxes = [], []
        pairs = [(frame, text) for frame in range(frames) for text in range(count)]
        for start in range(0, len(pairs), _JOINT_PAIRS):
            index = torch.tensor(pairs[start : start + _JOINT_PAIRS], device=self.device)
            ids, mask = input_ids[index[:, 1]], attention_mask[index[:, 1]]
            out = self.model(pixels, ids, mask, image_index=index[:, 0], branches=(self.config.answer_branch,))
            logits.append(out.token_logits if out.decoder_logits is None else out.decoder_logits[-1])
            boxes.append(out.token_boxes if out.decoder_boxes is None else out.decoder_boxes[-1])
        joined = [torch.cat(parts).unflatten(0, (frames, count)) for parts in (logits, boxes)]
        if self.config.answer_branch == "decoder":
            return SimVGOutput(decoder_logits=joined[0][None], decoder_boxes=joined[1][None])
        return SimVGOutput(token_logits=joined[0], token_boxes=joined[1])

    def _changed(self, ready: _Ready, before: Sequence[str], after: Sequence[str]) -> _Ready:
        """What was compiled for the texts before, for those after: only rows that are new are compiled."""
        missing, kept = changed(self._asked_words.rows(before), self._asked_words.rows(after))
        more = self.compile_rows(missing) if missing else None
        if isinstance(ready, StandingQueries):
            ready = ready.copy()
            if isinstance(more, StandingQueries):
                ready.add(more)
            return ready if kept == list(range(len(ready))) else ready.keep(kept)
        if isinstance(more, tuple):
            ready = torch.cat([ready[0], more[0]]), torch.cat([ready[1], more[1]])
        return ready[0][kept], ready[1][kept]

    def _prepare(self, texts: Sequence[str]) -> _Ready:
        return self.compile_rows(self._asked_words.rows(texts))

    def compile_rows(self, rows: Sequence[str]) -> _Ready:
        """Texts as the network reads them, none in parts: what a gate or a bias is taught on. Raises TextError."""
        batch = self.processor.texts(rows)
        ids, mask = batch.input_ids.to(self.device), batch.attention_mask.to(self.device)
        if self.config.attention != "standing":
            return ids, mask
        with torch.inference_mode(), self._precision():
            compiled: StandingQueries = self.model.compile_queries(ids, mask)
        return compiled

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return self.execution.precision(self.device)


def _fingerprint_of_weights(model: SimVGForGrounding) -> str:
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


__all__ = ["CompiledQueries", "CompiledTexts", "Grounder", "Grounding"]
