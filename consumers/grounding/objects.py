"""Which episode a box belongs to: one episode per object that comes into view. Pure and deterministic.

What a person at the line calls one case is the thing that passes (a plate), not the box: two missing bolts on one
plate are one alert, a missing bolt on the next plate is another, even while both are in view. So the boxes of a frame
are followed (:mod:`consumers.grounding.tracks`), and a box that continues no track

- joins an episode when it lies with all of that episode's objects within `object_size` (share of the frame), and none
  of them has left the picture at the far end yet;
- else begins an episode of its own.

A lost track does no harm: its object, seen again, joins the same episode by its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumers.grounding.episode import Episode, Glance, Moment, Phase, Sighting, Signal, signal
from consumers.grounding.tracks import Track, Vector, associate, has_left, moved, predicted
from infra.contracts import Box, StandingQuery

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

CONFIRMED_HITS = 3
"""An object counts as one more in its episode once it was seen in so many frames."""

MAX_OPEN = 16
"""Episodes of one alarm at once. In a flood, further boxes join the nearest one: forty alerts would tell no more."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The open episodes of one alarm and the objects they are about."""

    episodes: tuple[Episode, ...]
    tracks: tuple[Track, ...]
    flow: Vector | None
    next_number: int


def glance_at_all(now: Moment, scene: Scene, seen: Sighting) -> tuple[Scene, Mapping[int, Glance]]:
    """Follows the objects through one frame: the scene with newcomers, and by number what each episode is shown."""
    says = signal(now.query, seen.state, seen.score)
    if says is Signal.UNKNOWN:
        return scene, {episode.number: Glance(says, None) for episode in scene.episodes}
    found = _boxes(now.query, says, seen)
    if not found and not scene.tracks:  # as on most frames
        return scene, {e.number: _glance(now.query, says, seen, [], e, [], ()) for e in scene.episodes}
    match = associate(scene.tracks, [box for _, box in found], now.captured_ns, scene.flow)
    tracks: dict[int, Track] = dict(enumerate(scene.tracks))
    shown: dict[int, list[tuple[float, Box]]] = {}
    seen_tracks: list[Track] = []
    for (score, box), place in zip(found, match.tracks, strict=True):
        if place is not None:
            tracks[place] = moved(tracks[place], box, now.captured_ns)
            seen_tracks.append(tracks[place])
            shown.setdefault(tracks[place].episode, []).append((score, box))
    alive = [
        track
        for place, track in tracks.items()
        if place in match.tracks or not has_left(track, now.captured_ns, scene.flow)
    ]
    leaving = {
        track.episode
        for place, track in tracks.items()
        if place not in match.tracks and has_left(track, now.captured_ns, scene.flow)
    }
    episodes = tuple(
        e.model_copy(update={"leaving": True}) if e.number in leaving and not e.leaving else e for e in scene.episodes
    )
    scene = Scene(episodes, tuple(alive), match.flow, scene.next_number)
    for (score, box), place in zip(found, match.tracks, strict=True):
        if place is None and score >= now.query.raise_threshold:
            scene, number = _settle(now, scene, box)
            shown.setdefault(number, []).append((score, box))
    return scene, {
        episode.number: _glance(
            now.query, says, seen, shown.get(episode.number, []), episode, seen_tracks, scene.tracks
        )
        for episode in scene.episodes
    }


def _boxes(query: StandingQuery, says: Signal, seen: Sighting) -> list[tuple[float, Box]]:
    """Boxes with their scores, best first. A model that says "seen" without saying where means the whole frame."""
    assert seen.score is not None  # not unknown
    if says is Signal.ON and not seen.boxes:
        return [(seen.score, WHOLE)]
    scores = seen.box_scores or (seen.score,) * len(seen.boxes)
    found = [(score, box) for score, box in zip(scores, seen.boxes, strict=True) if score >= query.clears_below]
    return sorted(found, key=lambda one: (-one[0], one[1]))


def _glance(
    query: StandingQuery,
    says: Signal,
    seen: Sighting,
    shown: Sequence[tuple[float, Box]],
    episode: Episode,
    seen_tracks: Sequence[Track],
    tracks: Sequence[Track],
) -> Glance:
    if shown:
        score = max(score for score, _ in shown)
        confirmed = [t for t in seen_tracks if t.episode == episode.number and t.hits >= CONFIRMED_HITS]
        on = score >= query.raise_threshold
        return Glance(
            Signal.ON if on else Signal.BETWEEN, score, tuple(box for _, box in shown), max(1, len(confirmed))
        )
    still_there = any(track.episode == episode.number for track in tracks)
    if says is Signal.BETWEEN and still_there:
        # Something is half seen, nobody says where: it may be this one.
        return Glance(says, seen.score)
    return Glance(Signal.OFF, seen.score if says is Signal.OFF else None)


def _settle(now: Moment, scene: Scene, box: Box) -> tuple[Scene, int]:
    """Gives a box without a track to an episode, or begins one for it. Returns the episode's number."""
    open_now = [e for e in scene.episodes if e.phase in (Phase.PENDING, Phase.ACTIVE)]
    closed = {e.number for e in open_now if e.leaving}
    distances = {e.number: _reach(now, scene, e.number, box) for e in open_now}
    near = [
        (reach, number)
        for number, reach in distances.items()
        if reach is not None and reach <= now.query.object_size and number not in closed
    ]
    flood = [(reach, number) for number, reach in distances.items() if reach is not None]
    chosen = min(near) if near else min(flood) if len(open_now) >= MAX_OPEN and flood else None
    number = scene.next_number if chosen is None else chosen[1]
    track = Track(episode=number, box=box, seen_ns=now.captured_ns)
    if chosen is not None:
        return Scene(scene.episodes, (*scene.tracks, track), scene.flow, scene.next_number), number
    beside = sum(e.onset.sequence == now.frame.sequence for e in scene.episodes)
    begun = Episode(number=number, ordinal=beside, onset=now.frame)
    return Scene((*scene.episodes, begun), (*scene.tracks, track), scene.flow, number + 1), number


def _reach(now: Moment, scene: Scene, number: int, box: Box) -> float | None:
    """Extent that an episode's objects and the box have together, where they are now; 0 if the box overlaps one."""
    places = [predicted(track, now.captured_ns, scene.flow) for track in scene.tracks if track.episode == number]
    if not places:
        return None
    if any(min(p[2], box[2]) > max(p[0], box[0]) and min(p[3], box[3]) > max(p[1], box[1]) for p in places):
        return 0.0
    every = [*places, box]
    width = max(p[2] for p in every) - min(p[0] for p in every)
    height = max(p[3] for p in every) - min(p[1] for p in every)
    return max(width, height)
