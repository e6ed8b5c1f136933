"""Pods that a workload should have and has not: all that is ever seen of a pod that a quota refused.

A tenant writes its workloads, and may write what it likes: this only moves its own GPUs between its own namespaces.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_tenancy.domain.naming import POOL_LABEL, RESERVATION_LABEL, TIER_LABEL, Tier
from gpu_tenancy.domain.quantity import parse

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Missing:
    """Pods of the guaranteed tier that a Job, Deployment or StatefulSet misses.

    Attributes:
        pool: what their label says; empty for the namespace's default.
        gpus: what each of them asks for, by resource.
        pods: how many.
    """

    pool: str
    gpus: tuple[tuple[str, int], ...]
    pods: int

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Missing | None:
        """Read a workload; None if it has all the pods it wants, or these ask for nothing that is shared."""
        spec, template = raw["spec"], raw["spec"]["template"]
        labels = template.get("metadata", {}).get("labels") or {}
        if RESERVATION_LABEL in labels or labels.get(TIER_LABEL, Tier.GUARANTEED) != Tier.GUARANTEED:
            return None
        pods = (_of_job if "parallelism" in spec else _of_replicas)(spec, raw.get("status", {}))
        gpus = tuple(sorted(extended_resources(template["spec"]).items()))
        return cls(labels.get(POOL_LABEL, ""), gpus, pods) if pods > 0 and gpus else None


def _of_job(spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:
    if spec.get("suspend") or _holds(status, "Complete", "Failed"):
        return 0
    active, done, parallelism = int(status.get("active", 0)), int(status.get("succeeded", 0)), int(spec["parallelism"])
    if "completions" in spec:
        return min(parallelism, int(spec["completions"]) - done) - active
    return 0 if done else parallelism - active  # the first success says that no more pods are needed


def _of_replicas(spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:
    # In a rolling update all replicas may be there, and the next one still be refused.
    failing = _holds(status, "ReplicaFailure")
    return max(int(spec.get("replicas", 1)) - int(status.get("replicas", 0)), int(failing))


def _holds(status: Mapping[str, Any], *types: str) -> bool:
    return any(one["type"] in types and one["status"] == "True" for one in status.get("conditions") or [])


def extended_resources(spec: Mapping[str, Any]) -> Mapping[str, int]:
    """Count what a pod asks for as quotas and the scheduler do: init containers run before the others, unless they stay."""
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for container in spec.get("initContainers") or []:
        asked = _asked(container)
        if container.get("restartPolicy") == "Always":
            running += asked
        else:
            most |= running + asked
    for container in spec["containers"]:
        running += _asked(container)
    return most | running


def _asked(container: Mapping[str, Any]) -> Counter[str]:
    resources = container.get("resources") or {}
    # The two are equal for extended resources, and in a template one may be missing.
    amounts = {**resources.get("limits", {}), **resources.get("requests", {})}
    return Counter({resource: int(parse(amount)) for resource, amount in amounts.items() if "/" in resource})
