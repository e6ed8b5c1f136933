"""Use of GPUs against a real control plane: shared between namespaces, measured, charged."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from cluster.operating import Cluster, OperatorProcess, eventually
from cluster.site import B200, GPU, a_site, pod, pool, ready, reservation, running, soon, tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

QUOTA = "gpu-b200-guaranteed"
SECONDS = 30
"""A window in which also a busy machine has a pod run for some time."""


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    """A site with 32 B200 GPUs."""
    with a_site(premises, operator, pool("b200", B200), dgx_b200=4) as cluster:
        yield cluster


def template(namespace: str, gpus: int) -> dict[str, Any]:
    one = pod("", namespace, gpus, app="web")
    return {"metadata": {"labels": one["metadata"]["labels"]}, "spec": one["spec"]}


def deployment(name: str, namespace: str, replicas: int, gpus: int) -> dict[str, Any]:
    selector = {"matchLabels": {"app": "web"}}
    spec = {"replicas": replicas, "selector": selector, "template": template(namespace, gpus)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def job(name: str, namespace: str, gpus: int) -> dict[str, Any]:
    body = template(namespace, gpus)
    spec = {"template": {**body, "spec": {**body["spec"], "restartPolicy": "Never"}}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def held(quota: dict[str, Any]) -> int:
    """What a quota keeps from others: the most of what it is to allow, allows, and is used."""
    status = quota.get("status", {})
    amounts = (quota["spec"].get("hard", {}), status.get("hard", {}), status.get("used", {}))
    return max(int(amount.get(GPU, "0")) for amount in amounts)


@contextmanager
def never_more_than(cluster: Cluster, gpus: int, *namespaces: str) -> Iterator[list[int]]:
    """Look again and again, each time at one instant, at what the quotas hold together."""
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            quotas = [one for one in cluster.list("resourcequota") if one["metadata"]["name"] == QUOTA]
            seen.append(sum(held(one) for one in quotas if one["metadata"]["namespace"] in namespaces))
            time.sleep(0.02)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
    assert seen
    assert max(seen) <= gpus


def hard(cluster: Cluster, namespace: str) -> int:
    found = cluster.get("resourcequota", QUOTA, namespace)
    return -1 if found is None else int(found.get("status", {}).get("hard", {}).get(GPU, "-1"))


def held_back(cluster: Cluster, namespace: str) -> bool:
    """Say whether workloads there were refused pods."""
    return any(one["reason"] == "FailedCreate" for one in cluster.list("event", namespace))


def pods_of(cluster: Cluster, namespace: str) -> int:
    return sum(one.get("status", {}).get("phase") == "Running" for one in cluster.list("pod", namespace))


@pytest.mark.usefixtures("counted")
def test_shared_gpus_follow_the_workloads_and_never_exceed_the_grant(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    grant = {"pool": "b200", "guaranteed": 16, "sharing": "Shared"}
    cluster.apply(tenant("sharer", "sharer-a", "sharer-b", gpus=[grant]))
    ready(cluster, "sharer")
    eventually(lambda: (hard(cluster, "sharer-a"), hard(cluster, "sharer-b")) == (8, 8))

    with never_more_than(cluster, 16, "sharer-a", "sharer-b"):
        cluster.create(deployment("web", "sharer-b", 2, 8))
        eventually(lambda: pods_of(cluster, "sharer-b") == 2)
        assert (hard(cluster, "sharer-a"), hard(cluster, "sharer-b")) == (0, 16)

        cluster.create(job("train", "sharer-a", 8))
        eventually(lambda: held_back(cluster, "sharer-a"))
        assert pods_of(cluster, "sharer-a") == 0
        cluster.kubectl("scale", "deployment/web", "--replicas=1", "-n", "sharer-b")
        eventually(lambda: pods_of(cluster, "sharer-a") == 1)

    assert (hard(cluster, "sharer-a"), hard(cluster, "sharer-b")) == (8, 8)
    assert operator.written_again() == {}


def test_a_namespace_keeps_what_it_has_at_least(cluster: Cluster, operator: OperatorProcess) -> None:
    assert operator.running
    least = [{"name": "keeper-a", "guaranteed": 4}]
    grant = {"pool": "b200", "guaranteed": 8, "sharing": "Shared", "namespaces": least}
    cluster.apply(tenant("keeper", "keeper-a", "keeper-b", gpus=[grant]))
    ready(cluster, "keeper")

    cluster.create(deployment("web", "keeper-b", 2, 4))
    eventually(lambda: hard(cluster, "keeper-b") == 4)
    eventually(lambda: pods_of(cluster, "keeper-b") == 1)
    eventually(lambda: held_back(cluster, "keeper-b"))
    assert hard(cluster, "keeper-a") == 4
    cluster.create(pod("own", "keeper-a", 4))
    running(cluster, "own", "keeper-a")


def exported(cluster: Cluster, *arguments: str) -> list[dict[str, str]]:
    """What `gpu-tenancy usage` writes."""
    kubeconfig = str(cluster.control_plane.kubeconfig_for("admin"))
    command = [sys.executable, "-m", "gpu_tenancy", "usage", "--kubeconfig", kubeconfig, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(csv.DictReader(io.StringIO(done.stdout)))


def grant_status(cluster: Cluster, name: str) -> dict[str, Any]:
    return cluster.get("itn", name)["status"]["gpus"][0]


def test_what_a_deleted_reservation_was_charged_stays_charged_even_if_nobody_looked(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    grant = {"pool": "b200", "reservable": 8, "gpuHours": {"limit": 8, "period": "Year"}}
    cluster.apply(tenant("spender", "spender", gpus=[grant]))
    ready(cluster, "spender")
    for name, watched in (("one", True), ("two", False)):
        cluster.apply(reservation(name, "spender", 4, soon(2), 3600))
        cluster.until("gres", name, "Active", "True", "spender")
        present = 3600 * 4
        eventually(
            lambda wanted=present: any(
                one.get("present") == wanted
                for one in grant_status(cluster, "spender").get("charged", {}).get("periods", [])
            )
        )
        if not watched:
            operator.kill()
        cluster.kubectl("delete", "gres", name, "-n", "spender")
        if not watched:
            operator.start()
        eventually(
            lambda gone=present * (1 if watched else 2): (
                grant_status(cluster, "spender")["charged"]["periods"][0].get("gone") == gone
            )
        )

    cluster.apply(reservation("three", "spender", 4, soon(600), 3600))
    refused = cluster.until("gres", "three", "Stalled", "True", "spender")
    assert refused["reason"] == "BudgetExceeded"
    assert "0 of 8 GPU-hours are left" in refused["message"]


def far_from_the_turn_of_a_month() -> bool:
    """Say whether a window that begins now, and all that is said of it, is in one month."""
    now = datetime.now(UTC)
    return (now + timedelta(minutes=3)).month == now.month


@pytest.mark.usefixtures("counted")
def test_what_pods_used_of_a_window_is_written_when_it_ends(cluster: Cluster, operator: OperatorProcess) -> None:
    cluster.apply(tenant("metered", "metered", gpus=[{"pool": "b200", "reservable": 8}]))
    ready(cluster, "metered")
    eventually(far_from_the_turn_of_a_month, patience=200)
    cluster.apply(reservation("short", "metered", 8, soon(2), SECONDS))
    cluster.until("gres", "short", "Active", "True", "metered")
    cluster.create(pod("user", "metered", 4, **{"gpu-tenancy.dev/reservation": "short"}))
    running(cluster, "user", "metered")
    time.sleep(5)
    done = eventually(lambda: (s := cluster.get("gres", "short", "metered")["status"]).get("usage") and s)

    (month,) = done["usage"]["months"]
    assert month["booked"] == SECONDS * 8
    assert 4 * 5 <= month["used"] <= SECONDS * 4
    assert month["used"] <= month["active"] <= month["booked"]
    (total,) = eventually(lambda: grant_status(cluster, "metered").get("usage"))["months"]
    assert (total["booked"], total["used"]) == (month["booked"], month["used"])
    assert operator.metric("gpu_tenancy_month_gpu_hours", tenant="metered", kind="booked") == SECONDS * 8 / 3600
    rows = exported(cluster, "--tenant", "metered")
    quantities = {row["CapacityReservationStatus"]: Decimal(row["ConsumedQuantity"]) for row in rows}
    uid = cluster.get("gres", "short", "metered")["metadata"]["uid"]
    assert {row["CapacityReservationId"] for row in rows} == {f"metered/short/{uid}"}
    assert quantities.keys() == {"Used", "Unused"}
    assert sum(quantities.values()) == (Decimal(SECONDS * 8) / 3600).quantize(Decimal("0.000001"))
    assert operator.written_again() == {}
