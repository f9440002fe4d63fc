"""Alerts of a replay beside those that were raised: what is the same, what moved, what is only here or only there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from infra.contracts import CAMERA_BLIND, CAMERA_SILENT, Alert, AlertState

Verdict = Literal["same", "moved", "only then", "only now"]
_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Episode:
    """One alert from its onset to its end."""

    id: str
    query_id: str
    text: str
    onset: datetime
    raised: datetime
    ended: datetime | None

    def overlaps(self, other: Episode) -> bool:
        """Whether both are of one query and were open at one time."""
        until, others = self.ended or _EVER, other.ended or _EVER
        return self.query_id == other.query_id and self.onset <= others and other.onset <= until


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of the comparison; ``then`` was raised, ``now`` is the replay's."""

    verdict: Verdict
    then: Episode | None
    now: Episode | None


def episodes(alerts: Iterable[Alert]) -> list[Episode]:
    """Transitions, in order per alert → alerts, by onset."""
    last: dict[str, Alert] = {}
    for alert in alerts:
        last[alert.id] = alert
    found = [
        Episode(
            alert.id, alert.query.id, alert.query.text, alert.onset_at, alert.raised_at,
            alert.timeline[-1].at if alert.state in (AlertState.CLEARED, AlertState.CLOSED) else None,
        )
        for alert in last.values()
    ]  # fmt: skip
    return sorted(found, key=lambda episode: (episode.onset, episode.query_id, episode.id))


def comparable(
    then: Iterable[Alert], now: Iterable[Alert], *, start: datetime, whole: bool
) -> tuple[list[Alert], list[Alert], str | None]:
    """Of the alerts of then those that began in the span, from ``start`` on, and those of the replay; both without the
    camera's own alarm where a replay cannot tell of that, and why, in words (None: it can, or there was none).

    ``whole``: all that the camera was asked then is replayed. A replay has frames and no clock: silence raises nothing
    in it.
    """
    then, now = list(then), list(now)
    own = [alert for alert in then if alert.query.id == CAMERA_BLIND]
    touching = {one.id: one for one in episodes(own) if one.ended is None or one.ended >= start}
    why = None
    if not whole:
        why = "only some of what its frames were asked is replayed"
    elif any(alert.id in touching and _was_silent(alert) for alert in own):
        why = "the camera was silent, which no frame tells"
    elif any(one.onset < start for one in touching.values()):
        why = "the camera was blind when the span began"
    began = [alert for alert in then if alert.onset_at >= start]
    if why is None:
        return began, now, None
    first, second = ([alert for alert in side if alert.query.id != CAMERA_BLIND] for side in (began, now))
    return first, second, why if len(first) + len(second) < len(began) + len(now) else None


def compare(then: list[Episode], now: list[Episode]) -> list[Difference]:
    """Each alert once, by time: the same id is the same alert; one of the same query that was open at the same time
    has moved (its onset lies elsewhere: another model, another threshold, or a replay that began in the middle)."""
    ids = {episode.id for episode in now}
    old = {episode.id: episode for episode in then}
    result = [Difference("same", old[episode.id], episode) for episode in now if episode.id in old]
    left_then = [episode for episode in then if episode.id not in ids]
    for episode in (one for one in now if one.id not in old):
        partner = next((one for one in left_then if one.overlaps(episode)), None)
        if partner is None:
            result.append(Difference("only now", None, episode))
        else:
            left_then.remove(partner)
            result.append(Difference("moved", partner, episode))
    result += [Difference("only then", episode, None) for episode in left_then]
    return sorted(result, key=_when)


def _was_silent(alert: Alert) -> bool:
    """Whether silence raised it: by its first entry, which all its transitions carry, or by a raised one's reason."""
    said = (alert.reason, alert.timeline[0].note or "")
    return any(one.startswith(CAMERA_SILENT) for one in said)


def _when(difference: Difference) -> tuple[datetime, str]:
    episode = difference.then or difference.now
    assert episode is not None  # one of the two is always there
    return episode.onset, episode.id
