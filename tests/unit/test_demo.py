"""The demo quickens the examples without changing them otherwise, and observes what it claims."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gpu_tenancy.api import GpuPoolSpec, GpuReservationSpec
from gpu_tenancy.demo import scenario
from gpu_tenancy.demo.fleet import SMALLEST, fleet
from gpu_tenancy.demo.observe import NotObserved, NotYet, condition, eventually, refusal
from gpu_tenancy.kube.errors import ApiError

NOON = datetime(2026, 12, 1, 12, 0, 0, 300_000, tzinfo=UTC)


@pytest.mark.parametrize("nodes", [SMALLEST, 64, 65, 1250])
def test_a_fleet_has_exactly_the_gpu_nodes_that_were_asked_for(nodes: int) -> None:
    assert sum(batch.count for batch in fleet(nodes) if batch.gpus) == nodes


def test_the_smallest_fleet_holds_what_the_example_guarantees() -> None:
    gpus = {batch.model: batch.gpus for batch in fleet(SMALLEST)}
    pools = {"b200": "dgx-b200", "gb200": "dgx-gb200", "rtx-pro": "rtx-pro"}
    promised = {pool["metadata"]["name"]: pool["spec"]["headroom"] for pool in scenario.objects("02-pools")}
    for tenant in scenario.objects("03-tenants"):
        for grant in tenant["spec"]["gpus"]:
            promised[grant["pool"]] += grant.get("guaranteed", 0)
    assert {pool: promised[pool] for pool in promised if promised[pool] > gpus[pools[pool]]} == {}


def test_a_fleet_too_small_for_the_tenants_is_refused() -> None:
    with pytest.raises(ValueError, match=str(SMALLEST)):
        fleet(SMALLEST - 1)


def test_the_whole_site_has_nearly_ten_thousand_gpus() -> None:
    assert 9_900 <= sum(batch.gpus for batch in fleet(1250)) <= 10_000


@pytest.mark.parametrize(
    ("hours", "seconds"), [("1h", "10s"), ("30m", "5s"), ("15m", "2s"), ("1s", "1s"), ("720h", "2h")]
)
def test_an_hour_becomes_ten_seconds_and_nothing_less_than_one(hours: str, seconds: str) -> None:
    assert scenario.quickened(hours) == seconds


def test_quickened_pools_are_the_examples_but_for_their_durations() -> None:
    for original, quick in zip(scenario.objects("02-pools"), scenario.quickened_pools(), strict=True):
        GpuPoolSpec.model_validate(quick["spec"])
        assert quick["spec"].keys() == original["spec"].keys()
        assert {**quick["spec"], "reservations": {}} == {**original["spec"], "reservations": {}}
        rules, before = quick["spec"]["reservations"], original["spec"]["reservations"]
        assert rules.keys() == before.keys()
        assert {field for field in rules if rules[field] == before[field]} == scenario.AT_MOST


def test_the_reservation_starts_at_a_step_of_its_pool_and_not_too_early() -> None:
    pool = {"spec": {"reservations": {"step": "7s"}}}
    spec = GpuReservationSpec.model_validate(scenario.reservation(pool, NOON)["spec"])
    assert spec.window.start is not None
    assert spec.window.start >= NOON
    assert spec.window.start.timestamp() % 7 == 0
    assert (spec.window.start - NOON).total_seconds() < 7


def test_from_1_36_on_users_write_what_the_example_says() -> None:
    [job] = scenario.objects("06-spot-job")
    assert scenario.as_users_write(job, "1.36") is job


@pytest.mark.parametrize(
    ("file", "placement", "pool", "tier"),
    [
        ("05-inference", "DE", "rtx-pro", "guaranteed"),
        ("06-spot-job", "CH.EU", "gb200", "spot"),
        ("08-training-job", "DE", "gb200", "reserved"),
    ],
)
def test_before_1_36_users_write_out_pool_class_and_placement(file: str, placement: str, pool: str, tier: str) -> None:
    [workload] = scenario.objects(file)
    spec = scenario.as_users_write(workload, "1.35")["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {
        f"placement.gpu-tenancy.node-restriction.kubernetes.io/{placement}": "true",
        "gpu-tenancy.node-restriction.kubernetes.io/pool": pool,
    }
    assert spec["priorityClassName"] == f"gpu-{pool}-{tier}"
    assert [toleration["value"] for toleration in spec["tolerations"]] == [pool]
    assert [container["imagePullPolicy"] for container in spec["containers"]] == ["Always"]
    assert "nodeSelector" not in scenario.objects(file)[0]["spec"]["template"]["spec"], "the example itself changed"


async def test_what_becomes_so_is_observed() -> None:
    answers = iter([NotYet("1 of 2"), ApiError(404, "NotFound", "no such pod"), "2 of 2"])

    async def probe() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await eventually("two", probe, within=5) == "2 of 2"


async def test_what_does_not_become_so_in_time_is_an_error_with_what_was_seen_last() -> None:
    async def probe() -> None:
        raise NotYet("1 of 2 pods run")

    with pytest.raises(NotObserved, match="two pods: not within 0 s; last seen: 1 of 2 pods run"):
        await eventually("two pods", probe, within=0)


def stored(generation: int, **fields: Any) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "reason": "Scheduled", "message": "", "observedGeneration": 2, **fields}
    metadata = {"name": "evening", "generation": generation}
    return {"kind": "GpuReservation", "metadata": metadata, "status": {"conditions": [ready]}}


def test_a_condition_counts_if_it_is_of_the_present_generation() -> None:
    assert condition(stored(2), "Ready", reason="Scheduled")["status"] == "True"


@pytest.mark.parametrize(
    "other", [stored(3), stored(2, status="False"), stored(2, reason="Completed"), stored(2, type="Active")]
)
def test_any_other_condition_does_not_count(other: dict[str, Any]) -> None:
    with pytest.raises(NotYet, match="evening"):
        condition(other, "Ready", reason="Scheduled")


async def failing(message: str) -> None:
    raise ApiError(403, "Forbidden", message)


async def test_a_refusal_gives_the_reason_without_what_comes_before() -> None:
    message = 'pods "x" is forbidden: exceeded quota: gpu-b200-guaranteed, requested: 8'
    assert (
        await refusal(failing(message), "a pod", "exceeded quota")
        == "exceeded quota: gpu-b200-guaranteed, requested: 8"
    )
    message = "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: remove nodeName"
    assert await refusal(failing(message), "a pod", "nodeName") == "remove nodeName"


async def test_a_refusal_for_another_reason_is_none() -> None:
    with pytest.raises(NotObserved, match="not because of 'exceeded quota'"):
        await refusal(failing("unauthorized"), "a pod", "exceeded quota")


async def test_an_acceptance_is_no_refusal() -> None:
    async def accepted() -> None:
        return

    with pytest.raises(NotObserved, match="a pod was accepted"):
        await refusal(accepted(), "a pod", "exceeded quota")
