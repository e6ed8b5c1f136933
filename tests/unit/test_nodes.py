"""A node gets the labels and the taint of where it belongs, and loses nothing of anyone else's."""

from __future__ import annotations

from dataclasses import replace

from gpu_tenancy.api import RegionSpec
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.reconcile.nodes import NodeView, Tenure, plan_node
from gpu_tenancy.reconcile.plan import Plan, Ref, Update

MUNICH = RegionSpec.model_validate(
    {"country": "DE", "jurisdictions": ["DE", "EU"], "nodeSelector": {"matchLabels": {"region": "eu-de"}}}
)
OURS = {"key": "gpu-tenancy.dev/pool", "value": "b200", "effect": "NoSchedule"}
THEIRS = {"key": "example.com/firmware", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
POOL = "gpu-tenancy.node-restriction.kubernetes.io/pool"
REGION = "gpu-tenancy.node-restriction.kubernetes.io/region"
RESERVED = "reservation.gpu-tenancy.node-restriction.kubernetes.io/"
PLACED = "placement.gpu-tenancy.node-restriction.kubernetes.io/"

NEW = NodeView(
    name="n1",
    resource_version="7",
    labels={"region": "eu-de"},
    raw_taints=(THEIRS,),
    region="eu-de",
    pool="b200",
    catalogue={"eu-de": MUNICH},
    placements=frozenset({Placement(("DE",)), Placement(("CH",)), Placement((), ("eu-de", "eu-nl"))}),
)


def patch_of(plan: Plan) -> dict:
    (operation,) = plan.operations
    assert isinstance(operation, Update)
    assert operation.ref == Ref("v1", "Node", "", "n1")
    assert operation.resource_version == "7", "taints are one list: a concurrent writer's must not be lost"
    return operation.patch


def settled(view: NodeView) -> NodeView:
    patch = patch_of(plan_node(view))
    labels = {**view.labels, **patch.get("metadata", {}).get("labels", {})}
    taints = patch.get("spec", {}).get("taints", view.raw_taints)
    return replace(
        view, labels={key: value for key, value in labels.items() if value is not None}, raw_taints=tuple(taints or ())
    )


def test_a_new_node_gets_region_pool_and_the_placements_that_admit_its_region() -> None:
    assert patch_of(plan_node(NEW)) == {
        "metadata": {"labels": {POOL: "b200", REGION: "eu-de", PLACED + "DE": "true", PLACED + "eu-de.eu-nl": "true"}},
        "spec": {"taints": [THEIRS, OURS]},
    }


def test_a_node_of_a_reservation_is_closed_to_others_and_then_emptied() -> None:
    closed = settled(replace(NEW, tenure=Tenure("acme-train", "night", begun=False)))
    emptied = settled(replace(closed, tenure=Tenure("acme-train", "night", begun=True)))
    passed_on = settled(replace(emptied, tenure=Tenure("rival", "day", begun=False)))
    free = settled(replace(emptied, tenure=None))

    taint = {"key": "gpu-tenancy.dev/reservation", "value": "acme-train", "effect": "NoSchedule"}
    assert closed.raw_taints == (THEIRS, OURS, taint)
    assert closed.labels[RESERVED + "acme-train"] == "night"
    assert emptied.raw_taints == (THEIRS, OURS, taint | {"effect": "NoExecute"})
    assert passed_on.raw_taints == (THEIRS, OURS, taint | {"value": "rival"})
    assert RESERVED + "acme-train" not in passed_on.labels
    assert free.raw_taints == (THEIRS, OURS)
    assert not any(key.startswith(RESERVED) for key in free.labels)


def test_a_node_that_is_as_it_should_be_is_not_written() -> None:
    assert plan_node(settled(NEW)) == Plan()


def test_a_node_that_left_its_region_loses_every_label_and_the_taint_of_ours_alone() -> None:
    patch = patch_of(plan_node(replace(settled(NEW), region=None, pool=None)))

    assert patch == {
        "metadata": {"labels": {POOL: None, REGION: None, PLACED + "DE": None, PLACED + "eu-de.eu-nl": None}},
        "spec": {"taints": [THEIRS]},
    }


def test_the_last_taint_is_removed_as_a_field() -> None:
    node = replace(NEW, raw_taints=(OURS,), region=None, pool=None)

    assert patch_of(plan_node(node)) == {"spec": {"taints": None}}


def test_a_placement_that_no_tenant_declares_any_more_leaves_the_node() -> None:
    patch = patch_of(plan_node(replace(settled(NEW), placements=frozenset({Placement(("DE",))}))))

    assert patch == {"metadata": {"labels": {PLACED + "eu-de.eu-nl": None}}}


def test_a_node_of_a_region_without_gpus_is_placed_but_in_no_pool() -> None:
    patch = patch_of(plan_node(replace(NEW, pool=None, raw_taints=())))

    assert patch == {"metadata": {"labels": {REGION: "eu-de", PLACED + "DE": "true", PLACED + "eu-de.eu-nl": "true"}}}


def test_a_tampered_taint_is_replaced() -> None:
    tampered = {**OURS, "effect": "PreferNoSchedule"}

    patch = patch_of(plan_node(replace(settled(NEW), raw_taints=(tampered, THEIRS))))

    assert patch == {"spec": {"taints": [THEIRS, OURS]}}
