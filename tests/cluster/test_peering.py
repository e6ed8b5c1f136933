"""Peerings on a real control plane: two tenants' own people open and close a way, and either alone opens nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cluster.operating import Cluster, eventually
from cluster.site import API, a_site
from gpu_tenancy.localcluster import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.operating import OperatorProcess

POLICIES = "networkpolicies"
OPEN_TO = "gpu-tenancy-peer-"


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    with a_site(premises, operator) as cluster:
        yield cluster


def tenant(name: str, *namespaces: str, peering: str = "Allowed", **more: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "owners": [{"kind": "User", "name": f"{name}-editor", "role": "Editor"}],
        "namespaces": [{"name": namespace} for namespace in namespaces],
        "network": {"peering": peering},
    }
    return {"apiVersion": API, "kind": "IndustrialTenant", "metadata": {"name": name}, "spec": spec | more}


def half(namespace: str, peer: str, peer_namespace: str, *ports: int, name: str = "joint") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    spec: dict[str, Any] = {"peer": {"tenant": peer, "namespace": peer_namespace}}
    if ports:
        spec["ports"] = [{"port": port} for port in ports]
    return {"apiVersion": API, "kind": "TenantPeering", "metadata": metadata, "spec": spec}


class Pair:
    """Two tenants with a namespace each, `<name>-a` and `<name>-b`, that may peer."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.names = self.a, self.b = f"{name}-a", f"{name}-b"
        cluster.apply(tenant(self.a, self.a), tenant(self.b, self.b))
        for one in self.names:
            cluster.until("itn", one, "Ready", "True")

    def agree(self, *ports: int) -> None:
        """Have both write their half, and wait until both are told that it stands."""
        self.cluster.apply(half(self.a, self.b, self.b, *ports), half(self.b, self.a, self.a, *ports))
        for one in self.names:
            self.cluster.until("tpeer", "joint", "Ready", "True", one)

    def policies(self) -> list[dict[str, Any] | None]:
        return [self.cluster.get(POLICIES, OPEN_TO + peer, own) for own, peer in (self.names, self.names[::-1])]

    def closed(self) -> None:
        """Wait until both sides are closed."""
        eventually(lambda: self.policies() == [None, None], lambda: str(self.policies()))


def test_both_halves_open_what_one_does_not(cluster: Cluster) -> None:
    pair = Pair(cluster, "both")
    editors = [cluster.control_plane.kubeconfig(f"{name}-editor", []) for name in pair.names]

    cluster.apply(half(pair.a, pair.b, pair.b, 8443, 9000), kubeconfig=editors[0])
    waiting = cluster.until("tpeer", "joint", "Reconciling", "True", pair.a)
    assert waiting["reason"] == "AwaitingPeer"
    assert pair.policies() == [None, None]

    cluster.apply(half(pair.b, pair.a, pair.a, 8443, 7000), kubeconfig=editors[1])
    for name in pair.names:
        assert cluster.until("tpeer", "joint", "Ready", "True", name)["reason"] == "Established"
    for policy, peer in zip(pair.policies(), (pair.b, pair.a), strict=True):
        assert policy is not None
        labels = {"kubernetes.io/metadata.name": peer, "gpu-tenancy.dev/tenant": peer}
        [ingress], [egress] = policy["spec"]["ingress"], policy["spec"]["egress"]
        assert ingress["from"] == egress["to"] == [{"namespaceSelector": {"matchLabels": labels}}]
        assert ingress["ports"] == egress["ports"] == [{"protocol": "TCP", "port": 8443}]


def test_who_asks_for_what_is_not_there_hears_the_same_as_who_is_not_wanted(cluster: Cluster) -> None:
    cluster.apply(
        tenant("curious", "curious-a"), tenant("shy", "shy-a"), tenant("unwilling", "unwilling-a", peering="Denied")
    )
    for name in ("curious", "shy", "unwilling"):
        cluster.until("itn", name, "Ready", "True")
    asked = {
        "shy": "shy-a",
        "unwilling": "unwilling-a",
        "nobody": "nothing",
        "nobody2": "shy-a",
        "shy2": "gpu-tenancy-system",
    }
    cluster.apply(
        half("unwilling-a", "curious", "curious-a"),
        *(half("curious-a", peer, namespace, name=peer) for peer, namespace in asked.items()),
    )
    heard = set()
    for peer, namespace in asked.items():
        said = cluster.until("tpeer", peer, "Reconciling", "True", "curious-a")
        heard.add((said["reason"], said["message"].replace(namespace, "NAMESPACE").replace(f" {peer} ", " TENANT ")))
    assert len(heard) == 1, heard


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("gone", lambda pair: pair.cluster.kubectl("delete", "tpeer", "joint", "-n", pair.b)),
        ("turned", lambda pair: pair.cluster.apply(half(pair.b, "third", "third-a"))),
        ("parted", lambda pair: pair.cluster.apply(half(pair.b, pair.a, pair.a, 1))),
        ("denied", lambda pair: pair.cluster.apply(tenant(pair.b, pair.b, peering="Denied"))),
        ("shut", lambda pair: pair.cluster.apply(tenant(pair.b, pair.b, suspended=True))),
        (
            "over",
            lambda pair: pair.cluster.apply(tenant(pair.b, pair.b, contract={"validUntil": "2026-01-01T00:00:00Z"})),
        ),
        ("unlisted", lambda pair: pair.cluster.apply(tenant(pair.b))),
        ("left", lambda pair: pair.cluster.kubectl("delete", "itn", pair.b)),
        ("refused", lambda pair: pair.cluster.apply(tenant(pair.b, pair.b, peering="Denied", gpus=[{"pool": "none"}]))),
    ],
)
def test_whatever_ends_it_on_one_side_closes_both(cluster: Cluster, name: str, end: Any) -> None:
    pair = Pair(cluster, name)
    pair.agree(8443)

    end(pair)

    pair.closed()
    assert cluster.until("tpeer", "joint", "Ready", "False", pair.a)["reason"] == "AwaitingPeer"


def test_a_namespace_that_passes_to_another_tenant_takes_no_peering_along(cluster: Cluster) -> None:
    pair = Pair(cluster, "passed")
    pair.agree()
    cluster.apply(tenant(pair.b), tenant("heir", pair.b))
    cluster.kubectl("label", "namespace", pair.b, "gpu-tenancy.dev/tenant=heir", "--overwrite")
    cluster.until("itn", "heir", "Ready", "True")

    pair.closed()


def test_a_peer_whose_plan_cannot_be_done_does_not_hold_it_open(cluster: Cluster) -> None:
    pair = Pair(cluster, "stuck")
    pair.agree()
    cluster.apply(tenant(pair.b, pair.b, gpus=[{"pool": "unknown"}]))
    cluster.until("itn", pair.b, "Stalled", "True")
    assert None not in pair.policies(), "who is refused keeps what it has"

    cluster.kubectl("delete", "tpeer", "joint", "-n", pair.a)

    pair.closed()


def test_what_somebody_else_changes_is_put_right(cluster: Cluster, operator: OperatorProcess) -> None:
    pair = Pair(cluster, "drift")
    pair.agree(8443)
    before = operator.metric("gpu_tenancy_drift_repairs_total", kind="NetworkPolicy")
    spec = pair.policies()[0]["spec"]

    cluster.kubectl(
        "patch", POLICIES, OPEN_TO + pair.b, "-n", pair.a, "--type=merge", "-p", '{"spec": {"ingress": [{}]}}'
    )
    eventually(lambda: pair.policies()[0]["spec"] == spec)
    cluster.kubectl("delete", POLICIES, OPEN_TO + pair.b, "-n", pair.a)
    eventually(lambda: pair.policies()[0] is not None)

    eventually(lambda: operator.metric("gpu_tenancy_drift_repairs_total", kind="NetworkPolicy") > before)


def test_no_tenant_can_write_such_a_policy_itself(cluster: Cluster) -> None:
    pair = Pair(cluster, "forged")
    pair.agree()
    editor = cluster.control_plane.kubeconfig(f"{pair.a}-editor", [])
    mine = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "gpu-tenancy-peer-other", "namespace": pair.a},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    with pytest.raises(LocalClusterError, match="are the operator's"):
        cluster.create(mine, kubeconfig=editor)
    with pytest.raises(LocalClusterError, match="belongs to the operator"):
        cluster.kubectl("delete", POLICIES, OPEN_TO + pair.b, "-n", pair.a, kubeconfig=editor)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"tenant": "x", "namespace": "kube-system"}, "belong to the platform"),
        ({"tenant": "x", "namespace": "müller"}, "should match"),
        ({"tenant": "x" * 64, "namespace": "y"}, "may not be more than 63"),
        ({"tenant": "x", "namespace": "y" * 64}, "may not be more than 63"),
        ({"tenant": "", "namespace": "y"}, "should be at least 1"),
        ({"tenant": "x"}, "Required value"),
    ],
)
def test_what_no_peer_can_be_is_refused_at_once(cluster: Cluster, spec: dict[str, str], why: str) -> None:
    bad = {"apiVersion": API, "kind": "TenantPeering", "metadata": {"name": "bad", "namespace": "default"}}
    with pytest.raises(LocalClusterError, match=why):
        cluster.create({**bad, "spec": {"peer": spec}})


def test_names_of_63_characters_can_peer(cluster: Cluster) -> None:
    long_a, long_b = "long-a-" + "x" * 56, "long-b-" + "x" * 56
    cluster.apply(tenant(long_a, long_a), tenant(long_b, long_b))
    for name in (long_a, long_b):
        cluster.until("itn", name, "Ready", "True")
    cluster.apply(half(long_a, long_b, long_b), half(long_b, long_a, long_a))

    cluster.until("tpeer", "joint", "Ready", "True", long_a)

    names = [one["metadata"]["name"] for one in cluster.list(POLICIES, long_a)]
    assert [len(name) for name in names if name.startswith(OPEN_TO)] == [63]


def test_of_many_only_so_many_count_and_the_younger_is_told(cluster: Cluster) -> None:
    cluster.apply(tenant("crowd", "crowd-a"))
    cluster.until("itn", "crowd", "Ready", "True")
    cluster.apply(*(half("crowd-a", "x", f"n{number}", name=f"p{number:02}") for number in range(33)))
    cluster.apply(half("crowd-a", "x", "n0", name="z-again"), half("crowd-a", "crowd", "crowd-b", name="z-self"))

    assert cluster.until("tpeer", "p32", "Stalled", "True", "crowd-a")["reason"] == "TooManyPeerings"
    assert cluster.until("tpeer", "z-again", "Stalled", "True", "crowd-a")["reason"] == "DuplicatePeer"
    assert cluster.until("tpeer", "z-self", "Stalled", "True", "crowd-a")["reason"] == "OwnTenant"

    cluster.kubectl("delete", "tpeer", "p00", "-n", "crowd-a")
    cluster.until("tpeer", "p32", "Reconciling", "True", "crowd-a")
    eventually(
        lambda: cluster.until("tpeer", "z-again", "Stalled", "True", "crowd-a")["reason"] == "TooManyPeerings",
        lambda: "it is no duplicate any more, and one too many",
    )


def test_while_the_operator_is_down_one_half_deleted_closes_the_way(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    pair = Pair(cluster, "down")
    pair.agree()
    operator.kill()
    try:
        cluster.kubectl("delete", "tpeer", "joint", "-n", pair.a)
        eventually(lambda: pair.policies()[0] is None)
        assert pair.policies()[1] is not None, "the other side's alone opens nothing"
    finally:
        operator.start()
    pair.closed()


@pytest.mark.usefixtures("counted")
def test_a_second_run_with_nothing_changed_writes_nothing(cluster: Cluster, operator: OperatorProcess) -> None:
    Pair(cluster, "calm").agree(8443)

    assert operator.written_again() == {}
    assert operator.metric("gpu_tenancy_peerings", state="Established") >= 2
