"""`simvg up`, `down`, `status`, `topics …` and `schemas`: the local stack and what lies in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.contracts import json_schemas
from infra.errors import SettingsError
from infra.local_stack import LocalStack
from infra.options import ConfigFile, Kafka, Prefix
from infra.settings import RoleSettings, StackSettings, load
from infra.topics import TOPICS, TopicState, create_topics, describe_topics

app = typer.Typer()
topics_app = typer.Typer(no_args_is_help=True, help="The topics of the line on a Kafka cluster.")
console = Console()

StateDir = Annotated[Path | None, typer.Option("--state-dir", help="Where the stack keeps its data (default .state).")]
KafkaPort = Annotated[int | None, typer.Option("--kafka-port", help="Port of the broker (default 19092).")]
RedisPort = Annotated[int | None, typer.Option("--redis-port", help="Port of Redis (default 16379).")]
Partitions = Annotated[int | None, typer.Option("--partitions", help="Partitions of new topics; default per topic.")]
Replication = Annotated[int | None, typer.Option("--replication", help="Copies of each partition of new topics.")]


def stack_settings(
    config: Path | None = None,
    state_dir: Path | None = None,
    kafka_port: int | None = None,
    redis_port: int | None = None,
    prefix: str | None = None,
) -> StackSettings:
    """Settings of the local stack from flags, environment and file."""
    flags = {"state_dir": state_dir, "kafka_port": kafka_port, "redis_port": redis_port, "kafka.prefix": prefix}
    return load(StackSettings, flags=flags, file=config)


@app.command("up")
def up(
    state_dir: StateDir = None,
    kafka_port: KafkaPort = None,
    redis_port: RedisPort = None,
    prefix: Prefix = None,
    config: ConfigFile = None,
) -> None:
    """Starts a real Kafka broker and a real Redis on this machine and creates the topics; data is kept in .state.

    Examples: simvg up · simvg up --topic-prefix plant-a
    """
    settings = stack_settings(config, state_dir, kafka_port, redis_port, prefix)
    stack = LocalStack.from_settings(settings)
    started = stack.up(lambda step: console.print(f"[dim]{escape(step)}[/]", highlight=False))
    # The broker is the stack's own, whatever address the roles are given; the names of topics are the plant's.
    own = stack.kafka_settings.model_copy(
        update={"prefix": settings.kafka.prefix, "partitions": settings.kafka.partitions}
    )
    created = [state.topic for state in create_topics(own) if state.created]
    console.print("the stack is up" if started else "the stack was up already")
    console.print(f"kafka {stack.kafka_settings.bootstrap} · redis {stack.redis_url}", highlight=False)
    if created:
        console.print(f"created topics {', '.join(created)}", highlight=False)


@app.command("down")
def down(
    state_dir: StateDir = None, kafka_port: KafkaPort = None, redis_port: RedisPort = None, config: ConfigFile = None
) -> None:
    """Stops the local stack; its data stays in .state.

    Example: simvg down
    """
    stack = LocalStack.from_settings(stack_settings(config, state_dir, kafka_port, redis_port))
    stopped = stack.down(lambda step: console.print(f"[dim]{escape(step)}[/]", highlight=False))
    console.print("the stack is down" if stopped else "the stack was not running")


@app.command("status")
def status(
    state_dir: StateDir = None, kafka_port: KafkaPort = None, redis_port: RedisPort = None, config: ConfigFile = None
) -> None:
    """Shows what of the local stack runs. Exit code 1 when something does not.

    Example: simvg status
    """
    services = LocalStack.from_settings(stack_settings(config, state_dir, kafka_port, redis_port)).status()
    table = Table()
    for column in ("service", "state", "pid", "port", "log"):
        table.add_column(column)
    for service in services:
        state = "[green]running[/]" if service.running else "[red]stopped[/]"
        table.add_row(
            service.name, state, str(service.pid or "–"), str(service.port or "–"), escape(str(service.log_file))
        )
    console.print(table)
    if not all(service.running for service in services):
        raise typer.Exit(1)


@app.command("schemas")
def schemas(
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("infra/schemas"),
) -> None:
    """Writes the JSON Schema of every message that others read and of the standing query.

    Example: simvg schemas --out infra/schemas
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, schema in json_schemas().items():
            (out / f"{name}.json").write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"no schemas can be written to --out {out}: {error.strerror}; name a folder") from error
    console.print(f"wrote {len(json_schemas())} schemas to {escape(str(out))}", highlight=False)


def _kafka_settings(config: Path | None, bootstrap: str | None, prefix: str | None, **new: int | None) -> RoleSettings:
    flags: dict[str, object] = {"kafka.bootstrap": bootstrap, "kafka.prefix": prefix}
    return load(RoleSettings, flags=flags | {f"kafka.{name}": value for name, value in new.items()}, file=config)


def topics_table(states: list[TopicState]) -> Table:
    """Topics as a table."""
    table = Table()
    for column in ("topic", "", "partitions", "replication", "configuration", "holds"):
        table.add_column(column)
    for state in states:
        mark = "created" if state.created else "[green]✓[/]" if state.exists else "[red]missing[/]"
        config = " ".join(f"{key}={value}" for key, value in sorted((state.config or {}).items()))
        table.add_row(
            state.topic, mark, str(state.partitions), str(state.replication), config, TOPICS[state.name].purpose
        )
    return table


@topics_app.command("create")
def create(
    bootstrap: Kafka = None,
    prefix: Prefix = None,
    partitions: Partitions = None,
    replication: Replication = None,
    config: ConfigFile = None,
) -> None:
    """Creates the topics that are missing; what exists stays as it is.

    Example: simvg topics create --kafka kafka-1:9092 --replication 3
    """
    settings = _kafka_settings(config, bootstrap, prefix, partitions=partitions, replication=replication)
    console.print(topics_table(create_topics(settings.kafka)))


@topics_app.command("describe")
def describe(bootstrap: Kafka = None, prefix: Prefix = None, config: ConfigFile = None) -> None:
    """Shows each topic as the broker has it. Exit code 1 when one is missing.

    Example: simvg topics describe
    """
    states = describe_topics(_kafka_settings(config, bootstrap, prefix).kafka)
    console.print(topics_table(states))
    if not all(state.exists for state in states):
        raise typer.Exit(1)
