"""A second opinion on network policies: cyclonus, which judges by Kubernetes' own types and shares no code with us."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from rich.console import Console

from gpu_tenancy.localcluster import binaries
from gpu_tenancy.localcluster.versions import Program
from netpol import Address, Pod

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netpol import Network, Peer

HERE = Path(__file__).parent
CYCLONUS = Program("cyclonus", "cyclonus", "0.5.6", "github.com/mattfenwick/cyclonus/cmd/cyclonus", HERE.name)
VERDICT = re.compile(r"IS ALLOWED\?\s*\|\s*(TRUE|FALSE)\b")

Connection = tuple["Peer", "Peer", int, str]


def why_not() -> str:
    """Build it with Go, once; say why it cannot be had here, and nothing if it can."""
    return "; ".join(binaries.build_once(CYCLONUS, HERE.parent, Console(stderr=True)))


def cyclonus() -> Path:
    """Give the program; skips the test, and says so, where it cannot be had."""
    if problems := why_not():
        pytest.skip(f"NOT compared with cyclonus, which cannot be had here: {problems}")
    return CYCLONUS.cached


def ask(program: Path, network: Network, connections: Iterable[Connection], folder: Path) -> list[bool]:
    """Have it judge each connection."""
    connections = list(connections)
    policies = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": list(network.policies)}
    traffic = [
        {
            "Source": _peer(network, source),
            "Destination": _peer(network, target),
            "ResolvedPort": port,
            "ResolvedPortName": _port_name(target, port, protocol),
            "Protocol": protocol,
        }
        for source, target, port, protocol in connections
    ]
    (folder / "policies.yaml").write_text(yaml.safe_dump(policies))
    (folder / "traffic.json").write_text(json.dumps(traffic))
    said = subprocess.run(
        [
            *(program, "analyze", "--mode=query-traffic", "--simplify-policies=false"),
            *("--policy-path", folder / "policies.yaml", "--traffic-path", folder / "traffic.json"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    verdicts = [verdict == "TRUE" for verdict in VERDICT.findall(said)]
    assert len(verdicts) == len(connections), said[-2000:]
    return verdicts


def _peer(network: Network, peer: Peer) -> Mapping[str, Any]:
    if isinstance(peer, Address):
        return {"IP": peer.ip}
    labels = dict(network.namespaces[peer.namespace])
    inside = {"Namespace": peer.namespace, "NamespaceLabels": labels, "PodLabels": dict(peer.labels)}
    return {"IP": peer.ip, "Internal": inside}


def _port_name(target: Peer, port: int, protocol: str) -> str:
    ports = target.ports if isinstance(target, Pod) else ()
    return next((name for name, of, number in ports if (of, number) == (protocol, port)), "")
