"""Which offset may be committed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.grounding.commits import CommitBook
from consumers.grounding.offsets import WINDOW, Mark, OffsetTracker


def test_nothing_to_commit_at_first() -> None:
    """Before anything was fetched there is nothing to commit; then it is where the reading began."""
    tracker = OffsetTracker()
    assert tracker.mark() is None
    tracker.start(5)
    assert tracker.mark() == Mark(5)


def test_what_is_done_beyond_a_gap_is_remembered() -> None:
    """A message in flight holds the offset; what finished behind it stands in the metadata."""
    tracker = OffsetTracker()
    for offset in (5, 6, 9):
        tracker.start(offset)
    tracker.finish(6, "scored")
    assert tracker.mark({9: "scored"}) == Mark(5, frozenset({6, 9}), (("scored", 2),))
    assert tracker.mark() == Mark(5, frozenset({6}), (("scored", 1),))
    tracker.finish(9, "scored")
    tracker.finish(5, "scored")
    assert tracker.mark() == Mark(10, fates=(("scored", 3),))


def test_abandoned_message_is_never_passed() -> None:
    """What was left to the next reader stays undone, though later ones are done, and is not waited for."""
    tracker = OffsetTracker()
    for offset in (1, 2, 3):
        tracker.start(offset)
    tracker.finish(1, "scored")
    tracker.abandon(2)
    tracker.finish(3, "scored")
    assert (tracker.mark({2: "scored"}), tracker.in_flight) == (Mark(2, frozenset({3}), (("scored", 2),)), 0)


def test_message_read_twice_is_told() -> None:
    """A message that was started already, or finished, is not started again."""
    tracker = OffsetTracker()
    assert tracker.start(1)
    assert not tracker.start(1)
    tracker.finish(1, "scored")
    assert not tracker.start(1)
    assert tracker.start(2)


@given(st.sets(st.integers(0, 60), min_size=1).map(sorted), st.data())
def test_every_message_is_done_once_by_a_row_of_owners(offsets: list[int], data: st.DataObject) -> None:
    """However often a partition changes hands, and in whatever order messages finish, each is worked on once."""
    done: list[int] = []
    mark: Mark | None = None
    for owner in range(4):
        tracker = OffsetTracker(mark)
        again = [offset for offset in offsets if mark is None or offset >= mark.offset]
        fetched = again[: data.draw(st.integers(0, len(again)))] if owner < 3 else again
        mine = [offset for offset in fetched if tracker.start(offset)]
        order = data.draw(st.permutations(mine))
        for offset in order[: data.draw(st.integers(0, len(mine)))] if owner < 3 else order:
            tracker.finish(offset, "scored" if offset % 2 else "skipped_behind")
            done.append(offset)
        found = tracker.mark()
        mark = None if found is None else Mark.read(found.offset, found.metadata(f"w-{owner}"))
        assert mark == found
    assert sorted(done) == offsets
    assert mark is not None and (mark.offset, mark.ahead) == (offsets[-1] + 1, frozenset())
    assert sum(count for _, count in mark.fates) == len(offsets)


def test_metadata_of_the_widest_window_fits() -> None:
    """Kafka takes 4096 bytes; the worst pattern over the whole window stays below."""
    mark = Mark(
        7,
        frozenset(range(7, 7 + WINDOW + 256, 3)) | frozenset(n * n % WINDOW + 7 for n in range(WINDOW)),
        tuple((f"rejected_{'r' * 20}_{chr(97 + n)}", 10**12 + n) for n in range(20)),
    )
    text = mark.metadata("w" * 64 + "-12345678")
    assert len(text) < 4096
    assert Mark.read(7, text) == mark


@pytest.mark.parametrize(
    "text", ["w", "w !!", "w eJw=", "w eJxTYRgFo2AUjIJRMApGwZAFDgAggQB", "w é", "w - scored=x", "w - a=1  b=2"]
)
def test_metadata_of_others_is_named(text: str) -> None:
    """What no worker wrote is refused with what stands there."""
    with pytest.raises(ValueError, match="commit metadata"):
        Mark.read(1, text)


def test_book_forgets_a_revoked_partition() -> None:
    """A frame that finishes after its partition went away changes nothing, and new frames of it are not taken."""
    book = CommitBook()
    book.assign({0: None, 1: None})
    lease = book.lease(0)
    assert book.start(0, 7)
    book.revoke([0])
    book.finish(0, 7, "scored", lease=lease)
    assert book.marks({}) == {}
    assert not book.start(0, 8)


def test_book_tells_a_second_lease_from_the_first() -> None:
    """A partition that comes back is a new lease, beginning where it was committed."""
    book = CommitBook()
    book.assign({0: None})
    first = book.lease(0)
    book.revoke([0])
    assert book.lease(0) == 0
    book.assign({0: Mark(7, frozenset({8}))})
    assert book.lease(0) not in (0, first)
    assert [book.start(0, offset) for offset in (6, 7, 8, 9)] == [False, True, False, True]


@pytest.mark.parametrize("end", ["finish", "abandon"])
def test_frame_of_an_earlier_lease_says_nothing_of_its_second_copy(end: str) -> None:
    """A partition that was lost comes back with frames still at the model: what becomes of those ends no later copy."""
    book = CommitBook()
    book.assign({0: Mark(7)})
    first = book.lease(0)
    assert book.start(0, 7) and book.start(0, 8)
    book.revoke([0])
    book.assign({0: Mark(7)})
    now = book.lease(0)
    assert book.start(0, 7) and book.start(0, 8)
    if end == "finish":
        book.finish(0, 7, "skipped_behind", lease=first)
    else:
        book.abandon(0, 7, lease=first)
    assert book.marks({0: {}}) == {0: Mark(7)}
    assert not book.wait_idle([0], 0.0)
    book.finish(0, 7, "scored", lease=now)
    book.finish(0, 8, "scored", lease=now)
    assert book.marks({0: {}}) == {0: Mark(9, fates=(("scored", 2),))}


def test_book_names_only_what_moved_and_what_is_finishing() -> None:
    """A committed mark is not due again, but stands beside the messages of a transaction."""
    book = CommitBook()
    book.assign({0: None, 1: Mark(3)})
    book.start(0, 7)
    assert book.marks({0: {7: "scored"}}) == {0: Mark(8, fates=(("scored", 1),))}
    assert not book.wait_idle([0, 1], 0.0)
    book.committed({0: {7: "scored"}}, {0: Mark(8, fates=(("scored", 1),))})
    assert book.marks({}) == {}
    assert book.marks({1: {}}) == {1: Mark(3)}
    assert book.wait_idle([0, 1], 0.0)
