"""Results in transactions, against a real broker: whole or not at all, whatever is wrong with one of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # imported there, not marked as re-exported
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from prometheus_client import REGISTRY

from consumers.grounding.commits import CommitBook
from consumers.grounding.outbox import Outbox
from consumers.grounding.work import KEPT, Outgoing, Work, pictured, reduced
from consumers.reading import read_to_end
from infra.contracts import MessageReference
from infra.errors import ProducerFenced, TransactionAborted
from infra.settings import KafkaSettings
from infra.topics import TopicName, topic_name
from infra.transactions import Sent, TransactionalPublisher

GROUP = object()  # no offset is committed here, so no group is asked


class Desk:
    """An outbox on partition 0 of the frames, and what it has written."""

    def __init__(
        self, kafka: KafkaSettings, name: str = "w1", timeout_s: float = 10.0, interval_s: float = 0.01
    ) -> None:
        self.kafka = kafka
        self.given_up = threading.Event()
        self.commits = CommitBook()
        self.commits.assign({0: None})
        self.outbox = Outbox(
            TransactionalPublisher(
                kafka,
                transactional_id=f"{kafka.prefix}/{name}",
                client_id=name,
                given_up=self.given_up.is_set,
                timeout_s=timeout_s,
            ),
            self.commits,
            prefix=kafka.prefix,
            name=name,
            interval_s=interval_s,
            works=10,
            read_metadata=lambda partitions: {},
            given_up=self.given_up,
        )
        self.outbox.join_group(GROUP)
        self.outbox.start()

    def put(self, *messages: Outgoing, lease: int | None = None) -> None:
        found = list(messages)
        lease = self.commits.lease(0) if lease is None else lease
        self.outbox.put(Work(partition=0, lease=lease, offset=None, messages=lambda _: found))

    def put_together(self, *works: Work) -> None:
        """All are there before a transaction begins."""
        self.outbox.join_group(None)
        for work in works:
            self.outbox.put(work)
        self.outbox.join_group(GROUP)

    def written(self, topic: TopicName) -> list[bytes]:
        name = topic_name(self.kafka.prefix, topic)
        return [message.value() or b"" for message in read_to_end(self.kafka, name, client_id="test")]  # type: ignore[misc]

    def close(self) -> None:
        self.given_up.set()
        self.outbox.close()


@pytest.fixture
def desk(kafka: KafkaSettings) -> Iterator[Desk]:
    one = Desk(kafka)
    yield one
    one.close()


def message(topic: TopicName, content: object, key: str = "k") -> Outgoing:
    return Outgoing.json(topic, key=key, value=json.dumps(content), id="1", source="/cameras/line-1")


def limit(kafka: KafkaSettings, topic: TopicName, size: int) -> None:
    """The broker takes no larger messages on the topic from now on."""
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic_name(kafka.prefix, topic), incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
    probe = Producer({"bootstrap.servers": kafka.bootstrap, "message.max.bytes": 1_000_000})
    refused: list[KafkaError | None] = [None]
    while refused[0] is None:  # the broker says yes before it does it
        probe.produce(
            topic_name(kafka.prefix, topic),
            key=b"probe",
            value=b"x" * size,
            on_delivery=lambda error, _: refused.__setitem__(0, error),
        )
        probe.flush(5)


def test_a_message_that_is_too_large_is_cut_down(desk: Desk, until: Callable[..., None]) -> None:
    """An alert over the broker's limit keeps its first and last boxes; what is written with it stays as it is."""
    limit(desk.kafka, "alerts", 4000)
    boxes = [[n / 1000, 0.0, 1.0, 1.0] for n in range(1000)]
    desk.put(message("alerts", {"id": "a", "boxes": boxes}), message("detections", {"n": 1}))
    until(lambda: desk.written("detections"))
    (alert,) = (value for value in desk.written("alerts") if not value.startswith(b"xx"))  # the probes of `limit`
    assert json.loads(alert) == {"id": "a", "boxes": boxes[: KEPT // 2] + boxes[-KEPT // 2 :]}
    assert desk.written("detections") == [b'{"n": 1}']


def test_a_message_that_cannot_be_cut_is_left_out(desk: Desk, until: Callable[..., None]) -> None:
    """A poisonous message holds nothing up: it is left out, counted and logged, and all others are written once.

    Also its neighbours of the same topic, which the broker refuses with it, and which lose nothing.
    """
    limit(desk.kafka, "alerts", 4000)
    neighbour = {"boxes": [[n / 100, 0.0, 1.0, 1.0] for n in range(KEPT + 5)]}
    desk.put(
        message("alerts", {"reason": "x" * 10_000}),
        message("alerts", neighbour),
        message("detections", {"n": 0}),
    )
    desk.put(message("alerts", {"reason": "y" * 9_000}), message("detections", {"n": 1}))
    until(lambda: len(desk.written("detections")) == 2)
    assert [json.loads(value)["n"] for value in desk.written("detections")] == [0, 1]
    alerts = [json.loads(value) for value in desk.written("alerts") if not value.startswith(b"xx")]  # of `limit`
    assert alerts == [neighbour]


def test_a_message_that_is_refused_while_others_are_made_ends_the_transaction(kafka: KafkaSettings) -> None:
    """The broker's answer may come before the last message is made: then too it is known which one was refused."""
    limit(kafka, "alerts", 4000)
    publisher = TransactionalPublisher(kafka, transactional_id="w1", client_id="w1", given_up=lambda: False)
    publisher.begin()
    large, topic = Sent(), topic_name(kafka.prefix, "alerts")

    def send_small(times: int) -> None:
        for _ in range(times):
            time.sleep(0.05)
            publisher.send(Sent(), topic, key=b"a", value=b"y")

    publisher.send(large, topic, key=b"a", value=b"x" * 5000)
    with pytest.raises(TransactionAborted, match="larger than Kafka"):
        send_small(200)
    assert large.refused is not None
    publisher.abort()
    publisher.discard()


def test_each_raise_has_its_own_picture(kafka: KafkaSettings, until: Callable[..., None]) -> None:
    """Raised, raised again and closed in one transaction: each message names the last picture before it.

    Also when the first try fails, and the pictures lie elsewhere in the second.
    """
    desk = Desk(kafka, interval_s=0.5)
    try:
        limit(kafka, "alerts", 4000)

        def work(name: str, *pictures: bytes) -> Work:
            def messages(places: Mapping[str, MessageReference]) -> list[Outgoing]:
                return [message("alerts", {"state": name, "at": places["a"].offset, "boxes": [[0.5] * 4] * 200})]

            evidence = tuple(
                Outgoing.image("evidence", key="a", value=one, id=f"a/{one!r}", source="/cameras/c", part="frame")
                for one in pictures
            )
            return Work(
                partition=0,
                lease=desk.commits.lease(0),
                offset=None,
                messages=messages,
                evidence=evidence,
                urgent=False,
            )

        desk.put_together(work("raised", b"1", b"crop"), work("seen"), work("again", b"2"), work("closed"))
        until(lambda: sum(not value.startswith(b"xx") for value in desk.written("alerts")) == 4)
        told = [json.loads(value) for value in desk.written("alerts") if not value.startswith(b"xx")]
        topic = topic_name(kafka.prefix, "evidence")
        pictures = {m.offset(): m.value() for m in read_to_end(kafka, topic, client_id="test")}
        assert [(one["state"], pictures.get(one["at"])) for one in told] == [
            ("raised", b"1"), ("seen", b"1"), ("again", b"2"), ("closed", b"2"),
        ]  # fmt: skip
        assert min(pictures) > 0, "the first try was refused for the size of its alerts"
    finally:
        desk.close()


def test_crop_does_not_stand_for_a_frame_that_is_too_large() -> None:
    """An alert refers to its frame or to nothing: readers take a crop for a picture of something else."""

    def image(alert: str, part: str) -> Outgoing:
        return Outgoing.image("evidence", key=alert, value=b"x", id=f"{alert}/1/{part}", source="/cameras/c", part=part)

    evidence = tuple(image(alert, part) for alert in ("a", "b") for part in ("frame", "crop"))
    work = Work(partition=3, lease=1, offset=7, messages=lambda _: [], evidence=evidence)
    sent = {(id(work), "evidence", number): (evidence[number], Sent(place=_place(number))) for number in (1, 2, 3)}
    assert pictured(work, sent) == {"b": (3, _place(2))}


def _place(offset: int) -> MessageReference:
    return MessageReference(topic="evidence", partition=0, offset=offset)


def test_of_the_states_of_an_alarm_the_last_in_a_transaction_is_written(
    kafka: KafkaSettings, until: Callable[..., None]
) -> None:
    """A reader of a compacted topic wants no other; alerts and results are written of every frame."""
    desk = Desk(kafka, interval_s=0.5)
    try:

        def work(number: int, *keys: str) -> Work:
            def state(key: str) -> Callable[[Mapping[str, MessageReference]], Outgoing]:
                value = json.dumps({"n": number})
                return lambda _: Outgoing.json("alarm-state", key=key, value=value, id=f"{key}/{number}", source="/c")

            result = message("detections", {"n": number})
            states = {key: state(key) for key in keys}
            lease = desk.commits.lease(0)
            return Work(partition=0, lease=lease, offset=None, messages=lambda _: [result], states=states)

        desk.put_together(work(1, "c/q1", "c/q2"), work(2, "c/q1"), work(3, "c/q1"), work(4, "c/q3"))
        until(lambda: len(desk.written("detections")) == 4)
        states = read_to_end(kafka, topic_name(kafka.prefix, "alarm-state"), client_id="test")
        found = sorted((m.key() or b"", json.loads(m.value() or b"")["n"]) for m in states)
        assert found == [(b"c/q1", 3), (b"c/q2", 1), (b"c/q3", 4)]
        desk.outbox.put(work(5, "c/q1"))
        until(lambda: len(desk.written("detections")) == 5)
        assert len(desk.written("alarm-state")) == 4, "the next transaction writes it again"
    finally:
        desk.close()


def test_work_of_an_earlier_lease_is_not_written(desk: Desk, until: Callable[..., None]) -> None:
    """What was begun before a partition went away is the next owner's business, even if that is this worker."""
    before = desk.commits.lease(0)
    desk.commits.revoke([0])
    desk.commits.assign({0: None})
    desk.put(message("detections", {"n": 1}), lease=before)
    desk.put(message("detections", {"n": 2}))
    until(lambda: desk.written("detections"))
    assert [json.loads(value)["n"] for value in desk.written("detections")] == [2]


def test_a_namesake_ends_the_older_worker(desk: Desk, until: Callable[..., None]) -> None:
    """Of two workers with one id the later goes on; the earlier writes nothing more and says what to do."""
    desk.put(message("detections", {"n": 1}))
    until(lambda: desk.written("detections"))
    later = Desk(desk.kafka)
    try:
        later.put(message("detections", {"n": 2}))
        until(lambda: len(desk.written("detections")) == 2)
        desk.put(message("detections", {"n": 3}))
        until(lambda: desk.outbox.failure)
        assert isinstance(desk.outbox.failure, ProducerFenced)
        assert "another worker with the id 'w1'" in str(desk.outbox.failure)
        assert [json.loads(value)["n"] for value in desk.written("detections")] == [1, 2]
    finally:
        later.close()


def test_a_worker_that_was_held_up_goes_on_and_counts_it(kafka: KafkaSettings, until: Callable[..., None]) -> None:
    """Its transaction is undone by the broker in the meantime: all of it is written again, once, by a new producer."""
    desk, calls = Desk(kafka, timeout_s=1.0), []
    fenced = REGISTRY.get_sample_value("simvg_worker_fenced_total") or 0.0

    def messages(places: object) -> list[Outgoing]:
        calls.append(places)
        if len(calls) == 1:  # waits until the broker has undone the transaction that is open now
            list(read_to_end(kafka, topic_name(kafka.prefix, "evidence"), client_id="test", settled=True))
        return [message("detections", {"n": 1})]

    picture = Outgoing.image("evidence", key="a", value=b"jpeg", id="a/1", source="/cameras/line-1", part="frame")
    try:
        desk.outbox.put(
            Work(partition=0, lease=desk.commits.lease(0), offset=None, messages=messages, evidence=(picture,))
        )
        until(lambda: desk.written("detections"), 60)
        assert desk.outbox.failure is None
        assert (desk.written("detections"), desk.written("evidence")) == ([b'{"n": 1}'], [b"jpeg"])
        assert REGISTRY.get_sample_value("simvg_worker_fenced_total") == fenced + 1
    finally:
        desk.close()


def test_a_worker_held_up_for_too_long_writes_nothing_late(kafka: KafkaSettings) -> None:
    """A transaction that outlasts its time-out is undone by the broker; the publisher says so and can go on anew."""
    publisher = TransactionalPublisher(
        kafka, transactional_id=f"{kafka.prefix}/slow", client_id="slow", given_up=lambda: False, timeout_s=1.0
    )
    topic = topic_name(kafka.prefix, "detections")
    publisher.begin()
    publisher.send(Sent(), topic, key=b"k", value=b"late")
    publisher.flush()
    list(read_to_end(kafka, topic, client_id="test", settled=True))  # waits until the broker has undone it
    with pytest.raises(ProducerFenced):
        publisher.commit([], None)
    assert publisher.overdue
    publisher.discard()
    publisher.begin()
    publisher.send(Sent(), topic, key=b"k", value=b"again")
    publisher.commit([], None)
    assert [found.value() for found in read_to_end(kafka, topic, client_id="test")] == [b"again"]
    publisher.discard()


def test_open_transactions_are_waited_for_on_request(kafka: KafkaSettings) -> None:
    """Reading to the settled end gives what lies behind an open transaction once it is over; else it is not there."""
    topic = topic_name(kafka.prefix, "detections")
    first, second = (
        TransactionalPublisher(
            kafka, transactional_id=f"{kafka.prefix}/{name}", client_id=name, given_up=lambda: False, timeout_s=30
        )
        for name in ("one", "two")
    )
    first.begin()
    first.send(Sent(), topic, key=b"k", value=b"open")
    first.flush()
    second.begin()
    second.send(Sent(), topic, key=b"k", value=b"behind it")
    second.commit([], None)
    assert list(read_to_end(kafka, topic, client_id="test")) == []

    def end() -> None:
        time.sleep(0.5)
        first.abort()

    ending = threading.Thread(target=end)
    ending.start()
    assert [m.value() for m in read_to_end(kafka, topic, client_id="test", settled=True)] == [b"behind it"]
    ending.join()
    first.discard()
    second.discard()


@pytest.mark.parametrize(
    ("topic", "value", "left"),
    [
        ("frames-rejected", b"image", b""),
        ("frames-rejected", b"", None),
        ("evidence", b"\xff\xd8", None),
        ("alarm-state", None, None),
        ("alerts", b'{"boxes":[],"id":"a"}', None),
    ],
    ids=["rejected", "rejected-empty", "picture", "tombstone", "nothing-to-cut"],
)
def test_what_can_be_taken_away(topic: TopicName, value: bytes | None, left: bytes | None) -> None:
    """A rejected message loses its bytes; what has nothing to lose is left out."""
    found = reduced(Outgoing(topic, b"k", value, []))
    assert (None if found is None else found.value) == left
