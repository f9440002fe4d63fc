"""The face for users without torch: the same calls and the same answers as `simvg_core.grounder.Grounder`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simvg_core.answers import ABSENT, Grounding, assemble, groundings
from simvg_core.composing import Plan
from simvg_core.edge.card import read_card
from simvg_core.edge.graphs import (
    FOLDER,
    FRAME,
    INT8,
    TEXT,
    Arrays,
    Graph,
    Precision,
    Runtime,
    load_graph,
    usable_cores,
)
from simvg_core.edge.passes import Answered, Passes
from simvg_core.edge.queries import EdgeTexts, Floats
from simvg_core.edge.settings import EdgeConfig
from simvg_core.errors import CheckpointError
from simvg_core.face import Face
from simvg_core.fingerprint import fingerprint_of_folder
from simvg_core.images import Frame
from simvg_core.questions import Question, together
from simvg_core.words import PAD, TEXTS_AT_ONCE, WordPacker, read_fast_pieces


class EdgeGrounder(Face[EdgeTexts | None]):
    """An exported model.

    Args:
        folder: a model folder that `simvg export` has written graphs into.
        runtime: what runs the frame pass, "onnxruntime" or "openvino".
        precision: "float32"; in OpenVINO also "bfloat16", of the frame pass: near half the time on a processor that
            multiplies matrices of bfloat16; in ONNX Runtime also "int8", of the weights of products in the frame pass:
            three quarters of its time (docs/benchmarks/int8.md). Scores differ a little with both.
        threads: of a pass, and passes side by side; None = as many as there are cores that this process may use.
        max_batch, check_quality, gate: as of `Face`.
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
        folder = Path(folder)
        config = self._config = EdgeConfig.read(folder)
        self.words = WordPacker(read_fast_pieces(folder), config.max_text_tokens, config.text_overflow)
        super().__init__(self.words, config.composing, max_batch, check_quality, gate)
        self._text: Graph = load_graph(folder, TEXT, "onnxruntime", threads)
        self._threads = threads or usable_cores()
        frame_graph = partial(load_graph, folder, FRAME, runtime, precision=precision)
        self._together = Passes.load(folder, config, threads, frame_graph(threads))
        # A pass of one frame on one thread fits a core's cache and waits for no other: as many of them side by side as
        # there are threads answer more frames per second than all threads on one pass do, or one on a pass of several.
        self._alone = self._together
        if self._threads > 1:
            self._alone = Passes.load(folder, config, 1, frame_graph(1, at_once=self._threads))
        self._crew = ThreadPoolExecutor(self._threads, thread_name_prefix="pass")
        self._rounded = precision == INT8
        self.model_fingerprint = _fingerprint(folder) + (f"-{INT8}" if self._rounded else "")

    @property
    def config(self) -> EdgeConfig:
        """Settings of the model."""
        return self._config

    @property
    def side_by_side(self) -> bool:
        """Whether frames go through passes of one thread each: two calls of :meth:`ground` at once then leave none
        idle."""
        return self._threads > 1

    @property
    def averages_to(self) -> int | None:
        """As of `Face`."""
        return self.config.image_size if self.config.resize == "area" else None

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
                    cells = _cells([parts[place] for place in rows])
                    scores, boxes = question.plan.compose(scores, boxes, self.config.nms_iou, cells=cells)
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
        return *plan.compose(scores, boxes, self.config.nms_iou, texts, _cells([part])), texts

    def _selected(self, ready: EdgeTexts | None, more: EdgeTexts | None, kept: list[int]) -> EdgeTexts | None:
        both = more if ready is None else ready if more is None else ready.joined(more)
        if both is None or not kept:
            return None
        return both if kept == list(range(len(both))) else both.select(kept)

    def bytes_of(self, ready: EdgeTexts | None) -> int:
        """Memory of compiled texts, bytes."""
        return 0 if ready is None else ready.num_bytes

    def compile_rows(self, rows: Sequence[str]) -> EdgeTexts | None:
        """As of `Face`; None for none. Raises TextError."""
        ids, _ = self.words.rows(rows)
        if not ids:
            return None
        parts = [self._text_pass(ids[start : start + TEXTS_AT_ONCE]) for start in range(0, len(ids), TEXTS_AT_ONCE)]
        return reduce(EdgeTexts.joined, parts)

    def _text_pass(self, rows: Sequence[Sequence[int]]) -> EdgeTexts:
        ids = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        mask = (np.arange(ids.shape[1]) < np.array([[len(row)] for row in rows])).astype(np.int64)
        found = self._text({"input_ids": ids, "attention_mask": mask})
        return EdgeTexts.of(mask, found)


def _cells(parts: Sequence[Answered]) -> Floats | None:
    """What the cells of these frames say, (B, 1, P, S)."""
    found = [part.cells[None] for part in parts if part.cells is not None]
    return np.stack(found) if found else None


def _fingerprint(folder: Path) -> str:
    """That of the weights the graphs were made from; refuses graphs that lie beside other weights."""
    made_from = str(read_card(folder / FOLDER)["fingerprint"])
    if list(folder.glob("*.safetensors")) and (present := fingerprint_of_folder(folder)) != made_from:
        raise CheckpointError(
            f"the graphs in {folder / FOLDER} were made from a model with the fingerprint {made_from}, but {folder} "
            f"now holds {present}; run `simvg export {folder}`."
        )
    return made_from
