"""How the benchmark of transactions waits for its worker."""

from __future__ import annotations

import threading

import pytest

from benchmarks.transactions import alive


def test_a_worker_that_has_ended_is_not_waited_for() -> None:
    """Its results would never come."""
    over = threading.Event()
    worker = threading.Thread(target=over.wait)
    worker.start()
    assert alive(worker)
    over.set()
    worker.join()
    with pytest.raises(SystemExit, match="the worker has ended"):
        alive(worker)
