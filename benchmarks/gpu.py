"""Frames per second on one GPU, from JPEG bytes to boxes, and what each stage takes.

    python benchmarks/gpu.py                        # base/32 at 640×640, bfloat16, 16 queries
    python benchmarks/gpu.py --model models/line-small

Pictures of the line benchmark, encoded anew at 640×480, are decoded by a pool of CPU threads; `Grounder` does the rest:
bytes to the GPU, resizing there, frame pass, query pass, answers in pixels. Several threads take turns with the GPU, so
that one prepares while another one's batch runs. base/32 has random weights, and every text is answered with a box.
Needs a CUDA device, torch, transformers, tokenizers, safetensors, numpy and OpenCV only. Writes docs/benchmarks/gpu.md.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import TEXTS, command, decoded, machine, write  # noqa: E402  # the repository is on the path only now
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


def load(name: str, batch: int, cast_weights: bool) -> Grounder:
    """The grounder on the GPU in bfloat16; every text is answered."""
    settings: dict[str, Any] = {
        "device": "cuda",
        "execution": Execution(dtype="bfloat16", cast_weights=cast_weights),
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


def seconds(act: Callable[[], object], rounds: int) -> float:
    """Of one run, once warm, the GPU's work included."""
    for _ in range(3):
        act()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(rounds):
        act()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / rounds


def stages(
    grounder: Grounder, queries: CompiledQueries[Any], batch: Sequence[bytes], pool: ThreadPoolExecutor
) -> dict[str, float]:
    """Seconds of a batch by stage, each alone."""
    frames = list(pool.map(decoded, batch))
    prepare = DeviceFrames(grounder.config, grounder.device)
    sizes = [(HEIGHT, WIDTH)] * len(frames)
    ready: Any = queries._state[1]
    found = {
        "decoding JPEG, all threads": seconds(lambda: list(pool.map(decoded, batch)), 10),
        "bytes to the GPU, resizing": seconds(lambda: prepare(frames), 20),
    }
    with torch.inference_mode(), grounder.execution.precision(grounder.device):
        pixels = prepare(frames)
        outputs = grounder.model.ground_frames(pixels, ready.texts)
        seen = asking.see(grounder.model, pixels)
        found["frame pass"] = seconds(lambda: asking.see(grounder.model, pixels), 20)
        found["query pass"] = seconds(lambda: asking.ask(grounder.model, ready.texts, seen), 20)
        post = grounder.processor.post_process_grounding
        found["answers in pixels"] = seconds(lambda: post(outputs, sizes, 0.0), 10)
    return found


def rate(
    grounder: Grounder, queries: CompiledQueries[Any], images: Sequence[bytes], batch: int, threads: int, run_s: float,
    pool: ThreadPoolExecutor,
) -> float:  # fmt: skip
    """Frames/s from bytes to boxes: threads that each decode a batch ahead of the one they ground."""
    done = [0] * threads
    go, until = threading.Barrier(threads + 1), [0.0]

    def work(place: int) -> None:
        try:
            turn(place)
        except BaseException:
            go.abort()  # nobody waits for a thread that has failed
            raise

    def turn(place: int) -> None:
        parts = [[images[(place * 7 + number * batch + i) % len(images)] for i in range(batch)] for number in range(4)]
        ahead = [pool.submit(decoded, image) for image in parts[0]]
        with torch.cuda.stream(torch.cuda.Stream()):
            for number in range(1, 10**9):
                frames = [one.result() for one in ahead]
                ahead = [pool.submit(decoded, image) for image in parts[number % 4]]
                answers = grounder.ground(frames, queries, 0.0)
                assert all(one.boxes_xyxy_px for row in answers for one in row), "every text has a box"
                if number == 3:
                    go.wait()
                    go.wait()
                elif number > 3:
                    if time.perf_counter() > until[0]:
                        return
                    done[place] += batch

    with ThreadPoolExecutor(threads) as workers:
        running = [workers.submit(work, place) for place in range(threads)]
        with suppress(threading.BrokenBarrierError):
            go.wait()
            until[0] = time.perf_counter() + run_s
            go.wait()
        failures = [error for one in running if (error := one.exception()) is not None]
    for error in failures:
        if not isinstance(error, threading.BrokenBarrierError):  # those of the others follow from it
            raise error
    return sum(done) / run_s


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base/32", help="base/32, or a model folder")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 3], help="threads that take turns with the GPU")
    parser.add_argument("--decoders", type=int, default=14, help="threads that decode")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--autocast", action="store_true", help="weights stay in float32, products alone in bfloat16")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device is usable here; this benchmark measures one.")
    cv2.setNumThreads(1)
    images = jpegs(200)
    grounder = load(given.model, max(given.batches), cast_weights=not given.autocast)
    queries = grounder.compile(TEXTS)
    side = grounder.config.image_size
    with ThreadPoolExecutor(given.decoders) as pool:
        parts = stages(grounder, queries, images[: given.batches[-1]], pool)
        rates = {
            (batch, threads): rate(grounder, queries, images, batch, threads, given.seconds, pool)
            for batch in given.batches
            for threads in given.threads
        }
    best = max(rates.values())
    write(
        given.out,
        [
            "# One GPU, from JPEG bytes to boxes",
            "",
            f"{torch.cuda.get_device_name()}, host {machine()}. {given.model} at {side}×{side}, "
            f"{'products' if given.autocast else 'weights'} in bfloat16, {len(TEXTS)} queries; "
            f"{WIDTH}×{HEIGHT} JPEG, {sum(map(len, images)) / len(images) / 1e3:.0f} kB each; "
            f"{given.decoders} threads decode.",
            "",
            f"`{command()}`",
            "",
            f"**{best:,.0f} frames/s**, the best of:",
            "",
            "| frames per batch | threads that take turns | frames/s |",
            "| ---: | ---: | ---: |",
            *(f"| {batch} | {threads} | {found:,.0f} |" for (batch, threads), found in rates.items()),
            "",
            f"Each stage alone, batches of {given.batches[-1]}; the slowest one bounds the whole:",
            "",
            "| stage | ms per batch | frames/s |",
            "| --- | ---: | ---: |",
            *(f"| {name} | {1e3 * took:.1f} | {given.batches[-1] / took:,.0f} |" for name, took in parts.items()),
            "",
        ],
    )


if __name__ == "__main__":
    main()
