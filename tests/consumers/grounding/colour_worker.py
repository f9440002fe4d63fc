"""A worker process with the colour engine: ``python -m tests.consumers.grounding.colour_worker [SETTINGS [SECONDS]]``.

SETTINGS are JSON; without them it reads the environment, as `simvg work` does. SECONDS: what a batch takes.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading

from consumers.grounding.settings import WorkerSettings
from consumers.grounding.vitals import Vitals
from consumers.grounding.worker import Worker
from infra.settings import load
from infra.telemetry import configure_logging, start_metrics
from tests.consumers.grounding.colour import ColourEngine


def main() -> None:
    settings = WorkerSettings.model_validate_json(sys.argv[1]) if sys.argv[1:] else load(WorkerSettings)
    configure_logging(settings.telemetry, role="worker")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    engine = ColourEngine(float(sys.argv[2]) if sys.argv[2:] else 0.0)
    worker, vitals = Worker(settings, engine), Vitals(settings.kafka)
    vitals.attach(worker)
    port = settings.telemetry.metrics_port
    serving = (
        contextlib.nullcontext()
        if port is None
        else start_metrics(port, health=vitals.health, live=vitals.live, ready=vitals.ready)
    )
    with serving:
        worker.run(stop)


if __name__ == "__main__":
    main()
