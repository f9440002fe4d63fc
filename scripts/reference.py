"""Writes docs/reference.md (or prints it, with --print): every command, setting, topic and metric, from the code.

The table of docs/training.md, with the settings of a training run, is written anew as well.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path

import typer.core
import typer.main
import yaml
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
from simvg_core.lineworld.language import Grammar
from simvg_core.training.data import BatchMaker
from simvg_core.training.jitter import JitterSettings
from simvg_core.training.settings import SetSettings, TrainSettings

DOCS = Path(__file__).resolve().parent.parent / "docs"
REFERENCE, TRAINING = DOCS / "reference.md", DOCS / "training.md"
ROLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("simvg camera", CameraSettings),
    ("simvg work", WorkerSettings),
    ("simvg up, down, status", StackSettings),
    ("simvg demo", DemoSettings),
)


# Settings of a training run that are groups of settings, and where "see `…`" in its docstring leads.
GROUPS: Mapping[str, type] = {"sets": SetSettings, "jitter": JitterSettings}
SEE: Mapping[str, type] = {"Grammar": Grammar, "BatchMaker": BatchMaker}
TABLE = re.compile(r"(?<=<!-- made by `make docs` -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)


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


def arguments(cls: type) -> dict[str, str]:
    """What the section "Args" of a class's docstring says, by name."""
    section = re.split(r"^(?=\S)", (inspect.getdoc(cls) or "").partition("Args:\n")[2], maxsplit=1, flags=re.MULTILINE)
    found = re.findall(r"^    (\w+): (.+(?:\n {8}.*)*)", section[0], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def training_rows(cls: type, above: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted name, default as YAML has it, meaning) of every setting of a training run, those of groups included."""
    told = arguments(cls)
    about = (inspect.getdoc(cls) or "").partition("\n\nArgs:")[0]
    for field in fields(cls):
        name = field.name
        mention = next((f"see `{other}`" for other, said in told.items() if f"`{name}`" in said), "")
        text = told.get(name) or mention or ("see above" if f"`{name}`" in about else "")
        if (see := re.match(r"see `(\w+)`", text)) and see[1] in SEE:
            text = arguments(SEE[see[1]])[name].rstrip(".") + text[see.end() :]
        yield f"{above}{name}", default_of(field), re.sub(r"\bNone\b", "`null`", text.rstrip("."))
        if name in GROUPS:
            yield from training_rows(GROUPS[name], f"{above}{name}.")


def default_of(field: Field[object]) -> str:
    """As YAML has it."""
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if value is MISSING:
        return "required"
    plain = {} if is_dataclass(value) else list(value) if isinstance(value, tuple) else value
    return f"`{yaml.safe_dump(plain, default_flow_style=True).splitlines()[0]}`"


def training_settings() -> str:
    """What a run is, and the table of its settings."""
    about = (inspect.getdoc(TrainSettings) or "").partition("\n\nArgs:")[0]
    lines = [about, "", "| setting | default | |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {default} | {text} |" for name, default, text in training_rows(TrainSettings)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        sys.stdout.write(reference())
    else:
        REFERENCE.parent.mkdir(exist_ok=True)
        REFERENCE.write_text(reference(), encoding="utf-8")
        page = TRAINING.read_text(encoding="utf-8")
        TRAINING.write_text(TABLE.sub(lambda _: training_settings(), page), encoding="utf-8")
        sys.stdout.write(f"wrote {REFERENCE} and the table of {TRAINING}\n")
