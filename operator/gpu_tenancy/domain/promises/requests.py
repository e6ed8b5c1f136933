"""New reservations and changes of accepted ones, taken in turn and booked as they are accepted."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING

from gpu_tenancy.domain.calendar import BEGINNING, Booked, Calendar
from gpu_tenancy.domain.promises.choice import Choice, within_contract
from gpu_tenancy.domain.promises.domains import OneDomain
from gpu_tenancy.domain.promises.facts import Reason
from gpu_tenancy.domain.promises.limits import Limit, domain_limit, pool_limit, tenant_limits
from gpu_tenancy.domain.promises.rules import NotAccepted, admit
from gpu_tenancy.domain.promises.uncontested import uncontested
from gpu_tenancy.domain.promises.windows import Held, Rules, Wanted, beyond
from gpu_tenancy.domain.promises.wording import Wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpu_tenancy.domain.promises.domains import Domains
    from gpu_tenancy.domain.promises.facts import Booking, Grant, PoolFacts


class Desk:
    """Takes requests one after the other.

    Args:
        facts: the pool.
        now: in seconds.
        free: the pool's free GPUs over time; what is accepted is booked in it.
        domains: what of it is free in each NVLink domain.
        held: everything that was accepted before; `free` and `domains` have what of it still matters.

    Attributes:
        whole: what of the pool's whole nodes is not booked exclusively, in GPUs over time.
    """

    def __init__(self, facts: PoolFacts, now: int, free: Calendar, domains: Domains, held: Iterable[Held]) -> None:
        rules, total = Rules.of(facts.spec.reservations), facts.capacity.capacity
        self._now = now
        self._frozen = facts.frozen
        self._grants = {grant.tenant: grant for grant in facts.grants}
        self._rules = rules
        self._gap = rules.gap
        self._wording = Wording(facts.spec)
        share = total * facts.spec.reservations.maximumShare // 100
        self._most = max(0, min(share, total - facts.spec.headroom))
        self._calendars = [free]
        self._pool = [pool_limit(free, self._gap)]
        if share < total:
            shared = Calendar([(BEGINNING, share)], (one.occupied for one in held), now)
            self._calendars.append(shared)
            self._pool.append(pool_limit(shared, self._gap, "left for reservations"))
        self._held_by: defaultdict[str, dict[str, Held]] = defaultdict(dict)
        for one in held:
            self._held_by[one.booking.tenant][one.booking.uid] = one
        self._limits_of: dict[str, list[Limit]] = {}
        self._claims: list[tuple[Limit, Booked]] = []
        self._unit, self._node = facts.spec.placementUnit, facts.spec.gpusPerNode
        self._domains = domains
        self.whole = Calendar(
            [(BEGINNING, sum(facts.capacity.domains.values()))], (one.occupied for one in held if one.exclusive), now
        )
        self._whole = pool_limit(self.whole, self._gap, "free in whole nodes")

    def take(self, booking: Booking, held: Held | None = None) -> Held:
        """Accept a request and book it, in place of what it holds already.

        Raises:
            NotAccepted: when it is not accepted; what it holds already stays booked. If it waits for the pool, it claims
                what it lacks, so that nobody who comes later takes it: as much as it could book, and no more.
        """
        limits = self._limits_for(booking, held)
        if held is not None:
            self.drop(held)
        try:
            start, end = self._choose(booking, held, limits)
        except NotAccepted as outcome:
            if held is not None:
                self.enter(held)
            if outcome.claim is not None:
                self._book_claim(beyond(outcome.claim, held), limits)
            raise
        forfeited = 0 if held is None else held.forfeited
        accepted = Held(booking, start, end, booking.spec.gpus, self._now, self._gap, forfeited)
        if self._unit_of(booking) == "Clique":
            domain = self._domains.choose(accepted.occupied, "" if held is None else held.domain)
            accepted = accepted.but(domain=domain or "")
        if held is not None and (held.domain, held.start) == (accepted.domain, accepted.start):
            accepted = accepted.but(nodes=held.nodes)
        self.enter(accepted)
        return accepted

    def take_uncontested(self, bookings: Iterable[Booking]) -> list[Held]:
        """Accept, all at once, those of many simple requests that fit beside all of the others.

        They take nothing from the others, which may be asked after them as well as before: wherever their windows are,
        there is enough for everyone. Only what is offered to others leaves out what they got.
        """
        asked = {}
        for booking in bookings:
            try:
                first, _, duration = within_contract(self._grant(booking), admit(booking, None, self._rules, self._now))
            except NotAccepted:
                continue  # it will be asked by itself, and told why
            asked[booking.uid] = Held(booking, first, first + duration, booking.spec.gpus, self._now, self._gap)
        self._enter_all(asked.values())
        horizon = self._now + self._rules.horizon
        taken = [one for one in uncontested(asked.values(), self._own_limits, self._pool) if one.end <= horizon]
        for uid in asked.keys() - {one.booking.uid for one in taken}:
            self.drop(asked[uid])
        return taken

    def is_simple(self, booking: Booking) -> bool:
        """Say whether a request asks for GPUs anywhere in the pool at a fixed time, for itself alone."""
        spec = booking.spec
        alone = spec.window.start is not None and spec.exclusivity == "None" and not booking.series
        return alone and self._unit != "Clique"

    def keep(self, held: Held, step: int) -> Held:
        """Book a window a step longer if that fits beside everything that is booked or claimed."""
        longer = held.but(end=held.end + step, kept=held.kept + step)
        try:
            limits = self._limits_for(held.booking, held)
            within_contract(self._grants[held.booking.tenant], Wanted(held.start, held.start, longer.end - held.start))
        except NotAccepted:
            return held  # nothing new is promised to the tenant
        self.drop(held)
        fits = all(limit.objection(longer.window) is None for limit in limits)
        self.enter(longer if fits else held)
        return longer if fits else held

    def _limits_for(self, booking: Booking, held: Held | None) -> list[Limit]:
        limits = self._limits(self._grant(booking))
        if booking.spec.exclusivity != "None":
            limits = [*limits, self._whole]
        if self._unit_of(booking) == "Clique":
            limits = [*limits, domain_limit(OneDomain(self._domains, _stays_in(held, self._now)), self._gap)]
        return limits

    def _book_claim(self, parts: Iterable[Booked], limits: Iterable[Limit]) -> None:
        for limit, part in product(limits, parts):
            limit.book(part)
            self._claims.append((limit, part))

    def drop_claims(self) -> None:
        """Free what was claimed, when everyone has asked."""
        for limit, part in self._claims:
            limit.release(part)
        self._claims.clear()

    def enter(self, held: Held) -> None:
        """Book a window, whether it fits or not."""
        tenant = held.booking.tenant
        self._held_by[tenant][held.booking.uid] = held
        for limit in self._limits_of.get(tenant, self._pool):
            limit.book(held.window)
        if held.exclusive:
            self._whole.book(held.window)
        if held.domain:
            self._domains.book(held.domain, held.occupied)

    def _enter_all(self, held: Iterable[Held]) -> None:
        for one in held:
            tenant = one.booking.tenant
            self._held_by[tenant][one.booking.uid] = one
            for limit in self._own_limits(tenant) if tenant in self._limits_of else ():
                limit.book(one.window)
        for calendar in self._calendars:
            calendar.book_all(one.occupied for one in held)

    def drop(self, held: Held) -> None:
        """Give back what was booked."""
        tenant = held.booking.tenant
        del self._held_by[tenant][held.booking.uid]
        for limit in self._limits_of.get(tenant, self._pool):
            limit.release(held.window)
        if held.exclusive:
            self._whole.release(held.window)
        if held.domain:
            self._domains.release(held.domain, held.occupied)

    def advance(self, now: int) -> None:
        """Let time pass."""
        self._now = now
        self._domains.advance(now)
        for limit in (*self._pool, self._whole):
            limit.holder.advance(now)

    def _grant(self, booking: Booking) -> Grant:
        """Find what the tenant may reserve, if it may reserve this at all."""
        gpus, grant = booking.spec.gpus, self._grants.get(booking.tenant)
        if booking.namespace in self._frozen:
            raise NotAccepted(
                Reason.TENANT_STALLED, "the tenant's spec is refused: nothing new is promised until it is corrected"
            )
        if not booking.tenant:
            raise NotAccepted(
                Reason.NOT_A_TENANT, f"namespace {booking.namespace} is no tenant's: reserve in a namespace of a tenant"
            )
        if grant is None or grant.reservable == 0:
            raise NotAccepted(
                Reason.NOT_GRANTED, f"the tenant may not reserve in pool {booking.spec.pool}: ask the provider for it"
            )
        if gpus > min(grant.reservable, self._most):
            limit = (
                f"the tenant's ceiling, {grant.reservable}"
                if gpus > grant.reservable
                else f"the pool can reserve, {self._most}"
            )
            raise NotAccepted(Reason.TOO_MANY_GPUS, f"{self._wording.gpus(gpus)} are more than {limit}: ask for fewer")
        unit = self._unit_of(booking)
        if unit != "GPU" and gpus % self._node:
            fewer, more = gpus - gpus % self._node, gpus - gpus % self._node + self._node
            fitting = f"{fewer} or {more}" if fewer else str(more)
            what = "this pool is booked" if self._unit != "GPU" else "exclusive nodes are booked"
            raise NotAccepted(
                Reason.NOT_WHOLE_NODES,
                f"{what} in whole nodes of {self._node} GPUs: instead of {gpus} ask for {fitting}",
            )
        if unit == "Clique" and gpus > self._domains.most():
            raise NotAccepted(
                Reason.TOO_MANY_GPUS,
                f"{self._wording.gpus(gpus)} are more than the largest NVLink domain has now, {self._domains.most()}: "
                "ask for fewer, or for several reservations",
            )
        return grant

    def _unit_of(self, booking: Booking) -> str:
        """Say what a reservation is booked in: what the pool says, or more if it wants nodes of its own."""
        exclusivity = booking.spec.exclusivity
        return self._unit if exclusivity == "None" or self._unit == "Clique" else exclusivity

    def _limits(self, grant: Grant) -> list[Limit]:
        """Give the limits of a tenant, its own first; most tenants ask for nothing, so they are made when needed."""
        if grant.tenant not in self._limits_of:
            own = tenant_limits(grant, self._held_by[grant.tenant].values(), self._now)
            self._limits_of[grant.tenant] = [*own, *self._pool]
        limits = self._limits_of[grant.tenant]
        for limit in limits:
            limit.holder.advance(self._now)  # here, since many tenants stay away for long
        return limits

    def _own_limits(self, tenant: str) -> Sequence[Limit]:
        return self._limits(self._grants[tenant])[: -len(self._pool)]

    def _choose(self, booking: Booking, held: Held | None, limits: Sequence[Limit]) -> tuple[int, int]:
        """Give start and end of the window to promise."""
        grant = self._grants[booking.tenant]
        wanted = within_contract(grant, admit(booking, held, self._rules, self._now))
        return Choice(booking, wanted, limits, grant, self._rules, self._wording, self._now).window()


def _stays_in(held: Held | None, now: int) -> str:
    """Say in which domain a changed window has to stay: pods of one that has begun are there."""
    return "" if held is None or held.start > now else held.domain
