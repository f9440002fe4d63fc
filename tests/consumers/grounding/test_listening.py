"""For how long a partition was really read."""

from __future__ import annotations

from collections.abc import Collection

from consumers.grounding.listening import Listening

SECOND = 1_000_000_000


class Polls:
    """Polls of one thread, at a clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ns = 5 * SECOND
        self.listening = Listening(clock_ns=lambda: self.now_ns)

    def poll(self, seconds: float, partitions: Collection[int]) -> None:
        self.now_ns += int(seconds * SECOND)
        self.listening.polled(partitions)

    def heard(self, *partitions: int) -> list[float]:
        return [self.listening.listened_ns(partition) / SECOND for partition in partitions]


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
