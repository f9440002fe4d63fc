"""How the operating system shares its cores out to this process."""

from __future__ import annotations

import logging
import os

logger = logging.getLogger(__name__)


def as_batch_work() -> None:
    """Threads of this process, those to come as well, wait for the end of a time slice when they wake, a few
    milliseconds, in place of interrupting whoever computes (`SCHED_BATCH`, Linux).

    For a process that keeps all cores busy with its computations: they lose their caches less often, and brokers and
    cameras on the same machine go first. Elsewhere, or where it is not allowed, nothing changes.
    """
    if not hasattr(os, "SCHED_BATCH"):
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        logger.info("the worker is scheduled like any other process: %s", error.strerror)
