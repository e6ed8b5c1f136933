"""Where a tenant's things are is told from nodes and labels, and what cannot be told is never called fine."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_tenancy.domain.capacity import NodeFacts
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.domain.whereabouts import Atlas, Item, Residence, judge, residence
from tenant_world import REGIONS

EU = Placement(("EU",))


def node(name: str, **labels: str) -> NodeFacts:
    return NodeFacts.of({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}}})


NODES = {
    one.name: one
    for one in (
        node("de-1", region="eu-de", zone="de-a"),
        node("de-2", region="eu-de", zone="de-b"),
        node("nl-1", region="eu-nl", zone="nl-a"),
        node("ch-1", region="eu-ch2", zone="ch-a"),
        node("lost"),
    )
}
ATLAS = Atlas(NODES, lambda name: NODES[name].labels.get("region"), REGIONS)


def pod(on: str = "", phase: str = "Running") -> dict[str, Any]:
    spec = {"nodeName": on} if on else {}
    return {"metadata": {"namespace": "lab", "name": "p"}, "spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("on", "state"),
    [("de-1", "inside"), ("nl-1", "inside"), ("ch-1", "outside"), ("lost", "outside"), ("gone", "unknown")],
)
def test_a_pod_is_where_its_node_is(on: str, state: str) -> None:
    item = ATLAS.pod(pod(on))
    assert item is not None
    assert judge(item, EU, REGIONS) == state


@pytest.mark.parametrize("raw", [pod(), pod("ch-1", "Succeeded"), pod("ch-1", "Failed")])
def test_a_pod_that_holds_no_node_is_nowhere(raw: dict[str, Any]) -> None:
    assert ATLAS.pod(raw) is None


def volume(*terms: Any, phase: str = "Bound", claimed: bool = True, **labels: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"claimRef": {"namespace": "lab", "name": "data"}} if claimed else {}
    if terms:
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": list(terms)}}
    return {"metadata": {"name": "pv", "labels": labels}, "spec": spec, "status": {"phase": phase}}


def term(key: str, operator: str = "In", *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("raw", "regions", "state"),
    [
        (volume(term("kubernetes.io/hostname", "In", "ch-1")), ("eu-ch2",), "outside"),
        (volume(term("kubernetes.io/hostname", "In", "lost")), ("",), "outside"),
        (volume(term("zone", "In", "de-a", "de-b")), ("eu-de",), "inside"),
        (volume(term("zone", "In", "de-a"), term("zone", "In", "nl-a")), ("eu-de", "eu-nl"), "inside"),
        (volume(term("zone", "In", "de-a", "ch-a")), ("eu-ch2", "eu-de"), "unknown"),
        (volume(term("zone", "In", "de-a"), term("zone", "In", "nobody-knows")), (), "unknown"),
        (volume(term("zone", "NotIn", "de-a", "de-b", "nl-a", "ch-a")), ("",), "outside"),
        (volume(term("zone", "DoesNotExist")), ("",), "outside"),
        (volume(term("zone", "Exists")), ("eu-ch2", "eu-de", "eu-nl"), "unknown"),
        (volume(term("zone", "Gt", "3")), (), "unknown"),
        (volume({}), (), "unknown"),
        (volume(), (), "unknown"),
        (volume({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["ch-1"]}]}), ("eu-ch2",), "outside"),
        (volume(region="eu-ch2"), ("eu-ch2",), "outside"),
        (volume(region="atlantis"), (), "unknown"),
    ],
)  # fmt: skip
def test_a_volume_is_where_the_nodes_are_that_it_can_be_attached_to(raw: Any, regions: tuple, state: str) -> None:
    item = ATLAS.volume(raw)
    assert item == Item("PersistentVolume", "lab", "pv", regions=regions)
    assert judge(item, EU, REGIONS) == state


@pytest.mark.parametrize(
    ("expressions", "regions"),
    [
        ([{"key": "region", "operator": "In", "values": ["eu-de", "eu-ch2"]}], ("eu-ch2", "eu-de")),
        ([{"key": "region", "operator": "In", "values": ["eu-de", "atlantis"]}], ()),
        ([{"key": "region", "operator": "Exists"}], ()),
        ([{"key": "zone", "operator": "In", "values": [str(n) for n in range(100)]}], ()),
    ],
)
def test_where_there_are_no_such_nodes_the_labels_speak_for_themselves(expressions: Any, regions: tuple) -> None:
    empty = Atlas({}, lambda _: None, REGIONS)
    item = empty.volume(volume({"matchExpressions": expressions}))
    assert item is not None
    assert item.regions == regions


@pytest.mark.parametrize("raw", [volume(claimed=False), volume(phase="Available"), volume(phase="Pending")])
def test_a_volume_without_a_claim_is_nobodys(raw: dict[str, Any]) -> None:
    assert ATLAS.volume(raw) is None


def test_what_a_claim_left_behind_is_still_the_tenants() -> None:
    assert ATLAS.volume(volume(term("zone", "In", "ch-a"), phase="Released")) is not None


def test_a_snapshot_is_outside_if_its_volume_is_and_unknown_otherwise() -> None:
    raw = {"metadata": {"namespace": "lab", "name": "s"}, "spec": {"source": {"persistentVolumeClaimName": "data"}}}
    outside = Item("PersistentVolume", "lab", "pv", regions=("eu-ch2",))
    assert judge(ATLAS.snapshot(raw, {("lab", "data"): outside}), EU, REGIONS) == "outside"
    assert judge(ATLAS.snapshot(raw, {}), EU, REGIONS) == "unknown"
    imported = raw | {"spec": {"source": {"volumeSnapshotContentName": "content"}}}
    assert judge(ATLAS.snapshot(imported, {("lab", "data"): outside}), EU, REGIONS) == "unknown"


def test_a_region_that_left_the_catalogue_admits_nobody() -> None:
    assert judge(Item("Pod", "lab", "p", "n", ("eu-de",)), Placement(), {}) == "outside"


def test_what_is_found_of_a_tenant_is_named_or_counted() -> None:
    bad = Item("Pod", "lab", "b", "ch-1", ("eu-ch2",))
    worse = Item("Pod", "lab", "a", "lost", ("",))
    vague, fine = Item("PersistentVolume", "lab", "v"), Item("Pod", "lab", "c", "de-1", ("eu-de",))
    assert residence([bad, worse, vague, fine, fine], EU, REGIONS) == Residence(
        (worse, bad), (("PersistentVolume", 1),), (("Pod", 2),)
    )
    assert bad.text == "Pod lab/b on node ch-1 in region eu-ch2"
    assert worse.text == "Pod lab/a on node lost in no region"
    assert Item("PersistentVolume", "lab", "v", regions=("x", "y")).text == "PersistentVolume v in region x or region y"
    assert vague.text == "PersistentVolume v in an unknown place"
