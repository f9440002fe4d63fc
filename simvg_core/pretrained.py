"""Model folders are read whole or not at all: transformers would fill gaps with random numbers, take settings that
lack for those of the paper, and go on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simvg_core.errors import CheckpointError, SimVGError, listed
from simvg_core.model_folder import settle


def checked_config(load: Callable[..., Any], source: str | os.PathLike[str], **kwargs: Any) -> Any:
    """What transformers' `from_pretrained` gives for the config of `source`.

    Args:
        load: transformers' method, bound to the class; `kwargs` are passed on.

    Raises:
        CheckpointError: a folder without config.json, or one that cannot be read or is half rewritten.
        ConfigurationError: a setting in it that no model can have.
    """
    place = Path(source)
    settle(place)
    if (isinstance(source, Path) or place.is_dir()) and not (place.is_file() or _has_config(place, kwargs)):
        raise CheckpointError(f"{source} is not a model folder: it has no config.json.")
    try:
        return load(source, **kwargs)
    except (SimVGError, MemoryError):
        raise
    except Exception as error:  # transformers raises many kinds for a broken or foreign file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        file = place if place.is_file() else place / "config.json"
        raise CheckpointError(f"{file} cannot be read ({reason}); copy the folder again.") from error


def _has_config(folder: Path, kwargs: dict[str, Any]) -> bool:
    return (folder / (kwargs.get("subfolder") or "") / "config.json").is_file()


def checked(load: Callable[..., Any], source: str | os.PathLike[str] | None, *args: Any, **kwargs: Any) -> Any:
    """What transformers' `from_pretrained` gives for `source`, once every weight of the model is known to be in it.

    Args:
        load: transformers' method, bound to the class; `args` and `kwargs` are passed on.

    Raises:
        CheckpointError: the weights are missing, truncated, of another size than config.json says, too few or many, or
            not finite.
    """
    with_info = kwargs.pop("output_loading_info", False)
    other_shapes = kwargs.pop("ignore_mismatched_sizes", False)
    if source is not None:
        settle(Path(source))
    if source is not None and Path(source).is_dir() and not list(Path(source).glob("*.safetensors")):
        raise CheckpointError(f"{source} has no model.safetensors; copy or train the weights.")
    try:
        # sizes are told with the other names below, not in an error of their own
        model, info = load(source, *args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs)
    except (SimVGError, MemoryError):
        raise
    except Exception as error:  # transformers raises many kinds for a broken or foreign file
        raise CheckpointError(
            f"the weights in {source} cannot be read ({error}); copy the folder again, or train it anew."
        ) from error
    named = {name: sorted(map(str, keys)) for name, keys in info.items() if name.endswith("keys") and keys}
    if other_shapes:
        named.pop("mismatched_keys", None)
    if named:
        raise CheckpointError(f"the weights in {source} do not fit its config.json: {named}. Train or copy it anew.")
    weights = {name: value for name, value in model.state_dict().items() if not value.is_meta}
    if broken := sorted(name for name, value in weights.items() if not bool(value.isfinite().all())):
        raise CheckpointError(f"weights in {source} are NaN or infinite: {listed(broken)}. Train or copy it anew.")
    return (model, info) if with_info else model
