"""What is seen of pods that a quota refused: their workloads miss them."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_tenancy.reconcile.demand import Missing, extended_resources


def container(gpus: int = 0, *, resource: str = "nvidia.com/gpu", by: str = "limits", **more: Any) -> dict[str, Any]:
    amounts = {"cpu": "1"} | ({resource: str(gpus)} if gpus else {})
    return {"name": "main", "resources": {by: amounts}, **more}


def template(*containers: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels}, "spec": {"containers": list(containers or [container(2)])}}


def job(status: dict[str, Any] | None = None, of: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    fields = {"parallelism": 4, "completions": 10, "template": of or template()}
    return {"spec": fields | spec, "status": status or {}}


def replicas(count: int | None, **status: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": template()} | ({} if count is None else {"replicas": count})
    return {"spec": spec, "status": status}


def pods(raw: dict[str, Any]) -> int:
    missing = Missing.of(raw)
    return 0 if missing is None else missing.pods


FAILING = [{"type": "ReplicaFailure", "status": "True"}]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (job(), 4),
        (job({"active": 1, "succeeded": 2}), 3),
        (job({"active": 1, "succeeded": 8}), 1),
        (job({"active": 4}), 0),
        (job({"conditions": [{"type": "Complete", "status": "True"}]}), 0),
        (job({"conditions": [{"type": "Failed", "status": "True"}]}), 0),
        (job({"conditions": [{"type": "Suspended", "status": "False"}]}), 4),
        (job(suspend=True), 0),
        (replicas(3), 3),
        (replicas(None), 1),
        (replicas(3, replicas=2), 1),
        (replicas(3, replicas=3), 0),
        (replicas(3, replicas=3, conditions=FAILING), 1),
        (replicas(0, conditions=[]), 0),
    ],
)
def test_pods_that_a_workload_wants_and_has_not_are_missing(raw: dict[str, Any], expected: int) -> None:
    assert pods(raw) == expected


def test_a_job_without_completions_wants_no_more_pods_after_the_first_success() -> None:
    queue = job()
    del queue["spec"]["completions"]
    assert pods(queue) == 4
    queue["status"] = {"active": 1, "succeeded": 1}
    assert pods(queue) == 0


def test_it_says_which_pool_and_how_many_gpus_each_pod_asks_for() -> None:
    named = template(container(2), container(1, by="requests"), **{"gpu-tenancy.dev/pool": "b200"})
    assert Missing.of(job(of=named)) == Missing("b200", (("nvidia.com/gpu", 3),), 4)
    assert Missing.of(job()) == Missing("", (("nvidia.com/gpu", 2),), 4)


def test_only_pods_of_the_guaranteed_tier_with_gpus_count() -> None:
    assert Missing.of(job(of=template(container()))) is None
    assert Missing.of(job(of=template(**{"gpu-tenancy.dev/tier": "spot"}))) is None
    assert Missing.of(job(of=template(**{"gpu-tenancy.dev/reservation": "evening"}))) is None
    assert pods(job(of=template(**{"gpu-tenancy.dev/tier": "guaranteed"}))) == 4


def test_init_containers_run_before_the_others_unless_they_stay() -> None:
    main, first, sidecar = container(2), container(3), container(1, restartPolicy="Always")
    assert extended_resources({"containers": [main], "initContainers": [first]}) == {"nvidia.com/gpu": 3}
    assert extended_resources({"containers": [main], "initContainers": [sidecar, first]}) == {"nvidia.com/gpu": 4}
    assert extended_resources({"containers": [{"name": "bare"}]}) == {}
