"""A pool has three classes and a status that says what there is, what is promised, and what is wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gpu_tenancy.api import GPU_POOL, REGION
from gpu_tenancy.api.resource import parse
from gpu_tenancy.domain.capacity import PoolCapacity
from gpu_tenancy.domain.promises import Decision, Figures, Promise
from gpu_tenancy.reconcile.observed import Observed
from gpu_tenancy.reconcile.plan import Create, Delete, Plan, Update
from gpu_tenancy.reconcile.pools import PoolView, plan_pool
from gpu_tenancy.reconcile.regions import plan_region

NOW = datetime(2026, 12, 1, tzinfo=UTC)
METADATA = {
    "name": "b200",
    "uid": "u",
    "generation": 3,
    "resourceVersion": "7",
    "creationTimestamp": "2026-01-01T00:00:00Z",
}
POOL = {
    "metadata": METADATA,
    "spec": {
        "region": "eu-de",
        "model": "NVIDIA-B200",
        "gpusPerNode": 8,
        "nodeSelector": {"matchLabels": {"nvidia.com/gpu.product": "NVIDIA-B200"}},
    },
}
DECISION = Decision({}, {}, {}, {"acme": Promise(32, 32, 32)}, Figures(32, 8, 24, None))
VIEW = PoolView(
    pool=parse(GPU_POOL, POOL),
    known_region=True,
    capacity=PoolCapacity(nodes=8, capacity=64, usable=64, unhealthy=0),
    problems=(),
    decision=DECISION,
    classes={},
)


def creates(plan: Plan) -> dict[str, dict]:
    return {one.manifest["metadata"]["name"]: one.manifest for one in plan.operations if isinstance(one, Create)}


def status_of(plan: Plan) -> dict:
    (update,) = (one for one in plan.operations if isinstance(one, Update) and one.subresource == "status")
    return update.patch["status"]


def conditions_of(plan: Plan) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status_of(plan)["conditions"]}


def observed(manifest: dict) -> Observed:
    metadata = manifest["metadata"] | {"uid": "c", "resourceVersion": "1"}
    return Observed.of({**manifest, "metadata": metadata}, manifest["apiVersion"], manifest["kind"])


def settled(view: PoolView) -> PoolView:
    plan = plan_pool(view, NOW)
    pool = parse(GPU_POOL, {**POOL, "status": status_of(plan)})
    classes = {name: observed(manifest) for name, manifest in creates(plan).items()}
    return replace(view, pool=pool, classes=classes)


def test_a_new_pool_gets_three_classes_of_which_spot_gives_way() -> None:
    classes = creates(plan_pool(VIEW, NOW))

    assert {name: (one["value"], one["preemptionPolicy"]) for name, one in classes.items()} == {
        "gpu-b200-guaranteed": (1000, "PreemptLowerPriority"),
        "gpu-b200-reserved": (1000, "PreemptLowerPriority"),
        "gpu-b200-spot": (-10, "Never"),
    }
    assert all(one["metadata"]["ownerReferences"][0]["uid"] == "u" for one in classes.values())


def test_a_pool_that_is_as_it_should_be_is_not_written() -> None:
    assert plan_pool(settled(VIEW), NOW) == Plan()


def test_the_status_says_what_there_is_and_what_is_promised() -> None:
    status = status_of(plan_pool(VIEW, NOW))

    numbers = ("nodes", "capacity", "usable", "unhealthy", "guaranteed", "reserved", "free")
    assert [status.get(number, 0) for number in numbers] == [8, 64, 64, 0, 32, 8, 24]
    assert status["observedGeneration"] == 3
    assert conditions_of(plan_pool(VIEW, NOW)) == {"Ready": ("True", "Usable")}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (
            replace(VIEW, known_region=False),
            {"Ready": ("False", "UnknownRegion"), "Stalled": ("True", "UnknownRegion")},
        ),
        (replace(VIEW, capacity=PoolCapacity(0, 0, 0, 0)), {"Ready": ("False", "NoCapacity")}),
        (
            replace(VIEW, decision=replace(DECISION, promises={"acme": Promise(32, 32, 16)})),
            {"Ready": ("True", "Usable"), "Overcommitted": ("True", "GuaranteesShort")},
        ),
        (
            replace(VIEW, decision=replace(DECISION, overcommitted=True)),
            {"Ready": ("True", "Usable"), "Overcommitted": ("True", "CapacityLost")},
        ),
        (
            replace(VIEW, problems=[f"node n{number}: is cordoned" for number in range(7)]),
            {"Ready": ("True", "Usable"), "Degraded": ("True", "NodesImpaired")},
        ),
    ],
    ids=["region unknown", "no nodes", "guarantees short", "capacity lost", "nodes impaired"],
)
def test_what_is_wrong_is_a_condition_and_leaves_when_it_is_right(view: PoolView, expected: dict) -> None:
    plan = plan_pool(view, NOW)
    cured = replace(VIEW, pool=parse(GPU_POOL, {**POOL, "status": status_of(plan)}))

    assert conditions_of(plan) == expected
    assert conditions_of(plan_pool(cured, NOW)) == {"Ready": ("True", "Usable")}


def test_of_many_problems_the_first_are_told_and_the_rest_counted() -> None:
    view = replace(VIEW, problems=[f"node n{number}: is cordoned" for number in range(7)])

    (degraded,) = (one for one in status_of(plan_pool(view, NOW))["conditions"] if one["type"] == "Degraded")

    assert degraded["message"].endswith("node n4: is cordoned; and 2 more")


def test_a_class_that_was_changed_is_put_right() -> None:
    view = settled(VIEW)
    manifest = view.classes["gpu-b200-spot"].manifest | {"description": "mine"}

    (update,) = plan_pool(replace(view, classes=view.classes | {"gpu-b200-spot": observed(manifest)}), NOW).operations

    assert isinstance(update, Update)
    assert update.patch == {"description": "spot GPUs of pool b200"}


def test_a_class_whose_priority_is_wrong_is_deleted_since_it_cannot_be_changed() -> None:
    view = settled(VIEW)
    manifest = view.classes["gpu-b200-spot"].manifest | {"value": 5000}

    (delete,) = plan_pool(replace(view, classes=view.classes | {"gpu-b200-spot": observed(manifest)}), NOW).operations

    assert isinstance(delete, Delete)


def test_a_region_counts_its_nodes_once() -> None:
    raw = {
        "metadata": METADATA | {"name": "eu-de"},
        "spec": {"country": "DE", "jurisdictions": ["DE", "EU"], "nodeSelector": {"matchLabels": {"a": "b"}}},
    }

    plan = plan_region(parse(REGION, raw), 12, NOW)

    assert status_of(plan)["nodes"] == 12
    assert conditions_of(plan) == {"Ready": ("True", "Catalogued")}
    assert plan_region(parse(REGION, {**raw, "status": status_of(plan)}), 12, NOW) == Plan()


def test_a_region_says_which_of_its_certificates_have_expired_from_the_day_after() -> None:
    ends = {"C5": "2027-03-31", "ISO 27001": "2027-01-31", "TISAX": "2027-12-31"}
    raw = {
        "metadata": METADATA | {"name": "eu-de"},
        "spec": {
            "country": "DE",
            "jurisdictions": ["DE"],
            "nodeSelector": {"matchLabels": {"a": "b"}},
            "certificates": [{"name": name, "validUntil": day} for name, day in ends.items()],
        },
    }
    last, next_day = datetime(2027, 3, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC)

    before = plan_region(parse(REGION, raw), 12, last)
    after = plan_region(parse(REGION, raw | {"status": status_of(before)}), 12, next_day)

    assert before.wake == next_day
    assert status_of(before)["conditions"][1]["message"].startswith("ISO 27001: no longer valid; renew")
    assert conditions_of(after)["CertificateExpired"] == ("True", "Expired")
    assert status_of(after)["conditions"][1]["message"].startswith("C5, ISO 27001: no longer valid")
    assert after.wake == datetime(2028, 1, 1, tzinfo=UTC)
    renewed = raw | {"spec": raw["spec"] | {"certificates": []}, "status": status_of(after)}
    assert set(conditions_of(plan_region(parse(REGION, renewed), 12, next_day))) == {"Ready"}
