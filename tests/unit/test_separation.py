"""The ClusterNetworkPolicy of a tenant in its plan: there before anybody has access, and for as long as a pod could run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpu_tenancy.domain.peering import Agreement, Side
from gpu_tenancy.reconcile.plan import Create, Delete, Plan, Update
from gpu_tenancy.reconcile.views import Platform
from gpu_tenancy.render.cluster_network_policy import cluster_network_policy, peers_of
from tenant_world import NEURA, Cluster, events, foreign_namespace, separation_ref, spec, status_writes, writes

POLICY = separation_ref("neura")
REFUSED = {"gpus": [{"pool": "unknown"}]}
BINDINGS = "RoleBinding"


def agreement(peer: str = "lab", *, namespace: str = "train", tenant: str = "neura") -> Agreement:
    return Agreement("joint", "0f6b", Side(tenant, namespace), Side("rival", peer), frozenset(), new=True)


def somebody_elses(name: str = "neura") -> dict:
    policy = cluster_network_policy(name, [], 5)
    policy["metadata"]["labels"] = {"team": "network"}
    return policy


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(platform=Platform(separation_priority=100))


@pytest.fixture
def standing(cluster: Cluster) -> Cluster:
    cluster.provision()
    cluster.written.clear()
    return cluster


def peers(cluster: Cluster) -> set[str]:
    return set(peers_of(cluster.objects[POLICY]))


def bound(cluster: Cluster) -> bool:
    return any(ref.kind == BINDINGS for ref in cluster.objects)


def said(cluster: Cluster) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in cluster.status("neura").conditions}


def test_without_the_setting_there_is_none():
    cluster = Cluster()
    cluster.provision()
    assert POLICY not in cluster.objects
    assert said(cluster)["Ready"] == ("True", "Reconciled")


def test_it_stands_as_rendered_and_is_one_of_the_controls(standing):
    policy = cluster_network_policy("neura", [], 100)
    assert standing.objects[POLICY]["spec"] == policy["spec"]
    entries = {one.id: one.objects for one in standing.status("neura").controls}
    assert entries["network-separation"] == 1
    assert standing.plan("neura") == Plan()


def test_nobody_has_access_before_it_is_seen_to_stand(cluster):
    cluster.declare("neura", spec(**NEURA))
    first = cluster.plan("neura").stages[0]
    [creation] = [one for one in first if isinstance(one, Create) and one.ref == POLICY]
    assert not creation.adopt, "one that exists after all may be anybody's"
    cluster.provision()
    assert bound(cluster)


def test_access_to_a_further_namespace_waits_while_the_name_is_taken(cluster):
    cluster.put(somebody_elses())
    cluster.provision()
    assert not bound(cluster)
    assert said(cluster)["Ready"] == ("False", "PolicyNameTaken")
    assert said(cluster)["Stalled"] == ("True", "PolicyNameTaken")
    assert "Reconciling" not in said(cluster)
    message = next(one.message for one in cluster.status("neura").conditions if one.type == "Ready")
    assert "ClusterNetworkPolicy gpu-tenancy-neura exists and is not the operator's" in message
    assert POLICY not in {one.ref for one in cluster.written if isinstance(one, Create | Update | Delete)}

    del cluster.objects[POLICY]
    cluster.settle("neura")
    assert bound(cluster)
    assert said(cluster) == {"Ready": ("True", "Reconciled")}


def test_one_that_was_handed_over_is_put_right(cluster):
    cluster.put(somebody_elses())
    cluster.provision()
    cluster.change(POLICY, {"metadata": {"labels": {"app.kubernetes.io/managed-by": "gpu-tenancy"}}})
    cluster.settle("neura")
    assert cluster.objects[POLICY]["spec"] == cluster_network_policy("neura", [], 100)["spec"]
    assert cluster.objects[POLICY]["metadata"]["labels"]["team"] == "network"
    assert said(cluster) == {"Ready": ("True", "Reconciled")}


def test_who_had_access_keeps_it_while_the_name_is_taken(standing):
    standing.change(POLICY, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    standing.settle("neura")
    assert bound(standing)
    assert said(standing)["Stalled"] == ("True", "PolicyNameTaken")
    assert writes(standing.written) == []


@pytest.mark.parametrize(
    "change",
    [
        {"priority": 900},
        {"tier": "Baseline"},
        {"ingress": []},
        {"subject": {"namespaces": {"matchLabels": {"a": "b"}}}},
    ],
)
def test_what_somebody_changes_is_put_right_and_told(standing, change):
    before = standing.objects[POLICY]["spec"]
    standing.change(POLICY, {"spec": change})
    told = events(standing.settle("neura"))
    assert told == {"IsolationDriftCorrected": "put right: ClusterNetworkPolicy gpu-tenancy-neura"}
    assert standing.objects[POLICY]["spec"] == before


def test_one_that_somebody_deletes_is_there_again_and_that_is_told(standing):
    del standing.objects[POLICY]
    assert "IsolationDriftCorrected" in events(standing.settle("neura"))
    assert POLICY in standing.objects
    assert status_writes(standing.written) == 0


def test_it_is_nobodys_meddling_that_the_setting_is_new():
    cluster = Cluster()
    cluster.provision()
    cluster.platform = replace(cluster.platform, separation_priority=100)
    assert events(cluster.settle("neura")) == {}
    assert POLICY in cluster.objects
    assert "network-separation" in {one.id for one in cluster.status("neura").controls}


def test_a_peering_opens_it_for_that_namespace_and_closes_it_and_neither_is_meddling(standing):
    standing.peerings["train"] = [agreement()]
    assert events(standing.settle("neura")) == {}
    assert peers(standing) == {"lab"}
    standing.peerings["serve"] = [agreement("desk", namespace="serve")]
    standing.settle("neura")
    assert peers(standing) == {"desk", "lab"}
    standing.peerings.clear()
    assert events(standing.settle("neura")) == {}
    assert peers(standing) == set()
    assert standing.plan("neura") == Plan()


def test_a_revoked_peering_is_closed_in_the_first_stage(standing):
    standing.peerings["train"] = [agreement()]
    standing.settle("neura")
    standing.declare("neura", spec(**NEURA | {"quota": {"pods": "5"}}))
    standing.peerings.clear()
    first = standing.plan("neura").stages[0]
    assert any(isinstance(one, Update) and one.ref == POLICY and one.resource_version for one in first)


def test_what_another_tenant_agreed_on_opens_nothing(standing):
    standing.peerings["train"] = [agreement(tenant="rival")]
    assert standing.plan("neura") == Plan()


def test_a_tenant_whose_spec_is_refused_keeps_it_up_to_date(standing):
    standing.peerings["train"] = [agreement()]
    standing.settle("neura")
    standing.declare("neura", spec(**NEURA | REFUSED))
    standing.settle("neura")
    standing.peerings.clear()
    standing.settle("neura")
    assert peers(standing) == set()
    del standing.objects[POLICY]
    standing.settle("neura")
    assert POLICY in standing.objects


def test_a_new_tenant_whose_spec_is_refused_gets_none(cluster):
    cluster.declare("neura", spec(**NEURA | REFUSED))
    assert writes(cluster.settle("neura")) == []


def test_a_tenant_that_has_no_namespaces_has_none(cluster):
    cluster.provision(namespaces=[], gpus=[])
    assert POLICY not in cluster.objects
    cluster.put(foreign_namespace("train"))
    cluster.provision(namespaces=[{"name": "train"}], gpus=[])
    assert POLICY not in cluster.objects, "what it cannot have is not its"


def test_suspension_leaves_it(standing):
    standing.declare("neura", spec(**NEURA | {"suspended": True}))
    standing.settle("neura")
    assert POLICY not in writes(standing.written)
    assert POLICY in standing.objects


def test_it_outlives_its_tenant_as_long_as_a_namespace_stays(standing):
    standing.peerings["train"] = [agreement()]
    standing.settle("neura")
    standing.forget("neura")
    standing.peerings.clear()
    standing.settle("neura")
    assert peers(standing) == set(), "closed to peers, and to everybody else as before"

    standing.objects = {ref: one for ref, one in standing.objects.items() if ref == POLICY}
    standing.settle("neura")
    assert standing.objects == {}


def test_it_stays_until_namespaces_that_are_being_deleted_are_gone(cluster):
    cluster.provision(deletionPolicy="Delete")
    cluster.declare("neura", spec(deletionPolicy="Delete"))
    cluster.settle("neura")
    assert POLICY in cluster.objects, "pods may still run"
    cluster.finish_deletions()
    cluster.settle("neura")
    assert POLICY not in cluster.objects


def test_somebody_elses_is_not_deleted_with_the_tenant(standing):
    standing.change(POLICY, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    standing.forget("neura")
    standing.objects = {ref: one for ref, one in standing.objects.items() if ref == POLICY}
    assert standing.plan("neura") == Plan()


def test_one_that_is_being_deleted_is_waited_for(standing):
    standing.change(POLICY, {"metadata": {"deletionTimestamp": "2026-12-01T08:00:00Z"}})
    standing.settle("neura")
    assert said(standing)["Ready"] == ("False", "Progressing")
    del standing.objects[POLICY]
    standing.settle("neura")
    assert said(standing) == {"Ready": ("True", "Reconciled")}
