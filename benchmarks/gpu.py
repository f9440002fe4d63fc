"""Frames per second on one GPU, from JPEG bytes to boxes, and what each stage takes.

    python benchmarks/gpu.py                        # base/32 at 640×640, bfloat16, 16 queries
    python benchmarks/gpu.py --model models/line-small
    python benchmarks/gpu.py --compile default max-autotune    # the frame pass compiled, too

Pictures of the line benchmark, encoded anew at 640×480, are decoded by a pool of CPU threads; `Grounder` does the rest:
bytes to the GPU, resizing there, frame pass, query pass, answers in pixels. Several threads take turns with the GPU, so
that one prepares while another one's batch runs. base/32 has random weights, and every text is answered with a box.
With `--compile` the frame pass is also put through `torch.compile` in each mode that is named; one that cannot be
compiled is told in its row, and the others go on. The page is written before anything is compiled, and again after it.
Needs a CUDA device, torch, transformers, tokenizers, safetensors, numpy and OpenCV only; to compile, Triton and a C
compiler as well. `--device cpu` tries the benchmark itself out. Writes docs/benchmarks/gpu.md.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import (  # noqa: E402  # the repository is on the path only now
    TEXTS,
    command,
    decoded,
    interleaved,
    machine,
    note,
    positive,
    ratio,
    write,
)
from simvg_core import asking  # noqa: E402
from simvg_core.configuration import SimVGConfig  # noqa: E402
from simvg_core.device_frames import DeviceFrames  # noqa: E402
from simvg_core.execution import Execution  # noqa: E402
from simvg_core.face import CompiledQueries  # noqa: E402
from simvg_core.grounder import Grounder  # noqa: E402
from simvg_core.model import SimVGForGrounding  # noqa: E402
from simvg_core.processing import SimVGProcessor  # noqa: E402
from simvg_core.training.tokenizer import build_tokenizer  # noqa: E402
from simvg_core.words import FastPieces  # noqa: E402

PAGE = Path("docs/benchmarks/gpu.md")
PICTURES = REPOSITORY / "benchmarks/line/val/images"
WIDTH, HEIGHT = 640, 480
WARM = 3
"""Batches of each thread that do not count."""
LEAST = 3
"""Batches of each thread that make a rate, however long they take."""
GRAPHS = ("reduce-overhead", "max-autotune")
MODES = ("default", "max-autotune-no-cudagraphs", *GRAPHS)
"""Of `torch.compile`. The last two replay CUDA graphs, which belong to the thread that has recorded them."""


def load(name: str, device: str, batch: int, cast_weights: bool) -> Grounder:
    """The grounder on the device in bfloat16; every text is answered."""
    settings: dict[str, Any] = {
        "device": device,
        "execution": Execution(dtype="bfloat16", cast_weights=cast_weights, resize_on_device=True),
        "max_batch": batch,
        "check_quality": False,
    }
    if name != "base/32":
        return Grounder.from_pretrained(name, **settings)
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = SimVGConfig.base(attention="standing", tokenizer="fast", vocab_size=tokenizer.get_vocab_size())
    model, processor = SimVGForGrounding(config), SimVGProcessor(config, FastPieces(tokenizer))
    return Grounder(model, processor, **settings)


def jpegs(count: int) -> list[bytes]:
    """Encoded pictures of a camera's size."""
    paths = sorted(PICTURES.glob("*.jpg"))[:count]
    if not paths:
        raise SystemExit(f"{PICTURES} holds no picture; run this in a checkout of the repository.")
    pictures: list[Any] = [cv2.resize(np.asarray(cv2.imread(str(path))), (WIDTH, HEIGHT)) for path in paths]
    return [bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]) for picture in pictures]


def finish(device: torch.device) -> None:
    """Waits for all that the device has been given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(act: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Of one run, once warm, the device's work included."""
    for _ in range(WARM):
        act()
    finish(device)
    started = time.perf_counter()
    for _ in range(rounds):
        act()
    finish(device)
    return (time.perf_counter() - started) / rounds


class Bench:
    """One model with its queries, and encoded pictures."""

    def __init__(self, grounder: Grounder, images: list[bytes], pool: ThreadPoolExecutor, run_s: float) -> None:
        self.grounder, self.images, self.pool, self.run_s = grounder, images, pool, run_s
        self.queries: CompiledQueries[Any] = grounder.compile(TEXTS)
        self.device = grounder.device

    def encoded(self, batch: int, start: int = 0) -> list[bytes]:
        """So many pictures, from the first again when there are too few."""
        return [self.images[(start + place) % len(self.images)] for place in range(batch)]

    def pixels(self, batch: int) -> torch.Tensor:
        """The same as the model takes them."""
        return DeviceFrames(self.grounder.config, self.device)(list(self.pool.map(decoded, self.encoded(batch))))

    @contextlib.contextmanager
    def inference(self) -> Any:
        """As `Grounder` runs its model."""
        with torch.inference_mode(), self.grounder.execution.precision(self.device):
            yield

    def stages(self, batch: int) -> dict[str, float]:
        """Seconds of a batch by stage, each alone."""
        images, model = self.encoded(batch), self.grounder.model
        frames, sizes = list(self.pool.map(decoded, images)), [(HEIGHT, WIDTH)] * batch
        prepare, ready = DeviceFrames(self.grounder.config, self.device), self.queries._state[1]
        found = {
            "decoding JPEG, all threads": self._seconds(lambda: list(self.pool.map(decoded, images)), 10),
            "bytes to the GPU, resizing": self._seconds(lambda: prepare(frames), 20),
        }
        with self.inference():
            pixels = prepare(frames)
            outputs = model.ground_frames(pixels, ready.texts)
            seen = asking.see(model, pixels)
            found["frame pass"] = self._seconds(lambda: asking.see(model, pixels), 20)
            found["query pass"] = self._seconds(lambda: asking.ask(model, ready.texts, seen), 20)
            post = self.grounder.processor.post_process_grounding
            found["answers in pixels"] = self._seconds(lambda: post(outputs, sizes, 0.0), 10)
        return found

    def _seconds(self, act: Callable[[], object], rounds: int) -> float:
        return seconds(act, rounds, self.device)

    def rate(self, batch: int, threads: int) -> float:
        """Frames/s from bytes to boxes: threads that each decode a batch ahead of the one they ground. One alone is the
        caller's."""
        ended: list[list[float]] = [[] for _ in range(threads)]
        failed = threading.Event()

        def work(place: int) -> None:
            try:
                turn(place)
            except BaseException:
                failed.set()  # the others are not to wait for it
                raise

        def turn(place: int) -> None:
            own, parts = ended[place], [self.encoded(batch, place * 7 + number * batch) for number in range(4)]
            ahead = [self.pool.submit(decoded, image) for image in parts[0]]
            with self._stream(threads):
                for number in itertools.count(1):
                    frames = [one.result() for one in ahead]
                    ahead = [self.pool.submit(decoded, image) for image in parts[number % len(parts)]]
                    answers = self.grounder.ground(frames, self.queries, 0.0)
                    if not all(one.boxes_xyxy_px for row in answers for one in row):
                        raise SystemExit("a text was answered without a box: the time of its answer is not in the rate")
                    own.append(time.perf_counter())
                    if failed.is_set() or enough(ended, self.run_s):
                        break
            for one in ahead:
                one.cancel()

        if threads == 1:
            work(0)
        else:
            with ThreadPoolExecutor(threads) as workers:
                running = [workers.submit(work, place) for place in range(threads)]
            for one in running:
                one.result()
        return batch * steady(ended)

    def _stream(self, threads: int) -> contextlib.AbstractContextManager[Any]:
        """Threads that take turns each have their own, or one would wait for the other's work."""
        if self.device.type != "cuda" or threads == 1:
            return contextlib.nullcontext()
        return torch.cuda.stream(torch.cuda.Stream(self.device))

    def rates(self, cases: Sequence[tuple[int, int]], rounds: int) -> dict[tuple[int, int], list[float]]:
        """Frames/s by batch and threads; cases take turns, in every other round in reverse order."""
        found: dict[tuple[int, int], list[float]] = {case: [] for case in cases}
        for number in range(rounds):
            for case in cases if number % 2 == 0 else reversed(cases):
                found[case].append(self.rate(*case))
                note(f"batch {case[0]}, {case[1]} threads: {found[case][-1]:,.0f} frames/s")
        return found

    def compiled(self, mode: str, batch: int, threads: Sequence[int], rounds: int) -> Compiled:
        """The frame pass in a mode of `torch.compile`, alone and in its place in all. What fails is told, not raised:
        not every machine has what each mode needs."""
        note(f"compiling the frame pass: {mode}")
        found, model, plain = Compiled(mode), self.grounder.model, asking.see
        try:
            torch.compiler.reset()
            skipped = graphs_skipped()
            see = torch.compile(plain, mode=mode, fullgraph=True, dynamic=False)
            with self.inference():
                pixels = self.pixels(batch)
                truth, started = plain(model, pixels).image.float(), time.perf_counter()
                made = see(model, pixels).image.float()
                finish(self.device)
                found.compile_s = time.perf_counter() - started
                found.off = float((made - truth).norm() / truth.norm())
                del made
                cases = {"plain": lambda: plain(model, pixels), "compiled": lambda: see(model, pixels)}
                taken = interleaved(cases, max(3, rounds), warm_up=WARM)
                found.pass_s, found.times = (
                    statistics.median(taken["compiled"]),
                    ratio(taken["plain"], taken["compiled"]),
                )
            with patch.object(asking, "see", see):
                found.rates = {one: self.rates([(batch, one)], rounds)[batch, one] for one in threads}
            found.without_graphs = mode in GRAPHS and graphs_skipped() > skipped
        except (Exception, SystemExit) as error:
            lines = str(error).strip().splitlines() or [""]
            found.failure = f"{type(error).__name__}: {lines[0]}"[:200].replace("|", "/")
            note(f"{mode} failed: {error}")
        return found


def graphs_skipped() -> int:
    """How often so far a compiled part went without a CUDA graph."""
    from torch._dynamo.utils import counters  # only where something is compiled: it takes seconds

    return int(counters["inductor"]["cudagraph_skips"])


def begun(ended: Sequence[Sequence[float]]) -> float:
    """When the last thread became warm."""
    return max(own[WARM - 1] for own in ended)


def enough(ended: Sequence[Sequence[float]], run_s: float) -> bool:
    """Whether each thread, once all were warm, has worked for so long, and ended batches enough for a rate."""
    if not all(len(own) >= WARM + LEAST for own in ended):
        return False
    start = begun(ended)
    return all(own[-LEAST] >= start and own[-1] > start + run_s for own in ended)


def steady(ended: Sequence[Sequence[float]]) -> float:
    """Batches per second of threads, from the moments at which each has ended one: those between a thread's first and
    its last while all worked, over the time between these two. What a thread had only begun when the time was over
    would else be work without a batch."""
    start, end, total = begun(ended), min(own[-1] for own in ended), 0.0
    for own in ended:
        inside = [moment for moment in own if start <= moment <= end]
        total += (len(inside) - 1) / (inside[-1] - inside[0])
    return total


@dataclass
class Compiled:
    """What came of one mode of `torch.compile`."""

    mode: str
    compile_s: float = 0.0
    pass_s: float = 0.0
    times: float = 0.0  # as fast as the plain frame pass, within a round
    off: float = 0.0  # what the image tokens differ by from the plain ones, of their norm
    rates: dict[int, list[float]] = field(default_factory=dict)  # frames/s by threads
    failure: str = ""
    without_graphs: bool = False

    def rows(self, batch: int) -> list[str]:
        """Of the page's last table."""
        if self.failure:
            return [f"| {self.mode} | failed: {self.failure} | – | – | – | – | – |"]
        name = f"{self.mode}, which found no CUDA graph to take" if self.without_graphs else self.mode
        first = f"| {name} | {self.compile_s:.0f} | {1e3 * self.pass_s:.1f} ({batch / self.pass_s:,.0f}) | "
        first += f"{self.times:.2f} | {100 * self.off:.2f} | "
        return [f"{first}{threads} | {spread(rates)} |" for threads, rates in self.rates.items()]


def spread(rates: Sequence[float]) -> str:
    """Median, and lowest and highest of several."""
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} … {max(rates):,.0f})"


def page(
    given: argparse.Namespace, bench: Bench, parts: dict[str, float], rates: dict[tuple[int, int], list[float]],
    compiled: Sequence[Compiled],
) -> list[str]:  # fmt: skip
    """The lines of the page."""
    side, (batch, threads) = bench.grounder.config.image_size, max(rates, key=lambda one: statistics.median(rates[one]))
    name, last = torch.cuda.get_device_name() if bench.device.type == "cuda" else "no GPU", given.batches[-1]
    lines = [
        "# One GPU, from JPEG bytes to boxes",
        "",
        f"{name}, host {machine()}. {given.model} at {side}×{side}, "
        f"{'products' if given.autocast else 'weights'} in bfloat16, {len(TEXTS)} queries; "
        f"{WIDTH}×{HEIGHT} JPEG, {sum(map(len, bench.images)) / len(bench.images) / 1e3:.0f} kB each; "
        f"{given.decoders} threads decode.",
        "",
        f"`{command()}`",
        "",
        f"**{statistics.median(rates[batch, threads]):,.0f} frames/s** with batches of {batch} and {threads} threads, "
        f"the best of these; medians of {given.rounds} rounds of {given.seconds:g} s, in brackets lowest and highest:",
        "",
        "| frames per batch | threads that take turns | frames/s |",
        "| ---: | ---: | ---: |",
        *(f"| {batch} | {threads} | {spread(found)} |" for (batch, threads), found in rates.items()),
        "",
        f"Each stage alone, batches of {last}; the slowest one bounds the whole:",
        "",
        "| stage | ms per batch | frames/s |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {1e3 * took:.1f} | {last / took:,.0f} |" for name, took in parts.items()),
        "",
    ]
    if compiled:
        lines += [
            f"The frame pass through `torch.compile`, batches of {last}; times as fast: the median ratio to the plain "
            "one within a round; off: what its image tokens differ by, of their norm. The modes with CUDA graphs run "
            "with one thread.",
            "",
            "| mode | compiling, s | frame pass, ms (frames/s) | times as fast | off, % | threads | all, frames/s |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(row for one in compiled for row in one.rows(last)),
            "",
        ]
    return lines


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base/32", help="base/32, or a model folder")
    parser.add_argument("--batches", type=positive, nargs="+", default=[32, 64], help="the last one's stages are told")
    parser.add_argument(
        "--threads", type=positive, nargs="+", default=[2, 3], help="threads that take turns with the GPU"
    )
    parser.add_argument("--decoders", type=positive, default=14, help="threads that decode")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=positive, default=3, help="measurements of each case")
    parser.add_argument("--autocast", action="store_true", help="weights stay in float32, products alone in bfloat16")
    parser.add_argument("--compile", choices=MODES, nargs="+", default=[], help="modes of torch.compile to try as well")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the benchmark out")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    if given.device == "cpu" and given.out == PAGE:
        parser.error(f"{PAGE} is for a GPU's figures; name another page with --out.")
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device is usable here; this benchmark measures one.")
    cv2.setNumThreads(1)
    grounder = load(given.model, given.device, max(given.batches), cast_weights=not given.autocast)
    last = given.batches[-1]
    cases = list(itertools.product(given.batches, given.threads))
    if set(given.compile) & set(GRAPHS) and (last, 1) not in cases:
        cases.append((last, 1))  # what they are to be compared with
    with ThreadPoolExecutor(given.decoders) as pool:
        bench = Bench(grounder, jpegs(200), pool, given.seconds)
        parts = bench.stages(last)
        for name, took in parts.items():
            note(f"{name}: {1e3 * took:.1f} ms per batch of {last}")
        rates = bench.rates(cases, given.rounds)
        write(given.out, page(given, bench, parts, rates, []))
        compiled: list[Compiled] = []
        for mode in given.compile:
            compiled.append(bench.compiled(mode, last, [1] if mode in GRAPHS else given.threads, given.rounds))
            write(given.out, page(given, bench, parts, rates, compiled))


if __name__ == "__main__":
    main()
