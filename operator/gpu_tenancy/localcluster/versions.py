"""Which programs the control plane is made of, in which versions. The Go modules under `modules/` pin the same ones."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs

KUBERNETES = {"1.34": "1.34.4", "1.35": "1.35.4", "1.36": "1.36.3"}
DEFAULT_KUBERNETES = "1.36"
# Helm adds the commit (v4.3.1+g1a2b3c4). A vendor's build (v1.36.3-eks-1, v1.32.4-dispatcher) is not the release it is named after.
RELEASE = re.compile(r"(?<![\w.+-])v?(\d+\.\d+(?:\.\d+)?)(?:\+g[0-9a-f]+)?(?![\w.+-])")


@dataclass(frozen=True, slots=True)
class Program:
    """A program, the version that is fetched or built, and which versions found on the machine do as well."""

    name: str
    distribution: str
    version: str
    package: str
    """The Go package it is built from."""
    module: str
    """The folder under `modules/` that pins the package."""
    version_command: tuple[str, ...] = ("--version",)
    fits: tuple[str, ...] = ()

    def accepts(self, version: str) -> bool:
        """Tell whether another version will do: one whose leading numbers are among `fits`."""
        return any(f"{version}.".startswith(f"{prefix}.") for prefix in self.fits)

    @property
    def cached(self) -> Path:
        """Where it is kept after it was fetched or built."""
        system, architecture = go_platform()
        return cache_root() / f"{self.distribution}-{self.version}-{system}-{architecture}" / self.name


def programs(kubernetes: str) -> tuple[Program, ...]:
    """List everything that a control plane of a minor version of Kubernetes needs."""
    version = KUBERNETES[kubernetes]

    def kubernetes_program(name: str, version_command: tuple[str, ...] = ("--version",)) -> Program:
        package, module = f"k8s.io/kubernetes/cmd/{name}", f"kubernetes-{kubernetes}"
        return Program(name, "kubernetes", version, package, module, version_command, (kubernetes,))

    return (
        kubernetes_program("kube-apiserver"),
        kubernetes_program("kube-controller-manager"),
        kubernetes_program("kube-scheduler"),
        kubernetes_program("kubectl", ("version", "--client")),
        Program("etcd", "etcd", "3.7.3", "go.etcd.io/etcd/server/v3", "tools", fits=("3.6", "3.7")),
        Program("kwok", "kwok", "0.8.0", "sigs.k8s.io/kwok/cmd/kwok", "tools", fits=("0.8",)),
        Program("helm", "helm", "4.3.1", "helm.sh/helm/v4/cmd/helm", "tools", ("version", "--short"), ("4",)),
    )


def released_version(printed: str) -> str:
    """Read the version from the line that a program prints; empty if it is none of an official release."""
    match = RELEASE.search(printed)
    return match.group(1) if match else ""


def cache_root() -> Path:
    """Name the folder in the user's cache where fetched and built programs are kept."""
    return Path(platformdirs.user_cache_dir("gpu-tenancy")) / "control-plane"


def go_platform() -> tuple[str, str]:
    """Name this machine's operating system and architecture as Go and the release files do."""
    machine = platform.machine().lower()
    return platform.system().lower(), {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
