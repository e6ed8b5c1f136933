"""Free GPUs over time: a step function of capacity minus bookings.

Instants are whole seconds since 1970-01-01T00:00:00Z and every window is half-open, [start, end), so the end of one
booking and the start of the next never meet.

The steps lie in blocks that know their least and their greatest value. A question passes over whole blocks by those
two numbers and reads single steps only where it begins, where it ends and where the answer lies.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import accumulate, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

BEGINNING = 0
FOREVER = 1 << 40  # later than any instant that the API can spell
UNLIMITED = 1 << 40
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_BLOCK = 64


def seconds(value: datetime | timedelta) -> int:
    """Read an aware instant as whole seconds since 1970, or a span as whole seconds; fractions are cut off."""
    return (value - _EPOCH if isinstance(value, datetime) else value) // _SECOND


def instant(value: int) -> datetime:
    """Give the instant so many seconds after 1970, in UTC."""
    return _EPOCH + value * _SECOND


def align(value: int, step: int) -> int:
    """Give the first multiple of `step` that is not before the instant."""
    return -(-value // step) * step


def from_now(levels: Iterable[tuple[int, int]], now: int) -> list[tuple[int, int]]:
    """Lift a limit that changes over time off the past: what was booked there stands in nobody's way.

    Args:
        levels: (instant, GPUs from then on) in order of time, the first not after now.
        now: in seconds.
    """
    steps = list(levels)
    later = bisect_right(steps, now, key=itemgetter(0))
    return [(BEGINNING, UNLIMITED), (now, steps[later - 1][1]), *steps[later:]]


class Booked(NamedTuple):
    """GPUs that are taken in [start, end)."""

    start: int
    end: int
    gpus: int


class _Block:
    """Steps in a row: from `starts[i]` on, until the next start, `free[i] + raised` GPUs are free."""

    __slots__ = ("free", "least", "most", "raised", "starts")

    def __init__(self, starts: list[int], free: list[int]) -> None:
        self.starts = starts
        self.free = free
        self.raised = 0
        self.measure()

    def measure(self) -> None:
        self.least = min(self.free) + self.raised
        self.most = max(self.free) + self.raised

    def add(self, first: int, last: int, gpus: int) -> None:
        """Change the steps from `first` up to but not including `last`."""
        if first == 0 and last == len(self.free):
            self.raised += gpus
            self.least += gpus
            self.most += gpus
        else:
            self.free[first:last] = [value + gpus for value in self.free[first:last]]
            self.measure()

    def split(self) -> _Block:
        """Give away the later half."""
        half = len(self.starts) // 2
        later = _Block(self.starts[half:], [value + self.raised for value in self.free[half:]])
        del self.starts[half:], self.free[half:]
        self.measure()
        return later


class Calendar:
    """How many GPUs are free when. More may be booked than there are: free is then below zero.

    Args:
        capacity: (instant, GPUs from then on) in order of time; before the first there are none.
        bookings: what is taken.
    """

    def __init__(self, capacity: Iterable[tuple[int, int]], bookings: Iterable[Booked] = ()) -> None:
        changes: Counter[int] = Counter({BEGINNING: 0})
        before = 0
        for at, gpus in capacity:
            changes[at] += gpus - before
            before = gpus
        for start, end, gpus in bookings:
            changes[start] -= gpus
            changes[end] += gpus
        starts = [at for at in sorted(changes) if changes[at] or at == BEGINNING]
        free = list(accumulate(changes[at] for at in starts))
        self._blocks = [
            _Block(starts[at : at + _BLOCK], free[at : at + _BLOCK]) for at in range(0, len(starts), _BLOCK)
        ]
        self._firsts = [block.starts[0] for block in self._blocks]

    def book(self, booked: Booked) -> None:
        """Take GPUs; whether they are free is not asked."""
        self._add(booked, -booked.gpus)

    def release(self, booked: Booked) -> None:
        """Give back what was booked."""
        self._add(booked, booked.gpus)

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
        return min(
            block.least if last - first == len(block.free) else min(block.free[first:last]) + block.raised
            for block, first, last in self._between(start, end)
        )

    def fits(self, booked: Booked) -> bool:
        """Say whether so many GPUs are free at every instant of the window."""
        return self.free_over(booked.start, booked.end) >= booked.gpus

    def earliest(
        self, gpus: int, duration: int, not_before: int, not_after: int = FOREVER, step: int = 1
    ) -> int | None:
        """Find the earliest start, a multiple of `step`, of a window that fits and ends by `not_after`."""
        since: int | None = None
        for at, enough in self._steps(align(not_before, step), not_after, gpus):
            if since is not None and since + duration <= at:
                return since
            if not enough:
                since = None
            elif since is None:
                since = align(max(at, not_before), step)
        return since if since is not None and since + duration <= not_after else None

    def _steps(self, start: int, end: int, gpus: int) -> Iterator[tuple[int, bool]]:
        """Give the instants in [start, end) from which on enough GPUs are free, or too few."""
        for block, first, last in self._between(start, end):
            if block.least >= gpus or block.most < gpus:
                yield block.starts[first], block.least >= gpus
            else:
                level = gpus - block.raised
                steps = zip(block.starts[first:last], [free >= level for free in block.free[first:last]], strict=True)
                yield from (next(run) for _, run in groupby(steps, itemgetter(1)))

    def _between(self, start: int, end: int) -> Iterator[tuple[_Block, int, int]]:
        """Give the blocks that [start, end) crosses, each with its first such step and the one after its last."""
        for number in range(bisect_right(self._firsts, start) - 1, len(self._blocks)):
            block = self._blocks[number]
            if block.starts[0] >= end:
                return
            first = 0 if block.starts[0] >= start else bisect_right(block.starts, start) - 1
            last = len(block.starts) if block.starts[-1] < end else bisect_left(block.starts, end)
            yield block, first, last

    def _add(self, booked: Booked, gpus: int) -> None:
        self._cut(booked.start)
        self._cut(booked.end)
        for block, first, last in self._between(booked.start, booked.end):
            block.add(first, last, gpus)

    def _cut(self, at: int) -> None:
        """Let a step begin at the instant."""
        number = bisect_right(self._firsts, at) - 1
        block = self._blocks[number]
        place = bisect_left(block.starts, at)
        if place < len(block.starts) and block.starts[place] == at:
            return
        block.starts.insert(place, at)
        block.free.insert(place, block.free[place - 1])
        if len(block.starts) > 2 * _BLOCK:
            later = block.split()
            self._blocks.insert(number + 1, later)
            self._firsts.insert(number + 1, later.starts[0])


Question: TypeAlias = "Callable[[int], int | None]"
"""Given an instant, the first one from it on at which something holds, or None if there is none."""


def agreed(questions: Sequence[Question], not_before: int) -> int | None:
    """Find the first instant at which all the questions hold."""
    at = not_before
    while True:
        before = at
        for question in questions:
            answer = question(at)
            if answer is None:
                return None
            at = answer
        if at == before:
            return at


def offers(question: Question, duration: int, not_before: int, count: int = 3) -> list[int]:
    """Give the first starts at which windows of this duration fit, none overlapping the one before."""
    found: list[int] = []
    while len(found) < count and (start := question(found[-1] + duration if found else not_before)) is not None:
        found.append(start)
    return found
