"""Settings of a worker (`simvg work`)."""

from __future__ import annotations

import fnmatch
import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field

from consumers.grounding.cameras import CameraLimits, limits_of
from infra.contracts import Identifier, Rate
from infra.settings import RoleSettings, Settings

Freshness = Literal["latest", "every"]


def _default_worker_id() -> str:
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname()).strip("-") or "host"
    return f"{host[:40]}-{os.getpid()}"


class FreshnessRule(Settings):
    """Freshness of the cameras that a glob names."""

    cameras: str = Field(min_length=1, max_length=64, description="camera id or glob such as 'line-*'")
    freshness: Freshness = Field(description="latest or every")


class WorkerSettings(RoleSettings):
    """Everything that a worker can be told. Defaults suit a few cameras on a small machine without a GPU."""

    model: Path = Field(
        default=Path("models/line-small"), description="folder of the model's weights and configuration"
    )
    engine: Literal["auto", "torch", "onnxruntime", "openvino"] = Field(
        default="auto",
        description="what runs the model; auto: where it was exported, on a CPU ONNX Runtime, in bfloat16 OpenVINO if "
        "it is installed; else torch",
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    precision: Literal["float32", "bfloat16", "int8"] = Field(
        default="float32",
        description="numbers of the model's matrix products: bfloat16 in OpenVINO and torch, int8 in ONNX Runtime; "
        "with both scores differ a little",
    )
    torch_threads: int | None = Field(default=None, ge=1, le=256, description="CPU threads of the model; default: all")

    group: str = Field(
        default="simvg-workers",
        min_length=1,
        max_length=200,
        description="consumer group; its workers share the cameras",
    )
    worker_id: Identifier = Field(default_factory=_default_worker_id, description="name of this worker in the registry")
    from_beginning: bool = Field(default=True, description="a new group starts at the oldest frame, else at new ones")

    freshness: Freshness = Field(
        default="latest",
        description="latest: when behind, jump to the newest frame; every: never skip for being behind",
    )
    freshness_rules: tuple[FreshnessRule, ...] = Field(
        default=(), description="exceptions by camera; the first match holds"
    )
    expiry_s: float | None = Field(
        default=None,
        gt=0,
        description="a frame captured longer ago is skipped as expired",
    )
    rate: Rate | None = Field(default=None, description="frames per second to score at most, per camera")
    camera_limits: tuple[CameraLimits, ...] = Field(
        default=(),
        description="when frames cannot be judged, a list of rules by camera id or glob, the first match holds: "
        "cameras, black, white, flat, blur, drag, frozen_s, same, stale_s, blind_s; see docs/benchmarks/unknown.md",
    )

    batch_size: int = Field(default=4, ge=1, le=256, description="frames scored at once, at most")
    batch_deadline_ms: float = Field(default=10.0, ge=0, le=1000, description="a batch waits this long for more frames")
    time_budget: float | None = Field(
        default=0.9,
        gt=0,
        le=1,
        description="share of a worker's time that queries may cost; over it, under freshness latest, those of lower "
        "severity are looked at less often; null: nothing is measured and no look is left out",
    )
    decode_threads: int = Field(default=2, ge=1, le=64, description="threads that decode images")
    decode_ahead: bool | None = Field(
        default=None,
        description="decode while the model works: more frames/s, each older by a batch; default only under 'every'",
    )
    max_pixels: int = Field(default=33_177_600, ge=4096, description="an image of more pixels (8K) is rejected")
    queue_bytes: int = Field(
        default=16_000_000, ge=1, le=4_000_000_000, description="bytes of images that wait to be decoded under 'every'"
    )

    evidence_quality: int = Field(
        default=90, ge=50, le=100, description="JPEG quality of evidence that must be encoded"
    )
    commit_interval_s: float | None = Field(
        default=None,
        gt=0,
        le=5,
        description="results are committed in one transaction after so many seconds, those with an alert at once; "
        "default 0.2, under 'every' 1: a transaction costs the broker as much as half a frame costs the model",
    )
    commit_frames: int = Field(default=200, ge=1, le=1000, description="frames in one transaction, at most")
    transaction_timeout_s: float = Field(
        default=10.0, ge=2, le=300, description="Kafka undoes a transaction that a killed worker left open after this"
    )
    session_timeout_s: float = Field(
        default=6.0, ge=2, le=300, description="a silent worker's cameras go to the others after this time"
    )
    static_member: bool = Field(
        default=False,
        description="keep the cameras for a worker that restarts under the same id within the session time-out; with "
        "kafka.group_protocol classic also after a kill, at once (with consumer a killed one is refused until then)",
    )
    drain_s: float = Field(
        default=7.0,
        gt=0,
        le=60,
        description="seconds to finish what is in flight at a stop; all else takes a second or two, and platforms kill "
        "what has not ended after ten",
    )
    report_ttl_s: float = Field(
        default=15.0, ge=1, le=3600, description="the registry forgets a silent worker after this time"
    )
    alive_s: float = Field(
        default=150.0,
        ge=10,
        description="seconds without a move of a thread that make /livez fail; a hand-over may take 120",
    )
    cache_dir: Path = Field(
        default=Path(".state/worker"), description="folder of the last known queries and of the default ids used here"
    )

    @property
    def decodes_ahead(self) -> bool:
        """Whether the next frames are taken and decoded while the model works on others."""
        return self.freshness == "every" if self.decode_ahead is None else self.decode_ahead

    @property
    def commits_after_s(self) -> float:
        """Longest wait of a result without an alert for its transaction, seconds."""
        if self.commit_interval_s is not None:
            return self.commit_interval_s
        return 1.0 if self.freshness == "every" else 0.2

    def limits_of(self, camera: str) -> CameraLimits:
        """From where frames of one camera cannot be judged. Under "every", old frames are asked for: none is stale,
        unless a rule says from when."""
        found = limits_of(self.camera_limits, camera)
        asked_for = self.freshness_of(camera) == "every" and "stale_s" not in found.model_fields_set
        return found.model_copy(update={"stale_s": None}) if asked_for else found

    def freshness_of(self, camera: str) -> Freshness:
        """Freshness of one camera."""
        for rule in self.freshness_rules:
            if fnmatch.fnmatchcase(camera, rule.cameras):
                return rule.freshness
        return self.freshness
