"""What became of every frame stands beside the committed offsets, whoever worked on it and however that ended."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumers.grounding.offsets import Mark
from infra.topics import topic_name
from tests.consumers.grounding.conftest import Line
from tests.consumers.grounding.test_faults import spawn


def committed(line: Line) -> dict[int, Mark]:
    """What the workers' group has committed, by partition; nothing while that is open: where a worker was killed within
    a transaction, until the broker has undone that."""
    frames = topic_name(line.kafka.prefix, "frames")
    reader = Consumer({"bootstrap.servers": line.kafka.bootstrap, "group.id": line.settings().group})
    try:
        parts = reader.committed([TopicPartition(frames, partition) for partition in (0, 1)], timeout=10)
        return {part.partition: Mark.read(part.offset, part.metadata) for part in parts if part.offset >= 0}
    except KafkaException as error:
        if error.args[0].code() != KafkaError._TIMED_OUT:
            raise
        return {}
    finally:
        reader.close()


def test_fates_add_up_to_what_was_published(line: Line, tmp_path: Path) -> None:
    """Two workers under load, both killed and replaced: published = scored + skipped + rejected, with no remainder."""
    line.changes |= {"freshness": "latest", "session_timeout_s": 3.0, "group": f"g-{line.kafka.prefix}"}
    line.add("red", cameras=("line-*",))
    workers = [spawn(line, tmp_path, "f0"), spawn(line, tmp_path, "f1")]
    cameras = [line.camera(f"line-{number}") for number in range(4)] + [line.camera("watched-by-nobody")]
    published = 0
    try:
        for number in range(60):
            for camera in cameras:
                camera.send("red", **({"image": b"torn"} if number % 20 == 19 else {}))
                published += 1
            if number == 30:
                line.until(lambda: sum(count for m in committed(line).values() for _, count in m.fates) > 50, 90)
                for worker in workers:  # both: whoever comes next has a backlog to skip
                    worker.kill()
                    worker.wait()
                workers += [spawn(line, tmp_path, "f2"), spawn(line, tmp_path, "f3")]
        line.until(lambda: sum(mark.offset for mark in committed(line).values()) == published, 90)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    marks = committed(line)
    fates: Counter[str] = Counter()
    for mark in marks.values():
        fates.update(dict(mark.fates))
    assert fates.total() == published
    scored = [(found.frame.partition, found.frame.offset) for found in line.detections()]
    assert fates["scored"] == len(scored) == len(set(scored))
    rejected = [name for name in fates if name.startswith("rejected_")]
    assert sum(fates[name] for name in rejected) == len(line.messages("frames-rejected"))
    assert fates["skipped_no_query"] and fates["skipped_behind"], fates
