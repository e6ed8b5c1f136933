"""NetworkPolicies of a namespace: nothing in or out, then what is let through. They add up, so each is simple."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TYPE_CHECKING, Any

from gpu_tenancy.api.common import API_VERSION
from gpu_tenancy.domain.naming import NAMESPACE_NAME_LABEL, OPERATOR, TENANT_LABEL
from gpu_tenancy.render.manifest import Manifest, managed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.api.common import LabelSelector
    from gpu_tenancy.api.tenant import Network
    from gpu_tenancy.domain.peering import Port, Side

Peer = dict[str, Any]

_DNS_PORT = 53
_PEERING_PREFIX = f"{OPERATOR}-peer-"
_LONGEST_NAME = 63

# What is not the internet, after the registries of special-purpose addresses.
_CLOSED_V4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",  # carrier-grade NAT, and a cloud's metadata service
    "127.0.0.0/8",
    "168.63.129.16/32",  # a cloud's platform service, on an address that looks public
    "169.254.0.0/16",  # link-local, with the metadata service
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",  # multicast, reserved, broadcast
)
# Only global unicast is opened, so unique-local, link-local, multicast, IPv4-mapped and NAT64 addresses never are.
_OPEN_V6 = "2000::/3"
_CLOSED_V6 = (
    "2001::/23",  # Teredo and other protocols that carry an address in the address
    "2001:db8::/32",
    "2002::/16",  # 6to4, likewise
    "3fff::/20",
)


def default_deny(namespace: str) -> Manifest:
    """Render the policy that selects every pod and lets nothing through."""
    return _policy(namespace, "default-deny", {"policyTypes": ["Ingress", "Egress"]})


def dns_peers(
    namespace_labels: Mapping[str, str], pod_labels: Mapping[str, str], addresses: Iterable[str]
) -> list[Peer]:
    """Name what answers DNS: pods by the labels of their namespace and their own, and CIDRs of node-local caches."""
    pods = {
        "namespaceSelector": {"matchLabels": dict(namespace_labels)},
        "podSelector": {"matchLabels": dict(pod_labels)},
    }
    return [pods, *({"ipBlock": {"cidr": address}} for address in addresses)]


def network_policies(
    namespace: str, tenant: str, network: Network, dns: list[Peer], closed_networks: tuple[str, ...]
) -> list[Manifest]:
    """Render all policies of a namespace, with the API server's defaults spelled out.

    Args:
        namespace: where they are.
        tenant: whose namespaces reach each other, by the label that only the operator writes.
        network: what the contract lets through.
        dns: what answers DNS.
        closed_networks: CIDRs that internet egress never reaches, beside the built-in ones.
    """
    same_tenant = [{"namespaceSelector": {"matchLabels": {TENANT_LABEL: tenant}}}]
    policies = [
        default_deny(namespace),
        _policy(namespace, "allow-dns", _egress(dns, ports=_DNS_PORTS)),
        _policy(namespace, "allow-tenant", {**_ingress(same_tenant), **_egress(same_tenant), **_BOTH}),
    ]
    if sources := [_platform(selector) for selector in network.allowFromNamespaces]:
        policies.append(_policy(namespace, "allow-from-platform", _ingress(sources)))
    if targets := [_platform(selector) for selector in network.allowToNamespaces]:
        policies.append(_policy(namespace, "allow-to-platform", _egress(targets)))
    if network.internetEgress == "Allowed" and (blocks := _internet(closed_networks)):
        peers = [{"ipBlock": {"cidr": cidr, "except": list(closed)}} for cidr, closed in blocks]
        policies.append(_policy(namespace, "allow-internet", _egress(peers)))
    return policies


def peering(namespace: str, peer: Side, ports: Iterable[Port], owner: tuple[str, str] | None = None) -> Manifest:
    """Render one side of a peering: in and out, to and from exactly that namespace and only while it is that tenant's.

    Args:
        namespace: where it is.
        peer: the other side.
        ports: what is open; none stand for all.
        owner: name and uid of the TenantPeering, with which Kubernetes itself removes the policy.
    """
    labels = {NAMESPACE_NAME_LABEL: peer.namespace, TENANT_LABEL: peer.tenant}
    peers = [{"namespaceSelector": {"matchLabels": labels}}]
    opened = [{"protocol": one.protocol, "port": one.port} for one in sorted(ports)]
    rules = {**_ingress(peers, opened), **_egress(peers, opened), **_BOTH}
    policy = _policy(namespace, peering_name(peer.namespace).removeprefix(f"{OPERATOR}-"), rules)
    if owner is not None:
        reference = {"apiVersion": API_VERSION, "kind": "TenantPeering", "name": owner[0], "uid": owner[1]}
        policy["metadata"]["ownerReferences"] = [reference]
    return policy


def peering_name(peer: str) -> str:
    """Name the policy of a peering with a namespace; of a long one a hash follows a dot, which no namespace has."""
    name = _PEERING_PREFIX + peer
    if len(name) <= _LONGEST_NAME:
        return name
    digest = sha256(peer.encode()).hexdigest()[:12]
    return f"{name[: _LONGEST_NAME - len(digest) - 1].rstrip('-')}.{digest}"


def is_peering(name: str) -> bool:
    """Say whether a policy's name is that of a peering."""
    return name.startswith(_PEERING_PREFIX)


_BOTH = {"policyTypes": ["Ingress", "Egress"]}
_DNS_PORTS = [{"protocol": "UDP", "port": _DNS_PORT}, {"protocol": "TCP", "port": _DNS_PORT}]


def _policy(namespace: str, suffix: str, rules: Mapping[str, Any]) -> Manifest:
    name = f"{OPERATOR}-{suffix}"
    return managed("networking.k8s.io/v1", "NetworkPolicy", namespace, name, spec={"podSelector": {}, **rules})


def _ingress(peers: list[Peer], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    rule = {"from": peers, **({"ports": ports} if ports else {})}
    return {"policyTypes": ["Ingress"], "ingress": [rule]}


def _egress(peers: list[Peer], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    rule = {"to": peers, **({"ports": ports} if ports else {})}
    return {"policyTypes": ["Egress"], "egress": [rule]}


def _platform(selector: LabelSelector) -> Peer:
    """Select namespaces of the platform; whatever the selector says, never those of a tenant."""
    expressions = [
        {"key": one.key, "operator": one.operator, **({"values": list(one.values)} if one.values else {})}
        for one in selector.matchExpressions
    ]
    expressions.append({"key": TENANT_LABEL, "operator": "DoesNotExist"})
    labels = {"matchLabels": dict(selector.matchLabels)} if selector.matchLabels else {}
    return {"namespaceSelector": {**labels, "matchExpressions": expressions}}


@lru_cache
def _internet(closed: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Give the blocks that are the internet, each with what is left out of it; none if all is closed."""
    networks = [ip_network(cidr) for cidr in closed]
    v4 = [one for one in networks if isinstance(one, IPv4Network)]
    v6 = [one for one in networks if isinstance(one, IPv6Network)]
    blocks = (
        _block(IPv4Network("0.0.0.0/0"), [*map(IPv4Network, _CLOSED_V4), *v4]),
        _block(IPv6Network(_OPEN_V6), [*map(IPv6Network, _CLOSED_V6), *v6]),
    )
    return tuple(block for block in blocks if block is not None)


def _block(open_: Any, closed: Iterable[Any]) -> tuple[str, tuple[str, ...]] | None:
    merged = list(collapse_addresses(closed))
    if any(open_.subnet_of(one) for one in merged):
        return None
    return str(open_), tuple(str(one) for one in merged if one.subnet_of(open_))
