"""Free GPUs over time: a step function of capacity minus bookings.

Instants are whole seconds since 1970-01-01T00:00:00Z and every window is half-open, [start, end), so the end of one
booking and the start of the next never meet.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gpu_tenancy.domain.steps import ENDLESS, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BEGINNING = 0
FOREVER = ENDLESS  # later than any instant that the API can spell
UNLIMITED = 1 << 40
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAY = 24 * 3600


def seconds(value: datetime | timedelta) -> int:
    """Read an aware instant as whole seconds since 1970, or a span as whole seconds; fractions are cut off."""
    span = value - _EPOCH if isinstance(value, datetime) else value
    return span.days * _DAY + span.seconds  # as `span // _SECOND` would, several times as fast


def instant(value: int) -> datetime:
    """Give the instant so many seconds after 1970, in UTC."""
    return _EPOCH + value * _SECOND


def align(value: int, step: int) -> int:
    """Give the first multiple of `step` that is not before the instant."""
    return -(-value // step) * step


class Booked(NamedTuple):
    """GPUs that are taken in [start, end)."""

    start: int
    end: int
    gpus: int


class Calendar:
    """How many GPUs are free when. More may be booked than there are: free is then below zero.

    Args:
        capacity: (instant, GPUs from then on) in order of time; before the first there are none.
        bookings: what is taken.
        since: what is earlier is past: whatever was booked there stands in nobody's way.
    """

    def __init__(
        self, capacity: Iterable[tuple[int, int]], bookings: Iterable[Booked] = (), since: int = BEGINNING
    ) -> None:
        self._since = since
        changes = self._changes(bookings)
        before = 0
        for at, gpus in capacity:
            changes[max(at, since)] += gpus - before
            before = gpus
        self._free = Steps(changes)

    def _changes(self, bookings: Iterable[Booked]) -> defaultdict[int, int]:
        changes: defaultdict[int, int] = defaultdict(int)
        since = self._since
        for start, end, gpus in bookings:
            if end > since:
                changes[max(start, since)] -= gpus
                changes[end] += gpus
        return changes

    def book(self, booked: Booked) -> None:
        """Take GPUs; whether they are free is not asked."""
        self._add(booked, -booked.gpus)

    def book_all(self, bookings: Iterable[Booked]) -> None:
        """Take GPUs of many bookings at once: it takes as long as making the calendar anew."""
        self._free.add_all(self._changes(bookings))

    def release(self, booked: Booked) -> None:
        """Give back what was booked."""
        self._add(booked, booked.gpus)

    def _add(self, booked: Booked, gpus: int) -> None:
        start = max(booked.start, self._since)
        if start < booked.end:
            self._free.add(start, booked.end, gpus)

    def advance(self, now: int) -> None:
        """Let everything before an instant be past."""
        if now > self._since:
            self._since = now
            self._free.forget(now)

    def free_at(self, at: int) -> int:
        """Say how many GPUs are free at an instant."""
        return self.free_over(at, at + 1)

    def free_over(self, start: int, end: int) -> int:
        """Say how many GPUs are free at every instant of [start, end).

        Raises:
            ValueError: when the window is empty.
        """
        if start >= end:
            raise ValueError(f"the window [{start}, {end}) is empty")
        start = max(start, self._since)
        return self._free.least(start, end) if start < end else UNLIMITED

    def fits(self, booked: Booked) -> bool:
        """Say whether so many GPUs are free at every instant of the window."""
        return self.free_over(booked.start, booked.end) >= booked.gpus

    def earliest(
        self, gpus: int, duration: int, not_before: int, not_after: int = FOREVER, step: int = 1
    ) -> int | None:
        """Find the earliest start, a multiple of `step`, of a window that fits and ends by `not_after`.

        Where a window does not fit, the next one to try begins after the last instant in it that is short of GPUs: so
        two tries lie a duration apart, however many steps there are.
        """
        start = align(not_before, step)
        while start + duration <= not_after:
            short = self._free.last(max(start, self._since), start + duration, gpus, reached=False)
            if short is None or start + duration <= self._since:
                return start
            enough = short if short < start + duration else self._free.first(short, FOREVER, gpus, reached=True)
            if enough is None:
                return None
            start = align(enough, step)
        return None

    def latest(self, gpus: int, duration: int, not_before: int, not_after: int, step: int = 1) -> int | None:
        """Find the latest start, a multiple of `step`, of a window that fits, begins and ends within a range."""
        start = align(not_after - duration + 1, step) - step
        while start >= not_before:
            short = self._free.first(max(start, self._since), start + duration, gpus, reached=False)
            if short is None or start + duration <= self._since:
                return start
            enough = short if short > start else self._free.last(self._since, short, gpus, reached=True)
            if enough is None:
                enough = self._since
            start = align(enough - duration + 1, step) - step
        return None


Question: TypeAlias = "Callable[[int], int | None]"
"""Given an instant, the first one from it on at which something holds, or None if there is none.

One that asks for late instants gives the last one up to it instead.
"""


def agreed(questions: Sequence[Question], not_before: int) -> int | None:
    """Find the first instant at which all the questions hold; the last one if they ask for late instants."""
    at, agreeing = not_before, 0
    for question in cycle(questions):
        answer = question(at)
        if answer is None:
            return None
        agreeing = agreeing + 1 if answer == at else 1
        at = answer
        if agreeing == len(questions):
            return at
    return at


def offers(question: Question, duration: int, not_before: int, count: int = 3) -> list[int]:
    """Give the first starts at which windows of this duration fit, none overlapping the one before."""
    found: list[int] = []
    while len(found) < count and (start := question(found[-1] + duration if found else not_before)) is not None:
        found.append(start)
    return found
