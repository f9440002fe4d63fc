"""What the cameras of a fault run show, frame by frame, and what operators do: a function of the seed alone."""

from __future__ import annotations

import random
from dataclasses import dataclass

from infra.cloudevents import frame_headers
from infra.contracts import ActionKind, Alert, AlertState, FrameHeader, OperatorAction, utc_from_ns
from infra.settings import KafkaSettings
from infra.topics import topic_name
from tests.consumers.grounding.conftest import HEIGHT, SQUARE, WIDTH, Square, picture

CAMERAS = tuple(f"line-{number}" for number in (1, 2, 4, 5))
"""Their frames lie in four partitions of four, so that no worker is without."""

COLOURS = ("red", "green")
"""What comes into view: red things travel through the picture, green ones lie still."""

QUERIES = (*COLOURS, "red-latched", "green-wanted")
"""Ids of the standing queries: two as they are by default, one that latches with delays in seconds, and one that
expects its object and says again and again that it is not there."""

PERIOD_NS = 10_000_000
"""Between two frames, of any cameras, by the clock of the script."""

STEP = 8
"""Pixels that a red thing travels from frame to frame."""

_IMAGES: dict[frozenset[tuple[str, int]], bytes] = {}


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame: what is on it and for how many frames it has been, or, where ``broken``, an image that cannot be read.

    ``order``: its number in all.
    """

    camera: str
    epoch: str
    sequence: int
    colours: frozenset[tuple[str, int]]
    broken: bool
    order: int = 0

    @property
    def image(self) -> bytes:
        if self.broken:
            return b"\xff\xd8 torn " + f"{self.camera}/{self.epoch}/{self.sequence}".encode()
        if self.colours not in _IMAGES:
            _IMAGES[self.colours] = picture(*((colour, _place(colour, age)) for colour, age in sorted(self.colours)))
        return _IMAGES[self.colours]

    def header(self, captured_ns: int) -> FrameHeader:
        return FrameHeader(
            id=f"{self.camera}/{self.epoch}/{self.sequence}",
            camera=self.camera,
            sequence=self.sequence,
            epoch=self.epoch,
            captured_ns=captured_ns,
            published_ns=captured_ns,
            width=WIDTH,
            height=HEIGHT,
        )

    def message(self, kafka: KafkaSettings, captured_ns: int) -> dict[str, object]:
        """Arguments of :meth:`infra.kafka.Publisher.send`."""
        return {
            "topic": topic_name(kafka.prefix, "frames"),
            "key": self.camera.encode(),
            "value": self.image,
            "headers": frame_headers(self.header(captured_ns)),
        }


def _place(colour: str, age: int) -> Square:
    """xyxy in pixels of what has been in view for ``age`` frames."""
    if colour == "green":
        return (90, 60, 120, 90)
    _, y0, _, y1 = SQUARE
    return (4 + STEP * age, y0, 24 + STEP * age, y1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What an operator does, at the time of a frame of the run: about one alert, or about a query at a camera."""

    id: str
    kind: ActionKind
    order: int
    alert: str | None = None
    query: str | None = None
    camera: str | None = None
    until: int | None = None
    """Order of the frame at whose time a shelving ends; None: when the alert has cleared."""

    def action(self, base_ns: int) -> OperatorAction:
        until = None if self.until is None else utc_from_ns(moment_ns(base_ns, self.until))
        return OperatorAction(
            id=self.id,
            kind=self.kind,
            at=utc_from_ns(moment_ns(base_ns, self.order)),
            by="mia",
            alert_id=self.alert,
            query_id=self.query,
            camera=self.camera,
            until=until,
        )


def moment_ns(base_ns: int, order: int) -> int:
    """Time of a frame by the clock of the script."""
    return base_ns + order * PERIOD_NS


def write_deeds(seed: int, round_number: int, shots: list[Shot], alerts: list[Alert]) -> list[Deed]:
    """What operators do in a round: acknowledge two alerts that are still open, and acknowledge, shelve and unshelve
    what comes up at some camera. ``alerts``: all transitions before it."""
    chance = random.Random(f"operators {seed} {round_number}")
    first, last = shots[0].order, shots[-1].order
    last_of = {alert.id: alert for alert in alerts if alert.query.id in QUERIES}
    unseen = sorted(id for id, alert in last_of.items() if alert.state is AlertState.RAISED)
    chosen = chance.sample(unseen, min(2, len(unseen)))
    deeds: list[Deed] = []

    def add(kind: ActionKind, order: int, **about: str | int | None) -> None:
        deeds.append(Deed(id=f"deed-{round_number}-{len(deeds)}", kind=kind, order=order, **about))  # type: ignore[arg-type]

    for alert in chosen:
        add(ActionKind.ACKNOWLEDGE, chance.randint(first, last), alert=alert)
    for camera in CAMERAS:
        query, order = chance.choice(QUERIES), chance.randint(first, last)
        kind = chance.choice((ActionKind.ACKNOWLEDGE, ActionKind.SHELVE, ActionKind.SHELVE))
        if kind is ActionKind.ACKNOWLEDGE:
            add(kind, order, query=query, camera=camera)
            continue
        until = chance.choice((None, order + chance.randint(1, 80)))
        add(kind, order, query=query, camera=camera, until=until)
        if until is None:
            add(ActionKind.UNSHELVE, order + chance.randint(1, 80), query=query, camera=camera)
    return deeds


def write_script(seed: int, rounds: int, frames: int, restarts: frozenset[int]) -> list[list[Shot]]:
    """Per round, the shots of all cameras in turn, ``frames`` of each.

    In the rounds ``restarts`` the first camera numbers its frames anew. Things stay for some frames, go, flicker.
    """
    chance = random.Random(f"script {seed}")
    present: dict[tuple[str, str], int] = {}
    ages: dict[tuple[str, str], int] = {}
    epochs = dict.fromkeys(CAMERAS, "e0")
    numbers = dict.fromkeys(CAMERAS, 0)
    script, order = [], 0
    for round_number in range(rounds):
        if round_number in restarts:
            epochs[CAMERAS[0]], numbers[CAMERAS[0]] = f"e{round_number + 1}", 0
        shots = []
        for _ in range(frames):
            for camera in CAMERAS:
                seen = set()
                for colour in COLOURS:
                    left = present.get((camera, colour), 0)
                    if left == 0 and chance.random() < 0.12:
                        left = chance.randint(1, 12)
                    elif left == 0 and chance.random() < 0.3:
                        left = 1  # a flicker, too short for an alert by itself
                    age = ages.get((camera, colour), 0)
                    if left > 0:
                        seen.add((colour, age))
                    ages[camera, colour] = age + 1 if left > 0 else 0
                    present[camera, colour] = max(left - 1, 0)
                broken = chance.random() < 0.01
                shots.append(Shot(camera, epochs[camera], numbers[camera], frozenset(seen), broken, order))
                order += 1
                numbers[camera] += 1
        script.append(shots)
    return script
