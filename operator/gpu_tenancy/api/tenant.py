"""`IndustrialTenant`: a company that rents GPUs: its people, namespaces, residency, grants and limits."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from gpu_tenancy.api.common import (
    DNS_LABEL,
    QUALIFIED_NAME,
    SUBDOMAIN,
    CatalogueName,
    Conditions,
    Duration,
    Generation,
    GpuSeconds,
    Instant,
    Jurisdiction,
    LabelSelector,
    NamespaceName,
    Quantity,
    in_order,
    without_nulls,
)
from gpu_tenancy.api.pool import GpuCount
from gpu_tenancy.api.schema import ApiModel, Column, Kind, ListType, Rule, name_rule

MAX_NAMESPACES = 256

# What a ResourceQuota counts without a domain of its own; the API server refuses other names without one.
QUOTA_NAMES = (
    r"((requests|limits)\.)?(cpu|memory|ephemeral-storage)|requests\.storage|persistentvolumeclaims|pods|configmaps|secrets|"
    r"services(\.loadbalancers|\.nodeports)?|replicationcontrollers|resourcequotas"
)
# A host with a dot or a port, so that nothing before it is left to the node, and a path.
REGISTRY = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+(:[0-9]{1,5})?|[a-z0-9]([-a-z0-9]*[a-z0-9])?:[0-9]{1,5})"
    r"(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$"
)
Registry = Annotated[str, StringConstraints(pattern=REGISTRY, min_length=1, max_length=253)]
StorageClassName = Annotated[str, StringConstraints(pattern=f"^{SUBDOMAIN}$", min_length=1, max_length=253)]
# With a dot: a name without one would be one inside the cluster. A leading `*.` stands for whatever is before the dot.
HOST = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$"
HostName = Annotated[str, StringConstraints(pattern=HOST, min_length=1, max_length=253)]
NETWORK_ATTACHMENT = DNS_LABEL.removesuffix("$") + f"/{SUBDOMAIN}$"
NetworkAttachment = Annotated[str, StringConstraints(pattern=NETWORK_ATTACHMENT, min_length=3, max_length=317)]
# As long as the quota key that counts it may be.
DeviceClassName = Annotated[str, StringConstraints(pattern=f"^{SUBDOMAIN}$", min_length=1, max_length=225)]
QuotaKey = Annotated[
    str, StringConstraints(pattern=f"^({QUOTA_NAMES}|{SUBDOMAIN}/{QUALIFIED_NAME})$", min_length=1, max_length=253)
]


class Organization(ApiModel):
    """Who the tenant is. Declared, not enforced."""

    legalName: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """The company's name in its register."""
    segment: Literal["Enterprise", "SME", "StartUp", "University", "Research", "PublicSector"] = "Enterprise"
    """The kind of company."""
    costCenter: Annotated[str, StringConstraints(max_length=64)] = ""
    """Where costs are booked."""


class ContractTerms(ApiModel):
    """How long the contract runs, and how firmly."""

    validFrom: Instant | None = None
    """When it begins; until then nothing starts and nothing is promised."""
    validUntil: Instant | None = None
    """When it is over; nothing is promised beyond this, and what was accepted is honoured."""
    serviceClass: Literal["EarlyAccess", "OnDemand", "Committed"] = "OnDemand"
    """Whose guarantees come first where a pool cannot back all: Committed before OnDemand before EarlyAccess."""
    notice: Duration = timedelta(hours=720)
    """How long before the end it is announced."""

    rules = (in_order("validFrom", "validUntil"),)


class Owner(ApiModel):
    """Someone who works in the tenant's namespaces, and as what; several roles of one subject add up."""

    kind: Literal["User", "Group", "ServiceAccount"]
    """What kind of subject it is."""
    name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f]+$", min_length=1, max_length=253)]
    """Its name as the API server knows it."""
    namespace: NamespaceName | None = None
    """The namespace of a ServiceAccount."""
    role: Literal["Owner", "Editor", "Viewer", "ReservationUser"] = "Editor"
    """Owner: also hands out roles in the tenant's namespaces. Editor: runs workloads and reserves. Viewer: reads.
    ReservationUser: reserves, and sees quotas and pods."""
    namespaces: Annotated[list[NamespaceName], Field(max_length=32), ListType("set")] = []
    """Where it works; in all of the tenant's namespaces if none are named."""

    rules = (
        Rule(
            "(self.kind == 'ServiceAccount') == has(self.namespace)",
            "a ServiceAccount is named with its namespace, a User or Group without",
            lambda self: (self.kind == "ServiceAccount") == (self.namespace is not None),
        ),
        Rule(
            "!self.name.startsWith('system:')",
            "names that begin with system: belong to Kubernetes; name a ServiceAccount by kind, namespace and name",
            lambda self: not self.name.startswith("system:"),
        ),
    )


class Residency(ApiModel):
    """Where the tenant's pods may run: allow-lists, both of which must admit a region if both are given."""

    jurisdictions: Annotated[list[Jurisdiction], Field(max_length=16), ListType("set")] = []
    """Regions where at least one of these holds."""
    regions: Annotated[list[CatalogueName], Field(max_length=32), ListType("set")] = []
    """These regions and no others. Each must lie in one of `jurisdictions`, if those are given."""

    rules = (
        Rule(
            "(has(self.jurisdictions) && self.jurisdictions.size() > 0) || (has(self.regions) && self.regions.size() > 0)",
            "name jurisdictions or regions",
            lambda self: bool(self.jurisdictions or self.regions),
        ),
    )


class TenantNamespace(ApiModel):
    """A namespace of the tenant."""

    name: NamespaceName
    """Its name, unique in the cluster."""
    defaultPool: CatalogueName | None = None
    """The pool of GPU pods that name none."""

    rules = (
        Rule(
            "!self.name.startsWith('kube-') && !self.name.startsWith('openshift-') && self.name != 'default'",
            "kube-*, openshift-* and default belong to the platform: choose another name",
            lambda self: not self.name.startswith(("kube-", "openshift-")) and self.name != "default",
        ),
    )


class NamespaceShare(ApiModel):
    """A namespace's part of a grant."""

    name: NamespaceName
    """One of the tenant's namespaces."""
    guaranteed: GpuCount = 0
    """Its part of the guaranteed GPUs; of shared ones, what it has at least."""
    spot: GpuCount | None = None
    """Its part of the spot ceiling; by default what the others leave."""


class GpuHours(ApiModel):
    """A budget of reserved GPU-hours."""

    limit: Annotated[int, Field(ge=0, le=1_000_000_000)]
    """GPU-hours per period that reservations may book."""
    period: Literal["Day", "Week", "Month", "Year"] = "Month"
    """The calendar period in UTC; weeks begin on Monday."""


class GpuGrant(ApiModel):
    """What the tenant may use of one pool, in GPUs."""

    pool: CatalogueName
    """The GpuPool."""
    guaranteed: GpuCount = 0
    """Always theirs."""
    spot: GpuCount = 0
    """Ceiling for pods that may be preempted."""
    reservable: GpuCount = 0
    """Ceiling for all their reservations at one instant."""
    gpuHours: GpuHours | None = None
    """A budget of reserved GPU-hours; without it the ceiling alone limits."""
    sharing: Literal["Split", "Shared"] = "Split"
    """Split: each namespace has its part of the guaranteed GPUs. Shared: what is not used follows the demand between
    the namespaces, and together they never hold more than is guaranteed."""
    namespaces: Annotated[list[NamespaceShare], Field(max_length=MAX_NAMESPACES), ListType("map", ("name",))] = []
    """How guaranteed and spot are split; what is not split goes to the first namespace with this default pool,
    else to the first namespace."""

    rules = (
        Rule(
            "!has(self.namespaces) || self.namespaces.map(n, n.?guaranteed.orValue(0)).sum() <= self.?guaranteed.orValue(0)",
            "the namespaces' guaranteed GPUs exceed the grant",
            lambda self: sum(share.guaranteed for share in self.namespaces) <= self.guaranteed,
        ),
        Rule(
            "!has(self.namespaces) || self.namespaces.map(n, n.?spot.orValue(0)).sum() <= self.?spot.orValue(0)",
            "the namespaces' spot GPUs exceed the ceiling",
            lambda self: sum(share.spot or 0 for share in self.namespaces) <= self.spot,
        ),
    )


class DeviceGrant(ApiModel):
    """Devices of one class, which pods get by resource claims."""

    deviceClass: DeviceClassName
    """The DeviceClass."""
    count: Annotated[int, Field(ge=0, le=1_000_000)]
    """How many devices the claims in each namespace may ask for."""


class Network(ApiModel):
    """What the tenant's pods can reach and be reached from, beside the tenant itself and DNS."""

    internetEgress: Literal["Allowed", "Denied"] = "Denied"
    """Whether pods reach addresses outside; private ranges and the metadata service never."""
    allowFromNamespaces: Annotated[list[LabelSelector], Field(max_length=16), ListType("atomic")] = []
    """Platform namespaces whose pods may connect in, such as ingress or monitoring."""
    allowToNamespaces: Annotated[list[LabelSelector], Field(max_length=16), ListType("atomic")] = []
    """Platform namespaces that the tenant's pods may connect to, such as a registry or object storage."""
    hosts: Annotated[list[HostName], Field(max_length=64), ListType("set")] = []
    """Host names that Ingresses and Gateway routes may serve, such as app.neura.example or *.neura.example; by default none.
    What two tenants are granted neither serves."""
    attachments: Annotated[list[NetworkAttachment], Field(max_length=16), ListType("set")] = []
    """NetworkAttachmentDefinitions that pods may join, as namespace/name, such as an RDMA network of their own; by default
    none. Network policies do not cover them."""
    peering: Literal["Allowed", "Denied"] = "Denied"
    """Whether the tenant may open namespaces to those of another tenant that agrees, by TenantPeerings."""


class Workloads(ApiModel):
    """What the tenant's pods may be."""

    podSecurity: Literal["Restricted", "Baseline"] = "Restricted"
    """The Pod Security Standard that namespaces enforce."""
    registries: Annotated[list[Registry], Field(max_length=32), ListType("set")] = []
    """Registries, or paths in them, that images come from, such as registry.example/robotics; by default any."""


class Suspension(ApiModel):
    """What becomes of pods that run when the tenant is suspended."""

    pods: Literal["Keep", "Drain"] = "Keep"
    """Keep: they run on. Drain: Jobs are suspended and the other pods evicted, as disruption budgets allow."""
    gracePeriod: Duration = timedelta(minutes=10)
    """How long a drain asks; what still runs then is deleted."""


class IndustrialTenantSpec(ApiModel):
    """The contract with a tenant as the provider writes it."""

    organization: Organization | None = None
    """Who the tenant is."""
    contract: ContractTerms | None = None
    """How long the contract runs; without it, for ever, as OnDemand."""
    owners: Annotated[list[Owner], Field(max_length=64), ListType("atomic")] = []
    """The people, groups and service accounts that work in the namespaces."""
    residency: Residency | None = None
    """Where the pods may run; without it, in every region of the catalogue."""
    namespaces: Annotated[list[TenantNamespace], Field(max_length=MAX_NAMESPACES), ListType("map", ("name",))] = []
    """The tenant's namespaces; those that exist are adopted only with an opt-in label."""
    gpus: Annotated[list[GpuGrant], Field(max_length=32), ListType("map", ("pool",))] = []
    """What the tenant may use of each pool; of the others, nothing."""
    devices: Annotated[list[DeviceGrant], Field(max_length=16), ListType("map", ("deviceClass",))] = []
    """Devices by resource claims, such as the channels of a ComputeDomain; of other classes, none. No GPUs of pools."""
    quota: Annotated[dict[QuotaKey, Quantity], Field(max_length=64), BeforeValidator(without_nulls)] = {}
    """The base ResourceQuota of each namespace; defaults hold for what is not said. GPUs do not belong here."""
    network: Network = Network()
    """What pods reach and are reached from."""
    workloads: Workloads = Workloads()
    """What pods may be."""
    storageClasses: Annotated[list[StorageClassName], Field(max_length=32), ListType("set")] = []
    """StorageClasses that volume claims may name, by default all; never one that keeps deleted volumes (Retain)."""
    suspended: bool = False
    """Whether the tenant is shut: nothing new starts; `suspension` says what becomes of what runs."""
    suspension: Suspension = Suspension()
    """What becomes of pods that run when the tenant is suspended."""
    deletionPolicy: Literal["Retain", "Delete"] = "Retain"
    """What happens to namespaces when the tenant or its entry is removed."""

    rules = (
        Rule(
            # By way of a map, once for all grants: comparing each with each would exceed the API server's cost limit.
            "!has(self.gpus) || [has(self.namespaces) ? self.namespaces.transformMapEntry(i, n, {n.name: true}) : {}]"
            ".all(names, self.gpus.all(g, !has(g.namespaces) || g.namespaces.all(s, s.name in names)))",
            "gpus[].namespaces names a namespace that the tenant does not have",
            lambda self: (
                {share.name for grant in self.gpus for share in grant.namespaces}
                <= {namespace.name for namespace in self.namespaces}
            ),
        ),
        Rule(
            "!has(self.owners) || [has(self.namespaces) ? self.namespaces.transformMapEntry(i, n, {n.name: true}) : {}]"
            ".all(names, self.owners.all(o, !has(o.namespaces) || o.namespaces.all(n, n in names)))",
            "owners[].namespaces names a namespace that the tenant does not have",
            lambda self: (
                {name for owner in self.owners for name in owner.namespaces}
                <= {namespace.name for namespace in self.namespaces}
            ),
        ),
        Rule(
            "!has(self.quota) || self.quota.all(k, !k.contains('nvidia.com/') && !k.contains('deviceclass'))",
            "GPUs are granted in spec.gpus and other devices in spec.devices, not in spec.quota",
            lambda self: not any("nvidia.com/" in key or "deviceclass" in key for key in self.quota),
        ),
        Rule(
            "!has(self.quota) || self.quota[?'services.nodeports'].orValue('0') == '0'",
            "a node port opens every node to the outside, so tenants have none: leave services.nodeports out of spec.quota",
            lambda self: self.quota.get("services.nodeports", "0") == "0",
        ),
        Rule(
            "!has(self.quota) || self.quota.all(k, k.contains('cpu') || k.contains('memory') || k.contains('storage') || "
            "self.quota[k].matches('^[0-9]+$'))",
            "only cpu, memory and storage have units and fractions: the others are whole numbers",
            lambda self: all(
                any(unit in key for unit in ("cpu", "memory", "storage")) or amount.isdigit()
                for key, amount in self.quota.items()
            ),
        ),
    )


class NamespaceStatus(ApiModel):
    """What stands of one namespace."""

    name: NamespaceName
    """The namespace."""
    ready: bool
    """Whether everything in it stands as declared."""
    reason: Annotated[str, StringConstraints(max_length=128)]
    """One CamelCase word: Ready, Provisioning, NameTaken, NotAdopted, Reserved, Retained, Terminating."""
    message: Annotated[str, StringConstraints(max_length=1024)] = ""
    """A sentence for people."""


class ChargedPeriod(ApiModel):
    """What is charged in a period of the budget."""

    start: Instant
    """When the period begins."""
    end: Instant
    """When it is over; not part of it."""
    present: GpuSeconds = 0
    """GPU-seconds of fixed windows whose reservations are there."""
    gone: GpuSeconds = 0
    """GPU-seconds of fixed windows whose reservations are gone; they stay charged."""


class ChargedHours(ApiModel):
    """What the budget remembers of fixed windows."""

    until: Instant
    """Every window that became fixed before this is counted."""
    periods: Annotated[list[ChargedPeriod], Field(max_length=400), ListType("atomic")] = []
    """The budget's periods that are not over and of which something is charged."""


class MonthOfUse(ApiModel):
    """GPU-seconds of a calendar month in UTC."""

    month: Instant
    """When it begins."""
    guaranteed: GpuSeconds = 0
    """What pods held of the guaranteed GPUs."""
    spot: GpuSeconds = 0
    """What spot pods held."""
    booked: GpuSeconds = 0
    """What reservations were promised, in their windows."""
    active: GpuSeconds = 0
    """What of that their quotas allowed."""
    used: GpuSeconds = 0
    """What of that their pods held."""


class GrantUsage(ApiModel):
    """What the tenant used of a pool."""

    until: Instant
    """Everything before this is counted."""
    months: Annotated[list[MonthOfUse], Field(max_length=25), ListType("map", ("month",))] = []
    """By month, the last ones."""


class GrantStatus(ApiModel):
    """What stands of one grant, in GPUs."""

    pool: CatalogueName
    """The pool."""
    guaranteed: GpuCount = 0
    """GPUs that were asked for as guaranteed."""
    granted: GpuCount = 0
    """GPUs that are promised as guaranteed."""
    backed: GpuCount = 0
    """GPUs of these that the pool has now; fewer after a loss of capacity."""
    spot: GpuCount = 0
    """The spot ceiling that stands."""
    reserved: GpuCount = 0
    """GPUs that stand in quotas of active reservations."""
    charged: ChargedHours | None = None
    """What is charged to the budget of GPU-hours, so that it outlives the reservations."""
    usage: GrantUsage | None = None
    """What was used, also by reservations that are gone; written every ten minutes at most, and when windows end."""


class DrainStatus(ApiModel):
    """How far the drain of a suspended tenant is."""

    since: Instant
    """When it began; the grace period counts from here."""
    pods: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """Pods that have not finished or gone yet; absent until they were counted."""


class ControlStatus(ApiModel):
    """One control of the tenant: how it stands, and since when nothing else was seen."""

    id: Annotated[str, StringConstraints(pattern=DNS_LABEL, max_length=63)]
    """Which control, such as network-isolation."""
    objects: Annotated[int, Field(ge=0, le=1_000_000)]
    """How many objects enforce it."""
    hash: Annotated[str, StringConstraints(max_length=64)]
    """Of what these say, in the fields that are the operator's."""
    result: Literal["Verified", "Violated", "Unknown"]
    """Verified: all was seen as it should be. Violated: something is not. Unknown: something cannot be told."""
    lastVerifiedTime: Instant
    """When it was last looked at; renewed when something changed, and otherwise about once a day."""


class IndustrialTenantStatus(ApiModel):
    """What stands of the contract."""

    observedGeneration: Generation = 0
    """The generation that was judged."""
    placement: Annotated[str, StringConstraints(max_length=63)] = ""
    """The placement that every pod carries."""
    regions: Annotated[list[CatalogueName], Field(max_length=256), ListType("atomic")] = []
    """The regions that the placement admits now."""
    readyNamespaces: Annotated[str, StringConstraints(max_length=16)] = ""
    """How many namespaces stand, such as 2/3."""
    namespaces: Annotated[list[NamespaceStatus], Field(max_length=2 * MAX_NAMESPACES), ListType("map", ("name",))] = []
    """What stands of each namespace."""
    gpus: Annotated[list[GrantStatus], Field(max_length=32), ListType("map", ("pool",))] = []
    """What stands of each grant."""
    drain: DrainStatus | None = None
    """How far the drain is, while the tenant is suspended with `suspension.pods: Drain`."""
    controls: Annotated[list[ControlStatus], Field(max_length=32), ListType("map", ("id",))] = []
    """What is enforced and how it was last seen to stand; `gpu-tenancy evidence` has each object of it."""
    conditions: Conditions = []
    """Ready, Reconciling, Stalled, Suspended, ContractEnding, GuaranteeShort, HostContested, ResidencyViolated."""


INDUSTRIAL_TENANT = Kind(
    kind="IndustrialTenant",
    plural="industrialtenants",
    short_names=("itn",),
    namespaced=False,
    description="IndustrialTenant is a company that rents GPUs: its people, namespaces, residency, grants and limits.",
    spec=IndustrialTenantSpec,
    status=IndustrialTenantStatus,
    columns=(
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Namespaces", ".status.readyNamespaces"),
        Column("Placement", ".status.placement"),
        Column("Suspended", ".spec.suspended", "boolean"),
        Column("Organization", ".spec.organization.legalName", wide=True),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message", wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    name_rules=(
        name_rule(
            DNS_LABEL, 63, "the name becomes a label's value: at most 63 characters, lower case letters, digits and '-'"
        ),
    ),
)
