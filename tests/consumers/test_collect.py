"""`simvg alerts collect`: what it makes of what lies on the broker."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from consumers import collect_cli
from consumers.actions import publish_action
from consumers.collect import BLOCK_S, GUARD_S, collect, parts_of, set_of
from consumers.evidence import EvidenceReader
from consumers.judged import LeftOut, Lesson
from consumers.plant_set import DEFAULT_SHARES, SETS, Became, PlantSet
from infra.cloudevents import event_headers
from infra.contracts import AlertQuery, AlertState, Box, MessageReference, StandingQuery
from infra.errors import BadOperatorAction, BrokerUnavailable, SettingsError
from infra.kafka import Publisher
from infra.queries import QueryRegistry
from infra.settings import KafkaSettings
from infra.topics import topic_name
from simvg import app
from tests.consumers.test_alerts import publish
from tests.consumers.test_judged import LEFT, RIGHT, alert, entry, verdict

WIDTH, HEIGHT = 80, 60
ONE_SET = ("--val", "0", "--test", "0")


def picture(grey: int = 128) -> bytes:
    pixels = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    pixels[: HEIGHT // 2, : WIDTH // 2] = 255 - grey
    return bytes(cv2.imencode(".jpg", pixels)[1])


class Plant:
    """What workers and operators have left on the broker."""

    def __init__(self, kafka: KafkaSettings, out: Path) -> None:
        self.kafka, self.out = kafka, out

    def evidence(self, alert_id: str, image: bytes, number: int = 1, part: str = "frame") -> MessageReference:
        places: list[MessageReference] = []

        def noted(error: Exception | None, place: MessageReference | None) -> None:
            assert error is None and place is not None
            places.append(place)

        headers = event_headers("evidence", id=f"{alert_id}/{number}/{part}", source="/test")
        with Publisher(self.kafka, client_id="test") as publisher:
            topic = topic_name(self.kafka.prefix, "evidence")
            headers = [*headers, ("ce_part", part.encode())]
            publisher.send(topic, key=alert_id.encode(), value=image, headers=headers, on_delivery=noted)
            assert publisher.flush(10) == 0
        return places[0]

    def alert(self, id: str, *boxes: Box, seconds: float = 0.0, image: bytes | None = None, **facts: object) -> None:
        """Raised after so many seconds, closed five seconds later."""
        place = self.evidence(id, picture() if image is None else image)
        raised = alert(id, seconds, *boxes, **{"evidence": place} | facts)  # type: ignore[arg-type]
        closed = {"state": AlertState.CLOSED, "timeline": (*raised.timeline, entry("closed", seconds + 5))}
        publish(
            self.kafka, raised.model_dump_json().encode(), raised.model_copy(update=closed).model_dump_json().encode()
        )

    def judge(self, about: str, said: str, *, at: float = 100.0, boxes: tuple[Box, ...] | None = None) -> None:
        publish_action(self.kafka, verdict(about, said, at=at, boxes=boxes))

    def collect(self, *arguments: str) -> str:
        where = ["--kafka", self.kafka.bootstrap, "--topic-prefix", self.kafka.prefix, "--out", str(self.out)]
        done = CliRunner().invoke(app, ["alerts", "collect", *arguments, *where])
        if done.exception is not None:
            raise done.exception
        return done.output

    def said(self, name: str = "train") -> dict[str, list[list[float]]]:
        """By text."""
        found = self.document(name)
        boxes = {one["id"]: one["bbox"] for one in found["annotations"]}
        return {one["text"]: [boxes[id] for id in one["annotation_ids"]] for one in found["expressions"]}

    def document(self, name: str = "train") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / name / "annotations.json").read_text())
        return found


@pytest.fixture
def plant(kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    monkeypatch.setattr(collect_cli.console, "width", 300)
    return Plant(kafka, tmp_path / "plant")


def query(id: str = "q", text: str = "missing bolt", **facts: object) -> StandingQuery:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    return StandingQuery.model_validate({"id": id, "text": text, "created": at, "changed": at} | facts)


def test_nothing_to_collect_is_said_and_nothing_written(plant: Plant) -> None:
    """No alerts; none with a verdict; none of the camera, the query or the time that is asked for."""
    assert "no alerts are kept" in plant.collect()
    plant.alert("a-1", LEFT)
    assert "none of 1 alerts has a verdict; give one with `simvg alerts verdict ALERT true`" in plant.collect()
    plant.judge("a-1", "true")
    assert "none of the 1 alerts kept is of camera 'lime-1' (did you mean 'line-1'?)" in plant.collect(
        "--camera", "lime-1"
    )
    assert "none of the 1 alerts kept was raised in this time" in plant.collect("--until", "2026-11-01T00:00:00Z")
    assert not plant.out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--val", "0.5", "--test", "0.5"], "--val 0.5 --test 0.5: shares are from 0 on and below 1 together"),
        (["--val", "-0.1"], "--val -0.1 --test 0.2"),
        (["--val", "nan"], "--val nan"),
        (["--since", "1d", "--until", "2d"], "--since '1d' is not before --until '2d'"),
        (["--since", "soon"], "'soon' is no time"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(tmp_path: Path, arguments: list[str], says: str) -> None:
    """No broker is needed for it."""
    with pytest.raises(SettingsError, match=says.replace("(", r"\(")):
        Plant(KafkaSettings(bootstrap="127.0.0.1:1"), tmp_path).collect(*arguments)


def test_a_broker_that_is_away_and_a_file_in_the_way_are_told(tmp_path: Path) -> None:
    """As by every command."""
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        Plant(KafkaSettings(bootstrap="127.0.0.1:1"), tmp_path).collect()
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="file is a file, and a folder is needed"):
        Plant(KafkaSettings(bootstrap="127.0.0.1:1"), tmp_path / "file").collect()


def test_verdicts_become_texts_with_places(plant: Plant) -> None:
    """One picture, several texts, with the frame's own bytes; the last verdict counts."""
    for id, boxes in (("p", (LEFT,)), ("q", (RIGHT,)), ("r", ())):
        plant.alert(f"a-{id}", *boxes, query={"id": id, "text": f"text {id}", "revision": 1})
    plant.judge("a-p", "false", at=100)
    plant.judge("a-p", "true", at=90)
    plant.judge("a-p", "unsure", at=80)
    plant.judge("a-q", "true")
    plant.judge("a-r", "true")
    told = plant.collect("--whole-frames", *ONE_SET)
    assert (
        "texts: 3 new" in told and "3 alerts with a verdict: 3 in the sets (0 of them from before), 0 left out" in told
    )
    assert plant.said() == {"text p": [], "text q": [[56.0, 6.0, 8.0, 6.0]], "text r": []}
    (image,) = plant.document()["images"]
    assert (plant.out / "train/images" / image["file_name"]).read_bytes() == picture()
    assert (image["width"], image["height"]) == (WIDTH, HEIGHT)
    assert image["file_name"].startswith("line-1-20261127T120000.000Z-")
    assert {one["kind"] for one in plant.document()["expressions"]} == {"p", "q", "r"}


def test_running_it_again_adds_what_is_new(plant: Plant) -> None:
    """Changed verdicts change what they said, unsure ones take it back, a person's corrections stay; and pictures that
    are there need not be on the broker any more."""
    for number in range(4):
        plant.alert(f"a-{number}", LEFT, seconds=60 * number, image=picture(100 + number))
        plant.judge(f"a-{number}", "true")
    plant.collect("--whole-frames", *ONE_SET)
    ids = [one["id"] for one in plant.document()["expressions"]]
    told = plant.collect("--whole-frames")
    assert "texts: nothing new" in told and "4 in the sets (4 of them from before), 0 left out" in told
    found = plant.document()
    found["annotations"][-1]["bbox"] = [1, 1, 5, 5]
    by_hand = found["expressions"][-1]["alerts"][0]
    (plant.out / "train/annotations.json").write_text(json.dumps(found))
    others = sorted({f"a-{number}" for number in range(4)} - {by_hand})
    plant.judge(others[0], "false", at=200)
    plant.judge(others[1], "unsure", at=200)
    plant.judge(by_hand, "false", at=200)
    plant.alert("a-new", LEFT, seconds=600, image=picture(90))
    plant.judge("a-new", "true")
    told = plant.collect("--whole-frames")
    assert "1 changed with their verdicts" in told and "1 new" in told and "1 corrected by hand, left so" in told
    assert "1 taken back with their verdicts" in told and "   1 the verdict is unsure" in told
    found = plant.document()
    said = {one["alerts"][0]: len(one["annotation_ids"]) for one in found["expressions"]}
    assert said == {others[0]: 0, others[2]: 1, by_hand: 1, "a-new": 1}
    assert [1, 1, 5, 5] in [one["bbox"] for one in found["annotations"]]
    assert {one["id"] for one in found["expressions"]} - set(ids) != set()
    assert len(list((plant.out / "train/images").glob("*.jpg"))) == 4 == len(found["images"])
    assert "removed" not in plant.collect("--whole-frames", "--overwrite")
    assert [1, 1, 5, 5] not in [one["bbox"] for one in plant.document()["annotations"]]


def test_the_same_words_on_the_same_picture_are_said_once(plant: Plant) -> None:
    """As where a clip is played again and again: the last verdict counts, also when it is all run again."""
    for number, said in enumerate(("true", "false", "true")):
        plant.alert(f"a-{number}", LEFT, seconds=3600 * number)
        plant.judge(f"a-{number}", said, at=200 if number == 1 else 100)
    told = plant.collect("--whole-frames", *ONE_SET)
    assert plant.said() == {"missing bolt": []}
    assert "   2 the same words on the same picture were judged again later" in told and "1 in the sets" in told
    assert "texts: nothing new" in plant.collect("--whole-frames") and plant.said() == {"missing bolt": []}


def test_what_is_left_out_is_counted_with_its_reason(plant: Plant) -> None:
    """No picture any more, another one in its place, one that is none, none that was ever kept, and the rest."""
    gone = MessageReference(topic=topic_name(plant.kafka.prefix, "evidence"), partition=0, offset=10_000)
    nowhere = gone.model_copy(update={"partition": 77})
    for number, (id, place) in enumerate((("a-gone", gone), ("a-nowhere", nowhere), ("a-bare", None))):
        publish(plant.kafka, alert(id, 60.0 * number, LEFT, evidence=place).model_dump_json().encode())
    plant.alert("a-none", LEFT, seconds=300, image=b"no picture")
    plant.alert("a-empty", LEFT, seconds=360, image=b"")
    plant.alert("a-foreign", LEFT, seconds=420, evidence=plant.evidence("a-other", picture()))
    plant.alert("a-crop", LEFT, seconds=480, evidence=plant.evidence("a-crop", picture(), part="crop"))
    plant.alert("a-later", LEFT, seconds=540, evidence=plant.evidence("a-later", picture(), number=2))
    publish(plant.kafka, b"broken")
    for id in ("gone", "nowhere", "bare", "none", "empty", "foreign", "crop", "later", "unknown"):
        plant.judge(f"a-{id}", "false")
    told = plant.collect("--whole-frames")
    assert "8 alerts with a verdict: 0 in the sets (0 of them from before), 8 left out" in told
    for count, why in ((2, LeftOut.GONE), (2, LeftOut.UNREADABLE), (3, LeftOut.FOREIGN), (1, LeftOut.NO_PICTURE)):
        assert f"{count:>6} {why}" in told
    assert "1 more verdicts were never collected, and their alerts are no longer kept" in told
    assert "1 messages on the alerts topic cannot be read; `simvg alerts` shows them" in told


def test_region_is_cut_out_as_the_worker_sees_it(plant: Plant, registry: QueryRegistry) -> None:
    """Boxes go with it; an earlier revision is told, a removed query left out, a registry that is away refused."""
    registry.add(query(region=(0.5, 0.0, 1.0, 0.5)))
    plant.alert("a-1", RIGHT)
    plant.alert("a-2", LEFT, query={"id": "gone", "text": "red cap", "revision": 1})
    plant.alert("a-3", RIGHT, seconds=60, image=picture(90), query={"id": "q", "text": "missing bolt", "revision": 9})
    plant.judge("a-1", "true")
    plant.judge("a-2", "true")
    plant.judge("a-3", "true", boxes=(LEFT,))
    told = plant.collect(*ONE_SET)
    assert plant.said() == {"missing bolt": [[16.0, 6.0, 8.0, 6.0]]}
    (image,) = plant.document()["images"]
    assert (image["width"], image["height"]) == (40, 30)
    saved = cv2.imread(str(plant.out / "train/images" / image["file_name"]))
    assert saved is not None and saved.shape == (30, 40, 3) and abs(int(saved.mean()) - 128) < 3
    assert f"   1 {LeftOut.QUERY_GONE}" in told and f"   1 {LeftOut.OUTSIDE}" in told
    with pytest.raises(SettingsError, match=r"tiles the queries have is not known: .*--whole-frames takes"):
        plant.collect("--redis", "redis://127.0.0.1:1/0")


def test_an_edited_query_is_told(plant: Plant, registry: QueryRegistry) -> None:
    """The region is the one that it has now."""
    registry.add(query())
    plant.alert("a-1", RIGHT, query={"id": "q", "text": "missing bolt", "revision": 9})
    plant.judge("a-1", "true")
    assert "1 alerts are of an earlier revision of their query" in plant.collect(*ONE_SET)


def test_picture_that_its_exif_turns_is_stored_turned(plant: Plant) -> None:
    """The worker reads it as stored, so boxes are of that: readers who turn it must see the same."""
    turned, stored = io.BytesIO(), Image.open(io.BytesIO(picture()))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(turned, "JPEG", quality=95, exif=exif)
    plant.alert("a-1", LEFT, image=turned.getvalue())
    plant.judge("a-1", "true")
    plant.collect("--whole-frames", *ONE_SET)
    (image,) = plant.document()["images"]
    saved = cv2.imread(str(plant.out / "train/images" / image["file_name"]))
    assert saved is not None and saved.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(saved.astype(int) - cv2.imdecode(np.frombuffer(picture(), np.uint8), 1).astype(int)).max() < 12
    assert plant.said() == {"missing bolt": [[8.0, 6.0, 8.0, 6.0]]}


def test_sets_are_apart_in_time(plant: Plant, tmp_path: Path) -> None:
    """A span of time is of one set, and what lies beside the border of two is of none; each gets about its share."""
    start = datetime(2026, 11, 27, tzinfo=UTC)
    assert start.timestamp() % BLOCK_S == 0
    times = [start + timedelta(seconds=10 * number) for number in range(8640)]
    sets = [set_of(at, DEFAULT_SHARES) for at in times]
    for name in SETS:
        assert abs(sets.count(name) / len(sets) - DEFAULT_SHARES[name]) < 0.03
    assert 0 < sets.count(None) / len(sets) < 0.06
    for at, one, after in zip(times, sets, sets[1:], strict=False):
        assert one == after or None in (one, after), at
        assert one is not None or min(at.timestamp() % BLOCK_S, BLOCK_S - at.timestamp() % BLOCK_S) <= GUARD_S
    only = {"train": 1.0, "val": 0.0, "test": 0.0}
    assert {set_of(at, only) for at in times} == {"train"}


class Pictures(EvidenceReader):
    """One picture, or none any more."""

    def __init__(self, image: bytes | None) -> None:
        self.image, self.asked = image, 0

    def frame(self, alert_id: str, place: MessageReference, number: int | None = None) -> bytes | None:
        self.asked += 1
        return self.image


def lesson(*boxes: Box, said: str = "said", shown: tuple[Box, ...] = ()) -> Lesson:
    at = datetime(2026, 11, 27, 0, 5, tzinfo=UTC)
    place = MessageReference(topic="evidence", partition=0, offset=0)
    query = AlertQuery(id="q", text="bolt", revision=1)
    return Lesson("line-1", query, at, boxes, shown, said, at, (("a-1", place, 1),))


def test_what_is_no_longer_true_goes_though_its_picture_is_gone(tmp_path: Path) -> None:
    """A changed verdict takes back what the one before said; unchanged, it asks for no picture."""
    sets = PlantSet(tmp_path, None)
    assert collect([lesson(LEFT)], sets, Pictures(picture()), None).became == {Became.NEW: 1}
    sets.save()
    again = Pictures(None)
    done = collect([lesson(RIGHT)], PlantSet(tmp_path, None), again, None)
    assert (done.before, again.asked, done.left_out.total()) == (1, 0, 0), "other boxes, as after compaction"
    sets = PlantSet(tmp_path, None)
    done = collect([lesson(said="other")], sets, again, None)
    assert (done.taken_back, done.left_out) == (1, {LeftOut.GONE: 1})
    assert sets.figures()["train"] == sets.figures()["val"] == sets.figures()["test"] == (0, 0, 0)


def test_writing_anew_takes_nothing_back_of_which_the_picture_is_gone(tmp_path: Path) -> None:
    """`--overwrite` is for what people have changed: what was said stands for longer than Kafka keeps pictures."""
    sets = PlantSet(tmp_path, None)
    collect([lesson(LEFT)], sets, Pictures(picture()), None)
    sets.save()
    before = sets.figures()
    sets = PlantSet(tmp_path, None)
    done = collect([lesson(LEFT)], sets, Pictures(None), None, overwrite=True)
    assert (done.taken_back, done.before, done.left_out.total()) == (0, 1, 0)
    assert sets.figures() == before and sets.said_of("a-1") == "said"


TILES = [(0, 0, 45, 60), (35, 0, 80, 60)]


@pytest.mark.parametrize(
    ("boxes", "shown", "found"),
    [
        ((LEFT,), (LEFT,), [(TILES[0], ((8.0, 6.0, 8.0, 6.0),))]),
        ((LEFT, RIGHT), (LEFT,), [(TILES[0], ((8.0, 6.0, 8.0, 6.0),)), (TILES[1], ((21.0, 6.0, 8.0, 6.0),))]),
        (((0.4, 0.1, 0.5, 0.2),), (), [(TILES[0], ((32.0, 6.0, 8.0, 6.0),))]),
        (((0.3, 0.1, 0.6, 0.2),), (), LeftOut.CUT),
        ((), (RIGHT,), [(TILES[1], ())]),
        ((), (), [(TILES[0], ()), (TILES[1], ())]),
        (((0.0, 0.0, 1e-6, 1e-6),), (), [(TILES[0], ((0.0, 0.0, 1.0, 1.0),))]),
    ],
    ids=["one", "two", "cut-in-one", "cut-in-all", "false-alarm", "rightly-missed", "a-speck"],
)
def test_tiles_are_cut_out_where_they_show_things_whole(
    boxes: tuple[Box, ...], shown: tuple[Box, ...], found: object
) -> None:
    """A tile that shows a part of a thing would teach that the part is the thing, or that it is none."""
    assert parts_of(lesson(*boxes, shown=shown), TILES, WIDTH, HEIGHT) == found


def test_a_folder_that_takes_no_files_is_told(plant: Plant) -> None:
    """With its name, before a picture is fetched."""
    plant.alert("a-1", LEFT)
    plant.judge("a-1", "true")
    plant.out = Path("/proc/plant")
    with pytest.raises(SettingsError, match=r"--out /proc/plant cannot be written"):
        plant.collect("--whole-frames")


def test_an_action_that_no_reader_would_take_is_not_sent(kafka: KafkaSettings) -> None:
    """Thousands of boxes: the verdict would be skipped by all who read it."""
    boxes = tuple((0.1, 0.1, 0.2 + number * 1e-7, 0.2) for number in range(3000))
    with pytest.raises(BadOperatorAction, match=r"message has \d+ bytes; an action has at most 64000"):
        publish_action(kafka, verdict("a-1", "true", boxes=boxes))
