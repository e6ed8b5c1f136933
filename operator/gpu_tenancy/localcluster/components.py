"""The command line of every process of the control plane."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE_RANGE = "10.96.0.0/16"
FIRST_SERVICE_ADDRESS = "10.96.0.1"
STAGES = Path(__file__).with_name("stages.yaml")
AUDIT_POLICY = Path(__file__).with_name("audit.yaml")
AUDIT_LOG = "logs/audit.log"


@dataclass(frozen=True, slots=True)
class Component:
    """One process: its name and its command line, run in the data directory."""

    name: str
    command: tuple[str, ...]


def components(binaries: Mapping[str, Path], port: int, *, audit: bool = False) -> tuple[Component, ...]:
    """List the processes in the order in which they start; the first two serve the API.

    Paths are relative to the data directory: a Unix socket's path may have no more than 107 characters.

    Args:
        binaries: the programs.
        port: where the API server listens.
        audit: whether the API server writes down what the operator asks.
    """
    api_server = (f"--secure-port={port}", *_API_SERVER, *(_AUDIT if audit else ()))
    return (
        Component("etcd", (str(binaries["etcd"]), *_ETCD)),
        Component("kube-apiserver", (str(binaries["kube-apiserver"]), *api_server)),
        Component("kube-controller-manager", (str(binaries["kube-controller-manager"]), *_CONTROLLER_MANAGER)),
        Component("kube-scheduler", (str(binaries["kube-scheduler"]), *_SCHEDULER)),
        Component("kwok", (str(binaries["kwok"]), f"--config={STAGES}", *_KWOK)),
    )


# Without a TCP port nobody else on the machine can read or write the cluster's data behind the API server's back.
_ETCD = (
    "--data-dir=etcd",
    "--listen-client-urls=unix://etcd.sock",
    "--advertise-client-urls=unix://etcd.sock",
    "--listen-peer-urls=unix://etcd-peer.sock",
    "--initial-advertise-peer-urls=unix://etcd-peer.sock",
    "--initial-cluster=default=unix://etcd-peer.sock",
    "--unsafe-no-fsync",
    "--quota-backend-bytes=8589934592",
    "--auto-compaction-retention=5m",
    "--log-level=warn",
)

_API_SERVER = (
    "--bind-address=127.0.0.1",
    "--advertise-address=127.0.0.1",
    # The supervisor holds the port while the API server is away, so nobody else can take it.
    "--permit-port-sharing",
    "--etcd-servers=unix://etcd.sock",
    "--client-ca-file=pki/ca.crt",
    "--tls-cert-file=pki/apiserver.crt",
    "--tls-private-key-file=pki/apiserver.key",
    "--authorization-mode=RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    "--service-account-key-file=pki/service-accounts.pub",
    "--service-account-signing-key-file=pki/service-accounts.key",
    f"--service-cluster-ip-range={SERVICE_RANGE}",
    "--allow-privileged=true",
    "--endpoint-reconciler-type=none",
)

_AUDIT = (f"--audit-policy-file={AUDIT_POLICY}", f"--audit-log-path={AUDIT_LOG}")

_CLIENT = ("--kube-api-qps=500", "--kube-api-burst=1000")

_CONTROLLER_MANAGER = (
    "--kubeconfig=kubeconfigs/kube-controller-manager.yaml",
    "--secure-port=0",
    "--leader-elect=false",
    "--use-service-account-credentials",
    "--service-account-private-key-file=pki/service-accounts.key",
    "--root-ca-file=pki/ca.crt",
    "--cluster-signing-cert-file=pki/ca.crt",
    "--cluster-signing-key-file=pki/ca.key",
    "--resource-quota-sync-period=30s",
    # Simulated nodes report seldom, so that a thousand of them cost nothing; a test that wants a node to be
    # unready says so in the node's status.
    "--node-monitor-grace-period=1h",
    *_CLIENT,
)

_SCHEDULER = (
    "--kubeconfig=kubeconfigs/kube-scheduler.yaml",
    "--secure-port=0",
    "--leader-elect=false",
    *_CLIENT,
)

_KWOK = (
    "--kubeconfig=kubeconfigs/kwok.yaml",
    "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
    "--node-lease-duration-seconds=0",
)
