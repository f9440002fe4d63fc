"""Alerts against the truth of the clip: recall, false alerts and delay, per query. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from consumers.demo.truth import ClipTruth, Episode, NormalisedBox, Target
from infra.boxes import iou

MATCH_IOU = 0.3
"""Overlap from which an alert's box points at the target: enough for a person to see what is meant."""

MIN_RECALL = 0.9
MAX_FALSE_ALERTS = 1
MAX_DELAY_S = 1.0


@dataclass(frozen=True, slots=True)
class RaisedAlert:
    """What the score needs of an alert: clip frames of its onset and its raise, and its boxes (xyxy, normalised)."""

    id: str
    onset: int
    raised: int
    boxes: tuple[NormalisedBox, ...]


@dataclass(slots=True)
class QueryScore:
    """Result of one query on the part of the clip that was played."""

    episodes: int = 0
    found: int = 0
    late: int = 0
    false_alerts: int = 0
    delays_s: list[float] = field(default_factory=list)
    misplaced: int = 0

    @property
    def recall(self) -> float:
        """Share of the episodes that raised an alert in time; 1 where there was no episode."""
        return self.found / self.episodes if self.episodes else 1.0

    @property
    def passed(self) -> bool:
        return self.recall >= MIN_RECALL and self.false_alerts <= MAX_FALSE_ALERTS


def score_query(truth: ClipTruth, target: Target, alerts: Iterable[RaisedAlert], *, played: int) -> QueryScore:
    """Scores one query on frames ``0 .. played − 1`` of the clip.

    Each target has episodes of its own, also where several are in sight at once. One is found when an alert raised
    within it points at its target (IoU ≥ 0.3 at the raise) not later than one second after the target was fully in
    view; later ones count as ``late`` and as not found. An alert answers one episode at most.
    An alert raised when no target is in sight, or whose boxes all miss the targets, is a false alert. Episodes whose
    second is not over when the clip stops are not asked.
    """
    limit = round(MAX_DELAY_S * truth.fps)
    episodes = [e for e in truth.episodes(target) if e.due + limit < played]
    score = QueryScore(episodes=len(episodes))
    answered: set[Episode] = set()
    for alert in sorted(alerts, key=lambda a: a.raised):
        if alert.raised >= played:
            continue
        in_sight = truth.targets(alert.raised, target)
        meant = {seen.id for seen in in_sight if any(iou(box, seen.box) >= MATCH_IOU for box in alert.boxes)}
        if not meant:
            score.false_alerts += 1
            score.misplaced += bool(in_sight)
            continue
        episode = next(
            (e for e in episodes if e.id in meant and e.first <= alert.raised <= e.last and e not in answered), None
        )
        if episode is None:
            continue
        answered.add(episode)
        delay = max(0, alert.raised - episode.due) / truth.fps
        score.delays_s.append(delay)
        if delay <= MAX_DELAY_S:
            score.found += 1
        else:
            score.late += 1
    return score


def merged(scores: Iterable[QueryScore]) -> QueryScore:
    """The sum of several playings of the clip."""
    total = QueryScore()
    for score in scores:
        total.episodes += score.episodes
        total.found += score.found
        total.late += score.late
        total.false_alerts += score.false_alerts
        total.misplaced += score.misplaced
        total.delays_s += score.delays_s
    return total


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile of ``values`` (``share`` in 0..1); None when there is none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 100) * len(ordered) // 100) - 1))]
