"""Live and ready: what is judged, what is excused, and what is said."""

from __future__ import annotations

import json
import threading

import pytest

from infra.health import BrokerProbe, Pulses, answer
from infra.process import free_port
from infra.settings import KafkaSettings
from infra.telemetry import start_metrics
from tests.infra.test_telemetry import _get


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_thread_that_never_moved_is_not_judged() -> None:
    """What is waited for at the start is a matter of readiness."""
    clock = Clock()
    pulses = Pulses({"loop": 5.0}, clock=clock)
    clock.now = 100.0
    assert pulses.checks() == {"loop": None}


def test_stuck_thread_is_named_with_its_silence() -> None:
    """At the limit it is well, over it stuck; one move later well again."""
    clock = Clock()
    pulses = Pulses({"loop": 5.0}, clock=clock)
    pulses.beat("loop")
    clock.now = 5.0
    assert pulses.checks() == {"loop": None}
    clock.now = 9.0
    assert pulses.checks() == {"loop": "has not moved for 9 s; the limit is 5 s"}
    assert pulses.checks(excused={"loop": True}) == {"loop": None}
    pulses.beat("loop")
    assert pulses.checks() == {"loop": None}


def test_thread_that_ended_is_told_at_once() -> None:
    """Unless its work is over; waiting for something outside is no excuse for having ended."""
    pulses = Pulses({"loop": 5.0}, clock=Clock())
    thread = threading.Thread(target=pulses.beat, args=("loop",))
    thread.start()
    thread.join()
    assert pulses.checks(excused={"loop": True}) == {"loop": "has ended though its work has not; only a restart helps"}
    assert pulses.checks(over=["loop"]) == {"loop": None}


def test_unknown_thread_is_our_own_error() -> None:
    """A thread without a limit would never be judged."""
    with pytest.raises(AssertionError, match="no limit"):
        Pulses({}).beat("loop")


def test_probe_asks_now_and_then_only(kafka: KafkaSettings) -> None:
    """A real broker answers; in between its last answer stands."""
    clock = Clock()
    probe = BrokerProbe(kafka, every_s=5.0, clock=clock)
    assert probe.fault() is None
    probe._kafka = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")
    probe._admin = None
    clock.now = 4.0
    assert probe.fault() is None
    clock.now = 5.0
    assert "no Kafka broker answers" in (probe.fault() or "")


def test_answer_holds_no_credentials() -> None:
    """All well or not, each check with its reason."""
    well, body = answer({"redis": "redis://u:hush@h is away", "loop": None})
    assert not well
    assert json.loads(body) == {"ok": False, "checks": {"redis": "redis://***@h is away", "loop": "ok"}}
    assert json.loads(answer({})[1]) == {"ok": True, "checks": {}}


def test_both_are_served_with_their_status() -> None:
    """200 while all is well, 503 otherwise, each on its own page."""
    with start_metrics(0, live=lambda: {"loop": None}, ready=lambda: {"broker": "is away"}) as server:
        status, body = _get(server.port, "/livez")
        assert (status, json.loads(body)["ok"]) == (200, True)
        status, body = _get(server.port, "/readyz")
        assert (status, json.loads(body)["checks"]) == (503, {"broker": "is away"})
