"""Windows on a real control plane: spot gives way at a start, one recurs, and one is taken back when nobody comes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cluster.operating import Cluster, eventually
from cluster.site import (
    B200,
    QUICK,
    RTX_PRO,
    a_site,
    hard,
    pod,
    pool,
    ready,
    renting,
    reservation,
    running,
    soon,
    waiting_job,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.operating import OperatorProcess

SPOT = {"gpu-tenancy.dev/tier": "spot"}


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    """A site with 16 B200 and 16 RTX PRO GPUs; windows of the latter are taken back when nobody uses them."""
    offer = (pool("b200", B200), pool("rtx-pro", RTX_PRO, reservations={**QUICK, "noShowAfter": "8s"}))
    with a_site(premises, operator, *offer, dgx_b200=2, rtx_pro=2) as cluster:
        yield cluster


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
    assert timedelta(0) <= late < timedelta(seconds=30), "seconds, on a machine that does many other things"
    assert len(started(cluster.list("pods", "idler"))) == 1, "only as many give way as are needed"
    cluster.kubectl("delete", "gres", "--all", "-n", "owner")
    cluster.kubectl("delete", "itn", "idler", "owner")


def test_a_window_that_recurs_opens_and_is_between_its_windows_afterwards(cluster: Cluster) -> None:
    cluster.apply(renting("course"))
    ready(cluster, "course")
    start = soon(8)
    daily = {"rule": "FREQ=DAILY;COUNT=3", "timeZone": "Europe/Berlin"}
    lesson = reservation("lesson", "course", 8, start, 20, recurrence=daily)
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
    cluster.apply(*(reservation("seat", name, 8, soon(5), 300, pool="rtx-pro") for name in ("absent", "present")))
    cluster.until("gres", "seat", "Active", "True", "present")
    cluster.create(pod("student", "present", gpus=1, **{"gpu-tenancy.dev/reservation": "seat"}))

    eventually(lambda: (cluster.condition("gres", "seat", "Active", "absent") or {}).get("reason") == "NoShow")

    found = cluster.get("gres", "seat", "absent")["status"]
    assert (found["ended"], found["forfeitedGpuSeconds"] > 200 * 8) == ("NoShow", True)
    eventually(lambda: hard(cluster, "absent", "gpu-rtx-pro-reserved") == "0")
    time.sleep(3)
    assert cluster.condition("gres", "seat", "Active", "present")["reason"] == "Open"
    assert cluster.get("gres", "seat", "present")["status"]["firstUsedTime"]
    cluster.kubectl("delete", "itn", "absent", "present")
