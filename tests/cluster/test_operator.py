"""The operator against a real control plane: tenants, placement, quotas and reservations, as users see them."""

from __future__ import annotations

import json
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
    region,
    renting,
    reservation,
    running,
    soon,
    tenant,
    text,
    waiting_job,
)
from gpu_tenancy.localcluster import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.operating import OperatorProcess

OWNED = "app.kubernetes.io/managed-by=gpu-tenancy"
CHILDREN = ("resourcequotas", "limitranges", "networkpolicies", "rolebindings")


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    """A site with 32 B200 and 32 RTX PRO GPUs in Munich, and a place for pods without GPUs.

    Windows of the B200 are left early enough for a busy machine to be through with it by their end.
    """
    early = {**QUICK, "gracePeriod": "7s", "noticeBeforeEnd": "10s"}
    offer = (region("eu-ch2", "CH", ["CH"]), pool("b200", B200, reservations=early), pool("rtx-pro", RTX_PRO))
    with a_site(premises, operator, *offer, dgx_b200=4, rtx_pro=4, cpu=2) as cluster:
        yield cluster


def test_nodes_are_placed_and_pools_count_them(cluster: Cluster) -> None:
    cluster.until("pool", "b200", "Ready", "True")
    status = eventually(lambda: (s := cluster.get("pool", "b200")["status"]) and s.get("usable") == 32 and s)

    assert (status["nodes"], status["capacity"]) == (4, 32)
    placed = "gpu-tenancy.node-restriction.kubernetes.io/region=eu-de"
    eventually(lambda: len(cluster.list("node", selector=placed)) == len(cluster.list("node")) == 10)


def test_a_tenant_becomes_ready_with_everything_in_its_namespaces(cluster: Cluster) -> None:
    cluster.apply(tenant("acme", "acme-train", "acme-serve"))
    ready(cluster, "acme")

    status = cluster.get("itn", "acme")["status"]
    assert status["placement"] == "DE"
    assert status["regions"] == ["eu-de"]
    assert status["readyNamespaces"] == "2/2"
    for namespace in ("acme-train", "acme-serve"):
        labels = cluster.get("namespace", namespace)["metadata"]["labels"]
        assert labels["gpu-tenancy.dev/tenant"] == "acme"
        assert labels["gpu-tenancy.dev/placement"] == "DE"
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        for kind in CHILDREN:
            assert cluster.list(kind, namespace, OWNED), f"{kind} of {namespace}"
    assert hard(cluster, "acme-train", "gpu-b200-guaranteed") == "2"
    assert hard(cluster, "acme-serve", "gpu-other") == "0"


def test_what_a_tenant_may_name_follows_the_classes_of_the_cluster(cluster: Cluster) -> None:
    cluster.apply(tenant("classy", "classy-train", devices=[{"deviceClass": "channel.example", "count": 4}]))
    ready(cluster, "classy")
    for name, policy in (("fast", "Delete"), ("kept", "Retain")):
        metadata = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
        cluster.apply(metadata | {"provisioner": "example.com/disk", "reclaimPolicy": policy})
    cluster.apply(
        *(
            {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": name}, "spec": {}}
            for name in ("channel.example", "whole.example")
        )
    )

    def annotations() -> dict[str, str]:
        return cluster.get("namespace", "classy-train")["metadata"]["annotations"]

    eventually(lambda: annotations()["gpu-tenancy.dev/storage-classes"] == "fast")
    eventually(lambda: annotations()["gpu-tenancy.dev/device-classes"] == "channel.example")
    used = eventually(
        lambda: (
            (status := cluster.get("resourcequota", "gpu-tenancy-base", "classy-train").get("status", {}))
            and "whole.example.deviceclass.resource.k8s.io/devices" in status.get("used", {})
            and status
        )
    )
    assert used["hard"]["whole.example.deviceclass.resource.k8s.io/devices"] == "0"
    assert used["hard"]["channel.example.deviceclass.resource.k8s.io/devices"] == "4"

    def closing() -> dict[str, str]:
        return cluster.get("resourcequota", "gpu-other", "classy-train")["spec"]["hard"]

    eventually(lambda: closing().get("requests.deviceclass.resource.kubernetes.io/whole.example") == "0")


def test_its_pods_run_in_its_pool_and_no_further_than_its_quota(cluster: Cluster) -> None:
    cluster.apply(tenant("bolt", "bolt-train"))
    ready(cluster, "bolt")
    anna = cluster.control_plane.kubeconfig("anna", ["bolt-admins"])

    eventually(lambda: hard(cluster, "bolt-train", "gpu-b200-guaranteed") == "2")
    cluster.create(pod("one", "bolt-train", gpus=2), kubeconfig=anna)
    found = running(cluster, "one", "bolt-train")
    node = cluster.get("node", found["spec"]["nodeName"])["metadata"]["labels"]
    assert node["gpu-tenancy.node-restriction.kubernetes.io/pool"] == "b200"
    assert node["topology.kubernetes.io/region"] == "eu-de"

    with pytest.raises(Exception, match="exceeded quota: gpu-b200-guaranteed"):
        cluster.create(pod("two", "bolt-train", gpus=1), kubeconfig=anna)


def test_a_residency_that_its_regions_contradict_is_refused(cluster: Cluster) -> None:
    cluster.apply(tenant("alpine", "alpine-a", residency={"jurisdictions": ["EU"], "regions": ["eu-ch2"]}, gpus=[]))

    stalled = cluster.until("itn", "alpine", "Stalled", "True")

    assert "eu-ch2" in stalled["message"]
    assert cluster.get("namespace", "alpine-a") is None


def test_drift_in_any_child_is_repaired(cluster: Cluster) -> None:
    cluster.apply(tenant("drift", "drift-a"))
    ready(cluster, "drift")
    before = {
        (kind, one["metadata"]["name"]): one["metadata"]["uid"]
        for kind in CHILDREN
        for one in cluster.list(kind, "drift-a", OWNED)
    }

    for kind in CHILDREN:
        cluster.kubectl("delete", kind, "-n", "drift-a", "-l", OWNED)

    def restored() -> bool:
        after = {
            (kind, one["metadata"]["name"]): one["metadata"]["uid"]
            for kind in CHILDREN
            for one in cluster.list(kind, "drift-a", OWNED)
        }
        return after.keys() == before.keys() and not set(after.values()) & set(before.values())

    eventually(restored)
    ready(cluster, "drift")


def test_a_namespace_that_exists_is_adopted_only_when_its_label_says_so(cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", "found")
    cluster.apply(tenant("finder", "found"))
    cluster.until("itn", "finder", "Stalled", "True")
    assert "gpu-tenancy.dev/tenant" not in cluster.get("namespace", "found")["metadata"]["labels"]

    cluster.kubectl("label", "namespace", "found", "gpu-tenancy.dev/adopt=finder")

    ready(cluster, "finder")


def test_a_namespace_belongs_to_the_tenant_that_named_it_first(cluster: Cluster) -> None:
    cluster.apply(tenant("early", "shared-name"))
    ready(cluster, "early")
    cluster.apply(tenant("late", "shared-name", "late-own"))

    cluster.until("itn", "late", "Stalled", "True")

    namespaces = {one["name"]: one["reason"] for one in cluster.get("itn", "late")["status"]["namespaces"]}
    assert namespaces["shared-name"] == "NameTaken"
    assert cluster.get("namespace", "shared-name")["metadata"]["labels"]["gpu-tenancy.dev/tenant"] == "early"


def test_a_suspended_tenant_starts_nothing_and_loses_nothing(cluster: Cluster) -> None:
    cluster.apply(tenant("pause", "pause-a"))
    ready(cluster, "pause")
    cluster.create(pod("old", "pause-a"))
    running(cluster, "old", "pause-a")

    cluster.apply(tenant("pause", "pause-a", suspended=True))
    cluster.until("itn", "pause", "Suspended", "True")

    eventually(lambda: cluster.get("resourcequota", "gpu-tenancy-base", "pause-a")["status"]["hard"]["pods"] == "0")
    with pytest.raises(Exception, match=r"suspended|exceeded quota"):
        cluster.create(pod("new", "pause-a"))
    assert cluster.get("pod", "old", "pause-a")["status"]["phase"] == "Running"


def test_a_deleted_tenant_takes_its_namespaces_along_or_leaves_them_shut(cluster: Cluster) -> None:
    cluster.apply(tenant("gone", "gone-a"), tenant("kept", "kept-a", deletionPolicy="Retain"))
    ready(cluster, "gone")
    ready(cluster, "kept")

    cluster.kubectl("delete", "itn", "gone", "kept")

    eventually(lambda: cluster.get("namespace", "gone-a") is None)
    eventually(lambda: not cluster.list("rolebindings", "kept-a", OWNED))
    assert cluster.list("networkpolicies", "kept-a", OWNED)
    shut = ("gpu-tenancy.dev/suspended", "true")
    eventually(lambda: shut in cluster.get("namespace", "kept-a")["metadata"]["labels"].items())


def test_guarantees_beyond_the_pool_are_not_handed_out(cluster: Cluster) -> None:
    def wanting(name: str, gpus: int) -> dict[str, Any]:
        return tenant(
            name,
            f"{name}-a",
            namespaces=[{"name": f"{name}-a", "defaultPool": "rtx-pro"}],
            gpus=[{"pool": "rtx-pro", "guaranteed": gpus}],
        )

    cluster.apply(wanting("first", 24))
    ready(cluster, "first")
    cluster.apply(wanting("second", 24))
    eventually(lambda: "8 of 24" in cluster.until("itn", "second", "GuaranteeShort", "True")["message"])

    cluster.until("pool", "rtx-pro", "Overcommitted", "True")
    eventually(lambda: hard(cluster, "second-a", "gpu-rtx-pro-guaranteed") == "8")
    assert hard(cluster, "first-a", "gpu-rtx-pro-guaranteed") == "24"
    cluster.kubectl("delete", "itn", "first", "second")


def test_what_comes_with_a_gpu_is_left_to_whoever_it_is_promised_to(cluster: Cluster) -> None:
    """First as it is where a pool says nothing: one GPU of each node, with half of its CPUs, keeps its neighbour out."""
    for name, gpus in (("greedy", 4), ("modest", 7)):
        cluster.apply(renting(name, "rtx-pro", guaranteed=gpus))
        ready(cluster, name)
        eventually(lambda name=name, gpus=gpus: hard(cluster, name, "gpu-rtx-pro-guaranteed") == str(gpus))
    neighbour = asking("neighbour", "modest", **{"nvidia.com/gpu": "7", "cpu": "150"})

    for node in range(4):
        cluster.create(asking(f"one-{node}", "greedy", **{"nvidia.com/gpu": "1", "cpu": "128"}))
        running(cluster, f"one-{node}", "greedy")
    cluster.create(neighbour)
    eventually(lambda: "Insufficient cpu" in cluster.kubectl("get", "pod", "neighbour", "-n", "modest", "-o", "yaml"))

    for namespace in ("greedy", "modest"):
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--wait")
    cluster.apply(pool("rtx-pro", RTX_PRO, perGpu={"cpu": "30", "memory": "180Gi"}))
    limits = "rtx-pro nvidia.com/gpu cpu 30,rtx-pro nvidia.com/gpu memory 180Gi"
    eventually(
        lambda: cluster.get("namespace", "greedy")["metadata"]["annotations"]["gpu-tenancy.dev/per-gpu"] == limits
    )
    greedy = asking("one", "greedy", **{"nvidia.com/gpu": "1", "cpu": "128"})
    why = "each of pool rtx-pro brings cpu 30 and memory 180Gi, and this pod requests more"
    eventually(lambda: why in refusal(cluster, greedy), lambda: "the API server sees annotations a moment later")
    for node in range(4):
        cluster.create(asking(f"one-{node}", "greedy", **{"nvidia.com/gpu": "1", "cpu": "30"}))
        running(cluster, f"one-{node}", "greedy")
    cluster.create(neighbour)
    running(cluster, "neighbour", "modest")
    cluster.kubectl("delete", "itn", "greedy", "modest")
    cluster.kubectl("wait", "--for=delete", "namespace/greedy", "namespace/modest", "--timeout=60s")


def refusal(cluster: Cluster, manifest: dict[str, Any]) -> str:
    """Ask what the API server has against an object; nothing, if it would take it."""
    try:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(manifest))
    except LocalClusterError as error:
        return str(error)
    return ""


def asking(name: str, namespace: str, **limits: str) -> dict[str, Any]:
    """Build a pod that asks for these."""
    asks = pod(name, namespace)
    asks["spec"]["containers"][0]["resources"] = {"limits": limits}
    return asks


def test_an_exclusive_reservation_has_its_nodes_to_itself_and_gives_them_back(cluster: Cluster) -> None:
    key, taint = "reservation.gpu-tenancy.node-restriction.kubernetes.io/solo-a", "gpu-tenancy.dev/reservation"
    cluster.apply(tenant("solo", "solo-a"))
    ready(cluster, "solo")
    alone = reservation("alone", "solo-a", 8, soon(12), 28, exclusivity="Node")
    anna = cluster.control_plane.kubeconfig("anna", ["solo-admins"])
    cluster.apply(alone, kubeconfig=anna)
    cluster.until("gres", "alone", "Ready", "True", "solo-a")

    (name,) = eventually(lambda: cluster.get("gres", "alone", "solo-a")["status"].get("nodes"))

    def effects() -> list[str]:
        taints = cluster.get("node", name)["spec"]["taints"]
        return [one["effect"] for one in taints if (one["key"], one.get("value")) == (taint, "solo-a")]

    eventually(lambda: effects() == ["NoSchedule"])
    assert cluster.get("node", name)["metadata"]["labels"][key] == "alone"
    cluster.until("gres", "alone", "Active", "True", "solo-a")
    eventually(lambda: effects() == ["NoExecute"])
    cluster.create(pod("mine", "solo-a", gpus=8, **{"gpu-tenancy.dev/reservation": "alone"}))
    assert running(cluster, "mine", "solo-a")["spec"]["nodeName"] == name
    eventually(lambda: effects() == [])
    assert key not in cluster.get("node", name)["metadata"]["labels"]
    eventually(lambda: cluster.get("gres", "alone", "solo-a")["status"]["nodes"] == [])


def test_a_reservation_opens_on_time_resumes_its_job_and_leaves_by_its_end(cluster: Cluster) -> None:
    cluster.apply(tenant("rent", "rent-a"))
    ready(cluster, "rent")
    anna = cluster.control_plane.kubeconfig("anna", ["rent-admins"])
    start = soon(12)
    end = start + timedelta(seconds=28)
    cluster.apply(reservation("night", "rent-a", 8, start, 28), kubeconfig=anna)
    ready_condition = cluster.until("gres", "night", "Ready", "True", "rent-a")
    assert ready_condition["reason"] == "Scheduled"
    cluster.apply(waiting_job("train", "rent-a", "night", 4), kubeconfig=anna)
    assert hard(cluster, "rent-a", "gpu-b200-reserved") == "0"

    eventually(lambda: hard(cluster, "rent-a", "gpu-b200-reserved") == "8", every=0.02)
    assert datetime.now(UTC) >= start, "not early"
    cluster.until("gres", "night", "Active", "True", "rent-a")
    eventually(lambda: cluster.get("job", "train", "rent-a")["spec"]["suspend"] is False)
    selector = "gpu-tenancy.dev/reservation=night"
    eventually(lambda: [p for p in cluster.list("pods", "rent-a", selector) if p["status"]["phase"] == "Running"])
    assert datetime.now(UTC) < end

    eventually(lambda: cluster.get("job", "train", "rent-a")["spec"]["suspend"] is True)
    assert datetime.now(UTC) < end
    eventually(lambda: hard(cluster, "rent-a", "gpu-b200-reserved") == "0")
    eventually(lambda: not cluster.list("pods", "rent-a", selector))
    assert datetime.now(UTC) <= end + timedelta(seconds=2)
    completed = cluster.until("gres", "night", "Active", "False", "rent-a")
    assert completed["reason"] == "Ended"


def test_what_does_not_fit_is_refused_with_the_earliest_fit(cluster: Cluster) -> None:
    cluster.apply(
        tenant("big", "big-a", gpus=[{"pool": "b200", "reservable": 32}]),
        tenant("small", "small-a", gpus=[{"pool": "b200", "reservable": 32}]),
    )
    ready(cluster, "big")
    ready(cluster, "small")
    # Other tests' tenants hold guarantees: of what they leave, two cannot have more than half each.
    status = eventually(lambda: (s := cluster.get("pool", "b200")["status"]) and s["reserved"] == 0 and s)
    gpus = status["free"] // 2 + 1
    start = soon(600)
    cluster.apply(reservation("all", "big-a", gpus, start, 600))
    cluster.until("gres", "all", "Ready", "True", "big-a")

    cluster.apply(reservation("more", "small-a", gpus, start, 600))
    stalled = cluster.until("gres", "more", "Stalled", "True", "small-a")

    assert "big" not in stalled["message"]
    fits = text(start + timedelta(seconds=600))
    assert fits in stalled["message"]
    offers = cluster.get("gres", "more", "small-a")["status"]["offers"]
    assert offers[0]["start"] == fits
    cluster.kubectl("delete", "itn", "big", "small")


def test_deleting_a_reservation_frees_its_gpus(cluster: Cluster) -> None:
    cluster.apply(tenant("short", "short-a"))
    ready(cluster, "short")
    cluster.apply(reservation("now", "short-a", 8, soon(1), 300))
    cluster.until("gres", "now", "Active", "True", "short-a")
    assert hard(cluster, "short-a", "gpu-b200-reserved") == "8"
    cluster.create(pod("p", "short-a", gpus=8, **{"gpu-tenancy.dev/reservation": "now"}))
    running(cluster, "p", "short-a")

    cluster.kubectl("delete", "gres", "now", "-n", "short-a")

    eventually(lambda: hard(cluster, "short-a", "gpu-b200-reserved") == "0")
    eventually(lambda: cluster.get("pod", "p", "short-a") is None)


def test_an_operator_that_was_away_over_a_start_and_an_end_comes_right(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.apply(tenant("away", "away-a"))
    ready(cluster, "away")
    cluster.apply(reservation("missed", "away-a", 4, soon(4), 6), reservation("running", "away-a", 4, soon(4), 300))
    for name in ("missed", "running"):
        cluster.until("gres", name, "Ready", "True", "away-a")

    operator.kill()
    time.sleep(12)
    operator.start()

    eventually(lambda: hard(cluster, "away-a", "gpu-b200-reserved") == "4")
    # What is so is told after what enforces it.
    eventually(lambda: cluster.until("gres", "missed", "Ready", "True", "away-a")["reason"] == "Completed")
    cluster.until("gres", "running", "Active", "True", "away-a")
    cluster.kubectl("delete", "gres", "--all", "-n", "away-a")


@pytest.mark.usefixtures("counted")
def test_a_second_run_with_nothing_changed_writes_nothing(cluster: Cluster, operator: OperatorProcess) -> None:
    eventually(operator.still)
    versions = _versions(cluster)

    assert operator.written_again() == {}
    assert _versions(cluster) == versions


def _versions(cluster: Cluster) -> dict[str, str]:
    return cluster.versions("namespaces", *CHILDREN, "priorityclasses", "itn", "pool", "reg", "gres")


def test_the_api_server_may_restart(cluster: Cluster, operator: OperatorProcess) -> None:
    pid = operator.pid

    cluster.control_plane.restart_api_server()
    cluster.apply(tenant("after", "after-a"))

    ready(cluster, "after")
    assert operator.running
    assert operator.pid == pid


def test_metrics_say_what_stands(operator: OperatorProcess) -> None:
    # Whoever loses the API server may lose the lease, and what it says of the cluster with it.
    eventually(lambda: operator.metric("gpu_tenancy_lease_held") == 1)
    eventually(lambda: operator.metric("gpu_tenancy_pool_gpus", pool="b200", state="usable") == 32)
    eventually(lambda: operator.metric("gpu_tenancy_tenants") > 3)
    eventually(lambda: json.loads(operator.get("/readyz"))["ready"] is True)
    assert json.loads(operator.get("/healthz"))["alive"] is True
