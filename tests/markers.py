"""Makes transactions hang, as Kafka does: over, but without the marker that ends them in a partition."""

from __future__ import annotations

from pathlib import Path

_CONTROL = 0x20  # attribute of a batch that holds a marker


def with_markers(data: Path, *topics: str) -> list[str]:
    """The partitions of topics that have a marker in them; ``data``: the folder where the broker keeps them."""
    folders = (one for topic in topics for one in sorted(data.glob(f"{topic}-*")))
    return [one.name for one in folders if any(attributes & _CONTROL for _, attributes in _batches(_log(one)))]


def cut_marker(data: Path, partition: str) -> None:
    """Takes the last batch, a marker, off a partition's log; its broker is stopped and makes the indexes anew."""
    folder = data / partition
    *_, (at, attributes) = _batches(_log(folder))
    assert attributes & _CONTROL, f"{partition} ends with a marker"
    with _log(folder).open("r+b") as log:
        log.truncate(at)
    for made in folder.iterdir():
        if made.suffix in (".index", ".timeindex", ".txnindex", ".snapshot"):
            made.unlink()


def _log(folder: Path) -> Path:
    return max(folder.glob("*.log"))


def _batches(log: Path) -> list[tuple[int, int]]:
    """Where each batch begins, and its attributes."""
    found, data, at = [], log.read_bytes(), 0
    while at < len(data):
        found.append((at, int.from_bytes(data[at + 21 : at + 23])))
        at += 12 + int.from_bytes(data[at + 8 : at + 12])
    return found
