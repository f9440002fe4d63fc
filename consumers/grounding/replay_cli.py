"""`simvg replay`: what would have been raised."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consumers.alerts import read_alerts
from consumers.alerts_cli import alert_line
from consumers.grounding.replay_diff import Difference, comparable, compare, episodes
from consumers.grounding.settings import WorkerSettings
from consumers.moments import parse_moment, shown
from infra.cloudevents import event_headers
from infra.contracts import CAMERA_BLIND, Alert, StandingQuery
from infra.errors import QueryNotFound, SettingsError
from infra.kafka import Publisher
from infra.options import Kafka, Prefix, RedisUrl
from infra.queries import QueryRegistry, QuerySet
from infra.settings import KafkaSettings, load
from infra.topics import require_topics, topic_name

if TYPE_CHECKING:
    from consumers.grounding.replay import Tally


def replay(
    camera: Annotated[str, typer.Option("--camera", help="Camera whose frames are replayed, or whom a video is from.")],
    since: Annotated[str, typer.Option("--from", help="Begin: 2026-11-27T02:15:00Z, or how long ago (10m).")] = "10m",
    until: Annotated[str, typer.Option("--to", help="End, written as --from.")] = "0s",
    video: Annotated[Path | None, typer.Option("--video", help="A video file instead of retained frames.")] = None,
    query: Annotated[
        list[str] | None, typer.Option("--query", help="Only this standing query, by id; repeatable.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="A query in words instead of the standing ones.")] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Raise threshold instead of the query's.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Another model's folder.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Compare with the alerts of then; no video has any.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Also put the alerts on the topic alerts-replay.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per alert transition.")] = False,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    redis: RedisUrl = None,
    config: Annotated[Path | None, typer.Option("--config", help="YAML settings file, as of `simvg work`.")] = None,
) -> None:
    """Runs frames of the past through model and alarms again and shows what would be raised; nothing is acted on.

    The standing queries are those of now, shadow ones included. Exit code 1 when --diff finds a difference; it leaves
    camera-blind out where frames do not tell it (a silent camera, one blind from before) and with --query or --text.

    Examples: simvg replay --camera line-1 --from 5m --diff · simvg replay --camera line-1 --video a.mp4 --text "stain"
    """
    if video is not None and diff:
        raise SettingsError(
            "--diff compares kept frames with the alerts that they raised, and a --video file raised none; "
            "leave one of the two away"
        )
    flags = {"kafka.bootstrap": kafka, "kafka.prefix": topic_prefix, "redis.url": redis, "model": model}
    settings = load(WorkerSettings, flags=flags, file=config)
    now = datetime.now(UTC)
    start, end = parse_moment(since, now=now), parse_moment(until, now=now)
    if start >= end:
        raise SettingsError(f"--from {since} is not before --to {until}; frames are replayed from the one to the other")
    # What judges frames is not there where only cameras run, and takes its time to load.
    from consumers.grounding.engine import load_engine
    from consumers.grounding.plan import make_plan
    from consumers.grounding.replay import Replay, retained_frames, video_frames

    queries = _queries(settings, camera, query, text, threshold)
    engine = load_engine(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        threads=settings.torch_threads,
    )
    plan = make_plan(queries, engine)
    console = Console(stderr=as_json)
    for id, why in plan.refused.items():
        console.print(f"[red]{escape(id)} cannot be asked:[/] {escape(why)}", highlight=False, soft_wrap=True)
    run = Replay(engine, plan, limits=settings.limits_of, max_pixels=settings.max_pixels, rate=settings.rate)
    frames = (
        video_frames(video, camera, start_ns=time.time_ns())
        if video is not None
        else retained_frames(settings.kafka, camera, start_ns=_ns(start), end_ns=_ns(end), tally=run.tally)
    )
    found = []
    for alert in run.run(frames):
        found.append(alert)
        if as_json:
            typer.echo(alert.model_dump_json())
        else:
            console.print(alert_line(alert), highlight=False, soft_wrap=True)
    _tell(console, run.tally, len(episodes(found)))
    if publish:
        _publish(settings.kafka, found)
        console.print(f"{len(found)} transitions on {topic_name(settings.kafka.prefix, 'alerts-replay')}")
    if diff:
        then = _alerts(settings.kafka, camera, {one.id for one in queries.queries} | {CAMERA_BLIND}, end)
        raised, again, left_out = comparable(then, found, start=start, whole=text is None and query is None)
        if left_out is not None:
            console.print(f"{CAMERA_BLIND} is not compared: {left_out}", highlight=False, soft_wrap=True)
        differences = compare(episodes(raised), episodes(again))
        _show(console, differences)
        if any(one.verdict != "same" for one in differences):
            raise typer.Exit(1)


def _queries(
    settings: WorkerSettings, camera: str, wanted: Sequence[str] | None, text: str | None, threshold: float | None
) -> QuerySet:
    """What is asked: enabled, live, of this camera."""
    changes: dict[str, object] = {"enabled": True, "mode": "live"}
    if threshold is not None:
        changes |= {"raise_threshold": threshold, "clear_threshold": None}
    if text is not None:
        now = datetime.now(UTC)
        asked = StandingQuery(id="replay", text=text, cameras=(camera,), created=now, changed=now)
        return QuerySet(1, (StandingQuery.model_validate(asked.model_dump() | changes),))
    registry = QueryRegistry(settings.redis)
    try:
        known = registry.snapshot()
    finally:
        registry.close()
    missing = sorted(set(wanted or ()) - {one.id for one in known.queries})
    if missing:
        raise QueryNotFound(f"no standing query {missing[0]!r}; `simvg query list` shows those that are")
    chosen = [one for one in known.queries if (one.enabled if wanted is None else one.id in wanted)]
    changed = [StandingQuery.model_validate(one.model_dump() | changes) for one in chosen]
    watching = tuple(one for one in changed if one.watches(camera))
    if not watching:
        raise QueryNotFound(f"no standing query watches camera {camera!r}; name one with --query, or give --text")
    return QuerySet(known.revision, watching)


def _alerts(kafka: KafkaSettings, camera: str, ids: set[str], end: datetime) -> Iterator[Alert]:
    """The transitions of the camera's alerts that began before the end of the span."""
    for one in read_alerts(kafka, from_beginning=True, to_end=True):
        if isinstance(one, Alert) and one.camera == camera and one.query.id in ids and one.onset_at < end:
            yield one


def _publish(kafka: KafkaSettings, alerts: Sequence[Alert]) -> None:
    require_topics(kafka, ("alerts-replay",))
    with Publisher(kafka, client_id="simvg-replay") as publisher:
        for alert in alerts:
            headers = event_headers("alerts-replay", id=f"{alert.id}/{alert.number}", source=f"/cameras/{alert.camera}")
            value = alert.model_dump_json().encode()
            publisher.send(
                topic_name(kafka.prefix, "alerts-replay"), key=alert.id.encode(), value=value, headers=headers
            )


def _tell(console: Console, tally: Tally, alerts: int) -> None:
    reasons = {**tally.skipped, **tally.rejected}
    told = "".join(f", {count} {escape(reason)}" for reason, count in sorted(reasons.items()))
    console.print(
        f"{tally.frames} frames: {tally.scored} scored{told}; {alerts} alerts", highlight=False, soft_wrap=True
    )


def _show(console: Console, differences: Sequence[Difference]) -> None:
    if not differences:
        console.print("no alert then, none now")
        return
    table = Table("", "query", "onset then", "onset now", box=None, pad_edge=False)
    table.add_column("alert", no_wrap=True)  # whole in every terminal: other commands want it
    for one in differences:
        either = one.then or one.now
        assert either is not None
        onset = [shown(e.onset, ms=True) if e is not None else "–" for e in (one.then, one.now)]
        colour = "green" if one.verdict == "same" else "yellow" if one.verdict == "moved" else "red"
        table.add_row(f"[{colour}]{one.verdict}[/]", escape(either.text), *onset, either.id)
    console.print(table)
    counts = Counter(one.verdict for one in differences)
    console.print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())), highlight=False)


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1_000
