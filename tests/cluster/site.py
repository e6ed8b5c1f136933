"""A site in one region to rent out in tests: its nodes, pools and tenants, and what these ask for."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cluster.operating import NAMESPACE, Cluster, eventually
from gpu_tenancy.localcluster import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.operating import OperatorProcess

SYSTEM = {"default", "kube-system", "kube-public", "kube-node-lease", NAMESPACE}
API = "gpu-tenancy.dev/v1alpha1"
GPU = "requests.nvidia.com/gpu"
B200, RTX_PRO = "NVIDIA-B200", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"
QUICK = {"minimumDuration": "1s", "gracePeriod": "4s", "noticeBeforeEnd": "8s"}
PATIENCE = "180s"


@contextmanager
def a_site(
    premises: Cluster, operator: OperatorProcess, *objects: dict[str, Any], **machines: int
) -> Iterator[Cluster]:
    """Let a control plane have so many simulated nodes of each model, and these objects, and nothing afterwards."""
    for model, count in machines.items():
        asyncio.run(nodes.add(premises.control_plane, model=model.replace("_", "-"), count=count, region="eu-de"))
    premises.apply(region("eu-de", "DE", ["DE", "EU", "EEA"]), *objects)
    yield premises
    clear(premises, operator)


def clear(premises: Cluster, operator: OperatorProcess) -> None:
    """Delete what a module may have left, tenants first; the operator lets them go."""
    if not operator.running:  # as a test that failed may leave it
        operator.start()
    premises.kubectl("delete", "itn", "--all", f"--timeout={PATIENCE}")
    namespaces = {one["metadata"]["name"] for one in premises.list("namespaces")} - SYSTEM
    for kind, names in (
        ("namespace", sorted(namespaces)), ("pool", ["--all"]), ("reg", ["--all"]), ("pv", ["--all"]), ("node", ["--all"]),
        ("storageclass", ["--all"]), ("deviceclass", ["--all"]),
    ):  # fmt: skip
        if names:
            premises.kubectl("delete", kind, *names, "--ignore-not-found", f"--timeout={PATIENCE}")


def region(name: str, country: str, jurisdictions: list[str]) -> dict[str, Any]:
    selector = {"matchLabels": {"topology.kubernetes.io/region": name}}
    spec = {"country": country, "jurisdictions": jurisdictions, "nodeSelector": selector}
    return {"apiVersion": API, "kind": "Region", "metadata": {"name": name}, "spec": spec}


def pool(name: str, model: str, **more: Any) -> dict[str, Any]:
    spec = {
        "region": "eu-de",
        "model": model,
        "nodeSelector": {"matchLabels": {"nvidia.com/gpu.product": model}},
        "gpusPerNode": 8,
        "reservations": QUICK,
    }
    return {"apiVersion": API, "kind": "GpuPool", "metadata": {"name": name}, "spec": spec | more}


def tenant(name: str, *namespaces: str, **more: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "owners": [{"kind": "Group", "name": f"{name}-admins", "role": "Owner"}],
        "residency": {"jurisdictions": ["DE"]},
        "namespaces": [{"name": namespace, "defaultPool": "b200"} for namespace in namespaces],
        "gpus": [{"pool": "b200", "guaranteed": 2, "spot": 8, "reservable": 16}],
        "deletionPolicy": "Delete",
    }
    return {"apiVersion": API, "kind": "IndustrialTenant", "metadata": {"name": name}, "spec": spec | more}


def renting(name: str, pool: str = "b200", *, contract: dict[str, str] | None = None, **grant: Any) -> dict[str, Any]:
    """Build a tenant with one namespace, of its own name, whose GPU pods are in one pool."""
    more = {} if contract is None else {"contract": contract}
    grants = [{"pool": pool, "reservable": 16, **grant}]
    return tenant(name, namespaces=[{"name": name, "defaultPool": pool}], gpus=grants, **more)


def pod_spec(gpus: int = 0, grace: int = 1) -> dict[str, Any]:
    """Build what Pod Security lets run, and what ends within so many seconds."""
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container: dict[str, Any] = {"name": "main", "image": "registry.example/app:1", "securityContext": security}
    if gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
    return {"containers": [container], "terminationGracePeriodSeconds": grace}


def pod(name: str, namespace: str, gpus: int = 0, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(gpus)}


def waiting_job(name: str, namespace: str, of: str, gpus: int) -> dict[str, Any]:
    """Build a Job that waits for a reservation."""
    template = {
        "metadata": {"labels": {"gpu-tenancy.dev/reservation": of}},
        "spec": pod_spec(gpus) | {"restartPolicy": "Never"},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": True, "template": template},
    }


def reservation(
    name: str, namespace: str, gpus: int, start: datetime | str, seconds: int, **more: Any
) -> dict[str, Any]:
    window = {"start": start if isinstance(start, str) else text(start), "duration": f"{seconds}s"}
    spec = {"pool": "b200", "gpus": gpus, "window": window}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API, "kind": "GpuReservation", "metadata": metadata, "spec": spec | more}


def soon(seconds: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


def text(instant: datetime) -> str:
    """Write an instant as the API does."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def hard(cluster: Cluster, namespace: str, quota: str) -> str | None:
    """Say how many GPUs the API server lets a quota have."""
    return _counted(cluster, namespace, quota, "hard")


def used(cluster: Cluster, namespace: str, quota: str) -> str | None:
    """Say how many GPUs of a quota the API server counts as used: those of a pod that is gone for a moment more."""
    return _counted(cluster, namespace, quota, "used")


def _counted(cluster: Cluster, namespace: str, quota: str, what: str) -> str | None:
    found = cluster.get("resourcequota", quota, namespace)
    return None if found is None else found.get("status", {}).get(what, {}).get(GPU)


def running(cluster: Cluster, name: str, namespace: str) -> dict[str, Any]:
    """Wait until a pod runs."""

    def look() -> dict[str, Any] | None:
        found = cluster.get("pod", name, namespace)
        return found if found is not None and found.get("status", {}).get("phase") == "Running" else None

    return eventually(look, lambda: f"pod {cluster.get('pod', name, namespace)}")


def ready(cluster: Cluster, name: str) -> None:
    """Wait until a tenant is ready."""
    cluster.until("itn", name, "Ready", "True")
