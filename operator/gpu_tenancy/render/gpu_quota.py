"""GPU quotas: one for each class (a pool's tier), and a closing one for all other classes and for pods without one.

A quota counts only the names that it lists, so each lists every accelerator resource, at zero but for its pool's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import CLOSING_QUOTA
from gpu_tenancy.render.manifest import Manifest, managed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LONGEST_NAME = 63


def quota_key(resource: str) -> str:
    """Name the line of a quota that counts an extended resource; there are none but requests."""
    return f"requests.{resource}"


def device_key(device_class: str) -> str:
    """Name the line of a quota that counts the devices of a class which resource claims ask for."""
    return f"{device_class}.deviceclass.resource.k8s.io/devices"


def device_resources(device_classes: Mapping[str, str]) -> set[str]:
    """List the extended resources by which pods may ask for devices without a claim.

    Args:
        device_classes: by DeviceClass, the extended resource that it was given; empty for none.
    """
    # Each has one by its own name as well, unless that is too long for a resource.
    implicit = {f"deviceclass.resource.kubernetes.io/{name}" for name in device_classes if len(name) <= _LONGEST_NAME}
    return implicit | {resource for resource in device_classes.values() if resource}


def class_quota(namespace: str, name: str, accelerators: Iterable[str], limits: dict[str, int]) -> Manifest:
    """Render the quota of one class.

    Args:
        namespace: where it counts.
        name: of the class and of the quota.
        accelerators: every accelerator resource.
        limits: how many pods of the class may ask for, by resource; of the others none.
    """
    hard = {quota_key(resource): "0" for resource in accelerators}
    hard |= {quota_key(resource): str(amount) for resource, amount in limits.items()}
    return _quota(namespace, name, hard, "In", [name])


def closing_quota(namespace: str, accelerators: Iterable[str], open_classes: Iterable[str]) -> Manifest:
    """Render the quota that gives nothing to any class but the open ones, which have quotas of their own."""
    hard = {quota_key(resource): "0" for resource in accelerators}
    # An empty list is not allowed; the quota's own name is no class, since it names no tier.
    return _quota(namespace, CLOSING_QUOTA, hard, "NotIn", sorted(open_classes) or [CLOSING_QUOTA])


def _quota(namespace: str, name: str, hard: dict[str, str], operator: str, classes: list[str]) -> Manifest:
    requirement = {"scopeName": "PriorityClass", "operator": operator, "values": classes}
    spec = {"hard": hard, "scopeSelector": {"matchExpressions": [requirement]}}
    return managed("v1", "ResourceQuota", namespace, name, spec=spec)
