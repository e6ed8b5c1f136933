"""Nodes: the labels that place pods and the taint that keeps others off.

A node is written with a resourceVersion, since taints are one list: another writer's taint must not be lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_tenancy.domain.naming import NODE_PLACEMENT_PREFIX, NODE_POOL_LABEL, NODE_REGION_LABEL, POOL_TAINT
from gpu_tenancy.reconcile.plan import Plan, Ref, Update, plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.domain.residency import Placement


@dataclass(frozen=True, slots=True)
class NodeView:
    """What the reconciliation of one node reads.

    Attributes:
        name, resource_version: the node.
        labels: its labels.
        raw_taints: its taints as stored, with all their fields.
        region, pool: where it belongs; None for nowhere.
        catalogue: the regions by name.
        placements: every placement that a tenant declares.
    """

    name: str
    resource_version: str
    labels: Mapping[str, str]
    raw_taints: tuple[Mapping[str, Any], ...]
    region: str | None
    pool: str | None
    catalogue: Mapping[str, RegionSpec]
    placements: frozenset[Placement]


def plan_node(view: NodeView) -> Plan:
    """Decide the labels and the taint of one node; labels that are not the operator's stay as they are."""
    desired = _labels(view)
    ours = {key: value for key, value in view.labels.items() if _is_ours(key)}
    labels: dict[str, str | None] = dict.fromkeys(ours.keys() - desired.keys())
    labels |= {key: value for key, value in desired.items() if ours.get(key) != value}
    taints = _taints(view.raw_taints, view.pool)
    if not labels and taints == list(view.raw_taints):
        return Plan()
    patch: dict[str, Any] = {}
    if labels:
        patch["metadata"] = {"labels": labels}
    if taints != list(view.raw_taints):
        patch["spec"] = {"taints": taints or None}
    return plan([Update(Ref("v1", "Node", "", view.name), patch, view.resource_version)])


def _labels(view: NodeView) -> dict[str, str]:
    if view.region is None:
        return {}
    labels = {NODE_REGION_LABEL: view.region}
    if view.pool is not None:
        labels[NODE_POOL_LABEL] = view.pool
    region = view.catalogue[view.region]
    for placement in view.placements:
        if placement.admits(view.region, region):
            labels[NODE_PLACEMENT_PREFIX + placement.name] = "true"
    return labels


def _is_ours(key: str) -> bool:
    return key in {NODE_POOL_LABEL, NODE_REGION_LABEL} or key.startswith(NODE_PLACEMENT_PREFIX)


def _taints(taints: Iterable[Mapping[str, Any]], pool: str | None) -> list[Mapping[str, Any]]:
    """Keep every foreign taint in its place and have exactly one of ours if the node is in a pool."""
    wanted = None if pool is None else {"key": POOL_TAINT, "value": pool, "effect": "NoSchedule"}
    kept = [taint for taint in taints if taint["key"] != POOL_TAINT or taint == wanted]
    return kept if wanted is None or wanted in kept else [*kept, wanted]
