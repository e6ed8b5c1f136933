"""Finding the programs of the control plane on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from gpu_tenancy.localcluster.errors import LocalClusterError
from gpu_tenancy.localcluster.versions import BINARIES, KUBERNETES, KUBERNETES_BINARIES, go_platform


def cache_dir(name: str, kubernetes: str) -> Path:
    """Name the folder in the user's cache that holds a program."""
    system, architecture = go_platform()
    root = Path(platformdirs.user_cache_dir("gpu-tenancy")) / "control-plane"
    if name in KUBERNETES_BINARIES:
        return root / f"kubernetes-{KUBERNETES[kubernetes]}-{system}-{architecture}"
    return root / f"tools-{system}-{architecture}"


def locate(kubernetes: str) -> dict[str, Path]:
    """Find every program."""
    found = {}
    for name in BINARIES:
        path = cache_dir(name, kubernetes) / name
        if not os.access(path, os.X_OK):
            raise LocalClusterError(f"{name} is not in {path.parent}")
        found[name] = path
    return found
