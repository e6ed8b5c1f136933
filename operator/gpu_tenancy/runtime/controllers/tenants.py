"""Tenants: a view is gathered, the plan made, and its raises of quotas counted while it is carried out."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from gpu_tenancy.api.tenant import GrantStatus
from gpu_tenancy.domain.conditions import find
from gpu_tenancy.domain.contract import Standing, promised_until
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises import QuotaKey
from gpu_tenancy.observability.metrics import QuotaSeries
from gpu_tenancy.reconcile.exclusive import named
from gpu_tenancy.reconcile.isolation import Memory
from gpu_tenancy.reconcile.tenants import look_again, plan_failure, plan_tenant
from gpu_tenancy.reconcile.views import TenantView
from gpu_tenancy.runtime.executor import ExecutionError
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.world import Broken

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.runtime.controllers.audits import Audits
    from gpu_tenancy.runtime.controllers.pools import Decisions
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.controllers.workloads import Remainders
    from gpu_tenancy.runtime.fleet import Fleet
    from gpu_tenancy.runtime.peers import Peers
    from gpu_tenancy.runtime.raises import Raises
    from gpu_tenancy.runtime.world import Tenant


class TenantController:
    """Reconciles one tenant, or what stands of one that is gone."""

    def __init__(
        self,
        tools: Tools,
        fleet: Fleet,
        decisions: Decisions,
        raises: Raises,
        *,
        peers: Peers,
        remainders: Remainders,
        audits: Audits,
    ) -> None:
        self._world = tools.world
        self._engine = tools.engine
        self._executor = tools.executor
        self._clock = tools.clock
        self._metrics = tools.metrics
        self._platform = tools.platform
        self._fleet = fleet
        self._decisions = decisions
        self._raises = raises
        self._peers = peers
        self._remainders = remainders
        self._audits = audits
        self._memories: dict[str, Memory] = {}

    async def reconcile(self, name: str) -> None:
        """Bring the tenant's namespaces and all that is in them in line with its spec and its pools' decisions."""
        entry = self._world.tenants.get(name)
        tenant = None if entry is None else entry.value
        if self._waits_for_pools(tenant):
            return
        view = self._view(name)
        self._engine.alarms.set(Key(Topic.TENANT, name), view.contract.wake)
        plan = plan_tenant(view, self._clock.now(), self._memories.setdefault(name, Memory()))
        try:
            with self._raises.of(plan):
                await self._executor.execute(plan)
        except ExecutionError as error:
            if not error.conflict:
                failure = plan_failure(view, str(error), self._clock.now(), permanent=not error.transient)
                await self._executor.execute(failure)
            raise
        self._engine.alarms.set(Key(Topic.TENANT, name), look_again(view, self._clock.now()))
        self._measure(name, view)

    def _waits_for_pools(self, tenant: Tenant | Broken | None) -> bool:
        """Leave the tenant to the pools that do not know its spec yet: once they have decided they queue it again."""
        if tenant is None or isinstance(tenant, Broken) or tenant.name in self._world.refusals():
            return False
        waiting = False
        for grant in tenant.spec.gpus:
            if not self._decisions.knows(grant.pool, tenant):
                self._engine.queue.add(Key(Topic.POOL, grant.pool))
                waiting = True
        return waiting

    def _view(self, name: str) -> TenantView:
        world = self._world
        entry = world.tenants.get(name)
        tenant = None if entry is None else entry.value
        readable = None if tenant is None or isinstance(tenant, Broken) else tenant
        listed = [namespace.name for namespace in readable.spec.namespaces] if readable else []
        namespaces = {entry.key.name: entry.value for entry in world.namespaces.by("tenant", name)}
        for namespace in listed:
            if (found := world.namespaces.get(namespace)) is not None:
                namespaces[namespace] = found.value
        known = namespaces.keys() | set(listed)
        return TenantView(
            name=name,
            uid="" if entry is None else entry.uid,
            resource_version="" if entry is None else entry.resource_version,
            generation=0 if tenant is None else tenant.generation,
            spec=None if readable is None else readable.spec,
            status=None if tenant is None else tenant.status,
            regions=world.catalogue(),
            pools=world.pool_specs(),
            accelerators=self._fleet.accelerators(),
            device_classes={entry.key.name: entry.value for entry in world.device_classes.snapshot().values()},
            storage_classes=frozenset(world.storage_classes.values()),
            allotments=self._allotments(known),
            grants={} if readable is None else self._grants(readable, listed),
            namespaces=namespaces,
            claims={namespace: world.holder(namespace) for namespace in listed},
            children={ref: child for namespace in namespaces for ref, child in world.children(namespace).items()},
            handed_out={namespace: made for namespace in namespaces if (made := world.handed_out(namespace))},
            platform=self._platform,
            contract=self._contract(readable, namespaces),
            invalid=tenant.problem if isinstance(tenant, Broken) else "",
            foreign=frozenset(namespace for namespace in namespaces if world.is_foreign(namespace, name)),
            contested=frozenset() if readable is None else world.contested(readable),
            peerings={
                namespace: tuple(agreed.values())
                for namespace in namespaces
                if (agreed := self._peers.agreements(namespace))
            },
            separation=world.separation(name),
            remainders=self._remainders.of(namespaces),
            audit=self._audits.of(name),
            exclusive={
                namespace: named(entry.value for entry in world.reservations.by("namespace", namespace))
                for namespace in known
            },
        )

    def _contract(self, tenant: Tenant | None, namespaces: Iterable[str]) -> Standing:
        if tenant is None:
            return Standing()
        promised = [
            promised_until(entry.value.status)
            for namespace in namespaces
            for entry in self._world.reservations.by("namespace", namespace)
        ]
        last = max((at for at in promised if at is not None), default=None)
        return Standing.of(tenant.spec.contract, last, self._clock.now())

    def _allotments(self, namespaces: Iterable[str]) -> Mapping[tuple[str, str, Tier], int]:
        """Pick what the pools allot to these namespaces."""
        allotments = {}
        for namespace in namespaces:
            for tier in (Tier.GUARANTEED, Tier.RESERVED):
                key = QuotaKey(namespace, tier)
                for pool, decision in self._decisions.all():
                    if key in decision.allotments:
                        allotments[namespace, pool, tier] = decision.allotments[key]
        return allotments

    def _grants(self, tenant: Tenant, namespaces: Iterable[str]) -> Mapping[str, GrantStatus]:
        """Say what the pools decided for the tenant."""
        grants = {}
        for grant in tenant.spec.gpus:
            decision = self._decisions.of(grant.pool)
            if decision is None or tenant.name not in decision.promises:
                continue
            reserved = sum(decision.targets.get(QuotaKey(namespace, Tier.RESERVED), 0) for namespace in namespaces)
            grants[grant.pool] = GrantStatus(
                pool=grant.pool,
                guaranteed=decision.promises[tenant.name].asked,
                granted=decision.promises[tenant.name].granted,
                backed=decision.promises[tenant.name].backed,
                spot=grant.spot,
                reserved=reserved,
                charged=self._decisions.charges.status(grant.pool, tenant),
                usage=self._decisions.meter.grant_usage(grant.pool, tenant),
            )
        return grants

    def _measure(self, name: str, view: TenantView) -> None:
        entry = self._world.tenants.get(name)
        if entry is None or isinstance(entry.value, Broken):
            self._metrics.tenant_gone(name)
            self._audits.forget(name)
            self._memories.pop(name, None)
            return
        status = entry.value.status
        ready = find(status.conditions, "Ready")
        quotas: defaultdict[QuotaSeries, float] = defaultdict(float)
        for namespace in view.namespaces:
            for quota in self._world.quotas.by("namespace", namespace):
                if quota.value.pool is not None and quota.value.tier is not None:
                    pool, tier = quota.value.pool, quota.value.tier.value
                    quotas[QuotaSeries(pool, tier, "limit")] += quota.value.hard
                    quotas[QuotaSeries(pool, tier, "used")] += quota.value.used
        self._metrics.tenant(
            name,
            state="Unknown" if ready is None else ready.reason,
            namespaces=Counter(namespace.reason for namespace in status.namespaces),
            quotas=quotas,
        )
