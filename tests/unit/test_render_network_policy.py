"""The network policies as a truth table: who reaches whom, evaluated by Kubernetes' rules without a CNI."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gpu_tenancy.api.tenant import Network as Contract
from gpu_tenancy.domain.naming import TENANT_LABEL
from gpu_tenancy.render.network_policy import default_deny, dns_peers, network_policies
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
