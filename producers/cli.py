"""`simvg camera`: one camera, from its source to Kafka."""

from __future__ import annotations

from typing import Annotated

import structlog
import typer

from infra.options import ConfigFile, Kafka, LogFormat, LogLevel, MetricsPort, Prefix
from infra.settings import load
from infra.signals import stop_on_signals
from infra.telemetry import configure_logging
from producers.camera import run_camera
from producers.settings import CameraSettings
from producers.sources import FORMS

log = structlog.get_logger(__name__)

_HELP = f"""Publish the frames of one camera, file or folder until it ends or Ctrl-C.

A lost camera is connected again for ever. While Kafka is away the newest frames are kept; every frame that is
dropped is counted with its reason. User names and passwords of URLs never appear in logs, errors or topics.

Settings come from flags, then the environment, then --config. A source with a password is refused as a flag, which
everyone on the machine could read: give it as SIMVG_SOURCE, or in a file that SIMVG_SOURCE_FILE names.

\b
SOURCE is one of
{chr(10).join("  " + line for line in FORMS.splitlines())}

\b
Examples
  simvg camera --id line-1 rtsp://10.0.0.7/stream1 --fps 5
  SIMVG_SOURCE_FILE=/run/secrets/line-1-url simvg camera --id line-1
  simvg camera --id line-2 recording.mp4 --loop
"""


def camera(
    source: Annotated[str | None, typer.Argument(help="Where frames come from; see above.", show_default=False)] = None,
    id: Annotated[str | None, typer.Option("--id", help="Id of the camera, e.g. line-1.")] = None,
    fps: Annotated[float | None, typer.Option("--fps", help="Frames a second at most; a folder's rate.")] = None,
    jpeg_quality: Annotated[int | None, typer.Option("--jpeg-quality", help="1 to 100; default 90.")] = None,
    max_width: Annotated[int | None, typer.Option("--max-width", help="Scale wider frames down to it.")] = None,
    capture_width: Annotated[
        int | None, typer.Option("--capture-width", help="Width to ask a camera at this computer for, in pixels.")
    ] = None,
    capture_height: Annotated[
        int | None, typer.Option("--capture-height", help="Height to ask it for; both or neither.")
    ] = None,
    loop: Annotated[bool | None, typer.Option("--loop", help="Play a file or folder over and over.")] = None,
    as_fast_as_possible: Annotated[
        bool | None,
        typer.Option("--as-fast-as-possible", help="Play a recording as fast as Kafka takes it; no frame is dropped."),
    ] = None,
    epoch: Annotated[str | None, typer.Option("--epoch", help="Name of the numbering; repeats alert ids.")] = None,
    rtsp_transport: Annotated[str | None, typer.Option("--rtsp-transport", help="tcp (default) or udp.")] = None,
    stall: Annotated[float | None, typer.Option("--stall", help="Seconds without a frame: lost; default 10.")] = None,
    queue: Annotated[int | None, typer.Option("--queue", help="Frames that may wait for Kafka; default 32.")] = None,
    expiry: Annotated[float | None, typer.Option("--expiry", help="Age in s from which none is scored; 30.")] = None,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    metrics_port: MetricsPort = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    config: ConfigFile = None,
) -> None:
    settings = load(
        CameraSettings,
        flags={
            "source": source,
            "id": id,
            "fps": fps,
            "jpeg_quality": jpeg_quality,
            "max_width": max_width,
            "capture_width": capture_width,
            "capture_height": capture_height,
            "loop": loop or None,
            "as_fast_as_possible": as_fast_as_possible or None,
            "epoch": epoch,
            "rtsp_transport": rtsp_transport,
            "stall_seconds": stall,
            "queue_frames": queue,
            "expiry_seconds": expiry,
            "kafka.bootstrap": kafka,
            "kafka.prefix": topic_prefix,
            "telemetry.metrics_port": metrics_port,
            "telemetry.log_level": log_level,
            "telemetry.log_format": log_format,
        },
        file=config,
    )
    configure_logging(settings.telemetry, role="camera")
    counts = run_camera(settings, stop_on_signals())
    log.info("frames", camera=settings.id, captured=counts.captured, published=counts.published, dropped=counts.dropped)


camera.__doc__ = _HELP
