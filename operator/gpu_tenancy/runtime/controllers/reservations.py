"""Reservations: what their pool decided is told in their statuses, after whatever enforces it."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from gpu_tenancy.api import API_VERSION, GPU_RESERVATION
from gpu_tenancy.domain.conditions import holds
from gpu_tenancy.domain.naming import Tier, priority_class
from gpu_tenancy.domain.promises import QuotaKey, State
from gpu_tenancy.reconcile.plan import Plan, Ref
from gpu_tenancy.reconcile.reservations import is_written, plan_reservation, plan_unreadable
from gpu_tenancy.runtime.world import Broken, pool_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from gpu_tenancy.domain.promises import Decision, Verdict
    from gpu_tenancy.kube.store import Entry
    from gpu_tenancy.kube.store import Key as ObjectKey
    from gpu_tenancy.runtime.controllers.pools import Decisions
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.world import Quota, Reservation


class ReservationController:
    """Reconciles the statuses of a pool's reservations with its newest decision, but for what is promised in them.

    Of a promise the pool is told first, in an order that is safe (`PoolController`); here nothing is left but words.
    """

    def __init__(self, tools: Tools, decisions: Decisions) -> None:
        self._world = tools.world
        self._executor = tools.executor
        self._clock = tools.clock
        self._metrics = tools.metrics
        self._decisions = decisions
        self._opened: dict[ObjectKey, datetime] = {}
        tools.world.quotas.subscribe(self._quota_changed)

    async def reconcile(self, name: str) -> None:
        """Tell of what was decided about a pool's reservations as they are now."""
        decision, now = self._decisions.of(name), self._clock.now()
        if decision is None:
            return
        plans: list[Plan] = []
        for entry in self._world.reservations.by("pool", name):
            one = entry.value
            if isinstance(one, Broken):
                plans.append(self.plan_broken(one, entry.resource_version, decision, now))
            elif self._decisions.is_about(one) and is_written(one, decision.verdicts[one.uid]):
                plans.append(self.plan(one, decision, now))
        await self._executor.execute(together(plans))

    def plan(self, reservation: Reservation, decision: Decision, now: datetime) -> Plan:
        """Have the status say what was decided."""
        verdict = decision.verdicts[reservation.uid]
        quota = self._quota(reservation)
        is_open = self._is_open(reservation, decision, verdict)
        self._metrics.reservation(reservation.namespace, reservation.name, verdict.state.value)
        opens = is_open and verdict.state is State.ACTIVE and not verdict.draining
        if opens and verdict.ledger is not None and not holds(reservation.status.conditions, "Active"):
            begun = max(verdict.ledger.window.start, verdict.ledger.accepted)
            opened = now if quota is None else self._opened.get(quota.key, now)
            self._metrics.activated(max(0.0, (opened - begun).total_seconds()))
        usage = self._decisions.meter.reservation_usage(reservation.spec.pool, reservation)
        return plan_reservation(reservation, verdict, is_open=is_open, usage=usage, now=now)

    def plan_broken(self, reservation: Broken, resource_version: str, decision: Decision | None, now: datetime) -> Plan:
        """Have the conditions say that the spec cannot be read, and how what was promised before stands."""
        verdict = None if decision is None else decision.verdicts.get(reservation.uid)
        return plan_unreadable(
            Ref(API_VERSION, GPU_RESERVATION.kind, reservation.namespace, reservation.name),
            reservation.uid,
            reservation.generation,
            resource_version,
            before=reservation.status.conditions,
            problem=reservation.problem,
            verdict=verdict,
            is_open=decision is not None and verdict is not None and self._is_open(reservation, decision, verdict),
            now=now,
        )

    def _is_open(self, reservation: Reservation | Broken, decision: Decision, verdict: Verdict) -> bool:
        """Say whether the API server lets pods use what is backed now."""
        quota = self._quota(reservation)
        enforced = 0 if quota is None else quota.value.enforced
        target = decision.targets.get(QuotaKey(reservation.namespace, Tier.RESERVED), 0)
        return enforced >= target and verdict.backed > 0

    def _quota(self, reservation: Reservation | Broken) -> Entry[Quota] | None:
        return self._world.quotas.get(priority_class(pool_of(reservation), Tier.RESERVED), reservation.namespace)

    def _quota_changed(self, key: ObjectKey, old: Entry[Quota] | None, new: Entry[Quota] | None) -> None:
        """Note when a quota began to give more: it is told later."""
        if new is None:
            self._opened.pop(key, None)
        elif new.value.tier is Tier.RESERVED and new.value.enforced > (0 if old is None else old.value.enforced):
            self._opened[key] = self._clock.now()


def together(plans: Iterable[Plan]) -> Plan:
    """Join plans that do not build on each other: first all their first stages, then all their second ones.

    What fails in one namespace is no reason to say nothing in the others.
    """
    stages = zip_longest(*(plan.stages for plan in plans), fillvalue=())
    joined = tuple(tuple(operation for stage in stage_of_all for operation in stage) for stage_of_all in stages)
    return Plan(joined, by_namespace=True)
