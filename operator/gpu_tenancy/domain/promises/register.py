"""The reservations of a pool: what is promised, what was refused, who still asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from gpu_tenancy.domain.calendar import instant, seconds
from gpu_tenancy.domain.promises.facts import Reason
from gpu_tenancy.domain.promises.idle import Idle
from gpu_tenancy.domain.promises.rules import NotAccepted
from gpu_tenancy.domain.promises.verdicts import Lacks, promised, refusal_of, refused, waiting
from gpu_tenancy.domain.promises.windows import Held, follow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from gpu_tenancy.api.pool import GpuPoolSpec, ReservationRules
    from gpu_tenancy.domain.promises.book import Book
    from gpu_tenancy.domain.promises.facts import Booking, PoolFacts, Refusal, Verdict


MAX_ASKING = 200
"""How many reservations of one tenant are considered in one decision: each of them costs everybody time."""
_TOO_MANY = f"{MAX_ASKING} of your reservations wait for an answer in this pool already: delete some of those that wait"


class Register:
    """Every reservation of the pool, in the order in which they asked.

    Attributes:
        held: what is promised, by uid.
        refusals: why present specs are not taken, by uid.
        waits: what those who still ask were told last, by uid.
        idle: who uses what is promised.
    """

    def __init__(self, facts: PoolFacts, now: int) -> None:
        self._now = now
        self._rules = facts.spec.reservations
        self._bookings = sorted(facts.bookings, key=self._place)
        self._asking: list[Booking] = []
        self._crowd: Counter[str] = Counter()
        self._series: set[str] = set()
        self.held: dict[str, Held] = {}
        self.refusals: dict[str, Refusal] = {}
        self.waits: dict[str, NotAccepted] = {}
        self.idle = Idle(facts, now)
        for booking in self._bookings:
            self._enter(booking, facts.spec.reservations)

    def _enter(self, booking: Booking, rules: ReservationRules) -> None:
        asks = booking.ledger is None
        if booking.ledger is not None:
            held = Held.of(booking, booking.ledger, seconds(rules.cleaningGap))
            held, asks = follow(held, rules, self._now)
            self.held[booking.uid] = self.idle.judge(booking, held)
            asks = asks and self.held[booking.uid] is held
        if asks and booking.refusal is not None and booking.refusal.holds(booking):
            self.refusals[booking.uid] = booking.refusal
        elif asks and (self._crowd[booking.tenant] < MAX_ASKING or booking.series in self._series):
            self._crowd[booking.tenant] += 1
            self._series |= {booking.series} - {""}
            self._asking.append(booking)
        elif asks:
            self._turn_away(booking, self.held.get(booking.uid), NotAccepted(Reason.TOO_MANY_REQUESTS, _TOO_MANY))

    def lasting(self) -> list[Held]:
        """Give what is promised and not yet over and cleaned up, the oldest promise first."""
        return sorted((one for one in self.held.values() if one.occupied.end > self._now), key=lambda one: one.rank)

    def take_turns(self, book: Book, *, keeping: bool) -> bool:
        """Let everyone who asks ask once, first come first served, and say whether anyone got anything.

        Args:
            book: the pool's.
            keeping: whether windows may go on if nobody got anything: not while a guarantee lacks GPUs.
        """
        asking, self._asking, self.waits = self._asking, [], {}
        got = False
        for _, together in groupby(asking, lambda booking: booking.series or booking.uid):
            party = list(together)
            try:
                taken = book.accept_all(party)
            except NotAccepted as outcome:
                for booking in party:
                    self._turn_away(booking, self.held.get(booking.uid), outcome)
            else:
                got = True
                for one in taken:
                    self.held[one.booking.uid] = one
                    self.refusals.pop(one.booking.uid, None)  # it waited in an earlier turn
        if keeping and not got:
            self._keep(book)
        book.drop_claims()
        return got

    def _keep(self, book: Book) -> None:
        """Let windows that are about to end go on for a step where nobody else wants the GPUs."""
        for one in self.lasting():
            keeps = one.booking.spec.onEnd == "Keep" and not one.booking.draining
            if keeps and one.drain(self._rules) <= self._now < one.end and not self._is_relieved(one):
                self.held[one.booking.uid] = book.keep(one.booking.uid, self._rules)

    def _is_relieved(self, one: Held) -> bool:
        """Say whether the next window of one that recurs begins before the step would be over."""
        until, whole = one.end + one.step(self._rules), _whole(one)
        return any(one.start < other.start < until and _whole(other) == whole for other in self.held.values())

    def _place(self, booking: Booking) -> tuple[int, datetime, str, str]:
        """Give its place in the line: a changed spec stands in it from when it was first seen, not from the creation."""
        asked = seconds(booking.since or booking.created)
        if booking.since is None and booking.generation > 1:
            asked = max(asked, self._now)
        return asked, booking.created, booking.namespace, booking.name

    def _turn_away(self, booking: Booking, held: Held | None, outcome: NotAccepted) -> None:
        if outcome.waits:
            self.waits[booking.uid] = outcome
            self._asking.append(booking)
        if held is not None or not outcome.waits:
            self.refusals[booking.uid] = refusal_of(booking, outcome, change=held is not None)

    def verdicts(
        self, pool: GpuPoolSpec, backed: Mapping[str, int], short: AbstractSet[str], homeless: AbstractSet[str]
    ) -> dict[str, Verdict]:
        """Give the verdict on each reservation, by uid.

        Args:
            pool: in which pool.
            backed: GPUs that are there for windows that have begun, by uid.
            short: whom the pool cannot keep its promise to.
            homeless: whom no NVLink domain holds.
        """
        verdicts = {one.uid: self._verdict(one.uid, pool, backed, short, homeless) for one in self._bookings}
        line = [uid for uid, outcome in self.waits.items() if outcome.claim is not None]
        places = {uid: place for place, uid in enumerate(line, 1)}
        for booking in self._bookings:
            if booking.uid in self.waits:
                since, position = instant(self._place(booking)[0]), places.get(booking.uid, 0)
                verdicts[booking.uid] = replace(verdicts[booking.uid], since=since, position=position)
        if self._rules.noShowAfter:
            for uid, held in self.held.items():
                verdicts[uid] = replace(verdicts[uid], first_used=self.idle.first_used(held.booking, held))
        return verdicts

    def _verdict(
        self,
        uid: str,
        pool: GpuPoolSpec,
        backed: Mapping[str, int],
        short: AbstractSet[str],
        homeless: AbstractSet[str],
    ) -> Verdict:
        held, refusal = self.held.get(uid), self.refusals.get(uid)
        if held is not None:
            lacks = Lacks(gpus=uid in short, domain=uid in homeless)
            return promised(held, pool, self._now, backed=backed.get(uid, 0), lacks=lacks, refusal=refusal)
        return waiting(self.waits[uid]) if refusal is None else refused(refusal)


def _whole(one: Held) -> str:
    """Name the reservation of which it is a window."""
    return one.booking.uid.partition("/")[0]
