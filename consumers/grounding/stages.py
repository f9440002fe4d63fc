"""How long a frame spends in each stage, and where frames fail."""

from __future__ import annotations

from consumers.grounding.frames import Frame, Picture
from infra.metrics import counter, histogram

BATCH = histogram("simvg_worker_batch_frames", "frames scored at once", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256))
FAILURES = counter(
    "simvg_worker_failures_total",
    "frames that ended in an error of the model or of the alarms",
    ("stage",),
    begin=("model", "alarms"),
)
_STAGE = histogram("simvg_worker_stage_seconds", "time that a frame spends in each stage", ("camera", "stage"))


def stage_ms(frame: Frame, picture: Picture, started_ns: int, ended_ns: int) -> dict[str, float]:
    """Milliseconds per stage: camera to publisher, through Kafka, decoding, waiting here, the model (whole batch)."""
    header = frame.header
    return {
        "capture": (header.published_ns - header.captured_ns) / 1e6,
        "transport": (frame.fetched_ns - header.published_ns) / 1e6,
        "decode": picture.decode_ms,
        "queue": (started_ns - frame.fetched_ns) / 1e6 - picture.decode_ms,
        "ground": (ended_ns - started_ns) / 1e6,
    }


def observe(camera: str, stages: dict[str, float]) -> None:
    """Counts them."""
    for stage, ms in stages.items():
        _STAGE.labels(camera, stage).observe(ms / 1e3)
