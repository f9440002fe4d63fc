"""`simvg alerts collect`: what operators said of alerts, as sets of pictures to train on, to calibrate and to test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consumers.actions import read_verdicts
from consumers.actions_cli import app as app
from consumers.alerts import UnreadableAlert, read_alerts
from consumers.alerts_cli import Chosen
from consumers.collect import Collected, collect
from consumers.evidence import EvidenceReader
from consumers.judged import TAKEN_BACK, LeftOut, histories, lessons_of
from consumers.moments import parse_moment
from consumers.plant_set import PlantSet, alone
from consumers.saving import require_folder
from infra.contracts import Alert, StandingQuery
from infra.errors import RegistryError, SettingsError
from infra.options import ConfigFile, Kafka, Prefix, RedisUrl
from infra.queries import QueryRegistry
from infra.settings import KafkaSettings, RoleSettings, load

CLIENT = "simvg-collect"
console = Console()


@app.command("collect")
def collect_judged(
    out: Annotated[Path, typer.Option("--out", help="Folder of the sets; what is new is added to those in it.")],
    camera: Annotated[str | None, typer.Option("--camera", help="Of this camera only.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="Of this query id only.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Raised then or later: 2026-11-27T02:15:00Z, or how long ago (7d).")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Raised before that.")] = None,
    val: Annotated[
        float | None, typer.Option("--val", help="Share of the time that goes into the set to calibrate on (0.2).")
    ] = None,
    test: Annotated[
        float | None, typer.Option("--test", help="Share of the time that goes into the set to score on (0.2).")
    ] = None,
    whole_frames: Annotated[
        bool, typer.Option("--whole-frames", help="Do not cut out the regions and tiles of queries; asks no Redis.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write anew what a person has corrected or removed in the sets.")
    ] = False,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    redis: RedisUrl = None,
    config: ConfigFile = None,
) -> None:
    """Makes sets to train on of the alerts that operators gave a verdict on: their pictures, the query's words, and the
    places that these mean on them, or none. Run it again, and it adds what is new.

    Example: simvg alerts collect --out data/plant --since 7d
    """
    require_folder(out)
    shares = _shares(val, test)
    wanted_time = _time(since, until)
    flags = {"kafka.bootstrap": kafka, "kafka.prefix": topic_prefix, "redis.url": redis}
    settings = load(RoleSettings, flags=flags, file=config)
    unreadable: list[UnreadableAlert] = []
    alerts = histories(_readable(settings.kafka, unreadable))
    verdicts = read_verdicts(settings.kafka, client_id=CLIENT)
    chosen = Chosen(camera, query)
    of_interest = {id for id, one in alerts.items() if chosen.takes(one.pictured) and wanted_time(one.pictured)}
    judged = of_interest & verdicts.keys()
    if not judged:
        _say(_nothing(len(of_interest), len(alerts), chosen))
        return
    lessons, dropped = lessons_of(alerts, verdicts, lambda alert: alert.id in judged)
    with alone(out), closing(EvidenceReader(settings.kafka, client_id=CLIENT)) as pictures:
        sets = PlantSet(out, shares)
        queries = None if whole_frames or not lessons else _queries(settings)
        taken_back = sets.take_back({id for id, why in dropped if why in TAKEN_BACK})
        done = collect(lessons, sets, pictures, queries, overwrite=overwrite)
        done.taken_back += taken_back
        known = sets.alerts
        sets.save()
    gone = [id for id, why in dropped if why is LeftOut.ALERT_GONE and id not in known]
    done.left_out += Counter(why for _, why in dropped if why is not LeftOut.ALERT_GONE)
    _report(out, sets, done, judged=len(judged), gone=len(gone))
    if unreadable:
        _say(f"{len(unreadable)} messages on the alerts topic cannot be read; `simvg alerts` shows them")


def _readable(kafka: KafkaSettings, others: list[UnreadableAlert]) -> Iterator[Alert]:
    """``others`` gets what is no alert."""
    for one in read_alerts(kafka, from_beginning=True, to_end=True, client_id=CLIENT):
        if isinstance(one, Alert):
            yield one
        else:
            others.append(one)


def _shares(val: float | None, test: float | None) -> dict[str, float] | None:
    """By set; None: as the folder has them."""
    if val is None and test is None:
        return None
    given = {"val": 0.2 if val is None else val, "test": 0.2 if test is None else test}
    if not all(0 <= share < 1 for share in given.values()) or sum(given.values()) >= 1:
        raise SettingsError(
            f"--val {given['val']:g} --test {given['test']:g}: shares are from 0 on and below 1 together; the rest is "
            "to train on"
        )
    return {"train": round(1 - sum(given.values()), 6), **given}


def _time(since: str | None, until: str | None) -> Callable[[Alert], bool]:
    now = datetime.now(UTC)
    first = None if since is None else parse_moment(since, now=now)
    end = None if until is None else parse_moment(until, now=now)
    if first is not None and end is not None and first >= end:
        raise SettingsError(f"--since {since!r} is not before --until {until!r}")
    return lambda alert: (first is None or alert.raised_at >= first) and (end is None or alert.raised_at < end)


def _queries(settings: RoleSettings) -> Mapping[str, StandingQuery]:
    registry = QueryRegistry(settings.redis)
    try:
        return {query.id: query for query in registry.list()}
    except RegistryError as error:
        raise SettingsError(
            f"which regions and tiles the queries have is not known: {error}; --whole-frames takes pictures whole "
            "without asking"
        ) from error
    finally:
        registry.close()


def _nothing(count: int, alerts: int, chosen: Chosen) -> str:
    """Why none of so many alerts of interest, of all, was judged, in words."""
    if not count:
        return chosen.nothing() if not chosen.any else f"none of the {alerts} alerts kept was raised in this time"
    return f"none of {count} alerts has a verdict; give one with `simvg alerts verdict ALERT true`, or false, or unsure"


def _report(out: Path, sets: PlantSet, done: Collected, *, judged: int, gone: int) -> None:
    table = Table("set", "pictures", "texts", "with a place", "with none", box=None, pad_edge=False)
    for name, (pictures, something, nothing) in sets.figures().items():
        table.add_row(str(out / name), str(pictures), str(something + nothing), str(something), str(nothing))
    console.print(table)
    told = [f"{count} {became}" for became, count in done.became.items()]
    told += [f"{done.taken_back} taken back with their verdicts"] if done.taken_back else []
    _say(f"texts: {'; '.join(told) or 'nothing new'}")
    left = sum(done.left_out.values())
    taken = f"{judged - left} in the sets ({done.before} of them from before)"
    _say(f"{judged} alerts with a verdict: {taken}, {left} left out")
    for why, count in done.left_out.most_common():
        _say(f"  {count:>4} {why}")
    if gone:
        _say(f"{gone} more verdicts were never collected, and their alerts are no longer kept")
    if done.edited:
        _say(
            f"{done.edited} alerts are of an earlier revision of their query: their pictures are cut to the region and "
            "tiles that it has now"
        )


def _say(text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)
