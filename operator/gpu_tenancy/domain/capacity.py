"""What a pool has: which nodes are in it, and how many of their GPUs pods can use.

A node that cannot be judged with certainty is left out: a GPU that is not counted can be promised later, one that
was promised and is not there cannot be taken back.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

from gpu_tenancy.domain.calendar import BEGINNING, seconds
from gpu_tenancy.domain.quantity import parse
from gpu_tenancy.domain.selector import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from gpu_tenancy.api.pool import GpuPoolSpec, GpuPoolStatus
    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.api.resource import Resource

PRODUCT_LABEL = "nvidia.com/gpu.product"
# Which nodes are joined by NVLink; one without it is joined to none.
CLIQUE_LABEL = "nvidia.com/gpu.clique"
NVIDIA = "nvidia.com/"
# What GPU Feature Discovery appends to the product of a GPU that is shared or cut into equal slices.
_PRODUCT_SUFFIXES = re.compile(r"(-MIG-[^-]+)?(-SHARED)?$")
# Labels of the GPU Operator that are only there while or after it changes a node, and what they say when it is done.
_LIFECYCLE_LABELS = {"nvidia.com/mig.config.state": "success", "nvidia.com/gpu-driver-upgrade-state": "upgrade-done"}
_GPUS_SEEN_LABEL = "nvsentinel.dgxc.nvidia.com/gpu.count.current"
_GPUS_EXPECTED_LABEL = "nvsentinel.dgxc.nvidia.com/gpu.count.expected"

# Taints that tenants' pods do not tolerate and that say that something is wrong with the node.
BAD_TAINTS = frozenset(
    {
        "node.kubernetes.io/disk-pressure",
        "node.kubernetes.io/network-unavailable",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/out-of-service",
        "node.kubernetes.io/pid-pressure",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/unschedulable",
        "node.cloudprovider.kubernetes.io/shutdown",
        "node.cloudprovider.kubernetes.io/uninitialized",
        "nvidia.com/gpu-nvlink-error",
        "nvidia.com/gpu-xid-error",
    }
)
# Conditions of NVSentinel (bad when True) and of the EKS node monitoring agent (bad when False).
BAD_CONDITIONS: dict[str, str] = {
    **dict.fromkeys(
        (
            "CSPMaintenance",
            "DCGMError",
            "GpuCpusetWatch",
            "GpuDriverWatch",
            "GpuInforomWatch",
            "GpuMcuWatch",
            "GpuMemWatch",
            "GpuNvlinkWatch",
            "GpuPcieWatch",
            "GpuPmuWatch",
            "GpuPowerWatch",
            "GpuSmWatch",
            "GpuThermalWatch",
            "NVSwitchDown",
            "NVSwitchFatalError",
            "SysLogsGPUFallenOff",
            "SysLogsSXIDError",
            "SysLogsXIDError",
        ),
        "True",
    ),
    "AcceleratedHardwareReady": "False",
}


@dataclass(frozen=True, slots=True)
class HealthRules:
    """Which signals on a node mean that its GPUs cannot be promised.

    Attributes:
        taints: keys of taints; one with effect PreferNoSchedule keeps nobody off and does not count.
        conditions: condition types, and the status in which each is bad.
    """

    taints: frozenset[str] = BAD_TAINTS
    conditions: Mapping[str, str] = field(default_factory=BAD_CONDITIONS.copy)


HEALTH_RULES = HealthRules()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says that bears on capacity.

    Attributes:
        ready: whether its condition Ready is True; a node without the condition is not.
        taints: (key, value, effect) of each.
        conditions: the status of each condition by type.
        capacity, allocatable: amounts of extended resources.
    """

    name: str
    labels: Mapping[str, str]
    unschedulable: bool
    ready: bool
    taints: tuple[tuple[str, str, str], ...]
    conditions: Mapping[str, str]
    capacity: Mapping[str, int]
    allocatable: Mapping[str, int]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> NodeFacts:
        """Read a node as the API server sends it.

        Raises:
            ValueError: when an amount is no quantity.
        """
        metadata, spec, status = raw["metadata"], raw.get("spec", {}), raw.get("status", {})
        conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
        return cls(
            name=metadata["name"],
            labels=metadata.get("labels", {}),
            unschedulable=spec.get("unschedulable", False),
            ready=conditions.get("Ready") == "True",
            taints=tuple((taint["key"], taint.get("value", ""), taint["effect"]) for taint in spec.get("taints") or ()),
            conditions=conditions,
            capacity=_extended(status.get("capacity", {})),
            allocatable=_extended(status.get("allocatable", {})),
        )


def _extended(amounts: Mapping[str, str]) -> dict[str, int]:
    """Read the extended resources; Kubernetes spells 1000 of them `1k`."""
    return {name: int(parse(amount)) for name, amount in amounts.items() if "/" in name}


@dataclass(frozen=True, slots=True)
class Belonging:
    """Where a node belongs.

    Attributes:
        region, pool: None for nowhere.
        problem: what the provider should put right, or empty.
    """

    region: str | None = None
    pool: str | None = None
    problem: str = ""


def assign(
    nodes: Iterable[NodeFacts],
    pools: Iterable[Resource[GpuPoolSpec, GpuPoolStatus]],
    regions: Mapping[str, RegionSpec],
) -> dict[str, Belonging]:
    """Say for each node, by name, which region and pool it belongs to.

    A node that several regions claim is nowhere: no one can say whose law holds there. One that several pools of its
    region claim belongs to the oldest, by creation and then name, so that a new pool takes nothing from another.
    """
    by_age = sorted(pools, key=lambda pool: (pool.creation_timestamp, pool.name))
    by_name = sorted(regions.items())
    return {node.name: _belonging(node, by_age, by_name) for node in nodes}


def _belonging(
    node: NodeFacts,
    pools: Iterable[Resource[GpuPoolSpec, GpuPoolStatus]],
    regions: Iterable[tuple[str, RegionSpec]],
) -> Belonging:
    claimed = [name for name, region in regions if matches(region.nodeSelector, node.labels)]
    if len(claimed) > 1:
        return Belonging(problem=f"node {node.name} is claimed by regions {', '.join(claimed)}: it is in none of them")
    if not claimed:
        return Belonging()
    (region,) = claimed
    selecting = [
        pool.name for pool in pools if pool.spec.region == region and matches(pool.spec.nodeSelector, node.labels)
    ]
    if not selecting:
        return Belonging(region)
    pool, *others = selecting
    problem = f"node {node.name} is in pool {pool}, the oldest; {', '.join(others)} selects it too" if others else ""
    return Belonging(region, pool, problem)


@dataclass(frozen=True, slots=True)
class NodeCapacity:
    """What a node adds to its pool, in GPUs.

    Attributes:
        capacity: what it has, healthy or not.
        usable: what pods can use now.
        reason: why it is not all usable, or empty.
        counted: whether it is part of the pool at all.
    """

    capacity: int
    usable: int
    reason: str = ""
    counted: bool = True


def usable(node: NodeFacts, pool: GpuPoolSpec, health: HealthRules = HEALTH_RULES) -> NodeCapacity:
    """Say what a node of the pool has, and what of it pods can use. A node of another GPU model is not counted."""
    product = _PRODUCT_SUFFIXES.sub("", node.labels.get(PRODUCT_LABEL, pool.model))
    if product != pool.model:
        return NodeCapacity(0, 0, f"has {product}, not {pool.model}", counted=False)
    capacity = node.capacity.get(pool.resourceName, 0)
    if ailment := _ailment(node, health):
        return NodeCapacity(capacity, 0, ailment)
    allocatable = min(capacity, node.allocatable.get(pool.resourceName, 0))
    return NodeCapacity(capacity, allocatable, "" if allocatable == capacity else "has GPUs that cannot be allocated")


def _ailment(node: NodeFacts, health: HealthRules) -> str:
    if node.unschedulable:
        return "is cordoned"
    if not node.ready:
        return "is not ready"
    for key, _, effect in node.taints:
        if key in health.taints and effect != "PreferNoSchedule":
            return f"has the taint {key}"
    for condition, status in node.conditions.items():
        if health.conditions.get(condition) == status:
            return f"has the condition {condition}={status}"
    return _change_under_way(node.labels) or _missing_gpus(node.labels)


def _change_under_way(labels: Mapping[str, str]) -> str:
    for label, done in _LIFECYCLE_LABELS.items():
        if labels.get(label, done) != done:
            return f"has the label {label}={labels[label]}"
    return ""


def _missing_gpus(labels: Mapping[str, str]) -> str:
    seen, expected = labels.get(_GPUS_SEEN_LABEL, "0"), labels.get(_GPUS_EXPECTED_LABEL, "0")
    if not (seen.isdecimal() and expected.isdecimal()):
        return f"says {seen!r} of {expected!r} GPUs are there, which cannot be read"
    return f"says {seen} of {expected} GPUs are there" if int(seen) < int(expected) else ""


@dataclass(frozen=True, slots=True)
class PoolCapacity:
    """What a pool has, in GPUs.

    Attributes:
        nodes: nodes in the pool.
        capacity: GPUs of all nodes, healthy or not.
        usable: GPUs that pods can use now.
        unhealthy: the difference.
        problems: what is wrong, the same on many nodes told once.
        domains: GPUs of the nodes that are usable as a whole, by NVLink domain; a node of no other is one by itself.
    """

    nodes: int
    capacity: int
    usable: int
    unhealthy: int
    problems: tuple[str, ...] = ()
    domains: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[NodeFacts], pool: GpuPoolSpec, health: HealthRules = HEALTH_RULES) -> PoolCapacity:
        """Add up the nodes that belong to the pool."""
        judged = [(node, usable(node, pool, health)) for node in nodes]
        counted = [found for _, found in judged if found.counted]
        capacity, free = sum(found.capacity for found in counted), sum(found.usable for found in counted)
        domains: Counter[str] = Counter()
        for node, found in judged:
            if found.usable >= pool.gpusPerNode:
                domains[node.labels.get(CLIQUE_LABEL, node.name)] += pool.gpusPerNode
        ailing = sorted((found.reason, node.name) for node, found in judged if found.reason)
        return cls(
            nodes=len(counted),
            capacity=capacity,
            usable=free,
            unhealthy=capacity - free,
            problems=tuple(
                _problem(reason, [name for _, name in group]) for reason, group in groupby(ailing, lambda item: item[0])
            ),
            domains=dict(sorted(domains.items())),
        )


def _problem(reason: str, names: list[str]) -> str:
    return f"node {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}"


def promisable(capacity: PoolCapacity, spec: GpuPoolSpec, now: datetime) -> int:
    """Say how many GPUs may be promised now: what is usable, but never what is kept back or under maintenance.

    Headroom is kept for failures, so nodes that fail use it up first.
    """
    return _promisable(
        capacity, spec, sum(window.gpus for window in spec.maintenance if window.start <= now < window.end)
    )


def promisable_over_time(capacity: PoolCapacity, spec: GpuPoolSpec) -> list[tuple[int, int]]:
    """Say how many GPUs may be promised from which instant on, if nodes stay as they are.

    Returns:
        (instant in seconds, GPUs) in order of time, the first at the beginning of time.
    """
    changes: Counter[int] = Counter({BEGINNING: 0})
    for window in spec.maintenance:
        changes[seconds(window.start)] += window.gpus
        changes[seconds(window.end)] -= window.gpus
    levels = accumulate(changes[instant] for instant in sorted(changes))
    return [
        (instant, _promisable(capacity, spec, level)) for instant, level in zip(sorted(changes), levels, strict=True)
    ]


def _promisable(capacity: PoolCapacity, spec: GpuPoolSpec, under_maintenance: int) -> int:
    return max(0, min(capacity.usable, capacity.capacity - spec.headroom - under_maintenance))


def accelerators(nodes: Iterable[NodeFacts], pools: Iterable[GpuPoolSpec]) -> frozenset[str]:
    """List every accelerator resource that a pool rents out or an NVIDIA plugin registered on a node.

    The fence denies those that a namespace has no quota for; what is not on the list is not an accelerator.
    """
    registered = {
        resource for node in nodes for resource in (*node.capacity, *node.allocatable) if resource.startswith(NVIDIA)
    }
    return frozenset(registered | {pool.resourceName for pool in pools})
