"""A real API server accepts every example, with the charts installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.site import clear
from gpu_tenancy.localcluster import LocalClusterError
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.operating import Cluster, OperatorProcess
    from gpu_tenancy.localcluster import ControlPlane

FOLDERS = ("industrial-ai-cloud", "reservations")
EXAMPLES = [path for folder in FOLDERS for path in sorted((ROOT / "examples" / folder).glob("*.yaml"))]


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[ControlPlane]:
    """A control plane with the charts, and the namespaces that tenants would get, warning as those would refuse."""
    premises.apply(*(namespace(name) for name in sorted(namespaces())))
    yield premises.control_plane
    clear(premises, operator)


def namespace(name: str) -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/warn": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def namespaces() -> set[str]:
    documents = (document for path in EXAMPLES for document in yaml.safe_load_all(path.read_text()))
    return {document["metadata"]["namespace"] for document in documents if "namespace" in document["metadata"]}


def try_out(cluster: ControlPlane, manifest: str) -> str:
    """Send everything through validation and admission and store nothing; a warning is an error."""
    strictly = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    return cluster.kubectl("create", *strictly, "--output=name", "--filename=-", input=manifest)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_api_server_accepts_every_object(cluster: ControlPlane, path: Path) -> None:
    created = try_out(cluster, path.read_text()).splitlines()
    assert len(created) == len(list(yaml.safe_load_all(path.read_text())))


def test_the_same_trial_refuses_an_unknown_field(cluster: ControlPlane) -> None:
    [region, *_] = yaml.safe_load_all(EXAMPLES[0].read_text())
    region["spec"]["continent"] = "Europe"
    with pytest.raises(LocalClusterError, match="continent"):
        try_out(cluster, yaml.safe_dump(region))


def test_the_same_trial_refuses_pods_that_pod_security_would(cluster: ControlPlane) -> None:
    [job] = [path for path in EXAMPLES if path.name == "06-spot-job.yaml"]
    manifest = yaml.safe_load(job.read_text())
    manifest["spec"]["template"]["spec"]["hostNetwork"] = True
    with pytest.raises(LocalClusterError, match="host namespaces"):
        try_out(cluster, yaml.safe_dump(manifest))
