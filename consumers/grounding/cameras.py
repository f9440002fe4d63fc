"""Limits of one camera: from where its frames cannot be judged, and for how long it may see nothing."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from pydantic import Field

from consumers.grounding.findings import PictureLimits
from consumers.grounding.vision import VisionLimits
from infra.settings import Settings

DEFAULTS, SIGHT = PictureLimits(), VisionLimits()


class CameraLimits(Settings):
    """Limits of the cameras that a glob names; what is not given keeps its default."""

    cameras: str = Field(default="*", min_length=1, max_length=64, description="camera id or glob such as 'line-*'")
    black: float = Field(default=DEFAULTS.black, ge=0, le=255, description="darker than this grey level: black")
    white: float = Field(default=DEFAULTS.white, ge=0, le=255, description="brighter than this grey level: blown out")
    flat: float = Field(default=DEFAULTS.flat, ge=0, le=128, description="less deviation of grey levels: one surface")
    blur: float = Field(default=DEFAULTS.blur, ge=0, le=1, description="smaller share of fine edges: blurred")
    drag: float = Field(
        default=DEFAULTS.drag,
        ge=0,
        le=1,
        description="share of edges across of those along: dragged by motion; try 0.1",
    )
    frozen_s: float | None = Field(
        default=SIGHT.frozen_s, gt=0, description="the same picture for so many seconds: frozen; null: never"
    )
    same: float = Field(
        default=SIGHT.same, ge=0, le=10, description="grey levels of mean difference up to which a picture repeats"
    )
    stale_s: float | None = Field(
        default=SIGHT.stale_s, gt=0, description="captured so many seconds before it was published: stale; null: never"
    )
    blind_s: float | None = Field(
        default=10.0, gt=0, description="seconds without a frame that can be judged: camera blind; null: never"
    )

    @property
    def picture(self) -> PictureLimits:
        """Limits of a single frame."""
        return PictureLimits(black=self.black, white=self.white, flat=self.flat, blur=self.blur, drag=self.drag)

    @property
    def vision(self) -> VisionLimits:
        """Limits of frames that follow each other."""
        return VisionLimits(frozen_s=self.frozen_s, same=self.same, stale_s=self.stale_s)


def limits_of(rules: Sequence[CameraLimits], camera: str) -> CameraLimits:
    """Those of the first rule whose glob names the camera, else the defaults."""
    return next((rule for rule in rules if fnmatch.fnmatchcase(camera, rule.cameras)), CameraLimits())
