"""Routes: which keys a change concerns. Too many cost a look that finds nothing to do; one too few is a bug."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import SUSPENDED_LABEL, TENANT_LABEL, Tier, quota_of
from gpu_tenancy.domain.promises import QuotaKey
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.reconcile.demand import Missing
from gpu_tenancy.reconcile.drain import JobFacts
from gpu_tenancy.reconcile.exclusive import apart, claims
from gpu_tenancy.reconcile.reservations import basis
from gpu_tenancy.render.cluster_network_policy import tenant_of
from gpu_tenancy.render.network_policy import is_peering
from gpu_tenancy.runtime.controllers.audits import EVERYTHING, AuditController, Audits
from gpu_tenancy.runtime.controllers.binder import Binder
from gpu_tenancy.runtime.controllers.nodes import NodeController
from gpu_tenancy.runtime.controllers.peerings import PeeringController
from gpu_tenancy.runtime.controllers.pools import Decisions, PoolController
from gpu_tenancy.runtime.controllers.quotas import QuotaWriter
from gpu_tenancy.runtime.controllers.regions import RegionController
from gpu_tenancy.runtime.controllers.reservations import ReservationController
from gpu_tenancy.runtime.controllers.tenants import TenantController
from gpu_tenancy.runtime.controllers.workloads import EVERYWHERE, Remainders, WorkloadController
from gpu_tenancy.runtime.engine import TELL
from gpu_tenancy.runtime.fleet import Fleet
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.peers import Peers
from gpu_tenancy.runtime.raises import Raises
from gpu_tenancy.runtime.world import Broken, hosts_of, spec_changed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from gpu_tenancy.domain.capacity import Belonging
    from gpu_tenancy.kube.store import Entry
    from gpu_tenancy.kube.store import Key as ObjectKey
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.engine import Controller
    from gpu_tenancy.runtime.world import Quota

# A burst of changes (a rack comes up, a hundred pods start) is worth one decision, not a hundred.
SETTLE = 0.1
# What only has to be counted, or said in a status, may wait until a rush is over, or has gone on for that long.
COUNT, LONGEST_RUSH = 1.0, 5.0
# To look at everything is more work.
AUDIT_AFTER = 5.0


class Controllers:
    """All controllers of a term. It routes changes as soon as it is made; `begin` asks for everything once."""

    def __init__(self, tools: Tools) -> None:
        self._world = world = tools.world
        self._queue = tools.engine.queue
        tools.engine.pools = lambda: [entry.key.name for entry in world.pools.snapshot().values()]
        self._metrics = tools.metrics
        fleet = Fleet(world, self._node_changed, self._catalogue_changed)
        binder = Binder(tools, fleet)
        decisions, raises, remainders = Decisions(), Raises(tools.client.write_timeout), Remainders()
        reservations = ReservationController(tools, decisions)
        self._decisions = decisions
        self._quotas = quotas = QuotaWriter(tools, raises)
        audits = Audits()
        self._peers = peers = Peers(world)
        self._workloads = WorkloadController(tools, decisions, remainders)
        self._audits = AuditController(tools, fleet, audits)
        self._by_topic: Mapping[Topic, Controller] = {
            Topic.REGION: RegionController(tools, fleet),
            Topic.POOL: PoolController(
                tools, fleet, binder, decisions, raises, quotas=quotas, reservations=reservations
            ),
            Topic.WORKLOADS: self._workloads,
            Topic.TENANT: TenantController(
                tools, fleet, decisions, raises, peers=peers, remainders=remainders, audits=audits
            ),
            Topic.RESERVATIONS: reservations,
            Topic.NODE: NodeController(tools, fleet, binder),
            Topic.PEERINGS: PeeringController(tools, peers),
            Topic.AUDIT: self._audits,
        }
        self._begun = False
        self._placements = world.placements()
        world.regions.subscribe(self._region_changed)
        world.pools.subscribe(self._pool_changed)
        world.tenants.subscribe(self._tenant_changed)
        world.reservations.subscribe(self._reservation_changed)
        world.peerings.subscribe(self._peering_changed)
        world.namespaces.subscribe(self._namespace_changed)
        world.quotas.subscribe(self._quota_changed)
        for store in (world.limit_ranges, world.network_policies, world.role_bindings):
            store.subscribe(self._child_changed)
        world.network_policies.subscribe(self._policy_changed)
        world.cluster_network_policies.subscribe(self._separation_changed)
        world.priority_classes.subscribe(self._class_changed)
        for classes in (world.storage_classes, world.device_classes):
            classes.subscribe(self._classes_changed)
        world.jobs.subscribe(self._job_changed)
        for workloads in (world.jobs, world.deployments, world.stateful_sets):
            workloads.subscribe(self._demand_changed)

    def begin(self) -> Mapping[Topic, Controller]:
        """Queue everything there is; what is in line already costs no write."""
        self._catalogue_changed()
        self._add(Topic.REGION, (entry.key.name for entry in self._world.regions.snapshot().values()))
        owners = {self._world.owner(entry.key.name) for entry in self._world.namespaces.snapshot().values()}
        separated = {tenant_of(entry.key.name) for entry in self._world.cluster_network_policies.snapshot().values()}
        self._add(Topic.TENANT, (owners | separated) - {""})
        jobs = self._world.jobs.snapshot().values()
        reserving = {entry.key.namespace for entry in jobs if isinstance(entry.value, JobFacts)}
        self._add(Topic.WORKLOADS, {EVERYWHERE, *reserving})
        self._add(Topic.PEERINGS, {entry.key.namespace for entry in self._world.peerings.snapshot().values()})
        shut = (e.key.name for e in self._world.namespaces.snapshot().values() if SUSPENDED_LABEL in e.value.labels)
        self._add(Topic.WORKLOADS, shut)
        self._audits.begin()
        self._begun = True
        return self._by_topic

    def _add(self, topic: Topic, names: Iterable[str]) -> None:
        for name in names:
            if name:
                self._queue.add(Key(topic, name))

    def _add_soon(self, topic: Topic, names: Iterable[str | None]) -> None:
        for name in names:
            if name:
                self._queue.add_after(Key(topic, name), SETTLE)

    def _count(self, pool: str) -> None:
        self._queue.add_in_calm(Key(Topic.POOL, pool), COUNT, LONGEST_RUSH)

    def _catalogue_changed(self) -> None:
        """Everything may belong elsewhere: every node, pool and tenant is looked at."""
        for topic, store in (
            (Topic.POOL, self._world.pools),
            (Topic.TENANT, self._world.tenants),
            (Topic.NODE, self._world.nodes),
        ):
            self._add(topic, (entry.key.name for entry in store.snapshot().values()))
        self._add_soon(Topic.REGION, (entry.key.name for entry in self._world.regions.snapshot().values()))
        self._audit_everything()

    def _audit_everything(self) -> None:
        """Look anew at where things are, once whoever changes the catalogue or contracts is through with it."""
        if self._begun:
            self._queue.add_after(Key(Topic.AUDIT, EVERYTHING), AUDIT_AFTER)

    def _node_changed(self, name: str, before: Belonging, after: Belonging) -> None:
        self._add(Topic.NODE, [name])
        self._add_soon(Topic.POOL, {before.pool, after.pool})
        if before.region != after.region:
            self._add_soon(Topic.REGION, {before.region, after.region})
            if before.region is not None:
                self._add_soon(Topic.AUDIT, [name])

    def _region_changed(self, key: ObjectKey, _old: Entry[Any] | None, _new: Entry[Any] | None) -> None:
        self._add(Topic.REGION, [key.name])

    def _pool_changed(self, key: ObjectKey, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        if spec_changed(old, new):
            self._add(Topic.POOL, [key.name])
        else:
            self._count(key.name)

    def _tenant_changed(self, key: ObjectKey, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        self._add(Topic.TENANT, [key.name])
        if _drain(old) != _drain(new):
            self._add(Topic.WORKLOADS, (held.key.name for held in self._world.namespaces.by("tenant", key.name)))
        if not spec_changed(old, new):
            return
        if old is not None and new is not None and _placement(old) != _placement(new):
            self._audit_everything()
        for entry in (old, new):
            if entry is None or isinstance(entry.value, Broken):
                continue
            spec = entry.value.spec
            self._add(Topic.POOL, (grant.pool for grant in spec.gpus))
            for namespace in spec.namespaces:
                self._add(Topic.TENANT, self._world.claims(namespace.name))
        before, after = (set() if entry is None else set(hosts_of(entry)) for entry in (old, new))
        for host in before ^ after:
            self._add(Topic.TENANT, self._world.serving(host))
        # Pools that a spec in between, which was refused, no longer named may still hold what was granted before it.
        for held in self._world.namespaces.by("tenant", key.name):
            self._add_soon(Topic.POOL, self._pools_of(held.key.name))
            self._reconsider(self._peers.around(held.key.name))
        if self._world.placements() != self._placements:
            self._placements = self._world.placements()
            self._add(Topic.NODE, (entry.key.name for entry in self._world.nodes.snapshot().values()))

    def _reservation_changed(self, key: ObjectKey, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        for entry in (old, new):
            if entry is not None and isinstance(entry.value, Broken):
                self._add(Topic.POOL, [entry.value.pool])
            elif entry is not None:
                self._consider(entry.value.spec.pool, old, new)
                if entry.value.spec.exclusivity != "None":
                    self._add(Topic.TENANT, [self._world.owner(key.namespace)])
        self._add(Topic.NODE, {node for entry in (old, new) if entry is not None for node, _ in claims(entry.value)})
        if new is None:
            self._metrics.reservation_gone(key.namespace, key.name)
            self._workloads.vacate(key.namespace)
            self._add(Topic.TENANT, [self._world.owner(key.namespace)])  # its contract may have waited for this

    def _consider(self, pool: str, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        """Decide anew if a reservation asks for something else, and soon if its status has it that something else is so."""
        if old is None or new is None or spec_changed(old, new):
            self._add(Topic.POOL, [pool])
        elif isinstance(old.value, Broken) or basis(old.value) != basis(new.value):
            self._add_soon(Topic.POOL, [pool])
        else:
            self._queue.add_after(Key(Topic.RESERVATIONS, pool), TELL)

    def _peering_changed(self, key: ObjectKey, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        self._add(Topic.PEERINGS, [key.namespace])
        if spec_changed(old, new):
            # The others too: one that goes makes room for another.
            named = {e.value.spec.peer.namespace for e in (old, new) if e and not isinstance(e.value, Broken)}
            self._reconsider({key.namespace} | self._peers.around(key.namespace, *named))

    def _reconsider(self, namespaces: Iterable[str]) -> None:
        """Look again at what is agreed on between namespaces, at the policies first and then at what is said of them."""
        for namespace in namespaces:
            self._add(Topic.TENANT, [self._world.owner(namespace)])
            self._add(Topic.PEERINGS, [namespace])

    def _namespace_changed(self, key: ObjectKey, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        owners = {entry.value.labels.get(TENANT_LABEL, "") for entry in (old, new) if entry is not None}
        self._add(Topic.TENANT, owners)
        self._add(Topic.TENANT, self._world.claims(key.name))
        if len({entry is not None and SUSPENDED_LABEL in entry.value.labels for entry in (old, new)}) > 1:
            self._add(Topic.WORKLOADS, [key.name])
        if len(owners) > 1 or old is None or new is None:
            # It changed hands: so do its reservations and its part of grants. For a new one the pool has reckoned with
            # its tenant's part already, and tenants come with many.
            for pool in self._pools_of(key.name):
                if old is None:
                    self._count(pool)
                else:
                    self._add_soon(Topic.POOL, [pool])
        self._reconsider(self._peers.around(key.name))

    def _pools_of(self, namespace: str) -> set[str]:
        """Name the pools that the namespace's reservations, quotas or tenants have to do with."""
        reservations = self._world.reservations.by("namespace", namespace)
        pools = {entry.value.spec.pool for entry in reservations if not isinstance(entry.value, Broken)}
        pools |= {entry.value.pool for entry in self._world.quotas.by("namespace", namespace) if entry.value.pool}
        for tenant in self._world.claims(namespace):
            pools |= {grant.pool for grant in self._world.tenant_specs()[tenant].gpus}
        return pools

    def _quota_changed(self, key: ObjectKey, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        pools = {entry.value.pool for entry in (old, new) if entry is not None and entry.value.pool is not None}
        if not any(self._quotas.is_at(pool, key.namespace) for pool in pools):
            self._child_changed(key, old, new)
        for pool in pools:
            if self._matters(pool, key.namespace, old, new):
                self._add_soon(Topic.POOL, [pool])
            else:
                self._count(pool)
                if new is not None and new.value.tier is Tier.RESERVED:
                    self._queue.add_in_calm(Key(Topic.RESERVATIONS, pool), TELL, LONGEST_RUSH)
        if new is not None and new.value.tier is Tier.RESERVED:
            if new.value.used > new.value.hard:
                self._add(Topic.WORKLOADS, [key.namespace])
            elif new.value.used > (0 if old is None else old.value.used) and self._sits_apart(key.namespace):
                # Whose pods these are only they tell, and the quota is raised a moment before they are there.
                self._queue.add_after(Key(Topic.WORKLOADS, key.namespace), TELL)

    def _sits_apart(self, namespace: str) -> bool:
        """Say whether some reservation of the namespace has nodes of its own."""
        return any(apart(entry.value) for entry in self._world.reservations.by("namespace", namespace))

    def _matters(self, pool: str, namespace: str, old: Entry[Quota] | None, new: Entry[Quota] | None) -> bool:
        """Say whether a quota gives way to others, is used otherwise, or allows what its pool has not allotted.

        That it allows what was just allotted the pool has reckoned with. One that is gone mostly comes again at once.
        """
        decision = self._decisions.of(pool)
        if new is None:
            return False
        if decision is None or new.value.tier is None:
            return True
        used, held = (0, 0) if old is None else (old.value.used, old.value.held)
        if new.value.used != used:
            return True
        allotted = decision.allotments.get(QuotaKey(namespace, new.value.tier), 0)
        return new.value.tier is not Tier.SPOT and not held <= new.value.held <= allotted

    def _child_changed(self, key: ObjectKey, _old: Entry[Any] | None, _new: Entry[Any] | None) -> None:
        self._add(Topic.TENANT, [self._world.owner(key.namespace)])

    def _policy_changed(self, key: ObjectKey, _old: Entry[Any] | None, _new: Entry[Any] | None) -> None:
        if is_peering(key.name):
            self._add(Topic.PEERINGS, self._peers.around(key.namespace))

    def _separation_changed(self, key: ObjectKey, _old: Entry[Any] | None, _new: Entry[Any] | None) -> None:
        tenant = tenant_of(key.name)
        self._add(Topic.TENANT, [tenant])
        for held in self._world.namespaces.by("tenant", tenant):
            self._add(Topic.PEERINGS, self._peers.around(held.key.name))

    def _class_changed(self, key: ObjectKey, _old: Entry[Any] | None, _new: Entry[Any] | None) -> None:
        if named := quota_of(key.name):
            self._add(Topic.POOL, [named[0]])

    def _job_changed(self, key: ObjectKey, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        if any(entry is not None and isinstance(entry.value, JobFacts) for entry in (old, new)):
            self._add(Topic.WORKLOADS, [key.namespace])

    def _demand_changed(self, key: ObjectKey, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        """Look again at pools of which the namespace shares something, if what its workloads miss has changed."""
        missing = any(entry is not None and isinstance(entry.value, Missing) for entry in (old, new))
        spec = self._world.tenant_specs().get(self._world.owner(key.namespace)) if missing else None
        if spec is not None:
            self._add_soon(Topic.POOL, (grant.pool for grant in spec.gpus if grant.sharing == "Shared"))

    def _classes_changed(self, _key: ObjectKey, _old: Entry[Any] | None, _new: Entry[Any] | None) -> None:
        """Of storage or devices: what all tenants may name."""
        self._add(Topic.TENANT, (entry.key.name for entry in self._world.tenants.snapshot().values()))


def _placement(entry: Entry[Any]) -> Placement | None:
    return None if isinstance(entry.value, Broken) else Placement.of(entry.value.spec.residency)


def _drain(entry: Entry[Any] | None) -> tuple[Any, ...]:
    """Say what the drain of a tenant goes by."""
    if entry is None or isinstance(entry.value, Broken):
        return ()
    spec, drain = entry.value.spec, entry.value.status.drain
    return spec.suspended, spec.suspension, spec.contract, None if drain is None else drain.since
