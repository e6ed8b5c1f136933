"""The machines that can be simulated, as their Node objects look on a real cluster.

Labels are those of GPU Feature Discovery and the GPU Operator, resources those of the NVIDIA device plugin, MIG layouts
those that the GPU Operator ships. The DMI product name (`nvidia.com/gpu.machine`) is a guess: makers write what they like.
"""

from __future__ import annotations

import ipaddress
import uuid
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

DRIVER = "580.95.05"
CUDA = "13.0"
NVL72_TRAYS = 18
CLIQUE_ID = 32766
RACKS = uuid.UUID("5c1b7a52-6f0e-4d3a-9a35-6d1f0f6c9e72")
NODE_NETWORK = ipaddress.ip_network("10.128.0.0/10")
MODEL_LABEL = "simulation.gpu-tenancy.dev/model"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU model: what NVML says of it, and how many instances of each MIG profile one GPU can be cut into."""

    product: str
    memory: int
    """MiB."""
    compute: tuple[int, int]
    mig: Mapping[str, int]
    balanced: Mapping[str, int]
    """The mix of profiles in the GPU Operator's layout `all-balanced`."""

    def layout(self, name: str) -> Mapping[str, int]:
        """Look up what one GPU is cut into by a layout of the GPU Operator.

        Raises:
            ValueError: The GPU has no such layout; the message names those that it has.
        """
        if name == "all-balanced":
            return self.balanced
        profile = name.removeprefix("all-")
        if not name.startswith("all-") or profile not in self.mig:
            known = ", ".join(["all-balanced", *(f"all-{profile}" for profile in self.mig)])
            raise ValueError(f"{self.product} has no MIG layout {name!r}; choose from {known}")
        return {profile: self.mig[profile]}


@dataclass(frozen=True, slots=True)
class Machine:
    """A server model."""

    name: str
    vendor_name: str
    cpus: int
    memory: int
    """GiB."""
    architecture: str = "amd64"
    gpu: Gpu | None = None
    gpus: int = 0
    trays_per_clique: int = 0
    """How many neighbouring nodes share an NVLink domain; 0 if the domain is the node or there is none."""


_B200 = Gpu(
    "NVIDIA-B200",
    183359,
    (10, 0),
    {"1g.23gb": 7, "1g.23gb.me": 1, "1g.45gb": 4, "2g.45gb": 3, "3g.90gb": 2, "4g.90gb": 1, "7g.180gb": 1},
    {"1g.23gb": 2, "2g.45gb": 1, "3g.90gb": 1},
)
_GB200 = Gpu(
    "NVIDIA-GB200",
    189471,
    (10, 0),
    {"1g.23gb": 7, "1g.23gb.me": 1, "1g.47gb": 4, "2g.47gb": 3, "3g.93gb": 2, "4g.93gb": 1, "7g.186gb": 1},
    {"1g.23gb": 2, "2g.47gb": 1, "3g.93gb": 1},
)
_RTX_PRO_6000 = Gpu(
    "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition",
    97887,
    (12, 0),
    {
        "1g.24gb": 4,
        "1g.24gb.gfx": 4,
        "1g.24gb.me.all": 1,
        "1g.24gb-me": 4,
        "2g.48gb": 2,
        "2g.48gb.gfx": 2,
        "2g.48gb.me.all": 1,
        "2g.48gb-me": 2,
        "4g.96gb": 1,
        "4g.96gb.gfx": 1,
    },
    {"1g.24gb": 2, "2g.48gb": 1},
)

MACHINES = {
    machine.name: machine
    for machine in (
        Machine("dgx-b200", "NVIDIA-DGX-B200", cpus=224, memory=2048, gpu=_B200, gpus=8),
        Machine(
            "dgx-gb200",
            "NVIDIA-DGX-GB200",
            cpus=144,
            memory=960,
            architecture="arm64",
            gpu=_GB200,
            gpus=4,
            trays_per_clique=NVL72_TRAYS,
        ),
        Machine("rtx-pro", "RTX-PRO-Server", cpus=256, memory=1536, gpu=_RTX_PRO_6000, gpus=8),
        Machine("cpu", "CPU-Server", cpus=256, memory=1024),
    )
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where simulated nodes stand and how their GPUs are cut."""

    region: str
    zone: str = ""
    mig: str = ""
    """A MIG layout of the GPU Operator, such as `all-1g.23gb`; empty for whole GPUs."""


def node_name(machine: Machine, region: str, number: int) -> str:
    """Name the machine's nth node in a region, counted from 1."""
    return f"{region}-{machine.name}-{number:04d}"


def node(machine: Machine, place: Place, number: int, kubernetes: str, now: datetime) -> dict[str, Any]:
    """Build the Node object of the machine's nth node in a place, healthy now.

    Raises:
        ValueError: The machine has no such MIG layout.
    """
    name = node_name(machine, place.region, number)
    accelerators = _accelerators(machine, place.mig)
    resources = {"cpu": str(machine.cpus), "memory": f"{machine.memory}Gi", "ephemeral-storage": "28Ti", "pods": "250"}
    reserved = {"cpu": str(machine.cpus - 2), "memory": f"{machine.memory - 8}Gi", "ephemeral-storage": "27Ti"}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "node.kubernetes.io/instance-type": machine.vendor_name,
        "topology.kubernetes.io/region": place.region,
        MODEL_LABEL: machine.name,
    }
    if place.zone:
        labels["topology.kubernetes.io/zone"] = place.zone
    if machine.gpu is not None:
        labels |= _gpu_labels(machine, machine.gpu, place, number)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"providerID": f"simulation://{place.region}/{name}"},
        "status": {
            "capacity": {**resources, **accelerators},
            "allocatable": {**resources, **reserved, **accelerators},
            "addresses": [
                {"type": "InternalIP", "address": _address(name)},
                {"type": "Hostname", "address": name},
            ],
            "conditions": _conditions(now),
            "nodeInfo": {
                "architecture": machine.architecture,
                "bootID": str(uuid.uuid5(RACKS, f"boot/{name}")),
                "containerRuntimeVersion": "containerd://2.1.4",
                "kernelVersion": "6.8.0-85-generic",
                "kubeProxyVersion": "",
                "kubeletVersion": f"v{kubernetes}",
                "machineID": uuid.uuid5(RACKS, f"machine/{name}").hex,
                "operatingSystem": "linux",
                "osImage": "Ubuntu 24.04.3 LTS",
                "systemUUID": str(uuid.uuid5(RACKS, f"system/{name}")),
            },
        },
    }


def _conditions(now: datetime) -> list[dict[str, str]]:
    """Report what a healthy kubelet does."""
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    healthy = {
        "Ready": ("True", "KubeletReady", "kubelet is posting ready status"),
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    }
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": at,
            "lastTransitionTime": at,
        }
        for kind, (status, reason, message) in healthy.items()
    ]


def _accelerators(machine: Machine, mig: str) -> dict[str, str]:
    """List the extended resources as the device plugin does with the MIG strategy `mixed`."""
    if machine.gpu is None:
        if mig:
            raise ValueError(f"{machine.name} has no GPUs, so no MIG layout")
        return {}
    if not mig:
        return {"nvidia.com/gpu": str(machine.gpus)}
    layout = machine.gpu.layout(mig)
    return {f"nvidia.com/mig-{profile}": str(count * machine.gpus) for profile, count in layout.items()}


def _gpu_labels(machine: Machine, gpu: Gpu, place: Place, number: int) -> dict[str, str]:
    driver_major, driver_minor, driver_revision = DRIVER.split(".")
    cuda_major, cuda_minor = CUDA.split(".")
    labels = {
        "feature.node.kubernetes.io/pci-10de.present": "true",
        "nvidia.com/cuda.driver-version.full": DRIVER,
        "nvidia.com/cuda.driver-version.major": driver_major,
        "nvidia.com/cuda.driver-version.minor": driver_minor,
        "nvidia.com/cuda.driver-version.revision": driver_revision,
        "nvidia.com/cuda.runtime-version.full": CUDA,
        "nvidia.com/cuda.runtime-version.major": cuda_major,
        "nvidia.com/cuda.runtime-version.minor": cuda_minor,
        "nvidia.com/gpu.compute.major": str(gpu.compute[0]),
        "nvidia.com/gpu.compute.minor": str(gpu.compute[1]),
        "nvidia.com/gpu.count": str(machine.gpus),
        "nvidia.com/gpu.family": "blackwell",
        "nvidia.com/gpu.machine": machine.vendor_name,
        "nvidia.com/gpu.memory": str(gpu.memory),
        "nvidia.com/gpu.mode": "compute",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": gpu.product,
        "nvidia.com/gpu.replicas": "0" if place.mig else "1",
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/gpu-driver-upgrade-state": "upgrade-done",
        "nvidia.com/mig.capable": "true",
        "nvidia.com/mig.config": place.mig or "all-disabled",
        "nvidia.com/mig.config.state": "success",
        "nvidia.com/mig.strategy": "mixed",
        "nvidia.com/mps.capable": "false",
    }
    if place.mig:
        for profile, count in gpu.layout(place.mig).items():
            prefix = f"nvidia.com/mig-{profile}"
            labels |= {
                f"{prefix}.count": str(count * machine.gpus),
                f"{prefix}.product": f"{gpu.product}-MIG-{profile}",
                f"{prefix}.replicas": "1",
                f"{prefix}.sharing-strategy": "none",
                f"{prefix}.slices.gi": profile.partition("g.")[0],
            }
    if machine.trays_per_clique:
        rack = (number - 1) // machine.trays_per_clique
        labels["nvidia.com/gpu.clique"] = f"{uuid.uuid5(RACKS, f'{place.region}/{machine.name}/{rack}')}.{CLIQUE_ID}"
    return labels


def _address(name: str) -> str:
    """Give every name its own-looking address, the same each time."""
    return str(NODE_NETWORK[zlib.crc32(name.encode()) % NODE_NETWORK.num_addresses])
