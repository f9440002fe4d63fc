"""An explanation for people: the map as colours over the picture, and a bar per word. Drawn with OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simvg_core.answers import ABSENT, PRESENT, UNKNOWN
from simvg_core.calibration import calibrated
from simvg_core.composing import Plan, rows_of
from simvg_core.errors import InputError
from simvg_core.explain import Explanation, explain
from simvg_core.grounder import Grounder
from simvg_core.images import Frame, read_frame
from simvg_core.quality import frame_problem
from simvg_core.text import TextBatch
from simvg_core.words import Pieces, clean_text

SHEET = "sheet"
"""Every map at once, instead of one of `MAPS`."""

# Patches below this share of the strongest one stay as they are; the strongest is covered this much.
FAINT, COVER = 0.15, 0.6
_BAR, _MARGIN, _WIDTH = 22, 8, 480
# No side of a drawn picture is longer, pixels: enlarged to `_WIDTH`, a narrow and tall one would take all memory.
_LONGEST = 4096
# Of a sheet: width and largest height of a picture, pictures side by side.
_TILE, _TILE_HEIGHT, _COLUMNS = 320, 640, 4
_ENDINGS = (".png", ".jpg", ".jpeg")
_BOX, _INK, _PAPER, _FILL = (60, 220, 60), (40, 40, 40), (250, 250, 250), (70, 130, 230)


class Explained(NamedTuple):
    """The answer that is explained."""

    state: str  # "present", "absent" or "unknown", as of `Grounder.ground`
    score: float
    threshold: float
    box_xyxy_px: NDArray[np.float32]  # (4,)
    reason: str | None = None  # why it is unknown, whatever the score


class Seen(NamedTuple):
    """One map and the words that belong to it."""

    name: str
    map: NDArray[np.float32]  # (G, G), at least 0
    words: list[tuple[str, float]]  # in the order of the text; the weights sum to 1


@dataclass(frozen=True)
class Why:
    """What is drawn."""

    frame_bgr: Frame  # (H, W, 3)
    text: str
    maps: list[Seen]  # at least one
    answer: Explained
    part: str | None = None  # of a text that is asked in parts, the one whose answer it is


def explained(model: Path, image: Path, text: str, name: str, layer: int | None = None) -> Why:
    """Runs a model folder on a picture file and explains its best answer; of a text that is asked in parts
    (:mod:`.reading`), the part's answer that is the whole text's best.

    Args:
        name: one of `MAPS`, or `SHEET`: the attention of each layer and joined, the gradient, and the pointer where the
            model has one.
        layer: as in `Explanation.map`.

    Raises:
        ImageError: the file is no whole picture. TextError, InputError: the text, map or layer does not fit the model.
        CheckpointError: the folder is no model.
    """
    if name == SHEET and layer is not None:
        raise InputError(f'layer {layer} of map "{SHEET}": a sheet shows every layer; leave the layer out.')
    frame = read_frame(image)
    grounder = Grounder.from_pretrained(model)
    processor, config = grounder.processor, grounder.config
    inputs, rows = processor.frames([frame]), rows_of([text], config.composing)
    batch = processor.texts(rows)
    row, answer, score = _best(grounder, inputs.pixel_values, text, batch)
    asked = slice(row, row + 1)
    ids, mask = batch.input_ids[asked], batch.attention_mask[asked]
    found = explain(grounder.model, inputs.pixel_values, ids, mask, answers=torch.tensor([answer]))
    chosen: list[tuple[str, int | None]] = [(name, layer)]
    if name == SHEET:
        chosen = [("attention", number) for number in range(len(found.image_layers))]
        chosen += [("attention", None), ("gradient", None)]
        chosen += [] if found.pointer is None else [("pointer", None)]
    maps = [_seen(found, rows[row], processor.text.pieces, *one) for one in chosen]
    height, width = inputs.sizes[0]
    x, y, w, h = found.boxes_cxcywh[0].tolist()
    corners = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2], np.float32).clip(0, 1)
    box = corners * np.array([width, height, width, height], np.float32)
    state = PRESENT if score >= config.score_threshold else ABSENT
    if (reason := frame_problem(frame) or grounder.complaint(text)) is not None:
        state = UNKNOWN
    explanation = Explained(state, score, config.score_threshold, box, reason)
    return Why(frame, text, maps, explanation, None if rows == [text] else rows[row])


@torch.inference_mode()
def _best(grounder: Grounder, pixel_values: Tensor, text: str, rows: TextBatch) -> tuple[int, int, float]:
    """Of a text's best answer: the row and the answer to it that it is, and its score."""
    model, config = grounder.model, grounder.config
    index, branch = torch.zeros(len(rows.input_ids), dtype=torch.long), config.answer_branch
    out = model(pixel_values, rows.input_ids, rows.attention_mask, image_index=index, branches=(branch,))
    logits, boxes = out.token_logits, out.token_boxes
    if branch == "decoder":
        logits, boxes = out.decoder_logits[-1], out.decoder_boxes[-1]
    given: Any = boxes.numpy()
    scores, places = calibrated(logits, config).numpy(), given
    if (plan := Plan.of([text], config.composing)) is not None:
        cells = None if out.states is None else out.states.float().numpy()[None]
        scores, places = (part[0] for part in plan.compose(scores[None], given[None], config.nms_iou, cells=cells))
    best = int(scores[0].argmax())
    off = np.abs(given - places[0, best]).sum(axis=-1)
    row, answer = np.unravel_index(off.argmin(), off.shape)
    return int(row), int(answer), float(scores[0, best])


def _seen(found: Explanation, text: str, pieces: Pieces, name: str, layer: int | None) -> Seen:
    grid = found.map(name, layer)[0].numpy()
    tokens = found.words_gradient[0]  # a pointer looks at patches only: its words are those that moved the score
    if name == "attention":
        tokens = found.words[0] if layer is None else found.word_layers[layer, 0]
    title = f"{name}, {'joined' if layer is None else f'layer {layer}'}" if name == "attention" else name
    return Seen(title, grid, weights_of_words(text, pieces, tokens))


def weights_of_words(text: str, pieces: Pieces, tokens: Tensor) -> list[tuple[str, float]]:
    """Weights (T,) of the packed tokens [begin, pieces, end, padding] → per word, summing to 1; begin and end are no
    words. Words that were cut off have none."""
    words = clean_text(text).split()
    ends = [0, *(len(pieces(" ".join(words[: index + 1]))) for index in range(len(words)))]
    weights = tokens[1:].tolist()
    spans = [sum(weights[start:end]) for start, end in pairwise(ends) if end < len(weights)]
    total = sum(spans) or 1.0
    return [(word, weight / total) for word, weight in zip(words, spans, strict=False)]


def draw(why: Why, out: Path) -> None:
    """Writes the picture. Raises InputError: `out` is no .png or .jpg, or cannot be written."""
    if out.suffix.lower() not in _ENDINGS:
        raise InputError(f"{out} has no ending of a picture; use {', '.join(_ENDINGS)}.")
    done: Any = cv2.imencode(out.suffix, picture(why))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(done[1].tobytes())
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}).") from error


def picture(why: Why) -> Frame:
    """The frame under its map, with the answer's box, above a bar per word; of several maps a sheet, above the table
    word × map. (H', W', 3) BGR; the frame keeps its aspect and takes at most 4096 pixels per side."""
    if len(why.maps) > 1:
        return np.concatenate([_sheet(why), _table(why, _TILE * _COLUMNS)])
    (seen,) = why.maps
    width = min(_LONGEST, max(_WIDTH, why.frame_bgr.shape[1]))
    return np.concatenate([_covered(why, seen.map, width, _LONGEST), _bars(why, seen, width)])


def _covered(why: Why, grid: NDArray[np.float32], width: int, tallest: int) -> Frame:
    """The frame under a map and with the answer's box: `width` wide, or as wide as `tallest` allows and centred on
    paper of that width."""
    height, own = why.frame_bgr.shape[:2]
    scale = min(width / own, tallest / height)
    size = (max(1, round(own * scale)), max(1, round(height * scale)))
    frame: Any = cv2.resize(why.frame_bgr, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    strength: Any = cv2.resize(grid / max(float(grid.max()), 1e-12), size, interpolation=cv2.INTER_LINEAR)
    colours: Any = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    cover = (np.clip((strength - FAINT) / (1 - FAINT), 0, 1) * COVER)[..., None]
    mixed = np.ascontiguousarray((frame * (1 - cover) + colours * cover).astype(np.uint8))
    x0, y0, x1, y1 = (why.answer.box_xyxy_px * scale).round().astype(int).tolist()
    cv2.rectangle(mixed, (x0, y0), (x1, y1), _BOX, 2, cv2.LINE_AA)
    if size[0] == width:
        return mixed
    paper = np.full((size[1], width, 3), _PAPER, np.uint8)
    left = (width - size[0]) // 2
    paper[:, left : left + size[0]] = mixed
    return paper


def _bars(why: Why, seen: Seen, width: int) -> Frame:
    paper = _paper(len(seen.words) + 1, width)
    _write(paper, f"{_said(why)}   {seen.name}{_part(why)}", _MARGIN, 0)
    start = width // 3
    for row, (word, weight) in enumerate(seen.words, start=1):
        top = _MARGIN + row * _BAR
        end = start + int((width - start - 60) * weight)
        cv2.rectangle(paper, (start, top + 4), (end, top + _BAR - 4), _FILL, cv2.FILLED)
        _write(paper, word, _MARGIN, row)
        _write(paper, f"{weight:.2f}", end + 6, row)
    return paper


def _sheet(why: Why) -> Frame:
    """Every map with its name, from left to right and row by row."""
    tiles = []
    for seen in why.maps:
        name = _paper(1, _TILE)
        _write(name, seen.name, _MARGIN, 0)
        tiles.append(np.concatenate([name, _covered(why, seen.map, _TILE, _TILE_HEIGHT)]))
    tiles += [np.full_like(tiles[0], _PAPER[0])] * (-len(tiles) % _COLUMNS)
    rows = [np.concatenate(tiles[at : at + _COLUMNS], axis=1) for at in range(0, len(tiles), _COLUMNS)]
    return np.concatenate(rows)


def _table(why: Why, width: int) -> Frame:
    """A row per word, a column per map; the fuller a cell, the more the word weighs in it."""
    heads, rows = word_table(why)
    paper = _paper(len(rows) + 2, width)
    _write(paper, f"{_said(why)}   {why.text}{_part(why)}", _MARGIN, 0)
    start = width // 6
    step = (width - start - _MARGIN) // len(heads)
    for column, head in enumerate(heads):
        _write(paper, head, start + column * step, 1)
    for row, (word, weights) in enumerate(rows, start=2):
        _write(paper, word, _MARGIN, row)
        top = _MARGIN + row * _BAR
        for column, weight in enumerate(weights):
            left = start + column * step
            end = left + int((step - 6) * weight)
            cv2.rectangle(paper, (left, top + 2), (end, top + _BAR - 2), _FILL, cv2.FILLED)
            _write(paper, f"{weight:.2f}", left, row)
    return paper


def word_table(why: Why) -> tuple[list[str], list[tuple[str, list[float]]]]:
    """Short names of the maps, and per word its weight in each. A pointer looks at no words: of several maps, its
    column would repeat the gradient's and is left out."""
    maps = [seen for seen in why.maps if seen.name != "pointer" or len(why.maps) == 1]
    heads = [seen.name.removeprefix("attention, ") for seen in maps]
    words = [word for word, _ in maps[0].words]
    return heads, [(word, [seen.words[place][1] for seen in maps]) for place, word in enumerate(words)]


def _said(why: Why) -> str:
    return f"{why.answer.state} {why.answer.score:.2f}"


def _part(why: Why) -> str:
    return "" if why.part is None else f"   part: {why.part}"


def _paper(rows: int, width: int) -> Frame:
    return np.full((_BAR * rows + 2 * _MARGIN, width, 3), _PAPER, np.uint8)


def _write(paper: Frame, text: str, left: int, row: int) -> None:
    at = (left, _MARGIN + row * _BAR + 16)
    cv2.putText(paper, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
