"""What a worker can do and is sent: the prices of its work and the rates of its cameras, both measured. Pure.

Prices are calibrated once on synthetic frames, in full batches, for that is how an overloaded worker works. Then real
batches correct them: both ways while the worker never waits for a frame, and only downward while it does, for a batch
that is not full costs more a view than it must.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from consumers.grounding.findings import Engine
from consumers.grounding.frames import Pixels
from infra.cost import Prices

logger = logging.getLogger(__name__)

TEXTS = 32
ROUNDS = 3
LIMIT_SECONDS = 4.0
"""A model that is slower than this is calibrated with fewer rounds."""

FADE = 0.97
"""What a real batch counts less with every batch after it."""

ANCHOR = 0.001
"""What the calibration counts beside the real batches: enough to decide where these do not."""

JUMP = 4.0
"""A batch that took so many times longer than it should counts as this: one stalled batch says little."""

FADE_NS = 60_000_000_000
SIDE = (240, 320)

WORDS = ("red", "green", "blue", "yellow", "white", "black", "missing", "loose")
THINGS = ("", "cap", "bolt", "screw", "label", "gear", "cable", "washer")


def calibrate(engine: Engine, batch: int, *, clock: Callable[[], float] = time.perf_counter) -> Prices | None:
    """Asks the engine about noise, in batches of ``batch`` views, with one text and with many.

    None, and a line in the log: the engine takes no text that is known here. Its errors are not caught: an engine that
    cannot answer is no use to a worker.
    """
    candidates = sorted({f"{word} {thing}".strip() for word, thing in itertools.product(WORDS, THINGS)})
    refused = engine.compile(candidates)
    texts = [text for text in candidates if text not in refused][:TEXTS]
    if not texts:
        logger.warning("cost of queries is not calibrated: the model takes none of %d texts", len(candidates))
        return None
    noise = np.random.default_rng(0)
    views: list[Pixels] = [noise.integers(0, 256, (*SIDE, 3), dtype=np.uint8) for _ in range(batch)]

    def seconds(words: Sequence[str]) -> float:
        started = clock()
        engine.ground(views, [dict.fromkeys(words, 0.0)] * batch)  # no gate
        return clock() - started

    begun = clock()
    one, many = [], []
    for _ in range(1 + ROUNDS):
        one.append(seconds(texts[:1]))
        many.append(seconds(texts))
        if clock() - begun > LIMIT_SECONDS:
            break
    if len(one) > 1:
        del one[0], many[0]  # the first round pays for memory and kernels
    single, full = min(one) / batch, min(many) / batch  # whatever else the machine does only adds
    pair = max(0.0, full - single) / max(1, len(texts) - 1)
    return Prices(pass_s=max(single - pair, 1e-6), pair_s=pair, gate_texts=engine.gate_texts)


class PriceBook:
    """The prices, kept true by real batches. Used by one thread, read by others.

    What a batch took is told apart into a share for its frames and one for what the model was asked, by least squares
    over the last batches, older ones counting less and less; where these do not tell, calibration does.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self.begin(prices)

    @property
    def prices(self) -> Prices | None:
        """As known now; None: not at all yet."""
        return self._prices

    def begin(self, prices: Prices | None) -> None:
        """What calibration found; all that was learnt before is forgotten."""
        self._prices = self._first = prices
        self._moments = np.zeros((2, 2))
        self._seen = np.zeros(2)
        self._met = self._passed = 0.0

    def learn(self, frames: int, views: int, pairs: int, seconds: float, *, saturated: bool) -> None:
        """One batch: what was asked and how long it took, from one batch to the next when ``saturated``."""
        if views <= 0:
            return
        if self._first is None or self._prices is None:
            self._prices = self._first = Prices(pass_s=max(seconds / views, 1e-6), pair_s=0.0)
            return
        expected = self._prices.seconds(frames, views, pairs)
        if seconds > expected and not saturated:
            return
        asked = np.array([frames, self._first.seconds(0, views, pairs)])
        self._moments = FADE * self._moments + np.outer(asked, asked)
        self._seen = FADE * self._seen + asked * min(seconds, JUMP * expected)
        frame_s, factor = self._solve()
        learnt = {"pass_s": max(factor * self._first.pass_s, 1e-6), "pair_s": factor * self._first.pair_s}
        self._prices = self._prices.model_copy(update=learnt | {"frame_s": frame_s})

    def gated(self, passed: int, met: int) -> None:
        """Of so many texts that met a gate in one batch, so many passed."""
        if met <= 0 or self._prices is None:
            return
        self._passed, self._met = FADE * self._passed + passed, FADE * self._met + met
        self._prices = self._prices.model_copy(update={"gate_share": min(1.0, self._passed / self._met)})

    def _solve(self) -> tuple[float, float]:
        """Seconds of a frame, and how many times dearer the model is than it was when calibrated; neither below 0."""
        # The anchor: nothing for the frame, the model as calibrated, as if a few batches had said so.
        hold = ANCHOR * np.diag(np.diag(self._moments))
        moments, seen = self._moments + hold, self._seen + hold @ np.array([0.0, 1.0])
        frame_s, factor = np.linalg.solve(moments, seen)
        if frame_s < 0.0:
            frame_s, factor = 0.0, seen[1] / moments[1, 1]
        elif factor < 0.0:
            frame_s, factor = seen[0] / moments[0, 0], 0.0
        return float(frame_s), float(factor)


class Rates:
    """Frames per second of each camera, by capture time: a backlog that is read at once is no faster camera.

    Thread-safe. A camera is known from its second second on, and forgotten a minute after its last frame.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, deque[list[int]]] = {}  # (second of capture, frames in it)
        self._seen_ns: dict[str, int] = {}

    def seen(self, camera: str, captured_ns: int, now_ns: int) -> None:
        """A frame came."""
        second = captured_ns // 1_000_000_000
        with self._lock:
            self._seen_ns[camera] = now_ns
            counts = self._seconds.setdefault(camera, deque(maxlen=60))
            if counts and second < counts[-1][0]:
                counts.clear()  # the camera's clock was set back
            if counts and second == counts[-1][0]:
                counts[-1][1] += 1
            else:
                counts.append([second, 1])

    def forget(self) -> None:
        """Begins anew."""
        with self._lock:
            self._seconds.clear()
            self._seen_ns.clear()

    def rates(self, now_ns: int) -> dict[str, float]:
        """By camera; only those seen within the last minute."""
        with self._lock:
            for camera in [camera for camera, seen in self._seen_ns.items() if now_ns - seen > FADE_NS]:
                del self._seen_ns[camera], self._seconds[camera]
            return {camera: rate for camera, counts in self._seconds.items() if (rate := _rate(counts)) is not None}


def _rate(counts: deque[list[int]]) -> float | None:
    """Frames per second over whole seconds: the present one is not over, the first was perhaps not whole."""
    last = counts[-1][0]
    whole = [(second, count) for second, count in counts if last - 60 <= second < last]
    if not whole:
        return None
    if len(whole) > 1:
        whole = whole[1:]
        span = last - counts[0][0] - 1
    else:
        span = last - whole[0][0]
    return sum(count for _, count in whole) / max(span, 1)
