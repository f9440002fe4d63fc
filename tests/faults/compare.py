"""Whether a disturbed run gave what the undisturbed one gave."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from infra.contracts import Alert
from tests.faults.plant import Plant
from tests.faults.script import QUERIES

Story = dict[tuple[str, str], list[tuple[int, str, str, int, int, str]]]
"""Per camera and query: onset offset, alert id, state, onset sequence, sequence of the frame, and what was noted when
and by whom (operators' actions among it); an alert's in order."""


@dataclass
class Differences:
    """What is wrong, in words; empty: nothing."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.other)

    def __str__(self) -> str:
        named = {"lost": self.lost, "doubled": self.doubled, "other": self.other}
        return "; ".join(f"{len(found)} {name} ({', '.join(found[:3])})" for name, found in named.items() if found)


def story(alerts: list[Alert]) -> Story:
    """Transitions by camera and query, alerts by the offset of their onset, each alert's in the order of the topic."""
    found: Story = defaultdict(list)
    for alert in watched(alerts):
        last = alert.timeline[-1]
        told = f"{last.at.isoformat()} {last.by or ''} {last.note or ''} {alert.suppressed or ''}"
        entry = (alert.onset.offset, alert.id, str(alert.state), alert.onset.sequence, alert.frame.sequence, told)
        found[alert.camera, alert.query.id].append(entry)
    return {where: sorted(entries, key=lambda entry: entry[0]) for where, entries in found.items()}


def watched(alerts: list[Alert]) -> list[Alert]:
    """Alerts of standing queries. Those of the line itself (a camera that is silent) tell of the faults, and should."""
    return [alert for alert in alerts if alert.query.id in QUERIES]


def compare(plant: Plant, calm: Story) -> Differences:
    """``calm``: what the undisturbed run gave for the frames published so far. Each frame must be done exactly once."""
    found = Differences()
    alerts = watched(plant.alerts())
    _compare_stories(found, story(alerts), calm)
    _check_evidence(found, plant, alerts)
    _check_frames(found, plant)
    return found


def _compare_stories(found: Differences, mine: Story, calm: Story) -> None:
    for where in sorted(set(mine) | set(calm)):
        have = [entry[1:] for entry in mine.get(where, [])]
        want = [entry[1:] for entry in calm.get(where, [])]
        if have == want:
            continue
        more, fewer = Counter(have) - Counter(want), Counter(want) - Counter(have)
        found.lost += [f"{where[0]} {where[1]} {entry}" for entry in fewer.elements()]
        for entry in more.elements():
            name = f"{where[0]} {where[1]} {entry}"
            (found.doubled if entry in want else found.other).append(name)
        if not more and not fewer:
            found.other.append(f"{where[0]} {where[1]} in another order")


def _check_evidence(found: Differences, plant: Plant, alerts: list[Alert]) -> None:
    pictures = {(place.partition, place.offset): key.decode() for place, key, _ in plant.read("evidence")}
    for alert in alerts:
        place = alert.evidence
        if place is None or pictures.get((place.partition, place.offset)) != alert.id:
            found.other.append(f"evidence of {alert.id} ({alert.state}) is not where it says")
    used = {(a.evidence.partition, a.evidence.offset) for a in alerts if a.evidence is not None}
    raised = {(a.id, a.frame.offset) for a in alerts if str(a.state) == "raised"}  # not shelved and the like
    if len(used) != len(raised):
        found.other.append(f"{len(used)} pictures for {len(raised)} raised alerts")


def _check_frames(found: Differences, plant: Plant) -> None:
    """published = scored + rejected, each once."""
    seen = plant.detections()
    rejected = Counter(value for _, _, value in plant.read("frames-rejected"))
    found.doubled += [f"detections of {frame}" for frame, count in seen.items() if count > 1]
    found.doubled += [f"rejection of {value!r}" for value, count in rejected.items() if count > 1]
    broken = sum(shot.broken for shot in plant.published)
    whole = len(plant.published) - broken
    if len(seen) < whole:
        found.lost.append(f"detections of {whole - len(seen)} frames")
    if len(seen) > whole or len(rejected) != broken:
        found.other.append(f"{len(seen)} scored of {whole}, {len(rejected)} rejected of {broken}")
    fates: Counter[str] = Counter()
    for partition, mark in plant.marks().items():
        fates.update(dict(mark.fates))
        if mark.ahead:
            found.other.append(f"partition {partition} at {mark.offset} has frames done out of order")
    if fates["scored"] != whole or fates.total() != len(plant.published):
        found.other.append(f"committed fates {dict(fates)} of {len(plant.published)} published frames")
