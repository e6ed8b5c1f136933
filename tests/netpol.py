"""Kubernetes' rules for NetworkPolicies, evaluated on manifests: may this connection be made?

After https://kubernetes.io/docs/concepts/services-networking/network-policies/. A connection between pods needs the
egress of its source and the ingress of its target; an address outside has no policies of its own. Kubernetes leaves open
whether a block of addresses holds for pods; here it does, as with the plugins that open more.

ClusterNetworkPolicies of the Admin tier come first, after https://network-policy-api.sigs.k8s.io/api-overview/: by
priority, and in each by the order of its rules, the first that matches decides, or passes on to the NetworkPolicies.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Policy = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod: where, its labels, its address, and its ports' names with protocol and number."""

    namespace: str
    labels: tuple[tuple[str, str], ...] = ()
    ip: str = ""
    ports: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True)
class Address:
    """Something that is no pod of the cluster."""

    ip: str


Peer = Pod | Address


@dataclass(frozen=True)
class Network:
    """Namespaces with their labels, and all policies; those of the Admin tier by themselves."""

    namespaces: Mapping[str, Mapping[str, str]]
    policies: tuple[Policy, ...]
    admin: tuple[Policy, ...] = ()

    def allows(self, source: Peer, target: Peer, port: int = 443, protocol: str = "TCP") -> bool:
        wanted = _Wanted(port, protocol, _named(target))
        return self._passes("egress", source, target, wanted) and self._passes("ingress", target, source, wanted)

    def _passes(self, direction: str, subject: Peer, peer: Peer, wanted: _Wanted) -> bool:
        if isinstance(subject, Address):
            return True
        if (verdict := self._first(direction, subject, peer)) != "Pass":
            return verdict == "Accept"
        selecting = [
            policy
            for policy in self.policies
            if policy["metadata"]["namespace"] == subject.namespace
            and direction.capitalize() in policy["spec"]["policyTypes"]  # the API server fills it in
            and _selects(policy["spec"].get("podSelector", {}), dict(subject.labels))
        ]
        if not selecting:
            return True
        return any(
            self._matches(rule, "to" if direction == "egress" else "from", peer, policy["metadata"]["namespace"])
            and _opens(rule.get("ports", []), wanted)
            for policy in selecting
            for rule in policy["spec"].get(direction, [])
        )

    def _first(self, direction: str, subject: Pod, peer: Peer) -> str:
        """Give the action of the first rule of the Admin tier that matches."""
        for _, policies in groupby(sorted(self.admin, key=_priority), key=_priority):
            actions = {self._action(one["spec"], direction, subject, peer) for one in policies} - {""}
            if len(actions) > 1:
                raise ValueError("which of two policies of one priority decides is up to the network plugin")
            if actions:
                return actions.pop()
        return "Pass"

    def _action(self, spec: Mapping[str, Any], direction: str, subject: Pod, peer: Peer) -> str:
        if spec["tier"] != "Admin":
            raise ValueError("only the Admin tier is judged here")
        for rule in spec.get(direction, []) if self._is_among(spec["subject"], subject) else []:
            if "protocols" in rule:
                raise ValueError("rules for some protocols are not judged here")
            if any(self._is_among(one, peer) for one in rule["to" if direction == "egress" else "from"]):
                return str(rule["action"])
        return ""

    def _is_among(self, wanted: Mapping[str, Any], peer: Peer) -> bool:
        """Say whether a subject or peer of the Admin tier is meant; namespaces, or pods in them."""
        if wanted.keys() - {"namespaces", "pods"}:
            raise ValueError("only pods are judged here")
        if isinstance(peer, Address):
            return False
        pods = wanted.get("pods", {"namespaceSelector": wanted.get("namespaces"), "podSelector": {}})
        in_namespace = _selects(pods["namespaceSelector"], self.namespaces[peer.namespace])
        return in_namespace and _selects(pods["podSelector"], dict(peer.labels))

    def _matches(self, rule: Mapping[str, Any], key: str, peer: Peer, namespace: str) -> bool:
        peers: Iterable[Mapping[str, Any]] = rule.get(key, [])
        return not peers or any(self._is(one, peer, namespace) for one in peers)

    def _is(self, wanted: Mapping[str, Any], peer: Peer, namespace: str) -> bool:
        if "ipBlock" in wanted:
            return bool(peer.ip) and _inside(wanted["ipBlock"], peer.ip)
        if isinstance(peer, Address):
            return False
        if "namespaceSelector" in wanted:
            in_namespace = _selects(wanted["namespaceSelector"], self.namespaces[peer.namespace])
        else:
            in_namespace = peer.namespace == namespace
        return in_namespace and _selects(wanted.get("podSelector", {}), dict(peer.labels))


def _priority(policy: Policy) -> int:
    return int(policy["spec"]["priority"])


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


@dataclass(frozen=True)
class _Wanted:
    """The port that is connected to, and what the names of ports stand for where it is."""

    port: int
    protocol: str
    named: Mapping[tuple[str, str], int]


def _named(target: Peer) -> Mapping[tuple[str, str], int]:
    ports = () if isinstance(target, Address) else target.ports
    return {(name, protocol): number for name, protocol, number in ports}


def _opens(ports: Iterable[Mapping[str, Any]], wanted: _Wanted) -> bool:
    ports = list(ports)
    return not ports or any(_is_port(one, wanted) for one in ports)


def _is_port(one: Mapping[str, Any], wanted: _Wanted) -> bool:
    if one.get("protocol", "TCP") != wanted.protocol:
        return False
    first = one.get("port")
    if first is None:
        return True
    if isinstance(first, str):
        return wanted.named.get((first, wanted.protocol)) == wanted.port
    return bool(first <= wanted.port <= one.get("endPort", first))


def _inside(block: Mapping[str, Any], ip: str) -> bool:
    address = ip_address(ip)
    return address in ip_network(block["cidr"]) and not any(
        address in ip_network(closed) for closed in block.get("except", [])
    )
