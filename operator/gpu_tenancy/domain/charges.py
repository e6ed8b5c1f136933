"""What a tenant's budget remembers of reservations that are gone.

A window that is fixed stays charged, whatever becomes of its reservation. While the reservation is there, it says so
itself. A record says how much was charged for those that were there when it was written; what is missing of that later
is charged for those that are gone, also if they went while nobody looked. So at whatever moment the writing stops,
nothing is forgotten; at worst a change that was under way is charged twice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.domain.budget import parts_of, period_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.domain.budget import Period

MAX_SPANS = 400
"""So many periods are written down; what lies further ahead follows when it is nearer."""


class Charge(NamedTuple):
    """What one reservation is charged for; instants in seconds.

    Attributes:
        fixed: from when on it stays charged.
        forfeited: GPU-seconds beside the window, which count where it begins.
    """

    fixed: int
    start: int
    end: int
    gpus: int
    forfeited: int = 0

    def within(self, start: int, end: int) -> int:
        """Say how many of its GPU-seconds lie in [start, end)."""
        inside = max(0, min(end, self.end) - max(start, self.start)) * self.gpus
        return inside + (self.forfeited if start <= self.start < end else 0)


class Span(NamedTuple):
    """GPU-seconds that are charged in a period, [start, end).

    Attributes:
        present: for reservations that were there when it was written.
        gone: for those that were not.
    """

    start: int
    end: int
    present: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down: every window that was fixed before `until` is in it, and none that became so later."""

    until: int = 0
    spans: tuple[Span, ...] = ()


def account(
    record: Record, before: Mapping[str, Charge] | None, present: Mapping[str, Charge], period: Period, now: int
) -> Record:
    """Bring a record up to date; the same one if there is nothing new to write down.

    Args:
        record: what was written down last.
        before: the charges, by uid, that were fixed when they were last looked at; None if that is not known any more.
        present: the charges of all reservations that are there now.
        period: the budget's.
        now: in seconds.
    """
    gone: Counter[int] = Counter()
    written = tuple(span for span in record.spans if span.end > now)
    known = [one for one in present.values() if one.fixed < record.until]
    for span in written:
        lost = span.present - sum(one.within(span.start, span.end) for one in known) if before is None else 0
        same = (span.start, span.end) == period_of(span.start, period)
        # A period of another length counts in the present one, and there with all of it.
        gone[span.start if same else period_of(now, period)[0]] += span.gone + max(0, lost)
    if before is not None:
        went = (one for uid, one in before.items() if uid not in present)
        gone += _by_period(_that_count(went, period, now), period)
    fixed = _that_count(fixed_before(present, now).values(), period, now)
    there = _by_period(fixed, period)
    spans = tuple(
        Span(start, end, there[start], gone[start])
        for start, end in sorted(period_of(start, period) for start in there.keys() | gone.keys())
        if end > now and (there[start] or gone[start])
    )[:MAX_SPANS]
    # One that was changed is told from one that is new by when it was fixed, also where the amounts are the same.
    newly = any(one.fixed >= record.until for one in fixed)
    return Record(now, spans) if newly or spans != written else record


def fixed_before(charges: Mapping[str, Charge], at: int) -> dict[str, Charge]:
    """Pick what was fixed before an instant.

    What becomes fixed in the very second of a record is left for the next one: more may follow in the same second.
    """
    return {uid: one for uid, one in charges.items() if one.fixed < at}


def _that_count(charges: Iterable[Charge], period: Period, now: int) -> list[Charge]:
    """Leave out what was over before the present period began: most windows are long past."""
    begin = period_of(now, period)[0]
    return [one for one in charges if one.end > begin]


def _by_period(charges: Iterable[Charge], period: Period) -> Counter[int]:
    """Add up by the start of each period."""
    total: Counter[int] = Counter()
    for one in charges:
        for start, end in parts_of(one.start, one.end, period):
            total[period_of(start, period)[0]] += (end - start) * one.gpus
        total[period_of(one.start, period)[0]] += one.forfeited
    return total
