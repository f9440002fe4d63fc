"""A worker on a real broker and a real Redis: frames in, alerts out."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from prometheus_client import REGISTRY

from infra.contracts import MessageReference
from tests.consumers.grounding.colour import ColourEngine, HeldEngine
from tests.consumers.grounding.conftest import HEIGHT, WIDTH, Line


def test_right_frames_give_the_right_alert(line: Line) -> None:
    """A red square that comes and goes is one alert: raised, cleared, closed, at the right place and frames."""
    line.add("red")
    line.start()
    line.camera().play("..rrrrr....")
    raised, cleared, closed = line.wait_for_alerts("raised", "cleared", "closed")
    assert {raised.id, cleared.id, closed.id} == {raised.id}
    assert (raised.onset.sequence, raised.frame.sequence, cleared.frame.sequence) == (2, 4, 8)
    assert raised.query.text == "red" and raised.camera == "line-1"
    assert raised.reason == "score 0.97 at or above 0.80 in 3 of 3 frames"
    (box,) = raised.boxes
    assert np.allclose(np.array(box) * [WIDTH, HEIGHT, WIDTH, HEIGHT], [40, 30, 60, 50], atol=2)
    assert [str(entry.state) for entry in closed.timeline] == ["raised", "cleared", "closed"]


@pytest.mark.parametrize("halves", [False, True], ids=["every pixel", "half of them"])
def test_evidence_can_be_read_at_its_reference(line: Line, halves: bool) -> None:
    """The alert's evidence is the very frame that raised it; the crop beside it shows what was found, pixel by pixel,
    however few of them the model looks at."""
    line.add("red")
    engine = ColourEngine()
    engine.halves = halves
    line.start(engine)
    line.camera().play("rrr")
    (raised,) = line.wait_for_alerts("raised")
    evidence = {place: (key, value, headers) for place, key, value, headers in line.messages("evidence")}
    frames = {(place.partition, place.offset): value for place, _, value, _ in line.messages("frames")}
    assert raised.evidence is not None
    key, value, headers = evidence[raised.evidence]
    assert key == raised.id.encode()
    assert headers["content-type"] == b"image/jpeg" and headers["ce_part"] == b"frame"
    assert value == frames[raised.frame.partition, raised.frame.offset]
    crop_at = raised.evidence.model_copy(update={"offset": raised.evidence.offset + 1})
    crop = cv2.imdecode(
        np.frombuffer(evidence[MessageReference(**crop_at.model_dump())][1], np.uint8), cv2.IMREAD_COLOR
    )
    assert crop is not None and HEIGHT // 2 < crop.shape[0] < HEIGHT
    assert engine.views[-1] == ((WIDTH // 2, HEIGHT // 2) if halves else (WIDTH, HEIGHT))


def test_detections_tell_of_every_scored_frame(line: Line) -> None:
    """Each scored frame has its detections: reference, states, scores, boxes, stages, model and revision."""
    query = line.add("red")
    worker = line.start()
    line.camera().play(".r")
    line.wait_for_frames(worker, 2)
    line.until(lambda: len(line.detections()) == 2)
    absent, present = sorted(line.detections(), key=lambda d: d.frame.sequence)
    assert [str(r.state) for d in (absent, present) for r in d.results] == ["absent", "present"]
    assert absent.results[0].boxes == () and len(present.results[0].boxes) == 1
    assert present.model == "colour-1" and present.query_set_revision == query.revision
    assert {"transport", "decode", "queue", "ground"} <= set(present.stage_ms)


def test_no_queries_is_no_fault(line: Line) -> None:
    """Without a query frames are counted as asked for by nobody, and nothing is sent."""
    worker = line.start()
    line.camera().play("rrrr")
    line.wait_for_frames(worker, 4)
    assert worker.totals.skipped == {"no_query": 4}
    assert line.detections() == []


def test_query_added_at_run_time_becomes_active(line: Line) -> None:
    """A query takes effect while frames flow, without a restart, and the worker reports its revision."""
    worker = line.start()
    camera = line.camera()
    camera.play("rr")
    line.wait_for_frames(worker, 2)
    query = line.add("red")
    line.until(lambda: line.registry.workers().get("w0") == query.revision)
    camera.play("rrr")
    (raised,) = line.wait_for_alerts("raised")
    assert raised.onset.sequence == 2


def test_removed_query_closes_its_alert(line: Line) -> None:
    """A query that goes while its alert is open closes it, with the reason, though no frame comes."""
    query = line.add("red")
    line.start()
    line.camera().play("rrr")
    line.wait_for_alerts("raised")
    line.registry.remove("red", query.revision)
    _, closed = line.wait_for_alerts("raised", "closed")
    assert closed.reason == "closed because the query was removed"
    assert closed.cleared_at is None


def test_edited_query_closes_and_raises_anew(line: Line) -> None:
    """An edit ends the episode under the old revision; the condition then raises a new alert under the new one."""
    query = line.add("red")
    line.start()
    camera = line.camera()
    camera.play("rrr")
    line.wait_for_alerts("raised")
    edited = line.registry.update("red", query.revision, {"raise_threshold": 0.9})
    line.wait_for_alerts("raised", "closed")
    camera.play("rrr")
    line.until(lambda: len(line.alerts()) == 3)
    again = next(a for a in line.alerts() if a.query.revision == edited.revision)
    assert str(again.state) == "raised" and again.onset.sequence == 3


def test_query_the_model_refuses_does_not_stop_the_others(line: Line) -> None:
    """A text that the model cannot take is reported with the reason; the other queries go on."""
    line.add("flux compensator", id="strange")
    line.add("red")
    worker = line.start()
    line.camera().play("rrr")
    line.wait_for_alerts("raised")
    assert dict(worker.plan.refused) == {"strange": "the model does not know 'flux compensator'"}


def test_shadow_query_is_scored_and_raises_nothing(line: Line) -> None:
    """A query in shadow mode is in the detections and sends no alert; what it would have sent is counted."""
    states = ("raised", "cleared", "closed")

    def counted() -> list[float]:
        labels = ({"camera": "line-1", "state": state, "mode": "shadow"} for state in states)
        return [REGISTRY.get_sample_value("simvg_worker_alerts_total", one) or 0.0 for one in labels]

    before = counted()
    line.add("red", mode="shadow")
    worker = line.start()
    line.camera().play("rrrr...")
    line.wait_for_frames(worker, 7)
    line.until(lambda: len(line.detections()) == 7)
    line.until(lambda: counted() == [count + 1 for count in before])
    assert line.alerts() == [] and line.messages("evidence") == []


def test_unknown_frames_hold_the_alarm(line: Line) -> None:
    """Frames that cannot be judged are unknown in the detections and neither raise nor clear."""
    line.add("red")
    worker = line.start()
    camera = line.camera()
    black = bytes(cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1])
    camera.play("rr")
    camera.send(image=black)
    camera.play("r")
    for _ in range(4):
        camera.send(image=black)
    line.wait_for_frames(worker, 8)
    line.until(lambda: len(line.detections()) == 8)
    line.wait_for_alerts("raised")
    unknown = [d.results[0] for d in line.detections() if d.results[0].score is None]
    assert len(unknown) == 5 and unknown[0].reason == "frame is black"


def test_region_and_tiles_are_mapped_back(line: Line) -> None:
    """A query sees its region only, in tiles; its boxes are on the full frame, one per object."""
    line.add("red", id="left", region=(0.0, 0.0, 0.5, 1.0), tiles=(2, 2), on_delay={"value": 1})
    line.add("red", id="right", region=(0.5, 0.0, 1.0, 1.0), on_delay={"value": 1})
    engine = ColourEngine()
    line.start(engine)
    engine.views.clear()  # those of the calibration
    line.camera().play("r")
    (raised,) = line.wait_for_alerts("raised")
    assert raised.query.id == "left"
    (box,) = raised.boxes
    assert np.allclose(np.array(box) * [WIDTH, HEIGHT, WIDTH, HEIGHT], [40, 30, 60, 50], atol=2)
    assert len(engine.views) == 5


def test_queries_that_share_a_view_share_its_pass(line: Line) -> None:
    """Three queries on the whole frame cost one view."""
    for colour in ("red", "green", "blue"):
        line.add(colour)
    engine = ColourEngine()
    worker = line.start(engine)
    engine.views.clear()  # those of the calibration
    line.camera().play("r")
    line.wait_for_frames(worker, 1)
    assert engine.views == [(WIDTH, HEIGHT)]


def test_restarted_camera_begins_a_new_episode(line: Line) -> None:
    """A camera that numbers its frames anew closes the open alert; a new one may follow."""
    line.add("red")
    line.start()
    line.camera(epoch="e1").play("rrr")
    line.wait_for_alerts("raised")
    line.camera(epoch="e2").play("rrr")
    line.until(lambda: len(line.alerts()) == 3)
    states = {(a.onset.sequence, a.onset.offset, str(a.state)) for a in line.alerts()}
    assert states == {(0, 0, "raised"), (0, 0, "closed"), (0, 3, "raised")}


def test_number_far_too_high_stops_no_alarm(line: Line) -> None:
    """One frame numbered a trillion; what comes after it is judged as before."""
    line.add("red")
    line.start()
    camera = line.camera()
    camera.send("red", sequence=10**12)
    camera.play("rr..")
    raised, *_ = line.wait_for_alerts("raised", "cleared", "closed")
    assert (raised.onset.sequence, raised.frame.sequence) == (10**12, 2)


def test_expired_frames_are_counted_and_not_scored(line: Line) -> None:
    """A frame past its expiry is never scored, even where none may be skipped for being behind."""
    line.add("red")
    worker = line.start()
    camera = line.camera()
    for _ in range(3):
        camera.send("red", expires_ns=time.time_ns() - 1)
    camera.send()
    line.wait_for_frames(worker, 4)
    assert (worker.totals.scored, worker.totals.skipped) == (1, {"expired": 3})


def test_late_alert_says_so(line: Line) -> None:
    """Under 'every' an old frame is scored, and the alert says how late it was decided."""
    line.add("red")
    line.start()
    camera = line.camera()
    for _ in range(3):
        camera.send("red", captured_ns=time.time_ns() - 60_000_000_000)
    (raised,) = line.wait_for_alerts("raised")
    assert raised.reason.startswith("score 0.97 at or above 0.80 in 3 of 3 frames; decided 6")


def test_latest_jumps_to_the_newest_and_counts_the_rest(line: Line) -> None:
    """After a backlog only the newest frame of each camera is scored; all others are counted as behind."""
    line.add("red")
    cameras = [line.camera("line-1"), line.camera("line-2"), line.camera("line-3")]
    for camera in cameras:
        camera.play("." * 40)
    # A model that answers by itself sees as much of the backlog as the machine happens to fetch meanwhile.
    engine = HeldEngine()
    worker = line.start(engine, freshness="latest", time_budget=None)
    line.until(lambda: worker.totals.fetched == 120)
    engine.go.set()
    line.wait_for_frames(worker, 120)
    assert worker.totals.scored + worker.totals.skipped["behind"] == 120
    line.until(lambda: len(line.detections()) == worker.totals.scored)
    newest = {d.camera: d.frame.sequence for d in sorted(line.detections(), key=lambda d: d.frame.sequence)}
    assert newest == {"line-1": 39, "line-2": 39, "line-3": 39}
    assert worker.totals.scored <= 12


def test_slow_model_skips_under_latest_and_never_under_every(line: Line) -> None:
    """Under overload 'latest' skips and stays fresh; 'every' scores all, in order, whatever the queue."""
    line.add("red")
    rules = [{"cameras": "press-*", "freshness": "every"}]
    worker = line.start(
        ColourEngine(seconds_per_batch=0.02), freshness="latest", freshness_rules=rules, queue_bytes=4_000, batch_size=2
    )
    press, belt = line.camera("press-1"), line.camera("belt-1")
    for _ in range(30):
        press.play(".")
        belt.play(".")
    line.wait_for_frames(worker, 60)
    line.until(lambda: len(line.detections()) == worker.totals.scored)
    order = [d.frame.sequence for d in line.detections() if d.camera == "press-1"]
    assert order == list(range(30))
    belt_scored = sum(d.camera == "belt-1" for d in line.detections())
    assert belt_scored + worker.totals.skipped.get("behind", 0) == 30


def pauses() -> float:
    """How often fetching was paused, by any worker of this process."""
    return REGISTRY.get_sample_value("simvg_worker_pauses_total") or 0.0


def test_backlog_is_fetched_once(line: Line) -> None:
    """What waits under 'every' waits in the worker: the Kafka client throws away what it has fetched of a partition
    that is paused, and each pause has megabytes fetched again."""
    line.add("red")
    line.camera().play("." * 120)
    before = pauses()
    worker = line.start(ColourEngine(seconds_per_batch=0.01), freshness="every", batch_size=2)
    line.wait_for_frames(worker, 120)
    line.until(lambda: len(line.detections()) == 120)
    assert pauses() == before


def test_full_worker_goes_on_where_it_paused(line: Line) -> None:
    """A partition of more bytes than may wait is paused and taken up again until all of it is scored, in order."""
    line.add("red")
    line.camera().play("." * 60)
    before = pauses()
    worker = line.start(ColourEngine(seconds_per_batch=0.01), freshness="every", batch_size=2, queue_bytes=8_000)
    line.wait_for_frames(worker, 60)
    line.until(lambda: len(line.detections()) == 60)
    assert [d.frame.sequence for d in line.detections()] == list(range(60))
    assert pauses() > before


def test_rate_is_kept_and_counted(line: Line) -> None:
    """A query at 2 frames/s on a camera of 10 frames/s leaves the others out, by capture time, with the reason."""
    line.add("red", rate=2.0)
    worker = line.start()
    camera = line.camera()
    start = time.time_ns() // 1_000_000_000 * 1_000_000_000
    for number in range(20):
        camera.send(captured_ns=start + number * 100_000_000)
    line.wait_for_frames(worker, 20)
    assert (worker.totals.scored, worker.totals.skipped) == (4, {"rate": 16})
