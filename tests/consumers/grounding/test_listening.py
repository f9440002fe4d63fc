"""For how long a partition was really read."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from consumers.grounding.blind import SilenceWatch
from consumers.grounding.listening import Listening

SECOND = 1_000_000_000


class Polls:
    """Polls of one thread, at a clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ns = 5 * SECOND
        self.listening = Listening(clock_ns=lambda: self.now_ns)

    def poll(self, seconds: float, read: Collection[int], **others: Collection[int]) -> None:
        self.now_ns += int(seconds * SECOND)
        self.listening.polled(read, **others)

    def pause(self, seconds: int) -> None:
        """Partition 0, while its broker is there."""
        for _ in range(seconds * 2):
            self.poll(0.5, [], paused=[0])

    def gave(self, *seconds: float) -> None:
        """Messages of partition 0 that were written then."""
        for second in seconds:
            self.listening.gave(0, int(second * SECOND))

    def heard(self, *partitions: int) -> list[float]:
        return [self.listening.listened_ns()[partition] / SECOND for partition in partitions]


def test_time_counts_while_a_partition_is_read() -> None:
    """From the second poll on; of a partition that is paused, or that its broker gives nothing of, it stands still."""
    polls = Polls()
    assert polls.heard(0, 1) == [0, 0]
    polls.poll(0.5, [0, 1])
    assert polls.heard(0, 1) == [0, 0]
    for _ in range(4):
        polls.poll(0.5, [0, 1])
    for _ in range(4):
        polls.poll(0.5, [1])
    assert polls.heard(0, 1) == [2, 4]
    polls.poll(0.5, [0, 1])
    assert polls.heard(0, 1) == [2.5, 4.5]


def test_time_in_which_the_thread_was_kept_from_reading_counts_for_nothing() -> None:
    """Taking partitions over may take ten seconds: whoever sent meanwhile was not heard."""
    polls = Polls()
    polls.poll(0.1, [0])
    polls.poll(0.1, [0])
    polls.poll(10, [0, 1])
    assert polls.heard(0, 1) == [0.1, 0]
    polls.poll(0.5, [0, 1])
    assert polls.heard(0, 1) == [0.6, 0.5]


def test_pause_is_made_up_for_as_what_was_written_meanwhile_is_read() -> None:
    """By the times at which it was written, and by no more than the pause; a gap in them says nothing of anyone."""
    polls = Polls()
    polls.poll(0, [0])
    polls.gave(100)
    polls.pause(6)
    assert polls.heard(0) == [0]
    polls.gave(101, 101.5, 101.25, 102)
    assert polls.heard(0) == [2]
    polls.gave(130)
    assert polls.heard(0) == [3]
    polls.gave(131, 132, 133, 134, 135)
    assert polls.heard(0) == [6]


def test_what_is_left_of_a_pause_ends_with_the_last_message() -> None:
    """As the broker tells the end anew; what it told before the pause is none."""
    polls = Polls()
    polls.poll(0, [0])
    polls.gave(100)
    polls.pause(6)
    polls.listening.caught_up(0)
    polls.gave(101)
    assert polls.heard(0) == [1]
    polls.listening.caught_up(0)
    polls.gave(102, 103)
    assert polls.heard(0) == [1]


@pytest.mark.parametrize("away_s", [1, 2], ids=["not known yet", "away"])
def test_pause_at_a_broker_that_is_away_is_not_made_up_for(away_s: int) -> None:
    """Cameras could not say anything, and send what they kept one after the other; right after a pause nothing is known
    of the broker."""
    polls = Polls()
    polls.poll(0, [0])
    polls.gave(100)
    polls.pause(6)
    for _ in range(away_s * 2):
        polls.poll(0.5, [], unheard=[0])
    polls.gave(101, 102, 103)
    assert polls.heard(0) == [3 if away_s == 1 else 0]


def test_partition_that_comes_back_makes_up_for_nothing() -> None:
    """Another worker has read it meanwhile."""
    polls = Polls()
    polls.poll(0.5, [0])
    polls.poll(0.5, [0])
    polls.gave(100)
    polls.pause(6)
    polls.listening.forget([0])
    polls.gave(160, 161)
    assert polls.heard(0) == [0.5]


@pytest.mark.parametrize("speed", [1.2, 0.3], ids=["keeps up", "falls behind"])
def test_dead_camera_beside_one_that_is_too_much_is_missed_as_its_log_is_read(speed: float) -> None:
    """A partition is paused for most of the time, and read so fast, in bursts: a camera that has died is silent since
    the last of its frames, and one that says something now and then is not."""
    polls, watch = Polls(), SilenceWatch()
    told: dict[str, float] = {}
    position, died = 0.0, 60.0  # seconds of the log: how far it has been read, when one camera died
    while position < 150:
        pause_s = 8
        polls.pause(pause_s)
        for _ in range(20):  # messages, written one after the other
            position += speed * pause_s / 20
            polls.gave(position)
            if position < died:
                watch.heard("dies")
            if position % 5 < speed * pause_s / 20:
                watch.heard("rare")
            watch.tick(dict.fromkeys(("dies", "rare"), polls.listening.listened_ns()[0]))
            for camera in ("dies", "rare"):
                if watch.silent_ns(camera) >= 10 * SECOND:
                    told.setdefault(camera, position)
        polls.poll(0.05, [0])
    assert told.keys() == {"dies"}
    assert 8 <= told["dies"] - died <= 14
