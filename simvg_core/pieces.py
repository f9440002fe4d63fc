"""Texts whose region is seen in several pictures, tiles: what each of these is asked, and what they say together.

NumPy only. A part that each picture can tell by itself, "crooked label", is asked of it; what has to be compared over
all of the region is put together from the answers of all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simvg_core import geometry
from simvg_core.box_arrays import cxcywh_to_xyxy, xyxy_to_cxcywh
from simvg_core.composing import ANCHOR_POWER, Plan
from simvg_core.counted import uncounted
from simvg_core.derived import asked_for, is_derived
from simvg_core.reading import Reading, read

Floats = NDArray[np.float32]


def parts_of(text: str, floor: float, composed: bool) -> dict[str, float]:
    """What is asked of each of several pictures that show a text's region in pieces, and from which score on it makes a
    difference: the text itself where it is not composed. What may lie beyond the utmost or nearer than the nearest
    makes one from even odds on, and may lie in another picture; of a number of things each picture may show some."""
    if not composed:
        return {text: floor}
    reading = _in_pieces(text)
    found: dict[str, float] = {}
    for part, power in zip(reading.parts, _powers(reading), strict=True):
        least = min(floor**power, geometry.EVEN if reading.rivals or is_derived(part, ()) else 1.0)
        found |= {row: min(found.get(row, 1.0), least) for row in asked_for(part, ())}
    return found


def _in_pieces(text: str) -> Reading:
    """What is read of a text where its region is seen in pieces: its number is that of all of them."""
    reading = read(text).bare
    return reading if reading.composed or reading.unclear else Reading(uncounted(text))


def together(text: str, parts: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> tuple[Floats, Floats]:
    """Of `parts_of` a text, each part's scores (n,) and boxes (n, 4) xyxy → the text's (m,) and (m, 4), best first.

    There may be any number of each. Boxes are normalised to the region that all of them lie in.
    """
    plan = Plan((_in_pieces(text),), shared=False)
    found = [parts[row] for row in plan.rows]
    most = max(1, *(np.size(scores) for scores, _ in found))
    scores, corners = np.zeros((1, len(found), most), np.float32), np.zeros((1, len(found), most, 4), np.float32)
    for row, (own, boxes) in enumerate(found):
        count = np.size(own)
        scores[0, row, :count], corners[0, row, :count] = own, np.reshape(boxes, (count, 4))
    composed, places = plan.compose(scores, xyxy_to_cxcywh(corners), None)
    score, boxes_cxcywh = composed[0, 0], places[0, 0]
    order = np.argsort(-score, kind="stable")
    order = order[boxes_cxcywh[order, 2:].min(axis=-1) > 0]  # the others are none, and only filled the rows up
    return score[order], cxcywh_to_xyxy(boxes_cxcywh[order])


def _powers(text: Reading) -> list[int]:
    """Of each of a text's parts, to which power of the text's floor it matters."""
    return [1] if text.anchor is None else [1] + [ANCHOR_POWER] * len(text.anchor.parts)
