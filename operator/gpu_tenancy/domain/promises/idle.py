"""No-shows: windows that nobody uses, in a pool that takes such windows back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.calendar import instant, seconds
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises.facts import State

if TYPE_CHECKING:
    from datetime import datetime

    from gpu_tenancy.domain.promises.facts import Booking, PoolFacts
    from gpu_tenancy.domain.promises.windows import Held


class Idle:
    """Watches who uses what was promised. Only what was observed without a gap, since the quota is open, counts.

    Reservations of one namespace share a quota, so what uses it counts for each of them.

    Attributes:
        wake: instants at which, if nothing is used until then, a window is taken back.
    """

    def __init__(self, facts: PoolFacts, now: int) -> None:
        self._now = now
        self._patience = seconds(facts.spec.reservations.noShowAfter)
        self._since = now if facts.since is None else seconds(facts.since)
        self._in_use = {
            quota.key.namespace for quota in facts.standing if quota.used and quota.key.tier is Tier.RESERVED
        }
        self.wake: list[int] = []

    def first_used(self, booking: Booking, held: Held) -> datetime | None:
        """Say when pods first held GPUs in a window, as far as the pool asks for it."""
        if not self._patience or held.state(self._now) is not State.ACTIVE:
            return None
        known = booking.first_used
        if known is not None and seconds(known) >= held.start:
            return known
        return instant(self._now) if booking.namespace in self._in_use else None

    def judge(self, booking: Booking, held: Held) -> Held:
        """Take a window back that was open for long and not used."""
        if not self._patience or held.state(self._now) is not State.ACTIVE:
            return held
        if booking.opened is None or self.first_used(booking, held) is not None:
            return held
        due = max(held.start, seconds(booking.opened), self._since) + self._patience
        if due <= self._now:
            return held.taken_back(self._now) if held.start < self._now else held
        self.wake.append(due)
        return held
