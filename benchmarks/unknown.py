"""How well "unknown" is told: frames in order that are refused, and frames beyond use that are not.

Takes rendered line pictures, spoils copies of them in the ways cameras fail, and asks the product's own measures. The
table goes to docs/benchmarks/unknown.md:

    python benchmarks/unknown.py benchmarks/line/val --out docs/benchmarks/unknown.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.measure import command, positive, write  # noqa: E402  # the repository is on the path only now
from consumers.grounding.vision import Sight, VisionLimits, difference, look, sample  # noqa: E402
from simvg_core.quality import QualityLimits, frame_problem, measure  # noqa: E402

Pixels = NDArray[np.uint8]
Spoil = Callable[[Pixels, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Case:
    """One way to spoil a frame; ``usable``: whether a person could still judge it, None where opinions differ."""

    name: str
    usable: bool | None
    spoil: Spoil


def scaled(factor: float, offset: float = 0.0) -> Spoil:
    return lambda frame, rng: np.clip(frame.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)


def noisy(sigma: float, then: Spoil) -> Spoil:
    def spoil(frame: Pixels, rng: np.random.Generator) -> Pixels:
        spoilt = then(frame, rng).astype(np.float32)
        return np.clip(spoilt + rng.normal(0, sigma, frame.shape), 0, 255).astype(np.uint8)

    return spoil


def blurred(share: float) -> Spoil:
    """Gaussian, sigma as a share of the width."""
    return lambda frame, rng: cv2.GaussianBlur(frame, (0, 0), share * frame.shape[1]).astype(np.uint8)


def dragged(share: float) -> Spoil:
    """Motion along the belt, length as a share of the width."""

    def spoil(frame: Pixels, rng: np.random.Generator) -> Pixels:
        length = max(1, round(share * frame.shape[1]))
        return cv2.blur(frame, (length, 1), borderType=cv2.BORDER_REPLICATE).astype(np.uint8)

    return spoil


def coded(quality: int) -> Spoil:
    def spoil(frame: Pixels, rng: np.random.Generator) -> Pixels:
        data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)

    return spoil


def covered(share: float) -> Spoil:
    """A soft dark cover over this share of the picture, from the left: a glove, tape, dirt."""

    def spoil(frame: Pixels, rng: np.random.Generator) -> Pixels:
        width = frame.shape[1]
        cover = np.clip((np.arange(width) - share * width) / (0.05 * width) + 0.5, 0, 1)[None, :, None]
        return np.asarray(frame * cover + 35.0 * (1 - cover), np.uint8)

    return spoil


def flat(level: float) -> Spoil:
    return lambda frame, rng: np.full_like(frame, level)


CASES = (
    Case("as rendered", True, scaled(1.0)),
    Case("sensor noise 4", True, noisy(4, scaled(1.0))),
    Case("half as bright, noise 2", True, noisy(2, scaled(0.5))),
    Case("a quarter as bright, noise 2", True, noisy(2, scaled(0.25))),
    Case("1.3 times as bright", True, scaled(1.3)),
    Case("twice as bright", None, scaled(2.0)),
    Case("JPEG quality 30", True, coded(30)),
    Case("blur 0.2 % of the width", True, blurred(0.002)),
    Case("blur 0.5 %", True, blurred(0.005)),
    Case("blur 1 %", None, blurred(0.01)),
    Case("motion 2 %", None, dragged(0.02)),
    Case("JPEG quality 5", None, coded(5)),
    Case("half of the lens covered", None, covered(0.5)),
    Case("lights out, noise 2", False, noisy(2, scaled(0.02))),
    Case("lights out, noise 6", False, noisy(6, scaled(0.02))),
    Case("lens cap, grey", False, noisy(1, flat(90))),
    Case("blown out", False, scaled(1.0, 245)),
    Case("blown out, 8 times as bright", False, scaled(8.0, 60)),
    Case("blur 2 %", False, blurred(0.02)),
    Case("blur 2 %, noise 2", False, noisy(2, blurred(0.02))),
    Case("blur 4 %", False, blurred(0.04)),
    Case("motion 8 %", False, dragged(0.08)),
    Case("JPEG quality 1", False, coded(1)),
    Case("lens covered, 95 %", False, covered(0.95)),
)

DRAG = 0.1
"""Value of the limit `drag`, which is off by default, to show what it would do."""

FAULTS = {"black": "black", "blown": "white", "shows": "flat", "blurred": "blur", "dragged": "drag"}
"""Which limit a sentence of `frame_problem` is about, by a word of it."""


def named(frame: Pixels, limits: QualityLimits) -> str | None:
    """Which limit the frame breaks first."""
    problem = frame_problem(frame, limits)
    return None if problem is None else next(name for word, name in FAULTS.items() if word in problem.split())


def quality_table(frames: list[Pixels], limits: QualityLimits) -> Iterator[str]:
    yield (
        f"| frames | should be | unknown | by | with drag {DRAG} | bright p5…p95 | dark | deviation "
        "| edge share p5 / p50 / p95 | direction p5 |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    should = {True: "judged", None: "either", False: "unknown"}
    wrong: dict[bool, list[int]] = {True: [0, 0], False: [0, 0]}
    for case in CASES:
        rng = np.random.default_rng(1)
        spoilt = [case.spoil(frame, rng) for frame in frames]
        found = [measure(frame) for frame in spoilt]
        kinds = [named(frame, limits) for frame in spoilt]
        stricter = sum(named(frame, replace(limits, drag=DRAG)) is not None for frame in spoilt)
        refused = sum(kind is not None for kind in kinds)
        if case.usable is not None:
            wrong[case.usable][0] += refused if case.usable else len(found) - refused
            wrong[case.usable][1] += len(found)
        by = ", ".join(sorted({kind for kind in kinds if kind}))
        bright, dark, deviation = (
            np.percentile([getattr(one, name) for one in found], [5, 95]) for name in ("bright", "dark", "deviation")
        )
        edges = np.percentile([one.edges for one in found], [5, 50, 95])
        yield (
            f"| {case.name} | {should[case.usable]} | {100 * refused / len(found):.1f} % | {by} "
            f"| {100 * stricter / len(found):.1f} % "
            f"| {bright[0]:.0f}…{bright[1]:.0f} | {dark[0]:.0f}…{dark[1]:.0f} | {deviation[0]:.0f}…{deviation[1]:.0f} "
            f"| {edges[0]:.5f} / {edges[1]:.5f} / {edges[2]:.5f} "
            f"| {np.percentile([one.direction for one in found], 5):.3f} |"
        )
    yield ""
    (false, judged), (missed, beyond) = wrong[True], wrong[False]
    yield f"False unknown: {false} of {judged} frames ({100 * false / judged:.2f} %)."
    yield f"Missed unknown: {missed} of {beyond} frames ({100 * missed / beyond:.2f} %)."


FPS, SECONDS = 5, 12


def still(frame: Pixels, rng: np.random.Generator, sigma: float, quality: int) -> Iterator[Pixels]:
    """A living camera on a scene at rest."""
    for _ in range(FPS * SECONDS):
        yield coded(quality)(noisy(sigma, scaled(1.0))(frame, rng), rng)


def frozen(frame: Pixels, quality: int, key_every: int | None, rng: np.random.Generator) -> Iterator[Pixels]:
    """The same picture again; coded anew a little differently at every key frame, as video is."""
    shown = coded(quality)(frame, rng)
    for number in range(FPS * SECONDS):
        if key_every is not None and number % key_every == 0:
            shown = coded(quality)(noisy(0.7, scaled(1.0))(frame, rng), rng)
        yield shown


def frozen_table(frames: list[Pixels], limits: VisionLimits) -> Iterator[str]:
    yield "| camera | should be | frozen | mean difference p5 / p50 of following pictures |"
    yield "| --- | --- | --- | --- |"
    rows: list[tuple[str, bool | None, Callable[[Pixels, np.random.Generator], Iterator[Pixels]]]] = [
        (f"scene at rest, noise {sigma:g}, JPEG {quality}", sigma >= 0.5 or None,
         partial(still, sigma=sigma, quality=quality))
        for sigma in (2.0, 1.0, 0.5, 0.25) for quality in (95, 80, 60)
    ]  # fmt: skip
    rows += [
        ("frozen, the same bytes", False, lambda frame, rng: frozen(frame, 90, None, rng)),
        ("frozen, key frame every 2 s", False, lambda frame, rng: frozen(frame, 90, 2 * FPS, rng)),
        ("frozen, key frame every second", False, lambda frame, rng: frozen(frame, 90, FPS, rng)),
        ("frozen, noise 1 added later", None, lambda frame, rng: still(frame, rng, 1.0, 90)),
    ]
    should = {True: "living", None: "either", False: "frozen"}
    for name, living, play in rows:
        rng = np.random.default_rng(2)
        hits, apart = 0, []
        for frame in frames:
            sight: Sight | None = None
            problem, before = None, None
            for number, picture in enumerate(play(frame, rng)):
                ns = 1 + round(number * 1e9 / FPS)
                sight, problem = look(sight, sample(picture), captured_ns=ns, published_ns=ns, limits=limits)
                now = sample(picture)
                if before is not None:
                    apart.append(difference(before, now)[0])
                before = now
            hits += problem is not None
        low, middle = np.percentile(apart, [5, 50])
        yield f"| {name} | {should[living]} | {hits} of {len(frames)} | {low:.3f} / {middle:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a line set: pictures in images/")
    parser.add_argument("--frames", type=positive, default=100, help="pictures for single frames, spread over the set")
    parser.add_argument("--cameras", type=positive, default=20, help="pictures for frozen cameras")
    parser.add_argument("--out", type=Path, help="markdown file; default: the terminal")
    options = parser.parse_args()
    files = sorted((options.folder / "images").glob("*.jpg"))
    if not files:
        parser.error(f"{options.folder / 'images'} holds no *.jpg; name a line set, for example benchmarks/line/val")
    chosen = files[:: max(1, len(files) // options.frames)][: options.frames]
    frames = [np.asarray(cv2.imread(str(file)), np.uint8) for file in chosen]
    limits, vision = QualityLimits(), VisionLimits()
    lines = [
        "# Unknown: frames that cannot be judged",
        "",
        f"Made by `{command()}` from {len(frames)} rendered pictures of "
        f"{frames[0].shape[1]}×{frames[0].shape[0]} pixels, each spoilt in every way below. \"Should be\" says what a",
        "person at the line would say; \"either\" counts neither as false nor as missed.",
        "",
        f"## Single frames (limits: black {limits.black:g}, white {limits.white:g}, flat {limits.flat:g}, "
        f"blur {limits.blur:g}, drag off)",
        "",
        *quality_table(frames, limits),
        "",
        f"## Frozen cameras ({FPS} frames/s for {SECONDS} s; limits {vision.frozen_s:g} s, {vision.same:g} levels)",
        "",
        *frozen_table(frames[:: max(1, len(frames) // options.cameras)][: options.cameras], vision),
        "",
        "Noise that is added behind a frozen picture (by a camera's own electronics) cannot be told from a scene at "
        "rest. A lens that is covered in part is no fault that a single picture shows (an empty table looks the same),",
        "and the blocks of a picture coded far too coarsely look like edges: both are missed, and said so here.",
    ]  # fmt: skip
    if options.out is None:
        sys.stdout.write("\n".join(lines) + "\n")
    else:
        write(options.out, lines)


if __name__ == "__main__":
    main()
