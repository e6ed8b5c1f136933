"""What the world says of peerings: whose a namespace counts as, and whom a change concerns."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_tenancy.kube.store import Key
from gpu_tenancy.runtime.peers import Peers
from gpu_tenancy.runtime.world import World

NEURA, RIVAL = ("neura", "train"), ("rival", "lab")


def stored(kind: str, name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        "uid": f"{kind}/{namespace}/{name}",
        "generation": 1,
        "resourceVersion": fields.pop("version", "1"),
        "creationTimestamp": "2026-11-22T09:00:00Z",
    }
    return {"metadata": metadata | fields.pop("metadata", {}), **fields}


def namespace(name: str, tenant: str, version: str = "2", **metadata: Any) -> dict[str, Any]:
    labels = {"gpu-tenancy.dev/tenant": tenant}
    return stored("Namespace", name, metadata={"labels": labels, **metadata}, version=version)


def tenant(name: str, *namespaces: str, **network: str) -> dict[str, Any]:
    network = {"peering": "Allowed"} | network
    return stored("Tenant", name, spec={"namespaces": [{"name": one} for one in namespaces], "network": network})


def half(own: str, peer: tuple[str, str], name: str = "joint", **metadata: Any) -> dict[str, Any]:
    spec = {"peer": {"tenant": peer[0], "namespace": peer[1]}}
    return stored("Peering", name, own, spec=spec, metadata=metadata)


@pytest.fixture
def world() -> World:
    world = World()
    for owner, own in (NEURA, RIVAL):
        world.tenants.observe(tenant(owner, own))
        world.namespaces.observe(namespace(own, owner, version="1"))
    world.peerings.observe(half("train", RIVAL))
    world.peerings.observe(half("lab", NEURA))
    return world


def agreed(world: World) -> bool:
    one, other = (len(Peers(world).agreements(name)) for name in ("train", "lab"))
    assert one == other
    return bool(one)


def test_what_both_ask_for_is_agreed_on(world):
    assert agreed(world)


@pytest.mark.parametrize(
    "changed",
    [
        namespace("lab", "neura"),
        namespace("lab", "third"),
        namespace("lab", "rival", deletionTimestamp="2026-12-01T08:00:00Z"),
    ],
    ids=["of the peer itself", "of a third", "going"],
)
def test_a_namespace_counts_only_as_its_tenants_and_while_it_stays(world, changed):
    world.namespaces.observe(changed)
    assert not agreed(world)


def test_a_namespace_that_is_shut_peers_with_nobody(world):
    """For instance that of a tenant whose contract is over."""
    shut = {"gpu-tenancy.dev/tenant": "rival", "gpu-tenancy.dev/suspended": "true"}
    world.namespaces.observe(
        namespace("lab", "rival") | {"metadata": namespace("lab", "rival")["metadata"] | {"labels": shut}}
    )
    assert not agreed(world)
    world.namespaces.observe(namespace("lab", "rival", version="3"))
    assert agreed(world)


@pytest.mark.parametrize(
    "changed", [tenant("rival"), tenant("rival", "lab", peering="Denied"), tenant("rival", "lab", peering="nonsense")]
)
def test_it_takes_a_contract_that_lists_it_and_allows_it_and_can_be_read(world, changed):
    changed["metadata"] |= {"generation": 2, "resourceVersion": "2"}
    world.tenants.observe(changed)
    assert not agreed(world)


@pytest.mark.parametrize(
    "changed",
    [half("lab", NEURA, deletionTimestamp="2026-12-01T08:00:00Z"), half("lab", ("neura", "kube-system"))],
    ids=["being deleted, whoever holds it up", "unreadable"],
)
def test_a_half_that_goes_or_cannot_be_read_counts_no_more(world, changed):
    changed["metadata"] |= {"resourceVersion": "2"}
    world.peerings.observe(changed)
    assert not agreed(world)


def test_a_change_concerns_both_sides(world):
    assert Peers(world).around("train") == Peers(world).around("lab") == {"train", "lab"}


def test_it_concerns_nobody_who_does_not_name_it_back(world):
    world.peerings.observe(half("train", ("third", "site"), "hopeful"))
    assert Peers(world).around("train") == {"train", "lab"}
    assert Peers(world).around("site") == set()


def test_one_that_is_gone_concerns_who_still_names_it(world):
    world.peerings.forget(Key("train", "joint"), "Peering/train/joint", "2")
    assert Peers(world).around("train") == set()
    assert Peers(world).around("train", "lab") == {"train", "lab"}
