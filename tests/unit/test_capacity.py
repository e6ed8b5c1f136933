"""Nodes are counted where they are, for what they are, and only while pods can use them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gpu_tenancy.api import GpuPoolSpec, GpuPoolStatus, RegionSpec
from gpu_tenancy.api.resource import Resource
from gpu_tenancy.domain.capacity import (
    BAD_CONDITIONS,
    BAD_TAINTS,
    HealthRules,
    NodeCapacity,
    NodeFacts,
    PoolCapacity,
    accelerators,
    assign,
    promisable,
    promisable_over_time,
    usable,
)

SENTINEL = "nvsentinel.dgxc.nvidia.com/gpu.count."
RAW: dict[str, Any] = {
    "metadata": {
        "name": "n1",
        "labels": {"region": "eu-de", "gpus": "yes", "nvidia.com/gpu.product": "NVIDIA-B200"},
    },
    "spec": {},
    "status": {
        "capacity": {"cpu": "224", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8", "rdma/hca": "1k"},
        "allocatable": {"cpu": "223500m", "nvidia.com/gpu": "8"},
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
    },
}
NODE = NodeFacts.of(RAW)
POOL = GpuPoolSpec.model_validate(
    {"region": "eu-de", "model": "NVIDIA-B200", "nodeSelector": {"matchLabels": {"gpus": "yes"}}, "gpusPerNode": 8}
)
MUNICH = RegionSpec.model_validate(
    {"country": "DE", "jurisdictions": ["DE", "EU"], "nodeSelector": {"matchLabels": {"region": "eu-de"}}}
)
WHOLE = NodeCapacity(8, 8)


def pool(name: str, day: int, spec: GpuPoolSpec = POOL) -> Resource[GpuPoolSpec, GpuPoolStatus]:
    created = datetime(2026, 1, day, tzinfo=UTC)
    return Resource(name, "", name, 1, "1", created, deleting=False, spec=spec, status=GpuPoolStatus())


def labelled(**labels: str) -> NodeFacts:
    return replace(NODE, labels={**NODE.labels, **labels})


def with_label(label: str, value: str) -> NodeFacts:
    return replace(NODE, labels={**NODE.labels, label: value})


def test_a_node_is_read_as_the_api_server_spells_it() -> None:
    assert NODE.name == "n1"
    assert NODE.ready
    assert not NODE.unschedulable
    assert NODE.conditions == {"Ready": "True", "DiskPressure": "False"}
    assert NODE.capacity == {"nvidia.com/gpu": 8, "rdma/hca": 1000}, (
        "a thousand is spelled 1k; cpu and memory are not ours"
    )
    assert NODE.allocatable == {"nvidia.com/gpu": 8}


def test_a_node_that_says_nothing_is_not_ready_and_has_nothing() -> None:
    bare = NodeFacts.of({"metadata": {"name": "bare"}, "spec": {"taints": None}})

    assert not bare.ready
    assert bare.taints == ()
    assert usable(bare, POOL) == NodeCapacity(0, 0, "is not ready")


def test_taints_are_read_with_their_effects() -> None:
    taints = [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "value": "c", "effect": "NoExecute"}]

    node = NodeFacts.of(RAW | {"spec": {"taints": taints, "unschedulable": True}})

    assert node.taints == (("a", "", "NoSchedule"), ("b", "c", "NoExecute"))
    assert node.unschedulable


class TestBelonging:
    def test_a_node_belongs_to_the_region_and_the_pool_that_select_it(self) -> None:
        (found,) = assign([NODE], [pool("b200", 1)], {"eu-de": MUNICH}).values()

        assert (found.region, found.pool, found.problem) == ("eu-de", "b200", "")

    def test_a_node_that_no_region_selects_is_nowhere_and_in_no_pool(self) -> None:
        found = assign([labelled(region="us-east")], [pool("b200", 1)], {"eu-de": MUNICH})["n1"]

        assert (found.region, found.pool, found.problem) == (None, None, "")

    def test_a_node_that_two_regions_claim_is_in_neither(self) -> None:
        found = assign([NODE], [pool("b200", 1)], {"eu-de": MUNICH, "ch": MUNICH})["n1"]

        assert (found.region, found.pool) == (None, None)
        assert found.problem == "node n1 is claimed by regions ch, eu-de: it is in none of them"

    def test_a_node_belongs_to_the_oldest_pool_that_selects_it_then_to_the_first_by_name(self) -> None:
        pools = [pool("new", 3), pool("old-b", 1), pool("old-a", 1)]

        for order in (pools, pools[::-1]):
            found = assign([NODE], order, {"eu-de": MUNICH})["n1"]

            assert found.pool == "old-a"
            assert found.problem == "node n1 is in pool old-a, the oldest; old-b, new selects it too"

    def test_a_pool_takes_no_node_of_another_region(self) -> None:
        elsewhere = POOL.model_copy(update={"region": "eu-nl"})

        assert assign([NODE], [pool("b200", 1, elsewhere)], {"eu-de": MUNICH})["n1"].pool is None

    def test_a_node_that_its_regions_pools_do_not_select_is_in_the_region_only(self) -> None:
        found = assign([labelled(gpus="no")], [pool("b200", 1)], {"eu-de": MUNICH})["n1"]

        assert (found.region, found.pool) == ("eu-de", None)


class TestUsable:
    def test_a_healthy_node_is_all_usable(self) -> None:
        assert usable(NODE, POOL) == WHOLE

    def test_what_cannot_be_allocated_is_not_usable(self) -> None:
        node = replace(NODE, allocatable={"nvidia.com/gpu": 7})

        assert usable(node, POOL) == NodeCapacity(8, 7, "has GPUs that cannot be allocated")

    def test_no_more_is_usable_than_there_is(self) -> None:
        node = replace(NODE, capacity={"nvidia.com/gpu": 4})

        assert usable(node, POOL) == NodeCapacity(4, 4)

    def test_the_pools_own_resource_is_counted(self) -> None:
        slices = POOL.model_copy(update={"resourceName": "nvidia.com/mig-1g.23gb"})
        node = replace(NODE, capacity={"nvidia.com/mig-1g.23gb": 56}, allocatable={"nvidia.com/mig-1g.23gb": 56})

        assert usable(node, slices) == NodeCapacity(56, 56)
        assert usable(NODE, slices) == NodeCapacity(0, 0)

    @pytest.mark.parametrize(
        ("node", "reason"),
        [
            (replace(NODE, unschedulable=True), "is cordoned"),
            (replace(NODE, ready=False), "is not ready"),
            (with_label("nvidia.com/mig.config.state", "pending"), "has the label nvidia.com/mig.config.state=pending"),
            (
                with_label("nvidia.com/gpu-driver-upgrade-state", "cordon-required"),
                "has the label nvidia.com/gpu-driver-upgrade-state=cordon-required",
            ),
            (labelled(**{SENTINEL + "current": "7", SENTINEL + "expected": "8"}), "says 7 of 8 GPUs are there"),
            (labelled(**{SENTINEL + "current": "9", SENTINEL + "expected": "10"}), "says 9 of 10 GPUs are there"),
            (
                labelled(**{SENTINEL + "current": "all", SENTINEL + "expected": "8"}),
                "says 'all' of '8' GPUs are there, which cannot be read",
            ),
        ],
    )
    def test_a_node_that_is_not_well_has_nothing_usable(self, node: NodeFacts, reason: str) -> None:
        assert usable(node, POOL) == NodeCapacity(8, 0, reason)

    @pytest.mark.parametrize("key", sorted(BAD_TAINTS))
    def test_a_bad_taint_keeps_everyone_off(self, key: str) -> None:
        node = replace(NODE, taints=((key, "", "NoSchedule"),))

        assert usable(node, POOL) == NodeCapacity(8, 0, f"has the taint {key}")
        assert usable(replace(NODE, taints=((key, "", "PreferNoSchedule"),)), POOL) == WHOLE

    @pytest.mark.parametrize("key", ["gpu-tenancy.dev/pool", "nvidia.com/gpu", "example.com/rack"])
    def test_taints_that_tenants_tolerate_or_nobody_listed_do_not_matter(self, key: str) -> None:
        assert usable(replace(NODE, taints=((key, "", "NoSchedule"),)), POOL) == WHOLE

    @pytest.mark.parametrize(("condition", "bad"), sorted(BAD_CONDITIONS.items()))
    def test_a_bad_condition_matters_in_its_bad_status_only(self, condition: str, bad: str) -> None:
        good = {"True": "False", "False": "True"}[bad]

        assert usable(replace(NODE, conditions={condition: bad}), POOL).reason == f"has the condition {condition}={bad}"
        assert usable(replace(NODE, conditions={condition: good}), POOL) == WHOLE
        assert usable(replace(NODE, conditions={condition: "Unknown"}), POOL) == WHOLE

    def test_what_is_bad_can_be_configured(self) -> None:
        rules = HealthRules(taints=frozenset({"example.com/rack"}), conditions={"Fan": "False"})

        assert usable(replace(NODE, taints=(("example.com/rack", "", "NoExecute"),)), POOL, rules).usable == 0
        assert usable(replace(NODE, conditions={"Fan": "False"}), POOL, rules).usable == 0
        assert usable(replace(NODE, conditions={"GpuMemWatch": "True"}), POOL, rules) == WHOLE

    @pytest.mark.parametrize(
        "labels",
        [
            {"nvidia.com/mig.config.state": "success"},
            {"nvidia.com/gpu-driver-upgrade-state": "upgrade-done"},
            {SENTINEL + "current": "8", SENTINEL + "expected": "8"},
        ],
    )
    def test_a_change_that_is_done_does_not_matter(self, labels: dict[str, str]) -> None:
        assert usable(labelled(**labels), POOL) == WHOLE

    @pytest.mark.parametrize(
        "product",
        [
            "NVIDIA-B200",
            "NVIDIA-B200-SHARED",
            "NVIDIA-B200-MIG-1g.23gb",
            "NVIDIA-B200-MIG-1g.23gb.me",
            "NVIDIA-B200-MIG-1g.23gb-SHARED",
        ],
    )
    def test_a_shared_or_sliced_gpu_is_the_same_model(self, product: str) -> None:
        assert usable(with_label("nvidia.com/gpu.product", product), POOL) == WHOLE

    @pytest.mark.parametrize("product", ["NVIDIA-B200-NVL", "NVIDIA-GB200", "NVIDIA-B20", "NVIDIA-B200-SHARED-MIG-x"])
    def test_another_model_is_not_counted_at_all(self, product: str) -> None:
        found = usable(with_label("nvidia.com/gpu.product", product), POOL)

        assert (found.capacity, found.usable, found.counted) == (0, 0, False)
        assert "not NVIDIA-B200" in found.reason

    def test_a_node_that_does_not_say_its_model_is_taken_at_its_pools_word(self) -> None:
        assert usable(replace(NODE, labels={"gpus": "yes"}), POOL) == WHOLE


class TestPoolCapacity:
    def test_a_pool_adds_up_its_nodes_and_tells_each_problem_once(self) -> None:
        nodes = [
            NODE,
            replace(NODE, name="n4", unschedulable=True),
            replace(NODE, name="n3", unschedulable=True),
            replace(NODE, name="n2", allocatable={"nvidia.com/gpu": 6}),
            replace(with_label("nvidia.com/gpu.product", "NVIDIA-H100"), name="n5"),
        ]

        for order in (nodes, nodes[::-1]):
            assert PoolCapacity.of(order, POOL) == PoolCapacity(
                nodes=4,
                capacity=32,
                usable=14,
                unhealthy=18,
                problems=(
                    "node n2: has GPUs that cannot be allocated",
                    "node n5: has NVIDIA-H100, not NVIDIA-B200",
                    "node n3 and 1 more: is cordoned",
                ),
                domains={"n1": 8},
            )

    def test_a_pool_without_nodes_has_nothing(self) -> None:
        assert PoolCapacity.of([], POOL) == PoolCapacity(0, 0, 0, 0)


class TestPromisable:
    SPEC = GpuPoolSpec.model_validate(
        POOL.model_dump()
        | {
            "headroom": 16,
            "maintenance": [
                {"start": "2026-12-24T00:00:00Z", "end": "2026-12-27T00:00:00Z", "gpus": 64},
                {"start": "2026-12-26T00:00:00Z", "end": "2026-12-28T00:00:00Z", "gpus": 200},
            ],
        }
    )

    @pytest.mark.parametrize(
        ("usable_", "expected"),
        [(256, 240), (240, 240), (239, 239), (0, 0)],
        ids=["all healthy", "headroom takes the failures", "no headroom left", "nothing"],
    )
    def test_headroom_is_kept_for_failures(self, usable_: int, expected: int) -> None:
        capacity = PoolCapacity(32, 256, usable_, 256 - usable_)

        assert promisable(capacity, self.SPEC, datetime(2026, 12, 1, tzinfo=UTC)) == expected

    @pytest.mark.parametrize(("day", "expected"), [(23, 240), (24, 176), (25, 176), (26, 0), (27, 40), (28, 240)])
    def test_maintenance_takes_gpus_from_its_start_until_its_end(self, day: int, expected: int) -> None:
        capacity = PoolCapacity(32, 256, 256, 0)

        assert promisable(capacity, self.SPEC, datetime(2026, 12, day, tzinfo=UTC)) == expected

    def test_over_time_it_is_the_same_at_every_step(self) -> None:
        capacity = PoolCapacity(32, 256, 200, 56)

        assert [gpus for _, gpus in promisable_over_time(capacity, self.SPEC)] == [200, 176, 0, 40, 200]


def test_accelerators_are_all_that_pools_rent_out_and_nvidia_registers() -> None:
    shared = replace(NODE, capacity={"nvidia.com/gpu.shared": 16, "rdma/hca": 8})
    exotic = POOL.model_copy(update={"resourceName": "example.com/accelerator"})

    assert accelerators([NODE, shared], [POOL, exotic]) == {
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "example.com/accelerator",
    }
