"""A worker process with the colour engine: ``python -m tests.consumers.grounding.colour_worker SETTINGS_JSON``."""

from __future__ import annotations

import signal
import sys
import threading

from consumers.grounding.settings import WorkerSettings
from consumers.grounding.worker import Worker
from infra.telemetry import configure_logging
from tests.consumers.grounding.colour import ColourEngine


def main() -> None:
    settings = WorkerSettings.model_validate_json(sys.argv[1])
    configure_logging(settings.telemetry, role="worker")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    Worker(settings, ColourEngine()).run(stop)


if __name__ == "__main__":
    main()
