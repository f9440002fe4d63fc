"""Logs without credentials, metrics and health."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog
from prometheus_client import REGISTRY

from infra.errors import SettingsError
from infra.metrics import METRICS, counter, gauge_once_set
from infra.settings import TelemetrySettings
from infra.telemetry import configure_logging, start_metrics

_EXAMPLES = counter("simvg_test_examples_total", "events of this test", ["reason"])
_KNOWN = gauge_once_set("simvg_test_known", "what this test knows")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where logs go during a test; the logging of the test run is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _configure(stream: io.StringIO, log_format: Literal["console", "json"]) -> None:
    configure_logging(TelemetrySettings(log_format=log_format), role="camera", stream=stream)


def test_json_line_holds_the_fields(stream: io.StringIO) -> None:
    """One event is one JSON object with its fields, level, time and role."""
    _configure(stream, "json")
    structlog.get_logger("a.module").info("frame skipped", camera="c1", offset=7)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["camera"], line["offset"], line["level"], line["role"], line["logger"]) == (
        "frame skipped",
        "c1",
        7,
        "info",
        "camera",
        "a.module",
    )
    assert line["timestamp"].endswith("Z")


def test_standard_library_logs_look_the_same(stream: io.StringIO) -> None:
    """What libraries log through the standard library is in the same format, extra fields included."""
    _configure(stream, "json")
    logging.getLogger("a.library").warning("lost %s", "connection", extra={"query": "q1"})
    line = json.loads(stream.getvalue())
    assert (line["event"], line["query"], line["level"]) == ("lost connection", "q1", "warning")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_credentials_never_reach_a_log(stream: io.StringIO, log_format: Literal["console", "json"]) -> None:
    """Not as event, field, argument, nor in a traceback."""
    _configure(stream, log_format)
    url = "rtsp://admin:hush@camera.local/main"
    structlog.get_logger().error(f"cannot open {url}", source=url, nested={"url": url})
    logging.getLogger("library").error("cannot open %s", url)
    try:
        raise ValueError(f"bad source {url}")
    except ValueError:
        logging.getLogger("library").exception("failed")
        structlog.get_logger().exception("failed")
    assert "hush" not in stream.getvalue()
    assert "***@camera.local" in stream.getvalue()


def test_level_is_kept(stream: io.StringIO) -> None:
    """What is below the level is not written."""
    configure_logging(TelemetrySettings(log_level="WARNING"), role="worker", stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    assert stream.getvalue() == ""


def test_configuring_again_does_not_double_lines(stream: io.StringIO) -> None:
    """The last configuration holds alone."""
    _configure(stream, "json")
    _configure(stream, "json")
    structlog.get_logger().info("once")
    assert len(stream.getvalue().splitlines()) == 1


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_and_health_are_served() -> None:
    """Prometheus reads the metrics, an orchestrator the health; other paths are not found."""
    faults: list[str] = []
    with start_metrics(0, health=lambda: faults[0] if faults else None) as server:
        _EXAMPLES.labels(reason="seen").inc()
        status, page = _get(server.port, "/metrics")
        assert status == 200
        assert 'simvg_test_examples_total{reason="seen"} 1.0' in page
        assert _get(server.port, "/healthz") == (200, "ok\n")
        faults.append("no broker at redis://u:hush@h")
        assert _get(server.port, "/healthz") == (503, "no broker at redis://***@h\n")
        assert _get(server.port, "/")[0] == 404


def test_taken_metrics_port_is_named_with_the_setting() -> None:
    """A port in use names itself and the setting to change."""
    with start_metrics(0) as server, pytest.raises(SettingsError, match=rf"port {server.port}.*METRICS_PORT"):
        start_metrics(server.port)


def test_declared_metrics_are_listed() -> None:
    """The documentation can be checked against what was declared."""
    assert METRICS["simvg_test_examples_total"].labels == ("reason",)


def test_gauge_once_set_says_nothing_before() -> None:
    """A process that knows no value gives none; a 0 that it is set to is one."""
    assert REGISTRY.get_sample_value("simvg_test_known") is None
    _KNOWN.set(0)
    assert REGISTRY.get_sample_value("simvg_test_known") == 0.0


def test_process_that_follows_no_queries_says_nothing_of_them() -> None:
    """A camera's metrics tell of no Redis that does not answer, and of no set of queries that differs from others'."""
    program = "import simvg, prometheus_client as p; print(p.generate_latest().decode())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "simvg_queries_broken_total 0.0" in told, "what follows queries is imported"
    assert not {"simvg_registry_available", "simvg_query_set_revision", "simvg_queries_unreadable"} & set(told.split())


@pytest.mark.parametrize("name", ["frames_total", "simvg_Frames_total", "simvg_frames"])
def test_misnamed_counter_is_our_own_error(name: str) -> None:
    """Counters are named simvg_…_total."""
    with pytest.raises(AssertionError):
        counter(name, "misnamed")


def test_address_that_cannot_be_opened_names_both_settings() -> None:
    """It may be the port or the address that is wrong."""
    with pytest.raises(
        SettingsError, match=r"on ::1 cannot be opened.*TELEMETRY__METRICS_PORT.*TELEMETRY__METRICS_HOST"
    ):
        start_metrics(0, host="::1")
