"""A real API server accepts every example, with the charts installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from gpu_tenancy.localcluster import ControlPlane, LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDERS = ("industrial-ai-cloud", "reservations")
EXAMPLES = [path for folder in FOLDERS for path in sorted((ROOT / "examples" / folder).glob("*.yaml"))]
SYSTEM_NAMESPACE = "gpu-tenancy-system"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the charts, and the namespaces that tenants would get, warning as those would refuse."""
    with ControlPlane(tmp_path_factory.mktemp("examples")) as running:
        install = ("install", "--namespace", SYSTEM_NAMESPACE, "--create-namespace")
        running.helm(*install, "gpu-tenancy-crds", str(ROOT / "charts" / "gpu-tenancy-crds"))
        running.helm(*install, "gpu-tenancy", str(ROOT / "charts" / "gpu-tenancy"), "--set", "operator.enabled=false")
        running.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
        for namespace in sorted(namespaces()):
            running.kubectl("create", "namespace", namespace)
            running.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")
        yield running


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
