"""Which frame is next, and which is skipped."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.grounding.frames import Frame, Picture, Pixels
from consumers.grounding.mailbox import HOLD_SECONDS, PATIENCE, Mailbox
from consumers.grounding.settings import Freshness, FreshnessRule, WorkerSettings
from consumers.grounding.vision import sample
from infra.contracts import FrameHeader, FrameReference, utc_from_ns


def frame(camera: str, sequence: int, partition: int = 0, size: tuple[int, int] = (4, 4), image: bytes = b"") -> Frame:
    captured = 1_764_000_000_000_000_000 + sequence
    header = FrameHeader(
        id=f"{camera}/e/{sequence}",
        camera=camera,
        sequence=sequence,
        epoch="e",
        captured_ns=captured,
        published_ns=captured,
        width=size[0],
        height=size[1],
    )
    place = FrameReference(
        topic="frames", partition=partition, offset=sequence, sequence=sequence, captured_at=utc_from_ns(captured)
    )
    return Frame(header, place, image, captured)


def shown(pixels: Pixels, sequence: int = 0) -> Picture:
    """A decoded frame of camera line-1."""
    return Picture(frame("line-1", sequence, size=(pixels.shape[1], pixels.shape[0])), pixels, sample(pixels), 0.0)


def freshness(camera: str) -> Freshness:
    return "every" if camera.startswith("every") else "latest"


def test_empty_mailbox_has_nothing() -> None:
    """Nothing in, nothing out, nothing full."""
    mailbox = Mailbox(freshness, 4)
    assert mailbox.take(0.0) is None
    assert mailbox.full() == set()


def test_latest_replaces_and_names_the_skipped() -> None:
    """A newer frame takes the place of the older one, which is handed back to be counted."""
    mailbox = Mailbox(freshness, 4)
    assert mailbox.offer(frame("a", 1)) == []
    assert [old.place.sequence for old in mailbox.offer(frame("a", 2))] == [1]
    taken = mailbox.take(0.0)
    assert taken is not None and taken.place.sequence == 2
    assert mailbox.take(0.0) is None


@pytest.mark.parametrize(
    ("sequence", "seconds", "epoch", "stays"),
    [
        (40, -6, "e", True),
        (40, -6, "before", True),
        (100, 0, "e", False),
        (101, -3600, "e", False),
        (40, 1, "e", False),
        (0, 1, "after", False),
    ],
    ids=["sent again", "of an earlier numbering", "the same", "clock set back", "number out of place", "restarted"],
)
def test_latest_keeps_the_newest_whatever_comes_after_it(sequence: int, seconds: int, epoch: str, stays: bool) -> None:
    """Rejected frames that are sent again displace no live one; a camera whose clock or numbering slips is heard."""
    mailbox = Mailbox(freshness, 4)
    live = frame("a", 100)
    changes = {"sequence": sequence, "epoch": epoch, "captured_ns": live.header.captured_ns + seconds * 10**9}
    comes = replace(live, header=live.header.model_copy(update=changes))
    assert mailbox.offer(live) == []
    assert mailbox.offer(comes) == ([comes] if stays else [live])
    assert mailbox.take(0.0) is (live if stays else comes)


def test_latest_waits_for_the_end_of_a_backlog() -> None:
    """While a partition is being read, its frames are held back, so the first one scored is the newest."""
    mailbox = Mailbox(freshness, 4)
    mailbox.offer(frame("a", 1))
    mailbox.hold(0, behind=True, now=10.0)
    assert mailbox.take(10.1) is None
    mailbox.offer(frame("a", 2))
    mailbox.hold(0, behind=False, now=10.2)
    taken = mailbox.take(10.2)
    assert taken is not None and taken.place.sequence == 2


def test_endless_backlog_is_watched_all_the_same() -> None:
    """A partition that never drains still gives a frame now and then."""
    mailbox = Mailbox(freshness, 4)
    mailbox.hold(0, behind=True, now=10.0)
    mailbox.offer(frame("a", 1))
    assert mailbox.take(10.0 + HOLD_SECONDS) is not None


def test_every_keeps_all_and_says_when_it_is_full() -> None:
    """Nothing is skipped under 'every'; the partition is named until a quarter of its bytes is left."""
    mailbox = Mailbox(freshness, 400)
    for number in range(4):
        assert mailbox.full() == set()
        assert mailbox.offer(frame("every-1", number, partition=3, image=bytes(100))) == []
    mailbox.hold(3, behind=True, now=0.0)
    assert mailbox.full() == {3}
    for number in range(3):
        assert not mailbox.roomy(3)
        taken = mailbox.take(0.0)
        assert taken is not None and taken.place.sequence == number
    assert mailbox.roomy(3)


def test_partitions_share_what_may_wait() -> None:
    """The bytes are shared out among the partitions with cameras under 'every'; one that is handed over gives its own
    back, and a frame of 'latest', which gives way to the next one, counts for nothing."""
    mailbox = Mailbox(freshness, 400)
    mailbox.offer(frame("latest-1", 0, partition=7, image=bytes(1000)))
    for partition in (1, 2):
        mailbox.offer(frame(f"every-{partition}", 0, partition=partition, image=bytes(100 * partition)))
    assert mailbox.full() == {2}
    assert not mailbox.roomy(1) and mailbox.roomy(7)
    assert len(mailbox.drop({1})) == 1
    assert mailbox.full() == set()
    assert mailbox.roomy(1)


def test_cameras_take_turns() -> None:
    """A busy camera does not keep the others waiting."""
    mailbox = Mailbox(freshness, 9)
    for number in range(3):
        mailbox.offer(frame("every-a", number))
    mailbox.offer(frame("every-b", 0))
    cameras = [one.camera for one in (mailbox.take(0.0) for _ in range(4)) if one]
    assert cameras == ["every-a", "every-b", "every-a", "every-a"]


@pytest.mark.parametrize("first", ["every-a", "every-b"])
def test_skipped_frame_costs_no_turn(first: str) -> None:
    """A camera whose old frames are skipped comes to its new ones before it is another's turn."""
    mailbox = Mailbox(freshness, 9, first=lambda camera: camera == first)
    for number in range(3):
        mailbox.offer(frame("every-a", number))
    taken = mailbox.take(0.0)
    mailbox.offer(frame("every-b", 0))
    for number in (1, 2):
        mailbox.keeps_turn("every-a")
        taken = mailbox.take(0.0)
        assert taken is not None and (taken.camera, taken.place.sequence) == ("every-a", number)
    mailbox.keeps_turn("every-a")  # of which no frame waits
    taken = mailbox.take(0.0)
    assert taken is not None and taken.camera == "every-b"


def test_drop_takes_out_one_partition() -> None:
    """A partition that goes away takes its waiting frames along, and no others."""
    mailbox = Mailbox(freshness, 4)
    mailbox.offer(frame("a", 1, partition=0))
    mailbox.offer(frame("b", 1, partition=1))
    assert [one.camera for one in mailbox.drop({0})] == ["a"]
    assert len(mailbox) == 1


def test_first_matching_rule_decides() -> None:
    """Freshness of a camera is that of the first rule that matches it, else the default."""
    rules = (FreshnessRule(cameras="press-*", freshness="every"), FreshnessRule(cameras="*-9", freshness="latest"))
    settings = WorkerSettings(freshness="latest", freshness_rules=rules)
    assert [settings.freshness_of(camera) for camera in ("press-9", "line-9", "line-1")] == [
        "every",
        "latest",
        "latest",
    ]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "every-c"]), st.booleans())))
def test_frames_in_are_frames_out_or_skipped(steps: list[tuple[str, bool]]) -> None:
    """Every frame is taken, skipped or still waiting; each camera's frames come in order; 'every' never skips."""
    mailbox = Mailbox(freshness, 1000)
    offered: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    taken: dict[str, list[int]] = {"a": [], "b": [], "every-c": []}
    for camera, take in steps:
        for old in mailbox.offer(frame(camera, offered[camera])):
            skipped[old.camera] += 1
        offered[camera] += 1
        if take and (one := mailbox.take(0.0)) is not None:
            taken[one.camera].append(one.place.sequence)
    assert skipped["every-c"] == 0
    assert offered.total() == skipped.total() + sum(map(len, taken.values())) + len(mailbox)
    assert all(numbers == sorted(numbers) for numbers in taken.values())


def test_cameras_that_go_first_do_and_none_starves() -> None:
    """When several cameras wait those that go first do, and another one after a few frames all the same."""
    mailbox = Mailbox(freshness, 4, first=lambda camera: camera == "critical")
    order = []
    for camera in ("a", "b", "critical"):
        mailbox.offer(frame(camera, 0))
    for number in range(1, 4 * PATIENCE):
        taken = mailbox.take(0.0)
        assert taken is not None
        order.append(taken.camera)
        mailbox.offer(frame(taken.camera, number))
    assert order[:PATIENCE] == ["critical"] * PATIENCE
    assert min(order.count("a"), order.count("b")) > 1 and order.count("critical") > len(order) / 2


def test_every_offered_frame_is_told() -> None:
    """Also of those that are replaced at once."""
    told: list[int] = []
    mailbox = Mailbox(freshness, 4, offered=lambda frame: told.append(frame.place.sequence))
    for number in range(3):
        mailbox.offer(frame("a", number))
    assert told == [0, 1, 2]
