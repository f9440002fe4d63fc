"""`simvg work`: one worker, from frames to alerts."""

from __future__ import annotations

import gc
from pathlib import Path
from threading import Event
from typing import Annotated

import cv2
import structlog
import typer

from consumers.grounding.settings import WorkerSettings
from infra.options import ConfigFile, Kafka, LogFormat, LogLevel, MetricsPort, Prefix, RedisUrl
from infra.scheduling import as_batch_work
from infra.settings import load
from infra.signals import stop_on_signals
from infra.telemetry import configure_logging, start_metrics

log = structlog.get_logger(__name__)


def work(
    model: Annotated[
        Path | None, typer.Option("--model", help="Folder of the model; default models/line-small.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="auto (default), torch, onnxruntime or openvino.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto (default), cpu, cuda or cuda:N.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="float32 (default), bfloat16 or int8.")] = None,
    torch_threads: Annotated[int | None, typer.Option("--torch-threads", help="CPU threads of the model.")] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Consumer group; workers of one group share the cameras.")
    ] = None,
    worker_id: Annotated[
        str | None, typer.Option("--id", help="Name of this worker; default host and process.")
    ] = None,
    freshness: Annotated[
        str | None, typer.Option("--freshness", help="latest (default): jump to the newest frame; every: never skip.")
    ] = None,
    every: Annotated[
        list[str] | None, typer.Option("--every", help="Cameras (id or glob) of which no frame is skipped; repeatable.")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Frames a second to score at most, per camera.")] = None,
    expiry: Annotated[float | None, typer.Option("--expiry", help="Age in s from which a frame is skipped.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Frames scored at once, at most; default 4.")] = None,
    cache_dir: Annotated[Path | None, typer.Option("--cache-dir", help="Folder of the last known queries.")] = None,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    redis: RedisUrl = None,
    metrics_port: MetricsPort = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    config: ConfigFile = None,
) -> None:
    """Scores frames with all standing queries and raises alerts, until Ctrl-C.

    Start as many as you like: workers of one group share the cameras. Waits for Kafka; without Redis it goes on with
    the last known queries. Every frame is scored, or counted with the reason why not. Settings come from flags, then
    the environment (SIMVG_FRESHNESS=every), then --config.

    Example: simvg work --model models/line-small --every 'press-*' --metrics-port 9101
    """
    settings = load(
        WorkerSettings,
        flags={
            "model": model,
            "engine": engine,
            "device": device,
            "precision": precision,
            "torch_threads": torch_threads,
            "group": group,
            "worker_id": worker_id,
            "freshness": freshness,
            "freshness_rules": [{"cameras": glob, "freshness": "every"} for glob in every] if every else None,
            "rate": rate,
            "expiry_s": expiry,
            "batch_size": batch,
            "cache_dir": cache_dir,
            "kafka.bootstrap": kafka,
            "kafka.prefix": topic_prefix,
            "redis.url": redis,
            "telemetry.metrics_port": metrics_port,
            "telemetry.log_level": log_level,
            "telemetry.log_format": log_format,
        },
        file=config,
    )
    configure_logging(settings.telemetry, role="worker")
    run_worker(settings, stop_on_signals())


def run_worker(settings: WorkerSettings, stop: Event) -> None:
    """Loads the model and works until ``stop`` is set. Raises SettingsError, TopicMissing."""
    # Loading torch takes seconds that `simvg --help` and the other commands need not pay.
    from consumers.grounding.engine import load_engine
    from consumers.grounding.vitals import Vitals
    from consumers.grounding.worker import Worker

    as_batch_work()
    vitals = Vitals(settings.kafka)
    port, host = settings.telemetry.metrics_port, settings.telemetry.metrics_host
    metrics = (
        None
        if port is None
        else start_metrics(port, host=host, health=vitals.health, live=vitals.live, ready=vitals.ready)
    )
    if metrics is not None:
        log.info("metrics", port=metrics.port)
    cv2.setNumThreads(1)  # frames are decoded side by side already, and the model needs the cores
    loaded = load_engine(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        threads=settings.torch_threads,
    )
    log.info("model loaded", model=str(settings.model), fingerprint=loaded.fingerprint)
    worker = Worker(settings, loaded)
    # What is there now stays: to look through it again for garbage would hold up all threads for as long as a frame.
    gc.collect()
    gc.freeze()
    vitals.attach(worker)
    try:
        worker.run(stop)
    finally:
        if metrics is not None:
            metrics.close()
