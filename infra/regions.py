"""Which parts of a frame a standing query looks at: its views. Pure.

A view is an xyxy box of the frame, normalised. Without region and tiles it is the whole frame; queries that share a
view share the model's pass over it.
"""

from __future__ import annotations

import math

from infra.contracts import StandingQuery
from infra.values import Box, Polygon

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

TILE_OVERLAP = 0.15
"""Share of a tile's side that its neighbour shows too, so that a small object is whole in at least one tile."""


def views_of(query: StandingQuery) -> tuple[Box, ...]:
    """The views that a query looks at: its region (a polygon's bounding box), cut into its tiles."""
    x0, y0, x1, y1 = _bounds(query.region)
    columns, rows = query.tiles
    width, height = (x1 - x0) / columns, (y1 - y0) / rows
    dx, dy = (width * TILE_OVERLAP if columns > 1 else 0.0), (height * TILE_OVERLAP if rows > 1 else 0.0)
    return tuple(
        (
            max(x0, x0 + column * width - dx),
            max(y0, y0 + row * height - dy),
            min(x1, x0 + (column + 1) * width + dx),
            min(y1, y0 + (row + 1) * height + dy),
        )
        for row in range(rows)
        for column in range(columns)
    )


def pixels_of(view: Box, *, width: int, height: int) -> tuple[int, int, int, int]:
    """A view of a picture as left, top, right, bottom, rounded outward to whole pixels; at least 1×1."""
    left, top = min(int(view[0] * width), width - 1), min(int(view[1] * height), height - 1)
    right = min(max(left + 1, math.ceil(view[2] * width)), width)
    bottom = min(max(top + 1, math.ceil(view[3] * height)), height)
    return left, top, right, bottom


def is_box(region: Polygon | Box) -> bool:
    """Whether a region is a box, not a polygon."""
    return isinstance(region[0], (int, float))


def _bounds(region: Polygon | Box | None) -> Box:
    if region is None:
        return WHOLE
    if is_box(region):
        x0, y0, x1, y1 = region
        return x0, y0, x1, y1  # type: ignore[return-value] # told apart from a polygon by its first element
    xs, ys = [point[0] for point in region], [point[1] for point in region]  # type: ignore[index] # a polygon here
    return max(min(xs), 0.0), max(min(ys), 0.0), min(max(xs), 1.0), min(max(ys), 1.0)
