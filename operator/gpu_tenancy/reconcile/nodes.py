"""Nodes: the labels that place pods and the taints that keep others off.

A node is written with a resourceVersion, since taints are one list: another writer's taint must not be lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gpu_tenancy.domain.naming import (
    NODE_PLACEMENT_PREFIX,
    NODE_POOL_LABEL,
    NODE_REGION_LABEL,
    NODE_RESERVATION_PREFIX,
    POOL_TAINT,
    RESERVATION_TAINT,
)
from gpu_tenancy.reconcile.plan import Plan, Ref, Update, plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.domain.residency import Placement


class Tenure(NamedTuple):
    """That a node belongs to a reservation.

    Attributes:
        namespace, name: the reservation.
        begun: whether whatever else runs there has to go; before, it is only that nothing else may come.
    """

    namespace: str
    name: str
    begun: bool


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
        tenure: the reservation that has the node to itself, if one has.
    """

    name: str
    resource_version: str
    labels: Mapping[str, str]
    raw_taints: tuple[Mapping[str, Any], ...]
    region: str | None
    pool: str | None
    catalogue: Mapping[str, RegionSpec]
    placements: frozenset[Placement]
    tenure: Tenure | None = None


def plan_node(view: NodeView) -> Plan:
    """Decide the labels and the taints of one node; labels that are not the operator's stay as they are."""
    desired = _labels(view)
    ours = {key: value for key, value in view.labels.items() if _is_ours(key)}
    labels: dict[str, str | None] = dict.fromkeys(ours.keys() - desired.keys())
    labels |= {key: value for key, value in desired.items() if ours.get(key) != value}
    taints = _taints(view.raw_taints, _taint(POOL_TAINT, view.pool, "NoSchedule"))
    tenure = view.tenure
    taint = _taint(
        RESERVATION_TAINT, tenure and tenure.namespace, "NoExecute" if tenure and tenure.begun else "NoSchedule"
    )
    taints = _taints(taints, taint)
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
    if view.tenure is not None:
        labels[NODE_RESERVATION_PREFIX + view.tenure.namespace] = view.tenure.name
    region = view.catalogue[view.region]
    for placement in view.placements:
        if placement.admits(view.region, region):
            labels[NODE_PLACEMENT_PREFIX + placement.name] = "true"
    return labels


def _is_ours(key: str) -> bool:
    prefixes = NODE_PLACEMENT_PREFIX, NODE_RESERVATION_PREFIX
    return key in {NODE_POOL_LABEL, NODE_REGION_LABEL} or key.startswith(prefixes)


def _taint(key: str, value: str | None, effect: str) -> Mapping[str, Any]:
    return {"key": key} if value is None else {"key": key, "value": value, "effect": effect}


def _taints(taints: Iterable[Mapping[str, Any]], wanted: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Keep every foreign taint in its place, and of this key exactly the one that is wanted, if it has an effect."""
    kept = [taint for taint in taints if taint["key"] != wanted["key"] or taint == wanted]
    return kept if "effect" not in wanted or wanted in kept else [*kept, wanted]
