"""The passes of an exported model: frames and compiled texts in, scores and boxes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simvg_core.composing import Plan
from simvg_core.edge.graphs import FRAME, GATE, QUERY, STATES, Arrays, Graph, load_graph
from simvg_core.edge.queries import EdgeTexts, Floats
from simvg_core.edge.settings import EdgeConfig
from simvg_core.images import Frame, resize
from simvg_core.questions import Question, together


class Answered(NamedTuple):
    """Of one frame: M texts, or rows of a plan, that it was asked, Q answers each."""

    scores: Floats  # (M, Q) probabilities
    boxes: Floats  # (M, Q, 4) cxcywh, normalised
    asked: NDArray[np.intp] | None  # (M,) their places, where a gate answered for the others; None: there was none
    cells: Floats | None = None  # (P, S) log-odds of states; None: the model tells none


@dataclass(frozen=True)
class Passes:
    """The graphs that a frame goes through. Thread-safe."""

    config: EdgeConfig
    frame: Graph
    query: Graph
    gate: Graph | None  # of a model whose scores it bounds

    @classmethod
    def load(
        cls,
        folder: Path,
        config: EdgeConfig,
        threads: int | None,
        frame: Graph | None = None,
    ) -> Passes:
        """Graphs whose every run takes so many threads in ONNX Runtime. It runs those that are small and of sizes that
        vary faster than others; the frame graph may come from another runtime, or in other numbers. Raises
        CheckpointError, ConfigurationError."""
        of_frames = frame or load_graph(folder, FRAME, "onnxruntime", threads)
        query = load_graph(folder, QUERY, "onnxruntime", threads)
        gate = load_graph(folder, GATE, "onnxruntime", threads) if config.gate_floors else None
        return cls(config, of_frames, query, gate)

    def encode(self, frames_bgr: list[Frame]) -> Arrays:
        """The frame pass alone: outputs of the frame graph by name."""
        size = self.config.image_size
        return self.frame({"frames": np.stack([resize(frame, size, self.config.resize) for frame in frames_bgr])})

    def answers(self, frames_bgr: list[Frame], questions: Sequence[Question]) -> list[Answered]:
        """Of B frames, one question each; frames that are asked the same go through the query pass together."""
        seen = self.encode(frames_bgr)
        found: dict[int, Answered] = {}
        for question, places in together(questions):
            rows = seen if len(places) == len(frames_bgr) else {name: part[places] for name, part in seen.items()}
            if question.gate is None or self.gate is None:
                answered = self._ask_all(rows, question.ready, question.plan)
            else:
                answered = self._ask_warm(rows, question.ready, question.gate, question.plan)
            if (cells := rows.get(STATES)) is not None:
                answered = [one._replace(cells=own) for one, own in zip(answered, cells, strict=True)]
            found |= dict(zip(places, answered, strict=True))
        return [found[place] for place in range(len(frames_bgr))]

    def ask(self, seen: Arrays, texts: EdgeTexts) -> tuple[Floats, Floats]:
        """The query pass alone, of every text on every frame that was seen, bounded by the gate: probabilities
        (B, N, Q) and boxes (B, N, Q, 4) of B frames, N texts and Q answers each."""
        return self.objects(seen, texts, None if self.gate is None else self.warmth(seen, texts)[1])

    def warmth(self, seen: Arrays, texts: EdgeTexts) -> tuple[Floats, Floats]:
        """What the gate says of every text in every frame, and the highest difference of class logits that it allows;
        (B, N) each."""
        assert self.gate is not None, "the model has one"
        out = self.gate({**seen, **texts.heads})
        return out["warmth"], out["highest"]

    def objects(self, seen: Arrays, texts: EdgeTexts, most: Floats | None = None) -> tuple[Floats, Floats]:
        """As `ask`, of what the object tokens say; differences of class logits are at most `most` (B, N)."""
        out = self.query({**seen, **texts.arrays()})
        logits = out["logits"]
        difference = logits[..., 0] - logits[..., 1]
        if most is not None:  # as `simvg_core.gate.bounded`
            difference = difference - np.maximum(difference.max(axis=-1) - most, 0)[..., None]
        difference = difference / self.config.score_temperature + self.config.score_bias
        return (1 / (1 + np.exp(-difference))).astype(np.float32), out["boxes"].astype(np.float32)

    def _ask_all(self, seen: Arrays, texts: EdgeTexts, plan: Plan | None) -> list[Answered]:
        """Every text; of a plan's rows the parts, and wholes where a frame has so many of a part that they count."""
        if plan is None:
            scores, boxes = self.ask(seen, texts)
            return [Answered(*found, None) for found in zip(scores, boxes, strict=True)]
        scores, boxes = (_extended(part, len(texts)) for part in self.ask(seen, texts.head(plan.first)))
        parts = np.arange(plan.first)
        for frame in range(len(scores)):
            if len(more := plan.doubted(scores[frame, parts], parts)):
                found = self.ask(_row(seen, frame), texts.select(more))
                scores[frame, more], boxes[frame, more] = found[0][0], found[1][0]
        return [Answered(*found, None) for found in zip(scores, boxes, strict=True)]

    def _ask_warm(self, seen: Arrays, texts: EdgeTexts, least: Floats, plan: Plan | None) -> list[Answered]:
        """The same, frame by frame and each with the texts that are warm in it: for which the gate gives ``least``,
        (N,). Of a plan's parts, with (2, N), those that a text needs whose others are warm as well."""
        first = texts if plan is None else texts.head(plan.first)
        warmth, most = self.warmth(seen, first)
        # NaN is asked: it must not pass for cold
        found, warm = [], ~(warmth < least) if plan is None else plan.needed(warmth, least)
        for frame, needed in enumerate(warm):
            own, kept = _row(seen, frame), np.flatnonzero(needed)
            answers = [self._of_warm(own, first, kept, most[frame])]
            if plan is not None and len(more := plan.doubted(answers[0][0], kept)):
                wholes = self.ask(own, texts.select(more))
                answers, kept = [*answers, (wholes[0][0], wholes[1][0])], np.concatenate([kept, more])
            scores, boxes = (np.concatenate(parts) for parts in zip(*answers, strict=True))
            found.append(Answered(scores, boxes, kept))
        return found

    def _of_warm(self, seen: Arrays, texts: EdgeTexts, kept: NDArray[np.intp], most: Floats) -> tuple[Floats, Floats]:
        """The texts at some places asked of one frame: (M, Q) and (M, Q, 4)."""
        if not len(kept):
            answers = self.config.num_queries
            return np.zeros((0, answers), np.float32), np.zeros((0, answers, 4), np.float32)
        scores, boxes = self.objects(seen, texts.select(kept, gate=False), most[None, kept])
        return scores[0], boxes[0]


def _row(seen: Arrays, frame: int) -> Arrays:
    return {name: part[frame : frame + 1] for name, part in seen.items()}


def _extended(part: Floats, rows: int) -> Floats:
    """(B, F, …) → (B, R, …): what was not asked is zero."""
    found = np.zeros((len(part), rows, *part.shape[2:]), np.float32)
    found[:, : part.shape[1]] = part
    return found
