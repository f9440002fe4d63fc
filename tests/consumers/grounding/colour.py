"""A small real engine that finds colours, so that alerts can be checked for being right without a trained model."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from consumers.grounding.findings import Finding, Memory, PictureLimits
from consumers.grounding.frames import Pixels
from infra.contracts import Box, State

COLOURS: dict[str, tuple[int, int, int]] = {"red": (40, 40, 220), "green": (40, 220, 40), "blue": (220, 40, 40)}
"""Blue-green-red of what each word finds."""

PRESENT, ABSENT = 0.97, 0.03


class ColourEngine:
    """Grounds "red", "green" and "blue": one box around each blob of the colour. Refuses other words."""

    fingerprint = "colour-1"
    at_once = 2
    memory = Memory()
    gate_texts: int | None = None
    halves = False

    def __init__(self, seconds_per_batch: float = 0.0) -> None:
        self.seconds_per_batch = seconds_per_batch
        self.views: list[tuple[int, int]] = []
        self.compiled: set[str] = set()

    def problem(self, frame: Pixels, limits: PictureLimits | None = None) -> str | None:
        return "frame is black" if int(frame.max()) < 10 else None

    def reduced(self, view: Pixels) -> Pixels:
        return view[::2, ::2] if self.halves else view

    def compile(self, texts: Sequence[str]) -> Mapping[str, str]:
        self.compiled |= set(texts)
        return {text: f"the model does not know {text!r}" for text in texts if text not in COLOURS}

    def reading(self, text: str) -> str | None:
        return None

    def parts(self, text: str, floor: float) -> Mapping[str, float]:
        return {text: floor}

    def at_most(self, text: str) -> int | None:
        return None

    def compose(self, text: str, parts: Mapping[str, Finding]) -> Finding:
        return parts[text]

    def ground(self, views: Sequence[Pixels], texts: Sequence[Mapping[str, float]]) -> list[dict[str, Finding]]:
        time.sleep(self.seconds_per_batch)
        self.views += [(view.shape[1], view.shape[0]) for view in views]
        return [{text: self._find(view, text) for text in words} for view, words in zip(views, texts, strict=True)]

    def _find(self, view: Pixels, text: str) -> Finding:
        assert text in self.compiled
        height, width = view.shape[:2]
        mask = (np.abs(view.astype(int) - COLOURS[text]).max(axis=2) < 45).astype(np.uint8)
        _, _, blobs, _ = cv2.connectedComponentsWithStats(mask)
        boxes: list[Box] = [
            (x / width, y / height, (x + w) / width, (y + h) / height) for x, y, w, h, area in blobs[1:] if area >= 16
        ]
        if not boxes:
            return Finding(State.ABSENT, ABSENT)
        return Finding(State.PRESENT, PRESENT, tuple(boxes), (PRESENT,) * len(boxes))


class HeldEngine(ColourEngine):
    """Answers when it is let go. ``most``: batches that it looked at together at most."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.go = threading.Event(), threading.Event()
        self.most = 0
        self._looking = 0
        self._counting = threading.Lock()

    def hold(self) -> None:
        """Keeps what it is asked from now on."""
        self.go.clear()
        self.held.clear()

    def ground(self, views: Sequence[Pixels], texts: Sequence[Mapping[str, float]]) -> list[dict[str, Finding]]:
        with self._counting:
            self._looking += 1
            self.most = max(self.most, self._looking)
        self.held.set()
        self.go.wait(60)
        with self._counting:
            self._looking -= 1
        return super().ground(views, texts)
