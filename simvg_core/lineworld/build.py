"""Scene description → one mesh, one atlas, and which face belongs to which instance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simvg_core.lineworld.parts import BUILDERS, HOLES, hole
from simvg_core.lineworld.scene import Mark, Part, Plate, Scene
from simvg_core.lineworld.shapes import Array, Shape, block, join, placement, ring, rounded_rectangle, sheet, slab
from simvg_core.lineworld.surfaces import COLORS, FINISHES, Atlas, Region, belt_maps, clouds, label_maps, surface_maps
from simvg_core.lineworld.tracer import ENVIRONMENT, F32

BELT_MM = 900.0

NOT_CONVEX = ("cable", "spanner", "pliers", "screwdriver", "washer", "gear", "cap")
"""Kinds whose silhouette is filled face by face; the others' is the hull of their points."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What the truth will say of one thing. ``outline`` (n, 3): world points that span it; ``faces`` only where it is
    not convex, to fill its silhouette. ``mark`` is its number in the atlas for marks."""

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


@dataclass(frozen=True, slots=True)
class Built:
    """Mesh arrays as the tracer takes them; ``owner`` (m,) is the place in ``instances`` of each face, −1 for none."""

    mesh: Shape
    owner: NDArray[np.int64]
    atlas: Atlas
    instances: list[Instance]


class _Builder:
    def __init__(self) -> None:
        self.atlas = Atlas()
        self.shapes: list[Shape] = []
        self.owners: list[NDArray[np.int64]] = []
        self.instances: list[Instance] = []

    def add(self, shape: Shape, owner: int) -> None:
        self.shapes.append(shape)
        self.owners.append(np.full(len(shape.faces), owner, np.int64))

    def plain(self, shape: Shape, finish: str, color: str, owner: int) -> None:
        """A shape of one colour."""
        roughness, metallic = FINISHES[finish]
        region = self.atlas.swatch(COLORS[color], roughness, metallic)
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
                part.id,
                part.kind,
                plate.id if plate else None,
                part.color,
                part.finish,
                part.size,
                part.state,
                part.turn,
                part.tilt,
                part.radius,
                outline,
                faces,
            )
        )

    def _label(self, part: Part, matrix: Array, plate: Plate | None, number: int) -> None:
        region = self.atlas.label()
        art = label_maps(part.seed, COLORS[part.color or "white"], region.height, region.width)
        self.atlas.paint(region, art, *FINISHES["paper"])
        shape = sheet(2 * part.radius, part.radius, 0.12).moved(matrix)
        self.add(Shape(shape.points, shape.normals, shape.faces, region.uv(shape.uv)), number)
        self.instances.append(
            Instance(
                part.id,
                "label",
                plate.id if plate else None,
                part.color,
                "paper",
                part.size,
                part.state,
                part.turn,
                0.0,
                part.radius,
                shape.points,
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
        base, rough, metal, bump = surface_maps(
            np.random.default_rng(plate.seed), plate.finish, plate.color, region.height, region.width
        )
        self.add(Shape(shape.points, shape.normals, shape.faces, region.uv(shape.uv)), number)
        top = np.column_stack([outline, np.zeros(len(outline))])
        self.instances.append(
            Instance(
                plate.id,
                "plate",
                None,
                plate.color,
                plate.finish,
                None,
                "ok",
                plate.turn,
                0.0,
                plate.width / 2,
                np.concatenate([top @ frame[:3, :3].T + frame[:3, 3], top @ low[:3, :3].T + low[:3, 3]]),
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
        size = np.array([plate.width, plate.depth])
        pixels = (np.array(mark.points) / size + 0.5) * [region.width - 1, region.height - 1]
        thick = max(1, round(mark.width / plate.width * region.width))
        shape = np.zeros(base.shape[:2], np.float32)
        rng = np.random.default_rng(mark.seed)
        dark = float(base.mean()) > 0.25
        if mark.kind == "scratch":
            cv2.polylines(shape, [np.round(pixels * 16).astype(np.int32)], False, 1.0, thick, cv2.LINE_AA, 4)
            tone = (
                (0.05, 0.05, 0.05)
                if dark and float(metal.mean()) > 0.5
                else (0.75, 0.75, 0.76)
                if not dark
                else (0.08, 0.08, 0.08)
            )
            base[:] = base * (1 - shape[..., None]) + np.array(tone, np.float32) * shape[..., None]
            bump -= 0.25 * shape
            rough[:] = np.clip(rough + 0.2 * shape, 0, 1)
        else:
            centre = pixels.mean(0)
            rows, columns = np.mgrid[0 : base.shape[0], 0 : base.shape[1]].astype(np.float32)
            scale = np.array([region.width / plate.width, region.height / plate.depth]) * mark.width / 2
            distance = np.hypot((columns - centre[0]) / scale[0], (rows - centre[1]) / scale[1])
            if mark.kind == "stain":
                edge = distance + 0.22 * clouds(rng, region.height, region.width, 40)
                shape = np.clip((1.0 - edge) / 0.25, 0, 1).astype(np.float32)
                tone = (0.05, 0.025, 0.012) if dark else (0.55, 0.50, 0.38)
                cover = 0.85 * shape[..., None]
                base[:] = base * (1 - cover) + np.array(tone, np.float32) * cover
                rough[:] = rough * (1 - 0.6 * shape) + 0.25 * 0.6 * shape
                metal *= 1 - 0.9 * shape
            else:  # dent: a bowl with a raised lip
                bowl = np.exp(-((distance * 1.3) ** 4))
                bump += (-1.0 * mark.width * 0.10 * bowl + 0.12 * np.exp(-(((distance - 0.95) / 0.15) ** 2))).astype(
                    np.float32
                )
                base *= (1 - 0.25 * bowl)[..., None]
                shape = (distance < 0.85).astype(np.float32)
        marked = np.zeros(shape.shape, np.int32)
        number = len(self.instances)
        marked[shape > 0.4] = number + 1
        area = np.s_[region.y : region.y + region.height, region.x : region.x + region.width]
        self.atlas.marks[area] = np.where(marked > 0, marked, self.atlas.marks[area])
        rows_of, columns_of = np.nonzero(marked)
        spots = np.stack([columns_of, rows_of], 1)
        hull = cv2.convexHull(spots.astype(np.int32))[:, 0] if len(spots) else np.zeros((1, 2))
        local = (hull / [region.width - 1, region.height - 1] - 0.5) * size
        world = np.column_stack([local, np.zeros(len(local))]) @ frame[:3, :3].T + frame[:3, 3]
        # a mark is no convex thing: what its own pixels cover is measured against the pixels of its texture
        self.instances.append(
            Instance(
                mark.id,
                mark.kind,
                plate.id,
                None,
                None,
                None,
                "ok",
                plate.turn,
                0.0,
                mark.width / 2,
                world,
                None,
                number + 1,
            )
        )

    def belt(self, scene: Scene) -> None:
        belt = scene.belt
        rng = np.random.default_rng(belt.seed)
        region = self.atlas.belt
        base, rough, metal, bump = belt_maps(rng, belt.kind, belt.color, region.width)
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
    builder = _Builder()
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
