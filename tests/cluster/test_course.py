"""The example of a course: thirty seats with a slice each, in class and out of it, and nothing left of it afterwards."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.operating import Cluster, eventually
from cluster.site import a_site, pod, soon, text
from gpu_tenancy.localcluster import LocalClusterError, nodes
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.operating import OperatorProcess

COURSE = ROOT / "examples" / "course"
SLICE = "nvidia.com/mig-1g.24gb"
SEATS = 30


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    pool = yaml.safe_load((COURSE / "pool.yaml").read_text())
    # Classes begin at the quarter of an hour; this one begins in a few seconds.
    pool["spec"]["reservations"] |= {"step": "1s", "noticeBeforeEnd": "2s", "gracePeriod": "2s"}
    with a_site(premises, operator, pool) as cluster:
        asyncio.run(nodes.add(cluster.control_plane, model="rtx-pro", count=1, region="eu-de", mig="all-1g.24gb"))
        yield cluster


def sliced(name: str, seat: str) -> dict[str, Any]:
    one = pod(name, seat)
    one["metadata"]["labels"] = {"gpu-tenancy.dev/reservation": "class"}
    one["spec"]["containers"][0]["resources"] = {"limits": {SLICE: 1}}
    return one


def reservations(cluster: Cluster) -> list[dict[str, Any]]:
    return cluster.list("gpureservations")


def test_a_class_has_its_slices_while_it_is_taught_and_is_gone_afterwards(cluster: Cluster, tmp_path: Path) -> None:
    values = {
        "course": "ml",
        "students": ["ada", "grace"],
        "window": {"start": text(soon(40)), "duration": "25s"},
        "recurrence": {"rule": "FREQ=DAILY;COUNT=3", "timeZone": "Europe/Berlin"},
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    cluster.control_plane.helm("install", "ml", str(COURSE), "--values", str(tmp_path / "values.yaml"))

    cluster.until("itn", "ml", "Ready", "True")
    assert cluster.get("itn", "ml")["status"]["readyNamespaces"] == f"{SEATS}/{SEATS}"
    eventually(lambda: all("window" in one.get("status", {}) for one in reservations(cluster)))
    assert [len(one["status"]["occurrences"]) for one in reservations(cluster)] == [3] * SEATS
    tomorrow = cluster.get("gres", "class", "ml-seat-01")["status"]["occurrences"][1]

    ada = cluster.control_plane.kubeconfig("ada")
    with pytest.raises(LocalClusterError, match="exceeded quota"):
        cluster.create(sliced("early", "ml-seat-01"), kubeconfig=ada)
    with pytest.raises(LocalClusterError, match="cannot create resource"):
        cluster.create(sliced("theirs", "ml-seat-02"), kubeconfig=ada)
    cluster.kubectl("apply", "-n", "ml-seat-02", "-f", str(COURSE / "exercise.yaml"))

    cluster.until("gres", "class", "Active", "True", "ml-seat-01")
    cluster.create(sliced("mine", "ml-seat-01"), kubeconfig=ada)
    with pytest.raises(LocalClusterError, match="exceeded quota"):
        cluster.create(sliced("more", "ml-seat-01"), kubeconfig=ada)
    eventually(lambda: cluster.get("pod", "mine", "ml-seat-01")["status"].get("phase") == "Running")
    eventually(lambda: cluster.get("job", "exercise", "ml-seat-02")["spec"]["suspend"] is False)

    cluster.until("gres", "class", "Active", "False", "ml-seat-01")
    eventually(lambda: cluster.get("pod", "mine", "ml-seat-01") is None)
    eventually(lambda: cluster.get("job", "exercise", "ml-seat-02")["spec"]["suspend"] is True)
    following = cluster.get("gres", "class", "ml-seat-01")["status"]
    assert following["window"]["start"] == tomorrow["start"], json.dumps(following)

    cluster.control_plane.helm("uninstall", "ml")
    eventually(lambda: not [one for one in cluster.list("namespaces") if one["metadata"]["name"].startswith("ml-")])
    assert cluster.get("itn", "ml") is None
    eventually(lambda: cluster.get("pool", "rtx-pro-1g24gb")["status"]["reserved"] == 0)
