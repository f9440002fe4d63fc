"""The passes of an exported model: frames and compiled texts in, scores and boxes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simvg_core.edge.graphs import FRAME, GATE, QUERY, Arrays, Graph, Runtime, load_graph
from simvg_core.edge.queries import EdgeTexts, Floats
from simvg_core.edge.settings import EdgeConfig
from simvg_core.images import Frame, resize


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

    def answers(self, frames_bgr: list[Frame], texts: EdgeTexts) -> tuple[Floats, Floats]:
        """Probabilities (B, N, Q) and boxes (B, N, Q, 4) of B frames, N texts and Q answers each."""
        seen = self.encode(frames_bgr)
        if self.gate is not None and len(texts) >= self.config.gate_queries:
            return self._ask_warm(seen, texts, self.gate)
        return self.ask(seen, texts)

    def ask(self, seen: Arrays, texts: EdgeTexts) -> tuple[Floats, Floats]:
        """The query pass alone, of every text on every frame that was seen; as :meth:`answers`."""
        out = self.query({**seen, **texts.arrays()})
        logits = out["logits"]
        difference = (logits[..., 0] - logits[..., 1]) / self.config.score_temperature + self.config.score_bias
        return (1 / (1 + np.exp(-difference))).astype(np.float32), out["boxes"].astype(np.float32)

    def _ask_warm(self, seen: Arrays, texts: EdgeTexts, gate: Graph) -> tuple[Floats, Floats]:
        """The same, frame by frame and each with the texts that are warm in it; the others get the gate's score and
        boxes without area."""
        warmth = gate({"image": seen["image"], **texts.heads})["warmth"]
        warm = ~(warmth < self.config.gate_threshold)  # NaN is asked: it must not pass for cold
        answers = texts.heads["queries"].shape[1]
        scores = np.full((*warm.shape, answers), self.config.gate_score, np.float32)
        boxes = np.zeros((*warm.shape, answers, 4), np.float32)
        for frame, row in enumerate(warm):
            kept = np.flatnonzero(row)
            if len(kept):
                rows = slice(frame, frame + 1)
                found = self.ask({name: part[rows] for name, part in seen.items()}, texts.select(kept))
                scores[frame, kept], boxes[frame, kept] = found[0][0], found[1][0]
        return scores, boxes
