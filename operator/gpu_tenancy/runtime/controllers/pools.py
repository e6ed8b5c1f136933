"""Pools: facts are gathered, the decision is made and published, quotas allow it, and what it promises is written down.

Whatever else is to be said of reservations their own controller says.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from gpu_tenancy.domain.capacity import PoolCapacity
from gpu_tenancy.domain.contract import CLASS_RANK
from gpu_tenancy.domain.grants import Share, shares
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises import Asking, Booking, Grant, PoolFacts, QuotaKey, StandingQuota, State, decide
from gpu_tenancy.domain.usage import Amounts
from gpu_tenancy.reconcile.pools import PoolView, plan_pool
from gpu_tenancy.reconcile.reservations import Turn, is_written, plan_without_pool, spread, turn, unread
from gpu_tenancy.runtime.charges import Charges, next_fixed
from gpu_tenancy.runtime.controllers.reservations import together
from gpu_tenancy.runtime.engine import TELL
from gpu_tenancy.runtime.executor import ExecutionError
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.meter import Meter, Reading
from gpu_tenancy.runtime.overdue import Overdue
from gpu_tenancy.runtime.world import Broken, pool_of, readable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from gpu_tenancy.api.tenant import GpuGrant
    from gpu_tenancy.domain.promises import Decision, Series, Verdict
    from gpu_tenancy.reconcile.plan import Plan
    from gpu_tenancy.runtime.controllers.binder import Binder
    from gpu_tenancy.runtime.controllers.quotas import QuotaWriter
    from gpu_tenancy.runtime.controllers.reservations import ReservationController
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.fleet import Fleet
    from gpu_tenancy.runtime.raises import Raises
    from gpu_tenancy.runtime.world import Pool, Reservation, Tenant


class Decisions:
    """The newest decision of each pool, and which spec of each tenant it knew.

    Attributes:
        charges: what budgets remember beside the decisions.
        meter: what was used.
        overdue: what pods hold that should be gone.
    """

    def __init__(self) -> None:
        self.charges = Charges()
        self.meter = Meter()
        self.overdue = Overdue()
        self._decisions: dict[str, Decision] = {}
        self._generations: dict[str, dict[str, tuple[str, int]]] = {}
        self._asked: dict[str, dict[str, int]] = {}

    def of(self, pool: str) -> Decision | None:
        """Give the newest decision about a pool."""
        return self._decisions.get(pool)

    def all(self) -> Iterable[tuple[str, Decision]]:
        """Give all pools with their newest decisions."""
        return self._decisions.items()

    def knows(self, pool: str, tenant: Tenant) -> bool:
        """Say whether the pool has decided on this spec of the tenant."""
        return self._generations.get(pool, {}).get(tenant.name) == (tenant.uid, tenant.generation)

    def verdict(self, reservation: Reservation | Broken) -> Verdict | None:
        """Give what is decided about a reservation."""
        decision = self._decisions.get(pool_of(reservation))
        return None if decision is None else decision.verdicts.get(reservation.uid)

    def is_about(self, reservation: Reservation) -> bool:
        """Say whether the pool has decided on this spec of the reservation."""
        return self._asked.get(reservation.spec.pool, {}).get(reservation.uid) == reservation.generation

    def replace(
        self, pool: str, decision: Decision, generations: dict[str, tuple[str, int]], asked: dict[str, int]
    ) -> set[str]:
        """Keep a decision; name the tenants whose spec it newly knows.

        Args:
            pool: the pool.
            decision: about it.
            generations: which spec of each tenant it knows.
            asked: which spec of each reservation it knows, by uid.
        """
        before = self._generations.get(pool, {})
        self._decisions[pool], self._generations[pool], self._asked[pool] = decision, generations, asked
        return {tenant for tenant, generation in generations.items() if before.get(tenant) != generation}

    def drop(self, pool: str) -> None:
        """Forget a pool that is gone."""
        self._decisions.pop(pool, None)
        self._generations.pop(pool, None)
        self._asked.pop(pool, None)


class PoolController:
    """Reconciles one pool with everything that is promised of it."""

    def __init__(
        self,
        tools: Tools,
        fleet: Fleet,
        binder: Binder,
        decisions: Decisions,
        raises: Raises,
        *,
        quotas: QuotaWriter,
        reservations: ReservationController,
    ) -> None:
        self._world = tools.world
        self._engine = tools.engine
        self._executor = tools.executor
        self._clock = tools.clock
        self._began = tools.clock.now()
        self._metrics = tools.metrics
        self._fleet = fleet
        self._binder = binder
        self._decisions = decisions
        self._raises = raises
        self._quotas = quotas
        self._reservations = reservations
        self._charges = decisions.charges
        # By pool, tenants with something new to write: a decision may be made anew before they are told.
        self._charged: defaultdict[str, set[str]] = defaultdict(set)
        self._meter = decisions.meter

    async def reconcile(
        self, name: str, *, looked: bool = False, contested: Mapping[str, Verdict] | None = None
    ) -> None:
        """Decide anew, have quotas allow it, queue whom it concerns, and write down what is promised.

        Nothing may happen between what is read and the decision that is published: a quota that is raised meanwhile, by
        the decision before, would be promised twice.

        Args:
            name: the pool's.
            looked: whether pods were looked at just now, as a decision asked for.
            contested: what was just decided about reservations, by uid, and could not be written: they keep what their
                status promises for now, so that nobody else waits for them.
        """
        if not self._decisions.overdue.known:
            return  # whoever looks for late pods queues every pool then
        contested = contested or {}
        entry, now = self._world.pools.get(name), self._clock.now()
        asking = list(self._world.reservations.by("pool", name))
        reservations = [one.value for one in asking if not isinstance(one.value, Broken)]
        if entry is None:
            self._decisions.drop(name)
            self._engine.alarms.set(Key(Topic.POOL, name), None)
            self._metrics.pool_gone(name)
            self._meter.drop(name)
            plans = [plan_without_pool(one, now) for one in reservations]
            plans += [
                self._reservations.plan_broken(one.value, one.resource_version, None, now)
                for one in asking
                if isinstance(one.value, Broken)
            ]
            await self._executor.execute(together(plans))
            return
        if isinstance(entry.value, Broken):
            return  # what was decided before stands; nothing can be decided about what cannot be read
        pool = entry.value
        capacity = PoolCapacity.of(self._fleet.of_pool(name), pool.spec)
        tenants = {tenant.name: tenant for tenant in self._tenants(name)}
        windows = spread(reservations, self._world.owner, pool.spec.reservations, now)
        open_ = {uid: one for uid, one in windows.items() if uid not in contested}
        kept = open_ | dict(self._unread(name, contested))
        next_charge = self._charge(pool, tenants, kept, now)
        facts = PoolFacts(
            spec=pool.spec,
            capacity=capacity,
            grants=tuple(self._grant(name, tenant) for tenant in tenants.values()),
            bookings=tuple(booking for one in kept.values() for booking in one.bookings),
            standing=tuple(self._standing(pool)),
            frozen=self._frozen(),
            since=self._began,
        )
        decision = decide(facts, now)
        if not looked and self._binder.needs_look(pool, facts, decision):
            await self._binder.look(pool)
            await self.reconcile(name, looked=True, contested=contested)  # the world has moved on
            return
        decision = _together(self._binder.bind(pool, facts, decision), kept, contested)
        asked = {one.uid: one.generation for one in reservations if one.uid in open_}
        generations = {tenant.name: (tenant.uid, tenant.generation) for tenant in tenants.values()}
        concerned, coming = self._publish(name, decision, generations, asked)
        try:
            await self._quotas.write(pool, decision)
        finally:
            self._tell(name, concerned, coming)
        next_reading = self._read_meter(pool, tenants, windows, {one.uid: one for one in reservations})
        wakes = [at for at in (decision.wake, next_charge, next_reading) if at is not None]
        self._engine.alarms.set(Key(Topic.POOL, name), min(wakes, default=None))
        self._measure(pool, capacity, decision)
        await self._write_down(name, [one for one in reservations if one.uid in open_], decision, contested, now)
        await self._executor.execute(self._plan_pool(pool, capacity, decision, now))

    async def _write_down(
        self,
        pool: str,
        reservations: Sequence[Reservation],
        decision: Decision,
        contested: Mapping[str, Verdict],
        now: datetime,
    ) -> None:
        """Write what is newly promised, like the quotas: what is given back before what is taken of it.

        Who cannot be written holds up nobody but those who would have what it gives back. That tenants change their
        reservations just then, again and again, is their own affair.
        """
        turns: dict[Turn, list[Plan]] = {one: [] for one in Turn}
        for one in reservations:
            if not is_written(one, verdict := decision.verdicts[one.uid]):
                turns[turn(one, verdict)].append(self._reservations.plan(one, decision, now))
        for each, plans in turns.items():
            try:
                await self._executor.execute(together(plans))
            except ExecutionError as error:
                refs = {failure.ref[2:] for failure in error.failures}
                failed = {
                    one.uid: decision.verdicts[one.uid] for one in reservations if (one.namespace, one.name) in refs
                }
                if each is not Turn.OTHERS and failed and not error.uncertain:
                    await self.reconcile(pool, contested={**contested, **failed})
                raise
        if any(turns.values()):
            self._engine.queue.add(Key(Topic.POOL, pool))  # what is written down now opens with the next decision

    def _charge(
        self, pool: Pool, tenants: Mapping[str, Tenant], windows: Mapping[str, Series], now: datetime
    ) -> datetime | None:
        """Keep budgets up to date, note which tenants have something new to write, and say when to look again."""
        by_tenant: defaultdict[str, list[Booking]] = defaultdict(list)
        for each in windows.values():
            by_tenant[each.whole.tenant] += each.bookings
        budgets: list[Booking] = []
        for name, tenant in tenants.items():
            grant = next(grant for grant in tenant.spec.gpus if grant.pool == pool.name)
            if self._charges.update(tenant, grant, by_tenant[name], pool.spec.reservations, now):
                self._charged[pool.name].add(name)
            if grant.gpuHours is not None:
                budgets += by_tenant[name]
        return next_fixed(budgets, pool.spec.reservations, now)

    def _read_meter(
        self,
        pool: Pool,
        tenants: Mapping[str, Tenant],
        windows: Mapping[str, Series],
        reservations: Mapping[str, Reservation],
    ) -> datetime | None:
        """Count what was used until now, have written what is new, and say when to look again."""
        now = self._clock.now()
        present = tuple(one.present(now) for one in windows.values())
        reading = self._reading(pool.name, present)
        for name in self._meter.read(pool.name, reading, tenants.values(), reservations, now):
            self._engine.queue.add(Key(Topic.TENANT, name))
        self._metrics.usage(
            pool.name,
            {
                name: account.this_month()._asdict()
                for name, tenant in tenants.items()
                if (account := self._meter.of_tenant(pool.name, tenant)) is not None
            },
        )
        return self._meter.next_reading(pool.name, now)

    def _reading(self, pool: str, bookings: tuple[Booking, ...]) -> Reading:
        allowed, used = {}, {}
        held: defaultdict[str, Amounts] = defaultdict(Amounts)
        for entry in self._world.quotas.by("pool", pool):
            quota, namespace = entry.value, entry.key.namespace
            if quota.tier is Tier.RESERVED:
                allowed[namespace], used[namespace] = quota.enforced, quota.used
            elif quota.tier is not None and quota.used:
                owner = self._world.owner(namespace)
                held[owner] = held[owner].plus(Amounts(**{quota.tier.value: quota.used}), 1)
        return Reading(bookings, allowed, used, held)

    def _tenants(self, pool: str) -> Iterator[Tenant]:
        """List the tenants that are granted something of the pool and whose spec is accepted."""
        for tenant in readable(self._world.tenants):
            if tenant.name not in self._world.refusals() and any(grant.pool == pool for grant in tenant.spec.gpus):
                yield tenant

    def _grant(self, pool: str, tenant: Tenant) -> Grant:
        grant = next(grant for grant in tenant.spec.gpus if grant.pool == pool)
        before = next((grant.granted for grant in tenant.status.gpus if grant.pool == pool), None)
        terms = tenant.spec.contract
        return Grant(
            tenant=tenant.name,
            created=tenant.creation_timestamp,
            guaranteed=grant.guaranteed,
            reservable=grant.reservable,
            hours=grant.gpuHours,
            spent=self._charges.spent(pool, tenant),
            shares=dict(self._shares(grant, tenant)),
            asking=tuple(self._asking(grant, tenant)) if grant.sharing == "Shared" else (),
            granted=before,
            rank=CLASS_RANK["OnDemand" if terms is None else terms.serviceClass],
            begins=None if terms is None else terms.validFrom,
            ends=None if terms is None else terms.validUntil,
        )

    def _asking(self, grant: GpuGrant, tenant: Tenant) -> Iterator[Asking]:
        """List the pods that the tenant's workloads miss, of those that ask for GPUs of the grant."""
        resource = self._world.pool_specs()[grant.pool].resourceName
        for namespace in tenant.spec.namespaces:
            for missing in self._world.missing(namespace.name):
                gpus = dict(missing.gpus).get(resource)
                if gpus and (missing.pool or namespace.defaultPool) == grant.pool:
                    yield Asking(namespace.name, gpus, missing.pods)

    def _shares(self, grant: GpuGrant, tenant: Tenant) -> Iterable[tuple[str, Share]]:
        """Leave out namespaces that are another tenant's: nothing of this grant may reach them."""
        for namespace, share in shares(grant, tenant.spec.namespaces).items():
            if self._world.holder(namespace) == tenant.name:
                yield namespace, share

    def _unread(self, pool: str, contested: Collection[str]) -> Iterator[tuple[str, Series]]:
        """List, by uid, what was promised to reservations that cannot be read, or not be written."""
        for entry in self._world.reservations.by("pool", pool):
            one = entry.value
            if isinstance(one, Broken) or one.uid in contested:
                spec = None if isinstance(one, Broken) else one.spec
                tenant = self._world.owner(one.namespace)
                kept = unread(one.namespace, one.name, one.uid, pool=pool, status=one.status, tenant=tenant, spec=spec)
                if kept is not None:
                    yield one.uid, kept

    def _standing(self, pool: Pool) -> Iterator[StandingQuota]:
        """List the quotas that hold GPUs of the pool, as they are or are about to be."""
        rising = dict(self._raises.of_pool(pool.name))
        for entry in self._world.quotas.by("pool", pool.name):
            quota = entry.value
            if quota.tier in {Tier.GUARANTEED, Tier.RESERVED}:
                key = QuotaKey(entry.key.namespace, quota.tier)
                hard = max(quota.hard, quota.enforced, rising.pop(key, 0))
                late = self._decisions.overdue.of(key.namespace, entry.key.name, pool.spec.resourceName)
                yield StandingQuota(key, hard, max(quota.used, late))
        for (namespace, tier), hard in rising.items():
            yield StandingQuota(QuotaKey(namespace, tier), hard, 0)

    def _frozen(self) -> frozenset[str]:
        """List the namespaces of tenants whose spec is refused or cannot be read."""
        broken = [tenant.name for tenant in self._world.tenants.values() if isinstance(tenant, Broken)]
        return frozenset(
            entry.key.name
            for tenant in (*self._world.refusals(), *broken)
            for entry in self._world.namespaces.by("tenant", tenant)
        )

    def _publish(
        self, pool: str, decision: Decision, generations: dict[str, tuple[str, int]], asked: dict[str, int]
    ) -> tuple[set[str], set[str]]:
        """Replace the decision, and have whoever has to go sent away.

        Returns:
            The tenants that read another decision now, and the namespaces in which somebody comes.
        """
        before = self._decisions.of(pool)
        tenants = self._decisions.replace(pool, decision, generations, asked)
        verdicts = {} if before is None else before.verdicts
        if before is not None:
            tenants |= {name for name, promise in decision.promises.items() if before.promises.get(name) != promise}
        allotted = {} if before is None else before.allotments
        for key in decision.allotments.keys() | allotted.keys():
            if decision.allotments.get(key) != allotted.get(key):
                tenants.add(self._world.owner(key.namespace))
        coming: set[str] = set()
        for entry in self._world.reservations.by("pool", pool):
            verdict, old = decision.verdicts.get(entry.uid), verdicts.get(entry.uid)
            if verdict is not None and (old is None or _phase(verdict) != _phase(old)):
                if verdict.state is State.ACTIVE and not verdict.draining:
                    coming.add(entry.key.namespace)
                else:
                    self._engine.queue.add(Key(Topic.WORKLOADS, entry.key.namespace))
        return tenants - {""}, coming

    def _tell(self, pool: str, tenants: Iterable[str], coming: Iterable[str]) -> None:
        """Queue whoever goes by a decision that was enforced; who comes and what is said wait until quotas are counted."""
        for tenant in {*tenants, *self._charged.pop(pool, ())}:
            self._engine.queue.add(Key(Topic.TENANT, tenant))
        for namespace in coming:
            self._engine.queue.add_after(Key(Topic.WORKLOADS, namespace), TELL)
        self._engine.queue.add_after(Key(Topic.RESERVATIONS, pool), TELL)

    def _plan_pool(self, pool: Pool, capacity: PoolCapacity, decision: Decision, now: datetime) -> Plan:
        view = PoolView(
            pool=pool,
            known_region=pool.spec.region in self._world.catalogue(),
            capacity=capacity,
            problems=self._fleet.problems(pool.name),
            decision=decision,
            classes={entry.key.name: entry.value for entry in self._world.priority_classes.snapshot().values()},
        )
        return plan_pool(view, now)

    def _measure(self, pool: Pool, capacity: PoolCapacity, decision: Decision) -> None:
        figures = decision.figures
        self._metrics.pool(
            pool.name,
            model=pool.spec.model,
            region=pool.spec.region,
            gpus={
                "capacity": capacity.capacity,
                "usable": capacity.usable,
                "unhealthy": capacity.unhealthy,
                "guaranteed": figures.guaranteed,
                "reserved": figures.reserved,
                "free": figures.free,
                "headroom": pool.spec.headroom,
            },
        )


def _together(decision: Decision, windows: Mapping[str, Series], contested: Mapping[str, Verdict]) -> Decision:
    """Put together what was decided about the windows of each reservation."""
    verdicts = {uid: one.verdict(decision.verdicts) for uid, one in windows.items()} | dict(contested)
    wakes = [wake for wake in (decision.wake, *(one.wake for one in windows.values())) if wake is not None]
    return replace(decision, verdicts=verdicts, wake=min(wakes, default=None))


def _phase(verdict: Verdict) -> tuple[State, bool, object]:
    """Say what the workloads of a reservation go by."""
    return verdict.state, verdict.draining, verdict.ledger
