"""Host names that several tenants were granted: none of them serves one anew."""

from __future__ import annotations

import pytest

from gpu_tenancy.domain.hosts import names_for
from gpu_tenancy.runtime.world import World, readable
from unit.test_runtime_peers import stored


def contested(**granted: list[str]) -> dict[str, set[str]]:
    world = World()
    for name, hosts in granted.items():
        world.tenants.observe(stored("Tenant", name, spec={"network": {"hosts": hosts}}))
    return {one.name: set(found) for one in readable(world.tenants) if (found := world.contested(one))}


def test_a_host_is_meant_by_its_own_name_and_by_each_end_with_a_star():
    assert list(names_for("a.b.example")) == ["a.b.example", "*.b.example", "*.example"]
    assert list(names_for("*.b.example")) == ["*.b.example", "*.example"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("app.example", "app.example"),
        ("*.app.example", "a.app.example"),
        ("*.c.example", "a.b.c.example"),
        ("*.c.example", "*.app.c.example"),
    ],
)
def test_what_two_tenants_could_serve_is_contested_for_both(one, other):
    assert contested(a=[one, "own.a"], b=[other], c=["else.example.org"]) == {"a": {one}, "b": {other}}
    assert contested(a=[other], b=[one]) == {"a": {other}, "b": {one}}


@pytest.mark.parametrize(
    ("one", "other"),
    [("app.example", "*.app.example"), ("myapp.example", "*.app.example"), ("a.example", "b.example")],
)
def test_what_only_one_could_serve_is_not(one, other):
    assert contested(a=[one], b=[other]) == {}
    assert contested(a=[one, "*.b.example"], b=[]) == {}
