"""What a transactional publisher says of a Kafka that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from infra import transactions
from infra.process import free_port
from infra.settings import KafkaSettings
from infra.transactions import TransactionalPublisher

Until = Callable[[Callable[[], object]], None]


def _publisher(given_up: threading.Event) -> TransactionalPublisher:
    return TransactionalPublisher(
        KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"),
        transactional_id="t",
        client_id="t",
        given_up=given_up.is_set,
    )


def test_what_is_waited_for_is_said(
    until: Until, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a broker it goes on asking until it is given up, and says meanwhile what for; nothing is stuck."""
    monkeypatch.setattr(transactions, "PATIENCE_SECONDS", 0.1)
    given_up = threading.Event()
    publisher = _publisher(given_up)
    failed: list[BaseException] = []

    def begin() -> None:
        try:
            publisher.begin()
        except BaseException as error:
            failed.append(error)

    assert publisher.waits is None
    asking = threading.Thread(target=begin)
    asking.start()
    until(lambda: "results wait: Kafka was asked to end what an earlier producer" in caplog.text)
    assert "asked to end what an earlier producer of this name has left open" in (publisher.waits or "")
    assert publisher.stuck is None
    given_up.set()
    asking.join()
    assert [type(error).__name__ for error in failed] == ["BrokerUnavailable"]
    assert publisher.waits is None


def test_a_call_that_never_returns_is_said(until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is trusted to return in half a second; one that does not ends the worker, which is started anew."""
    monkeypatch.setattr(transactions, "STUCK_SECONDS", 0.05)
    publisher, over = _publisher(threading.Event()), threading.Event()
    calling = threading.Thread(target=publisher._call, args=(over.wait,))
    calling.start()
    until(lambda: publisher.stuck is not None)
    assert "does not return" in str(publisher.stuck)
    over.set()
    calling.join()
    assert publisher.stuck is None
