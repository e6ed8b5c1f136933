"""Writing a status: only when it says something new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_tenancy.api import API_VERSION
from gpu_tenancy.reconcile.plan import Ref, Update

if TYPE_CHECKING:
    from gpu_tenancy.api.resource import Resource
    from gpu_tenancy.api.schema import ApiModel, Kind


def write_status(kind: Kind[Any, Any], resource: Resource[Any, Any], status: ApiModel) -> list[Update]:
    """Replace the status of an object, field by field, if it differs from what is stored or that could not be read.

    The version makes sure that it is the object that was judged. One deleted and made anew under the same name would
    else find a promise in its status that nobody made to it.
    """
    if status == resource.status and not resource.unread:
        return []
    before, after = _fields(resource.status), _fields(status)
    patch: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    patch |= {field: value for field, value in after.items() if before.get(field) != value}
    patch |= {field: after.get(field) for field in resource.unread}
    if not patch:
        return []
    ref = Ref(API_VERSION, kind.kind, resource.namespace, resource.name)
    return [Update(ref, {"status": patch}, resource.resource_version, subresource="status")]


def invalid_spec(problem: str) -> tuple[str, str]:
    """Give reason and message for an object whose spec was stored under another schema."""
    return "InvalidSpec", f"the stored spec cannot be read: {problem}; apply a corrected one"


def _fields(status: ApiModel) -> dict[str, Any]:
    return status.model_dump(mode="json", exclude_none=True)
