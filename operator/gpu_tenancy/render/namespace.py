"""A tenant's Namespace: the labels that place, fence and shut it, and the annotations that policies judge by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_tenancy.api.common import API_VERSION, GROUP
from gpu_tenancy.domain.naming import (
    DEFAULT_POOL_LABEL,
    MANAGED_BY_LABEL,
    OPERATOR,
    PLACEMENT_LABEL,
    SUSPENDED_LABEL,
    TENANT_LABEL,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.render.manifest import Manifest

OWNER_KIND = "IndustrialTenant"
# The oldest supported Kubernetes: a newer one must not tighten what runs here by itself.
_POD_SECURITY_VERSION = "v1.34"


def namespace(
    name: str,
    *,
    tenant: str,
    placement: str,
    default_pool: str | None,
    suspended: bool,
    pod_security: str,
    allowed: Mapping[str, Iterable[str]],
) -> Manifest:
    """Render the fields that the operator owns.

    Args:
        name: the namespace.
        tenant: the tenant's name.
        placement: the placement that every pod carries.
        default_pool: the pool of GPU pods that name none.
        suspended: whether nothing new may start.
        pod_security: the Pod Security Standard to enforce, as in the API.
        allowed: by annotation, what the policies let the tenant name.
    """
    labels = {
        MANAGED_BY_LABEL: OPERATOR,
        TENANT_LABEL: tenant,
        PLACEMENT_LABEL: placement,
        **({DEFAULT_POOL_LABEL: default_pool} if default_pool else {}),
        **({SUSPENDED_LABEL: "true"} if suspended else {}),
    }
    for mode in ("enforce", "warn", "audit"):
        labels[f"pod-security.kubernetes.io/{mode}"] = pod_security.lower()
        labels[f"pod-security.kubernetes.io/{mode}-version"] = _POD_SECURITY_VERSION
    annotations = {annotation: ",".join(sorted(names)) for annotation, names in allowed.items()}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
    }


def owner_reference(tenant: str, uid: str) -> dict[str, Any]:
    """Render the reference by which a namespace goes with its tenant."""
    return {"apiVersion": API_VERSION, "kind": OWNER_KIND, "name": tenant, "uid": uid, "blockOwnerDeletion": False}


def refers_to_tenant(reference: Mapping[str, Any]) -> bool:
    """Say whether an owner reference is one to a tenant, this or another."""
    return (reference["kind"], reference["apiVersion"].partition("/")[0]) == (OWNER_KIND, GROUP)
