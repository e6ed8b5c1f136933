"""Pools: their PriorityClasses, and a status that says what there is and what is promised of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gpu_tenancy.api import API_VERSION, GPU_POOL, GpuPoolSpec, GpuPoolStatus
from gpu_tenancy.domain.conditions import clip_text, set_condition
from gpu_tenancy.domain.naming import MANAGED_BY_LABEL, OPERATOR, TIER_PRIORITY, Tier, priority_class
from gpu_tenancy.reconcile.diff import merge_patch
from gpu_tenancy.reconcile.plan import Create, Delete, Manifest, Operation, Plan, Update, plan
from gpu_tenancy.reconcile.status import write_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gpu_tenancy.api.common import Condition
    from gpu_tenancy.api.resource import Resource
    from gpu_tenancy.domain.capacity import PoolCapacity
    from gpu_tenancy.domain.promises import Decision
    from gpu_tenancy.reconcile.observed import Observed

_SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class PoolView:
    """What the reconciliation of one pool reads.

    Attributes:
        pool: the pool as stored.
        known_region: whether its region is in the catalogue.
        capacity: what its nodes have.
        problems: what is wrong with where its nodes belong.
        decision: who gets how much of it.
        classes: the operator's PriorityClasses by name, as observed.
    """

    pool: Resource[GpuPoolSpec, GpuPoolStatus]
    known_region: bool
    capacity: PoolCapacity
    problems: Sequence[str]
    decision: Decision
    classes: Mapping[str, Observed]


def plan_pool(view: PoolView, now: datetime) -> Plan:
    """Decide the classes and the status of a pool; the quotas and reservations have plans of their own."""
    classes = [operation for tier in Tier for operation in _class(view, tier)]
    return plan(classes, [*write_status(GPU_POOL, view.pool, _status(view, now))])


def _class(view: PoolView, tier: Tier) -> list[Operation]:
    desired = _priority_class(view.pool, tier)
    observed = view.classes.get(desired["metadata"]["name"])
    if observed is None:
        return [Create(desired)]
    manifest = observed.manifest
    if any(manifest.get(field) != desired[field] for field in ("value", "preemptionPolicy")):
        # Neither can be changed in place. Until the next pass makes it anew, pods of the class are refused.
        return [Delete(observed.ref, observed.uid)]
    patch = merge_patch(manifest, desired)
    return [] if patch is None else [Update(observed.ref, patch)]


def _priority_class(pool: Resource[GpuPoolSpec, GpuPoolStatus], tier: Tier) -> Manifest:
    """Render the class of a tier; it goes with its pool."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": GPU_POOL.kind,
        "name": pool.name,
        "uid": pool.uid,
    }
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {
            "name": priority_class(pool.name, tier),
            "labels": {MANAGED_BY_LABEL: OPERATOR},
            "ownerReferences": [owner],
        },
        "value": TIER_PRIORITY[tier],
        "preemptionPolicy": "Never" if tier is Tier.SPOT else "PreemptLowerPriority",
        "description": f"{tier.value} GPUs of pool {pool.name}",
    }


def _status(view: PoolView, now: datetime) -> GpuPoolStatus:
    capacity, figures = view.capacity, view.decision.figures
    return GpuPoolStatus(
        observedGeneration=view.pool.generation,
        nodes=capacity.nodes,
        capacity=capacity.capacity,
        usable=capacity.usable,
        unhealthy=capacity.unhealthy,
        guaranteed=figures.guaranteed,
        reserved=figures.reserved,
        free=figures.free,
        nextFree=figures.next_free,
        conditions=_conditions(view, now),
    )


def _conditions(view: PoolView, now: datetime) -> list[Condition]:
    spec, generation = view.pool.spec, view.pool.generation
    said: dict[str, tuple[Literal["True", "False"], str, str]] = {}
    if not view.known_region:
        message = f"region {spec.region} is not in the catalogue: create it"
        said = {"Ready": ("False", "UnknownRegion", message), "Stalled": ("True", "UnknownRegion", message)}
    elif view.capacity.usable:
        said["Ready"] = ("True", "Usable", f"{view.capacity.usable} x {spec.model} in {spec.region} are usable")
    else:
        message = f"no node of region {spec.region} that the pool selects has a usable {spec.resourceName}"
        said["Ready"] = ("False", "NoCapacity", message)
    if shortfall := _shortfall(view):
        said["Overcommitted"] = ("True", *shortfall)
    if problems := [*view.capacity.problems, *view.problems]:
        more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        message = clip_text("; ".join(problems[:_SHOWN_PROBLEMS]), 1000) + more
        said["Degraded"] = ("True", "NodesImpaired", message)
    conditions = [condition for condition in view.pool.status.conditions if condition.type in said]
    for type_, (status, reason, message) in said.items():
        conditions = set_condition(conditions, type_, status, reason, message, generation, now)
    return conditions


def _shortfall(view: PoolView) -> tuple[str, str] | None:
    """Say what of the contracts the pool cannot back."""
    promises = view.decision.promises.values()
    asked, backed = sum(promise.asked for promise in promises), sum(promise.backed for promise in promises)
    if view.decision.overcommitted:
        return "CapacityLost", "quotas and pods hold more GPUs than the pool can promise: it lost capacity"
    if asked > backed:
        return "GuaranteesShort", f"tenants are to have {asked} guaranteed GPUs, of which {backed} are backed"
    return None
