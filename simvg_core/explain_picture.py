"""An explanation for people: the map as colours over the picture, and a bar per word. Drawn with OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from simvg_core.errors import ImageError, InputError
from simvg_core.explain import explain
from simvg_core.grounder import Grounder
from simvg_core.images import Frame
from simvg_core.processing import calibrated
from simvg_core.words import Pieces, clean_text

# Patches below this share of the strongest one stay as they are; the strongest is covered this much.
FAINT, COVER = 0.15, 0.6
_BAR, _MARGIN, _WIDTH = 22, 8, 480
_ENDINGS = (".png", ".jpg", ".jpeg")
_BOX, _INK, _PAPER, _FILL = (60, 220, 60), (40, 40, 40), (250, 250, 250), (70, 130, 230)


class Explained(NamedTuple):
    """The answer that is explained."""

    present: bool
    score: float
    threshold: float
    box_xyxy_px: NDArray[np.float32]  # (4,)


@dataclass(frozen=True)
class Why:
    """What is drawn."""

    frame_bgr: Frame  # (H, W, 3)
    text: str
    name: str  # of the map
    map: NDArray[np.float32]  # (G, G), at least 0
    words: list[tuple[str, float]]  # in the order of the text; the weights sum to 1
    answer: Explained


def explained(model: Path, image: Path, text: str, name: str, layer: int | None = None) -> Why:
    """Runs a model folder on a picture file and explains its best answer.

    Raises:
        ImageError: the file is no picture. TextError, InputError: the text, map or layer does not fit the model.
        CheckpointError: the folder is no model.
    """
    frame: Any = cv2.imread(str(image), cv2.IMREAD_COLOR) if image.is_file() else None
    if frame is None:
        raise ImageError(f"{image} is not a picture that OpenCV reads; give a JPEG or PNG file.")
    grounder = Grounder.from_pretrained(model)
    processor, config = grounder.processor, grounder.config
    batch, inputs = processor.texts([text]), processor.frames([frame])
    found = explain(grounder.model, inputs.pixel_values, batch.input_ids, batch.attention_mask)
    grid = found.map(name, layer)[0].numpy()
    tokens = found.words_gradient[0]  # a pointer looks at patches only: its words are those that moved the score
    if name == "attention":
        tokens = found.words[0] if layer is None else found.word_layers[layer, 0]
    height, width = inputs.sizes[0]
    x, y, w, h = found.boxes_cxcywh[0].tolist()
    corners = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2], np.float32).clip(0, 1)
    score = float(calibrated(found.logits, config)[0])
    answer = Explained(
        score >= config.score_threshold,
        score,
        config.score_threshold,
        corners * np.array([width, height, width, height], np.float32),
    )
    title = name if layer is None else f"{name}, layer {layer}"
    return Why(frame, text, title, grid, weights_of_words(text, processor.text.pieces, tokens), answer)


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
    """The frame under its map, with the answer's box, above a bar per word; (H', W', 3) BGR."""
    scale = max(1.0, _WIDTH / why.frame_bgr.shape[1])
    frame: Any = cv2.resize(why.frame_bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    height, width = frame.shape[:2]
    strength: Any = cv2.resize(
        why.map / max(float(why.map.max()), 1e-12), (width, height), interpolation=cv2.INTER_LINEAR
    )
    colours: Any = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    cover = (np.clip((strength - FAINT) / (1 - FAINT), 0, 1) * COVER)[..., None]
    mixed = np.ascontiguousarray((frame * (1 - cover) + colours * cover).astype(np.uint8))
    x0, y0, x1, y1 = (why.answer.box_xyxy_px * scale).round().astype(int).tolist()
    cv2.rectangle(mixed, (x0, y0), (x1, y1), _BOX, 2, cv2.LINE_AA)
    return np.concatenate([mixed, _words(why, width)])


def _words(why: Why, width: int) -> Frame:
    state = "present" if why.answer.present else "absent"
    paper = np.full((_BAR * (len(why.words) + 1) + 2 * _MARGIN, width, 3), _PAPER, np.uint8)
    _write(paper, f"{state} {why.answer.score:.2f}   {why.name}", _MARGIN, 0)
    start = width // 3
    for row, (word, weight) in enumerate(why.words, start=1):
        top = _MARGIN + row * _BAR
        end = start + int((width - start - 60) * weight)
        cv2.rectangle(paper, (start, top + 4), (end, top + _BAR - 4), _FILL, cv2.FILLED)
        _write(paper, word, _MARGIN, row)
        _write(paper, f"{weight:.2f}", end + 6, row)
    return paper


def _write(paper: Frame, text: str, left: int, row: int) -> None:
    at = (left, _MARGIN + row * _BAR + 16)
    cv2.putText(paper, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
