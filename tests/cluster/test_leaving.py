"""A tenant leaves: it is shut, exported, emptied and deleted, and comes back elsewhere as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster import site
from cluster.operating import Cluster, eventually
from cluster.site import B200, a_site, pod_spec, pool, region, reservation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.operating import OperatorProcess


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    offer = (region("eu-ch2", "CH", ["CH"]), pool("b200", B200))
    with a_site(premises, operator, *offer, dgx_b200=1, cpu=2) as cluster:
        yield cluster


def tenant(name: str, **more: Any) -> dict[str, Any]:
    grant = {"pool": "b200", "guaranteed": 1, "reservable": 4}
    return site.tenant(name, name, **{"residency": {"jurisdictions": ["EU"]}, "gpus": [grant]} | more)


def workload(kind: str, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    group = {"Deployment": "apps/v1", "Job": "batch/v1"}[kind]
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec() | spec.pop("pod", {})}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": {"template": template, **spec}}


def deployment(namespace: str, name: str, replicas: int) -> dict[str, Any]:
    selector = {"matchLabels": {"app": name}}
    return workload("Deployment", namespace, name, replicas=replicas, selector=selector)


def budget(namespace: str, app: str) -> dict[str, Any]:
    spec = {"minAvailable": "100%", "selector": {"matchLabels": {"app": app}}}
    metadata = {"name": app, "namespace": namespace}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}


def command(cluster: Cluster, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Call `gpu-tenancy` as a user does."""
    chosen = kubeconfig or cluster.control_plane.kubeconfig_for("admin")
    return subprocess.run(
        [sys.executable, "-m", "gpu_tenancy", *arguments, "--kubeconfig", str(chosen)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def exported(cluster: Cluster, *arguments: str) -> str:
    result = command(cluster, "export", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def running(cluster: Cluster, namespace: str, count: int) -> list[str]:
    def look() -> list[str]:
        pods = [one for one in cluster.list("pods", namespace) if one["status"].get("phase") == "Running"]
        return [one["metadata"]["name"] for one in pods] if len(pods) == count else []

    return eventually(look, lambda: cluster.kubectl("get", "pods,job,events", "-n", namespace))


def reason(cluster: Cluster, name: str) -> str:
    condition = cluster.condition("itn", name, "Suspended")
    return "" if condition is None else condition["reason"]


def test_an_exported_tenant_is_the_same_after_it_was_deleted_and_applied_again(cluster: Cluster) -> None:
    moving = tenant("moving", organization={"legalName": "Käfer & Söhne: GmbH", "costCenter": "1e3"})
    moving["metadata"] |= {"labels": {"octal": "0o7", "answer": "no"}, "annotations": {"note": "a: b # c"}}
    # In JSON: other writers of YAML leave strings bare that kubectl takes for numbers.
    cluster.kubectl("apply", "-f", "-", input=json.dumps(moving))
    cluster.until("itn", "moving", "Ready", "True")
    one_day, another = (datetime.now(UTC).date() + timedelta(days=days) for days in (90, 91))
    cluster.apply(
        reservation("a", "moving", 2, f"{one_day}T08:00:00Z", 7200),
        reservation("b", "moving", 2, f"{another}T08:00:00+01:00", 7200),
    )
    for name in ("a", "b"):
        cluster.until("gres", name, "Ready", "True", "moving")
    before = exported(cluster, "moving", "--with-catalogue")

    kinds = [one["kind"] for one in yaml.safe_load_all(before)]
    assert kinds == ["Region", "GpuPool", "IndustrialTenant", "GpuReservation", "GpuReservation"]
    assert exported(cluster, "moving", "--with-catalogue") == before
    listed = json.loads(exported(cluster, "moving", "-o", "json"))
    assert [one["kind"] for one in listed["items"]] == kinds[2:]

    cluster.kubectl("delete", "itn", "moving")
    eventually(lambda: cluster.get("namespace", "moving") is None)
    separator = "\n---\n"
    first = separator.join(one for one in before.split(separator) if "\n  namespace:" not in one)
    cluster.kubectl("apply", "-f", "-", input=first)
    cluster.until("itn", "moving", "Ready", "True")
    cluster.kubectl("apply", "-f", "-", input=before)
    for name in ("a", "b"):
        cluster.until("gres", name, "Ready", "True", "moving")
    assert exported(cluster, "moving", "--with-catalogue") == before


def test_an_export_that_cannot_be_had_says_why(cluster: Cluster) -> None:
    nobody = command(cluster, "export", "nobody")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr == "Error: there is no IndustrialTenant nobody: kubectl get itn lists those that exist\n"

    eve = command(cluster, "export", "nobody", kubeconfig=cluster.control_plane.kubeconfig("eve", []))
    assert (eve.returncode, eve.stdout) == (1, "")
    assert "cannot get resource" in eve.stderr
    assert "use a kubeconfig or --context that may" in eve.stderr


def test_a_drained_tenant_is_emptied_within_its_grace_period(cluster: Cluster) -> None:
    cluster.apply(tenant("leaving"))
    cluster.until("itn", "leaving", "Ready", "True")
    job = workload("Job", "leaving", "batch", parallelism=2, completions=1000, pod={"restartPolicy": "Never"})
    cluster.apply(deployment("leaving", "free", 2), deployment("leaving", "kept", 1), budget("leaving", "kept"), job)
    running(cluster, "leaving", 5)
    eventually(lambda: cluster.get("pdb", "kept", "leaving")["status"].get("expectedPods") == 1)

    cluster.apply(tenant("leaving", suspended=True, suspension={"pods": "Drain", "gracePeriod": "24s"}))
    (kept,) = running(cluster, "leaving", 1)
    assert kept.startswith("kept-")
    assert cluster.get("job", "batch", "leaving")["spec"]["suspend"] is True
    condition = eventually(
        lambda: (c := cluster.condition("itn", "leaving", "Suspended")) and "1 pods are left" in c["message"] and c
    )
    assert condition["reason"] == "Draining"
    assert f"a disruption budget keeps pod leaving/{kept}" in condition["message"]

    eventually(lambda: reason(cluster, "leaving") == "Drained", lambda: str(cluster.get("itn", "leaving")))
    assert not [one for one in cluster.list("pods", "leaving") if one["status"].get("phase") == "Running"]
    assert cluster.get("itn", "leaving")["status"]["drain"]["pods"] == 0
    cluster.until("itn", "leaving", "Ready", "True")


def test_a_cordon_kills_nothing_and_opening_a_tenant_stops_its_drain(cluster: Cluster) -> None:
    cluster.apply(tenant("staying"))
    cluster.until("itn", "staying", "Ready", "True")
    cluster.apply(deployment("staying", "kept", 2), budget("staying", "kept"))
    pods = running(cluster, "staying", 2)
    eventually(lambda: cluster.get("pdb", "kept", "staying")["status"].get("expectedPods") == 2)

    cluster.apply(tenant("staying", suspended=True))
    eventually(lambda: reason(cluster, "staying") == "Cordoned")
    assert running(cluster, "staying", 2) == pods
    cluster.apply(tenant("staying", suspended=True, suspension={"pods": "Drain", "gracePeriod": "8s"}))
    eventually(lambda: reason(cluster, "staying") == "Draining")
    cluster.apply(tenant("staying"))
    eventually(lambda: cluster.condition("itn", "staying", "Suspended") is None)

    with pytest.raises(AssertionError, match="not seen within 12 s"):
        eventually(lambda: sorted(running(cluster, "staying", 2)) != sorted(pods), patience=12, every=1)
    assert "drain" not in cluster.get("itn", "staying")["status"]
