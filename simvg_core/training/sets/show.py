"""A sample as a picture: its boxes drawn, its words underneath."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from simvg_core.training.sets.errors import SetFormatError
from simvg_core.training.sets.sample import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

_COLORS = ("#ff5a36", "#2f9bff", "#3ecf5f", "#ffc928", "#c86bff", "#00c9c0")
_MIN_SIDE = 480


def draw(sample: Sample) -> Image:
    """The image at its own size, small ones enlarged to 480 pixels, with boxes, and a caption below.

    Raises:
        SetFormatError: the image is missing or unreadable.
    """
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    try:
        with Image.open(sample.image) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise SetFormatError(f"image {sample.image} cannot be read ({error}); `simvg data check` names all.") from error
    scale = max(1, -(-_MIN_SIDE // max(picture.size)))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    size = max(14, max(picture.size) // 40)
    font = ImageFont.load_default(size)
    lines = [*textwrap.wrap(sample.text, max(10, int(picture.width / size * 1.8))), caption(sample)]
    step = round(size * 1.4)
    sheet = Image.new("RGB", (picture.width, picture.height + step * len(lines) + size), "#16181c")
    sheet.paste(picture, (0, 0))
    pen = ImageDraw.Draw(sheet)
    width = max(2, max(picture.size) // 250)
    for number, box in enumerate(sample.boxes_xyxy_px):
        corners = [value * scale for value in box]
        pen.rectangle(
            [corners[0] - 1, corners[1] - 1, corners[2] + 1, corners[3] + 1], outline="black", width=width + 2
        )
        pen.rectangle(corners, outline=_COLORS[number % len(_COLORS)], width=width)
    for number, line in enumerate(lines):
        color = "#9aa0a8" if number == len(lines) - 1 else "white"
        pen.text((size // 2, picture.height + size // 2 + step * number), line, fill=color, font=font)
    return sheet


def caption(sample: Sample) -> str:
    """Id, number of targets, kind and noun in a line."""
    count = len(sample.boxes_xyxy_px)
    parts = [sample.id, "no target" if count == 0 else "1 target" if count == 1 else f"{count} targets"]
    parts += [sample.kind] if sample.kind not in ("plain", *parts) else []
    parts += [sample.noun] if sample.noun else []
    parts += ["lure"] if sample.lure else []
    return " · ".join(parts)


def write_picture(sample: Sample, out: Path) -> None:
    """Draws a sample into a PNG or JPEG file.

    Raises:
        SetFormatError: the image is missing, or the file cannot be written.
    """
    drawn = draw(sample)
    try:
        drawn.save(out)
    except (OSError, ValueError) as error:
        raise SetFormatError(
            f"{out} cannot be written ({error}); name a .png or .jpg in a folder that is there."
        ) from error
