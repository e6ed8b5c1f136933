"""What every booking has to stay within: the tenant's ceiling and budget, the pool's free GPUs and reservable share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_tenancy.domain.budget import HourBudget, period_of
from gpu_tenancy.domain.calendar import BEGINNING, Booked, Calendar
from gpu_tenancy.domain.promises.facts import Reason
from gpu_tenancy.domain.promises.wording import at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gpu_tenancy.domain.calendar import Question
    from gpu_tenancy.domain.promises.domains import OneDomain
    from gpu_tenancy.domain.promises.facts import Grant
    from gpu_tenancy.domain.promises.windows import Held

_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Limit:
    """Something of which bookings take.

    Attributes:
        reason: what it is called when it is exceeded.
        holder: what they take of.
        gap: how many seconds after its end a booking still takes.
        exceeded: says what is left for one more booking, if it is not enough.
    """

    reason: Reason
    holder: Calendar | HourBudget | OneDomain
    gap: int
    exceeded: Callable[[Booked], str | None]

    def book(self, window: Booked) -> None:
        """Count a booking."""
        self.holder.book(self._counted(window))

    def release(self, window: Booked) -> None:
        """Count it no longer."""
        self.holder.release(self._counted(window))

    def objection(self, window: Booked) -> str | None:
        """Say what is left for one more booking, if it is not enough."""
        return self.exceeded(self._counted(window))

    def starts(self, gpus: int, duration: int, until: int, step: int) -> Question:
        """Ask for starts of bookings that stay within and end by `until`."""
        return lambda not_before: self.holder.earliest(gpus, duration + self.gap, not_before, until + self.gap, step)

    def late_starts(self, gpus: int, duration: int, since: int, step: int) -> Question:
        """Ask for starts of bookings that stay within and begin not before `since`; the answer is not after the question."""
        taken = duration + self.gap
        return lambda last: self.holder.latest(gpus, taken, since, last + taken, step)

    def _counted(self, window: Booked) -> Booked:
        return Booked(window.start, window.end + self.gap, window.gpus) if self.gap else window


def pool_limit(free: Calendar, gap: int, what: str = "free") -> Limit:
    """Stay within the free GPUs of a calendar, with time to clean up after each window."""

    def exceeded(window: Booked) -> str | None:
        left = free.free_over(window.start, window.end)
        return f"{max(0, left)} are {what}" if left < window.gpus else None

    return Limit(Reason.DOES_NOT_FIT, free, gap, exceeded)


def domain_limit(one: OneDomain, gap: int) -> Limit:
    """Stay within the free GPUs of one NVLink domain."""

    def exceeded(window: Booked) -> str | None:
        left = one.free_over(window.start, window.end)
        return f"at most {max(0, left)} are free in one" if left < window.gpus else None

    return Limit(Reason.NO_DOMAIN_FITS, one, gap, exceeded)


def tenant_limits(grant: Grant, held: Iterable[Held], now: int) -> Iterator[Limit]:
    """Stay within what the tenant may reserve at one instant, and within its GPU-hours.

    Args:
        grant: the tenant's.
        held: everything that it was promised in the pool, past windows too.
        now: in seconds.
    """
    held = list(held)
    windows = [one.window for one in held]
    ceiling = Calendar([(BEGINNING, grant.reservable)], windows, now)

    def above(window: Booked) -> str | None:
        left = ceiling.free_over(window.start, window.end)
        return f"{max(0, left)} of {grant.reservable} GPUs are left" if left < window.gpus else None

    yield Limit(Reason.CEILING_EXCEEDED, ceiling, 0, above)
    if grant.hours is None:
        return
    budget = HourBudget(grant.hours, [*windows, *(one.forfeit for one in held)], grant.spent)

    def spent(window: Booked) -> str | None:
        start = budget.exceeded(window)
        if start is None:
            return None
        hours = budget.hours
        left, period = budget.left(start) // _HOUR, hours.period
        begins = at(period_of(start, period)[0])
        return f"{left} of {hours.limit} GPU-hours are left in the {period.lower()} that begins at {begins}"

    yield Limit(Reason.BUDGET_EXCEEDED, budget, 0, spent)
