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


def test_partition_with_a_backlog_is_heard_as_far_as_it_is_read() -> None:
    """What is read slowly was written in less time than its reading takes; its end counts time as ever."""
    polls = Polls()
    polls.poll(0, [0])
    for second in range(20):  # of the log, in twice the time
        polls.gave(second)
        for _ in range(4):
            polls.poll(0.5, [0])
            polls.listening.lags(0)
    assert polls.heard(0)[0] == pytest.approx(20, abs=2)
    polls.gave(20)
    polls.listening.caught_up(0)
    before = polls.heard(0)[0]
    for _ in range(10):
        polls.poll(0.5, [0])
        polls.listening.caught_up(0)
    assert polls.heard(0) == [before + 5]


def test_busy_partition_that_is_kept_up_with_counts_all_of_the_time() -> None:
    """That more is to be read for a moment is no backlog, however unevenly it comes."""
    polls = Polls()
    polls.poll(0, [0])
    for number in range(40):
        polls.poll(0.25, [0])
        polls.gave(number * 0.2)
        (polls.listening.lags if number % 4 else polls.listening.caught_up)(0)
    assert polls.heard(0) == [10]


def test_partition_that_gives_nothing_of_its_backlog_stands_still_for_a_while() -> None:
    """Its cameras are not to blame; but a clock that never goes on would never miss one."""
    polls = Polls()
    polls.poll(0, [0])
    polls.gave(100)
    for _ in range(50):
        polls.listening.lags(0)
        polls.poll(0.5, [0])
    assert polls.heard(0) == [1]
    for _ in range(40):
        polls.listening.lags(0)
        polls.poll(0.5, [0])
    assert polls.heard(0)[0] == pytest.approx(1 + 45 - 30, abs=1)


def test_end_that_nothing_was_written_behind_is_believed_after_a_moment() -> None:
    """A partition may have had nothing more to give when it was paused: its only camera had died by then."""
    polls = Polls()
    polls.poll(0, [0])
    polls.gave(100)
    polls.listening.caught_up(0)
    polls.pause(6)
    for _ in range(16):
        polls.poll(0.5, [0])
        polls.listening.caught_up(0)
    assert polls.heard(0)[0] == pytest.approx(8, abs=2)


@pytest.mark.parametrize("ahead_s", [300, 365 * 86_400], ids=["minutes", "a year"])
def test_one_clock_that_is_ahead_holds_nobody_up_for_long(ahead_s: int) -> None:
    """A camera's machine boots with a wrong time, or runs ahead and dies: the others' messages tell time again."""
    polls = Polls()
    polls.poll(0, [0])
    polls.gave(100, 100 + ahead_s)
    before = polls.heard(0)[0]
    for second in range(101, 201):
        polls.pause(1)
        polls.gave(second)
    assert polls.heard(0)[0] - before >= 100 - 32


@pytest.mark.parametrize("ahead_s", [0, 3, 3600])
def test_clocks_that_differ_tell_no_more_time_than_has_passed(ahead_s: int) -> None:
    """Two machines write into one partition in turn, each by its own clock."""
    polls = Polls()
    polls.poll(0, [0])
    for second in range(60):  # of the log, in twice the time
        polls.pause(2)
        polls.gave(second, second + 0.5 + ahead_s)
    assert 50 <= polls.heard(0)[0] <= 61


@pytest.mark.parametrize("read_s", [0.05, 4, 8], ids="read for {}".format)
@pytest.mark.parametrize("speed", [1.2, 0.3], ids=["keeps up", "falls behind"])
def test_dead_camera_beside_one_that_is_too_much_is_missed_as_its_log_is_read(speed: float, read_s: float) -> None:
    """A partition is paused again and again, and read so fast, in bursts, with more to read all the time: a camera that
    has died is silent since the last of its frames, and one that says something now and then is not."""
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
        polls.listening.lags(0)
        for _ in range(max(1, round(read_s / 0.5))):  # fetching takes its time
            polls.poll(min(read_s, 0.5), [0])
    assert told.keys() == {"dies"}
    assert 8 <= told["dies"] - died <= 14
