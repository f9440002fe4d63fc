"""`simvg cameras list | forget`: which cameras the alarms know, and taking one out of the plant."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consumers.moments import shown
from infra.options import ConfigFile, Kafka, Prefix, kafka_settings

app = typer.Typer(no_args_is_help=True, help="Cameras that the alarms know; `simvg camera` runs one.")
console = Console()


@app.command("list")
def list_cameras(kafka: Kafka = None, topic_prefix: Prefix = None, config: ConfigFile = None) -> None:
    """Shows every camera with an alarm: when one last changed, how many alerts are open, and whether it is blind."""
    from consumers.cameras import known_cameras  # not at the top: a camera's image has no library for alarms

    found = known_cameras(kafka_settings(kafka, topic_prefix, config))
    if not found:
        console.print("no camera is known")
        return
    table = Table("camera", "last change", "open alerts", "")
    for one in found:
        table.add_row(escape(one.id), shown(one.last), str(one.open_alerts), "blind" if one.blind else "")
    console.print(table)


@app.command("forget")
def forget(
    camera: Annotated[str, typer.Argument(help="Id of the camera, as `simvg cameras list` shows it.")],
    by: Annotated[str | None, typer.Option("--by", help="Who does it; default: the login name.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Why, in words; kept with its alerts.")] = None,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    config: ConfigFile = None,
) -> None:
    """Takes a camera out of the plant: its open alerts are closed, and its silence is no alarm any more.

    Stop the camera first: one that goes on sending frames is known again with the next.

    Example: simvg cameras forget line-3 --comment 'line 3 was taken down'
    """
    from consumers.cameras import forget_camera  # as above

    found = forget_camera(kafka_settings(kafka, topic_prefix, config), camera, by=by, comment=comment)
    closed = f"; its {found.open_alerts} open alerts are closed" if found.open_alerts else ""
    console.print(f"camera [bold]{escape(found.id)}[/] is forgotten within a second{closed}", highlight=False)
