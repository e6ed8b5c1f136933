"""The network policies as a truth table: who reaches whom, evaluated by Kubernetes' rules without a CNI."""

from __future__ import annotations

import re
from ipaddress import ip_network

import pytest

from gpu_tenancy.api.tenant import Network as Contract
from gpu_tenancy.domain.naming import TENANT_LABEL
from gpu_tenancy.domain.peering import Port, Side
from gpu_tenancy.render.network_policy import (
    default_deny,
    dns_peers,
    is_peering,
    network_policies,
    peering,
    peering_name,
)
from netpol import Address, Network, Pod

NODE_LOCAL_DNS = "169.254.20.10"
NAMESPACES = {
    "neura-train": {TENANT_LABEL: "neura"},
    "neura-serve": {TENANT_LABEL: "neura"},
    "rival": {TENANT_LABEL: "rival", "team": "ingress"},
    "kube-system": {"kubernetes.io/metadata.name": "kube-system"},
    "ingress": {"team": "ingress"},
    "registry": {"team": "registry"},
    "monitoring": {"team": "monitoring"},
}
TRAIN, SERVE, RIVAL = Pod("neura-train"), Pod("neura-serve"), Pod("rival")
DNS = Pod("kube-system", (("k8s-app", "kube-dns"),))
CACHE = Address(NODE_LOCAL_DNS)
INGRESS, REGISTRY, MONITORING = Pod("ingress"), Pod("registry"), Pod("monitoring")
INTERNET = (Address("8.8.8.8"), Address("193.99.144.80"), Address("2a00:1450:4001::1"))
PRIVATE = (
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "127.0.0.1",
    "0.0.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "::1",
    "::",
    "ff02::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:a9fe:a9fe::1",
    "2001::1",
)
METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
OPEN = {
    "internetEgress": "Allowed",
    "allowFromNamespaces": [{"matchLabels": {"team": "ingress"}}],
    "allowToNamespaces": [{"matchExpressions": [{"key": "team", "operator": "In", "values": ["registry"]}]}],
}


def network(closed: tuple[str, ...] = (), **contract: object) -> Network:
    dns = dns_peers({"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"}, [f"{NODE_LOCAL_DNS}/32"])
    policies = [
        policy
        for namespace, labels in NAMESPACES.items()
        if TENANT_LABEL in labels
        for policy in network_policies(namespace, labels[TENANT_LABEL], Contract.model_validate(contract), dns, closed)
    ]
    return Network(NAMESPACES, tuple(policies))


@pytest.mark.parametrize("contract", [{}, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize(
    ("connection", "allowed"),
    [
        ((TRAIN, TRAIN, 29500, "TCP"), True),
        ((TRAIN, SERVE, 443, "TCP"), True),
        ((SERVE, TRAIN, 443, "UDP"), True),
        ((TRAIN, RIVAL, 443, "TCP"), False),
        ((RIVAL, TRAIN, 443, "TCP"), False),
        ((TRAIN, DNS, 53, "UDP"), True),
        ((TRAIN, DNS, 53, "TCP"), True),
        ((TRAIN, DNS, 443, "TCP"), False),
        ((TRAIN, Pod("kube-system"), 53, "UDP"), False),
        ((DNS, TRAIN, 443, "TCP"), False),
        ((TRAIN, CACHE, 53, "UDP"), True),
        ((TRAIN, CACHE, 53, "TCP"), True),
        ((TRAIN, CACHE, 80, "TCP"), False),
        ((TRAIN, MONITORING, 443, "TCP"), False),
        ((MONITORING, TRAIN, 443, "TCP"), False),
        ((Address("8.8.8.8"), TRAIN, 443, "TCP"), False),
    ],
)
def test_tenants_reach_themselves_and_dns_whatever_the_contract_opens(contract, connection, allowed):
    assert network(**contract).allows(*connection) is allowed


def test_platform_namespaces_are_open_only_in_the_direction_that_the_contract_names():
    closed, opened = network(), network(**OPEN)
    assert not closed.allows(INGRESS, TRAIN)
    assert not closed.allows(TRAIN, REGISTRY)
    assert opened.allows(INGRESS, TRAIN)
    assert not opened.allows(TRAIN, INGRESS)
    assert opened.allows(TRAIN, REGISTRY)
    assert not opened.allows(REGISTRY, TRAIN)


def test_another_tenants_namespace_is_no_platform_whatever_labels_it_has():
    contract = OPEN | {"allowToNamespaces": OPEN["allowFromNamespaces"]}
    policies = [one for one in network(**contract).policies if one["metadata"]["namespace"] == "neura-train"]
    ours = Network(NAMESPACES, tuple(policies))
    assert NAMESPACES["rival"]["team"] == NAMESPACES["ingress"]["team"]
    assert ours.allows(INGRESS, TRAIN)
    assert ours.allows(TRAIN, INGRESS)
    assert not ours.allows(RIVAL, TRAIN)
    assert not ours.allows(TRAIN, RIVAL)


@pytest.mark.parametrize("address", INTERNET, ids=lambda address: address.ip)
def test_the_internet_is_reached_only_when_allowed(address):
    assert not network().allows(TRAIN, address)
    assert network(**OPEN).allows(TRAIN, address)


@pytest.mark.parametrize("ip", [*PRIVATE, *METADATA])
def test_private_and_metadata_addresses_are_never_the_internet(ip):
    assert not network(**OPEN).allows(TRAIN, Address(ip))


@pytest.mark.parametrize(
    ("closed", "ip"),
    [
        (("80.158.0.0/16",), "80.158.1.1"),
        (("2a00:1450::/32",), "2a00:1450:4001::1"),
        (("10.1.0.0/16", "80.158.0.0/24"), "80.158.0.9"),
        (("0.0.0.0/0",), "8.8.8.8"),
        (("0.0.0.0/1", "128.0.0.0/1"), "193.99.144.80"),
        (("::/0",), "2a00:1450:4001::1"),
    ],
)
def test_the_platforms_own_networks_are_closed_too(closed, ip):
    assert network(**OPEN).allows(TRAIN, Address(ip))
    assert not network(closed, **OPEN).allows(TRAIN, Address(ip))


def test_closing_everything_opens_nothing():
    everything = network(("0.0.0.0/0", "::/0"), **OPEN)
    assert not any(everything.allows(TRAIN, address) for address in INTERNET)
    assert not any("internet" in policy["metadata"]["name"] for policy in everything.policies)


@pytest.mark.parametrize("closed", [(), ("10.9.0.0/16", "80.158.0.0/16", "2a00::/16", "fd00::/8", "fe80::/64")])
def test_every_exception_lies_strictly_within_its_block(closed):
    blocks = [
        peer["ipBlock"]
        for policy in network(closed, **OPEN).policies
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    exceptions = [(block["cidr"], one) for block in blocks for one in block.get("except", [])]
    assert exceptions
    for cidr, closed_cidr in exceptions:
        outer, inner = ip_network(cidr), ip_network(closed_cidr)
        assert inner.subnet_of(outer)
        assert inner != outer


def test_the_default_deny_lets_nothing_through_even_alone():
    alone = Network(NAMESPACES, (default_deny("neura-train"),))
    assert not any(alone.allows(TRAIN, peer, 53, "UDP") for peer in (TRAIN, DNS, *INTERNET))
    assert not any(alone.allows(peer, TRAIN) for peer in (SERVE, RIVAL, INGRESS))
    assert Network(NAMESPACES, ()).allows(RIVAL, TRAIN)


LAB = Pod("rival-lab")
PEERS = NAMESPACES | {
    "neura-train": {TENANT_LABEL: "neura", "kubernetes.io/metadata.name": "neura-train"},
    "rival-lab": {TENANT_LABEL: "rival", "kubernetes.io/metadata.name": "rival-lab"},
}


def peered(*ports: Port, namespaces=PEERS, sides=("neura-train", "rival-lab")) -> Network:
    policies = [
        default_deny("neura-train"),
        default_deny("rival-lab"),
        peering("neura-train", Side("rival", "rival-lab"), ports),
        peering("rival-lab", Side("neura", "neura-train"), ports),
    ]
    return Network(
        namespaces,
        tuple(one for one in policies if one["spec"].get("ingress") is None or one["metadata"]["namespace"] in sides),
    )


def test_a_peering_opens_exactly_two_namespaces_to_each_other():
    network = peered()
    for protocol in ("TCP", "UDP", "SCTP"):
        assert network.allows(TRAIN, LAB, 29500, protocol)
        assert network.allows(LAB, TRAIN, 29500, protocol)
    assert not network.allows(RIVAL, TRAIN)
    assert not network.allows(TRAIN, RIVAL)
    assert not network.allows(SERVE, LAB)
    assert not network.allows(TRAIN, Address("8.8.8.8"))


@pytest.mark.parametrize("side", ["neura-train", "rival-lab"])
def test_one_side_of_a_peering_alone_opens_nothing(side):
    alone = peered(sides=(side,))
    assert not alone.allows(TRAIN, LAB)
    assert not alone.allows(LAB, TRAIN)


@pytest.mark.parametrize("changed", ["neura-train", "rival-lab"])
def test_a_namespace_that_passes_to_somebody_else_is_no_peer_at_once(changed):
    network = peered(namespaces=PEERS | {changed: PEERS[changed] | {TENANT_LABEL: "third"}})
    assert not network.allows(TRAIN, LAB)
    assert not network.allows(LAB, TRAIN)


def test_a_peering_opens_its_ports_in_both_directions_and_no_others():
    network = peered(Port("TCP", 8443))
    for source, target in ((TRAIN, LAB), (LAB, TRAIN)):
        assert network.allows(source, target, 8443)
        assert not network.allows(source, target, 8443, "UDP")
        assert not network.allows(source, target, 443)


def test_names_of_peerings_are_short_and_unique():
    names = ["a", "lab", "n" * 46, "n" * 47, "n" * 62 + "a", "n" * 62 + "b", "n" * 33, "x" + "-" * 50 + "y"]
    policies = [peering_name(name) for name in names]
    assert len(set(policies)) == len(names)
    for policy in policies:
        assert len(policy) <= 63
        assert is_peering(policy)
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", policy)
    assert not any(is_peering(one["metadata"]["name"]) for one in network(**OPEN).policies)
