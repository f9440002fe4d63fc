"""The passes of an exported model: frames and compiled texts in, scores and boxes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simvg_core.edge.graphs import FRAME, GATE, QUERY, Arrays, Graph, Runtime, load_graph
from simvg_core.edge.queries import EdgeTexts, Floats
from simvg_core.edge.settings import EdgeConfig
from simvg_core.images import Frame, resize
from simvg_core.questions import Question, together


class Answered(NamedTuple):
    """Of one frame: N texts, Q answers each."""

    scores: Floats  # (N, Q) probabilities
    boxes: Floats  # (N, Q, 4) cxcywh, normalised
    warm: NDArray[np.bool_]  # (N,) False where the gate answered


@dataclass(frozen=True)
class Passes:
    """The graphs that a frame goes through. Thread-safe."""

    config: EdgeConfig
    frame: Graph
    query: Graph
    gate: Graph | None

    @classmethod
    def load(cls, folder: Path, config: EdgeConfig, runtime: Runtime, threads: int | None, *, gated: bool) -> Passes:
        """Graphs whose every run takes so many threads. Raises CheckpointError, ConfigurationError."""
        frame, query = (load_graph(folder, name, runtime, threads) for name in (FRAME, QUERY))
        return cls(config, frame, query, load_graph(folder, GATE, runtime, threads) if gated else None)

    def encode(self, frames_bgr: list[Frame]) -> Arrays:
        """The frame pass alone: outputs of the frame graph by name."""
        size = self.config.image_size
        return self.frame({"frames": np.stack([resize(frame, size, self.config.resize) for frame in frames_bgr])})

    def answers(self, frames_bgr: list[Frame], questions: Sequence[Question]) -> list[Answered]:
        """Of B frames, one question each; frames that are asked the same go through the query pass together."""
        seen, found = self.encode(frames_bgr), {}
        for question, places in together(questions):
            rows = seen if len(places) == len(frames_bgr) else {name: part[places] for name, part in seen.items()}
            if question.gate is None or self.gate is None:
                scores, boxes = self.ask(rows, question.ready)
                warm = np.ones(scores.shape[:2], bool)
            else:
                scores, boxes, warm = self._ask_warm(rows, question.ready, self.gate, question.gate)
            for row, place in enumerate(places):
                found[place] = Answered(scores[row], boxes[row], warm[row])
        return [found[place] for place in range(len(frames_bgr))]

    def ask(self, seen: Arrays, texts: EdgeTexts) -> tuple[Floats, Floats]:
        """The query pass alone, of every text on every frame that was seen: probabilities (B, N, Q) and boxes
        (B, N, Q, 4) of B frames, N texts and Q answers each."""
        out = self.query({**seen, **texts.arrays()})
        logits = out["logits"]
        difference = (logits[..., 0] - logits[..., 1]) / self.config.score_temperature + self.config.score_bias
        return (1 / (1 + np.exp(-difference))).astype(np.float32), out["boxes"].astype(np.float32)

    def _ask_warm(
        self, seen: Arrays, texts: EdgeTexts, gate: Graph, least: Floats
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """The same, frame by frame and each with the texts that are warm in it, (B, N); the others get the gate's score
        and boxes without area."""
        warmth = gate({"image": seen["image"], **texts.heads})["warmth"]
        warm = ~(warmth < least)  # NaN is asked: it must not pass for cold
        answers = texts.heads["queries"].shape[1]
        scores = np.full((*warm.shape, answers), self.config.gate_score, np.float32)
        boxes = np.zeros((*warm.shape, answers, 4), np.float32)
        for frame, row in enumerate(warm):
            kept = np.flatnonzero(row)
            if len(kept):
                rows = slice(frame, frame + 1)
                found = self.ask({name: part[rows] for name, part in seen.items()}, texts.select(kept))
                scores[frame, kept], boxes[frame, kept] = found[0][0], found[1][0]
        return scores, boxes, warm
