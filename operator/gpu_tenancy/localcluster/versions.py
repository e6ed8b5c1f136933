"""Which versions the control plane is made of. The Go modules under `modules/` pin the same ones."""

from __future__ import annotations

import platform

KUBERNETES = {"1.34": "1.34.4", "1.35": "1.35.4", "1.36": "1.36.3"}
DEFAULT_KUBERNETES = "1.36"
TOOLS = {"etcd": "3.7.3", "kwok": "0.8.0", "helm": "4.3.1"}

KUBERNETES_BINARIES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
BINARIES = (*KUBERNETES_BINARIES, *TOOLS)


def go_platform() -> tuple[str, str]:
    """Name this machine's operating system and architecture as Go and the release files do."""
    machine = platform.machine().lower()
    return platform.system().lower(), {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
