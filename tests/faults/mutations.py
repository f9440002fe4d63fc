"""Broken inputs, and some that only look it: the same for the same seed.

What was made by hand to be good or bad says so; of what was broken at random nobody knows until it is read.
"""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np

from infra.contracts import CAMERA_BLIND
from infra.settings import KafkaSettings
from tests.consumers.grounding.conftest import HEIGHT, SQUARE, WIDTH, picture
from tests.faults.script import Shot

Headers = list[tuple[str, bytes]]
Labelled = tuple[bytes, bool | None]
"""Bytes, and whether they must be accepted; None: whatever the contract says."""

Changes = tuple[dict[str, Any], ...]

INFINITE, NAN = float("inf"), float("nan")
LAST = b"253402300799999999999"
"""The last nanosecond of the year 9999."""

BRIGHT = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 200, np.uint8))[1].tobytes()
"""A picture on which the model of a fuzz run gives no numbers."""

_NASTY = (
    b"",
    b"-1",
    b"0",
    b"1",
    b"9" * 21,
    b"9" * 40,
    LAST,
    b"NaN",
    b"Infinity",
    b"1e-320",
    b"0001-01-01T00:00:00+05:00",
    b"9999-12-31T23:59:59Z",
    b"\xff\xfe\x00",
    b"\x00",
    b"null",
    b"../../etc/passwd",
    b"x" * 150,
    b"x" * 20_000,
    "line\u202e-1".encode(),
)

_ANYTHING: tuple[Any, ...] = (
    *(None, -1, 0, 1e308, 1e-320, INFINITE, -INFINITE, NAN, 10**30, "", "x" * 5000, [], {}, [[[]]], True, "\u0000"),
    *("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "Infinity"),
)

_ABSURD_TIMES = ("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "9999-12-31T00:00:00Z", "yesterday", 1e300)

_NUMBERS = ("ce_capturedns", "ce_publishedns", "ce_expirytime", "ce_sequence", "ce_width")

_MORE_HEADERS: tuple[Headers, ...] = (
    [],
    [("traceparent", b"\xff")],
    [("h", b"")] * 2000,
    [("n" * 20_000, b"")],
    [("ce_long", b"x" * 70_000)],
)

_BAD_ACTIONS: Changes = (
    *({"at": at} for at in _ABSURD_TIMES),
    *({"kind": "shelve", "verdict": None, "until": until} for until in _ABSURD_TIMES),
    {"kind": "explode"},
    {"id": ""},
    {"by": "x" * 1000},
    {"alert_id": "a-1", "query_id": "any"},
    {"kind": "verdict", "alert_id": "a-1", "query_id": None, "verdict": "maybe"},
    {"kind": "verdict", "alert_id": "a-1", "query_id": None, "verdict": "true", "boxes": [[0, 0, NAN, 1]]},
    {"unheard_of": 1},
)

_GOOD_ACTIONS: Changes = ({}, {"at": "1970-01-01T00:00:00Z", "until": None}, {"id": "y" * 100})

_BAD_QUERIES: Changes = (
    *({"created": at} for at in _ABSURD_TIMES),
    *({"changed": at} for at in _ABSURD_TIMES),
    *({"on_delay": {"value": value, "unit": "frames"}} for value in (INFINITE, NAN, -1, 1.5)),
    *({"off_delay": {"value": value, "unit": "seconds"}} for value in (INFINITE, NAN, -1)),
    *({"rate": value} for value in (1e-320, 0, -1, 1e300, INFINITE, NAN)),
    *({"raise_threshold": value} for value in (0, 1, NAN, INFINITE)),
    *({"realarm_interval": value} for value in (0, NAN, INFINITE)),
    *({"object_size": value} for value in (0, NAN, 2)),
    *({"region": region} for region in ([], [[0.1, 0.1], [0.2, 0.2]], [[NAN, 0], [1, 0], [1, 1]], [0, 0, 2, 2])),
    *({"region": region} for region in ([0.5, 0.5, 0.5, 0.5], [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]])),
    *({"tiles": tiles} for tiles in ([0, 1], [9, 9], [1])),
    *({"text": text} for text in ("", "?!", "x" * 5000)),
    {"cameras": []},
    {"cameras": ["a b"]},
    {"schedule": {"hours": [{"days": ["mon"], "start": "06:00", "end": "07:00"}], "zone": "Mars/Olympus"}},
    {"revision": 0},
    {"id": "another"},
    {"unheard_of": 1},
)

_GOOD_QUERIES: Changes = (
    {},
    {"rate": 0.001},
    {"rate": 1000},
    {"on_delay": {"value": 1e300, "unit": "seconds"}},
    {"on_delay": {"value": 1e300, "unit": "frames"}, "realarm_interval": 1e300},
    {"object_size": 1e-300, "raise_threshold": 0.02, "clear_threshold": 1e-300},
    {"region": [[-5, -5], [0.5, 1e300], [0.9, 0.1]]},
    {"region": [0.5, 0.5, 0.5001, 0.5001], "tiles": [2, 2]},
    {"schedule": {"hours": [{"days": ["mon"], "start": "00:00", "end": "00:00"}], "zone": "Pacific/Kiritimati"}},
    {"revision": 10**30, "expect": "present", "latch": True},
    {"created": "1970-01-01T00:00:00Z", "changed": "9998-12-31T23:59:59Z", "mode": "shadow"},
    {"text": "no colour at all"},
)


class Mutator:
    """Breaks things at random; the same things for the same seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"fuzz {seed}")
        png = cv2.imencode(".png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))[1].tobytes()
        seen = picture(("red", SQUARE))
        self._images = [picture(), seen, seen, BRIGHT, png, png[:40], b"GIF89a\x01\x00\x01\x00", b""]

    def frame(self, number: int) -> tuple[bytes | None, bytes, Headers]:
        """Key, value and headers of a message that was a frame once."""
        camera = f"fuzz-{number % 7}"
        shot = Shot(camera, "e0", number, frozenset(), broken=False)
        message = shot.message(KafkaSettings(), time.time_ns())
        key: bytes | None = camera.encode()
        value, headers = self.chance.choice(self._images), list(message["headers"])  # type: ignore[call-overload]
        for _ in range(self.chance.choice((0, 1, 1, 2, 3))):
            kind = self.chance.randrange(9)
            if kind == 0:
                headers.pop(self.chance.randrange(len(headers)))
            elif kind == 1:
                headers = [
                    (name, self._bytes(text)) if self.chance.random() < 0.2 else (name, text) for name, text in headers
                ]
            elif kind == 2:
                headers.append((self.chance.choice(headers)[0], self._bytes(b"twice")))
            elif kind == 3:
                key = self.chance.choice([None, b"", b"\xff", b"another", b"k" * 50_000, key])
            elif kind == 4:
                value = self._bytes(value)
            elif kind == 5:
                value = self._resized(value)
            elif kind == 6:
                headers = self.chance.choice([[], headers[:3], headers])
            elif kind == 7:
                name = self.chance.choice(_NUMBERS)
                headers = [*(pair for pair in headers if pair[0] != name), (name, self.chance.choice(_NASTY))]
            elif kind == 8:
                headers += self.chance.choice(_MORE_HEADERS)
            if not headers:
                break
        return key, value, headers

    def action(self, number: int) -> Labelled:
        """The value of an operator's action of any kind."""
        now = datetime.now(UTC)
        about: dict[str, Any] = self.chance.choice(
            [{"alert_id": "a-1"}, {"query_id": "any", "camera": f"fuzz-{number % 7}"}]
        )
        of_alert, forgets = {"alert_id": "a-1"}, {"query_id": CAMERA_BLIND, "camera": f"fuzz-{number % 7}"}
        sound: dict[str, Any] = {"id": f"x-{number}", "by": "Ada", "at": now.isoformat()} | self.chance.choice(
            [
                about | {"kind": "acknowledge"},
                about | {"kind": "shelve"},
                about | {"kind": "shelve", "until": (now + timedelta(hours=1)).isoformat()},
                about | {"kind": "unshelve"},
                about | {"kind": "comment", "comment": "seen \u202e it"},
                of_alert | {"kind": "verdict", "verdict": "true", "boxes": [[0.0, 0.0, 1.0, 1.0]]},
                forgets | {"kind": "forget"},
            ]
        )
        return self._labelled(sound, _BAD_ACTIONS, _GOOD_ACTIONS)

    def query(self, sound: str, id: str) -> Labelled:
        """The value of a stored query that looks at one of the broken cameras."""
        return self._labelled(json.loads(sound) | {"id": id, "cameras": ["fuzz-0"]}, _BAD_QUERIES, _GOOD_QUERIES)

    def action_headers(self, headers: Headers) -> Headers:
        """The headers of a message that are not what it is judged by, however many they are."""
        return headers + self.chance.choice(_MORE_HEADERS)

    def _labelled(self, sound: dict[str, Any], bad: Changes, good: Changes) -> Labelled:
        kind = self.chance.randrange(4)
        if kind == 0:
            return json.dumps(sound | self.chance.choice(good)).encode(), True
        if kind == 1:
            return json.dumps(sound | self.chance.choice(bad)).encode(), False
        if kind == 2:
            return self._bytes(json.dumps(sound).encode()), None
        return json.dumps(sound | {self.chance.choice(sorted(sound)): self.chance.choice(_ANYTHING)}).encode(), None

    def _bytes(self, text: bytes) -> bytes:
        kind = self.chance.randrange(5)
        if kind == 0:
            return self.chance.choice(_NASTY)
        if kind == 1:
            return text[: self.chance.randint(0, len(text))]
        if kind == 2:
            return self.chance.randbytes(self.chance.randint(0, 300))
        changed = bytearray(text)
        for _ in range(self.chance.randint(1, 8)):
            if changed:
                changed[self.chance.randrange(len(changed))] = self.chance.randrange(256)
        return bytes(changed)

    def _resized(self, value: bytes) -> bytes:
        """A JPEG that says it is of another size, up to 65,535 pixels square."""
        at = value.find(b"\xff\xc0")
        if at < 0:
            return value
        size = self.chance.choice([0, 1, 7, 65_535]).to_bytes(2, "big")
        return value[: at + 5] + size + size + value[at + 9 :]
