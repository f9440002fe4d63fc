"""Runs the demo for some minutes and watches what must not grow: memory, open file handles, consumer lag, errors.

    .venv/bin/python benchmarks/soak.py --minutes 10

Prints a row per process (worker and cameras) and per partition of frames. Ends with 1, and says why, when after the
first minute memory grows by more than 5 %, open handles by more than 3, the lag of a partition by more than 10 frames;
also when a log holds an error, a process ends early, or the demo fails.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from confluent_kafka import TopicPartition
from rich.console import Console
from rich.table import Table

from consumers.demo.settings import DemoSettings
from consumers.grounding.settings import WorkerSettings
from infra.errors import BrokerError
from infra.kafka import committed_offsets, last_offsets
from infra.local_stack import LocalStack
from infra.settings import KafkaSettings, load
from infra.topics import topic_name

WARM_SECONDS = 60.0
LAG_EVERY_S = 5.0
MAX_GROWTH = 0.05
MAX_MORE_HANDLES = 3
MAX_MORE_LAG = 10
MIN_SAMPLES = 3
"""In each of the two thirds that are compared; fewer say nothing."""

ERROR = re.compile(r"\[error|\[critical|Traceback", re.IGNORECASE)
NAMES = {"work": "worker", "line-1": "camera line-1", "line-2": "camera line-2"}


@dataclass
class Series:
    """One figure over time: (seconds since the start, value)."""

    points: list[tuple[float, float]] = field(default_factory=list)

    def add(self, at: float, value: float) -> None:
        self.points.append((at, value))

    def ends(self, warm_s: float = WARM_SECONDS) -> tuple[float, float] | None:
        """Medians of the first and of the last third after warm-up: no single sample, taken within a collection of
        garbage or a pause of the machine, decides. None where there are too few."""
        settled = [value for at, value in self.points if at >= warm_s]
        third = len(settled) // 3
        if third < MIN_SAMPLES:
            return None
        return statistics.median(settled[:third]), statistics.median(settled[-third:])

    @property
    def peak(self) -> float:
        return max((value for _, value in self.points), default=0.0)


@dataclass
class Watch:
    """What is seen of a run."""

    memory: dict[str, Series] = field(default_factory=lambda: defaultdict(Series))
    handles: dict[str, Series] = field(default_factory=lambda: defaultdict(Series))
    lag: dict[int, Series] = field(default_factory=lambda: defaultdict(Series))
    errors: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    """Why the lag could not be read, each time that it could not."""


def faults(watch: Watch, warm_s: float = WARM_SECONDS) -> list[str]:
    """Why a run is no good, in words; empty: it is."""
    found = []
    for name in NAMES.values():
        memory, handles = watch.memory[name].ends(warm_s), watch.handles[name].ends(warm_s)
        if memory is None or handles is None:
            found.append(f"{name} was seen for too short a time after the first {warm_s:.0f} s")
            continue
        if memory[1] > memory[0] * (1 + MAX_GROWTH):
            growth = memory[1] / memory[0] - 1
            found.append(f"{name}: memory grew by {growth:.1%}, from {memory[0] / 1e6:.0f} to {memory[1] / 1e6:.0f} MB")
        if handles[1] > handles[0] + MAX_MORE_HANDLES:
            found.append(f"{name}: open handles grew from {handles[0]:.0f} to {handles[1]:.0f}")
        if watch.errors.get(name):
            found.append(f"{name}: {watch.errors[name]} errors in its log")
    ends = {number: series.ends(warm_s) for number, series in watch.lag.items()}
    if not any(ends.values()):
        found.append(f"the lag was not read often enough to compare; {watch.unread[-1] if watch.unread else ''}")
    for number, lag in sorted(ends.items()):
        if lag is not None and lag[1] > lag[0] + MAX_MORE_LAG:
            found.append(f"partition {number}: lag grew from {lag[0]:.0f} to {lag[1]:.0f} frames")
    return found


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


def lags(kafka: KafkaSettings, group: str) -> dict[int, int]:
    """Frames of each partition that the group has not committed yet; partitions that never had one are left out."""
    frames = topic_name(kafka.prefix, "frames")
    parts = [TopicPartition(frames, number) for number in last_offsets(kafka, frames, client_id="simvg-soak")]
    committed = committed_offsets(kafka, group, parts, client_id="simvg-soak", seconds=5.0)
    ends = last_offsets(kafka, frames, client_id="simvg-soak")  # asked last: no offset is committed beyond them
    return {part.partition: ends[part.partition] - part.offset for part in committed if part.offset >= 0}


def observe(demo: subprocess.Popen[str], kafka: KafkaSettings, group: str) -> Watch:
    """Samples processes once a second and lag every five, until the demo ends."""
    watch, parent = Watch(), psutil.Process(demo.pid)
    started: float | None = None
    asked = 0.0
    while demo.poll() is None:
        now = time.monotonic()
        for name, process in roles(parent).items():
            started = started if started is not None else now
            try:
                watch.memory[name].add(now - started, process.memory_info().rss)
                watch.handles[name].add(now - started, process.num_fds())
            except psutil.Error:
                continue
        if started is not None and now - asked >= LAG_EVERY_S:
            asked = now
            try:
                for number, lag in lags(kafka, group).items():
                    watch.lag[number].add(now - started, lag)
            except BrokerError as error:
                watch.unread.append(str(error))
        time.sleep(1.0)
    return watch


def errors_in(log: Path) -> int:
    """Lines of a log that tell of an error."""
    if not log.exists():
        return 0
    return sum(1 for line in log.read_text(errors="replace").splitlines() if ERROR.search(line))


def tables(watch: Watch, minutes: float) -> list[Table]:
    """What was seen, for people."""
    title = f"{minutes:g} minutes of demo on {platform.machine()}, {psutil.cpu_count()} cores"
    processes = _table(title, "process", "MB after 1 min", "MB at the end", "growth", "handles", "errors in log")
    for name in NAMES.values():
        memory, handles = watch.memory[name].ends(), watch.handles[name].ends()
        if memory is None or handles is None:
            processes.add_row(name, "–", "–", "–", "–", str(watch.errors.get(name, 0)))
            continue
        growth = f"{memory[1] / memory[0] - 1:+.1%}"
        opened = f"{handles[0]:.0f} → {handles[1]:.0f}"
        megabytes = (f"{value / 1e6:.0f}" for value in memory)
        processes.add_row(name, *megabytes, growth, opened, str(watch.errors.get(name, 0)))
    times = f", {len(watch.unread)} readings failed" if watch.unread else ""
    partitions = _table(f"consumer lag in frames{times}", "partition", "after 1 min", "at the end", "most")
    for number, series in sorted(watch.lag.items()):
        ends = series.ends()
        shown = ("–", "–") if ends is None else (f"{ends[0]:.0f}", f"{ends[1]:.0f}")
        partitions.add_row(str(number), *shown, f"{series.peak:.0f}")
    return [processes, partitions]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, samples, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the demo; from 2 on there is enough to compare")
    minutes = parser.parse_args(arguments).minutes
    settings = load(DemoSettings)
    kafka = LocalStack.from_settings(settings).kafka_settings
    command = [sys.executable, "-m", "simvg", "demo", "--loop", "--seconds", str(minutes * 60)]
    console = Console()
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with (settings.state_dir / "soak.log").open("w+", encoding="utf-8") as output:
        demo = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)
        try:
            watch = observe(demo, kafka, WorkerSettings().group)
        finally:
            if demo.poll() is None:  # the watching failed or was stopped: nothing is left running
                demo.terminate()
                demo.wait(60)
        output.seek(0)
        said = output.read()
    logs = settings.state_dir / "logs" / "demo"
    watch.errors = {name: errors_in(logs / f"{name.removeprefix('camera ')}.log") for name in NAMES.values()}
    console.print(said[said.find("Summary") :], markup=False, highlight=False)
    for table in tables(watch, minutes):
        console.print(table)
    found = faults(watch)
    if demo.returncode != 0:
        found.insert(0, f"the demo ended with exit code {demo.returncode}")
    for fault in found:
        console.print(f"[bold red]FAILED[/] {fault}", highlight=False)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
