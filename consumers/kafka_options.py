"""Options of all commands that read or write the plant's Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.settings import KafkaSettings, RoleSettings, load

Kafka = Annotated[str | None, typer.Option("--kafka", help="Broker addresses host:port (SIMVG_KAFKA__BOOTSTRAP).")]
Prefix = Annotated[str | None, typer.Option("--topic-prefix", help="Topic prefix of the plant (SIMVG_KAFKA__PREFIX).")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML settings file.")]


def kafka_settings(kafka: str | None, topic_prefix: str | None, config: Path | None) -> KafkaSettings:
    """Where Kafka is, by the options, the environment and the file, in this order."""
    return load(RoleSettings, flags={"kafka.bootstrap": kafka, "kafka.prefix": topic_prefix}, file=config).kafka
