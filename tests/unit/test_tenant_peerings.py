"""The network policies of peerings, as part of a tenant's plan: opened last, closed first, and closed in any case."""

from __future__ import annotations

import pytest

from gpu_tenancy.domain.peering import MAX_PEERINGS, Agreement, Port, Side
from gpu_tenancy.reconcile.plan import Create, Delete, Plan, Update
from tenant_world import NEURA, Cluster, events, foreign_namespace, policy_ref, spec, writes

ALLOWED = {"network": {"peering": "Allowed"}}
REFUSED = {"gpus": [{"pool": "unknown"}]}
POLICY = policy_ref("train", "gpu-tenancy-peer-lab")
HTTPS = Port("TCP", 443)


def agreement(*ports: Port, new: bool = True, peer: str = "lab", tenant: str = "neura") -> Agreement:
    return Agreement("joint", "0f6b", Side(tenant, "train"), Side("rival", peer), frozenset(ports), new=new)


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.provision(**ALLOWED)
    cluster.written.clear()
    return cluster


@pytest.fixture
def peered(cluster: Cluster) -> Cluster:
    cluster.peerings["train"] = [agreement()]
    cluster.settle("neura")
    cluster.peerings["train"] = [agreement(new=False)]
    cluster.written.clear()
    return cluster


def test_an_agreement_is_one_more_policy_in_that_namespace_and_nothing_else(cluster):
    cluster.peerings["train"] = [agreement(HTTPS)]
    assert writes(cluster.settle("neura")) == [POLICY]
    metadata = cluster.objects[POLICY]["metadata"]
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "gpu-tenancy"}
    assert [(one["kind"], one["name"], one["uid"]) for one in metadata["ownerReferences"]] == [
        ("TenantPeering", "joint", "0f6b")
    ], "Kubernetes closes it with the peering, operator or not"
    assert cluster.plan("neura") == Plan()


def test_it_is_not_taken_for_meddling_that_one_opens_changes_and_closes(cluster):
    told = {}
    for agreements in ([agreement()], [agreement(HTTPS)], []):
        cluster.peerings["train"] = agreements
        told |= events(cluster.settle("neura"))
    assert POLICY not in cluster.objects
    assert told == {}


def test_it_is_meddling_that_an_open_one_is_changed_or_gone(peered):
    peered.change(POLICY, {"spec": {"ingress": [{}]}})
    assert "IsolationDriftCorrected" in events(peered.settle("neura"))
    del peered.objects[POLICY]
    assert "IsolationDriftCorrected" in events(peered.settle("neura"))
    assert POLICY in peered.objects


def test_a_policy_follows_a_peering_that_was_made_anew(peered):
    peered.change(POLICY, {"metadata": {"ownerReferences": [{"kind": "TenantPeering", "name": "joint", "uid": "old"}]}})
    peered.settle("neura")
    assert peered.objects[POLICY]["metadata"]["ownerReferences"][0]["uid"] == "0f6b"


def test_what_ends_or_changes_is_written_in_the_first_stage(peered):
    peered.declare("neura", spec(**NEURA | ALLOWED | {"quota": {"pods": "5"}, "owners": []}))
    peered.peerings["train"] = []
    assert Delete(POLICY, peered.objects[POLICY]["metadata"]["uid"]) in peered.plan("neura").stages[0]
    peered.peerings["train"] = [agreement(HTTPS)]
    assert any(isinstance(one, Update) and one.ref == POLICY for one in peered.plan("neura").stages[0])


def test_what_begins_waits_for_what_comes_before(cluster):
    cluster.declare("neura", spec(**NEURA | ALLOWED | {"workloads": {"podSecurity": "Baseline"}}))
    cluster.peerings["train"] = [agreement()]
    first, *later = cluster.plan("neura").stages
    assert not any(isinstance(one, Create) for one in first)
    assert any(isinstance(one, Create) and one.ref == POLICY for stage in later for one in stage)


def test_a_tenant_whose_spec_is_refused_closes_what_was_revoked(peered):
    peered.declare("neura", spec(**NEURA | ALLOWED | REFUSED))
    peered.settle("neura")
    assert POLICY in peered.objects, "keeps what it has"
    peered.peerings["train"] = [agreement(HTTPS)]
    peered.settle("neura")
    assert peered.objects[POLICY]["spec"]["egress"][0]["ports"] == [{"protocol": "TCP", "port": 443}]
    peered.peerings["train"] = []
    peered.settle("neura")
    assert POLICY not in peered.objects
    assert ("NetworkPolicy", "gpu-tenancy-allow-tenant") in peered.inside("train")


def test_a_tenant_whose_spec_is_refused_opens_nothing(cluster):
    cluster.declare("neura", spec(**NEURA | ALLOWED | REFUSED))
    cluster.peerings["train"] = [agreement()]
    cluster.settle("neura")
    assert POLICY not in cluster.objects


def test_a_tenant_whose_spec_is_refused_leaves_other_tenants_peerings_alone(peered):
    peered.declare("rival", spec(namespaces=[{"name": "train"}], **REFUSED))
    peered.peerings.clear()
    assert writes(peered.settle("rival")) == []
    assert POLICY in peered.objects


def test_a_namespace_that_stays_after_its_tenant_is_shut_to_peers_as_well(peered):
    peered.peerings.clear()
    peered.forget("neura")
    peered.settle("neura")
    assert POLICY not in peered.objects
    assert ("NetworkPolicy", "gpu-tenancy-allow-tenant") in peered.inside("train")


def test_a_namespace_that_is_not_listed_any_more_is_shut_to_peers_as_well(peered):
    peered.peerings.clear()
    peered.declare("neura", spec(namespaces=[{"name": "serve"}]))
    peered.settle("neura")
    assert POLICY not in peered.objects
    assert peered.plan("neura") == Plan()


def test_what_another_tenant_agreed_on_in_a_namespace_is_not_this_ones(cluster):
    cluster.peerings["train"] = [agreement(tenant="rival")]
    assert cluster.plan("neura") == Plan()


def test_peerings_take_nothing_of_the_tenants_own_quota_of_policies(cluster):
    key = "count/networkpolicies.networking.k8s.io"
    before = int(cluster.hard("train", "gpu-tenancy-base")[key])
    cluster.peerings["train"] = [agreement(peer=f"lab-{number}") for number in range(MAX_PEERINGS)]
    cluster.settle("neura")
    assert int(cluster.hard("train", "gpu-tenancy-base")[key]) == before, "it is not written anew for each"
    cluster.provision()
    assert int(cluster.hard("train", "gpu-tenancy-base")[key]) == before - MAX_PEERINGS


def test_a_foreign_namespace_is_never_opened(cluster):
    cluster.put(foreign_namespace("other", **{"gpu-tenancy.dev/tenant": "rival"}))
    cluster.peerings["other"] = [
        Agreement("p", "1", Side("rival", "other"), Side("neura", "train"), frozenset(), new=True)
    ]
    cluster.settle("neura")
    assert cluster.inside("other") == {}
