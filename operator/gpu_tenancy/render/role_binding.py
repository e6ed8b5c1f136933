"""RoleBindings: one for each role that somebody has, to the ClusterRole of the same name from the chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_tenancy.domain.naming import OPERATOR
from gpu_tenancy.render.manifest import Manifest, managed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_tenancy.api.tenant import Owner

_RBAC = "rbac.authorization.k8s.io"
_CLUSTER_ROLES = {
    "Owner": f"{OPERATOR}-owner",
    "Editor": f"{OPERATOR}-editor",
    "Viewer": f"{OPERATOR}-viewer",
    "ReservationUser": f"{OPERATOR}-reservation-user",
}


def role_bindings(namespace: str, owners: Sequence[Owner]) -> list[Manifest]:
    """Render the bindings of a namespace, for those who work in it."""
    here = [owner for owner in _ordered(owners) if namespace in owner.namespaces or not owner.namespaces]
    return [
        managed(
            f"{_RBAC}/v1",
            "RoleBinding",
            namespace,
            name,
            roleRef={"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
            subjects=subjects,
        )
        for role, name in _CLUSTER_ROLES.items()
        if (subjects := [_subject(owner) for owner in here if owner.role == role])
    ]


def of_tenants(role_ref: Mapping[str, Any]) -> bool:
    """Say whether a role is one that owners can hand out: the chart's, and Roles of a namespace, which they make."""
    return role_ref["kind"] == "Role" or role_ref["name"] in _CLUSTER_ROLES.values()


def _ordered(owners: Sequence[Owner]) -> list[Owner]:
    return sorted(owners, key=lambda owner: (owner.kind, owner.namespace or "", owner.name))


def _subject(owner: Owner) -> dict[str, str]:
    if owner.namespace is not None:
        return {"kind": owner.kind, "name": owner.name, "namespace": owner.namespace}
    return {"kind": owner.kind, "name": owner.name, "apiGroup": _RBAC}
