"""Writes docs/reference.md (or prints it, with --print): every command, setting, topic and metric, from the code."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import typer.core
import typer.main
from pydantic import BaseModel

import consumers
import infra
import producers
from consumers.demo.settings import DemoSettings
from consumers.grounding.settings import WorkerSettings
from infra.metrics import METRICS
from infra.settings import Settings, StackSettings, environment_name
from infra.topics import TOPICS
from producers.settings import CameraSettings
from simvg import app

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
ROLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("simvg camera", CameraSettings),
    ("simvg work", WorkerSettings),
    ("simvg up, down, status", StackSettings),
    ("simvg demo", DemoSettings),
)


Command = typer.core.TyperCommand | typer.core.TyperGroup


def commands(command: Command, name: str) -> Iterator[tuple[str, Command]]:
    """Every command with its full name, in the order of their names."""
    if isinstance(command, typer.core.TyperGroup):
        if command.invoke_without_command:
            yield name, command
        for child in sorted(command.commands):
            yield from commands(command.commands[child], f"{name} {child}")
    else:
        yield name, command


def settings_rows(cls: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted name, default, description) of every setting, nested ones included."""
    for name, field in cls.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from settings_rows(field.annotation, f"{above}{name}.")
        else:
            default = (
                "set at start" if field.default_factory else "required" if field.is_required() else str(field.default)
            )
            yield f"{above}{name}", default or "''", field.description or ""


def import_all() -> None:
    """Metrics declare themselves when their module is imported."""
    for package in (infra, producers, consumers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name != "infra.rtsp.serve":  # runs under the system's Python only
                importlib.import_module(module.name)


def reference() -> str:
    """The page."""
    lines = ["# Reference", "", "Made by `make docs` from the code; a test keeps it true.", "", "## Commands", ""]
    for name, command in commands(typer.main.get_command(app), "simvg"):
        text = " ".join((command.help or "").split("Example:")[0].split())
        example = (command.help or "").partition("Example:")[2]
        lines += [f"### `{name}`", "", text, ""]
        if example.strip():
            lines += [f"    {' '.join(example.split())}", ""]
        for option in command.params:
            names = (*option.opts, *option.secondary_opts)
            shown = (
                ", ".join(f"`{o}`" for o in names) if isinstance(option, typer.core.TyperOption) else f"`{names[0]}`"
            )
            lines.append(f"- {shown}: {' '.join((getattr(option, 'help', '') or '').split())}")
        lines.append("")
    lines += [
        "## Settings",
        "",
        "From flags, over the environment, over the YAML file of `--config`. Unknown names refuse to start.",
        "",
    ]
    for role, cls in ROLES:
        lines += [f"### {role}", "", "| setting | environment | default | |", "| --- | --- | --- | --- |"]
        lines += [f"| `{n}` | `{environment_name(n)}` | `{d}` | {t} |" for n, d, t in settings_rows(cls)]
        lines.append("")
    lines += ["## Topics", "", "| topic | holds | partitions | configuration |", "| --- | --- | --- | --- |"]
    for spec in TOPICS.values():
        config = " ".join(f"{k}={v}" for k, v in sorted(spec.config.items()))
        lines.append(f"| `{spec.name}` | {spec.purpose} | {spec.partitions} | {config} |")
    import_all()
    lines += ["", "## Metrics", "", "| metric | kind | labels | |", "| --- | --- | --- | --- |"]
    for name in sorted(METRICS):
        metric = METRICS[name]
        lines.append(f"| `{name}` | {metric.kind} | {', '.join(metric.labels) or '–'} | {metric.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        sys.stdout.write(reference())
    else:
        REFERENCE.parent.mkdir(exist_ok=True)
        REFERENCE.write_text(reference(), encoding="utf-8")
        sys.stdout.write(f"wrote {REFERENCE}\n")
