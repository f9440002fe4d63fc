"""Moments as operators write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from infra.errors import SettingsError
from infra.values import FIRST_TIME, LAST_TIME

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_moment(text: str, *, now: datetime) -> datetime:
    """``"2026-11-27T02:15:00Z"`` (UTC when no zone is given), or how long ago: ``"90s"``, ``"10m"``, ``"2h"``.

    Takes what :func:`shown` gives. Raises SettingsError, also for a moment that no camera can have had.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            found = now - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
        else:
            found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise SettingsError(
            f"{text!r} is no time; write 2026-11-27T02:15:00Z, or how long ago as 90s, 10m or 2h"
        ) from error
    except OverflowError as error:
        raise SettingsError(f"{text!r} ago is before all time; write how long ago as 90s, 10m, 2h or 3d") from error
    found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    if not FIRST_TIME <= found < LAST_TIME:
        raise SettingsError(f"{text!r} is not in the years {FIRST_TIME.year} to {LAST_TIME.year - 1}")
    return found


def shown(moment: datetime, *, ms: bool = False) -> str:
    """``2026-11-27 02:15:00Z``, with ``ms`` ``2026-11-27 02:15:00.250Z``: date and zone belong to it, for alerts are
    kept for weeks and read in every zone."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03}Z" if ms else f"{utc:%Y-%m-%d %H:%M:%SZ}"
