"""Settings of one camera process."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from infra.contracts import Identifier
from infra.settings import RoleSettings
from infra.topics import MAX_MESSAGE_BYTES


class CameraSettings(RoleSettings):
    """What one camera process reads, how it numbers and encodes frames, and what it does when Kafka is away."""

    id: Identifier = Field(description="id of the camera: key of its frames, and what standing queries name")
    source: SecretStr = Field(description="where frames come from: URL, device number, file, folder or line:")
    fps: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="frames a second to publish at most; a folder's rate (default 5)",
    )
    jpeg_quality: int = Field(default=90, ge=1, le=100, description="of frames encoded here; JPEGs pass untouched")
    max_width: int | None = Field(default=None, ge=16, description="wider frames are scaled down to it, in pixels")
    loop: bool = Field(default=False, description="play a file or folder over and over")
    as_fast_as_possible: bool = Field(
        default=False, description="give frames of a recording as fast as Kafka takes them, none dropped"
    )
    epoch: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="name of this run's numbering; give one to get the same alert ids again from the same recording",
    )
    capture_width: int | None = Field(
        default=None, ge=16, le=16384, description="width in pixels that a camera at this computer is asked for"
    )
    capture_height: int | None = Field(
        default=None, ge=16, le=16384, description="height in pixels that a camera at this computer is asked for"
    )
    rtsp_transport: Literal["tcp", "udp"] = Field(default="tcp", description="how RTSP carries its data")
    open_seconds: float = Field(default=10.0, gt=0, le=300, description="seconds to wait for a camera to answer")
    stall_seconds: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="seconds without a frame: the camera is lost; whole ones, rounded up, of one at this computer",
    )
    reconnect_initial_seconds: float = Field(default=0.5, gt=0, le=60, description="first pause before a new try")
    reconnect_max_seconds: float = Field(default=30.0, gt=0, le=3600, description="longest pause before a new try")
    queue_frames: int = Field(default=32, ge=1, le=10_000, description="frames waiting for Kafka; the oldest give way")
    in_flight_frames: int = Field(default=16, ge=1, le=10_000, description="frames sent and not yet confirmed")
    delivery_seconds: float = Field(default=10.0, ge=1, le=3600, description="a frame not confirmed by then is dropped")
    expiry_seconds: float | None = Field(
        default=30.0, gt=0, description="age from which a frame must not be scored; none in recordings played fast"
    )
    flush_seconds: float = Field(default=5.0, ge=0, le=300, description="for frames under way when the camera stops")
    max_message_bytes: int = Field(
        default=MAX_MESSAGE_BYTES, ge=1000, description="largest frame sent; at most max.message.bytes of the topic"
    )

    @field_validator("source", mode="before")
    @classmethod
    def _device_number(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("source")
    @classmethod
    def _something(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().strip():
            raise ValueError("the source is empty; name a URL, a device number, a file, a folder or line:")
        return value

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.capture_width is None) != (self.capture_height is None):
            raise ValueError("capture_width and capture_height go together; give both or neither")
        return self

    @property
    def capture_size(self) -> tuple[int, int] | None:
        """Width and height that a camera at this computer is asked for, in pixels; None: whatever it gives."""
        if self.capture_width is None or self.capture_height is None:
            return None
        return self.capture_width, self.capture_height
