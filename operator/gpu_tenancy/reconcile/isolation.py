"""One namespace of a tenant: what should stand there, and what to write for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, assert_never

from gpu_tenancy.domain.grants import shares
from gpu_tenancy.domain.naming import (
    ACCELERATORS_ANNOTATION,
    ADOPT_LABEL,
    BASE_QUOTA,
    CLOSING_QUOTA,
    DEVICE_CLASSES_ANNOTATION,
    EXCLUSIVE_ANNOTATION,
    HOSTS_ANNOTATION,
    LOAD_BALANCERS_ANNOTATION,
    MANAGED_BY_LABEL,
    NETWORKS_ANNOTATION,
    PER_GPU_ANNOTATION,
    REGISTRIES_ANNOTATION,
    STORAGE_CLASSES_ANNOTATION,
    SUSPENDED_LABEL,
    TENANT_LABEL,
    quota_of,
)
from gpu_tenancy.domain.peering import MAX_PEERINGS
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.reconcile.children import BINDING, POLICY, QUOTA, Standing, Step, Work, compare
from gpu_tenancy.reconcile.diff import merge_patch
from gpu_tenancy.reconcile.gpu_quotas import gpu_quotas, limits_of
from gpu_tenancy.reconcile.ownership import Kept, Left, Reason, Removed, Retained, previous_reasons
from gpu_tenancy.reconcile.plan import Create, Delete, Ref, Update
from gpu_tenancy.render.base_quota import BINDINGS_COUNT, OWN_KINDS, base_quota, load_balancers
from gpu_tenancy.render.gpu_quota import device_resources, quota_key
from gpu_tenancy.render.limit_range import limit_range
from gpu_tenancy.render.namespace import namespace, owner_reference, refers_to_tenant
from gpu_tenancy.render.network_policy import (
    default_deny,
    dns_peers,
    is_peering,
    network_policies,
    peering,
)
from gpu_tenancy.render.role_binding import role_bindings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gpu_tenancy.api.tenant import IndustrialTenantSpec, Network
    from gpu_tenancy.domain.grants import Share
    from gpu_tenancy.domain.peering import Agreement
    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.reconcile.ownership import Claim
    from gpu_tenancy.reconcile.plan import Manifest
    from gpu_tenancy.reconcile.views import TenantView

# A longer name makes no quota key; the policies refuse it like any other that is not granted.
_LONGEST_CLASS = 225
_EVERYTHING = (QUOTA, "LimitRange", POLICY, BINDING)


@dataclass(frozen=True, slots=True)
class Memory:
    """What was seen of a tenant before: a namespace that stood as it should does so while nothing about it has changed.

    It saves time and decides nothing.

    Attributes:
        settled: by namespace, what that was judged by.
    """

    settled: dict[str, TenantView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contract:
    """What is the same for all namespaces of a tenant.

    Attributes:
        accelerators: every resource that the policies let pods ask for, as far as GPU quotas allow it.
        closed: every resource that GPU quotas list; these and the names by which pods could ask for devices of claims.
        devices: by DeviceClass, how many devices the claims in each namespace may ask for.
        split: by pool, each namespace's share of the grant.
        children: the operator's objects by namespace.
        separated: whether other tenants are kept out by more than NetworkPolicies, as far as that is to be.
        steady: whether the tenant stood completely at this generation, so that a difference is someone else's doing.
        memory: of the namespaces that need no second look.
    """

    view: TenantView
    accelerators: frozenset[str]
    closed: frozenset[str]
    devices: Mapping[str, int]
    split: Mapping[str, Mapping[str, Share]]
    children: Mapping[str, Mapping[Ref, Observed]]
    separated: bool
    steady: bool
    memory: Memory

    @classmethod
    def of(cls, view: TenantView, memory: Memory, *, separated: bool, steady: bool) -> Contract:
        """Read a view whose spec is not refused."""
        children: defaultdict[str, dict[Ref, Observed]] = defaultdict(dict)
        for ref, child in sorted(view.children.items()):
            children[ref.namespace][ref] = child
        accelerators = view.accelerators | {pool.resourceName for pool in view.pools.values()}
        granted = {} if view.spec is None else {one.deviceClass: one.count for one in view.spec.devices}
        return cls(
            view=view,
            accelerators=accelerators,
            closed=accelerators | device_resources(view.device_classes),
            devices={name: 0 for name in view.device_classes if len(name) <= _LONGEST_CLASS} | granted,
            split={} if view.spec is None else {one.pool: shares(one, view.spec.namespaces) for one in view.spec.gpus},
            children=children,
            separated=separated,
            steady=steady,
            memory=memory,
        )

    def standing(self, namespace: str) -> dict[Ref, Standing]:
        """Decode the operator's objects in a namespace."""
        return {ref: Standing(child, child.manifest) for ref, child in self.children.get(namespace, {}).items()}


def work_on(contract: Contract, claim: Claim) -> Work:
    """Compare a namespace with what should stand there."""
    match claim:
        case Kept():
            return _keep(contract, claim)
        case Retained():
            return _retain(contract, claim.observed)
        case Removed():
            return Work([(Step.FIRST, Delete(claim.observed.ref, claim.observed.uid))])
        case Left():
            return Work()
    assert_never(claim)


def _keep(contract: Contract, claim: Kept) -> Work:
    view, name, spec = contract.view, claim.name, claim.spec
    grounds = _grounds(contract, name)
    if contract.memory.settled.get(name) == grounds:
        return Work()
    standing = contract.standing(name)
    steady = contract.steady and previous_reasons(view.status).get(name) == Reason.READY
    platform = view.platform
    dns = dns_peers(dict(platform.dns_namespace_labels), dict(platform.dns_pod_labels), platform.dns_addresses)
    limits = limits_of(view, name, contract.split)
    desired = [
        *gpu_quotas(name, limits, contract.closed, standing),
        limit_range(name),
        *network_policies(name, view.name, spec.network, dns, platform.closed_networks),
        *role_bindings(name, spec.owners),
    ]
    own = _own(desired, spec.network)
    before = _limits(standing, name).keys() & OWN_KINDS
    counted = before if view.audit is None else before | view.audit.counted
    base = base_quota(
        name,
        spec.quota,
        suspended=spec.suspended or contract.view.contract.shut,
        own=own,
        devices=contract.devices,
        counted=counted,
    )
    desired += [base, *_peerings(view, name)]
    new = _new_peerings(view, name) | ({Ref.of(base)} if counted > before else set())
    work = compare(desired, standing, _EVERYTHING, separated=contract.separated, steady=steady, new=new)
    _write_namespace(contract, claim, work, standing, limits, steady=steady)
    contract.memory.settled.pop(name, None)
    if work.settled:
        contract.memory.settled[name] = grounds
    return work


def _grounds(contract: Contract, name: str) -> TenantView:
    """Leave out of the view what concerns other namespaces, or only the status; whatever else there is may matter."""
    view, observed = contract.view, contract.view.namespaces.get(name)
    return replace(
        view,
        resource_version="",
        generation=0,
        status=None,
        grants={},
        separation=None,
        allotments={key: gpus for key, gpus in view.allotments.items() if key[0] == name},
        namespaces={} if observed is None else {name: observed},
        children=contract.children.get(name, {}),
    )


def _write_namespace(
    contract: Contract,
    claim: Kept,
    work: Work,
    standing: Mapping[Ref, Standing],
    classes: Iterable[str],
    *,
    steady: bool,
) -> None:
    view, spec, observed = contract.view, claim.spec, claim.observed
    manifest: Manifest = {} if observed is None else observed.manifest
    desired = namespace(
        claim.name,
        tenant=view.name,
        placement=Placement.of(spec.residency).name,
        default_pool=claim.declared.defaultPool,
        suspended=spec.suspended or contract.view.contract.shut,
        pod_security=spec.workloads.podSecurity,
        allowed=_allowed(view, spec)
        | {
            PER_GPU_ANNOTATION: _per_gpu(view, classes),
            EXCLUSIVE_ANNOTATION: view.exclusive.get(claim.name, ()),
            ACCELERATORS_ANNOTATION: contract.accelerators
            if observed is None
            else _counted(contract, manifest, standing, claim.name),
        },
    )
    metadata, before = desired["metadata"], manifest.get("metadata", {})
    # What opted in stays as a record, and whoever manages the namespace beside us keeps the name.
    labels = before.get("labels", {})
    metadata["labels"] |= {key: labels[key] for key in (ADOPT_LABEL, MANAGED_BY_LABEL) if key in labels}
    own = [owner_reference(view.name, view.uid)] if spec.deletionPolicy == "Delete" else []
    metadata |= _references(before.get("ownerReferences", []), own)
    if observed is None:
        # One that exists after all may be anybody's.
        work.operations.append((Step.FIRST, Create(desired, adopt=False)))
    else:
        _update_namespace(work, observed, manifest, desired, steady=steady)


def _update_namespace(work: Work, observed: Observed, manifest: Manifest, desired: Manifest, *, steady: bool) -> None:
    if (patch := merge_patch(manifest, desired)) is not None:
        repair = steady and "labels" in patch["metadata"]
        # The version makes sure that it is still the namespace that was judged, and not another of the same name.
        work.operations.append((Step.FIRST, Update(observed.ref, patch, observed.resource_version, repair=repair)))


def _allowed(view: TenantView, spec: IndustrialTenantSpec) -> dict[str, Iterable[str]]:
    """Give, by annotation, what the contract lets a tenant name in its own objects."""
    return {
        REGISTRIES_ANNOTATION: spec.workloads.registries or ["*"],
        STORAGE_CLASSES_ANNOTATION: view.storage_classes.intersection(spec.storageClasses or view.storage_classes),
        LOAD_BALANCERS_ANNOTATION: [load_balancers(spec.quota)],
        HOSTS_ANNOTATION: [host for host in spec.network.hosts if host not in view.contested],
        NETWORKS_ANNOTATION: spec.network.attachments,
        DEVICE_CLASSES_ANNOTATION: [one.deviceClass for one in spec.devices if one.count],
    }


def _per_gpu(view: TenantView, classes: Iterable[str]) -> list[str]:
    """Give what pods may request with each GPU of the pools that have quotas here; a pool that says nothing has none."""
    return [
        f"{pool} {view.pools[pool].resourceName} {resource} {amount}"
        for pool in {pool for pool, _ in filter(None, map(quota_of, classes))}
        for resource, amount in view.pools[pool].perGpu.items()
    ]


def _counted(contract: Contract, manifest: Manifest, standing: Mapping[Ref, Standing], name: str) -> Iterable[str]:
    """Give the resources that pods may ask for by now: the fence lets none pass that the closing quota does not list."""
    closing = standing.get(Ref("v1", QUOTA, name, CLOSING_QUOTA))
    lines = {} if closing is None or not closing.observed.counted else closing.manifest["spec"].get("hard", {})
    annotation = manifest["metadata"].get("annotations", {}).get(ACCELERATORS_ANNOTATION, "")
    return {one for one in contract.accelerators if quota_key(one) in lines} | (
        contract.accelerators & set(annotation.split(","))
    )


def released(view: TenantView) -> Iterator[Update]:
    """Let go of namespaces that are to stay, even while the spec is refused for something else.

    Else a tenant that is deleted in that state takes them along.
    """
    if view.spec is None or view.spec.deletionPolicy != "Retain":
        return
    for name, observed in sorted(view.namespaces.items()):
        before = observed.manifest["metadata"].get("ownerReferences", [])
        own = [one for one in before if refers_to_tenant(one) and one["name"] == view.name]
        if own and observed.labels.get(TENANT_LABEL) == view.name and not observed.deleting:
            references = [one for one in before if one not in own]
            patch = {"metadata": {"ownerReferences": references or None}}
            yield Update(Ref("v1", "Namespace", "", name), patch, observed.resource_version)


def closed(view: TenantView) -> Iterator[Update | Delete]:
    """Close peerings that are not agreed on any more, and narrow the others, even while the spec is refused."""
    for ref, child in sorted(view.children.items()):
        ours = view.namespaces[ref.namespace].labels.get(TENANT_LABEL) == view.name
        if ref.kind != POLICY or not is_peering(ref.name) or child.deleting or not ours:
            continue
        wanted = next((one for one in _peerings(view, ref.namespace) if one["metadata"]["name"] == ref.name), None)
        if wanted is None:
            yield Delete(ref, child.uid)
        elif (patch := merge_patch(child.manifest, wanted)) is not None:
            yield Update(ref, patch)


def agreed(view: TenantView, namespace: str) -> list[Agreement]:
    """List what a tenant agreed on in a namespace, without what another did whose label the namespace carries."""
    return [one for one in view.peerings.get(namespace, ()) if one.own.tenant == view.name]


def _peerings(view: TenantView, namespace: str) -> list[Manifest]:
    return [peering(namespace, one.peer, one.ports, (one.name, one.uid)) for one in agreed(view, namespace)]


def _new_peerings(view: TenantView, namespace: str) -> set[Ref]:
    """Name the policies that tenants have only now agreed on: that they are missing is nobody's meddling."""
    return {Ref.of(peering(namespace, one.peer, one.ports)) for one in agreed(view, namespace) if one.new}


def _references(before: list[dict[str, Any]], own: list[dict[str, Any]]) -> dict[str, Any]:
    """Have exactly our own reference among those to tenants, and leave the others."""
    references = [*(one for one in before if not refers_to_tenant(one) or one in own)]
    references += [one for one in own if one not in references]
    return {} if references == before else {"ownerReferences": references}


def _retain(contract: Contract, observed: Observed) -> Work:
    """Shut a namespace: no access, no GPUs, no new pods. Its data and its network isolation stay."""
    name, manifest = observed.ref.name, observed.manifest
    standing = contract.standing(name)
    said = _limits(standing, name)
    desired = [*gpu_quotas(name, {}, contract.closed, standing), default_deny(name)]
    # Whoever still has access for a moment gives it to nobody else.
    desired.append(base_quota(name, {**said, BINDINGS_COUNT: "0"}, suspended=True, own={}, counted=said))
    work = compare(desired, standing, (QUOTA, BINDING), steady=False)
    work.operations += [
        (Step.FIRST, Delete(one.ref, one.uid)) for one in contract.view.handed_out.get(name, ()) if not one.deleting
    ]
    work.operations += [
        (Step.FIRST, Delete(ref, one.observed.uid))
        for ref, one in standing.items()
        if ref.kind == POLICY and is_peering(ref.name) and not one.observed.deleting
    ]
    metadata = manifest["metadata"]
    shut = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {**metadata["labels"], SUSPENDED_LABEL: "true"},
            "annotations": metadata.get("annotations", {}),
            **_references(metadata.get("ownerReferences", []), []),
        },
    }
    _update_namespace(work, observed, manifest, shut, steady=False)
    return work


def _limits(standing: Mapping[Ref, Standing], name: str) -> dict[str, str]:
    """Give what the base quota that stands allows. What it counts Kubernetes never stops counting."""
    base = standing.get(Ref("v1", QUOTA, name, BASE_QUOTA))
    return {} if base is None else base.manifest["spec"].get("hard", {})


def _own(desired: list[Manifest], network: Network) -> Counter[str]:
    """Count the operator's objects by kind, with the base quota, and with room for peerings, which come and go."""
    own = Counter([QUOTA, *(manifest["kind"] for manifest in desired)])
    own[POLICY] += MAX_PEERINGS if network.peering == "Allowed" else 0
    return own
