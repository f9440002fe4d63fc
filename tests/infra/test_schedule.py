"""Hours of duty of a standing query."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from infra.schedule import Schedule

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("when", "covered"),
    [
        ("2026-11-27 05:59", False),  # a Friday
        ("2026-11-27 06:00", True),
        ("2026-11-27 21:59", True),
        ("2026-11-27 22:00", False),
        ("2026-11-28 13:59", True),
        ("2026-11-28 14:00", False),
        ("2026-11-29 10:00", False),
    ],
)
def test_hours_are_wall_clock_of_the_zone(when: str, covered: bool) -> None:
    """Hours begin at their start, end before their end, and count only on their days."""
    schedule = Schedule.parse("mon-fri 06:00-22:00; sat 06:00-14:00 Europe/Berlin")
    assert schedule.covers(datetime.fromisoformat(when).replace(tzinfo=BERLIN)) is covered


@pytest.mark.parametrize(
    ("when", "covered"), [("2026-11-27 23:00", True), ("2026-11-28 05:00", True), ("2026-11-28 23:00", False)]
)
def test_night_shift_belongs_to_the_day_it_begins_on(when: str, covered: bool) -> None:
    """Hours over midnight go on into the next day and do not begin on it."""
    assert Schedule.parse("fri 22:00-06:00 UTC").covers(datetime.fromisoformat(when + "+00:00")) is covered


def test_summer_time_moves_with_the_wall_clock() -> None:
    """06:00 in Berlin is 04:00 UTC in July and 05:00 UTC in January."""
    schedule = Schedule.parse("06:00-07:00 Europe/Berlin")
    assert schedule.covers(datetime.fromisoformat("2026-07-01T04:30:00+00:00"))
    assert not schedule.covers(datetime.fromisoformat("2026-01-01T04:30:00+00:00"))
    assert schedule.covers(datetime.fromisoformat("2026-01-01T05:30:00+00:00"))


def test_all_day_and_days_over_the_weekend() -> None:
    """Midnight to midnight is the whole day, and sat-mon goes over the end of the week."""
    schedule = Schedule.parse("sat-mon 00:00-24:00")
    assert [hours.days for hours in schedule.hours] == [("mon", "sat", "sun")]
    assert schedule.covers(datetime.fromisoformat("2026-11-30T23:59:59+00:00"))
    assert not schedule.covers(datetime.fromisoformat("2026-12-01T12:00:00+00:00"))


def test_text_and_json_keep_the_schedule() -> None:
    """What is shown reads back as the same schedule, and so does its JSON."""
    schedule = Schedule.parse("mon-fri 06:00-22:00; sat 06:00-14:00 Europe/Berlin")
    assert Schedule.parse(str(schedule)) == schedule
    assert Schedule.model_validate_json(schedule.model_dump_json()) == schedule


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has no hours"),
        ("mon-fri", "is no IANA time zone|has no hours"),
        ("mon-fri 6-22 UTC", "'6-22' cannot be read"),
        ("mo 06:00-07:00 UTC", "days 'mo' cannot be read"),
        ("mon 25:00-26:00", "25:00 is no time of day"),
        ("mon 24:00-06:00 UTC", "begin at 24:00, the 00:00 of the next day"),
        ("mon 06:00-07:00 Mars/Olympus", "'Mars/Olympus' is no IANA time zone"),
    ],
)
def test_bad_schedule_names_the_part(text: str, fault: str) -> None:
    """What cannot be read is refused with the part and the form it should have."""
    with pytest.raises(ValueError, match=fault):
        Schedule.parse(text)


@pytest.mark.parametrize("start", ["06:00Z", "06:00+02:00", 21600, "06:00:30"])
def test_stored_hours_that_no_wall_clock_shows_are_refused(start: object) -> None:
    """A time with an offset beside the zone would fail at every frame, and seconds would not be shown."""
    with pytest.raises(ValueError, match="is no time on a wall clock; write HH:MM"):
        Schedule.model_validate({"hours": [{"days": ["mon"], "start": start, "end": "07:00"}], "zone": "UTC"})
