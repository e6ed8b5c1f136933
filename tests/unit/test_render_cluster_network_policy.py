"""A tenant's ClusterNetworkPolicy denies other tenants, and has nothing else in it."""

from __future__ import annotations

import orjson
import pytest

from gpu_tenancy.api.tenant import MAX_NAMESPACES
from gpu_tenancy.domain.peering import MAX_PEERINGS
from gpu_tenancy.render.cluster_network_policy import cluster_network_policy, peers_of, policy_name, tenant_of

ETCD_LIMIT = 1.5 * 2**20
NO_VALUES = {"key": "kubernetes.io/metadata.name", "operator": "NotIn"}
OTHERS = [
    {"key": "gpu-tenancy.dev/tenant", "operator": "Exists"},
    {"key": "gpu-tenancy.dev/tenant", "operator": "NotIn", "values": ["neura"]},
]


def test_it_denies_other_tenants_both_ways_before_any_network_policy_is_judged():
    policy = cluster_network_policy("neura", [], 100)
    assert policy == {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "gpu-tenancy-neura", "labels": {"app.kubernetes.io/managed-by": "gpu-tenancy"}},
        "spec": {
            "tier": "Admin",
            "priority": 100,
            "subject": {"namespaces": {"matchLabels": {"gpu-tenancy.dev/tenant": "neura"}}},
            "ingress": [
                {"name": "other-tenants", "action": "Deny", "from": [{"namespaces": {"matchExpressions": OTHERS}}]}
            ],
            "egress": [
                {"name": "other-tenants", "action": "Deny", "to": [{"namespaces": {"matchExpressions": OTHERS}}]}
            ],
        },
    }


def test_it_leaves_peers_to_network_policies_in_an_order_that_does_not_depend_on_theirs():
    policy = cluster_network_policy("neura", ["lab", "b", "lab"], 100)
    left = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["b", "lab"]}
    [ingress], [egress] = policy["spec"]["ingress"], policy["spec"]["egress"]
    for (peer,) in (ingress["from"], egress["to"]):
        assert peer == {"namespaces": {"matchExpressions": [*OTHERS, left]}}
    assert peers_of(policy) == {"b", "lab"}


@pytest.mark.parametrize(
    "change",
    [
        {"egress": []},
        {"ingress": [], "egress": []},
        {"ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]},
        {"ingress": [{"action": "Deny", "from": [{"namespaces": {"matchExpressions": [NO_VALUES]}}]}]},
        {"egress": [{"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]}]},
    ],
)
def test_what_somebody_else_wrote_into_it_can_be_read(change):
    policy = cluster_network_policy("neura", ["lab"], 100)
    policy["spec"] |= change
    assert peers_of(policy) <= {"lab"}


def test_a_namespace_is_left_only_if_it_is_both_ways():
    policy = cluster_network_policy("neura", ["lab", "desk"], 100)
    policy["spec"]["egress"] = cluster_network_policy("neura", ["lab", "site"], 100)["spec"]["egress"]
    assert peers_of(policy) == {"lab"}


def test_as_many_peers_as_there_can_be_fit_into_what_the_api_server_stores():
    names = [f"{number:063}" for number in range(MAX_NAMESPACES * MAX_PEERINGS)]
    policy = cluster_network_policy("n" * 63, names, 1000)
    assert len(orjson.dumps(policy)) < 0.8 * ETCD_LIMIT
    assert [len(policy["spec"][rules]) for rules in ("ingress", "egress")] == [1, 1]


def test_its_name_is_the_tenants():
    assert tenant_of(policy_name("n" * 63)) == "n" * 63
    assert tenant_of("somebody-else's") == ""
