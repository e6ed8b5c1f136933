"""What is said of a tenant's controls and of where its things are, against a real control plane."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.operating import Cluster, OperatorProcess, eventually
from cluster.site import a_site, region
from cluster.test_leaving import command, deployment, running, tenant
from gpu_tenancy.localcluster import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION_LABEL = "topology.kubernetes.io/region"


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    with a_site(
        premises, operator, region("eu-de", "DE", ["DE", "EU"]), region("eu-ch2", "CH", ["CH"]), cpu=2
    ) as cluster:
        asyncio.run(nodes.add(cluster.control_plane, model="cpu", count=1, region="eu-ch2"))
        yield cluster


@pytest.fixture(scope="module", autouse=True)
def watched(cluster: Cluster, operator: OperatorProcess) -> None:
    """A tenant with a pod and a volume where they may be."""
    cluster.apply(tenant("watched", gpus=[], namespaces=[{"name": "watched"}]))
    cluster.until("itn", "watched", "Ready", "True")
    cluster.apply(deployment("watched", "app", 1), volume("good", "eu-de"), claim("good"))
    running(cluster, "watched", 1)
    eventually(lambda: cluster.get("pv", "good")["status"]["phase"] == "Bound")
    eventually(lambda: control(cluster, "residency") == "Verified", lambda: str(cluster.get("itn", "watched")))
    eventually(lambda: operator.metric("gpu_tenancy_residency_objects", tenant="watched", state="inside") == 2)


def volume(name: str, place: str) -> dict[str, Any]:
    expression = {"key": REGION_LABEL, "operator": "In", "values": [place]}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "by-hand",
        "csi": {"driver": "disk.example", "volumeHandle": name},
        "claimRef": {"namespace": "watched", "name": name},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def claim(name: str) -> dict[str, Any]:
    resources = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand", "resources": resources}
    metadata = {"name": name, "namespace": "watched"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def control(cluster: Cluster, name: str) -> str | None:
    entries = {one["id"]: one["result"] for one in cluster.get("itn", "watched")["status"].get("controls", [])}
    return entries.get(name)


def violation(cluster: Cluster) -> str | None:
    conditions = cluster.get("itn", "watched")["status"]["conditions"]
    return next((one["message"] for one in conditions if one["type"] == "ResidencyViolated"), None)


def healed(cluster: Cluster) -> bool:
    return violation(cluster) is None and control(cluster, "residency") == "Verified"


def test_a_pod_whose_node_moves_out_of_the_region_is_told_and_forgotten_when_it_is_back(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    (pod,) = cluster.list("pods", "watched")
    node = pod["spec"]["nodeName"]
    cluster.kubectl("label", "node", node, f"{REGION_LABEL}=eu-ch2", "--overwrite")

    message = eventually(lambda: violation(cluster))
    assert f"Pod watched/{pod['metadata']['name']} on node {node} in region eu-ch2" in message
    assert control(cluster, "residency") == "Violated"
    assert operator.metric("gpu_tenancy_residency_objects", tenant="watched", kind="Pod", state="outside") == 1
    eventually(lambda: [one for one in cluster.list("events", "default") if one["reason"] == "RegionViolation"])

    cluster.kubectl("label", "node", node, f"{REGION_LABEL}=eu-de", "--overwrite")
    eventually(lambda: healed(cluster))
    eventually(lambda: not operator.metric("gpu_tenancy_residency_objects", tenant="watched", state="outside"))


def test_a_volume_outside_is_told_until_it_is_gone(cluster: Cluster) -> None:
    cluster.apply(volume("bad", "eu-ch2"), claim("bad"))
    message = eventually(lambda: violation(cluster))
    assert "PersistentVolume bad in region eu-ch2" in message
    # What the claim leaves behind is still there.
    cluster.kubectl("delete", "pvc", "bad", "-n", "watched")
    eventually(lambda: cluster.get("pv", "bad")["status"]["phase"] == "Released")
    time.sleep(5)
    assert violation(cluster)
    cluster.kubectl("delete", "pv", "bad")
    eventually(lambda: healed(cluster))


def test_a_region_that_loses_a_jurisdiction_is_noticed(cluster: Cluster) -> None:
    cluster.apply(region("eu-nl", "NL", ["NL", "EU"]), region("eu-de", "DE", ["DE"]))
    assert "in region eu-de" in eventually(lambda: violation(cluster))
    cluster.apply(region("eu-de", "DE", ["DE", "EU"]))
    eventually(lambda: healed(cluster))


def test_a_policy_that_is_not_bound_is_no_control(cluster: Cluster) -> None:
    binding = cluster.list("validatingadmissionpolicybinding", selector="app.kubernetes.io/name=gpu-tenancy")[0]
    name = binding["metadata"]["name"]
    cluster.kubectl("delete", "validatingadmissionpolicybinding", name)
    eventually(lambda: control(cluster, "admission-policies") == "Violated")
    binding["metadata"] = {"name": name, "labels": binding["metadata"]["labels"]}
    cluster.kubectl("create", "-f", "-", input=json.dumps(binding))
    eventually(lambda: control(cluster, "admission-policies") == "Verified")


@pytest.mark.usefixtures("counted")
def test_audits_and_a_restart_with_nothing_changed_write_nothing(cluster: Cluster, operator: OperatorProcess) -> None:
    eventually(lambda: healed(cluster))
    eventually(operator.still)
    before = cluster.get("itn", "watched")["metadata"]["resourceVersion"]
    operator.stop()
    operator.start()
    eventually(lambda: operator.metric("gpu_tenancy_residency_audit_timestamp_seconds") > 0)
    began = operator.metric("gpu_tenancy_residency_audit_timestamp_seconds")
    eventually(lambda: operator.metric("gpu_tenancy_residency_audit_timestamp_seconds") > began)
    assert operator.written() == {}
    assert cluster.get("itn", "watched")["metadata"]["resourceVersion"] == before


def test_the_evidence_is_the_same_until_something_changes(cluster: Cluster, operator: OperatorProcess) -> None:
    eventually(lambda: healed(cluster))
    first = command(cluster, "evidence", "watched")
    assert first.returncode == 0, first.stderr
    assert command(cluster, "evidence", "watched").stdout == first.stdout
    found = json.loads(command(cluster, "evidence", "watched", "-o", "json").stdout)
    assert found == yaml.safe_load(first.stdout)
    assert [one["id"] for one in found["controls"] if not one["asVerified"]] == []
    assert found["whereabouts"]["regions"] == {"Pod": {"eu-de": 1}, "PersistentVolume": {"eu-de": 1}}

    patch = json.dumps({"spec": {"egress": [{}]}})
    policy = "gpu-tenancy-default-deny"
    with operator.away():
        cluster.kubectl("patch", "networkpolicy", policy, "-n", "watched", "--type=merge", "-p", patch)
        changed = json.loads(command(cluster, "evidence", "watched", "-o", "json").stdout)
        assert [one["id"] for one in changed["controls"] if not one["asVerified"]] == ["network-isolation"]
    eventually(lambda: command(cluster, "evidence", "watched").stdout == first.stdout, every=1)


def test_evidence_that_cannot_be_had_says_why(cluster: Cluster) -> None:
    nobody = command(cluster, "evidence", "nobody")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr == "Error: there is no IndustrialTenant nobody: kubectl get itn lists those that exist\n"
    eve = command(cluster, "evidence", "watched", kubeconfig=cluster.control_plane.kubeconfig("eve", []))
    assert (eve.returncode, eve.stdout) == (1, "")
    assert "use a kubeconfig or --context that may" in eve.stderr


def test_where_a_snapshot_lies_is_unknown(cluster: Cluster, operator: OperatorProcess) -> None:
    cluster.kubectl("apply", "-f", "-", input=json.dumps(SNAPSHOTS))
    cluster.kubectl("wait", "--for=condition=Established", "crd/volumesnapshots.snapshot.storage.k8s.io")
    spec = {"source": {"persistentVolumeClaimName": "good"}}
    metadata = {"name": "s", "namespace": "watched"}
    snapshot = {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": metadata,
        "spec": spec,
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(snapshot))

    eventually(lambda: control(cluster, "residency") == "Unknown")
    assert violation(cluster) is None
    assert operator.metric("gpu_tenancy_residency_objects", kind="VolumeSnapshot", state="unknown") == 1
    cluster.kubectl("delete", "volumesnapshot", "s", "-n", "watched")
    eventually(lambda: healed(cluster))


SNAPSHOTS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "volumesnapshots.snapshot.storage.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
    },
    "spec": {
        "group": "snapshot.storage.k8s.io",
        "scope": "Namespaced",
        "names": {"plural": "volumesnapshots", "singular": "volumesnapshot", "kind": "VolumeSnapshot"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
