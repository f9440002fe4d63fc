"""Moments as they are shown, and taken as they were shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from consumers.moments import parse_moment, shown
from infra.errors import SettingsError

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MOMENT = datetime(2026, 11, 27, 2, 15, 7, 250_000, tzinfo=UTC)


def test_a_moment_is_shown_with_date_and_zone() -> None:
    """In UTC, whatever zone it comes in; to the second, or the millisecond."""
    assert shown(MOMENT.astimezone(timezone(timedelta(hours=1)))) == "2026-11-27 02:15:07Z"
    assert shown(MOMENT, ms=True) == "2026-11-27 02:15:07.250Z"


def test_what_is_shown_can_be_pasted() -> None:
    """A time from a list is a time for --at as it stands."""
    assert parse_moment(shown(MOMENT), now=NOW) == MOMENT.replace(microsecond=0)
    assert parse_moment(shown(MOMENT, ms=True), now=NOW) == MOMENT


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("99999999999d", "'99999999999d' ago is before all time"),
        ("9" * 400 + "h", "ago is before all time"),
        ("700000d", "not in the years 1970 to 9998"),
        ("0001-01-01T00:00:00+05:00", "not in the years 1970 to 9998"),
        ("9999-12-31T23:59:59-05:00", "not in the years 1970 to 9998"),
    ],
    ids=["days", "digits", "before-1970", "before-year-1", "after-9999"],
)
def test_a_moment_out_of_all_bounds_is_refused(text: str, says: str) -> None:
    """What cannot be reckoned with is named, not tripped over."""
    with pytest.raises(SettingsError, match=says):
        parse_moment(text, now=NOW)
