"""What the cameras of a fault run show, frame by frame: a function of the seed alone."""

from __future__ import annotations

import random
from dataclasses import dataclass

from infra.cloudevents import frame_headers
from infra.contracts import FrameHeader
from infra.settings import KafkaSettings
from infra.topics import topic_name
from tests.consumers.grounding.conftest import HEIGHT, SQUARE, WIDTH, picture

CAMERAS = tuple(f"line-{number}" for number in range(1, 5))
QUERIES = ("red", "green")
BASE_NS = 1_790_000_000_000_000_000
PERIOD_NS = 100_000_000

_IMAGES: dict[frozenset[str], bytes] = {}


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame: what is on it, or, where ``broken``, an image that cannot be read."""

    camera: str
    epoch: str
    sequence: int
    colours: frozenset[str]
    broken: bool

    @property
    def image(self) -> bytes:
        if self.broken:
            return b"\xff\xd8 torn " + f"{self.camera}/{self.epoch}/{self.sequence}".encode()
        if self.colours not in _IMAGES:
            places = {"red": SQUARE, "green": (90, 60, 120, 90)}
            _IMAGES[self.colours] = picture(*((colour, places[colour]) for colour in sorted(self.colours)))
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


def write_script(seed: int, rounds: int, frames: int, restarts: frozenset[int]) -> list[list[Shot]]:
    """Per round, the shots of all cameras in turn, ``frames`` of each.

    In the rounds ``restarts`` the first camera numbers its frames anew. Things stay for some frames, go, flicker.
    """
    chance = random.Random(f"script {seed}")
    present: dict[tuple[str, str], int] = {}
    epochs = dict.fromkeys(CAMERAS, "e0")
    numbers = dict.fromkeys(CAMERAS, 0)
    script = []
    for round_number in range(rounds):
        if round_number in restarts:
            epochs[CAMERAS[0]], numbers[CAMERAS[0]] = f"e{round_number + 1}", 0
        shots = []
        for _ in range(frames):
            for camera in CAMERAS:
                seen = set()
                for colour in QUERIES:
                    left = present.get((camera, colour), 0)
                    if left == 0 and chance.random() < 0.12:
                        left = chance.randint(1, 12)
                    elif left == 0 and chance.random() < 0.3:
                        left = 1  # a flicker, too short for an alert by itself
                    if left > 0:
                        seen.add(colour)
                    present[camera, colour] = max(left - 1, 0)
                broken = chance.random() < 0.01
                shots.append(Shot(camera, epochs[camera], numbers[camera], frozenset(seen), broken))
                numbers[camera] += 1
        script.append(shots)
    return script
