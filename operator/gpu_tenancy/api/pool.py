"""`GpuPool`: one GPU model in one region, and the rules by which its capacity is promised."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from gpu_tenancy.api.common import (
    QUALIFIED_NAME,
    CatalogueName,
    Conditions,
    Duration,
    Generation,
    Instant,
    LabelKey,
    LabelSelector,
    Quantity,
    ResourceName,
    above_zero,
    in_order,
    malformed,
    without_nulls,
)
from gpu_tenancy.api.region import NAME_RULES
from gpu_tenancy.api.schema import ApiModel, Column, Immutable, Kind, ListType, Rule

ZERO = timedelta(0)
GpuCount = Annotated[int, Field(ge=0, le=1_000_000)]


class ReservationRules(ApiModel):
    """Which windows may be reserved in the pool, and how they begin and end."""

    minimumDuration: Duration = timedelta(seconds=1)
    """The shortest window."""
    maximumDuration: Duration = timedelta(hours=8760)
    """The longest window."""
    horizon: Duration = timedelta(hours=8760)
    """How far ahead a window may end."""
    leadTime: Duration = ZERO
    """How long before its start a window must be asked for."""
    step: Duration = timedelta(seconds=1)
    """Starts and ends fall on multiples of this since 1970-01-01T00:00:00Z."""
    modifiableUntil: Duration = ZERO
    """How long before its start a window is fixed: from then on its start stays, and what is given back stays charged."""
    noticeBeforeEnd: Duration = timedelta(minutes=40)
    """How long before the end the notice is given; at most half of the window."""
    gracePeriod: Duration = timedelta(minutes=10)
    """How long before the end pods are asked to go; at most a quarter of the window."""
    maximumOverrun: Duration = timedelta(minutes=10)
    """How long after it should be gone a pod is deleted by force; 0s for never."""
    noShowAfter: Duration = ZERO
    """How long a window may be open and unused before it is taken back; 0s for never."""
    cleaningGap: Duration = ZERO
    """How long after the end the GPUs stay unpromised."""
    maximumShare: Annotated[int, Field(ge=0, le=100)] = 100
    """How many percent of the pool reservations may hold together at one instant."""

    rules = (
        above_zero("minimumDuration"),
        above_zero("step"),
        Rule(
            "duration(self.minimumDuration) <= duration(self.maximumDuration) || "
            + malformed(durations=("minimumDuration", "maximumDuration")),
            "minimumDuration is at most maximumDuration",
            lambda self: self.minimumDuration <= self.maximumDuration,
        ),
    )


class MaintenanceWindow(ApiModel):
    """A time in which some GPUs of the pool are out of service."""

    start: Instant
    """When it begins."""
    end: Instant
    """When it is over; not part of it."""
    gpus: Annotated[int, Field(ge=1, le=1_000_000)]
    """How many GPUs are out of service."""
    reason: Annotated[str, StringConstraints(max_length=256)] = ""
    """Why, for people."""

    rules = (in_order("start", "end"),)


class GpuPoolSpec(ApiModel):
    """What the pool is made of and how it is rented out."""

    region: Annotated[CatalogueName, Immutable("create another pool for another region")]
    """The Region the pool is in."""
    model: Annotated[
        str,
        StringConstraints(pattern=f"^{QUALIFIED_NAME}$", max_length=63),
        Immutable("create another pool for another model"),
    ]
    """The GPU model as GPU Feature Discovery names it, such as NVIDIA-B200. A node whose `nvidia.com/gpu.product`
    says otherwise is not counted."""
    nodeSelector: LabelSelector
    """Which nodes of the region belong to the pool. A node belongs to one pool: the oldest that selects it."""
    resourceName: Annotated[ResourceName, Immutable("create another pool for another resource")] = "nvidia.com/gpu"
    """The extended resource that pods ask for: nvidia.com/gpu or a MIG profile such as nvidia.com/mig-1g.23gb."""
    gpusPerNode: Annotated[int, Field(ge=1, le=1024)]
    """How many of the resource a healthy node has: the size of a whole node where nodes are booked."""
    perGpu: Annotated[dict[LabelKey, Quantity], Field(max_length=3), BeforeValidator(without_nulls)] = {}
    """What a pod may request of the node with each unit of the resource, such as cpu: "26" and memory: 230Gi; without
    limit what is not said."""
    placementUnit: Literal["GPU", "Node", "Clique"] = "GPU"
    """What is booked as a whole: single GPUs, whole nodes, or whole nodes of one NVLink domain, by the node label
    `nvidia.com/gpu.clique`."""
    spot: Literal["Enabled", "Disabled"] = "Enabled"
    """Whether pods that may be preempted can use what is idle."""
    headroom: GpuCount = 0
    """GPUs that are never promised, kept for failures."""
    reservations: ReservationRules = ReservationRules()
    """Rules for reservations."""
    maintenance: Annotated[list[MaintenanceWindow], Field(max_length=64), ListType("atomic")] = []
    """Times in which some GPUs are out of service."""

    rules = (
        Rule(
            "!has(self.perGpu) || self.perGpu.all(k, k in ['cpu', 'memory', 'ephemeral-storage'])",
            "perGpu says how much cpu, memory and ephemeral-storage come with a GPU, and nothing else",
            lambda self: self.perGpu.keys() <= {"cpu", "memory", "ephemeral-storage"},
        ),
        Rule(
            "!has(self.perGpu) || self.perGpu.all(k, self.perGpu[k].matches('[1-9]'))",
            "with nothing of its node no pod runs: what perGpu says is above zero",
            lambda self: all(re.search("[1-9]", amount) for amount in self.perGpu.values()),
        ),
    )


class GpuPoolStatus(ApiModel):
    """What the pool has and what is promised of it, in GPUs."""

    observedGeneration: Generation = 0
    """The generation that was judged."""
    nodes: GpuCount = 0
    """Nodes in the pool."""
    capacity: GpuCount = 0
    """GPUs of all nodes, healthy or not."""
    usable: GpuCount = 0
    """GPUs that pods can use now."""
    unhealthy: GpuCount = 0
    """GPUs that are there and cannot be used: unready, cordoned or unhealthy nodes, and such under change."""
    guaranteed: GpuCount = 0
    """GPUs in guaranteed quotas now."""
    reserved: GpuCount = 0
    """GPUs in quotas of active reservations now."""
    free: GpuCount = 0
    """GPUs that are neither guaranteed nor reserved nor kept back now."""
    nextFree: Instant | None = None
    """When GPUs become free next, if none are now."""
    conditions: Conditions = []
    """Ready, Stalled, Overcommitted, Degraded."""


GPU_POOL = Kind(
    kind="GpuPool",
    plural="gpupools",
    short_names=("pool",),
    namespaced=False,
    description="GpuPool is one GPU model in one region, rented out by one set of rules.",
    spec=GpuPoolSpec,
    status=GpuPoolStatus,
    columns=(
        Column("Model", ".spec.model"),
        Column("Region", ".spec.region"),
        Column("Usable", ".status.usable", "integer"),
        Column("Unhealthy", ".status.unhealthy", "integer"),
        Column("Guaranteed", ".status.guaranteed", "integer"),
        Column("Reserved", ".status.reserved", "integer"),
        Column("Free", ".status.free", "integer"),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
        Column("Next-Free", ".status.nextFree", wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    name_rules=NAME_RULES,
)
