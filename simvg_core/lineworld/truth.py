"""What is in a rendered picture: the typed reader of its truth record, and the view the query grammar works on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simvg_core.errors import InputError
from simvg_core.lineworld.vocabulary import COLORS, KINDS, SIZES, STATES

Box = tuple[float, float, float, float]


class TruthError(InputError):
    """A truth record that is broken; the message names file, instance, field and value."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One thing in the picture. `box_xyxy_px` bounds its visible pixels; `visible` is their share of all its pixels.

    `clear` is False where a person could not decide kind and state from the picture. `plate` is the id of the plate
    it sits on, None for things on the belt. `axes_deg`: how the width and the depth of a rectangular thing run in the
    picture, from right towards down; None for other things.
    """

    id: int
    kind: str
    plate: int | None
    color: str | None
    material: str | None
    size: str | None
    state: str
    box_xyxy_px: Box
    pixels: int
    visible: float
    clear: bool
    angle_deg: float
    axes_deg: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ImageTruth:
    """One picture of a rendered set; `held_out` says which of material, light, color, camera training never sees."""

    image: str
    width: int
    height: int
    seed: int
    split: str
    held_out: dict[str, bool]
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance as the grammar sees it; `box` is xyxy, normalised to 0 … 1 of the (augmented) picture.

    `axes`: the directions of a rectangular thing's width and depth in that square, in radians from right towards down.
    """

    id: int
    kind: str
    plate: int | None
    color: str | None
    size: str | None
    state: str
    box: Box
    clear: bool
    axes: tuple[float, float] | None = None

    @property
    def x(self) -> float:
        """Centre, from the left, 0 … 1."""
        return (self.box[0] + self.box[2]) / 2

    @property
    def y(self) -> float:
        """Centre, from the top, 0 … 1."""
        return (self.box[1] + self.box[3]) / 2

    @property
    def area(self) -> float:
        """Share of the picture."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


def read_truth(path: Path) -> ImageTruth:
    """Reads one truth file.

    Raises:
        TruthError: it is missing, no JSON, or a field is wrong.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TruthError(f"truth file {path} cannot be read ({error}); render the image again.") from error
    return parse_truth(raw, str(path))


def parse_truth(raw: Any, where: str) -> ImageTruth:
    """Checks one decoded record; `where` names it in errors.

    Raises:
        TruthError: a field is missing or has a value out of range.
    """
    try:
        width, height = int(raw["width"]), int(raw["height"])
        if width < 1 or height < 1:
            raise TruthError(f"{where}: picture size {width}×{height} must be positive.")
        instances = tuple(
            _instance(entry, f"{where}, instance {number}", width, height)
            for number, entry in enumerate(raw["instances"])
        )
        if len({instance.id for instance in instances}) != len(instances):
            raise TruthError(f"{where}: two instances share an id; ids must be unique within a picture.")
        return ImageTruth(
            image=str(raw["image"]),
            width=width,
            height=height,
            seed=int(raw["seed"]),
            split=str(raw["split"]),
            held_out={str(key): bool(value) for key, value in raw.get("held_out", {}).items()},
            instances=instances,
        )
    except KeyError as error:
        raise TruthError(f"{where}: field {error.args[0]!r} is missing.") from error
    except (TypeError, AttributeError, ValueError) as error:
        if isinstance(error, TruthError):
            raise
        raise TruthError(f"{where}: {error}.") from error


def _instance(raw: dict[str, Any], where: str, width: int, height: int) -> Instance:
    x0, y0, x1, y1 = (float(value) for value in raw["box"])
    # half a pixel of tolerance: boxes bound pixels, and rounding may reach over the border
    if not (-0.5 <= x0 < x1 <= width + 0.5 and -0.5 <= y0 < y1 <= height + 0.5):
        raise TruthError(f"{where}: box {raw['box']} is empty or leaves the {width}×{height} picture.")
    _known(raw["kind"], KINDS, "kind", where)
    _known(raw["state"], STATES, "state", where)
    if raw.get("color") is not None:
        _known(raw["color"], COLORS, "color", where)
    if raw.get("size") is not None:
        _known(raw["size"], SIZES, "size", where)
    visible = float(raw["visible"])
    if not 0 <= visible <= 1.001:
        raise TruthError(f"{where}: visible={visible} must lie in 0 … 1.")
    return Instance(
        id=int(raw["id"]),
        kind=raw["kind"],
        plate=None if raw.get("plate") is None else int(raw["plate"]),
        color=raw.get("color"),
        material=raw.get("material"),
        size=raw.get("size"),
        state=raw["state"],
        box_xyxy_px=(x0, y0, x1, y1),
        pixels=int(raw.get("pixels", 0)),
        visible=visible,
        clear=bool(raw["clear"]),
        angle_deg=float(raw.get("angle_deg") or 0.0),
        axes_deg=_axes(raw.get("axes_deg"), where),
    )


def _axes(raw: Any, where: str) -> tuple[float, float] | None:
    if raw is None:
        return None
    if len(raw) != 2:
        raise TruthError(f"{where}: axes_deg={raw} must be two angles, of the width and of the depth.")
    return float(raw[0]), float(raw[1])


def _known(value: Any, known: tuple[str, ...], field: str, where: str) -> None:
    if value not in known:
        raise TruthError(f"{where}: {field}={value!r} is not known; use one of {', '.join(known)}.")


def turned_axes(axes_deg: tuple[float, float], width: int, height: int) -> tuple[float, float]:
    """Directions in a picture of width × height pixels → in the square it is normalised to, in radians."""
    first, second = (
        math.atan2(math.sin(math.radians(angle)) / height, math.cos(math.radians(angle)) / width) for angle in axes_deg
    )
    return first, second


def seen_in(truth: ImageTruth) -> list[Seen]:
    """The whole picture as the grammar sees it, without any augmentation."""
    w, h = truth.width, truth.height
    return [
        Seen(
            id=one.id,
            kind=one.kind,
            plate=one.plate,
            color=one.color,
            size=one.size,
            state=one.state,
            box=(one.box_xyxy_px[0] / w, one.box_xyxy_px[1] / h, one.box_xyxy_px[2] / w, one.box_xyxy_px[3] / h),
            clear=one.clear,
            axes=None if one.axes_deg is None else turned_axes(one.axes_deg, w, h),
        )
        for one in truth.instances
    ]
