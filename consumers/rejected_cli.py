"""`simvg rejected`: what came to the line and was no usable frame."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consumers.rejected import Rejected, find_rejected, parse_place, read_rejected, send_again
from consumers.saving import require_file, require_folder, writing
from infra.cloudevents import original_headers
from infra.errors import BadRejectedMessage
from infra.near import did_you_mean
from infra.options import ConfigFile, Kafka, Prefix, kafka_settings

app = typer.Typer(no_args_is_help=True, help="Messages that were no usable frames: list, show, save, send again.")

Place = Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `simvg rejected list` shows it.")]
Camera = Annotated[str | None, typer.Option("--camera", help="Of this camera (message key) only.")]
Reason = Annotated[str | None, typer.Option("--reason", help="With this reason only.")]


@app.command("list")
def list_rejected(
    camera: Camera = None,
    reason: Reason = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    config: ConfigFile = None,
) -> None:
    """Lists rejected messages with their reasons, and how many there are of each.

    Example: simvg rejected list --camera line-1
    """
    everything = list(read_rejected(kafka_settings(kafka, topic_prefix, config)))
    found = _chosen(everything, camera, reason)
    if as_json:
        for one in found:
            typer.echo(json.dumps(_facts(one)))
        return
    console = Console()
    if not found:
        console.print(escape(_none(everything, camera, reason)), highlight=False, soft_wrap=True)
        return
    table = Table("place", "rejected (UTC)", "camera", "reason", "bytes", "what was wrong", box=None, pad_edge=False)
    for one in found:
        place = f"{one.place.partition}:{one.place.offset}"
        size = str(len(one.value))
        table.add_row(place, one.rejected_at, escape(one.camera), escape(one.reason), size, escape(one.error))
    console.print(table)
    counts = Counter(one.reason for one in found)
    told = ", ".join(f"{count} {escape(name)}" for name, count in sorted(counts.items()))
    console.print(f"{len(found)} rejected: {told}", highlight=False)


@app.command("show")
def show_rejected(place: Place, kafka: Kafka = None, topic_prefix: Prefix = None, config: ConfigFile = None) -> None:
    """Shows one rejected message: what was wrong, its headers, its first bytes.

    Example: simvg rejected show 0:412
    """
    one = find_rejected(kafka_settings(kafka, topic_prefix, config), place)
    console = Console()
    for name, value in _facts(one).items():
        console.print(f"[bold]{name:<12}[/] {escape(str(value))}", highlight=False, soft_wrap=True)
    for name, held in original_headers(one.headers):
        console.print(f"[bold]header[/]       {escape(name)} = {escape(repr(held[:120]))}", highlight=False)
    for start in range(0, min(len(one.value), 64), 16):
        row = one.value[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        console.print(f"[dim]{start:08x}[/]  {row.hex(' '):<47}  {escape(letters)}", highlight=False)


@app.command("save")
def save_rejected(
    place: Annotated[
        str | None, typer.Argument(help="PARTITION:OFFSET; without it, all that the options name.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="File for one message, folder for several.")] = Path("rejected"),
    camera: Camera = None,
    reason: Reason = None,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    config: ConfigFile = None,
) -> None:
    """Saves the bytes of rejected messages as they came.

    Examples: simvg rejected save 0:412 --out frame.jpg · simvg rejected save --reason corrupt_image --out broken/
    """
    settings = kafka_settings(kafka, topic_prefix, config)
    if place is not None:
        parse_place(place)
        require_file(out)
        one = find_rejected(settings, place)
        with writing(out):
            out.write_bytes(one.value)
        typer.echo(f"saved to {out}")
        return
    require_folder(out)
    found = _chosen(read_rejected(settings), camera, reason)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for one in found:
            (out / one.file_name).write_bytes(one.value)
    typer.echo(f"{len(found)} saved to {out}")


@app.command("retry")
def retry_rejected(
    place: Annotated[str | None, typer.Argument(help="PARTITION:OFFSET; without it, give --all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that --camera and --reason name.")] = False,
    camera: Camera = None,
    reason: Reason = None,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    config: ConfigFile = None,
) -> None:
    """Sends rejected messages to the workers again, as they came: after a repair of the model or of a worker.

    A frame that has expired meanwhile is counted as expired; alarms take no frame in that is older than their last.
    Of a camera under freshness `latest`, the default, a worker scores the newest frame that waits and skips the others
    as behind: have the camera under `every` (`freshness_rules` of `simvg work`) for as long as all are to be scored.

    Example: simvg rejected retry --all --reason model_failed
    """
    if (place is None) is not everything:
        raise typer.BadParameter("give either one PARTITION:OFFSET or --all", param_hint="PLACE")
    settings = kafka_settings(kafka, topic_prefix, config)
    chosen = [find_rejected(settings, place)] if place is not None else _chosen(read_rejected(settings), camera, reason)
    results = send_again(settings, chosen)
    for one, fault in results:
        if fault is not None:
            typer.echo(f"{one.place.partition}:{one.place.offset} was not sent: {fault}", err=True)
    sent = [one for one, fault in results if fault is None]
    typer.echo(f"{len(sent)} of {len(results)} sent again")
    if len(sent) > len({one.camera for one in sent}):
        typer.echo("of a camera under freshness `latest` workers score the newest that waits, the others are skipped")
    if len(sent) < len(results):
        raise typer.Exit(1)


def _chosen(everything: Iterable[Rejected], camera: str | None, reason: str | None) -> list[Rejected]:
    found = list(everything)
    known = sorted({one.reason for one in found})
    if reason is not None and found and reason not in known:
        raise BadRejectedMessage(f"no message was rejected for {reason!r}; the reasons are {', '.join(known)}")
    return [one for one in found if camera in (None, one.camera) and reason in (None, one.reason)]


def _none(everything: Sequence[Rejected], camera: str | None, reason: str | None) -> str:
    """Why none is shown, in words."""
    if not everything or camera is None:
        return "no rejected messages are kept"
    near = did_you_mean(camera, {one.camera for one in everything})
    why = f" and was rejected for {reason!r}" if reason is not None else ""
    return f"none of the {len(everything)} rejected messages kept is of camera {camera!r}{near}{why}"


def _facts(one: Rejected) -> dict[str, object]:
    return {
        "place": f"{one.place.partition}:{one.place.offset}",
        "rejected_at": one.rejected_at,
        "camera": one.camera,
        "reason": one.reason,
        "error": one.error,
        "bytes": len(one.value),
        "original": None if one.original is None else one.original.model_dump(),
    }
