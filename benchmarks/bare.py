"""A model's engine alone, without the pipeline around it: what :mod:`benchmarks.pipeline` compares a worker with."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2

from benchmarks.measure import decoded
from consumers.grounding.engine import load_engine

WARM = 24
"""Frames until a model or worker is in its stride."""


class Counted(Protocol):
    """A number in memory that two processes share."""

    value: int


@contextmanager
def bare_model(
    images: list[bytes], model: Path, texts: Sequence[str], floor: float, batch: int, threads: int
) -> Iterator[tuple[Counted, int]]:
    """The engine of a model folder asked texts about decoded frames, again and again, in a process of its own: the
    number of frames it has answered, and its id. ``floor``: the lowest score that matters."""
    spawn = multiprocessing.get_context("spawn")
    count = spawn.Value("L", 0, lock=False)
    process = spawn.Process(
        target=answer_for_ever, args=(count, images, model, texts, floor, batch, threads), daemon=True
    )
    process.start()
    try:
        deadline = time.monotonic() + 120
        while count.value < WARM:
            if not process.is_alive() or time.monotonic() > deadline:
                raise SystemExit("the bare model does not begin")
            time.sleep(0.05)
        yield count, process.pid or 0
    finally:
        process.kill()
        process.join()


def answer_for_ever(
    count: Counted, images: list[bytes], model: Path, texts: Sequence[str], floor: float, batch: int, threads: int
) -> None:
    """As many batches at once as a worker has the engine look at."""
    cv2.setNumThreads(1)  # as a worker does: the model's threads take all cores
    engine = load_engine(model, device="cpu", precision="float32", batch_size=batch, threads=threads)
    engine.compile(texts)
    asked = dict.fromkeys(texts, floor)
    pixels = [decoded(image) for image in images]
    counting = threading.Lock()

    def answer(start: int) -> None:
        for at in itertools.count(start, engine.at_once):
            group = [pixels[(batch * at + place) % len(pixels)] for place in range(batch)]
            engine.ground(group, [asked] * batch)
            with counting:
                count.value += batch

    crew = [threading.Thread(target=answer, args=(number,)) for number in range(engine.at_once)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
