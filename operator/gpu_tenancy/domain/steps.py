"""A step function over time that is changed, and searched, in time logarithmic in the number of its steps.

It is a tree, as flat as a B+ tree: the leaves hold the steps in order, and each branch knows of each of its parts where
it begins, its least and its greatest value, and what was added to the whole of it. So a change or a question goes down
where it begins and where it ends, and passes over everything in between by these numbers. No part is ever empty.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENDLESS = 1 << 40
"""Later than any instant that anyone asks about."""
_WIDTH = 64
"""How many steps a leaf holds at most, and how many parts a branch."""


class _Leaf:
    """Steps in a row: from `starts[i]` on, until the next start, the value is `values[i]`.

    Attributes:
        lows, highs: the values, as a branch has them of its parts.
    """

    __slots__ = ("highs", "lows", "starts", "values")

    def __init__(self, starts: list[int], values: list[int]) -> None:
        self.starts = starts
        self.values = self.lows = self.highs = values

    def all(self, raised: int) -> Iterator[tuple[int, int]]:
        return zip(self.starts, [value + raised for value in self.values], strict=True)

    def split(self) -> _Leaf:
        half = len(self.starts) // 2
        later = _Leaf(self.starts[half:], self.values[half:])
        del self.starts[half:], self.values[half:]
        return later

    def drop(self, until: int) -> None:
        past = bisect_right(self.starts, until) - 1
        if past > 0:
            del self.starts[:past], self.values[:past]

    def raise_all(self, amount: int) -> None:
        self.values[:] = [value + amount for value in self.values]

    def add(self, start: int, end: int, amount: int) -> None:
        first = self._cut(start)
        last = self._cut(end) if end < ENDLESS else len(self.starts)
        values = self.values
        values[first:last] = [value + amount for value in values[first:last]]
        for place in (last, first):  # a step that is no longer one goes
            if 0 < place < len(values) and values[place] == values[place - 1]:
                del self.starts[place], values[place]

    def _cut(self, at: int) -> int:
        """Let a step begin at the instant, and say which."""
        starts = self.starts
        place = bisect_left(starts, at)
        if place > 0 and (place == len(starts) or starts[place] != at):
            starts.insert(place, at)
            self.values.insert(place, self.values[place - 1])
        return place

    def least(self, start: int, end: int) -> int:
        first = bisect_right(self.starts, start, 1) - 1
        return min(self.values[first : bisect_left(self.starts, end)])

    def first(self, start: int, end: int, level: int, *, reached: bool) -> int | None:
        first, last = bisect_right(self.starts, start, 1) - 1, bisect_left(self.starts, end)
        for place, value in enumerate(self.values[first:last], first):
            if (value >= level) is reached:
                return self.starts[place]
        return None

    def last(self, start: int, end: int, level: int, bound: int, *, reached: bool) -> int | None:
        first, last = bisect_right(self.starts, start, 1) - 1, bisect_left(self.starts, end)
        place = last
        for value in self.values[first:last][::-1]:
            if (value >= level) is reached:
                return self.starts[place] if place < len(self.starts) else bound
            place -= 1
        return None


class _Branch:
    """Parts in a row, all leaves or all branches.

    Attributes:
        starts: where each begins.
        raised: what is to be added to all values within each.
        lows, highs: the least and the greatest value within each, with what was added.
    """

    __slots__ = ("highs", "lows", "parts", "raised", "starts")

    def __init__(self, parts: list[_Node], raised: list[int]) -> None:
        self.parts = parts
        self.raised = raised
        self.starts: list[int] = [part.starts[0] for part in parts]
        self.lows: list[int] = [min(part.lows) + more for part, more in zip(parts, raised, strict=True)]
        self.highs: list[int] = [max(part.highs) + more for part, more in zip(parts, raised, strict=True)]

    def all(self, raised: int) -> Iterator[tuple[int, int]]:
        for part, more in zip(self.parts, self.raised, strict=True):
            yield from part.all(raised + more)

    def split(self) -> _Branch:
        half = len(self.parts) // 2
        later = _Branch(self.parts[half:], self.raised[half:])
        del self.parts[half:], self.raised[half:], self.starts[half:], self.lows[half:], self.highs[half:]
        return later

    def drop(self, until: int) -> None:
        past = bisect_right(self.starts, until) - 1
        if past > 0:
            del self.parts[:past], self.raised[:past], self.starts[:past], self.lows[:past], self.highs[:past]
        self.parts[0].drop(until)
        self._measure(0)

    def raise_all(self, amount: int) -> None:
        self._raise(0, len(self.parts), amount)

    def add(self, start: int, end: int, amount: int) -> None:
        first, last = self._touched(start, end)
        whole_first = first + (start > self.starts[first])
        whole_last = last - (end < self._bound(last - 1, ENDLESS))
        if whole_first < whole_last:
            self._raise(whole_first, whole_last, amount)
        if whole_last < last and last - 1 > first:
            self._add_within(last - 1, start, end, amount)
        if whole_first > first or whole_last == first:  # after the later one: it may be split
            self._add_within(first, start, end, amount)

    def _add_within(self, number: int, start: int, end: int, amount: int) -> None:
        part = self.parts[number]
        part.add(start, end if end < self._bound(number, ENDLESS) else ENDLESS, amount)
        if len(part.starts) > _WIDTH:
            later = part.split()
            self.parts.insert(number + 1, later)
            self.starts.insert(number + 1, later.starts[0])
            self.raised.insert(number + 1, self.raised[number])
            self.lows.insert(number + 1, 0)
            self.highs.insert(number + 1, 0)
            self._measure(number + 1)
        self._measure(number)

    def _raise(self, first: int, last: int, amount: int) -> None:
        for numbers in (self.raised, self.lows, self.highs):
            numbers[first:last] = [number + amount for number in numbers[first:last]]

    def _measure(self, number: int) -> None:
        part, raised = self.parts[number], self.raised[number]
        self.lows[number], self.highs[number] = min(part.lows) + raised, max(part.highs) + raised

    def _touched(self, start: int, end: int) -> tuple[int, int]:
        """Give the first part that [start, end) touches, and the one after the last."""
        return bisect_right(self.starts, start, 1) - 1, bisect_left(self.starts, end)

    def _bound(self, number: int, bound: int) -> int:
        """Say where a part ends; the last ends where the branch does."""
        return self.starts[number + 1] if number + 1 < len(self.starts) else bound

    def least(self, start: int, end: int) -> int:
        first, last = self._touched(start, end)
        if last - first == 1:
            return self.parts[first].least(start, end) + self.raised[first]
        return min(
            self.parts[first].least(start, end) + self.raised[first],
            self.parts[last - 1].least(start, end) + self.raised[last - 1],
            *self.lows[first + 1 : last - 1],
        )

    def first(self, start: int, end: int, level: int, *, reached: bool) -> int | None:
        extremes = self.highs if reached else self.lows
        for number in range(*self._touched(start, end)):
            if (extremes[number] >= level) is reached:
                found = self.parts[number].first(start, end, level - self.raised[number], reached=reached)
                if found is not None:
                    return found
        return None

    def last(self, start: int, end: int, level: int, bound: int, *, reached: bool) -> int | None:
        extremes = self.highs if reached else self.lows
        first, last = bisect_right(self.starts, start, 1) - 1, bisect_left(self.starts, end)
        for number in range(last - 1, first - 1, -1):
            if (extremes[number] >= level) is reached:
                until = self.starts[number + 1] if number + 1 < len(self.starts) else bound
                found = self.parts[number].last(start, end, level - self.raised[number], until, reached=reached)
                if found is not None:
                    return found
        return None


_Node: TypeAlias = _Leaf | _Branch


class Steps:
    """A whole number for every instant.

    Args:
        changes: by how much it changes, by instant; before the first of them it is 0.
    """

    def __init__(self, changes: Mapping[int, int]) -> None:
        self._root = _tree(changes)

    def add(self, start: int, end: int, amount: int) -> None:
        """Change the value over [start, end), which is not empty; an end that is endless is none."""
        self._root.add(start, end, amount)
        if len(self._root.starts) > _WIDTH:
            earlier = self._root
            self._root = _branch([earlier, earlier.split()])

    def add_all(self, changes: Mapping[int, int]) -> None:
        """Change the value by so much from each instant on: by itself it takes as long as making it anew."""
        before, total = 0, Counter(changes)
        for start, value in self._root.all(0):
            total[start] += value - before
            before = value
        self._root = _tree(total)

    def forget(self, until: int) -> None:
        """Drop the steps that are over at an instant; what is asked about earlier ones means nothing any more."""
        self._root.drop(until)
        while isinstance(self._root, _Branch) and len(self._root.parts) == 1:
            (part,), (raised,) = self._root.parts, self._root.raised
            part.raise_all(raised)
            self._root = part

    def least(self, start: int, end: int) -> int:
        """Give the least value in [start, end), which is not empty."""
        return self._root.least(start, end)

    def first(self, start: int, end: int, level: int, *, reached: bool) -> int | None:
        """Say when the first step that touches [start, end) and reaches a level, or does not, begins."""
        return self._root.first(start, end, level, reached=reached)

    def last(self, start: int, end: int, level: int, *, reached: bool) -> int | None:
        """Say when the last step that touches [start, end) and reaches a level, or does not, ends."""
        return self._root.last(start, end, level, ENDLESS, reached=reached)


def _tree(changes: Mapping[int, int]) -> _Node:
    instants = [at for at in sorted(changes) if changes[at]]
    starts, values = [-ENDLESS, *instants], [0, *accumulate(changes[at] for at in instants)]
    half = max(2, _WIDTH // 2)  # room to grow
    parts: list[_Node] = [_Leaf(starts[at : at + half], values[at : at + half]) for at in range(0, len(starts), half)]
    while len(parts) > 1:
        parts = [_branch(parts[at : at + half]) for at in range(0, len(parts), half)]
    return parts[0]


def _branch(parts: list[_Node]) -> _Branch:
    return _Branch(parts, [0] * len(parts))
