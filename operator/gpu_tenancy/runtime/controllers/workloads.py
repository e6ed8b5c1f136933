"""Workloads of a namespace: Jobs that wait for a window, and pods that have to leave at its end or with the tenant.

Pods are not watched. They are listed when somebody may have to go, until nobody has to.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from gpu_tenancy.domain.naming import RESERVATION_LABEL, Tier, priority_class
from gpu_tenancy.domain.promises import State
from gpu_tenancy.kube.resource import JOB, POD
from gpu_tenancy.reconcile.drain import (
    DrainView,
    JobFacts,
    Limit,
    Phase,
    PodFacts,
    Remainder,
    late,
    overdue,
    plan_drain,
    plan_jobs,
    remainder,
)
from gpu_tenancy.reconcile.exclusive import apart
from gpu_tenancy.reconcile.suspension import drain_phase
from gpu_tenancy.runtime.executor import ExecutionError
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.world import Broken, pool_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gpu_tenancy.domain.promises import Verdict
    from gpu_tenancy.runtime.controllers.pools import Decisions
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.world import Reservation

# No namespace can be called so.
EVERYWHERE = "*"
# How long before the end asking ends and deleting begins: enough for a kubelet to stop a container.
LAST_CALL = timedelta(seconds=5)


class Remainders:
    """What is left to go, by namespace that is being drained."""

    def __init__(self) -> None:
        self._remainders: dict[str, Remainder] = {}

    def of(self, namespaces: Iterable[str]) -> Mapping[str, Remainder]:
        """Pick those that were counted."""
        return {name: self._remainders[name] for name in namespaces if name in self._remainders}

    def replace(self, namespace: str, new: Remainder | None) -> bool:
        """Take what was counted, None for one that is not drained; say whether that is news."""
        before = self._remainders.pop(namespace, None)
        if new is not None:
            self._remainders[namespace] = new
        return new is not None and new != before


class WorkloadController:
    """Reconciles the Jobs and pods of one namespace with its reservations and its tenant's suspension."""

    def __init__(self, tools: Tools, decisions: Decisions, remainders: Remainders) -> None:
        self._world = tools.world
        self._engine = tools.engine
        self._executor = tools.executor
        self._client = tools.client
        self._clock = tools.clock
        self._decisions = decisions
        self._remainders = remainders
        self._vacated: set[str] = set()

    def vacate(self, namespace: str) -> None:
        """Look for pods of a reservation that is gone."""
        self._vacated.add(namespace)
        self._engine.queue.add(Key(Topic.WORKLOADS, namespace))

    async def reconcile(self, name: str) -> None:
        """Resume, suspend, evict; comes back while somebody has to go."""
        if name == EVERYWHERE:
            await self._look_everywhere()
            return
        owner = self._world.owner(name)
        if not owner:
            return
        shut = self._shut(name, owner)
        if shut is not None:
            self._note_overdue(name, {})
            await self._empty(name, owner, shut)
            return
        self._remainders.replace(name, None)
        # One that cannot be read is there all the same, with what was promised to it.
        reservations = [entry.value for entry in self._world.reservations.by("namespace", name)]
        phases = {one.name: self._phase(one) for one in reservations}
        jobs = self._world.reserving_jobs(name)
        # A Job that cannot be written must not hold up the pods that have to go.
        failure = await self._tend_jobs(DrainView(phases, jobs))
        await self._drain(name, phases, jobs, reservations)
        if failure is not None:
            raise failure

    async def _look_everywhere(self) -> None:
        """Find the namespaces with pods of reservations, which may be gone; then pools decide, which wait for it."""
        found: defaultdict[str, list[PodFacts]] = defaultdict(list)
        async for page in self._client.list(POD, label_selector=RESERVATION_LABEL):
            for raw in page.items:
                found[raw["metadata"]["namespace"]].append(PodFacts.of(raw))
        for namespace, pods in found.items():
            self._decisions.overdue.replace(namespace, late(pods, self._clock.now()))
            self.vacate(namespace)
        self._decisions.overdue.known = True
        for pool in self._engine.pools():
            self._engine.queue.add(Key(Topic.POOL, pool))

    def _shut(self, namespace: str, tenant: str) -> Phase | None:
        """Say how the tenant is being drained, if it is."""
        entry, place = self._world.tenants.get(tenant), self._world.namespaces.get(namespace)
        if entry is None or isinstance(entry.value, Broken) or place is None:
            return None
        return drain_phase(entry.value.spec, entry.value.status, place.value.labels, self._clock.now())

    async def _empty(self, name: str, owner: str, shut: Phase) -> None:
        """Have everything go, reservation or not; comes back until nothing is left."""
        jobs = [JobFacts.of(raw) async for page in self._client.list(JOB, name) for raw in page.items]
        failure = await self._tend_jobs(DrainView({}, jobs, shut=shut))
        pods = [PodFacts.of(raw) async for page in self._client.list(POD, name) for raw in page.items]
        if self._shut(name, owner) != shut:
            self._engine.queue.add(Key(Topic.WORKLOADS, name))  # it was changed meanwhile, or called off
            return
        now = self._clock.now()
        view = DrainView({}, jobs, pods, shut=shut)
        plan = plan_drain(view, now)
        self._engine.alarms.set(Key(Topic.WORKLOADS, name), plan.wake)
        result = await self._executor.execute(plan)
        if self._remainders.replace(name, remainder(view, result.blocked, now)):
            self._engine.queue.add(Key(Topic.TENANT, owner))
        if failure is not None:
            raise failure

    async def _tend_jobs(self, view: DrainView) -> ExecutionError | None:
        try:
            await self._executor.execute(plan_jobs(view))
        except ExecutionError as error:
            return error
        return None

    async def _drain(
        self,
        name: str,
        phases: Mapping[str, Phase],
        jobs: Sequence[JobFacts],
        reservations: Sequence[Reservation | Broken],
    ) -> None:
        """Look for pods that have to go, if there can be any."""
        limits = list(self._limits(name, reservations))
        if not (name in self._vacated or self._is_full(name, limits) or _anyone_leaves(phases)):
            self._note_overdue(name, {})
            return
        pods = [
            PodFacts.of(raw)
            async for page in self._client.list(POD, name, label_selector=RESERVATION_LABEL)
            for raw in page.items
        ]
        overruns = {
            priority_class(pool, Tier.RESERVED): spec.reservations.maximumOverrun
            for pool, spec in self._world.pool_specs().items()
        }
        view, now = DrainView(phases, jobs, pods, limits, overruns), self._clock.now()
        plan = plan_drain(view, now)
        self._vacated.discard(name)
        if plan.wake is not None:
            self._vacated.add(name)
        self._engine.alarms.set(Key(Topic.WORKLOADS, name), plan.wake)
        await self._executor.execute(plan)
        if all(self._is_decided(one) for one in reservations):
            self._note_overdue(name, overdue(view, now))

    def _is_decided(self, reservation: Reservation | Broken) -> bool:
        """Say whether it is known what a reservation has; until then its late pods count as they did at first."""
        pool = pool_of(reservation)
        return pool not in self._world.pool_specs() or self._decisions.of(pool) is not None

    def _note_overdue(self, namespace: str, held: Mapping[tuple[str, str], int]) -> None:
        """Have pools decide anew whose GPUs are held, or not any more, by pods that should be gone."""
        for pool in self._decisions.overdue.replace(namespace, held):
            self._engine.queue.add(Key(Topic.POOL, pool))

    def _phase(self, reservation: Reservation | Broken) -> Phase:
        verdict = self._decisions.verdict(reservation)
        ledger = None if verdict is None else verdict.ledger
        pool = self._world.pool_specs().get(pool_of(reservation))
        if verdict is None or ledger is None or pool is None:
            return _untouched(reservation.uid)
        grace = min(pool.reservations.gracePeriod, (ledger.window.end - ledger.window.start) / 4)
        return Phase(
            state=_state(verdict),
            token=f"{reservation.uid}/{int(ledger.window.start.timestamp())}",
            last_call=ledger.window.end - min(LAST_CALL, grace / 2),
            end=ledger.window.end,
        )

    def _limits(self, namespace: str, reservations: Sequence[Reservation | Broken]) -> Iterator[Limit]:
        """Say what is promised to the namespace now, by pool; a loss of capacity evicts nobody."""
        unread = {one.pool for one in reservations if isinstance(one, Broken) and self._decisions.verdict(one) is None}
        for entry in self._world.quotas.by("namespace", namespace):
            quota = entry.value
            pool = None if quota.pool is None else self._world.pool_specs().get(quota.pool)
            if quota.pool is None or pool is None or quota.tier is not Tier.RESERVED:
                continue
            if self._decisions.of(quota.pool) is None or quota.pool in unread:
                continue  # not all is known of what is promised, so nobody is known to be too many
            promised = {
                reservation.name: verdict.ledger.gpus
                for reservation in reservations
                if pool_of(reservation) == quota.pool
                and (verdict := self._decisions.verdict(reservation)) is not None
                and verdict.ledger is not None
                and _state(verdict) == "active"
            }
            limit = Limit(priority_class(quota.pool, Tier.RESERVED), pool.resourceName, sum(promised.values()))
            yield limit
            if elsewhere := promised.keys() & {one.name for one in reservations if apart(one)}:
                left = limit.hard - sum(promised[name] for name in elsewhere)
                yield replace(limit, hard=left, elsewhere=frozenset(elsewhere))

    def _is_full(self, namespace: str, limits: list[Limit]) -> bool:
        for limit in limits:
            quota = self._world.quotas.get(limit.priority_class, namespace)
            if quota is not None and quota.value.used > limit.hard:
                return True
        return False


def _state(verdict: Verdict) -> Literal["before", "active", "draining", "over"]:
    match verdict.state:
        case State.ACTIVE:
            return "draining" if verdict.draining else "active"
        case State.COMPLETED:
            return "over"
        case State.SCHEDULED if verdict.again:
            return "over"  # until the next window
        case _:
            return "before"


def _untouched(uid: str) -> Phase:
    """Give the phase in which nobody is resumed, suspended or sent away."""
    return Phase("before", uid, datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def _anyone_leaves(phases: Mapping[str, Phase]) -> bool:
    return any(phase.state in {"draining", "over"} for phase in phases.values())
