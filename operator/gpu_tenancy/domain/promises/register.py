"""The reservations of a pool: what is promised, what was refused, who still asks."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from gpu_tenancy.domain.calendar import instant, seconds
from gpu_tenancy.domain.promises.facts import Reason
from gpu_tenancy.domain.promises.idle import Idle
from gpu_tenancy.domain.promises.rules import NotAccepted
from gpu_tenancy.domain.promises.verdicts import Lacks, promised, refusal_of, refused, waiting
from gpu_tenancy.domain.promises.windows import Held, Rules, follow
from gpu_tenancy.domain.promises.wording import Wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from gpu_tenancy.domain.promises.book import Book
    from gpu_tenancy.domain.promises.facts import Booking, PoolFacts, Refusal, Verdict


MAX_ASKING = 200
"""How many reservations of one tenant are considered in one decision: each of them costs everybody time."""
MANY = 100
"""So many simple requests in a row are looked at together first, since a calendar is made anew for it."""
_TOO_MANY = f"{MAX_ASKING} of your reservations wait for an answer in this pool already: delete some of those that wait"


class Register:
    """Every reservation of the pool, in the order in which they asked.

    Attributes:
        held: what is promised, by uid.
        refusals: why present specs are not taken, by uid.
        waits: what those who still ask were told last, by uid.
    """

    def __init__(self, facts: PoolFacts, now: int) -> None:
        self._now = now
        self._rules = Rules.of(facts.spec.reservations)
        self._wording = Wording(facts.spec)
        self._bookings = facts.bookings
        self._idle = Idle(facts, now)
        self.held: dict[str, Held] = {}
        self.refusals: dict[str, Refusal] = {}
        self.waits: dict[str, NotAccepted] = {}
        asking = [booking for booking in facts.bookings if self._enter(booking)]
        self._asking = list(self._heard(sorted(asking, key=self._place)))

    def _enter(self, booking: Booking) -> bool:
        """Take in what was promised or refused, and say whether it asks for something that was not."""
        asks = booking.ledger is None
        if booking.ledger is not None:
            held, asks = follow(Held.of(booking, booking.ledger, self._rules.gap), self._rules, self._now)
            self.held[booking.uid] = self._idle.judge(booking, held)
            asks = asks and self.held[booking.uid] is held
        if asks and booking.refusal is not None and booking.refusal.holds(booking):
            self.refusals[booking.uid] = booking.refusal
            return False
        return asks

    def _heard(self, asking: Iterable[Booking]) -> Iterator[Booking]:
        """Turn away those of whose tenant many are before them."""
        crowd: Counter[str] = Counter()
        together: set[str] = set()
        for booking in asking:
            if crowd[booking.tenant] < MAX_ASKING or booking.series in together:
                crowd[booking.tenant] += 1
                together |= {booking.series} - {""}
                yield booking
            else:
                self._turn_away(booking, self.held.get(booking.uid), NotAccepted(Reason.TOO_MANY_REQUESTS, _TOO_MANY))

    def lasting(self) -> list[Held]:
        """Give what is promised and not yet over and cleaned up."""
        return [one for one in self.held.values() if one.end + one.gap > self._now]

    def take_turns(self, book: Book, *, keeping: bool) -> bool:
        """Let everyone who asks ask once, first come first served, and say whether anyone got anything.

        Args:
            book: the pool's.
            keeping: whether windows may go on if nobody got anything: not while a guarantee lacks GPUs.
        """
        asking, self._asking, self.waits = self._asking, [], {}
        got = False
        for simple, some in groupby(asking, lambda one: one.uid not in self.held and book.is_simple(one)):
            line = list(some)
            if simple and len(line) >= MANY:
                got = self._take_in(book.accept_uncontested(line)) or got
                line = [one for one in line if one.uid not in self.held]
            for _, together in groupby(line, lambda one: one.series or one.uid):
                got = self._ask(book, list(together)) or got
        if keeping and not got:
            self._keep(book)
        book.drop_claims()
        return got

    def _ask(self, book: Book, party: list[Booking]) -> bool:
        try:
            return self._take_in(book.accept_all(party))
        except NotAccepted as outcome:
            for booking in party:
                self._turn_away(booking, self.held.get(booking.uid), outcome)
            return False

    def _take_in(self, taken: Iterable[Held]) -> bool:
        got = {one.booking.uid: one for one in taken}
        self.held |= got
        for uid in got.keys() & self.refusals.keys():  # they waited in an earlier turn
            del self.refusals[uid]
        return bool(got)

    def _keep(self, book: Book) -> None:
        """Let windows that are about to end go on for a step where nobody else wants the GPUs."""
        ending = [
            one
            for one in self.held.values()
            if one.booking.spec.onEnd == "Keep" and not one.booking.draining
            if one.renewal(self._rules) <= self._now < one.end and not self._is_relieved(one)
        ]
        for one in sorted(ending, key=lambda one: one.rank):
            self.held[one.booking.uid] = book.keep(one.booking.uid)

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

    def wakes(self) -> Iterator[int]:
        """Give instants at which time alone may change an answer, or takes back what nobody uses."""
        yield from self._idle.wake
        for uid, outcome in self.waits.items():
            yield from outcome.wake
            if uid in self.held:
                yield self.held[uid].fixed_from(self._rules)

    def verdicts(
        self, backed: Mapping[str, int], short: AbstractSet[str], homeless: AbstractSet[str]
    ) -> dict[str, Verdict]:
        """Give the verdict on each reservation, by uid.

        Args:
            backed: GPUs that are there for windows that have begun, by uid.
            short: whom the pool cannot keep its promise to.
            homeless: whom no NVLink domain holds.
        """
        verdicts = {one.uid: self._verdict(one.uid, backed, short, homeless) for one in self._bookings}
        line = [uid for uid, outcome in self.waits.items() if outcome.claim is not None]
        places = {uid: place for place, uid in enumerate(line, 1)}
        for booking in self._asking:
            since, position = instant(self._place(booking)[0]), places.get(booking.uid, 0)
            verdicts[booking.uid] = verdicts[booking.uid]._replace(since=since, position=position)
        if self._rules.no_show:
            for uid, held in self.held.items():
                verdicts[uid] = verdicts[uid]._replace(first_used=self._idle.first_used(held.booking, held))
        return verdicts

    def _verdict(
        self, uid: str, backed: Mapping[str, int], short: AbstractSet[str], homeless: AbstractSet[str]
    ) -> Verdict:
        held, refusal = self.held.get(uid), self.refusals.get(uid)
        if held is not None:
            lacks = Lacks(gpus=uid in short, domain=uid in homeless)
            return promised(
                held, self._rules, self._wording, self._now, backed=backed.get(uid, 0), lacks=lacks, refusal=refusal
            )
        return waiting(self.waits[uid]) if refusal is None else refused(refusal)


def _whole(one: Held) -> str:
    """Name the reservation of which it is a window."""
    return one.booking.uid.partition("/")[0]
