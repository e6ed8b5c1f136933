"""The book of a pool: what is promised to reservations, and what is left of the pool beside it, over time.

A decision makes one from what is stored and uses it once. It may as well be kept: each request costs the logarithm of
what is booked already, not the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.calendar import BEGINNING, FOREVER, Booked, Calendar
from gpu_tenancy.domain.capacity import promisable_over_time
from gpu_tenancy.domain.promises.domains import Domains
from gpu_tenancy.domain.promises.requests import Desk
from gpu_tenancy.domain.promises.rules import NotAccepted
from gpu_tenancy.domain.promises.windows import Rules, follow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gpu_tenancy.domain.promises.facts import Booking, PoolFacts
    from gpu_tenancy.domain.promises.windows import Held


class Book:
    """What is promised in one pool; requests are taken one after the other.

    Args:
        facts: the pool and its contracts; its bookings and quotas are not read.
        now: in seconds.
        held: what is promised to reservations already.
        guaranteed: GPUs that are promised for good.

    Attributes:
        free: what is promised to nobody, over time.
        homeless: whose NVLink domain cannot hold them any more, by uid; nor can another that is free.
    """

    def __init__(self, facts: PoolFacts, now: int, held: Iterable[Held] = (), guaranteed: int = 0) -> None:
        self._now = now
        self._rules = Rules.of(facts.spec.reservations)
        domains = Domains(facts.capacity.domains, now)
        self._held, self.homeless = _housed({one.booking.uid: one for one in held}, domains, now)
        levels = promisable_over_time(facts.capacity, facts.spec)
        occupied = [one.occupied for one in self._held.values()]
        self.free = Calendar(levels, [Booked(BEGINNING, FOREVER, guaranteed), *occupied], now)
        self._desk = Desk(facts, now, self.free, domains, self._held.values())

    @property
    def held(self) -> Mapping[str, Held]:
        """What is promised to reservations, by uid."""
        return self._held

    def accept(self, booking: Booking) -> Held:
        """Promise what a reservation asks for, in place of what it is promised already.

        Raises:
            NotAccepted: when it cannot be had; what is promised already stays.
        """
        (held,) = self.accept_all([booking])
        return held

    def accept_all(self, party: Sequence[Booking]) -> list[Held]:
        """Promise what several reservations ask for together, or nothing of it.

        Raises:
            NotAccepted: when one of them cannot be had; what is promised already stays.
        """
        taken: list[Held] = []
        try:
            for booking in party:
                taken += [self._desk.take(booking, self._held.get(booking.uid))]
        except NotAccepted:
            for one in reversed(taken):
                self._desk.drop(one)
                if one.booking.uid in self._held:
                    self._desk.enter(self._held[one.booking.uid])
            raise
        self._held |= {one.booking.uid: one for one in taken}
        self.homeless -= {one.booking.uid for one in taken}
        return taken

    def accept_uncontested(self, bookings: Sequence[Booking]) -> list[Held]:
        """Promise at once to those of many simple requests that fit beside all of the others."""
        taken = self._desk.take_uncontested(bookings)
        self._held |= {one.booking.uid: one for one in taken}
        return taken

    def is_simple(self, booking: Booking) -> bool:
        """Say whether that can be asked for a request that holds nothing yet."""
        return self._desk.is_simple(booking)

    def keep(self, uid: str) -> Held:
        """Let a window go on for as long as its pods have to go, if it could be extended so."""
        held = self._held[uid]
        self._held[uid] = self._desk.keep(held, held.step(self._rules))
        return self._held[uid]

    @property
    def whole(self) -> Calendar:
        """What of the pool's whole nodes is not booked exclusively, in GPUs over time."""
        return self._desk.whole

    def drop_claims(self) -> None:
        """Free what those who wait have claimed since they were last asked, each before those who came after it."""
        self._desk.drop_claims()

    def change(self, booking: Booking) -> Held:
        """Take what a changed spec gives back, and promise what it asks for on top: more, longer, or at another time.

        Raises:
            NotAccepted: when that cannot be had; what is promised already stays.
        """
        before = self._held[booking.uid].but(booking=booking)
        after, asks = follow(before, self._rules, self._now)
        if asks:
            return self.accept(booking)
        self._desk.drop(before)
        self._desk.enter(after)
        self._held[booking.uid] = after
        return after

    def release(self, uid: str) -> None:
        """Forget a reservation: it was deleted."""
        self._desk.drop(self._held.pop(uid))

    def advance(self, now: int) -> None:
        """Let time pass."""
        self._now = now
        self.free.advance(now)
        self._desk.advance(now)

    def guarantee(self, gpus: int) -> None:
        """Promise GPUs for good."""
        self.free.book(Booked(BEGINNING, FOREVER, gpus))

    def room(self) -> int:
        """Say how many more GPUs may be promised for good: those free now and whenever reservations hold any."""
        lasting = [one.occupied for one in self._held.values() if one.occupied.end > self._now]
        free = self.free
        return min([free.free_at(self._now), *(free.free_over(max(self._now, one.start), one.end) for one in lasting)])


def _housed(held: dict[str, Held], domains: Domains, now: int) -> tuple[dict[str, Held], frozenset[str]]:
    """Book in its domain what is promised in one, and find another domain for what does not fit into its own any more.

    Those whose domain holds them stay, the oldest promise first. Of the others, those that have not begun move to what
    is left after that; who finds nothing stays where it is, and short. One whose domain was forgotten gets another.
    """
    housed, homeless = dict(held), set[str]()
    lasting = sorted(
        (one for one in held.values() if one.in_domain and one.occupied.end > now), key=lambda one: one.rank
    )
    for one in lasting:
        if domains.fits(one.domain, one.occupied):
            domains.book(one.domain, one.occupied)
        else:
            homeless.add(one.booking.uid)
    for one in [one for one in lasting if one.booking.uid in homeless]:
        other = domains.choose(one.occupied) if one.start > now or not one.domain else None
        if other is not None:
            housed[one.booking.uid] = one.but(domain=other)
            homeless.remove(one.booking.uid)
        domains.book(other or one.domain, one.occupied)
    return housed, frozenset(homeless)
