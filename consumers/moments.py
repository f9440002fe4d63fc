"""Moments as operators write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from infra.errors import SettingsError

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_moment(text: str, *, now: datetime) -> datetime:
    """``"2026-11-27T02:15:00Z"`` (UTC when no zone is given), or how long ago: ``"90s"``, ``"10m"``, ``"2h"``.

    Raises SettingsError.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise SettingsError(
            f"{text!r} is no time; write 2026-11-27T02:15:00Z, or how long ago as 90s, 10m or 2h"
        ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
