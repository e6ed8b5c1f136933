"""The evidence about one tenant: what is declared, what is enforced, what was verified when, and where everything is.

It has no date of its own: an unchanged cluster gives the same evidence, but for certificates that expire.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_tenancy.domain.capacity import NodeFacts, assign
from gpu_tenancy.domain.criteria import CRITERIA, SOURCES
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.domain.whereabouts import Atlas, Item, judge
from gpu_tenancy.reconcile.audit import Policies, combined, digest, line
from gpu_tenancy.reconcile.controls import (
    ADMISSION_POLICIES,
    IDS,
    NETWORK_SEPARATION,
    RESIDENCY,
    control_of,
    lines_of,
    own_fields,
    placement_of,
    summed_up,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.api.resource import Resource
    from gpu_tenancy.api.tenant import IndustrialTenantSpec, IndustrialTenantStatus

Object = dict[str, Any]

ENFORCED_BY: Mapping[str, str] = {
    "namespace-isolation": "API server: Pod Security, and the labels that admission policies go by",
    "base-quota": "API server: ResourceQuota",
    "default-requests": "API server: LimitRange",
    "gpu-quotas": "API server: ResourceQuota scoped by PriorityClass",
    "network-isolation": "CNI plugin: NetworkPolicy, if it enforces any; nothing in the API tells whether it does",
    "network-separation": "CNI plugin: ClusterNetworkPolicy, if it knows these; nothing in the API tells whether it does",
    "access-bindings": "API server: RBAC",
    "residency": "API server and scheduler: each pod selects nodes of the placement",
    "admission-policies": "API server: ValidatingAdmissionPolicy, MutatingAdmissionPolicy",
}
_DECLARED = "declared by the provider, not verified by the operator"


@dataclass(frozen=True, slots=True)
class Findings:
    """What was read of the cluster, as the API server gave it out.

    Attributes:
        tenant: the tenant.
        regions: the catalogue by name.
        namespaces, children: the tenant's namespaces, and the operator's objects in them and for it as a whole.
        nodes: all nodes.
        pods, snapshots: in these namespaces.
        volumes: all PersistentVolumes.
        policies, bindings: the chart's.
    """

    tenant: Resource[IndustrialTenantSpec, IndustrialTenantStatus]
    regions: Mapping[str, RegionSpec]
    namespaces: Sequence[Object]
    children: Sequence[Object]
    nodes: Sequence[Object]
    pods: Sequence[Object]
    volumes: Sequence[Object]
    snapshots: Sequence[Object]
    policies: Sequence[Object]
    bindings: Sequence[Object]


def evidence(findings: Findings, today: date) -> Object:
    """Put the evidence together; `today` says which certificates have expired."""
    tenant = findings.tenant
    placement = Placement.of(tenant.spec.residency)
    return {
        "kind": "TenantEvidence",
        "tenant": {
            "name": tenant.name,
            "uid": tenant.uid,
            "generation": tenant.generation,
            "observedGeneration": tenant.status.observedGeneration,
            "suspended": tenant.spec.suspended,
            "namespaces": sorted(one["metadata"]["name"] for one in findings.namespaces),
            "organization": {
                "basis": _DECLARED,
                "said": None
                if tenant.spec.organization is None
                else tenant.spec.organization.model_dump(mode="json", exclude_defaults=True),
            },
        },
        "residency": {
            "declared": None
            if tenant.spec.residency is None
            else tenant.spec.residency.model_dump(mode="json", exclude_defaults=True),
            "placement": placement.name,
            "admits": placement.admitted(findings.regions),
        },
        "regions": [_region(name, findings.regions[name], today) for name in placement.admitted(findings.regions)],
        "controls": [_control(findings, control) for control in IDS if _is_to_be(findings, control)],
        "whereabouts": _whereabouts(findings, placement),
        "conditions": [condition.model_dump(mode="json") for condition in tenant.status.conditions],
        "catalogues": dict(SOURCES),
    }


def _region(name: str, region: RegionSpec, today: date) -> Object:
    return {
        "name": name,
        "basis": _DECLARED,
        "country": region.country,
        "jurisdictions": sorted(region.jurisdictions),
        "dataCenterOperator": region.dataCenterOperator,
        "certificates": [
            {
                "name": one.name,
                "validUntil": one.validUntil.isoformat(),
                "expired": one.validUntil < today,
                "evidenceURL": one.evidenceURL,
            }
            for one in sorted(region.certificates, key=lambda one: one.name)
        ],
    }


def _is_to_be(findings: Findings, control: str) -> bool:
    """Leave out the control that a cluster need not have, where it neither stands nor was verified."""
    verified = {one.id for one in findings.tenant.status.controls}
    return control != NETWORK_SEPARATION or control in verified or _observed(findings, control)[0] > 0


def _control(findings: Findings, control: str) -> Object:
    verified = next((one for one in findings.tenant.status.controls if one.id == control), None)
    objects = list(_objects(findings, control))
    count, hash_ = _observed(findings, control)
    return {
        "id": control,
        "basis": "enforced",
        "enforcedBy": ENFORCED_BY[control],
        "verified": None if verified is None else verified.model_dump(mode="json", exclude={"id"}),
        "observed": {"objects": count, "hash": hash_},
        "asVerified": verified is not None and (verified.objects, verified.hash) == (count, hash_),
        "objects": sorted(objects, key=lambda one: (one["kind"], one["namespace"], one["name"])),
        "criteria": [
            {"catalogue": one.catalogue, "id": one.id, "title": one.title, "of": "area" if one.area else "criterion"}
            for one in CRITERIA[control]
        ],
    }


def _observed(findings: Findings, control: str) -> tuple[int, str]:
    if control == ADMISSION_POLICIES:
        policies = Policies.of(findings.policies, findings.bindings)
        return policies.objects, policies.hash
    found = summed_up(entry for one in (*findings.namespaces, *findings.children) for entry in lines_of(one))
    return found.get(control, (0, combined(())))


def _objects(findings: Findings, control: str) -> Iterable[Object]:
    """List the objects of a control, each with the hash of what it says."""
    if control == ADMISSION_POLICIES:
        for one in (*findings.policies, *findings.bindings):
            yield _reference(one, line(one).rpartition(" ")[2])
        return
    for one in findings.namespaces:
        if control == RESIDENCY:
            yield _reference(one, digest(placement_of(one)))
    for one in (*findings.namespaces, *findings.children):
        if control_of(one) == control:
            yield _reference(one, digest(own_fields(one)))


def _reference(one: Object, hash_: str) -> Object:
    metadata = one["metadata"]
    return {
        "apiVersion": one["apiVersion"],
        "kind": one["kind"],
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "hash": hash_,
    }


def _whereabouts(findings: Findings, placement: Placement) -> Object:
    """Say how many things are in which region, and name those that are where they may not be."""
    facts = {one["metadata"]["name"]: NodeFacts.of(one) for one in findings.nodes}
    homes = assign(facts.values(), (), findings.regions)
    atlas = Atlas(facts, lambda node: homes[node].region, findings.regions)
    names = {one["metadata"]["name"] for one in findings.namespaces}
    strays: dict[tuple[str, str], Item] = {}
    items = [pod for raw in findings.pods if (pod := atlas.pod(raw)) is not None]
    for raw in findings.volumes:
        volume = atlas.volume(raw)
        if volume is not None and volume.namespace in names:
            items.append(volume)
            if judge(volume, placement, findings.regions) == "outside":
                strays[volume.namespace, raw["spec"]["claimRef"]["name"]] = volume
    items += [atlas.snapshot(raw, strays) for raw in findings.snapshots]
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        counts[item.kind][" or ".join(region or "no region" for region in item.regions) or "unknown"] += 1
    states = Counter(judge(item, placement, findings.regions) for item in items)
    outside = sorted(item for item in items if judge(item, placement, findings.regions) == "outside")
    return {
        "basis": "observed now",
        "regions": {kind: dict(found) for kind, found in counts.items()},
        "inside": states["inside"],
        "unknown": states["unknown"],
        "outside": [item.text for item in outside],
    }
