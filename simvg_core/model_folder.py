"""Model folders are changed whole or not at all.

What is to lie in a folder is written into its sub-folder `.part`, and renaming that to `.new` decides: before, the
folder is as it was; after, whoever reads it next moves in what a killed writer has left. The folder itself is never
renamed: it may be a mount, or hold more than the model. Free of torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from simvg_core.errors import CheckpointError, ConfigurationError

PART = ".part"
_NEW, _GONE = ".new", ".gone"
# What some models have and others do not: beside the weights of another one it would be taken for theirs.
_OWN = (
    "words.json", "preprocessor_config.json", "evaluation.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "sentencepiece.bpe.model", "model.safetensors.index.json",
)  # fmt: skip
_SHARDS = "model-*-of-*.safetensors"


@contextmanager
def rewriting(folder: Path, *, anew: bool = False) -> Iterator[Path]:
    """Where to write what will lie in a model folder, all of it together; after an error nothing of it does. The folder
    is made where it is not there.

    Args:
        anew: as another model: what the one that lay there had, and this one has not, goes.

    Raises:
        ConfigurationError: it cannot be written, such as on a full disk.
    """
    from safetensors import SafetensorError  # not on top: machines that only read may not have it

    settle(folder)
    part, made = folder / PART, not folder.exists()
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        if anew:
            there = [*(folder / name for name in _OWN), *folder.glob(_SHARDS)]
            gone = [file.name for file in there if file.is_file() and not (part / file.name).exists()]
            (part / _GONE).write_text(json.dumps(gone), encoding="utf-8")
        _readable(part)
        part.rename(folder / _NEW)
        settle(folder)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(
            f"{folder} cannot be written ({error}); check the path, its rights and the free space."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if made:
            with suppress(OSError):  # it holds the model now
                folder.rmdir()


def _readable(part: Path) -> None:
    """Gives files the rights that new ones have here: safetensors lets nobody else read what it writes, and a worker is
    often another user than who trained."""
    mode = part.stat().st_mode & 0o666  # the folder was made with the umask, which cannot be asked for by itself
    for file in part.iterdir():
        with suppress(OSError):  # of a file system that knows no rights
            file.chmod(mode)


def settle(folder: Path) -> None:
    """Ends what a killed writer of a model folder had begun to move in; every reader of one calls it first.

    Raises:
        CheckpointError: it cannot be ended here.
    """
    new = folder / _NEW
    if not new.is_dir():
        return
    try:
        with suppress(FileNotFoundError):
            for name in json.loads((new / _GONE).read_text(encoding="utf-8")):
                (folder / name).unlink(missing_ok=True)
        for file in new.iterdir():
            if file.name != _GONE:
                with suppress(FileNotFoundError):  # another process ends it as well
                    file.replace(folder / file.name)
        (new / _GONE).unlink(missing_ok=True)
        new.rmdir()
    except FileNotFoundError:  # the other one was faster
        return
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} is half rewritten: its writer was interrupted, and it cannot be ended here ({error}). Open it "
            f"once where it can be written, or move all files of {new} into {folder} and remove {new}."
        ) from error
