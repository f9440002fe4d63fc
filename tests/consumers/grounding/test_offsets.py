"""Which offset may be committed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.grounding.commits import CommitBook
from consumers.grounding.offsets import OffsetTracker


def test_nothing_to_commit_at_first() -> None:
    """Without a finished message there is no offset to commit."""
    tracker = OffsetTracker()
    assert tracker.committable is None
    tracker.start(5)
    assert tracker.committable is None


def test_gap_holds_the_offset() -> None:
    """A message in flight holds back all that finished behind it."""
    tracker = OffsetTracker()
    for offset in (5, 6, 9):
        tracker.start(offset)
    tracker.finish(6)
    tracker.finish(9)
    assert tracker.committable is None
    tracker.finish(5)
    assert tracker.committable == 10


def test_abandoned_message_is_never_passed() -> None:
    """What was left to the next reader stays uncommitted, though later ones are done, and is not waited for."""
    tracker = OffsetTracker()
    for offset in (1, 2, 3):
        tracker.start(offset)
    tracker.finish(1)
    tracker.abandon(2)
    tracker.finish(3)
    assert (tracker.committable, tracker.in_flight) == (2, 0)


def test_message_read_twice_is_told() -> None:
    """A message that was started already, or finished, is not started again."""
    tracker = OffsetTracker()
    assert tracker.start(1)
    assert not tracker.start(1)
    tracker.finish(1)
    assert not tracker.start(1)
    assert tracker.start(2)


@given(st.sets(st.integers(0, 50)).map(sorted), st.randoms(), st.data())
def test_committable_is_the_finished_prefix(offsets: list[int], random: object, data: st.DataObject) -> None:
    """In whatever order messages finish, all below the committable offset are finished and the next open one is not."""
    tracker = OffsetTracker()
    for offset in offsets:
        assert tracker.start(offset)
    order = data.draw(st.permutations(offsets))
    finished = order[: data.draw(st.integers(0, len(order)))]
    for offset in finished:
        tracker.finish(offset)
        tracker.finish(offset)
    unfinished = [offset for offset in offsets if offset not in finished]
    prefix = [offset for offset in offsets if not unfinished or offset < unfinished[0]]
    assert tracker.committable == (prefix[-1] + 1 if prefix else None)
    assert tracker.in_flight == len(unfinished)


def test_book_forgets_a_revoked_partition() -> None:
    """A frame that finishes after its partition went away changes nothing, and new frames of it are not taken."""
    book = CommitBook()
    book.assign([0, 1])
    assert book.start(0, 7)
    book.revoke([0])
    book.finish(0, 7)
    assert book.due() == {}
    assert not book.start(0, 8)


def test_book_names_only_what_moved() -> None:
    """An offset that was handed to the broker is not due again."""
    book = CommitBook()
    book.assign([0])
    book.start(0, 7)
    book.finish(0, 7)
    assert book.due() == {0: 8}
    book.committed({0: 8})
    assert book.due() == {}
    assert book.wait_idle([0], 0.0)
