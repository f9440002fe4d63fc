"""Scene description → one mesh, one atlas, and which face belongs to which instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simvg_core.lineworld.looks import weather
from simvg_core.lineworld.marks import paint_mark
from simvg_core.lineworld.parts import BUILDERS, HOLES, hole
from simvg_core.lineworld.scene import Mark, Part, Plate, Scene
from simvg_core.lineworld.shapes import Array, Shape, block, join, placement, ring, rounded_rectangle, sheet, slab
from simvg_core.lineworld.surfaces import (
    COLORS,
    FINISHES,
    HELD_OUT_COLORS,
    Atlas,
    Region,
    belt_maps,
    label_maps,
    surface_maps,
)
from simvg_core.lineworld.tracer import ENVIRONMENT, F32

BELT_MM = 900.0

NOT_CONVEX = ("cable", "spanner", "pliers", "screwdriver", "washer", "gear", "cap")
"""Kinds whose silhouette is filled face by face; the others' is the hull of their points."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What the truth will say of one thing. ``outline`` (n, 3): world points that span it; ``faces`` only where it is
    not convex, to fill its silhouette. ``mark`` is its number in the atlas for marks. ``pose`` (4, 4): where the middle
    and the sides of a rectangular thing, a plate or a label, lie in the world."""

    id: int
    kind: str
    plate: int | None
    color: str | None
    material: str | None
    size: str | None
    state: str
    turn: float
    tilt: float
    radius: float
    outline: Array
    faces: NDArray[np.int64] | None = None
    mark: int = 0
    pose: Array | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """Mesh arrays as the tracer takes them; ``owner`` (m,) is the place in ``instances`` of each face, −1 for none."""

    mesh: Shape
    owner: NDArray[np.int64]
    atlas: Atlas
    instances: list[Instance]


class _Builder:
    def __init__(
        self,
        colors: Mapping[str, tuple[float, float, float]],
        finishes: Mapping[str, tuple[float, float]] = FINISHES,
        wear: float = 0.0,
    ) -> None:
        self.colors, self.finishes, self.wear = colors, finishes, wear
        self.atlas = Atlas()
        self.shapes: list[Shape] = []
        self.owners: list[NDArray[np.int64]] = []
        self.instances: list[Instance] = []

    def add(self, shape: Shape, owner: int) -> None:
        self.shapes.append(shape)
        self.owners.append(np.full(len(shape.faces), owner, np.int64))

    def plain(self, shape: Shape, finish: str, color: str, owner: int) -> None:
        """A shape of one colour."""
        roughness, metallic = self.finishes[finish]
        region = self.atlas.swatch(self.colors[color], roughness, metallic)
        middle = region.uv(np.full((1, 2), 0.5))
        self.add(Shape(shape.points, shape.normals, shape.faces, np.repeat(middle, len(shape.points), 0)), owner)

    def part(self, part: Part, frame: Array, plate: Plate | None) -> None:
        number = len(self.instances)
        matrix = frame @ placement(part.x, part.y, turn=part.turn, tilt=part.tilt, tilt_to=part.tilt_to)
        if part.kind in HOLES:
            depth = plate.thickness if plate else 4.0
            pieces = [(s.moved(matrix), f, c) for s, f, c in hole(part, depth)]
            rim = np.column_stack([ring(part.radius, 0, 0, 24), np.zeros(24)])
            outline = rim @ matrix[:3, :3].T + matrix[:3, 3]
        elif part.kind == "label":
            self._label(part, matrix, plate, number)
            return
        else:
            if part.state == "tilted":  # a loose bolt stands out of its hole
                matrix = matrix @ placement(0, 0, 0.25 * part.radius)
            pieces = [(s.moved(matrix), f, c) for s, f, c in BUILDERS[part.kind](part)]
            outline = np.concatenate([s.points for s, _, _ in pieces])
        for shape, finish, color in pieces:
            self.plain(shape, finish, color or part.color or "steel", number)
        faces = None
        if part.kind in NOT_CONVEX:
            faces = join([s for s, _, _ in pieces]).faces
        elif part.kind not in HOLES:  # the shank in its hole is not there to be seen
            outline = outline[outline[:, 2] > frame[2, 3] - 0.05 * part.radius]
        self.instances.append(
            Instance(
                id=part.id,
                kind=part.kind,
                plate=plate.id if plate else None,
                color=part.color,
                material=part.finish,
                size=part.size,
                state=part.state,
                turn=part.turn,
                tilt=part.tilt,
                radius=part.radius,
                outline=outline,
                faces=faces,
            )
        )

    def _label(self, part: Part, matrix: Array, plate: Plate | None, number: int) -> None:
        region = self.atlas.label()
        art = label_maps(part.seed, self.colors[part.color or "white"], region.height, region.width)
        self.atlas.paint(region, art, *self.finishes["paper"])
        shape = sheet(2 * part.radius, part.radius, 0.12).moved(matrix)
        self.add(Shape(shape.points, shape.normals, shape.faces, region.uv(shape.uv)), number)
        self.instances.append(
            Instance(
                id=part.id,
                kind="label",
                plate=plate.id if plate else None,
                color=part.color,
                material="paper",
                size=part.size,
                state=part.state,
                turn=part.turn,
                tilt=0.0,
                radius=part.radius,
                outline=shape.points,
                pose=matrix,
            )
        )

    def plate(self, plate: Plate) -> None:
        frame = placement(plate.x, plate.y, plate.thickness, turn=plate.turn)
        low = placement(plate.x, plate.y, 0, turn=plate.turn)
        number = len(self.instances)
        outline = rounded_rectangle(plate.width, plate.depth, plate.corner)
        holes = [ring(p.radius, p.x, p.y) for p in plate.parts if p.kind in HOLES]
        shape = slab(outline, holes, plate.thickness, min(1.2, 0.2 * plate.thickness)).moved(low)
        region = self.atlas.plate()
        rng = np.random.default_rng(plate.seed)
        base, rough, metal, bump = surface_maps(
            rng, plate.finish, self.colors[plate.color], region.height, region.width, self.finishes
        )
        if self.wear:
            weather(rng, self.wear, base, rough, bump)
        self.add(Shape(shape.points, shape.normals, shape.faces, region.uv(shape.uv)), number)
        top = np.column_stack([outline, np.zeros(len(outline))])
        self.instances.append(
            Instance(
                id=plate.id,
                kind="plate",
                plate=None,
                color=plate.color,
                material=plate.finish,
                size=None,
                state="ok",
                turn=plate.turn,
                tilt=0.0,
                radius=plate.width / 2,
                outline=np.concatenate([top @ frame[:3, :3].T + frame[:3, 3], top @ low[:3, :3].T + low[:3, 3]]),
                pose=frame,
            )
        )
        for mark in plate.marks:
            self._mark(mark, plate, frame, region, base, rough, metal, bump)
        self.atlas.paint(region, base, rough, metal, bump)
        for x, y, w, d in plate.relief:
            self.plain(
                block(w, d, 0.35 * plate.thickness, 0.5, 2.0).moved(frame @ placement(x, y)),
                plate.finish,
                plate.color,
                number,
            )
        for part in plate.parts:
            self.part(part, frame, plate)

    def _mark(
        self, mark: Mark, plate: Plate, frame: Array, region: Region, base: F32, rough: F32, metal: F32, bump: F32
    ) -> None:
        cover = paint_mark(mark, plate, base, rough, metal, bump)
        marked = np.zeros(cover.shape, np.int32)
        number = len(self.instances)
        marked[cover > 0.4] = number + 1
        area = np.s_[region.y : region.y + region.height, region.x : region.x + region.width]
        self.atlas.marks[area] = np.where(marked > 0, marked, self.atlas.marks[area])
        rows_of, columns_of = np.nonzero(marked)
        spots = np.stack([columns_of, rows_of], 1)
        hull = cv2.convexHull(spots.astype(np.int32))[:, 0] if len(spots) else np.zeros((1, 2))
        local = (hull / [region.width - 1, region.height - 1] - 0.5) * [plate.width, plate.depth]
        world = np.column_stack([local, np.zeros(len(local))]) @ frame[:3, :3].T + frame[:3, 3]
        # a mark is no convex thing: what its own pixels cover is measured against the pixels of its texture
        self.instances.append(
            Instance(
                id=mark.id,
                kind=mark.kind,
                plate=plate.id,
                color=None,
                material=None,
                size=None,
                state="ok",
                turn=plate.turn,
                tilt=0.0,
                radius=mark.width / 2,
                outline=world,
                mark=number + 1,
            )
        )

    def belt(self, scene: Scene) -> None:
        belt = scene.belt
        rng = np.random.default_rng(belt.seed)
        region = self.atlas.belt
        base, rough, metal, bump = belt_maps(rng, belt.kind, belt.color, region.width)
        if self.wear:
            weather(rng, self.wear, base, rough, bump)
        self.atlas.paint(region, base, rough, metal, bump)
        shift = belt.shift % BELT_MM
        middle = scene.camera.look
        # tiles of the same pattern side by side: what is far away never ends in view
        for column in (-2, -1, 0, 1):
            for row in (-1, 0, 1):
                tile = sheet(BELT_MM, BELT_MM).moved(
                    placement(middle[0] + shift + column * BELT_MM, middle[1] + row * BELT_MM)
                )
                self.add(Shape(tile.points, tile.normals, tile.faces, region.uv(tile.uv)), -1)
        if belt.rails is not None:
            for side in (-1, 1):
                rail = block(4 * BELT_MM, 26, 24, 2.0).moved(placement(middle[0], side * (belt.rails + 13)))
                self.plain(rail, "brushed", "steel", -1)


def build(scene: Scene) -> Built:
    """Builds everything of a scene. Deterministic in the scene."""
    if scene.look is None:
        builder = _Builder(HELD_OUT_COLORS if scene.held_out.get("color") else COLORS)
    else:
        builder = _Builder(scene.look.tones, scene.look.finishes, scene.look.wear)
    builder.belt(scene)
    for plate in scene.plates:
        builder.plate(plate)
    floor = np.eye(4)
    for part in scene.loose:
        builder.part(part, floor, None)
    return Built(join(builder.shapes), np.concatenate(builder.owners), builder.atlas, builder.instances)


def environment(scene: Scene) -> F32:
    """Radiance of the surroundings (64, 128, 3): an ambient gradient, and the lamps as soft boxes."""
    height, width = ENVIRONMENT
    elevation = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    azimuth = (np.arange(width) + 0.5) / width * 2 * np.pi
    sky = np.full((height, width, 3), 1.0, np.float32)
    sky *= (scene.ambient * np.clip(0.35 + 0.65 * (elevation / (np.pi / 2)), 0.05, 1))[:, None, None]
    for lamp in scene.lamps:
        turn = np.abs((azimuth - lamp.azimuth + np.pi) % (2 * np.pi) - np.pi) * np.cos(lamp.elevation)
        inside = (
            np.clip((lamp.width - turn) / 0.06 + 0.5, 0, 1)[None, :]
            * np.clip((lamp.height - np.abs(elevation - lamp.elevation)) / 0.06 + 0.5, 0, 1)[:, None]
        )
        tint = np.array([1 + 0.22 * lamp.warmth, 1.0, 1 - 0.28 * lamp.warmth])
        sky += (inside[..., None] * lamp.radiance * tint).astype(np.float32)
    return sky
