"""A real Kubernetes control plane on this machine, with simulated GPU nodes: for the demo, the tests and trying out."""

from __future__ import annotations

from gpu_tenancy.localcluster.controlplane import ControlPlane
from gpu_tenancy.localcluster.errors import LocalClusterError

__all__ = ["ControlPlane", "LocalClusterError"]
