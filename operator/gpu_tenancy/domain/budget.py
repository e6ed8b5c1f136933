"""Budgets of reserved GPU-hours per calendar period, counted in whole GPU-seconds.

A window that crosses from one period into the next counts in each with its part.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, assert_never

from gpu_tenancy.domain.calendar import Booked, align, instant, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from gpu_tenancy.api.tenant import GpuHours

Period = Literal["Day", "Week", "Month", "Year"]
_HOUR = 3600
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY
_MONDAY = 4 * _DAY  # 1970-01-05
_DECEMBER = 12


def period_of(at: int, period: Period) -> tuple[int, int]:
    """Give the start and the end of the calendar period in UTC that an instant lies in; weeks begin on Monday."""
    match period:
        case "Day":
            start = at - at % _DAY
            return start, start + _DAY
        case "Week":
            start = at - (at - _MONDAY) % _WEEK
            return start, start + _WEEK
        case "Month":
            first = instant(at).replace(day=1, hour=0, minute=0, second=0)
            return seconds(first), seconds(_next_month(first))
        case "Year":
            first = instant(at).replace(month=1, day=1, hour=0, minute=0, second=0)
            return seconds(first), seconds(first.replace(year=first.year + 1))
    assert_never(period)


def _next_month(first: datetime) -> datetime:
    if first.month == _DECEMBER:
        return first.replace(year=first.year + 1, month=1)
    return first.replace(month=first.month + 1)


def parts_of(start: int, end: int, period: Period) -> Iterator[tuple[int, int]]:
    """Cut [start, end) where periods end."""
    while start < end:
        until = min(end, period_of(start, period)[1])
        yield start, until
        start = until


class HourBudget:
    """What a tenant has booked of its GPU-hours in each period.

    Args:
        hours: the limit and its period.
        bookings: the windows booked so far.
        spent: GPU-seconds that are charged beside them, by an instant of the period.
    """

    def __init__(
        self, hours: GpuHours, bookings: Iterable[Booked] = (), spent: Mapping[int, int] | None = None
    ) -> None:
        self.hours = hours
        self._period: Period = hours.period
        self._booked: Counter[int] = Counter()
        for booked in bookings:
            self.book(booked)
        for at, gpu_seconds in (spent or {}).items():
            self._booked[period_of(at, self._period)[0]] += gpu_seconds

    def book(self, booked: Booked) -> None:
        """Count a window."""
        for start, end in self._parts(booked.start, booked.end):
            self._booked[period_of(start, self._period)[0]] += (end - start) * booked.gpus

    def release(self, booked: Booked) -> None:
        """Count a window no longer."""
        self.book(booked._replace(gpus=-booked.gpus))

    def advance(self, now: int) -> None:
        """Let time pass: what was booked in a period stays booked in it."""

    def left(self, at: int) -> int:
        """Say how many GPU-seconds are left in the period of an instant."""
        return max(0, self._left(at))

    def _left(self, at: int) -> int:
        return self.hours.limit * _HOUR - self._booked[period_of(at, self._period)[0]]

    def exceeded(self, booked: Booked) -> int | None:
        """Give an instant of the first period whose limit one more window would exceed, or None if it fits."""
        return next(self._exceeded(booked), None)

    def _exceeded(self, booked: Booked) -> Iterator[int]:
        for start, end in self._parts(booked.start, booked.end):
            if (end - start) * booked.gpus > self._left(start):
                yield start

    def earliest(self, gpus: int, duration: int, not_before: int, not_after: int, step: int = 1) -> int | None:
        """Find the earliest start, a multiple of `step`, of a window that fits and ends by `not_after`."""
        start = align(not_before, step)
        while start + duration <= not_after:
            exceeded = self.exceeded(Booked(start, start + duration, gpus))
            if exceeded is None:
                return start
            # The part of a window in a period shrinks again only by starting closer to the period's end.
            end = period_of(exceeded, self._period)[1]
            start = align(end - self.left(exceeded) // gpus, step)
        return None

    def latest(self, gpus: int, duration: int, not_before: int, not_after: int, step: int = 1) -> int | None:
        """Find the latest start, a multiple of `step`, of a window that fits, begins and ends within a range."""
        start = align(not_after - duration + 1, step) - step
        while start >= not_before:
            exceeded = [*self._exceeded(Booked(start, start + duration, gpus))]
            if not exceeded:
                return start
            # The part of a window in a period shrinks again only by ending closer to the period's start.
            end = period_of(exceeded[-1], self._period)[0] + self.left(exceeded[-1]) // gpus
            start = align(end - duration + 1, step) - step
        return None

    def _parts(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        return parts_of(start, end, self._period)
