"""What a tenant has in our API, as manifests that make it again elsewhere: without what only this cluster gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_tenancy.api import GPU_POOL, GPU_RESERVATION, GROUP, INDUSTRIAL_TENANT, REGION, TENANT_PEERING
from gpu_tenancy.domain.naming import PREFIX
from gpu_tenancy.domain.residency import Placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.api.pool import GpuPoolSpec
    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.api.tenant import IndustrialTenantSpec

Object = dict[str, Any]

# What others build on comes before them.
_ORDER = (REGION.kind, GPU_POOL.kind, INDUSTRIAL_TENANT.kind, TENANT_PEERING.kind, GPU_RESERVATION.kind)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def export(objects: Iterable[Mapping[str, Any]]) -> list[Object]:
    """Give the manifests of objects as stored, in an order in which they can be created.

    Reservations keep the order in which they were made, since they are accepted in that order. What another object of
    ours made is left out: that one makes it again.
    """
    kept = [one for one in objects if not _is_made_again(one)]
    return [_manifest(one) for one in sorted(kept, key=_rank)]


def pools_of(spec: IndustrialTenantSpec, reserved: Iterable[str]) -> set[str]:
    """Name the pools that a tenant and its reservations refer to."""
    defaults = {one.defaultPool for one in spec.namespaces if one.defaultPool is not None}
    return {grant.pool for grant in spec.gpus} | defaults | set(reserved)


def regions_of(
    spec: IndustrialTenantSpec, pools: Iterable[GpuPoolSpec], catalogue: Mapping[str, RegionSpec]
) -> set[str]:
    """Name the regions of the pools and, if the tenant declares a residency, those that it admits."""
    regions = {pool.region for pool in pools}
    if spec.residency is not None:
        placement = Placement.of(spec.residency)
        regions |= {*placement.regions, *placement.admitted(catalogue)}
    return regions & catalogue.keys()


def _rank(raw: Mapping[str, Any]) -> tuple[int, str, str, str]:
    metadata = raw["metadata"]
    made = metadata["creationTimestamp"] if raw["kind"] == GPU_RESERVATION.kind else ""
    return _ORDER.index(raw["kind"]), made, metadata.get("namespace", ""), metadata["name"]


def _is_made_again(raw: Mapping[str, Any]) -> bool:
    references = raw["metadata"].get("ownerReferences", [])
    return any(one.get("controller") and one["apiVersion"].partition("/")[0] == GROUP for one in references)


def _manifest(raw: Mapping[str, Any]) -> Object:
    said = raw["metadata"]
    metadata: Object = {"name": said["name"]}
    if "namespace" in said:
        metadata["namespace"] = said["namespace"]
    if labels := said.get("labels"):
        metadata["labels"] = dict(labels)
    annotations = {
        key: value
        for key, value in said.get("annotations", {}).items()
        if key != _LAST_APPLIED and not key.startswith(PREFIX)
    }
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": raw["apiVersion"], "kind": raw["kind"], "metadata": metadata, "spec": raw.get("spec", {})}
