"""The truth of a demo clip: what can be seen in every frame, and the episodes that a standing query must raise.

Written by ``simvg line clip`` beside the clip. Boxes there are xyxy pixels of the clip's frames; here they are
normalised to 0..1, as alerts carry them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import SettingsError

FULLY_IN_VIEW = 0.95
"""Visible share from which a target counts as fully in view: the clock of "alert within 1 s" starts here."""

IN_SIGHT = 0.25
"""Visible share from which an alert about a target is no false alert."""

NormalisedBox = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One instance in one frame; ``box`` is xyxy, normalised; ``visible`` the share of it that is seen."""

    id: int
    plate: int | None
    kind: str
    color: str | None
    state: str
    box: NormalisedBox
    visible: float
    clear: bool


@dataclass(frozen=True, slots=True)
class Target:
    """Which instances make a demo query true: every given field must match."""

    kinds: tuple[str, ...]
    state: str | None = None
    color: str | None = None

    def matches(self, sighting: Sighting) -> bool:
        return (
            sighting.kind in self.kinds
            and self.state in (None, sighting.state)
            and self.color in (None, sighting.color)
        )


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of frames (both ends included) in which one target of a query is in sight.

    ``id`` is the target's, ``first`` the first frame with it in sight, ``due`` the first with it fully in view and
    clear.
    """

    id: int
    first: int
    due: int
    last: int


@dataclass(frozen=True, slots=True)
class ClipTruth:
    """Truth of a whole clip: ``frames[i]`` holds the sightings of frame ``i``."""

    fps: float
    frames: tuple[tuple[Sighting, ...], ...]

    def targets(self, frame: int, target: Target, *, visible: float = IN_SIGHT) -> list[Sighting]:
        """Matching instances of one frame that are seen at least to the share ``visible``."""
        if not 0 <= frame < len(self.frames):
            return []
        return [s for s in self.frames[frame] if target.matches(s) and s.visible >= visible]

    def episodes(self, target: Target, *, gap: int = 5) -> list[Episode]:
        """Episodes of a query, one per target, in the order in which they begin.

        Sightings of a target at most ``gap`` frames apart are one episode, as they are to the alarm's off-delay. An
        episode in which its target is never fully in view and clear is not asked for.
        """
        spans: dict[int, list[dict[int, Sighting]]] = {}
        for frame in range(len(self.frames)):
            for seen in self.targets(frame, target):
                own = spans.setdefault(seen.id, [])
                if not own or frame - max(own[-1]) > gap + 1:
                    own.append({})
                own[-1][frame] = seen
        episodes = []
        for id, own in spans.items():
            for span in own:
                due = next((f for f, s in span.items() if s.clear and s.visible >= FULLY_IN_VIEW), None)
                if due is not None:
                    episodes.append(Episode(id=id, first=min(span), due=due, last=max(span)))
        return sorted(episodes, key=lambda episode: episode.first)


def read_clip_truth(path: Path) -> ClipTruth:
    """Reads the truth file of a clip.

    Raises
    ------
    SettingsError
        The file is missing or is no clip truth; the message names the file and the field.
    """
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fps, width, height = (float(raw[name]) for name in ("fps", "width", "height"))
        if not (fps > 0 and width > 0 and height > 0):
            raise ValueError(f"fps {fps:g}, width {width:g}, height {height:g}: each must be above 0")
        frames = tuple(
            tuple(_sighting(instance, width, height) for instance in frame["instances"]) for frame in raw["frames"]
        )
        return ClipTruth(fps=fps, frames=frames)
    except OSError as error:
        raise SettingsError(
            f"truth file {path} cannot be read ({error.strerror}); `simvg line clip` writes it"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"truth file {path} is no clip truth ({error!r}); `simvg line clip` writes one") from error


def _sighting(raw: dict[str, Any], width: float, height: float) -> Sighting:
    x0, y0, x1, y1 = raw["box"]
    return Sighting(
        id=raw["id"],
        plate=raw.get("plate"),
        kind=raw["kind"],
        color=raw.get("color"),
        state=raw.get("state", "ok"),
        box=(x0 / width, y0 / height, x1 / width, y1 / height),
        visible=float(raw["visible"]),
        clear=raw["clear"],
    )
