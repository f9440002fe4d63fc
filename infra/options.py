"""Options that the commands of every role have in common: where Kafka and Redis are, settings, logs and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.settings import KafkaSettings, RoleSettings, load

Kafka = Annotated[str | None, typer.Option("--kafka", help="Broker addresses host:port (SIMVG_KAFKA__BOOTSTRAP).")]
Prefix = Annotated[str | None, typer.Option("--topic-prefix", help="Topic prefix of the plant (SIMVG_KAFKA__PREFIX).")]
RedisUrl = Annotated[str | None, typer.Option("--redis", help="Address of Redis (SIMVG_REDIS__URL).")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML settings file.")]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", help="Serve /metrics and /healthz there; 0 takes a free port.")
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")]
LogFormat = Annotated[str | None, typer.Option("--log-format", help="console or json.")]


def kafka_settings(kafka: str | None, topic_prefix: str | None, config: Path | None) -> KafkaSettings:
    """Where Kafka is, by the options, the environment and the file, in this order."""
    return load(RoleSettings, flags={"kafka.bootstrap": kafka, "kafka.prefix": topic_prefix}, file=config).kafka
