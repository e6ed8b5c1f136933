"""A control plane with the charts, a region and two pools of simulated nodes; and the tenants that are to live there."""

from __future__ import annotations

import asyncio
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.operating import Cluster, OperatorProcess, eventually, install_charts
from gpu_tenancy.localcluster import ControlPlane, nodes
from gpu_tenancy.runtime.settings import Settings
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.raw import Manifest

API = "gpu-tenancy.dev/v1alpha1"
REGION = "eu-de"
POOLS = {
    "b200": ("dgx-b200", "NVIDIA-B200"),
    "rtx-pro": ("rtx-pro", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition"),
}
NAMESPACES_PER_TENANT = 3
GPUS_PER_NODE = 8
_LONG_LEASE = {"GPU_TENANCY_LEASE_DURATION": "120", "GPU_TENANCY_LEASE_RENEW_DEADLINE": "100"}
"""It is not to lose its Lease while it is frozen, however slow the machine."""
CONCURRENCY = Settings().max_concurrent_writes
"""How many requests the operator makes at once, and so does the floor."""


@dataclass(frozen=True)
class Site:
    """A control plane that runs, and its operator, which may.

    Attributes:
        account: the kubeconfig of the operator's account.
    """

    control_plane: ControlPlane
    account: Path
    operator: OperatorProcess
    _peaks: list[float] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        """The control plane to talk to in objects."""
        return Cluster(self.control_plane)

    @property
    def admin(self) -> Path:
        """The administrator's kubeconfig."""
        return self.control_plane.kubeconfig_for("admin")

    def peak_mib(self) -> float:
        """Give the peak of resident memory of all operators until now."""
        status = Path(f"/proc/{self.operator.pid}/status").read_text()
        return max([int(status.partition("VmHWM:")[2].split()[0]) / 1024, *self._peaks])

    def cpu_seconds(self) -> float:
        """Say how long the control plane's processes and the operator have computed until now."""
        state = self.control_plane.state
        assert state is not None, "the control plane has ended"
        pids = [component.process.pid for component in state.components.values()]
        return sum(map(_cpu_seconds, [*pids, self.operator.pid] if self.operator.running else pids))

    def stop_operator(self) -> None:
        """Stop the operator, its peak noted."""
        self._peaks.append(self.peak_mib())
        self.operator.stop()


@contextmanager
def fresh_site(folder: Path, tenants: int) -> Iterator[Site]:
    """Run a new control plane with an operator that has made the pools ready, for so many tenants."""
    with ControlPlane(folder / "cluster") as control_plane:
        install_charts(control_plane, ROOT)
        cluster = Cluster(control_plane)
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        count = math.ceil(tenants * NAMESPACES_PER_TENANT / len(POOLS) / GPUS_PER_NODE)
        for machine, _ in POOLS.values():
            asyncio.run(nodes.add(control_plane, model=machine, count=count, region=REGION))
        cluster.apply(_region(), *(_pool(name, product) for name, (_, product) in POOLS.items()))
        account = control_plane.kubeconfig_for("operator")
        with OperatorProcess(account, folder / "operator.log", **_LONG_LEASE) as operator:
            for name in POOLS:
                cluster.until("pool", name, "Ready", "True")
                eventually(lambda name=name: cluster.get("pool", name)["status"]["usable"] == count * GPUS_PER_NODE)
            yield Site(control_plane, account, operator)


def add_nodes(site: Site, gpus: int) -> None:
    """Give each pool so many GPUs more."""
    for name, (machine, _) in POOLS.items():
        usable = site.cluster.get("pool", name)["status"]["usable"]
        count = math.ceil(gpus / GPUS_PER_NODE)
        asyncio.run(nodes.add(site.control_plane, model=machine, count=count, region=REGION))
        more = usable + count * GPUS_PER_NODE
        eventually(lambda name=name, more=more: site.cluster.get("pool", name)["status"]["usable"] == more)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tenants(number: int) -> list[Manifest]:
    """Describe tenants with everything that a namespace can have: GPUs of all tiers, people of all roles."""
    return [_tenant(f"tenant-{index:04}", list(POOLS)[index % len(POOLS)]) for index in range(number)]


def _tenant(name: str, pool: str) -> Manifest:
    namespaces = [f"{name}-{suffix}" for suffix in ("train", "serve", "data")[:NAMESPACES_PER_TENANT]]
    grant = {
        "pool": pool,
        "guaranteed": len(namespaces),
        "spot": 4 * len(namespaces),
        "reservable": 8,
        "namespaces": [{"name": namespace, "guaranteed": 1, "spot": 4} for namespace in namespaces],
    }
    return custom(
        "IndustrialTenant",
        name,
        organization={"legalName": f"{name} GmbH"},
        owners=[{"kind": "Group", "name": f"{name}-{role}", "role": role} for role in ("Owner", "Editor", "Viewer")],
        residency={"jurisdictions": ["DE"]},
        namespaces=[{"name": namespace, "defaultPool": pool} for namespace in namespaces],
        gpus=[grant],
        network={"allowFromNamespaces": [{"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}]},
    )


def _region() -> Manifest:
    selector = {"matchLabels": {"topology.kubernetes.io/region": REGION}}
    return custom("Region", REGION, country="DE", jurisdictions=["DE", "EU"], nodeSelector=selector)


def _pool(name: str, product: str) -> Manifest:
    selector = {"matchLabels": {"nvidia.com/gpu.product": product}}
    per_gpu = {"cpu": "26", "memory": "180Gi"}
    offer = {"nodeSelector": selector, "gpusPerNode": GPUS_PER_NODE, "perGpu": per_gpu}
    return custom("GpuPool", name, region=REGION, model=product, **offer)


def custom(kind: str, name: str, namespace: str = "", **spec: Any) -> Manifest:
    """Describe an object of one of our kinds."""
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}
