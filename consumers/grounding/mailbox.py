"""Frames that wait to be scored, camera by camera: which is next, and which is skipped. No I/O; the clock is passed in.

`latest` keeps one frame per camera, the newest: the others are skipped as ``behind``, also an older one that comes
after it, as of rejected frames that are sent again. While a partition still has a backlog to be read its `latest`
frames are held back, so the worker jumps to the newest frame instead of scoring some stale one on the way. `every`
keeps all, in order, and says when it is full. It takes in many before it does and gives most of them out before it
takes in more: at every pause the Kafka client throws away what it has fetched ahead of us, and fetches it again.

Cameras take turns, but those that go *first* do so when several wait; no camera is passed over more than a few times.
A frame that is skipped once taken costs no turn, or a camera with a backlog of old frames would never come to new ones.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection

from consumers.grounding.frames import Frame
from consumers.grounding.settings import Freshness

HOLD_SECONDS = 0.5
"""Longest time that a backlog being read holds frames back: a partition that never drains is still watched."""

PATIENCE = 8
"""So often in a row a camera that waits is passed over for those that go first."""

ROOMY = 0.25
"""Part of its bytes that a full partition still holds when more of it is fetched."""


class Mailbox:
    """Thread-safe: one thread offers, another takes."""

    def __init__(
        self,
        freshness_of: Callable[[str], Freshness],
        bound_bytes: int,
        *,
        first: Callable[[str], bool] = lambda camera: False,
        offered: Callable[[Frame], None] = lambda frame: None,
    ) -> None:
        """``bound_bytes``: of images that wait under 'every', shared out among the partitions of such cameras.
        ``first``: whether a camera's frames go before those of others; ``offered`` is told of every frame.
        """
        self._freshness_of = freshness_of
        self._first, self._offered = first, offered
        self._bound_bytes = bound_bytes
        self._bytes: Counter[int] = Counter()  # of 'every', by partition
        self._passed: dict[str, int] = {}
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[Frame]] = {}  # in the order of their turns
        self._held_since: dict[int, float] = {}

    def offer(self, frame: Frame) -> list[Frame]:
        """Puts a frame in. Returns the frames that give way, to be counted as skipped: those that it replaces, or the
        frame itself where a newer one waits under 'latest'."""
        self._offered(frame)
        with self._changed:
            queue = self._waiting.setdefault(frame.camera, deque())
            replaced: list[Frame] = []
            if self._freshness_of(frame.camera) == "latest":
                if any(_is_older(frame, than=waiting) for waiting in queue):
                    return [frame]
                replaced = list(queue)
                queue.clear()
            else:
                self._bytes[frame.place.partition] += len(frame.image)
            queue.append(frame)
            self._changed.notify()
            return replaced

    def hold(self, partition: int, *, behind: bool, now: float) -> None:
        """Says whether more frames of the partition are known to wait in Kafka."""
        with self._changed:
            if behind:
                self._held_since.setdefault(partition, now)
            elif self._held_since.pop(partition, None) is not None:
                self._changed.notify()

    def take(self, now: float) -> Frame | None:
        """The next frame, cameras in turn, or None while none may go."""
        with self._changed:
            return self._take(now)

    def wait(self, seconds: float, clock: Callable[[], float]) -> Frame | None:
        """As :meth:`take`, waiting up to ``seconds`` for one."""
        with self._changed:
            frame = self._take(clock())
            if frame is None:
                self._changed.wait(seconds)
                frame = self._take(clock())
            return frame

    def keeps_turn(self, camera: str) -> None:
        """The frame taken last from this camera was skipped: the camera is the next one again, if a frame waits."""
        with self._changed:
            if camera in self._waiting:
                self._waiting = {camera: self._waiting.pop(camera), **self._waiting}
                self._passed[camera] = PATIENCE

    def drop(self, partitions: Collection[int]) -> list[Frame]:
        """Takes out all frames of these partitions; another worker will get them."""
        with self._changed:
            dropped: list[Frame] = []
            for camera, queue in list(self._waiting.items()):
                dropped += [frame for frame in queue if frame.place.partition in partitions]
                kept = deque(frame for frame in queue if frame.place.partition not in partitions)
                if kept:
                    self._waiting[camera] = kept
                else:
                    del self._waiting[camera]
                    self._passed.pop(camera, None)
            for partition in partitions:
                self._held_since.pop(partition, None)
                self._bytes.pop(partition, None)
            return dropped

    def full(self) -> set[int]:
        """Partitions from which nothing more should be fetched for now."""
        with self._changed:
            return {partition for partition, held in self._bytes.items() if held >= self._share()}

    def roomy(self, partition: int) -> bool:
        """Whether a partition that was full may be fetched again."""
        with self._changed:
            return self._bytes[partition] <= ROOMY * self._share()

    def _share(self) -> float:
        return self._bound_bytes / max(len(self._bytes), 1)

    def __len__(self) -> int:
        with self._changed:
            return sum(map(len, self._waiting.values()))

    def _take(self, now: float) -> Frame | None:
        ready = [camera for camera, queue in self._waiting.items() if not self._held(camera, queue, now)]
        if not ready:
            return None
        camera = self._next(ready)
        for passed in ready[: ready.index(camera)]:
            self._passed[passed] = self._passed.get(passed, 0) + 1
        self._passed.pop(camera, None)
        queue = self._waiting.pop(camera)
        frame = queue.popleft()
        if self._freshness_of(camera) == "every":
            self._bytes[frame.place.partition] -= len(frame.image)
        if queue:
            self._waiting[camera] = queue  # to the end of the row
        return frame

    def _next(self, ready: list[str]) -> str:
        waited = (camera for camera in ready if self._passed.get(camera, 0) >= PATIENCE)
        found = next(waited, None) or next(filter(self._first, ready), None)
        return ready[0] if found is None else found

    def _held(self, camera: str, queue: deque[Frame], now: float) -> bool:
        since = self._held_since.get(queue[0].place.partition)
        return since is not None and now - since < HOLD_SECONDS and self._freshness_of(camera) == "latest"


def _is_older(frame: Frame, *, than: Frame) -> bool:
    """Whether number and capture time say so; one of the two alone may be a camera's slip, and of another numbering
    only the time says anything."""
    one, other = frame.header, than.header
    return one.captured_ns < other.captured_ns and (one.epoch != other.epoch or one.sequence < other.sequence)
