"""Metrics of a camera process."""

from __future__ import annotations

from infra.metrics import counter, gauge, histogram

CAMERA_UP = gauge("simvg_camera_up", "1 while frames come from the camera, else 0.", ("camera",))
CAMERA_STATE = gauge("simvg_camera_state", "1 for the state that the camera is in, else 0.", ("camera", "state"))
RECONNECTS = counter("simvg_camera_reconnects_total", "Times that a lost camera gave frames again.", ("camera",))
OPEN_FAILURES = counter("simvg_camera_open_failures_total", "Tries to open the camera that failed.", ("camera",))
CAPTURED = counter("simvg_frames_captured_total", "Frames that the source gave.", ("camera",))
PUBLISHED = counter("simvg_frames_published_total", "Frames that Kafka has confirmed.", ("camera",))
PUBLISHED_BYTES = counter("simvg_frames_published_bytes_total", "Bytes of images that Kafka confirmed.", ("camera",))
DROPPED = counter("simvg_frames_dropped_total", "Frames captured and not published, by reason.", ("camera", "reason"))
QUEUED = gauge("simvg_frames_queued", "Frames captured and neither published nor dropped yet.", ("camera",))
STAGE_SECONDS = histogram(
    "simvg_camera_stage_seconds",
    "Seconds per frame: capture (arrival to hand-over), queue, encode, publish (sent to confirmed).",
    ("camera", "stage"),
)
