"""What an edge box must hold: the package without torch on disk, and a worker in memory.

    .venv/bin/python benchmarks/edge.py          # writes docs/benchmarks/edge.md; needs the package index
    .venv/bin/python benchmarks/edge.py --sizes  # the disk alone, without a broker; ends with 1 beyond the limit

Installs `simvg-line[edge]` from this folder into a new environment, as `python -m venv` and pip make it, and counts the
bytes of all its files. The worker of that environment then answers frames that lie in Kafka (freshness `every`), or
that come from two cameras at 15 frames/s each (`latest`); its resident memory is read ten times a second, the highest
counts. Broker and Redis come from here.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import TEXTS, command, decoded, machine, positive, write  # noqa: E402  # the repository is on the path only now
from benchmarks.pipeline import MODEL, Bench, Plant  # noqa: E402

PAGE = Path("docs/benchmarks/edge.md")
SOURCES = ("infra", "producers", "consumers", "simvg_core")
DISK_MB, MEMORY_MB = 500, 400
SHOWN = 8
Case = tuple[int, int, int, str]
CASES: tuple[Case, ...] = (
    (640, 480, 4, "every"), (1920, 1080, 4, "every"), (1920, 1080, 1, "every"), (1920, 1080, 4, "latest"),
)  # fmt: skip
"""Width and height of the frames, frames of a batch, and freshness."""
PACE, LEAST = 15.0, 0.25
"""Frames/s of each camera under `latest`, and the share of them that must be scored."""


def install(folder: Path) -> Path:
    """A new environment with the edge package; of the sources a copy, for building leaves files behind."""
    copy, environment = folder / "source", folder / "edge"
    for name in SOURCES:
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "simvg.py"):
        shutil.copy(REPOSITORY / name, copy)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(REPOSITORY / "constraints.txt"), f"{copy}[edge]"], check=True)
    return environment


def megabytes(folder: Path) -> float:
    """Of all files below a folder, 10^6 bytes; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def sizes(environment: Path) -> dict[str, float]:
    """Megabytes by package, the largest first; a package's bundled libraries (NAME.libs) count as its own."""
    found: dict[str, float] = {}
    for path in next(environment.glob("lib/python3*/site-packages")).iterdir():
        if path.is_dir() and not path.name.endswith(".dist-info"):
            name = path.name.removesuffix(".libs").removesuffix("_python_headless").replace("opencv", "cv2")
            found[name] = found.get(name, 0.0) + megabytes(path)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


@contextmanager
def highest_memory(process: subprocess.Popen[bytes]) -> Iterator[list[float]]:
    """Reads the resident memory of a process, MB, until left; the list's only number is the highest."""
    highest, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1) and process.poll() is None:
            highest[0] = max(highest[0], psutil.Process(process.pid).memory_info().rss / 1e6)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        over.set()
        watcher.join()


def worker_memory(bench: Bench, simvg: Path, case: Case, threads: int) -> float:
    """The highest resident memory of one worker, MB."""
    width, height, batch, freshness = case
    plant: Plant = bench.plant(2)
    pixels = [decoded(image) for image in bench.images]
    images = [bytes(cv2.imencode(".jpg", cv2.resize(frame, (width, height)))[1]) for frame in pixels]
    wanted = len(images)
    if freshness == "every":
        plant.publish(images, 2, fps=None)
    with tempfile.TemporaryDirectory() as cache:
        arguments = [
            "work", "--model", str(MODEL), "--batch", str(batch), "--torch-threads", str(threads), "--id", "w0",
            "--freshness", freshness, "--kafka", plant.kafka.bootstrap, "--topic-prefix", plant.kafka.prefix,
            "--redis", plant.redis.url, "--cache-dir", cache, "--log-level", "ERROR",
        ]  # fmt: skip
        environment = {"SIMVG_REDIS__PREFIX": plant.redis.prefix, "PATH": "/usr/bin:/bin"}
        process = subprocess.Popen([str(simvg), *arguments], env=environment, cwd=REPOSITORY)
        try:
            with highest_memory(process) as highest:
                if freshness == "latest":
                    wanted = int(LEAST * len(images))
                    while process.poll() is None and not plant.detections(1, 0.5):
                        plant.publish(images[:8], 2, fps=PACE)
                    plant.publish(images, 2, fps=PACE)
                found = len(plant.detections(wanted, 300))
        finally:
            process.terminate()
            process.wait(30)
    if found < wanted:
        raise SystemExit(f"only {found} of {wanted} frames were scored within 300 s")
    return highest[0]


def main() -> None:
    """Installs, measures, writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", action="store_true", help="the disk alone; no page")
    parser.add_argument("--frames", type=positive, default=120, help="frames that the worker answers, of each size")
    parser.add_argument("--threads", type=positive, default=2, help="threads of the model")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        environment = install(folder)
        total, packages = megabytes(environment), sizes(environment)
        largest = ", ".join(f"{name} {size:.0f}" for name, size in list(packages.items())[:SHOWN])
        disk = f"{total:.0f} MB (limit {DISK_MB}); the largest packages: {largest}"
        if given.sizes:
            sys.stdout.write(disk + "\n")
            raise SystemExit(total > DISK_MB)
        bench = Bench(folder, given.frames)
        for server in (bench.broker, bench.redis):
            server.start()
            stack.callback(server.stop, kill=True)
        rows = []
        for case in CASES:
            most = worker_memory(bench, environment / "bin/simvg", case, given.threads)
            rows.append("| {}×{} | {} | {} | {:.0f} | {} |".format(*case, most, MEMORY_MB))
    write(
        given.out,
        [
            "# The edge box",
            "",
            f"{machine()}.",
            "",
            f"`{command()}`",
            "",
            "## On disk",
            "",
            f"`simvg-line[edge]` in a new environment of Python {platform.python_version()}, with pip and compiled "
            f"modules: {disk}. Models come on top.",
            "",
            "## In memory",
            "",
            f"`simvg work` with `{MODEL}` in ONNX Runtime, {len(TEXTS)} queries, {given.threads} threads, "
            f"{given.frames} frames of two cameras:",
            "",
            "| frames | of a batch | freshness | highest resident memory, MB | aim, MB |",
            "| --- | ---: | --- | ---: | ---: |",
            *rows,
        ],
    )


if __name__ == "__main__":
    main()
