"""The model looks at several batches at once, slowly, or never answers; a real broker where there is a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from consumers.grounding.asking import Asking
from consumers.grounding.findings import Finding
from consumers.grounding.frames import Pixels
from consumers.grounding.scoring import Question, Scorer
from tests.consumers.grounding.colour import ColourEngine, HeldEngine
from tests.consumers.grounding.conftest import Line, picture
from tests.consumers.grounding.test_mailbox import shown
from tests.consumers.grounding.test_overload_watch import Plant

PIXELS = np.asarray(
    cv2.imdecode(np.frombuffer(picture(("red", (40, 30, 60, 50))), np.uint8), cv2.IMREAD_COLOR), np.uint8
)


class Overtaken(ColourEngine):
    """Its first batch is answered after the second."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []
        self.ended: list[int] = []
        self._turn = threading.Condition()

    def ground(self, views: Sequence[Pixels], texts: Sequence[Mapping[str, float]]) -> list[dict[str, Finding]]:
        with self._turn:
            number = len(self.calls)
            self.calls.append(number)
            if number == 0:
                self._turn.wait_for(lambda: 1 in self.ended, 30)
            answers = super().ground(views, texts)
            self.ended.append(number)
            self._turn.notify_all()
        return answers


def test_batches_that_overtake_are_judged_in_their_order(line: Line) -> None:
    """Two batches are with the model at once; the alarms see the frames of a camera in the order they were taken."""
    line.add("red")
    engine = Overtaken()
    worker = line.start(engine, batch_size=1, time_budget=None)
    line.until(lambda: worker.plan.active)
    line.camera().play("rrr...")
    line.wait_for_alerts("raised", "cleared", "closed")
    line.wait_for_frames(worker, 6)
    assert engine.ended.index(1) < engine.ended.index(0)
    assert [found.frame.sequence for found in line.detections()] == list(range(6))


def test_one_batch_at_a_time_where_frames_are_to_be_new(line: Line) -> None:
    """Under `latest` no batch is taken while the model looks at another: its frames would be older when they come."""
    line.add("red", cameras=("a", "b"))
    engine = HeldEngine()
    worker = line.start(engine, batch_size=1, time_budget=None, freshness="latest")
    line.until(lambda: worker.plan.active)
    for camera in (line.camera("a"), line.camera("b")):
        camera.play("rrr")
    line.until(lambda: engine.held.is_set() and worker.totals.fetched == 6)
    time.sleep(1.0)
    engine.go.set()
    line.wait_for_frames(worker, 6)
    assert engine.most == 1


def test_a_camera_is_not_silent_while_the_model_looks_at_its_frame(line: Line) -> None:
    """A slow model makes nobody blind; a camera that then sends nothing is."""
    line.add("red")
    engine = HeldEngine()
    engine.go.set()
    limits = [{"frozen_s": None, "blind_s": 1.5}]
    worker = line.start(engine, batch_size=1, time_budget=None, camera_limits=limits)
    line.until(lambda: worker.plan.active)
    camera = line.camera()
    camera.send()
    line.wait_for_frames(worker, 1)
    engine.hold()
    camera.send()
    line.until(engine.held.is_set)
    time.sleep(4.0)
    assert line.alerts() == []
    engine.go.set()
    line.wait_for_frames(worker, 2)
    [raised] = line.wait_for_alerts("raised")
    assert raised.query.id == "camera-blind"


def test_a_model_that_owes_an_answer_does_not_move() -> None:
    """With nothing asked it counts as moving, with an answer since the last look as well; else as stuck."""
    plant, engine = Plant(), HeldEngine()
    engine.compile(["red", "green"])
    asking = Asking(Scorer(engine), plant.watch, 1)
    asking.start()
    looks = plant.plan.looks("line-1")
    question = Question(shown(PIXELS), looks[:1])
    done = threading.Event()
    try:
        assert asking.moves() and asking.free(0.0)
        answers = asking.ask([question], 1, done.set)
        assert engine.held.wait(30)
        assert not asking.moves() and not asking.moves() and not asking.free(0.0)
        engine.go.set()
        [answered] = answers.result(30)
        assert done.wait(30) and asking.moves() and asking.free(30)
        assert answered.revision == 1 and not isinstance(answered.answer, Exception)
    finally:
        engine.go.set()
        asking.close()
