"""Windows on a real control plane: spot gives way at a start, one recurs, and one is taken back when nobody comes."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cluster.operating import Cluster, OperatorProcess, eventually, install_charts
from cluster.test_operator import ROOT, hard, pod, pool, ready, region, reservation, running, soon, tenant
from gpu_tenancy.localcluster import ControlPlane, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("operator")
RULES = {"minimumDuration": "1s", "gracePeriod": "4s", "noticeBeforeEnd": "8s"}
SPOT = {"gpu-tenancy.dev/tier": "spot"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A site with 16 B200 and 16 RTX PRO GPUs; windows of the latter are taken back when nobody uses them."""
    with ControlPlane(tmp_path_factory.mktemp("windows")) as control_plane:
        install_charts(control_plane, ROOT)
        cluster = Cluster(control_plane)
        for model in ("dgx-b200", "rtx-pro"):
            asyncio.run(nodes.add(control_plane, model=model, count=2, region="eu-de"))
        cluster.apply(
            region("eu-de", "DE", ["DE", "EU", "EEA"]),
            pool("b200", "NVIDIA-B200", reservations=RULES),
            pool(
                "rtx-pro",
                "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition",
                reservations={**RULES, "noShowAfter": "6s"},
            ),
        )
        yield cluster


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    kubeconfig = cluster.control_plane.kubeconfig_for("operator")
    with OperatorProcess(kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log") as running_:
        yield running_


def renting(name: str, pool_: str = "b200", **grant: int) -> dict[str, Any]:
    """Build a tenant with one namespace, of its own name, whose GPU pods are in one pool."""
    return tenant(
        name, name, namespaces=[{"name": name, "defaultPool": pool_}], gpus=[{"pool": pool_, "reservable": 16, **grant}]
    )


def waiting_job(name: str, namespace: str, of: str, gpus: int) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"gpu-tenancy.dev/reservation": of}},
        "spec": pod("x", namespace, gpus=gpus)["spec"] | {"restartPolicy": "Never"},
    }
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"suspend": True, "template": template},
    }


def started(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        one for one in pods if one["status"].get("phase") == "Running" and "deletionTimestamp" not in one["metadata"]
    ]


def test_spot_uses_what_is_reserved_and_idle_and_gives_way_within_seconds_of_a_start(cluster: Cluster) -> None:
    cluster.apply(renting("idler", spot=16), renting("owner"))
    ready(cluster, "idler")
    ready(cluster, "owner")
    start = soon(15)
    cluster.apply(reservation("night", "owner", 16, start, 60))
    cluster.until("gres", "night", "Ready", "True", "owner")
    cluster.create(*(pod(f"spot-{number}", "idler", gpus=8, **SPOT) for number in range(2)))
    for number in range(2):
        running(cluster, f"spot-{number}", "idler")
    cluster.create(waiting_job("train", "owner", "night", 8))
    assert datetime.now(UTC) < start, "spot had the GPUs before the window"

    eventually(lambda: started(cluster.list("pods", "owner")))

    late = datetime.now(UTC) - start
    assert timedelta(0) <= late < timedelta(seconds=20), "seconds, on a machine that does many other things"
    assert len(started(cluster.list("pods", "idler"))) == 1, "only as many give way as are needed"
    cluster.kubectl("delete", "gres", "--all", "-n", "owner")
    cluster.kubectl("delete", "itn", "idler", "owner")


def test_a_window_that_recurs_opens_and_is_between_its_windows_afterwards(cluster: Cluster) -> None:
    cluster.apply(renting("course"))
    ready(cluster, "course")
    start = soon(8)
    lesson = reservation("lesson", "course", 8, start, 16)
    lesson["spec"]["recurrence"] = {"rule": "FREQ=DAILY;COUNT=3", "timeZone": "Europe/Berlin"}
    cluster.apply(lesson, waiting_job("exercise", "course", "lesson", 8))
    cluster.until("gres", "lesson", "Ready", "True", "course")
    occurrences = cluster.get("gres", "lesson", "course")["status"]["occurrences"]
    assert [one["gpus"] for one in occurrences] == [8, 8, 8]

    cluster.until("gres", "lesson", "Active", "True", "course")
    eventually(lambda: cluster.get("job", "exercise", "course")["spec"]["suspend"] is False)
    eventually(lambda: cluster.get("job", "exercise", "course")["spec"]["suspend"] is True)
    between = cluster.until("gres", "lesson", "Active", "False", "course")

    assert between["reason"] == "NotStarted"
    status = cluster.get("gres", "lesson", "course")["status"]
    assert status["window"]["start"] == occurrences[1]["start"]
    eventually(lambda: hard(cluster, "course", "gpu-b200-reserved") == "0")
    cluster.kubectl("delete", "itn", "course")


def test_a_window_that_nobody_uses_is_taken_back_and_one_that_is_used_stays(cluster: Cluster) -> None:
    cluster.apply(renting("absent", "rtx-pro"), renting("present", "rtx-pro"))
    ready(cluster, "absent")
    ready(cluster, "present")
    seats = [reservation("seat", name, 8, soon(5), 300) for name in ("absent", "present")]
    for seat in seats:
        seat["spec"]["pool"] = "rtx-pro"
    cluster.apply(*seats)
    cluster.until("gres", "seat", "Active", "True", "present")
    cluster.create(pod("student", "present", gpus=1, **{"gpu-tenancy.dev/reservation": "seat"}))

    eventually(lambda: cluster.condition("gres", "seat", "Active", "absent")["reason"] == "NoShow")

    found = cluster.get("gres", "seat", "absent")["status"]
    assert (found["ended"], found["forfeitedGpuSeconds"] > 200 * 8) == ("NoShow", True)
    eventually(lambda: hard(cluster, "absent", "gpu-rtx-pro-reserved") == "0")
    time.sleep(3)
    assert cluster.condition("gres", "seat", "Active", "present")["reason"] == "Open"
    assert cluster.get("gres", "seat", "present")["status"]["firstUsedTime"]
    cluster.kubectl("delete", "itn", "absent", "present")
