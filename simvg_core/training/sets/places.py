"""Where people keep the images of the published sets."""

from __future__ import annotations

from pathlib import Path

COCO = ("mscoco/images/train2014", "mscoco/train2014", "coco/train2014", "train2014", "mscoco")
REFERIT = ("saiaprtc12", "saiapr_tc-12", "referit/images")
FLICKR = ("flickr30k", "flickr30k-images", "flickr30k_images")
GENOME = ("visual-genome", "vg")
_EVERY = (*COCO, *REFERIT, *FLICKR, *GENOME, "")


def image_folders(folder: Path, images: Path | None, names: tuple[str, ...] = _EVERY) -> list[Path]:
    """Folders to look in, the likeliest first.

    Args:
        folder: of the annotations; the two above it count too, and `images` in each.
        images: what the user named instead.
        names: of the folder of one source of images; "" = the root itself.
    """
    if images is not None:
        roots = [images]
    else:
        above = [folder, folder.parent, folder.parent.parent]
        roots = [place for root in above for place in (root / "images", root)]
    return [root / name if name else root for root in roots for name in dict.fromkeys((*names, ""))]
