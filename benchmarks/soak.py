"""Runs the demo for some minutes and reports memory, lag and errors of every process.

    .venv/bin/python benchmarks/soak.py --minutes 10

Prints one row per process: resident memory after the first minute, at the end, the growth between them, and error lines
in its log. Exit code 1 when memory grows by more than 5 %, a log holds an error, or the demo fails.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

WARM_SECONDS = 60.0
MAX_GROWTH = 0.05
ERROR = re.compile(r"\[error|\[critical|Traceback", re.IGNORECASE)
LOGS = Path(".state/logs/demo")
NAMES = {"work": "worker", "line-1": "camera line-1", "line-2": "camera line-2"}


def roles(parent: psutil.Process) -> dict[str, psutil.Process]:
    """Worker and cameras below the demo, by name."""
    found = {}
    for child in parent.children(recursive=True):
        try:
            line = child.cmdline()
        except psutil.Error:
            continue
        for key, name in NAMES.items():
            if "simvg" in " ".join(line) and key in line:
                found[name] = child
    return found


def main() -> int:
    """Runs, samples once a second, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "simvg", "demo", "--loop", "--seconds", str(arguments.minutes * 60)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=None)
    parent = psutil.Process(demo.pid)
    samples: dict[str, list[tuple[float, int]]] = {}
    started: float | None = None
    while demo.poll() is None:
        now = time.monotonic()
        for name, process in roles(parent).items():
            started = started if started is not None else now
            try:
                samples.setdefault(name, []).append((now - started, process.memory_info().rss))
            except psutil.Error:
                continue
        time.sleep(1.0)
    output = demo.stdout.read() if demo.stdout else ""
    table = Table(title=f"{arguments.minutes:g} minutes of demo on {platform.machine()}, {psutil.cpu_count()} cores")
    for column in ("process", "MB after 1 min", "MB at the end", "growth", "errors in log"):
        table.add_column(column, justify="left" if column == "process" else "right")
    failed = demo.returncode != 0
    for name, points in samples.items():
        settled = [rss for at, rss in points if at >= WARM_SECONDS]
        log = LOGS / f"{name.removeprefix('camera ')}.log"
        errors = (
            sum(1 for line in log.read_text(errors="replace").splitlines() if ERROR.search(line)) if log.exists() else 0
        )
        if len(settled) < 20:
            table.add_row(name, "–", "–", "ran under a minute", str(errors))
            failed = True
            continue
        # means of ten samples: one sample may fall into a garbage collection
        first, last = sum(settled[:10]) / 10, sum(settled[-15:-5]) / 10
        growth = last / first - 1
        failed |= growth > MAX_GROWTH or errors > 0
        table.add_row(name, f"{first / 1e6:.0f}", f"{last / 1e6:.0f}", f"{growth:+.1%}", str(errors))
    console = Console()
    console.print(output[output.find("Summary") :], markup=False, highlight=False)
    console.print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
