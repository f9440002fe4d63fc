"""How workers share the cores with what runs beside them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from consumers.grounding.cli import run_worker
from consumers.grounding.settings import WorkerSettings
from infra.errors import SettingsError
from infra.scheduling import as_batch_work


def test_worker_computes_as_batch_work(tmp_path: Path) -> None:
    """From the first on: the policy is handed down to the threads that the model and the clients begin."""

    def policy() -> int:
        with pytest.raises(SettingsError, match=r"nothing"):
            run_worker(WorkerSettings(model=tmp_path / "nothing"), Event())
        return os.sched_getscheduler(0)

    with ThreadPoolExecutor(1) as alone:  # the policy is a thread's
        assert alone.submit(policy).result() == os.SCHED_BATCH
    assert os.sched_getscheduler(0) != os.SCHED_BATCH


def test_refusal_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sandbox does not allow it, the worker works all the same."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = os.sched_getscheduler(0)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    as_batch_work()
    assert os.sched_getscheduler(0) == before
