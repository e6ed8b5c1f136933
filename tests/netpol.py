"""Kubernetes' rules for NetworkPolicies, evaluated on manifests: may this connection be made?

After https://kubernetes.io/docs/concepts/services-networking/network-policies/. A connection between pods needs the
egress of its source and the ingress of its target; an address outside has no policies of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Policy = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    namespace: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Address:
    """Something that is no pod of the cluster."""

    ip: str


Peer = Pod | Address


@dataclass(frozen=True)
class Network:
    """Namespaces with their labels, and all policies."""

    namespaces: Mapping[str, Mapping[str, str]]
    policies: tuple[Policy, ...]

    def allows(self, source: Peer, target: Peer, port: int = 443, protocol: str = "TCP") -> bool:
        return self._passes("egress", source, target, port, protocol) and self._passes(
            "ingress", target, source, port, protocol
        )

    def _passes(self, direction: str, subject: Peer, peer: Peer, port: int, protocol: str) -> bool:
        if isinstance(subject, Address):
            return True
        selecting = [
            policy
            for policy in self.policies
            if policy["metadata"]["namespace"] == subject.namespace
            and direction.capitalize() in policy["spec"]["policyTypes"]
            and _selects(policy["spec"]["podSelector"], dict(subject.labels))
        ]
        if not selecting:
            return True
        return any(
            self._matches(rule, "to" if direction == "egress" else "from", peer, policy["metadata"]["namespace"])
            and _opens(rule.get("ports", []), port, protocol)
            for policy in selecting
            for rule in policy["spec"].get(direction, [])
        )

    def _matches(self, rule: Mapping[str, Any], key: str, peer: Peer, namespace: str) -> bool:
        peers: Iterable[Mapping[str, Any]] = rule.get(key, [])
        return not peers or any(self._is(one, peer, namespace) for one in peers)

    def _is(self, wanted: Mapping[str, Any], peer: Peer, namespace: str) -> bool:
        if isinstance(peer, Address):
            return "ipBlock" in wanted and _inside(wanted["ipBlock"], peer.ip)
        if "ipBlock" in wanted:
            return False
        if "namespaceSelector" in wanted:
            in_namespace = _selects(wanted["namespaceSelector"], self.namespaces[peer.namespace])
        else:
            in_namespace = peer.namespace == namespace
        return in_namespace and _selects(wanted.get("podSelector", {}), dict(peer.labels))


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        _meets(one, labels) for one in selector.get("matchExpressions", [])
    )


def _meets(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement["key"])
    return {
        "In": value in requirement.get("values", []),
        "NotIn": value not in requirement.get("values", []),
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[requirement["operator"]]


def _opens(ports: Iterable[Mapping[str, Any]], port: int, protocol: str) -> bool:
    ports = list(ports)
    return not ports or any(one.get("protocol", "TCP") == protocol and one.get("port", port) == port for one in ports)


def _inside(block: Mapping[str, Any], ip: str) -> bool:
    address = ip_address(ip)
    return address in ip_network(block["cidr"]) and not any(
        address in ip_network(closed) for closed in block.get("except", [])
    )
