"""The status lists each control with a hash of what its objects say, and is written again only for a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gpu_tenancy.domain.conditions import find
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.whereabouts import Item, Residence
from gpu_tenancy.reconcile.audit import Audit, Policies
from gpu_tenancy.reconcile.controls import IDS, NETWORK_SEPARATION, own_fields, verification_due
from gpu_tenancy.reconcile.plan import Plan
from tenant_world import NEURA, NOW, Cluster, events, namespace_ref, policy_ref, quota_ref, spec, status_writes

POLICIES = Policies(4, "abc")
CLEAN = Audit(Residence(inside=(("Pod", 3),)), POLICIES, NOW)
STRAYS = tuple(Item("Pod", "train", f"p{n}", "ch-1", ("eu-ch2",)) for n in range(7))


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.provision()
    return cluster


def entries(cluster: Cluster) -> dict[str, Any]:
    return {one.id: one for one in cluster.status("neura").controls}


def test_each_control_that_consists_of_objects_is_listed_once_all_stands(cluster: Cluster) -> None:
    found = entries(cluster)
    assert {name: one.objects for name, one in found.items()} == {
        "namespace-isolation": 2,
        "base-quota": 2,
        "default-requests": 2,
        "gpu-quotas": 6,
        "network-isolation": 6,
        "access-bindings": 4,
    }
    assert {one.result for one in found.values()} == {"Verified"}
    assert {one.lastVerifiedTime for one in found.values()} == {NOW.replace(microsecond=0)}
    assert len({one.hash for one in found.values()}) == len(found)


def test_what_audits_tell_is_listed_after_the_first_and_kept_over_a_restart(cluster: Cluster) -> None:
    cluster.audit = CLEAN
    assert status_writes(cluster.settle("neura")) == 1
    found = entries(cluster)
    assert tuple(found) == tuple(one for one in IDS if one != NETWORK_SEPARATION)
    assert (found["residency"].objects, found["residency"].result) == (2, "Verified")
    assert (found["admission-policies"].objects, found["admission-policies"].hash) == (4, "abc")
    cluster.audit = None
    assert cluster.plan("neura", NOW + timedelta(hours=1)) == Plan()


@pytest.mark.parametrize(
    ("audit", "residency", "policies"),
    [
        (CLEAN, "Verified", "Verified"),
        (replace(CLEAN, residence=Residence(unknown=(("PersistentVolume", 1),))), "Unknown", "Verified"),
        (replace(CLEAN, residence=Residence(STRAYS, (("PersistentVolume", 1),))), "Violated", "Verified"),
        (replace(CLEAN, policies=Policies(4, "abc", ("gpu-tenancy-pods",))), "Verified", "Violated"),
        (replace(CLEAN, policies=Policies()), "Verified", "Violated"),
    ],
    ids=["all is well", "something cannot be told", "something is outside", "a policy is not bound", "no policies"],
)
def test_a_control_says_how_it_stands(cluster: Cluster, audit: Audit, residency: str, policies: str) -> None:
    cluster.audit = audit
    cluster.settle("neura")
    found = entries(cluster)
    assert (found["residency"].result, found["admission-policies"].result) == (residency, policies)


def test_a_look_that_finds_the_same_writes_nothing_until_the_evidence_is_old(cluster: Cluster) -> None:
    cluster.audit = CLEAN
    cluster.settle("neura")
    due = verification_due(cluster.view("neura"), NOW)
    assert due is not None
    assert timedelta(hours=21.5) < due - NOW <= timedelta(days=1)
    cluster.audit = replace(CLEAN, at=due - timedelta(minutes=1))
    assert cluster.plan("neura", due - timedelta(seconds=1)) == Plan()
    assert status_writes(cluster.reconcile("neura", due)) == 1
    found = entries(cluster)
    assert found["network-isolation"].lastVerifiedTime == due
    assert found["residency"].lastVerifiedTime == due.replace(microsecond=0) - timedelta(minutes=1)
    assert cluster.plan("neura", due) == Plan()


def test_a_tenant_that_never_stood_has_nothing_to_verify() -> None:
    cluster = Cluster()
    cluster.declare("neura", spec(**NEURA))
    assert verification_due(cluster.view("neura"), NOW) is None


def test_what_cannot_be_verified_is_not_tried_without_a_pause(cluster: Cluster) -> None:
    cluster.provision(residency={"regions": ["atlantis"]})
    later = NOW + timedelta(days=3)
    assert status_writes(cluster.reconcile("neura", later)) == 0
    assert verification_due(cluster.view("neura"), later) == later + timedelta(minutes=1)


def test_the_hash_changes_with_the_operators_own_fields_and_with_no_others(cluster: Cluster) -> None:
    before = entries(cluster)
    cluster.change(policy_ref("train", "gpu-tenancy-default-deny"), {"metadata": {"annotations": {"note": "x"}}})
    cluster.change(namespace_ref("train"), {"metadata": {"labels": {"team": "a"}}})
    assert cluster.settle("neura") == []
    cluster.provision(network={"internetEgress": "Allowed"})
    after = entries(cluster)
    changed = {name for name in before if before[name].hash != after[name].hash}
    # A namespace has one more policy of the operator, which does not count against the tenant's.
    assert changed == {"network-isolation", "base-quota"}
    assert after["network-isolation"].objects == 8
    kept = {name for name in before if before[name] == after[name]}
    assert kept == before.keys() - changed


def test_what_a_pool_hands_out_is_no_change_of_the_control() -> None:
    quota = {
        "kind": "ResourceQuota",
        "metadata": {"name": "gpu-b200-reserved", "namespace": "train"},
        "spec": {"hard": {"requests.nvidia.com/gpu": "0"}, "scopeSelector": {}},
    }
    raised = quota | {"spec": {"hard": {"requests.nvidia.com/gpu": "32"}, "scopeSelector": {}}}
    widened = quota | {"spec": {"hard": {}, "scopeSelector": {}}}
    assert own_fields(quota) == own_fields(raised) != own_fields(widened)


def test_a_window_costs_no_status_write_by_itself(cluster: Cluster) -> None:
    cluster.allotments["train", "b200", Tier.RESERVED] = 8
    assert status_writes(cluster.settle("neura")) == 0
    assert cluster.hard("train", "gpu-b200-reserved")["requests.nvidia.com/gpu"] == "8"


def test_what_is_being_put_right_is_not_reported_as_verified(cluster: Cluster) -> None:
    before = entries(cluster)
    del cluster.objects[quota_ref("train", "gpu-tenancy-base")]
    cluster.counting = False
    cluster.reconcile("neura", NOW + timedelta(days=2))
    assert entries(cluster) == before


def test_what_is_outside_is_told_named_and_withdrawn(cluster: Cluster) -> None:
    cluster.audit = replace(CLEAN, residence=Residence(STRAYS))
    written = cluster.settle("neura")
    condition = find(cluster.status("neura").conditions, "ResidencyViolated")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "OutsidePlacement")
    assert condition.message.startswith("placement DE does not admit: Pod train/p0 on node ch-1 in region eu-ch2; ")
    assert "Pod train/p4" in condition.message
    assert "; and 2 more; have them moved or deleted" in condition.message
    assert events(written) == {"RegionViolation": condition.message}

    cluster.audit = None
    assert cluster.plan("neura", NOW + timedelta(hours=1)) == Plan()
    cluster.audit = CLEAN
    assert events(cluster.settle("neura")) == {}
    assert find(cluster.status("neura").conditions, "ResidencyViolated") is None


def test_the_operators_own_kinds_are_counted_from_the_audit_on_that_sees_them_counted(cluster: Cluster) -> None:
    key = "count/gpureservations.gpu-tenancy.dev"
    cluster.audit = CLEAN
    cluster.settle("neura")
    assert key not in cluster.hard("train", "gpu-tenancy-base")
    cluster.audit = replace(CLEAN, counted=frozenset({key}))
    assert "IsolationDriftCorrected" not in events(cluster.settle("neura"))
    assert cluster.hard("train", "gpu-tenancy-base")[key] == "1k"
    cluster.audit = None
    assert cluster.plan("neura") == Plan()


def policy(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "spec": fields}


def test_a_policy_is_in_force_if_a_binding_denies_by_it() -> None:
    pods, routes = policy("ValidatingAdmissionPolicy", "pods"), policy("ValidatingAdmissionPolicy", "routes")
    placement = policy("MutatingAdmissionPolicy", "placement")
    bindings = [
        policy("ValidatingAdmissionPolicyBinding", "pods", policyName="pods", validationActions=["Deny", "Audit"]),
        policy("ValidatingAdmissionPolicyBinding", "routes", policyName="routes", validationActions=["Warn"]),
        policy("MutatingAdmissionPolicyBinding", "placement", policyName="placement"),
    ]
    found = Policies.of([pods, routes, placement], bindings)
    assert (found.objects, found.loose) == (6, ("routes",))
    assert Policies.of([placement, routes, pods], reversed(bindings)) == found
    assert Policies.of([pods, routes, placement], bindings[:2]).hash != found.hash
    assert Policies.of([pods], bindings[:1]).loose == ()


def test_a_policy_that_is_missing_or_lets_anything_pass_is_loose() -> None:
    pods = policy("ValidatingAdmissionPolicy", "pods", failurePolicy="Fail")
    binding = policy("ValidatingAdmissionPolicyBinding", "pods", policyName="pods", validationActions=["Deny"])
    assert Policies.of([pods], [binding], ["pods", "routes"]).loose == ("routes",)
    lax = pods | {"spec": pods["spec"] | {"failurePolicy": "Ignore"}}
    assert Policies.of([lax], [binding]).loose == ("pods",)
    narrow = binding | {
        "spec": binding["spec"] | {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}
    }
    assert Policies.of([pods], [narrow]).loose == ("pods",)


@pytest.mark.parametrize(
    ("name", "limits", "loose"),
    [
        ("pods", {}, ()),
        ("pods", {"objectSelector": {"matchLabels": {"a": "b"}}}, ("gpu-tenancy-pods",)),
        ("pods", {"excludeResourceRules": [{"resources": ["pods"]}]}, ("gpu-tenancy-pods",)),
        ("accelerators", {}, ("gpu-tenancy-accelerators",)),
    ],
)
def test_a_binding_holds_in_every_namespace_of_tenants(name: str, limits: dict[str, Any], loose: tuple[str]) -> None:
    tenants = {"matchExpressions": [{"key": "gpu-tenancy.dev/tenant", "operator": "Exists"}]}
    matched = {"namespaceSelector": tenants, "objectSelector": {}, "matchPolicy": "Equivalent", **limits}
    one = policy("ValidatingAdmissionPolicy", f"gpu-tenancy-{name}", failurePolicy="Fail")
    spec = {"policyName": f"gpu-tenancy-{name}", "validationActions": ["Deny"], "matchResources": matched}
    binding = policy("ValidatingAdmissionPolicyBinding", f"gpu-tenancy-{name}", **spec)
    assert Policies.of([one], [binding]).loose == loose
