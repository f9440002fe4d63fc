"""Image files of a set: where they are, and what their headers say."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from simvg_core.extras import extras
from simvg_core.training.sets.errors import SetNotFoundError
from simvg_core.training.sets.sample import Problem, Sample

BROKEN_PICTURE = "image missing, broken or of another size"
"""Why an expression is left out whose picture `check_pictures` names."""
_PROBED = 20
"""So many names are tried in each folder: a few lost images must not hide the folder."""
_ORIENTATION = 0x0112
_TURNED = {5, 6, 7, 8}
"""EXIF orientations that swap the sides."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a set, with the size that the annotations give it."""

    id: str
    path: Path
    width: int
    height: int


def find_images(names: Iterable[str], folders: Sequence[Path]) -> Path:
    """The first folder that holds one of the first few names.

    Raises:
        SetNotFoundError: none does; the message names the folders.
    """
    probes = list(islice(names, _PROBED))
    present = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
    for folder in present:
        if not probes or any(_is_file(folder / name) for name in probes):
            return folder
    looked = ", ".join(str(folder) for folder in dict.fromkeys(folders))
    raise SetNotFoundError(
        f"the images of the set ({', '.join(probes[:2])} …) were not found; looked in {looked}. "
        "Name their folder with --images DIR."
    )


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from the header alone, turned as EXIF says, which is how OpenCV reads the image.

    Raises:
        OSError: the file is missing or no image.
    """
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        # without this condition the whole of a PNG would be read, in search of it
        turned = "exif" in image.info and image.getexif().get(_ORIENTATION) in _TURNED
    return (height, width) if turned else (width, height)


def check_pictures(pictures: Sequence[Picture], *, decode: bool = False) -> list[Problem]:
    """Every picture that is missing, unreadable, cut off or of another size than its annotation says.

    Args:
        decode: also decode the pixels, which finds harm between a file's header and its end.
    """
    return [problem for problem in _problems(pictures, decode) if problem is not None]


def with_pictures(samples: Sequence[Sample], name: str) -> tuple[Sequence[Sample], int]:
    """The samples whose pictures are whole, by their headers and ends alone, and the number of the others; those are
    also told in the log, with the first picture's fault. `name`: of their set."""
    keys = {(sample.image, sample.width, sample.height): sample for sample in samples}
    pictures = [Picture(one.image_id, one.image, one.width, one.height) for one in keys.values()]
    problems = dict(zip(keys, _problems(pictures, decode=False), strict=True))
    broken = [problem for problem in problems.values() if problem is not None]
    if not broken:
        return samples, 0
    kept = [one for one in samples if problems[one.image, one.width, one.height] is None]
    left_out = len(samples) - len(kept)
    _log.warning(
        "%s: %d expressions about %d images are left out, the first: %s `simvg data check` names them all.",
        name, left_out, len(broken), broken[0],
    )  # fmt: skip
    return kept, left_out


def _problems(pictures: Sequence[Picture], decode: bool) -> list[Problem | None]:
    """Raises ConfigurationError where Pillow, which reads headers, is not installed."""
    with extras("a look at the pictures of a data set", "train"):
        import PIL  # noqa: F401 - only the machines that train or score on data sets need it
    with ThreadPoolExecutor(8, thread_name_prefix="headers") as executor:
        return list(executor.map(lambda picture: _check(picture, decode), pictures))


def _check(picture: Picture, decode: bool) -> Problem | None:
    name = f"image {picture.id}"
    if not _is_file(picture.path):
        return Problem(name, f"{picture.path} is missing", "get the image anew, or name the folder with --images DIR")
    try:
        size = image_size(picture.path)
        kind = _cut_off(picture.path)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for broken headers
        return Problem(name, f"{picture.path} is unreadable ({error})", "get the image anew")
    if kind is not None:
        return Problem(name, f"{picture.path} is cut off: it has no {kind}'s end mark", "get the image anew")
    if size != (picture.width, picture.height):
        what = f"{picture.path} is {size[0]}×{size[1]}, its annotation says {picture.width}×{picture.height}"
        return Problem(name, what, "use the images that the annotations were made for, or correct width and height")
    if decode and not _decodes(picture.path):
        return Problem(name, f"{picture.path} cannot be decoded; its header and end are whole", "get the image anew")
    return None


def _cut_off(path: Path) -> str | None:
    """As `cut_off`, of a file's ends alone."""
    from simvg_core.images import TRAILER_BYTES, cut_off  # OpenCV is not on top: `simvg` comes up without it

    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-min(TRAILER_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
        return cut_off(head, file.read())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, such as one of 300 characters
        return False


def _decodes(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()  # unlike OpenCV, this refuses a file that was cut off
    except (OSError, ValueError, SyntaxError):
        return False
    return True
