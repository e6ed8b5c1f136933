"""The life of a tenant: what is written, in which order, and what a spec that cannot be carried out does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gpu_tenancy.domain.contract import Stage, Standing
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.reconcile.plan import Create, Delete, Emit, Plan, Update
from gpu_tenancy.reconcile.tenants import look_again, plan_failure, plan_tenant, refusal
from tenant_world import (
    NEURA,
    NOW,
    POOLS,
    REGIONS,
    Cluster,
    binding_ref,
    events,
    namespace_ref,
    policy_ref,
    quota_ref,
    spec,
    status_writes,
    writes,
)

CONTENT = {
    ("ResourceQuota", "gpu-b200-guaranteed"),
    ("ResourceQuota", "gpu-b200-reserved"),
    ("ResourceQuota", "gpu-b200-spot"),
    ("ResourceQuota", "gpu-other"),
    ("ResourceQuota", "gpu-tenancy-base"),
    ("LimitRange", "gpu-tenancy-defaults"),
    ("NetworkPolicy", "gpu-tenancy-default-deny"),
    ("NetworkPolicy", "gpu-tenancy-allow-dns"),
    ("NetworkPolicy", "gpu-tenancy-allow-tenant"),
    ("RoleBinding", "gpu-tenancy-owner"),
    ("RoleBinding", "gpu-tenancy-editor"),
}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def provisioned(cluster: Cluster) -> Cluster:
    cluster.provision()
    cluster.written.clear()
    return cluster


def position(plan: Plan, kind: str, name: str) -> int:
    """Say in which stage of a plan an object is written."""
    (stage,) = {
        number
        for number, stage in enumerate(plan.stages)
        for operation in stage
        if not isinstance(operation, Emit) and (operation.ref.kind, operation.ref.name) == (kind, name)
    }
    return stage


def test_each_namespace_gets_all_that_isolates_it(cluster):
    cluster.provision()
    assert cluster.inside("train").keys() == CONTENT
    assert cluster.inside("serve").keys() == CONTENT - {
        ("ResourceQuota", "gpu-b200-guaranteed"),
        ("ResourceQuota", "gpu-b200-spot"),
    }


def test_a_new_tenant_costs_one_write_for_each_object_and_two_for_the_status(cluster):
    operations = cluster.provision()
    assert all(isinstance(one, Create) for one in operations if not isinstance(one, Update | Emit))
    assert len(writes(operations)) == len(set(writes(operations))) == 2 + 11 + 9
    assert status_writes(operations) == 2


def test_nothing_is_written_when_nothing_changed(provisioned):
    assert provisioned.plan("neura") == Plan()


def test_passes_that_see_only_some_of_their_own_writes_say_nothing_new(cluster):
    cluster.declare("neura", spec(**NEURA))
    before = cluster.view("neura")
    cluster.reconcile("neura")
    cluster.reconcile("neura")
    after = cluster.view("neura")
    seen = {ref: child for ref, child in after.children.items() if ref.namespace == "serve"}
    partial = replace(after, children=seen, namespaces={"serve": after.namespaces["serve"]})
    for view in (replace(before, status=after.status), partial):
        assert status_writes(plan_tenant(view, NOW).operations) == 0


def test_quotas_stand_before_the_closing_quota_lets_their_classes_out_and_access_comes_last(cluster):
    cluster.declare("neura", spec(**NEURA))
    plan = cluster.plan("neura")
    assert position(plan, "Namespace", "train") < position(plan, "ResourceQuota", "gpu-b200-spot")
    assert position(plan, "ResourceQuota", "gpu-b200-spot") < position(plan, "ResourceQuota", "gpu-other")
    assert not any(ref.kind == "RoleBinding" for ref in writes(plan.operations))
    cluster.reconcile("neura")
    assert {ref.kind for ref in writes(cluster.plan("neura").operations)} == {"RoleBinding"}


def test_nobody_has_access_before_the_quotas_count(cluster):
    cluster.counting = False
    cluster.declare("neura", spec(**NEURA))
    for _ in range(4):
        cluster.reconcile("neura")
    assert not any(ref.kind == "RoleBinding" for ref in cluster.objects)
    assert cluster.plan("neura") == Plan()
    assert cluster.status("neura").readyNamespaces == "0/2"
    cluster.counting = True
    cluster.count()
    cluster.settle("neura")
    assert binding_ref("train", "gpu-tenancy-owner") in cluster.objects


def test_access_that_had_begun_is_restored_at_once_when_gpus_are_limited_again(provisioned):
    provisioned.counting = False
    limits = ("gpu-b200-guaranteed", "gpu-b200-spot", "gpu-other")
    others = [quota_ref("train", "gpu-tenancy-base"), policy_ref("train", "gpu-tenancy-default-deny")]
    for ref in (*(quota_ref("train", name) for name in limits), *others, binding_ref("train", "gpu-tenancy-owner")):
        del provisioned.objects[ref]
    plan = provisioned.plan("neura")
    access = position(plan, "RoleBinding", "gpu-tenancy-owner")
    assert all(position(plan, "ResourceQuota", name) < access for name in limits)
    # Else the base quota would be charged with each object by itself, which is a write more for each of them.
    assert {position(plan, ref.kind, ref.name) for ref in others} == {access}


def test_the_status_comes_last_in_a_stage_of_its_own(cluster):
    cluster.declare("neura", spec(**NEURA))
    *others, last = cluster.plan("neura").stages
    assert status_writes(last) == len(last) == 1
    assert not any(status_writes(stage) for stage in others)


@pytest.mark.parametrize(
    "ref",
    [
        quota_ref("train", "gpu-b200-guaranteed"),
        quota_ref("train", "gpu-b200-reserved"),
        quota_ref("train", "gpu-b200-spot"),
        quota_ref("train", "gpu-other"),
        quota_ref("train", "gpu-tenancy-base"),
        policy_ref("train", "gpu-tenancy-default-deny"),
        binding_ref("train", "gpu-tenancy-owner"),
    ],
    ids=lambda ref: ref.name,
)
def test_a_child_that_was_deleted_comes_back_as_a_repair(provisioned, ref):
    before = provisioned.objects.pop(ref)
    written = provisioned.settle("neura")
    (repair,) = [one for one in written if isinstance(one, Create)]
    assert (repair.ref, repair.repair) == (ref, True)
    assert events(written) == {"IsolationDriftCorrected": f"put right: {ref.kind} train/{ref.name}"}
    assert provisioned.objects[ref]["spec" if "spec" in before else "subjects"] == (
        before["spec"] if "spec" in before else before["subjects"]
    )


@pytest.mark.parametrize(
    ("ref", "patch"),
    [
        (quota_ref("train", "gpu-tenancy-base"), {"spec": {"hard": {"pods": "99999", "cpu": "1"}}}),
        (policy_ref("train", "gpu-tenancy-default-deny"), {"spec": {"ingress": [{}]}}),
        (policy_ref("train", "gpu-tenancy-default-deny"), {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        (policy_ref("train", "gpu-tenancy-default-deny"), {"spec": {"policyTypes": ["Ingress"]}}),
        (binding_ref("train", "gpu-tenancy-owner"), {"subjects": [{"kind": "User", "name": "mallory"}]}),
        (namespace_ref("train"), {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
        (namespace_ref("train"), {"metadata": {"labels": {"gpu-tenancy.dev/placement": None}}}),
        (namespace_ref("train"), {"metadata": {"labels": {"pod-security.kubernetes.io/enforce-version": "v1.0"}}}),
    ],
)
def test_a_child_that_was_changed_is_put_right_as_a_repair(provisioned, ref, patch):
    before = provisioned.objects[ref]
    provisioned.change(ref, patch)
    written = provisioned.settle("neura")
    (repair,) = [one for one in written if isinstance(one, Update) and one.subresource == ""]
    assert (repair.ref, repair.repair) == (ref, True)
    assert "IsolationDriftCorrected" in events(written)
    for part in ("spec", "subjects"):
        assert provisioned.objects[ref].get(part) == before.get(part)
    assert provisioned.objects[ref]["metadata"]["labels"] == before["metadata"]["labels"]


def test_a_stray_object_with_the_operators_label_goes(provisioned):
    stray = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "open", "namespace": "train", "labels": {"app.kubernetes.io/managed-by": "gpu-tenancy"}},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
    }
    ref = provisioned.put(stray)
    (removal,) = [one for one in provisioned.settle("neura") if isinstance(one, Delete)]
    assert (removal.ref, removal.repair) == (ref, True)


def test_a_tenant_is_looked_at_again_when_its_contract_turns(provisioned):
    view = provisioned.view("neura")
    verified = look_again(view, NOW)
    assert verified is not None
    soon, late = NOW + timedelta(minutes=5), verified + timedelta(days=9)

    assert look_again(replace(view, contract=Standing(Stage.ENDING, soon)), NOW) == soon
    assert look_again(replace(view, contract=Standing(Stage.ENDING, late)), NOW) == verified


def test_objects_and_fields_of_others_are_left_alone(provisioned):
    foreign = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "theirs", "namespace": "train"},
        "spec": {"hard": {"pods": "3"}},
    }
    provisioned.put(foreign)
    provisioned.change(namespace_ref("train"), {"metadata": {"labels": {"team": "a"}, "annotations": {"b": "c"}}})
    provisioned.change(policy_ref("train", "gpu-tenancy-default-deny"), {"metadata": {"annotations": {"note": "seen"}}})
    assert provisioned.plan("neura") == Plan()


def test_a_role_reference_that_was_replaced_is_deleted_before_it_is_created_anew(provisioned):
    ref = binding_ref("train", "gpu-tenancy-owner")
    provisioned.change(ref, {"roleRef": {"name": "cluster-admin"}})
    plan = provisioned.plan("neura")
    (gone,) = [number for number, stage in enumerate(plan.stages) for one in stage if isinstance(one, Delete)]
    (anew,) = [number for number, stage in enumerate(plan.stages) for one in stage if isinstance(one, Create)]
    assert gone < anew
    provisioned.settle("neura")
    assert provisioned.objects[ref]["roleRef"]["name"] == "gpu-tenancy-owner"


def test_scopes_that_cannot_be_changed_are_undone_by_a_new_quota(provisioned):
    ref = quota_ref("train", "gpu-tenancy-base")
    provisioned.change(ref, {"spec": {"scopes": ["Terminating"]}})
    uid = provisioned.objects[ref]["metadata"]["uid"]
    provisioned.settle("neura")
    assert "scopes" not in provisioned.objects[ref]["spec"]
    assert provisioned.objects[ref]["metadata"]["uid"] != uid


def test_a_child_that_is_being_deleted_is_waited_for(provisioned):
    ref = policy_ref("train", "gpu-tenancy-allow-dns")
    provisioned.change(ref, {"metadata": {"deletionTimestamp": "2026-12-01T08:00:00Z"}})
    operations = provisioned.reconcile("neura")
    assert writes(operations) == []
    assert provisioned.status("neura").readyNamespaces == "1/2"
    del provisioned.objects[ref]
    provisioned.settle("neura")
    assert ref in provisioned.objects


def test_people_who_leave_lose_access_first_and_a_role_without_people_its_binding(provisioned):
    provisioned.declare("neura", spec(**NEURA | {"owners": [{"kind": "Group", "name": "new", "role": "Owner"}]}))
    plan = provisioned.plan("neura")
    assert {one.ref.kind for one in plan.stages[0]} == {"RoleBinding"}
    provisioned.settle("neura")
    subjects = provisioned.objects[binding_ref("train", "gpu-tenancy-owner")]["subjects"]
    assert [subject["name"] for subject in subjects] == ["new"]
    assert binding_ref("train", "gpu-tenancy-editor") not in provisioned.objects


def test_changes_that_the_provider_wants_are_no_repairs(provisioned):
    provisioned.declare("neura", spec(**NEURA | {"quota": {"pods": "5"}, "network": {"internetEgress": "Allowed"}}))
    written = provisioned.settle("neura")
    assert not any(getattr(one, "repair", False) for one in written)
    assert events(written) == {}
    assert provisioned.hard("train", "gpu-tenancy-base")["pods"] == "5"


def test_a_suspended_tenant_is_shut_and_opened_again(provisioned):
    provisioned.provision(suspended=True)
    assert provisioned.labels("train")["gpu-tenancy.dev/suspended"] == "true"
    assert provisioned.hard("train", "gpu-tenancy-base")["pods"] == "0"
    assert provisioned.hard("train", "gpu-b200-guaranteed")["requests.nvidia.com/gpu"] == "32"
    provisioned.provision()
    assert "gpu-tenancy.dev/suspended" not in provisioned.labels("train")
    assert provisioned.hard("train", "gpu-tenancy-base")["pods"] == "1k"


@pytest.mark.parametrize(
    ("changed", "reason", "message"),
    [
        (
            {"residency": {"jurisdictions": ["EU"], "regions": ["eu-ch2"]}},
            "ResidencyContradiction",
            "region eu-ch2 lies in CH",
        ),
        ({"residency": {"jurisdictions": ["US"]}}, "ResidencyContradiction", "the catalogue has no region in US"),
        ({"gpus": [{"pool": "h100"}]}, "UnknownPool", "pool h100 is not in the catalogue"),
        ({"namespaces": [{"name": "train", "defaultPool": "h100"}]}, "UnknownPool", "pool h100"),
        ({"gpus": [{"pool": "b200"}, {"pool": "swiss"}]}, "ResidencyContradiction", "pool swiss is in region eu-ch2"),
        (
            {"namespaces": [{"name": "train", "defaultPool": "rtx-pro"}]},
            "DefaultPoolNotGranted",
            "namespace train has default pool rtx-pro",
        ),
        ({"quota": {"requests.memory": "9000Pi"}}, "InvalidQuota", "requests.memory"),
    ],
)
def test_a_spec_that_cannot_be_carried_out_is_refused_and_what_stood_stays(provisioned, changed, reason, message):
    before = dict(provisioned.objects)
    provisioned.declare("neura", spec(**NEURA | changed))
    written = provisioned.settle("neura")
    assert provisioned.objects == before
    assert status_writes(written) == 1
    status = provisioned.status("neura")
    conditions = {one.type: one for one in status.conditions}
    assert conditions.keys() == {"Ready", "Stalled"}
    assert (conditions["Ready"].status, conditions["Stalled"].status) == ("False", "True")
    assert conditions["Ready"].reason == conditions["Stalled"].reason == reason
    assert message in conditions["Ready"].message
    assert status.observedGeneration == 2
    assert set(events(written)) == ({reason} if reason == "ResidencyContradiction" else set())
    assert refusal(spec(**NEURA | changed), REGIONS, POOLS) == (reason, conditions["Ready"].message)


def test_a_refused_tenant_recovers_without_help_when_its_pool_comes(cluster):
    b200 = cluster.pools.pop("b200")
    cluster.provision()
    assert not cluster.objects
    entries = cluster.status("neura").namespaces
    assert [(one.name, one.ready, one.reason) for one in entries] == [
        ("train", False, "UnknownPool"),
        ("serve", False, "UnknownPool"),
    ]
    cluster.pools["b200"] = b200
    written = cluster.settle("neura")
    assert cluster.status("neura").readyNamespaces == "2/2"
    assert "TenantProvisioned" in events(written)


def test_a_pool_in_a_region_that_is_gone_is_refused_only_where_residency_depends_on_it(cluster):
    del cluster.regions["eu-de"]
    contract = spec(**NEURA | {"residency": {"jurisdictions": ["NL"]}})
    reason, message = refusal(contract, cluster.regions, cluster.pools)
    assert reason == "ResidencyContradiction"
    assert "region eu-de, which is not in the catalogue" in message
    assert refusal(spec(**NEURA | {"residency": None}), cluster.regions, cluster.pools) is None


def test_a_spec_that_cannot_be_read_freezes_the_tenant_and_says_so(provisioned):
    view = replace(provisioned.view("neura"), spec=None, invalid="spec.gpus[0].pool: too long", generation=2)
    plan = plan_tenant(view, NOW)
    (update,) = plan.operations
    patch = update.patch["status"]
    assert {one["type"]: one["reason"] for one in patch["conditions"]} == {
        "Ready": "InvalidSpec",
        "Stalled": "InvalidSpec",
    }
    assert "spec.gpus[0].pool: too long" in patch["conditions"][0]["message"]


def test_a_refused_tenant_still_gives_back_what_the_pool_takes(provisioned):
    provisioned.allotments["train", "b200", Tier.RESERVED] = 8
    provisioned.settle("neura")
    del provisioned.regions["eu-de"]
    provisioned.allotments["train", "b200", Tier.RESERVED] = 0
    provisioned.allotments["train", "b200", Tier.GUARANTEED] = 40
    provisioned.settle("neura")
    assert provisioned.hard("train", "gpu-b200-reserved")["requests.nvidia.com/gpu"] == "0"
    assert provisioned.hard("train", "gpu-b200-guaranteed")["requests.nvidia.com/gpu"] == "32"


@pytest.mark.parametrize("permanent", [False, True])
def test_a_plan_that_fails_is_said_in_the_status_until_one_succeeds(cluster, permanent):
    cluster.declare("neura", spec(**NEURA))
    for operation in plan_failure(cluster.view("neura"), "403: no", NOW, permanent=permanent).operations:
        cluster.do(operation)
    conditions = {one.type: one for one in cluster.status("neura").conditions}
    assert conditions.keys() == {"Ready", "Stalled" if permanent else "Reconciling"}
    assert conditions["Ready"].reason == ("WriteRefused" if permanent else "RetryableError")
    assert conditions["Ready"].message == "403: no"
    assert plan_failure(cluster.view("neura"), "403: no", NOW, permanent=permanent) == Plan()
    written = cluster.settle("neura")
    assert [one.type for one in cluster.status("neura").conditions] == ["Ready"]
    assert "TenantProvisioned" in events(written)


def test_a_tenant_that_is_gone_has_no_status_to_write(provisioned):
    provisioned.forget("neura")
    assert status_writes(provisioned.plan("neura").operations) == 0
    assert plan_failure(provisioned.view("neura"), "403", NOW, permanent=True) == Plan()


def test_the_order_of_observation_changes_nothing(provisioned):
    for ref in list(provisioned.objects)[::3]:
        if ref.kind != "Namespace":
            del provisioned.objects[ref]
    view = provisioned.view("neura")
    shuffled = replace(
        view,
        children=dict(reversed(view.children.items())),
        namespaces=dict(reversed(view.namespaces.items())),
        pools=dict(reversed(view.pools.items())),
    )
    assert plan_tenant(view, NOW) == plan_tenant(shuffled, NOW)
