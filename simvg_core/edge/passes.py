"""The passes of an exported model: frames and compiled texts in, scores and boxes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simvg_core.composing import Plan
from simvg_core.edge.graphs import FRAME, GATE, QUERY, Arrays, Graph, Runtime, load_graph
from simvg_core.edge.queries import EdgeTexts, Floats
from simvg_core.edge.settings import EdgeConfig
from simvg_core.images import Frame, resize
from simvg_core.questions import Question, together


class Answered(NamedTuple):
    """Of one frame: M texts that it was asked, Q answers each."""

    scores: Floats  # (M, Q) probabilities
    boxes: Floats  # (M, Q, 4) cxcywh, normalised
    asked: NDArray[np.intp] | None  # (M,) their places, where the gate answered for the others; None: all were asked


@dataclass(frozen=True)
class Passes:
    """The graphs that a frame goes through. Thread-safe."""

    config: EdgeConfig
    frame: Graph
    query: Graph
    gate: Graph | None  # of a model whose scores it bounds

    @classmethod
    def load(cls, folder: Path, config: EdgeConfig, runtime: Runtime, threads: int | None) -> Passes:
        """Graphs whose every run takes so many threads. Raises CheckpointError, ConfigurationError."""
        frame, query = (load_graph(folder, name, runtime, threads) for name in (FRAME, QUERY))
        gate = load_graph(folder, GATE, runtime, threads) if config.gate_floors else None
        return cls(config, frame, query, gate)

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
                scores, boxes = self.ask(rows, question.ready)
                answered = [Answered(scores[row], boxes[row], None) for row in range(len(places))]
            else:
                answered = self._ask_warm(rows, question.ready, question.gate, question.plan)
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

    def _ask_warm(self, seen: Arrays, texts: EdgeTexts, least: Floats, plan: Plan | None) -> list[Answered]:
        """The same, frame by frame and each with the texts that are warm in it: for which the gate gives ``least``,
        (N,). Of a plan's rows those that a text needs whose others are warm as well."""
        warmth, most = self.warmth(seen, texts)
        answers = texts.heads["queries"].shape[1]
        found = []
        warm = ~(warmth < least)  # NaN is asked: it must not pass for cold
        if plan is not None:
            warm = plan.needed(warm)
        for frame, row in enumerate(warm):
            kept, rows = np.flatnonzero(row), slice(frame, frame + 1)
            if len(kept):
                part = {name: part[rows] for name, part in seen.items()}
                scores, boxes = self.objects(part, texts.select(kept), most[rows, kept])
            else:
                scores, boxes = np.zeros((1, 0, answers), np.float32), np.zeros((1, 0, answers, 4), np.float32)
            found.append(Answered(scores[0], boxes[0], kept))
        return found
