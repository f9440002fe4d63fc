"""The face for users without torch: the same calls and the same answers as `simvg_core.grounder.Grounder`."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simvg_core.answers import ABSENT, Grounding, assemble, groundings
from simvg_core.asked_words import AskedWords
from simvg_core.composing import Plan, changed
from simvg_core.edge.graphs import (
    CARD,
    FOLDER,
    FRAME,
    INT8,
    TEXT,
    Arrays,
    Graph,
    Precision,
    Runtime,
    load_graph,
)
from simvg_core.edge.passes import Answered, Passes
from simvg_core.edge.queries import EdgeTexts, Floats
from simvg_core.edge.settings import EdgeConfig
from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.fingerprint import fingerprint_of_folder
from simvg_core.images import Frame
from simvg_core.quality import frame_problem
from simvg_core.questions import Question, answer_all, check_frames, check_texts, together
from simvg_core.words import PAD, TEXTS_AT_ONCE, WordPacker, places, read_fast_pieces


class EdgeQueries:
    """Texts made ready for many frames; the face of `simvg_core.grounder.CompiledQueries`."""

    def __init__(self, grounder: EdgeGrounder, names: tuple[str, ...], texts: EdgeTexts | None) -> None:
        self._grounder = grounder
        self._lock = threading.Lock()
        self._state = (names, texts)

    def __len__(self) -> int:
        return len(self._state[0])

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, in the order of the answers."""
        return self._state[0]

    @property
    def num_bytes(self) -> int:
        """Memory of what is compiled, bytes."""
        texts = self._state[1]
        return 0 if texts is None else texts.num_bytes

    def copy(self) -> EdgeQueries:
        """The same texts, independent of later changes here; nothing is compiled again."""
        return EdgeQueries(self._grounder, *self._state)

    def add(self, texts: str | Sequence[str]) -> EdgeQueries:
        """Compiles and appends texts; returns self. Raises TextError and then changes nothing."""
        new = [texts] if isinstance(texts, str) else list(texts)
        with self._lock:
            names, ready = self._state
            self._state = (*names, *new), self._grounder._changed(ready, names, (*names, *new))
        return self

    def remove(self, texts: str | int | Iterable[str | int]) -> EdgeQueries:
        """Removes texts by name or place; returns self. Raises QueryIndexError: there is no such text or place."""
        with self._lock:
            names, ready = self._state
            gone = places(texts, names)
            left = tuple(name for place, name in enumerate(names) if place not in gone)
            self._state = left, self._grounder._changed(ready, names, left)
        return self


class EdgeGrounder:
    """An exported model. `ground` may be called from several threads.

    Args:
        folder: a model folder that `simvg export` has written graphs into.
        runtime: what runs the frame pass, "onnxruntime" or "openvino".
        precision: "float32"; in OpenVINO also "bfloat16", of the frame pass: near half the time on a processor that
            multiplies matrices of bfloat16; in ONNX Runtime also "int8", of the weights of products in the frame pass:
            three quarters of its time (docs/benchmarks/int8.md). Scores differ a little with both.
        threads: of the runtime; None = its own choice.
        max_batch: frames per pass.
        check_quality: say "unknown" of frames that cannot be judged (`quality.frame_problem`).
        gate: as of `Grounder`: with many queries, ask only those that the model's calibrated gate lets pass.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        runtime: Runtime = "onnxruntime",
        precision: Precision = "float32",
        threads: int | None = None,
        max_batch: int = 8,
        check_quality: bool = True,
        gate: bool = True,
    ) -> None:
        if max_batch < 1:
            raise ConfigurationError(f"max_batch={max_batch} must be at least 1.")
        folder = Path(folder)
        self.config = EdgeConfig.read(folder)
        self.words = WordPacker(read_fast_pieces(folder), self.config.max_text_tokens, self.config.text_overflow)
        self._asked_words = AskedWords(self.words, self.config.composed_answers)
        self._text: Graph = load_graph(folder, TEXT, "onnxruntime", threads)
        self._gated = gate and len(self.config.gate_floors) > 0
        self._threads = threads or len(os.sched_getaffinity(0))
        frame_graph = partial(load_graph, folder, FRAME, runtime, precision=precision)
        self._together = Passes.load(folder, self.config, threads, frame_graph(threads))
        # A pass of one frame on one thread fits a core's cache and waits for no other: as many of them side by side as
        # there are threads answer more frames per second than all threads on one pass do, or one on a pass of several.
        self._alone = self._together
        if self._threads > 1:
            self._alone = Passes.load(folder, self.config, 1, frame_graph(1, at_once=self._threads))
        self._crew = ThreadPoolExecutor(self._threads, thread_name_prefix="pass")
        self.max_batch, self.check_quality = max_batch, check_quality
        self._rounded = precision == INT8
        self.model_fingerprint = _fingerprint(folder) + (f"-{INT8}" if self._rounded else "")

    @property
    def side_by_side(self) -> bool:
        """Whether frames go through passes of one thread each: two calls of :meth:`ground` at once then leave none
        idle."""
        return self._threads > 1

    @property
    def gate_texts(self) -> int | None:
        """As of `Grounder`."""
        return self.config.gate_queries if self._gated else None

    @property
    def averages_to(self) -> int | None:
        """As of `Grounder`."""
        return self.config.image_size if self.config.resize == "area" else None

    @property
    def composes(self) -> bool:
        """Whether texts are asked in parts (`SimVGConfig.composed_answers`)."""
        return self.config.composed_answers

    def compile(self, texts: Sequence[str]) -> EdgeQueries:
        """Makes texts ready for many frames. Raises TextError for one the model cannot read."""
        names = check_texts(texts)
        return EdgeQueries(self, tuple(names), self._prepare(names))

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
        texts: Sequence[str] | EdgeQueries,
        thresholds: float | Sequence[float] | None = None,
        floors: float | Sequence[float] | None = None,
    ) -> Question:
        """What `ground_each` asks of a frame; arguments and errors as of `Grounder.question`."""
        queries = texts if isinstance(texts, EdgeQueries) else self.compile(texts)
        names, ready = queries._state
        gated, complaint = self._gated, self.complaint
        return Question.of(names, ready, self.config, thresholds, floors, gated=gated, complaint=complaint)

    def ground(
        self,
        frames_bgr: Sequence[Any],
        texts: Sequence[str] | EdgeQueries,
        thresholds: float | Sequence[float] | None = None,
        floors: float | Sequence[float] | None = None,
    ) -> list[list[Grounding]]:
        """Looks for every text in every frame; arguments, results and errors as `Grounder.ground`."""
        check_frames(frames_bgr)
        return self.ground_each(frames_bgr, [self.question(texts, thresholds, floors)] * len(frames_bgr))

    def ground_each(self, frames_bgr: Sequence[Any], questions: Sequence[Question]) -> list[list[Grounding]]:
        """Looks in each frame for its own texts; as `Grounder.ground_each`."""
        problem_of = frame_problem if self.check_quality else None
        return answer_all(frames_bgr, questions, self._run, problem_of=problem_of, max_batch=self.max_batch)

    def encode_frames(self, frames_bgr: Sequence[Frame]) -> Arrays:
        """The frame pass alone: outputs of the frame graph by name."""
        return self._together.encode(list(frames_bgr))

    def _run(self, frames: list[Frame], questions: list[Question]) -> list[list[Grounding]]:
        apart = len(frames) - len(frames) % self._threads
        pairs = zip(frames[:apart], questions[:apart], strict=True)
        # not in another thread where there is but one: it may run on another core, whose caches know nothing
        run = map if self._threads == 1 else self._crew.map
        parts: list[Answered] = list(run(lambda pair: self._alone.answers([pair[0]], [pair[1]])[0], pairs))
        left = len(frames) - len(parts)
        # in integers each frame is scaled by itself: what is seen on one must not depend on the others
        size = 1 if self._rounded else max(1, left)
        for start in range(len(parts), len(frames), size):
            parts += self._together.answers(frames[start : start + size], questions[start : start + size])
        found: dict[int, list[Grounding]] = {}
        for question, rows in together(questions):
            if parts[rows[0]].asked is None:
                scores = np.stack([parts[place].scores for place in rows])
                boxes = np.stack([parts[place].boxes for place in rows])
                sizes = [frames[place].shape[:2] for place in rows]
                floor = question.thresholds[None, :, None]
                if question.plan is not None:
                    scores, boxes = question.plan.compose(scores, boxes, self.config.nms_iou)
                answers = assemble(scores, boxes, sizes, floor, self.config.nms_iou, question.most)
                found |= dict(zip(rows, groundings(answers, None, 0.0), strict=True))
            else:
                found |= {place: self._warm(parts[place], question, frames[place].shape[:2]) for place in rows}
        return [found[place] for place in range(len(frames))]

    def _warm(self, part: Answered, question: Question, size: tuple[int, int]) -> list[Grounding]:
        """Of a frame that was asked only some of the texts: the others, often a thousand, must not cost anything."""
        assert part.asked is not None, "or all were asked"
        scores, boxes, asked = part.scores[None], part.boxes[None], part.asked
        if question.plan is not None:
            scores, boxes, asked = self._composed(part, question.plan, question.floors)
        floor = question.thresholds[asked][None, :, None]
        most = None if question.most is None else question.most[asked]
        answers = assemble(scores, boxes, [size], floor, self.config.nms_iou, most)[0]
        row = [Grounding(ABSENT, self.config.gate_score, asked=False)] * len(question.texts)
        for place, answer in zip(asked.tolist(), answers, strict=True):
            row[place] = Grounding.of(answer)
        return row

    def _composed(self, part: Answered, plan: Plan, floors: Floats | None) -> tuple[Floats, Floats, NDArray[np.intp]]:
        """Of the texts that may score what matters: scores (1, M, Q), boxes (1, M, Q, 4) and places (M,)."""
        assert part.asked is not None and floors is not None, "or all were asked"
        count, answers = len(plan.rows), part.scores.shape[1]
        scores, boxes = np.zeros((1, count, answers), np.float32), np.zeros((1, count, answers, 4), np.float32)
        scores[0, part.asked], boxes[0, part.asked] = part.scores, part.boxes
        texts = np.flatnonzero(plan.matter(part.scores, part.asked, floors))
        return *plan.compose(scores, boxes, self.config.nms_iou, texts), texts

    def _changed(self, ready: EdgeTexts | None, before: Sequence[str], after: Sequence[str]) -> EdgeTexts | None:
        """What was compiled for the texts before, for those after: only rows that are new are compiled."""
        missing, kept = changed(self._asked_words.rows(before), self._asked_words.rows(after))
        more = self.compile_rows(missing)
        both = more if ready is None else ready if more is None else ready.joined(more)
        if both is None or not kept:
            return None
        return both if kept == list(range(len(both))) else both.select(kept)

    def _prepare(self, texts: Sequence[str]) -> EdgeTexts | None:
        return self.compile_rows(self._asked_words.rows(texts))

    def compile_rows(self, texts: Sequence[str]) -> EdgeTexts | None:
        """Texts as the network reads them, none in parts; None for none. Raises TextError."""
        rows, _ = self.words.rows(texts)
        if not rows:
            return None
        parts = [self._text_pass(rows[start : start + TEXTS_AT_ONCE]) for start in range(0, len(rows), TEXTS_AT_ONCE)]
        return reduce(EdgeTexts.joined, parts)

    def _text_pass(self, rows: Sequence[Sequence[int]]) -> EdgeTexts:
        ids = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        mask = (np.arange(ids.shape[1]) < np.array([[len(row)] for row in rows])).astype(np.int64)
        found = self._text({"input_ids": ids, "attention_mask": mask})
        return EdgeTexts.of(mask, found)


def _fingerprint(folder: Path) -> str:
    """That of the weights the graphs were made from; refuses graphs that lie beside other weights."""
    card = folder / FOLDER / CARD
    try:
        made_from = str(json.loads(card.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{card} cannot be read ({error}); export the model again.") from error
    if list(folder.glob("*.safetensors")) and (present := fingerprint_of_folder(folder)) != made_from:
        raise CheckpointError(
            f"the graphs in {folder / FOLDER} were made from a model with the fingerprint {made_from}, but {folder} "
            f"now holds {present}; run `simvg export {folder}`."
        )
    return made_from
