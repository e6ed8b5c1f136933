"""The parts of the world that one reconciliation reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from gpu_tenancy.domain.contract import Standing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_tenancy.api.pool import GpuPoolSpec
    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.api.tenant import GrantStatus, IndustrialTenantSpec, IndustrialTenantStatus
    from gpu_tenancy.domain.naming import Tier
    from gpu_tenancy.domain.peering import Agreement
    from gpu_tenancy.reconcile.audit import Audit
    from gpu_tenancy.reconcile.drain import Remainder
    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.reconcile.plan import Ref


@dataclass(frozen=True, slots=True)
class Platform:
    """What the operator was told about the cluster.

    Attributes:
        operator_namespace: where the operator runs; never a tenant's.
        closed_networks: CIDRs that internet egress never reaches, beside the built-in private ranges.
        dns_namespace_labels, dns_pod_labels: which pods answer DNS.
        dns_addresses: CIDRs of node-local DNS caches.
        separation_priority: that of each tenant's ClusterNetworkPolicy in its tier; None where there are no such policies.
        verification: how long the evidence of a control that does not change may grow old.
    """

    operator_namespace: str = "gpu-tenancy-system"
    closed_networks: tuple[str, ...] = ()
    dns_namespace_labels: tuple[tuple[str, str], ...] = (("kubernetes.io/metadata.name", "kube-system"),)
    dns_pod_labels: tuple[tuple[str, str], ...] = (("k8s-app", "kube-dns"),)
    dns_addresses: tuple[str, ...] = ()
    separation_priority: int | None = None
    verification: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TenantView:
    """What the reconciliation of one tenant reads.

    Attributes:
        name: the tenant's name; it may be gone (`spec` is None) while namespaces of it stand.
        uid, resource_version, generation, spec, status: the tenant as stored.
        invalid: why the stored spec cannot be read, if it cannot (it was stored under another schema).
        regions, pools: the catalogue by name.
        accelerators: every accelerator resource that any pool or node has, such as nvidia.com/gpu.
        device_classes: every DeviceClass, and the extended resource by which pods may ask for it; mostly empty.
        storage_classes: every StorageClass whose volumes are deleted with their claims.
        allotments: what the hard limit of each GPU quota is to be now, by (namespace, pool, tier).
        grants: what the pools decided for the tenant, by pool; absent while a pool has not decided yet.
        namespaces: every namespace that the tenant lists or that carries its label, as observed, by name.
        claims: for each listed namespace the one tenant that may have it: the one whose label it carries as long as that
            lists it, else the oldest that does.
        children: the managed objects in these namespaces.
        handed_out: by namespace, bindings that are not the operator's to roles that owners can hand out.
        foreign: namespaces that carry the tenant's label although another tenant lists them and, as its status says,
            stands there (`ownership.stands_in`): the label was tampered with, and the other puts it back.
        contract: where the contract stands; one that is not running shuts the tenant.
        contested: host names that another tenant was granted as well.
        peerings: what both sides agreed on, by the tenant's namespace.
        separation: the ClusterNetworkPolicy that has the name of the tenant's, whoever it belongs to.
        exclusive: reservations that have nodes of their own, by the tenant's namespace.
        remainders: what is left to go, of the namespaces that are being drained and whose pods were counted.
        audit: what audits found of it; None until everything was looked at.
    """

    name: str
    uid: str
    resource_version: str
    generation: int
    spec: IndustrialTenantSpec | None
    status: IndustrialTenantStatus | None
    regions: Mapping[str, RegionSpec]
    pools: Mapping[str, GpuPoolSpec]
    accelerators: frozenset[str]
    device_classes: Mapping[str, str]
    storage_classes: frozenset[str]
    allotments: Mapping[tuple[str, str, Tier], int]
    grants: Mapping[str, GrantStatus]
    namespaces: Mapping[str, Observed]
    claims: Mapping[str, str]
    children: Mapping[Ref, Observed]
    handed_out: Mapping[str, Sequence[Observed]] = field(default_factory=dict)
    platform: Platform = field(default_factory=Platform)
    invalid: str = ""
    foreign: frozenset[str] = frozenset()
    contract: Standing = field(default_factory=Standing)
    contested: frozenset[str] = frozenset()
    peerings: Mapping[str, Sequence[Agreement]] = field(default_factory=dict)
    separation: Observed | None = None
    exclusive: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remainders: Mapping[str, Remainder] = field(default_factory=dict)
    audit: Audit | None = None
