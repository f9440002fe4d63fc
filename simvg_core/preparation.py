"""`preprocessor_config.json` of a model folder: how pictures and texts are prepared, told in transformers' terms.

It is for readers who know no config of ours. Nothing here is read from it: config.json decides, and a file that says
otherwise is refused, as whoever changed it expects it to count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.words import REMOVED, SPACED

FILE = "preprocessor_config.json"


def preparation(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of a model with these settings, by their names in `SimVGConfig`.

    `size` in pixels, the aspect ratio not kept; mean and standard deviation in RGB order, of values from 0 to 255.
    """
    return {
        "processor_class": "SimVGProcessor",
        "do_resize": True,
        "size": {"height": config["image_size"], "width": config["image_size"]},
        "resize": config["resize"],
        "do_convert_rgb": True,
        "do_rescale": False,
        "do_normalize": True,
        "image_mean": list(config["image_mean"]),
        "image_std": list(config["image_std"]),
        "tokenizer": config["tokenizer"],
        "max_text_tokens": config["max_text_tokens"],
        "text_overflow": config["text_overflow"],
        "do_lower_case": True,
        "removed_characters": REMOVED,
        "spaces_instead_of": SPACED,
    }


def write_preparation(config: Mapping[str, Any], folder: Path) -> None:
    """Writes the file beside config.json."""
    (folder / FILE).write_text(json.dumps(preparation(config), indent=2) + "\n", encoding="utf-8")


def check_preparation(config: Mapping[str, Any], folder: Path) -> None:
    """Compares a folder's file with its settings. A folder without one, or one that says less, is as good.

    Raises:
        CheckpointError: the file cannot be read.
        ConfigurationError: it says something else than config.json, or what no processor here does.
    """
    path = folder / FILE
    if not path.is_file():
        return
    try:
        told = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); copy it again, or delete it.") from error
    try:
        done = preparation(config)
    except KeyError as error:
        raise CheckpointError(f"{folder / 'config.json'} lacks {error}; copy the whole model folder.") from error
    for key, value in told.items():
        if key not in done:
            raise ConfigurationError(f"{path} has {key}={value!r}, which no processor of SimVG reads; remove it.")
        if value != done[key]:
            raise ConfigurationError(
                f"{path} has {key}={value!r}, but by {folder / 'config.json'} it is {done[key]!r}: one of the two was "
                f"changed alone. Delete {FILE} if config.json is right, else make them the same."
            )
