"""What the demo plays and asks: read from ``demo.yaml`` beside this file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from consumers.demo.truth import Target

CLIP_CAMERA = "line-1"
STREAM_CAMERA = "line-2"


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """A standing query of the demo and what makes it true in the clip."""

    id: str
    text: str
    threshold: float
    on_delay: str
    off_delay: str
    target: Target


def demo_queries() -> list[DemoQuery]:
    """The demo's standing queries, in the order of ``demo.yaml``."""
    raw = yaml.safe_load(resources.files("consumers.demo").joinpath("demo.yaml").read_text(encoding="utf-8"))
    return [_query(entry) for entry in raw["queries"]]


def _query(entry: dict[str, Any]) -> DemoQuery:
    target = entry["target"]
    return DemoQuery(
        id=entry["id"],
        text=entry["text"],
        threshold=float(entry["threshold"]),
        on_delay=str(entry.get("on_delay", "3 frames")),
        off_delay=str(entry.get("off_delay", "5 frames")),
        target=Target(tuple(target["kinds"]), target.get("state"), target.get("color")),
    )
