"""When something recurs: a subset of RFC 5545, by the clock on the wall of a time zone.

A rule is walked day by day from its first occurrence on, so what a rule costs is bounded, whatever it says. What time it
is somewhere is read from the tz database, which is data of this program or of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gpu_tenancy.api.common import format_instant
from gpu_tenancy.api.reservation import MAX_OCCURRENCES
from gpu_tenancy.domain.calendar import instant, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

REACH = timedelta(days=5 * 366)
"""How long after the first one the last may be."""
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY = timedelta(days=1)


class RuleError(ValueError):
    """A rule that cannot be followed; the text says why, and what to write instead."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """The parts of a rule that say on which days.

    Attributes:
        weekdays: (ordinal within the month, weekday); the ordinal is 0 for each, below 0 from the month's end.
        month_days: days of the month, those below 0 from its end.
    """

    frequency: str
    interval: int
    weekdays: frozenset[tuple[int, int]]
    month_days: frozenset[int]
    months: frozenset[int]

    @classmethod
    def of(cls, parts: dict[str, str], first: date) -> _Rule:
        frequency = parts["FREQ"]
        weekdays = frozenset(map(_weekday, _listed(parts, "BYDAY")))
        month_days = frozenset(map(int, _listed(parts, "BYMONTHDAY")))
        if frequency == "WEEKLY" and not weekdays:
            weekdays = frozenset({(0, first.weekday())})
        if frequency == "MONTHLY" and not weekdays and not month_days:
            month_days = frozenset({first.day})
        months = frozenset(map(int, _listed(parts, "BYMONTH")))
        return cls(frequency, int(parts.get("INTERVAL", "1")), weekdays, month_days, months)

    def days(self, first: date) -> Iterator[date]:
        """Give the days in order, as far as rules reach."""
        for number in range(REACH // _DAY):
            day = first + number * _DAY
            if self._turn(first, day) % self.interval == 0 and self._names(day):
                yield day

    def _turn(self, first: date, day: date) -> int:
        match self.frequency:
            case "DAILY":
                return (day - first).days
            case "WEEKLY":  # weeks begin on Monday
                return ((day - first).days + first.weekday()) // 7
            case _:
                return (day.year - first.year) * 12 + day.month - first.month

    def _names(self, day: date) -> bool:
        left = (_next_month(day) - day).days  # the last day of a month is -1
        ordinals = {0, (day.day + 6) // 7, -((left + 6) // 7)}
        return (
            (not self.months or day.month in self.months)
            and (not self.month_days or bool(self.month_days & {day.day, -left}))
            and (not self.weekdays or any((one, day.weekday()) in self.weekdays for one in ordinals))
        )


def _listed(parts: dict[str, str], name: str) -> list[str]:
    return parts[name].split(",") if name in parts else []


def _weekday(text: str) -> tuple[int, int]:
    return int(text[:-2] or 0), _WEEKDAYS.index(text[-2:])


def _next_month(day: date) -> date:
    return (day.replace(day=1) + 32 * _DAY).replace(day=1)


@lru_cache(maxsize=4096)
def occurrences(rule: str, zone: str, start: datetime, duration: timedelta) -> tuple[int, ...]:
    """Give the starts of all occurrences, in seconds and in order.

    Each begins when the clock on the wall shows the time at which the first one began. A time that is skipped when clocks
    go forward is read by the clock before; one that comes twice is the first of the two.

    Args:
        rule: an RRULE that the API's pattern admits.
        zone: the name of a time zone.
        start: the first occurrence.
        duration: how long each is.

    Raises:
        RuleError: when it cannot be followed.
    """
    try:
        where = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise RuleError(f"there is no time zone {zone}: write one like Europe/Berlin, or UTC") from error
    parts = dict(part.split("=", 1) for part in rule.split(";"))
    wall = start.astimezone(where).replace(fold=0)
    starts: list[int] = []
    for day in _Rule.of(parts, wall.date()).days(wall.date()):
        at = seconds(datetime.combine(day, wall.time(), where))
        if len(starts) == int(parts.get("COUNT", MAX_OCCURRENCES + 1)) or at > _until(parts):
            break
        starts.append(at)
    _check(parts, starts, start, duration)
    return tuple(starts)


def _until(parts: dict[str, str]) -> float:
    if "UNTIL" not in parts:
        return float("inf")
    text = parts["UNTIL"]
    try:
        return seconds(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
    except ValueError as error:
        raise RuleError(f"UNTIL={text} is no instant: write one like UNTIL=20270131T180000Z") from error


def _check(parts: dict[str, str], starts: list[int], start: datetime, duration: timedelta) -> None:
    if not starts or starts[0] != seconds(start):
        hint = f": begin at {format_instant(instant(starts[0]))}" if starts else ""
        raise RuleError(f"the window's start is not one of the times that the rule names{hint}")
    if len(starts) > MAX_OCCURRENCES or len(starts) < int(parts.get("COUNT", 0)):
        raise RuleError(f"a rule has at most {MAX_OCCURRENCES} occurrences within five years: lower COUNT, or UNTIL")
    if any(later - earlier < seconds(duration) for earlier, later in pairwise(starts)):
        raise RuleError("an occurrence begins before the one before it ends: choose a shorter duration")
