"""Timing that holds on a shared machine: cases take turns, and what is compared is compared within one turn."""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

Case = Callable[[], object]

TEXTS = (
    "missing bolt", "loose bolt", "missing screw", "red cap", "blue cap", "green cap", "yellow label", "white label",
    "crooked label", "black connector", "gear", "stain", "scratch", "dent", "cable", "washer",
)  # fmt: skip
"""What a line is asked: sixteen standing queries."""


def interleaved(
    cases: Mapping[str, Case], rounds: int, *, warm_up: int = 1, turn_s: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of every case in every round; in a round each case has its turn, every other round in reverse order.

    In a turn a case runs once, or again and again for `turn_s` seconds, and its mean counts: what follows its like
    finds its weights in the processor's caches, what follows a much larger case does not.
    """
    for case in cases.values():
        for _ in range(warm_up):
            case()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            started, runs, spent = time.perf_counter(), 0, 0.0
            while runs == 0 or spent < turn_s:
                cases[name]()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                runs, spent = runs + 1, time.perf_counter() - started
            seconds[name].append(spent / runs)
    return seconds


def ratio(over: list[float], under: list[float]) -> float:
    """Median of the ratios within each round: load that lasts longer than a round cancels out."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) BGR."""
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def machine() -> str:
    """What the numbers were measured on, in one line."""
    name = platform.processor() or platform.machine()
    try:
        facts = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
        name = next(line.split(":", 1)[1].strip() for line in facts.splitlines() if line.startswith("Model name"))
    except (OSError, subprocess.CalledProcessError, StopIteration):
        pass
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def command() -> str:
    """The command line that was run, without the folder of the interpreter."""
    return " ".join(["python", *sys.argv])


def note(text: str) -> None:
    """What is being measured, beside the page on standard output."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def positive(text: str) -> int:
    """A whole number of the command line from 1 on, for `argparse`."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few; give 1 or more")
    return number


def write(path: Path, lines: list[str]) -> None:
    """Prints a page of results and writes it; in this order, so that none is lost where a folder cannot be written."""
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    sys.stdout.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
