"""What a process tells about itself: logs without credentials, metrics, and whether it lives and is ready."""

from __future__ import annotations

import logging
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import make_wsgi_app

from infra.errors import SettingsError
from infra.health import Checks, answer
from infra.metrics import METRICS, counter, gauge, histogram
from infra.redaction import redact
from infra.settings import TelemetrySettings

__all__ = ["METRICS", "MetricsServer", "configure_logging", "counter", "gauge", "histogram", "redact", "start_metrics"]

_NOISY = {"urllib3": logging.WARNING, "asyncio": logging.WARNING, "matplotlib": logging.WARNING}


def configure_logging(telemetry: TelemetrySettings, *, role: str, stream: Any = None) -> None:
    """Send all logs, structlog's and the standard library's, to ``stream`` (default stderr) in one format.

    Every line carries the role; credentials in URLs are hidden whatever logs them, tracebacks included. May be called
    again; the last call holds.
    """
    stream = stream if stream is not None else sys.stderr
    colors = telemetry.log_format == "console" and hasattr(stream, "isatty") and stream.isatty()
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_role(role),
    ]
    finish: list[structlog.types.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(sort_keys=True, default=str)]
        if telemetry.log_format == "json"
        else [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish, _redact_line],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(telemetry.log_level)
    for name, level in _NOISY.items():
        logging.getLogger(name).setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _with_role(role: str) -> structlog.types.Processor:
    def add(logger: Any, method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event.setdefault("role", role)
        return event

    return add


def _redact_line(logger: Any, method: str, line: Any) -> Any:
    return redact(line) if isinstance(line, str) else line


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True

    def server_bind(self) -> None:
        # WSGIServer's own asks DNS for this machine's name, which can hang for seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are no news."""


class MetricsServer:
    """Serves ``/metrics`` (Prometheus text), ``/livez`` and ``/readyz`` (JSON with reasons; 503 when something is
    wrong), and ``/healthz`` (200 ``ok``, or 503 with what is wrong in words)."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port in use; of interest when 0 was asked for."""
        return self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _well() -> Checks:
    return {}


def start_metrics(
    port: int,
    *,
    host: str = "127.0.0.1",
    health: Callable[[], str | None] = lambda: None,
    live: Callable[[], Checks] = _well,
    ready: Callable[[], Checks] = _well,
) -> MetricsServer:
    """Serve metrics on ``port`` (0: a free one). ``health()`` says in words what is wrong, or None; ``live()`` and
    ``ready()`` give each check with what is wrong with it, or None.

    Raises SettingsError, naming port and setting, when the port is taken or may not be opened.
    """
    metrics_app = make_wsgi_app()

    def plain(fault: str | None) -> tuple[bool, bytes]:
        return fault is None, f"{redact(fault) if fault else 'ok'}\n".encode()

    pages: dict[str, tuple[str, Callable[[], tuple[bool, bytes]]]] = {
        "/healthz": ("text/plain; charset=utf-8", lambda: plain(health())),
        "/livez": ("application/json", lambda: answer(live())),
        "/readyz": ("application/json", lambda: answer(ready())),
    }

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            page: Iterable[bytes] = metrics_app(environ, start_response)
            return page
        if path in pages:
            kind, content = pages[path]
            well, body = content()
            start_response("200 OK" if well else "503 Service Unavailable", [("Content-Type", kind)])
            return [body]
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"see /metrics, /livez, /readyz and /healthz\n"]

    try:
        server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise SettingsError(
            f"metrics port {port} on {host} cannot be opened: {error.strerror}; choose another with --metrics-port or "
            "SIMVG_TELEMETRY__METRICS_PORT, or another address (IPv4) with SIMVG_TELEMETRY__METRICS_HOST"
        ) from error
    return MetricsServer(server)
