"""Settings of the demo."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from infra.settings import StackSettings


class DemoSettings(StackSettings):
    """What the demo plays, with which model, and for how long."""

    clip: Path = Field(
        default=Path("simvg_core/lineworld/assets/demo.mp4"), description="the clip; its truth is the .json beside it"
    )
    model: Path = Field(default=Path("models/line-small"), description="folder of the model that the worker runs")
    fps: float = Field(default=5.0, gt=0, le=60, description="frames per second of each camera")
    seconds: float | None = Field(default=None, gt=0, description="end after this time; default: until Ctrl-C")
    loop: bool = Field(default=False, description="play the clip over and over; else a run ends with the clip")

    @property
    def looped(self) -> bool:
        """Whether the clip is played over and over: a run without an end needs it."""
        return self.loop or self.seconds is None
