"""Who reaches whom: the whole truth table, by the policies that the operator wrote, as the API server gives them back.

Judged by our own evaluator (`netpol`), and by an independent one (`cyclonus`).
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

import cyclonus
from cluster.operating import Cluster, OperatorProcess, eventually
from cluster.site import a_site
from netpol import Address, Network, Peer, Pod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

API = "gpu-tenancy.dev/v1alpha1"

PROBES = (
    ("TCP", 53),
    ("UDP", 53),
    ("TCP", 443),
    ("UDP", 443),
    ("SCTP", 443),
    ("TCP", 8443),
    ("UDP", 8443),
    ("TCP", 6443),
)
OPEN = {
    "*": frozenset(PROBES),
    ".": frozenset(),
    "d": frozenset({("TCP", 53), ("UDP", 53)}),
    "p": frozenset({("TCP", 8443)}),  # only while both sides of the peering agree
}
PODS = {
    "neura-train": Pod("neura-train", (("app", "train"),), "10.244.0.1"),
    "neura-lab": Pod("neura-lab", (("app", "learn"),), "10.244.0.2"),
    "rival-train": Pod("rival-train", (("app", "train"),), "10.244.0.3"),
    "rival-lab": Pod("rival-lab", (("app", "learn"),), "10.244.0.4"),
    "ingress": Pod("ingress", (), "10.244.0.5"),
    "registry": Pod("registry", (), "10.244.0.6"),
    "unlabelled": Pod("unlabelled", (), "10.244.0.7"),
    "public-ip": Pod("unlabelled", (("public", "yes"),), "80.158.0.7"),  # the provider's own range
    "dns": Pod("kube-system", (("k8s-app", "kube-dns"),), "10.244.0.8"),
    "kube-system": Pod("kube-system", (), "10.244.0.9"),
    "operator": Pod("gpu-tenancy-system", (), "10.244.0.10"),
}
# Rows connect to columns. neura's contract opens nothing; rival's has the ingress, the registry and the internet.
PODS_TO_PODS = """
               neura-train neura-lab rival-train rival-lab ingress registry unlabelled public-ip dns kube-system operator
  neura-train  *           *         .           .         .       .        .          .         d   .           .
  neura-lab    *           *         .           p         .       .        .          .         d   .           .
  rival-train  .           .         *           *         .       *        .          .         d   .           .
  rival-lab    .           p         *           *         .       *        .          .         d   .           .
  ingress      .           .         *           *         *       *        *          *         *   *           *
  registry     .           .         .           .         *       *        *          *         *   *           *
  unlabelled   .           .         .           .         *       *        *          *         *   *           *
  public-ip    .           .         .           .         *       *        *          *         *   *           *
  dns          .           .         .           .         *       *        *          *         *   *           *
  kube-system  .           .         .           .         *       *        *          *         *   *           *
  operator     .           .         .           .         *       *        *          *         *   *           *
"""
# Columns connect to rows; both namespaces of a tenant alike.
PODS_TO_ADDRESSES = """
                          neura rival
  8.8.8.8                 .     *       the internet
  193.99.144.80           .     *
  2a00:1450:4001::1       .     *
  80.158.10.10            .     .       the provider's own public addresses, where its nodes and API servers may be
  2a01:598:1::1           .     .
  api-server              .     .       by its Service
  node                    .     .       by what the Node says
  169.254.20.10           d     d       the node-local DNS cache
  169.254.169.254         .     .       metadata services
  169.254.170.2           .     .
  169.254.170.23          .     .
  100.100.100.200         .     .
  168.63.129.16           .     .
  192.0.0.192             .     .
  fd00:ec2::254           .     .
  fd20:ce::254            .     .
  64:ff9b::a9fe:a9fe      .     .       the same through NAT64, 6to4, mapped
  2002:a9fe:a9fe::1       .     .
  ::ffff:169.254.169.254  .     .
  10.0.0.1                .     .       private, shared, local
  172.16.0.1              .     .
  172.31.255.255          .     .
  192.168.0.1             .     .
  100.64.0.1              .     .
  127.0.0.1               .     .
  0.0.0.0                 .     .
  fd12::1                 .     .
  fe80::1                 .     .
  ::1                     .     .
  224.0.0.1               .     .       multicast, broadcast
  255.255.255.255         .     .
  ff02::1                 .     .
"""
ENVIRONMENT = {
    "GPU_TENANCY_CLOSED_NETWORKS": "80.158.0.0/16,2a01:598::/32",
    "GPU_TENANCY_DNS_ADDRESSES": "169.254.20.10",
}
TENANTS = {"neura": ("neura-train", "neura-lab"), "rival": ("rival-train", "rival-lab")}
PHASES = ("one side asks", "both agree", "one side has revoked")


@pytest.fixture(scope="module")
def cluster(
    premises: Cluster, operator: OperatorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A site with two tenants under an operator that knows the provider's own networks."""
    account = premises.control_plane.kubeconfig_for("operator")
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with (
        a_site(premises, operator, *platform(), cpu=1) as cluster,
        operator.away(),
        OperatorProcess(account, log, **ENVIRONMENT),
    ):
        yield cluster


def platform() -> tuple[dict[str, Any], ...]:
    return namespace("ingress", team="ingress"), namespace("registry", team="registry"), namespace("unlabelled")


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@pytest.fixture(scope="module")
def networks(cluster: Cluster) -> dict[str, Network]:
    return phases(cluster, network_policies)


def phases(cluster: Cluster, read_back: Callable[[Cluster], Network]) -> dict[str, Network]:
    """Read what stands for both tenants in each phase of a peering between their labs."""
    opened = {
        "internetEgress": "Allowed",
        "allowFromNamespaces": [{"matchLabels": {"team": "ingress"}}],
        "allowToNamespaces": [{"matchLabels": {"team": "registry"}}],
    }
    cluster.apply(tenant("neura"), tenant("rival", **opened))
    for name in TENANTS:
        cluster.until("itn", name, "Ready", "True")
    asked, agreed, revoked = PHASES
    found = {}
    cluster.apply(half("rival-lab", "neura", "neura-lab"))
    cluster.until("tpeer", "joint", "Reconciling", "True", "rival-lab")
    found[asked] = read_back(cluster)
    cluster.apply(half("neura-lab", "rival", "rival-lab", ports=[{"port": 8443}]))
    for namespace in ("rival-lab", "neura-lab"):
        cluster.until("tpeer", "joint", "Ready", "True", namespace)
    found[agreed] = read_back(cluster)
    cluster.kubectl("delete", "tpeer", "joint", "-n", "neura-lab")
    eventually(lambda: not any("-peer-" in one["metadata"]["name"] for one in cluster.list("networkpolicies")))
    found[revoked] = read_back(cluster)
    return found


@pytest.fixture(scope="module")
def addresses(cluster: Cluster) -> dict[str, Address]:
    return addresses_of(cluster)


def addresses_of(cluster: Cluster) -> dict[str, Address]:
    [node] = cluster.list("nodes")
    service = cluster.get("service", "kubernetes", "default")
    assert service is not None
    known = {
        "api-server": service["spec"]["clusterIP"],
        "node": next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"),
    }
    return {name: Address(known.get(name, name)) for name, *_ in rows(PODS_TO_ADDRESSES)[1:]}


def tenant(name: str, **network: Any) -> dict[str, Any]:
    spec = {
        "namespaces": [{"name": namespace} for namespace in TENANTS[name]],
        "network": {"peering": "Allowed", **network},
        "deletionPolicy": "Delete",
    }
    return {"apiVersion": API, "kind": "IndustrialTenant", "metadata": {"name": name}, "spec": spec}


def half(namespace: str, peer: str, peer_namespace: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": "joint", "namespace": namespace}
    spec = {"peer": {"tenant": peer, "namespace": peer_namespace}, **more}
    return {"apiVersion": API, "kind": "TenantPeering", "metadata": metadata, "spec": spec}


def network_policies(cluster: Cluster) -> Network:
    namespaces = {one["metadata"]["name"]: one["metadata"].get("labels", {}) for one in cluster.list("namespaces")}
    return Network(namespaces, tuple(cluster.list("networkpolicies")))


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip("\n").splitlines()]


def expected(phase: str, addresses: dict[str, Address]) -> dict[tuple[str, str], tuple[Peer, Peer, frozenset[Any]]]:
    """Read the tables: for each pair by name who they are, and what is open from the one to the other."""
    table = {}
    names, *lines = rows(PODS_TO_PODS)
    for source, *cells in lines:
        for target, cell in zip(names, cells, strict=True):
            open_ = OPEN[cell] if cell != "p" or phase == "both agree" else frozenset()
            table[source, target] = (PODS[source], PODS[target], open_)
    names, *lines = rows(PODS_TO_ADDRESSES)
    for target, *cells in lines:
        for name, cell in zip(names, cells[: len(names)], strict=True):
            for source in TENANTS[name]:
                table[source, target] = (PODS[source], addresses[target], OPEN[cell])
    # Nothing outside reaches a tenant; a namespace without policies, everything does.
    for source, address in addresses.items():
        for target in (*TENANTS["neura"], *TENANTS["rival"], "registry"):
            table[source, target] = (address, PODS[target], OPEN["*" if target == "registry" else "."])
    return table


@pytest.mark.parametrize("phase", PHASES)
def test_who_reaches_whom_is_what_the_table_says(
    networks: dict[str, Network], addresses: dict[str, Address], phase: str
) -> None:
    assert wrong(networks[phase], expected(phase, addresses)) == []


def wrong(network: Network, table: Mapping[tuple[str, str], tuple[Peer, Peer, frozenset[Any]]]) -> list[str]:
    """Say what is open or closed otherwise than a table has it."""
    problems = []
    for pair, (source, target, open_) in table.items():
        found = {probe for probe in PROBES if network.allows(source, target, probe[1], probe[0])}
        if found != open_:
            problems.append(f"{' -> '.join(pair)}: open {sorted(found - open_)}, closed {sorted(open_ - found)}")
    return problems


@pytest.mark.parametrize("phase", PHASES)
def test_an_independent_tool_gives_the_same_verdicts(
    networks: dict[str, Network], addresses: dict[str, Address], phase: str, tmp_path: Path
) -> None:
    program = cyclonus.cyclonus()
    pairs = expected(phase, addresses).items()
    asked = [(*pair, *probe) for (pair, _), probe in product(pairs, PROBES)]
    connections = [
        (source, target, port, protocol) for (_, (source, target, _)), (protocol, port) in product(pairs, PROBES)
    ]
    wanted = [probe in open_ for (_, (_, _, open_)), probe in product(pairs, PROBES)]

    verdicts = cyclonus.ask(program, networks[phase], connections, tmp_path)

    assert [one for one, verdict, want in zip(asked, verdicts, wanted, strict=True) if verdict != want] == []


def test_without_the_default_deny_the_table_does_not_hold(networks: dict[str, Network]) -> None:
    network = networks["both agree"]
    without = Network(
        network.namespaces,
        tuple(one for one in network.policies if one["metadata"]["namespace"] not in TENANTS["neura"]),
    )
    assert without.allows(PODS["ingress"], PODS["neura-train"])
    assert not network.allows(PODS["ingress"], PODS["neura-train"])


def policy(namespace: str, **spec: Any) -> dict[str, Any]:
    types = [type_ for type_ in ("Ingress", "Egress") if type_.lower() in spec]
    spec = {"podSelector": {}, "policyTypes": types, **spec}
    return {"metadata": {"name": f"p{id(spec)}", "namespace": namespace}, "spec": spec}


def test_both_evaluators_agree_on_what_the_operator_never_writes(tmp_path: Path) -> None:
    """Named ports, ranges, expressions, defaults: else both could be right about the operator's policies by chance."""
    web = Pod("a", (("app", "web"),), "10.0.0.1", (("https", "TCP", 443), ("quic", "UDP", 443)))
    peers: list[Peer] = [
        *(
            web,
            Pod("a", (("app", "db"),), "10.0.0.2"),
            Pod("b", (("app", "web"),), "10.0.1.1"),
            Pod("c", (), "2001:db8::7"),
        ),
        *(
            Address("10.0.0.9"),
            Address("10.0.5.5"),
            Address("8.8.8.8"),
            Address("2001:db8::1"),
            Address("2001:db8:1::1"),
        ),
    ]
    in_b = {"namespaceSelector": {"matchExpressions": [{"key": "name", "operator": "In", "values": ["b", "x"]}]}}
    not_db = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}
    labelled = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}
    nameless = {"namespaceSelector": {"matchExpressions": [{"key": "name", "operator": "DoesNotExist"}]}}
    block = {"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.5.0/24"]}}
    each_alone = [
        policy("a", ingress=[{"from": [in_b], "ports": [{"port": "https"}]}]),
        policy("a", podSelector=not_db, ingress=[{"ports": [{"protocol": "UDP", "port": 50, "endPort": 8443}]}]),
        policy("a", ingress=[{"from": [labelled]}], egress=[{"to": [block], "ports": [{"protocol": "TCP"}]}]),
        policy("a", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": {"cidr": "2001:db8::/48"}}, nameless]}]),
        policy("b", policyTypes=["Ingress", "Egress"], egress=[{}]),
        policy("a", ingress=[{"from": [{**in_b, "podSelector": {"matchLabels": {"app": "web"}}}]}]),
        policy("a", egress=[{"to": [nameless], "ports": [{"protocol": "UDP", "port": "quic"}, {"port": 53}]}]),
    ]
    program = cyclonus.cyclonus()
    namespaces = {"a": {"name": "a"}, "b": {"name": "b"}, "c": {}}
    connections = [
        (source, target, port, protocol)
        for source, target, (protocol, port) in product(peers, peers, PROBES)
        if source != target and (isinstance(source, Pod) or isinstance(target, Pod))
    ]
    for policies in (*([one] for one in each_alone), each_alone):
        network = Network(namespaces, tuple(policies))
        ours = [network.allows(*connection) for connection in connections]
        theirs = cyclonus.ask(program, network, connections, tmp_path)
        assert [one for one, our, their in zip(connections, ours, theirs, strict=True) if our != their] == []
        assert {True, False} == set(ours)
