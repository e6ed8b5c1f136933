"""Reservations: what their pool decided is told in their statuses, after whatever enforces it."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from gpu_tenancy.domain.conditions import holds
from gpu_tenancy.domain.naming import Tier, priority_class
from gpu_tenancy.domain.promises import QuotaKey, State
from gpu_tenancy.reconcile.plan import Plan
from gpu_tenancy.reconcile.reservations import is_written, plan_reservation
from gpu_tenancy.runtime.world import Broken

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from gpu_tenancy.domain.promises import Decision
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
        plans = [
            self.plan(one, decision, now)
            for entry in self._world.reservations.by("pool", name)
            if not isinstance(one := entry.value, Broken) and self._decisions.is_about(one)
            if is_written(one, decision.verdicts[one.uid])
        ]
        await self._executor.execute(together(plans))

    def plan(self, reservation: Reservation, decision: Decision, now: datetime) -> Plan:
        """Have the status say what was decided."""
        verdict = decision.verdicts[reservation.uid]
        key = QuotaKey(reservation.namespace, Tier.RESERVED)
        quota = self._world.quotas.get(priority_class(reservation.spec.pool, Tier.RESERVED), reservation.namespace)
        enforced = 0 if quota is None else quota.value.enforced
        is_open = enforced >= decision.targets.get(key, 0) and verdict.backed > 0
        self._metrics.reservation(reservation.namespace, reservation.name, verdict.state.value)
        opens = is_open and verdict.state is State.ACTIVE and not verdict.draining
        if opens and verdict.ledger is not None and not holds(reservation.status.conditions, "Active"):
            begun = max(verdict.ledger.window.start, verdict.ledger.accepted)
            opened = now if quota is None else self._opened.get(quota.key, now)
            self._metrics.activated(max(0.0, (opened - begun).total_seconds()))
        usage = self._decisions.meter.reservation_usage(reservation.spec.pool, reservation)
        return plan_reservation(reservation, verdict, is_open=is_open, usage=usage, now=now)

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
