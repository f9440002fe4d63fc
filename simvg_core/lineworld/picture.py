"""One scene → its picture (8-bit BGR) and its truth."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simvg_core.lineworld.build import Built, Instance, build, environment
from simvg_core.lineworld.scene import Scene
from simvg_core.lineworld.tracer import F32, Trace, Tracer, View

MIN_PIXELS = 30
MIN_SIDE = 7.0
MIN_TILT = 0.16
MIN_CONTRAST = 9.0
MARKS = ("scratch", "dent", "stain")


def view_of(scene: Scene) -> View:
    """The pinhole camera of a scene."""
    c = scene.camera
    x, y = c.look
    flat = c.distance * np.sin(c.tilt)
    origin = (x + flat * np.cos(c.around), y + flat * np.sin(c.around), c.distance * np.cos(c.tilt))
    return View(origin, (x, y, 0.0), c.fov, c.roll, c.width, c.height)


def render(tracer: Tracer, scene: Scene) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """The picture (H, W, 3) BGR and the instances of the truth, in the order of the scene."""
    built, view, trace = radiance(tracer, scene)
    image = sense(trace.color, scene)
    return image, truth(built, view, trace.face, trace.uv, image, scene)


def radiance(tracer: Tracer, scene: Scene) -> tuple[Built, View, Trace]:
    """The linear picture of a scene with what it was made of."""
    built = build(scene)
    view = view_of(scene)
    maps = built.atlas.maps
    tracer.load(built.mesh.points, built.mesh.normals, built.mesh.uv, built.mesh.faces, maps, environment(scene))
    return built, view, tracer.trace(view, maps, scene.seed % 2**31)


def automatic_level(color: F32) -> float:
    """The radiance that automatic exposure shows as a middle tone."""
    return float(np.percentile(color.mean(2), 85))


def sense(color: F32, scene: Scene) -> NDArray[np.uint8]:
    """Linear radiance → what the camera hands out: exposure, tone curve, lens, noise."""
    s = scene.sensor
    rng = np.random.default_rng([scene.seed, 7])
    level = s.level or automatic_level(color)
    linear = color * (0.42 / max(level, 1e-3)) * 2.0**s.exposure
    height, width = linear.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    radius = ((columns / width - 0.5) ** 2 + (rows / height - 0.5) ** 2) * 2
    linear = linear * (1 - s.vignette * radius)[..., None]
    # a soft shoulder: highlights roll off as on a sensor with a film-like curve, and metals keep their shape
    toned = np.clip(linear * (2.51 * linear + 0.25) / (linear * (2.43 * linear + 0.75) + 0.12), 0, 1)
    encoded = toned ** (1 / 2.0) * 255
    if s.blur > 0.05:
        encoded = cv2.GaussianBlur(encoded, (0, 0), s.blur)
    grain = rng.standard_normal(encoded.shape).astype(np.float32)
    common = rng.standard_normal(encoded.shape[:2]).astype(np.float32)
    encoded = encoded + s.noise * (0.5 * grain + 0.75 * common[..., None])
    return np.ascontiguousarray(np.clip(encoded, 0, 255).astype(np.uint8)[..., ::-1])


def truth(
    built: Built, view: View, face: NDArray[np.int64], uv: F32, image: NDArray[np.uint8], scene: Scene
) -> list[dict[str, Any]]:
    """Instances that are in the picture, as the stored truth has them."""
    owner = np.where(face >= 0, built.owner[np.clip(face, 0, len(built.owner) - 1)], -1)
    side = built.atlas.marks.shape[0]
    pick = np.clip((uv * side).astype(int), 0, side - 1)
    mark = built.atlas.marks[pick[..., 1], pick[..., 0]]
    plates = [i for i, instance in enumerate(built.instances) if instance.kind == "plate"]
    mark = np.where(np.isin(owner, plates), mark, 0)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    records = []
    for number, instance in enumerate(built.instances):
        mask = mark == instance.mark if instance.mark else owner == number
        if instance.kind == "plate":
            mask = _plate_mask(owner, number, built, instance)
        pixels = int(mask.sum())
        if pixels == 0:
            continue
        rows, columns = np.nonzero(mask)
        box = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
        full = _silhouette(instance, view)
        if instance.mark:
            full = _texture_share(built, instance, view, full)
        visible = min(1.0, pixels / max(full, 1.0)) if full else 0.0
        records.append(
            {
                "id": instance.id,
                "kind": instance.kind,
                "plate": instance.plate,
                "color": instance.color,
                "material": instance.material,
                "size": instance.size,
                "state": instance.state,
                "box": box,
                "pixels": pixels,
                "visible": round(visible, 3),
                "clear": _clear(instance, view, mask, box, pixels, visible, grey),
                "angle_deg": round(float(np.degrees(instance.turn)), 1),
                "axes_deg": _axes(instance, view),
            }
        )
    return records


def _plate_mask(owner: NDArray[np.int64], number: int, built: Built, instance: Instance) -> NDArray[np.bool_]:
    """A plate is seen with all that stands on it."""
    on_it = [i for i, other in enumerate(built.instances) if other.plate == instance.id]
    return np.isin(owner, [number, *on_it])


def _axes(instance: Instance, view: View) -> list[float] | None:
    """Directions of a rectangular thing's width and depth in the picture, in degrees from right towards down."""
    if instance.pose is None:
        return None
    middle = instance.pose[:3, 3]
    ends = np.stack([middle, middle + instance.pose[:3, 0], middle + instance.pose[:3, 1]])
    pixels = view.project(ends)
    if np.isnan(pixels).any():
        return None
    x, y = (pixels[1:] - pixels[0]).T
    return [round(float(angle), 1) for angle in np.degrees(np.arctan2(y, x))]


def _silhouette(instance: Instance, view: View) -> float:
    """Pixels that the instance would cover without occluders and without the picture's border."""
    pixels = view.project(instance.outline)
    if np.isnan(pixels).any():
        return 0.0
    if instance.faces is not None:
        # four times finer than the picture: filled triangles are half a pixel too fat all around
        pixels = 4 * pixels
        low = np.floor(pixels.min(0)) - 1
        size = np.ceil(pixels.max(0) - low).astype(int) + 2
        if size.max() > 8000:
            return 0.0
        canvas = np.zeros((size[1], size[0]), np.uint8)
        for triangle in np.round((pixels - low)[instance.faces] * 16).astype(np.int32):
            cv2.fillConvexPoly(canvas, triangle, 1, cv2.LINE_8, 4)
        return float(canvas.sum()) / 16
    return float(cv2.contourArea(cv2.convexHull(pixels.astype(np.float32))))


def _texture_share(built: Built, instance: Instance, view: View, hull: float) -> float:
    """Pixels of a mark in full: the share of its hull that its texture fills."""
    rows, columns = np.nonzero(built.atlas.marks == instance.mark)
    if len(rows) < 3:
        return 0.0
    area = float(cv2.contourArea(cv2.convexHull(np.stack([columns, rows], 1).astype(np.int32))))
    return hull * min(1.0, len(rows) / max(area, 1.0))


def _clear(
    instance: Instance, view: View, mask: NDArray[np.bool_], box: list[int], pixels: int, visible: float, grey: F32
) -> bool:
    """Whether a person could decide kind and state from the picture."""
    short = min(box[2] - box[0], box[3] - box[1])
    long = max(box[2] - box[0], box[3] - box[1])
    if instance.kind == "plate":
        return visible > 0.3
    if visible < 0.55 or pixels < MIN_PIXELS * (0.5 if instance.kind == "scratch" else 1.0):
        return False
    if instance.kind in ("scratch", "cable"):
        if long < 14:
            return False
    elif short < MIN_SIDE:
        return False
    if instance.kind in MARKS:
        near = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~mask
        if not near.any():
            return False
        inside, outside = grey[mask], grey[near]
        if instance.kind == "dent":  # a dent is light and shade, not a tone
            return (
                float(inside.std()) > 1.6 * float(outside.std()) + 4
                or abs(float(inside.mean() - outside.mean())) > MIN_CONTRAST
            )
        return abs(float(np.median(inside)) - float(np.median(outside))) > MIN_CONTRAST
    if instance.kind == "missing_bolt" or instance.kind == "missing_screw":
        return visible > 0.6
    if instance.state == "tilted":
        return instance.tilt >= MIN_TILT and short >= 12
    return True
