"""When a standing query is on duty: weekdays and hours on the wall clock of a time zone.

Outside its hours the query is still asked, so that `detections` has no gap, but its alarm is out of service: nothing is
raised, and an alert that is open when the hours end is closed with that reason.
"""

from __future__ import annotations

import re
from datetime import datetime, time
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from infra.values import Contract

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)

_HOURS = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)")
_FORM = "write days, hours and an IANA time zone: 'mon-fri 06:00-22:00; sat 06:00-14:00 Europe/Berlin'"


class Hours(Contract):
    """From `start` to before `end` on each of the days; an end at or before the start lies on the next day."""

    days: tuple[Day, ...] = Field(min_length=1, description="days on which the hours begin")
    start: time = Field(description="wall clock, HH:MM")
    end: time = Field(description="wall clock, HH:MM; at or before the start: on the next day")

    @field_validator("start", "end")
    @classmethod
    def _of_a_wall_clock(cls, value: time) -> time:
        if value.tzinfo is not None or value.second or value.microsecond:
            raise ValueError(f"{value.isoformat()} is no time on a wall clock; write HH:MM, the zone stands beside it")
        return value

    def covers(self, local: datetime) -> bool:
        """Whether a wall-clock time lies in these hours."""
        clock = local.timetz().replace(tzinfo=None)
        today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
        if self.start < self.end:
            return today in self.days and self.start <= clock < self.end
        return (today in self.days and clock >= self.start) or (yesterday in self.days and clock < self.end)

    def __str__(self) -> str:
        return f"{','.join(self.days)} {self.start:%H:%M}-{self.end:%H:%M}"


class Schedule(Contract):
    """Hours of duty. At a change to or from summer time the wall clock decides, as for the people of a shift."""

    hours: tuple[Hours, ...] = Field(min_length=1)
    zone: str = Field(default="UTC", description="IANA time zone, e.g. Europe/Berlin")

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no IANA time zone; write one such as Europe/Berlin or UTC") from error
        return value

    def covers(self, at: datetime) -> bool:
        """Whether the query is on duty at an aware time."""
        local = at.astimezone(ZoneInfo(self.zone))
        return any(hours.covers(local) for hours in self.hours)

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """``"mon-fri 06:00-22:00; sat 06:00-14:00 Europe/Berlin"`` → Schedule. Raises ValueError naming the part."""
        words = text.split()
        zone = words.pop() if words and not _HOURS.fullmatch(words[-1].rstrip(";")) else "UTC"
        parts = [part.split() for part in " ".join(words).split(";") if part.strip()]
        if not parts:
            raise ValueError(f"schedule {text!r} has no hours; {_FORM}")
        return cls(hours=tuple(_hours(part) for part in parts), zone=zone)

    def __str__(self) -> str:
        return f"{'; '.join(map(str, self.hours))} {self.zone}"


def _hours(part: list[str]) -> Hours:
    if len(part) not in (1, 2):
        raise ValueError(f"hours {' '.join(part)!r} cannot be read; {_FORM}")
    match = _HOURS.fullmatch(part[-1])
    if not match:
        raise ValueError(f"hours {part[-1]!r} cannot be read; {_FORM}")
    start, end = (_clock(match[n], match[n + 1]) for n in (1, 3))
    if int(match[1]) == 24:
        raise ValueError(f"hours {part[-1]!r} begin at 24:00, the 00:00 of the next day; name that day, and 00:00")
    return Hours(days=_days(part[0]) if len(part) == 2 else DAYS, start=start, end=end)


def _clock(hour: str, minute: str) -> time:
    if int(hour) > 24 or int(minute) > 59 or (int(hour) == 24 and int(minute)):
        raise ValueError(f"{hour}:{minute} is no time of day; write 00:00 to 24:00")
    return time(int(hour) % 24, int(minute))


def _days(text: str) -> tuple[Day, ...]:
    chosen: list[Day] = []
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"days {part!r} cannot be read; write mon, tue, wed, thu, fri, sat, sun or mon-fri")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        chosen += [DAYS[(begin + n) % 7] for n in range((end - begin) % 7 + 1)]
    return tuple(day for day in DAYS if day in chosen)
