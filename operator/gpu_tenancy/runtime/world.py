"""What the operator knows in one term as the leader: stores of what was observed, and what follows from them.

A term begins with an empty world. So nothing that an earlier leader believed is ever acted upon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_tenancy.api import (
    GPU_POOL,
    GPU_RESERVATION,
    INDUSTRIAL_TENANT,
    REGION,
    TENANT_PEERING,
    GpuPoolSpec,
    GpuPoolStatus,
    GpuReservationSpec,
    GpuReservationStatus,
    IndustrialTenantSpec,
    IndustrialTenantStatus,
    RegionSpec,
    RegionStatus,
    TenantPeeringSpec,
    TenantPeeringStatus,
)
from gpu_tenancy.api.resource import InvalidObject, Resource, parse, parse_status
from gpu_tenancy.domain.capacity import NodeFacts
from gpu_tenancy.domain.hosts import names_for
from gpu_tenancy.domain.naming import MANAGED_BY_LABEL, OPERATOR, TENANT_LABEL, Tier, quota_of
from gpu_tenancy.domain.quantity import parse as parse_quantity
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.kube import resource as kinds
from gpu_tenancy.kube.store import Entry, Store
from gpu_tenancy.reconcile.demand import Missing
from gpu_tenancy.reconcile.drain import JobFacts
from gpu_tenancy.reconcile.exclusive import claims
from gpu_tenancy.reconcile.observed import Observed
from gpu_tenancy.reconcile.ownership import stands_in
from gpu_tenancy.reconcile.tenants import refusal
from gpu_tenancy.render.cluster_network_policy import policy_name
from gpu_tenancy.render.role_binding import of_tenants
from gpu_tenancy.runtime.derived import Derived

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from gpu_tenancy.api.schema import Kind, SpecT, StatusT
    from gpu_tenancy.kube.resource import Resource as ApiResource
    from gpu_tenancy.reconcile.plan import Ref

Region = Resource[RegionSpec, RegionStatus]
Pool = Resource[GpuPoolSpec, GpuPoolStatus]
Tenant = Resource[IndustrialTenantSpec, IndustrialTenantStatus]
Reservation = Resource[GpuReservationSpec, GpuReservationStatus]
Peering = Resource[TenantPeeringSpec, TenantPeeringStatus]


@dataclass(frozen=True, slots=True)
class Broken:
    """An object of our kinds whose spec cannot be read: it was stored under another schema. It exists all the same."""

    name: str
    namespace: str
    uid: str
    generation: int
    status: Any
    problem: str
    pool: str = ""
    """Of a reservation: what was promised to it keeps its place."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A ResourceQuota of the operator; `pool` and `tier` are None for one that counts no GPUs of a tier.

    Attributes:
        hard: GPUs that it is to allow.
        enforced: GPUs that the API server allows, which follows once the controller-manager has counted.
        used: GPUs that pods hold.
    """

    observed: Observed
    pool: str | None
    tier: Tier | None
    hard: int
    enforced: int
    used: int

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Quota:
        """Read a quota as the API server sends it."""
        observed = Observed.of(raw, kinds.RESOURCE_QUOTA.api_version, kinds.RESOURCE_QUOTA.kind)
        pool, tier = quota_of(observed.ref.name) or (None, None)
        if pool is None:
            return cls(observed, None, None, 0, 0, 0)
        status = raw.get("status", {})
        amounts = (raw["spec"].get("hard", {}), status.get("hard", {}), status.get("used", {}))
        return cls(observed, pool, tier, *(gpus(amount) for amount in amounts))

    @property
    def held(self) -> int:
        """GPUs that nobody else can have."""
        return max(self.hard, self.enforced, self.used)


def gpus(amounts: Mapping[str, str]) -> int:
    """Sum up extended resources; a pool's quota has one that is not zero. Kubernetes spells 1000 of them `1k`."""
    return sum(int(parse_quantity(amount)) for key, amount in amounts.items() if "/" in key)


@dataclass(frozen=True, slots=True)
class Node:
    """A node: what the domain knows of it, and its taints as stored."""

    facts: NodeFacts
    taints: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Node:
        """Read a node as the API server sends it."""
        return cls(NodeFacts.of(raw), tuple(raw["spec"].get("taints") or ()))


class World:
    """The stores, by what they hold. Each is fed by a watch and by the answers to the operator's own writes."""

    def __init__(self) -> None:
        self.regions: Store[Region | Broken] = _custom(REGION)
        self.pools: Store[Pool | Broken] = _custom(GPU_POOL)
        self.tenants: Store[Tenant | Broken] = _custom(
            INDUSTRIAL_TENANT,
            {"namespace": _listed_namespaces, "placement": _placement, "host": hosts_of, "served": _served},
        )
        self.reservations: Store[Reservation | Broken] = _custom(
            GPU_RESERVATION, {"namespace": _namespace, "pool": _reserved_pool, "node": _bound_nodes}
        )
        self.peerings: Store[Peering | Broken] = _custom(TENANT_PEERING, {"namespace": _namespace})

        self.nodes: Store[Node] = Store(Node.of)
        self.namespaces = _observed(kinds.NAMESPACE, {"tenant": lambda entry: [entry.value.labels.get(TENANT_LABEL)]})
        self.quotas: Store[Quota] = Store(
            Quota.of, indexes={"namespace": _namespace, "pool": lambda entry: [entry.value.pool]}
        )
        self.limit_ranges = _observed(kinds.LIMIT_RANGE, {"namespace": _namespace})
        self.network_policies = _observed(kinds.NETWORK_POLICY, {"namespace": _namespace})
        self.cluster_network_policies = _observed(kinds.CLUSTER_NETWORK_POLICY)
        self.role_bindings: Store[Observed] = Store(_binding, indexes={"namespace": _namespace})
        self.priority_classes = _observed(kinds.PRIORITY_CLASS)
        self.storage_classes: Store[str] = Store(_deleting_class)
        self.device_classes: Store[str] = Store(lambda raw: raw["spec"].get("extendedResourceName", ""))
        self.jobs: Store[JobFacts | Missing] = Store(
            lambda raw: JobFacts.of_reservation(raw) or Missing.of(raw), indexes={"namespace": _namespace}
        )
        self.deployments: Store[Missing] = Store(Missing.of, indexes={"namespace": _namespace})
        self.stateful_sets: Store[Missing] = Store(Missing.of, indexes={"namespace": _namespace})

        self.catalogue = Derived(lambda: _specs(self.regions), self.regions, matters=spec_changed)
        self.pool_specs = Derived(lambda: _specs(self.pools), self.pools, matters=spec_changed)
        self.tenant_specs = Derived(lambda: _specs(self.tenants), self.tenants, matters=spec_changed)
        self._judged: dict[str, tuple[tuple[object, ...], tuple[str, str] | None]] = {}
        self.refusals = Derived(self._refusals, self.tenants, self.regions, self.pools, matters=spec_changed)

    @property
    def custom(self) -> Mapping[Kind[Any, Any], Store[Any]]:
        """The stores of our own kinds."""
        return {
            REGION: self.regions,
            GPU_POOL: self.pools,
            INDUSTRIAL_TENANT: self.tenants,
            GPU_RESERVATION: self.reservations,
            TENANT_PEERING: self.peerings,
        }

    @property
    def reflected(self) -> Mapping[ApiResource, Store[Any]]:
        """The stores of Kubernetes' kinds, all their objects."""
        return {
            kinds.NODE: self.nodes,
            kinds.NAMESPACE: self.namespaces,
            kinds.ROLE_BINDING: self.role_bindings,
            kinds.STORAGE_CLASS: self.storage_classes,
            kinds.DEVICE_CLASS: self.device_classes,
            kinds.JOB: self.jobs,
            kinds.DEPLOYMENT: self.deployments,
            kinds.STATEFUL_SET: self.stateful_sets,
        }

    @property
    def separating(self) -> Mapping[ApiResource, Store[Any]]:
        """The store of policies that are there only where the cluster has such: all of them, by whomever."""
        return {kinds.CLUSTER_NETWORK_POLICY: self.cluster_network_policies}

    @property
    def managed(self) -> Mapping[ApiResource, Store[Any]]:
        """The stores of Kubernetes' kinds, only objects that carry the operator's label."""
        return {
            kinds.RESOURCE_QUOTA: self.quotas,
            kinds.LIMIT_RANGE: self.limit_ranges,
            kinds.NETWORK_POLICY: self.network_policies,
            kinds.PRIORITY_CLASS: self.priority_classes,
        }

    def placements(self) -> frozenset[Placement]:
        """Give every placement that a tenant asks for."""
        return self.tenants.keys("placement")

    def claims(self, namespace: str) -> tuple[str, ...]:
        """Name the tenants that list a namespace, the oldest first."""
        tenants = [entry.value for entry in self.tenants.by("namespace", namespace)]
        claims = [(one.creation_timestamp, one.name) for one in tenants if not isinstance(one, Broken)]
        return tuple(name for _, name in sorted(claims))

    def owner(self, namespace: str) -> str:
        """Name the tenant that a namespace belongs to; empty for none."""
        entry = self.namespaces.get(namespace)
        return "" if entry is None else entry.value.labels.get(TENANT_LABEL, "")

    def holder(self, namespace: str) -> str:
        """Name the tenant that may have a namespace: the one it belongs to, else the oldest that lists it.

        A namespace stays with its tenant as long as that lists it; empty if no tenant does.
        """
        claims, owner = self.claims(namespace), self.owner(namespace)
        return owner if owner in claims else next(iter(claims), "")

    def is_foreign(self, namespace: str, tenant: str) -> bool:
        """Say whether a namespace carries the tenant's label although another one lists it and stood there."""
        claims = self.claims(namespace)
        for other in claims:
            entry = self.tenants.get(other)
            if other != tenant and entry is not None and stands_in(entry.value.status, namespace):
                return tenant not in claims
        return False

    def serving(self, host: str) -> frozenset[str]:
        """Name the tenants that were granted a host name, a part of it, or one that stands for it."""
        granted = [entry for name in names_for(host) for entry in self.tenants.by("host", name)]
        return frozenset(entry.key.name for entry in (*granted, *self.tenants.by("served", host)))

    def contested(self, tenant: Tenant) -> frozenset[str]:
        """Give the host names of a tenant that another one could serve as well."""
        return frozenset(host for host in tenant.spec.network.hosts if self.serving(host) != {tenant.name})

    def children(self, namespace: str) -> Mapping[Ref, Observed]:
        """Give the operator's objects in a namespace."""
        stores = (self.limit_ranges, self.network_policies)
        children = [entry.value for store in stores for entry in store.by("namespace", namespace)]
        children += [entry.value for entry in self.role_bindings.by("namespace", namespace) if _is_managed(entry.value)]
        children += [entry.value.observed for entry in self.quotas.by("namespace", namespace)]
        return {child.ref: child for child in children}

    def separation(self, tenant: str) -> Observed | None:
        """Give the ClusterNetworkPolicy that has the name of a tenant's, whoever it belongs to."""
        entry = self.cluster_network_policies.get(policy_name(tenant))
        return None if entry is None else entry.value

    def handed_out(self, namespace: str) -> list[Observed]:
        """Give the role bindings in a namespace that owners may have made."""
        return [entry.value for entry in self.role_bindings.by("namespace", namespace) if not _is_managed(entry.value)]

    def reserving_jobs(self, namespace: str) -> list[JobFacts]:
        """List the Jobs of a namespace whose pods carry a reservation."""
        return [entry.value for entry in self.jobs.by("namespace", namespace) if isinstance(entry.value, JobFacts)]

    def missing(self, namespace: str) -> list[Missing]:
        """List what the workloads of a namespace miss."""
        entries = [
            entry
            for store in (self.jobs, self.deployments, self.stateful_sets)
            for entry in store.by("namespace", namespace)
        ]
        return [entry.value for entry in entries if isinstance(entry.value, Missing)]

    def _refusals(self) -> Mapping[str, tuple[str, str]]:
        """Give the tenants whose spec is refused as a whole, with reason and message.

        One that was judged by the same catalogue is not judged again: tenants come by the hundred.
        """
        known, self._judged = self._judged, {}
        for name, spec in self.tenant_specs().items():
            grounds = (spec, self.catalogue(), self.pool_specs())
            before, problem = known.get(name, ((), None))
            if not _are_same(before, grounds):
                problem = refusal(*grounds)
            self._judged[name] = (grounds, problem)
        return {name: problem for name, (_, problem) in self._judged.items() if problem is not None}


def _are_same(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def readable(store: Store[Resource[SpecT, StatusT] | Broken]) -> list[Resource[SpecT, StatusT]]:
    """List the objects that could be read."""
    return [value for value in store.values() if not isinstance(value, Broken)]


def spec_changed(old: Entry[Any] | None, new: Entry[Any] | None) -> bool:
    """Say whether an object of ours came, went, or has another spec; its status is the operator's own word."""
    if old is None or new is None or old.uid != new.uid:
        return True
    return (type(old.value), old.value.generation) != (type(new.value), new.value.generation)


def _custom(
    kind: Kind[SpecT, StatusT], indexes: Mapping[str, Callable[[Entry[Any]], Iterable[Hashable]]] | None = None
) -> Store[Resource[SpecT, StatusT] | Broken]:
    def decode(raw: dict[str, Any]) -> Resource[SpecT, StatusT] | Broken:
        try:
            return parse(kind, raw)
        except InvalidObject as error:
            metadata = raw["metadata"]
            return Broken(
                name=metadata["name"],
                namespace=metadata.get("namespace", ""),
                uid=metadata["uid"],
                generation=metadata["generation"],
                status=parse_status(kind, raw)[0],
                problem=str(error),
                pool=_named_pool(raw.get("spec")),
            )

    return Store(decode, indexes=indexes)


def _observed(
    resource: ApiResource, indexes: Mapping[str, Callable[[Entry[Observed]], Iterable[Hashable]]] | None = None
) -> Store[Observed]:
    return Store(lambda raw: Observed.of(raw, resource.api_version, resource.kind), indexes=indexes)


def _binding(raw: Mapping[str, Any]) -> Observed | None:
    """Keep the operator's own role bindings, and those that owners may have made."""
    observed = Observed.of(raw, kinds.ROLE_BINDING.api_version, kinds.ROLE_BINDING.kind)
    return observed if _is_managed(observed) or of_tenants(raw["roleRef"]) else None


def _is_managed(observed: Observed) -> bool:
    return observed.labels.get(MANAGED_BY_LABEL) == OPERATOR


def _deleting_class(raw: Mapping[str, Any]) -> str | None:
    """Name a StorageClass, unless it keeps the data of claims that are gone, for whoever finds the volume."""
    return raw["metadata"]["name"] if raw.get("reclaimPolicy", "Delete") == "Delete" else None


def _specs(store: Store[Resource[SpecT, StatusT] | Broken]) -> Mapping[str, SpecT]:
    return {resource.name: resource.spec for resource in readable(store)}


def _namespace(entry: Entry[Any]) -> Iterable[str]:
    return [entry.key.namespace]


def pool_of(reservation: Reservation | Broken) -> str:
    """Name the pool of a reservation, or give an empty name if that cannot be read."""
    return reservation.pool if isinstance(reservation, Broken) else reservation.spec.pool


def _reserved_pool(entry: Entry[Reservation | Broken]) -> Iterable[str]:
    return [pool_of(entry.value)]


def _named_pool(spec: Any) -> str:
    pool = spec.get("pool") if isinstance(spec, dict) else None
    return pool if isinstance(pool, str) else ""


def _bound_nodes(entry: Entry[Reservation | Broken]) -> Iterable[str]:
    return {node for node, _ in claims(entry.value)}


def _listed_namespaces(entry: Entry[Tenant | Broken]) -> Iterable[str]:
    return [] if isinstance(entry.value, Broken) else [namespace.name for namespace in entry.value.spec.namespaces]


def hosts_of(entry: Entry[Tenant | Broken]) -> Iterable[str]:
    """Give the host names that a tenant was granted."""
    return () if isinstance(entry.value, Broken) else entry.value.spec.network.hosts


def _served(entry: Entry[Tenant | Broken]) -> Iterable[str]:
    return {name for host in hosts_of(entry) for name in names_for(host)}


def _placement(entry: Entry[Tenant | Broken]) -> Iterable[Placement]:
    return [] if isinstance(entry.value, Broken) else [Placement.of(entry.value.spec.residency)]
