"""Whose a namespace is: creation, adoption, refusal, retention, deletion, and labels that were tampered with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpu_tenancy.api.tenant import TenantNamespace
from gpu_tenancy.domain.conditions import find
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.reconcile.plan import Create, Delete, Plan, Update
from gpu_tenancy.reconcile.tenants import plan_tenant
from tenant_world import (
    NEURA,
    NOW,
    Cluster,
    binding_ref,
    events,
    foreign_namespace,
    namespace_ref,
    policy_ref,
    pool,
    quota_ref,
    spec,
    writes,
)

TENANT = "gpu-tenancy.dev/tenant"
TRAIN = namespace_ref("train")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def provisioned(cluster: Cluster) -> Cluster:
    cluster.provision()
    return cluster


def reasons(cluster: Cluster, tenant: str = "neura") -> dict[str, str]:
    return {one.name: one.reason for one in cluster.status(tenant).namespaces}


def test_a_new_namespace_must_not_exist_already(cluster):
    cluster.declare("neura", spec(**NEURA))
    assert all(
        one.adopt is (one.ref.kind != "Namespace")
        for one in cluster.plan("neura").operations
        if isinstance(one, Create)
    )


def test_a_namespace_that_exists_is_adopted_only_with_the_opt_in_of_an_administrator(cluster):
    cluster.put(foreign_namespace("train", team="robots"))
    cluster.provision()
    assert reasons(cluster) == {"train": "NotAdopted", "serve": "Ready"}
    assert cluster.inside("train") == {}
    assert "gpu-tenancy.dev/adopt=neura" in cluster.status("neura").namespaces[0].message
    cluster.change(TRAIN, {"metadata": {"labels": {"gpu-tenancy.dev/adopt": "neura"}}})
    written = cluster.settle("neura")
    assert reasons(cluster) == {"train": "Ready", "serve": "Ready"}
    assert "train" in events(written)["NamespaceAdopted"]
    labels = cluster.labels("train")
    assert (labels["gpu-tenancy.dev/adopt"], labels["team"], labels[TENANT]) == ("neura", "robots", "neura")


def test_an_opt_in_for_another_tenant_is_none(cluster):
    cluster.put(foreign_namespace("train", **{"gpu-tenancy.dev/adopt": "rival"}))
    cluster.provision()
    assert reasons(cluster)["train"] == "NotAdopted"


def test_adoption_is_of_the_namespace_that_was_judged(cluster):
    cluster.put(foreign_namespace("train", **{"gpu-tenancy.dev/adopt": "neura"}))
    cluster.declare("neura", spec(**NEURA))
    (update,) = [one for one in cluster.plan("neura").operations if isinstance(one, Update) and one.ref == TRAIN]
    assert update.resource_version == cluster.objects[TRAIN]["metadata"]["resourceVersion"]


def test_who_manages_an_adopted_namespace_beside_the_operator_keeps_the_name(cluster):
    manager = {"app.kubernetes.io/managed-by": "Helm", "gpu-tenancy.dev/adopt": "neura"}
    cluster.put(foreign_namespace("train", **manager))
    cluster.provision()
    assert cluster.labels("train")["app.kubernetes.io/managed-by"] == "Helm"
    assert cluster.labels("serve")["app.kubernetes.io/managed-by"] == "gpu-tenancy"


def test_pods_of_an_adopted_namespace_get_no_gpus_before_quotas_count_them(cluster):
    cluster.counting = False
    cluster.put(foreign_namespace("train", **{"gpu-tenancy.dev/adopt": "neura"}))
    cluster.declare("neura", spec(**NEURA))
    for _ in range(3):
        cluster.reconcile("neura")
    assert cluster.annotations("train")["gpu-tenancy.dev/accelerators"] == ""
    cluster.counting = True
    cluster.count()
    cluster.settle("neura")
    assert cluster.annotations("train")["gpu-tenancy.dev/accelerators"] == "nvidia.com/gpu,nvidia.com/mig-1g.23gb"


def test_what_a_contract_does_not_narrow_is_open_as_far_as_the_cluster_is(provisioned):
    annotations = provisioned.annotations("train")
    assert annotations["gpu-tenancy.dev/registries"] == "*"
    assert annotations["gpu-tenancy.dev/storage-classes"] == "fast,slow"
    assert annotations["gpu-tenancy.dev/load-balancers"] == "0"
    assert annotations["gpu-tenancy.dev/hosts"] == ""
    assert annotations["gpu-tenancy.dev/networks"] == ""


def test_a_contract_names_registries_storage_classes_hosts_networks_and_how_many_load_balancers(cluster):
    cluster.provision(
        workloads={"registries": ["registry.example/neura", "mirror.example"]},
        storageClasses=["fast"],
        network={"hosts": ["app.neura.example", "*.neura.example"], "attachments": ["rails/b", "rails/a"]},
        quota={"services.loadbalancers": "2"},
    )
    annotations = cluster.annotations("train")
    assert annotations["gpu-tenancy.dev/registries"] == "mirror.example,registry.example/neura"
    assert annotations["gpu-tenancy.dev/storage-classes"] == "fast"
    assert annotations["gpu-tenancy.dev/load-balancers"] == "2"
    assert annotations["gpu-tenancy.dev/hosts"] == "*.neura.example,app.neura.example"
    assert annotations["gpu-tenancy.dev/networks"] == "rails/a,rails/b"


def test_what_a_pod_may_request_with_each_gpu_is_that_of_the_pools_with_a_quota_here(provisioned):
    assert provisioned.annotations("train")["gpu-tenancy.dev/per-gpu"] == ""
    slices = {"cpu": "3.5", "ephemeral-storage": "1T"}
    provisioned.pools |= {
        "b200": pool(perGpu={"memory": "230Gi", "cpu": "26"}),
        "mig": pool("eu-nl", resourceName="nvidia.com/mig-1g.23gb", perGpu=slices),
    }
    assert writes(provisioned.settle("neura")) == [TRAIN, namespace_ref("serve")]
    limits = "b200 nvidia.com/gpu cpu 26,b200 nvidia.com/gpu memory 230Gi"
    for namespace in ("train", "serve"):
        assert provisioned.annotations(namespace)["gpu-tenancy.dev/per-gpu"] == limits
    provisioned.allotments["train", "mig", Tier.GUARANTEED] = 1
    provisioned.settle("neura")
    assert provisioned.annotations("serve")["gpu-tenancy.dev/per-gpu"] == limits
    assert provisioned.annotations("train")["gpu-tenancy.dev/per-gpu"] == (
        f"{limits},mig nvidia.com/mig-1g.23gb cpu 3.5,mig nvidia.com/mig-1g.23gb ephemeral-storage 1T"
    )
    provisioned.pools["b200"] = pool()
    provisioned.settle("neura")
    assert provisioned.annotations("serve")["gpu-tenancy.dev/per-gpu"] == ""
    assert provisioned.settle("neura") == []


def test_a_storage_class_that_keeps_deleted_volumes_is_never_allowed(cluster):
    cluster.provision(storageClasses=["fast", "kept"])
    assert cluster.annotations("train")["gpu-tenancy.dev/storage-classes"] == "fast"
    ready = find(cluster.status("neura").conditions, "Ready")
    assert "storage class kept is not in the cluster, or keeps deleted volumes" in ready.message
    cluster.storage_classes |= {"kept"}
    cluster.settle("neura")
    assert cluster.annotations("train")["gpu-tenancy.dev/storage-classes"] == "fast,kept"
    assert "kept" not in find(cluster.status("neura").conditions, "Ready").message


def test_what_policies_judge_by_is_put_back(provisioned):
    provisioned.change(TRAIN, {"metadata": {"annotations": {"gpu-tenancy.dev/registries": None}}})
    provisioned.settle("neura")
    assert provisioned.annotations("train")["gpu-tenancy.dev/registries"] == "*"


@pytest.mark.parametrize("name", ["gpu-tenancy-system", "kube-system", "openshift-monitoring", "default"])
def test_namespaces_of_the_platform_are_never_touched(provisioned, name):
    provisioned.put(foreign_namespace(name, **{"gpu-tenancy.dev/adopt": "neura", TENANT: "neura"}))
    before = provisioned.objects[namespace_ref(name)]
    assert provisioned.plan("neura") == Plan()
    listed = TenantNamespace.model_construct(name=name, defaultPool=None)
    provisioned.declare("neura", spec(**NEURA | {"namespaces": []}).model_copy(update={"namespaces": [listed]}))
    provisioned.settle("neura")
    assert reasons(provisioned)[name] == "Reserved"
    assert provisioned.objects[namespace_ref(name)] == before
    assert provisioned.inside(name) == {}


def test_of_two_tenants_that_list_a_namespace_the_first_gets_it_and_the_other_nothing(provisioned):
    before = dict(provisioned.objects)
    written = provisioned.provision("rival", namespaces=[{"name": "train"}, {"name": "rival"}])
    assert reasons(provisioned, "rival") == {"train": "NameTaken", "rival": "Ready"}
    assert {ref: provisioned.objects[ref] for ref in before} == before
    assert "NamespaceRefused" in events(written)
    conditions = {one.type: one for one in provisioned.status("rival").conditions}
    assert conditions.keys() == {"Ready", "Stalled"}
    assert conditions["Ready"].reason == conditions["Stalled"].reason == "NameTaken"
    assert "neura" not in conditions["Ready"].message
    assert provisioned.plan("neura") == Plan()


def test_a_namespace_that_nobody_has_goes_to_the_tenant_that_may_have_it(cluster):
    cluster.declare("neura", spec(**NEURA))
    cluster.declare("rival", spec(**NEURA))
    cluster.settle("rival")
    assert cluster.objects == {}
    cluster.settle("neura")
    assert cluster.labels("train")[TENANT] == "neura"


def test_a_tenant_that_leaves_a_namespace_does_not_hand_it_to_the_next(provisioned):
    provisioned.provision("rival", namespaces=[{"name": "train"}])
    provisioned.provision(namespaces=[{"name": "serve"}])
    provisioned.settle("rival")
    assert reasons(provisioned, "rival") == {"train": "NameTaken"}
    assert reasons(provisioned) == {"serve": "Ready", "train": "Retained"}
    assert provisioned.labels("train")[TENANT] == "neura"


def test_one_namespace_in_trouble_does_not_hold_up_the_others(cluster):
    cluster.put(foreign_namespace("serve"))
    cluster.provision()
    assert reasons(cluster) == {"train": "Ready", "serve": "NotAdopted"}
    assert cluster.status("neura").readyNamespaces == "1/2"
    assert binding_ref("train", "gpu-tenancy-owner") in cluster.objects


def test_a_namespace_that_is_being_deleted_is_waited_for_and_created_anew(provisioned):
    provisioned.change(TRAIN, {"metadata": {"deletionTimestamp": "2026-12-01T08:00:00Z"}})
    assert writes(provisioned.settle("neura")) == []
    assert reasons(provisioned)["train"] == "Terminating"
    conditions = {one.type: one.reason for one in provisioned.status("neura").conditions}
    assert conditions == {"Ready": "Terminating", "Reconciling": "Terminating"}
    provisioned.finish_deletions()
    provisioned.settle("neura")
    assert reasons(provisioned) == {"train": "Ready", "serve": "Ready"}


def test_with_policy_delete_namespaces_go_with_the_tenant_and_with_retain_they_do_not(provisioned):
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}
    provisioned.change(TRAIN, {"metadata": {"ownerReferences": [other]}})
    assert provisioned.plan("neura") == Plan()
    provisioned.provision(deletionPolicy="Delete")
    owner = {
        "apiVersion": "gpu-tenancy.dev/v1alpha1",
        "kind": "IndustrialTenant",
        "name": "neura",
        "uid": "uid-of-neura",
        "blockOwnerDeletion": False,
    }
    assert provisioned.objects[TRAIN]["metadata"]["ownerReferences"] == [other, owner]
    assert provisioned.objects[namespace_ref("serve")]["metadata"]["ownerReferences"] == [owner]
    provisioned.provision(deletionPolicy="Retain")
    assert provisioned.objects[TRAIN]["metadata"]["ownerReferences"] == [other]
    assert "ownerReferences" not in provisioned.objects[namespace_ref("serve")]["metadata"]


def test_a_reference_to_an_earlier_tenant_of_the_name_is_replaced(provisioned):
    provisioned.provision(deletionPolicy="Delete")
    references = provisioned.objects[TRAIN]["metadata"]["ownerReferences"]
    provisioned.change(TRAIN, {"metadata": {"ownerReferences": [references[0] | {"uid": "old"}]}})
    provisioned.settle("neura")
    assert provisioned.objects[TRAIN]["metadata"]["ownerReferences"] == references


def test_a_namespace_that_is_not_listed_any_more_is_shut_and_keeps_its_data(provisioned):
    policies = {key: one for key, one in provisioned.inside("train").items() if key[0] == "NetworkPolicy"}
    provisioned.provision(namespaces=[{"name": "serve"}])
    assert reasons(provisioned) == {"serve": "Ready", "train": "Retained"}
    assert provisioned.status("neura").readyNamespaces == "1/1"
    inside = provisioned.inside("train")
    assert not any(kind == "RoleBinding" for kind, _ in inside)
    assert {key: one for key, one in inside.items() if key[0] == "NetworkPolicy"} == policies
    assert {name for kind, name in inside if kind == "ResourceQuota"} == {"gpu-other", "gpu-tenancy-base"}
    assert provisioned.open_classes("train") == []
    assert provisioned.hard("train", "gpu-tenancy-base")["pods"] == "0"
    labels = provisioned.labels("train")
    assert (labels[TENANT], labels["gpu-tenancy.dev/suspended"]) == ("neura", "true")
    assert labels["gpu-tenancy.dev/placement"] == "DE"


def test_access_to_a_namespace_that_is_shut_ends_first(provisioned):
    provisioned.declare("neura", spec(**NEURA | {"namespaces": [{"name": "serve"}]}))
    first = provisioned.plan("neura").stages[0]
    bindings = [ref for ref in provisioned.objects if ref.kind == "RoleBinding" and ref.namespace == "train"]
    assert {one.ref for one in first if isinstance(one, Delete)} == set(bindings)


def test_gpus_that_are_used_in_a_namespace_that_is_shut_stay_counted_until_they_are_given_back(provisioned):
    quota = quota_ref("train", "gpu-b200-guaranteed")
    provisioned.used[quota] = {"requests.nvidia.com/gpu": "8"}
    provisioned.count()
    provisioned.provision(namespaces=[{"name": "serve"}])
    assert provisioned.hard("train", "gpu-b200-guaranteed") == {
        "requests.nvidia.com/gpu": "0",
        "requests.nvidia.com/mig-1g.23gb": "0",
    }
    assert provisioned.open_classes("train") == ["gpu-b200-guaranteed"]
    del provisioned.used[quota]
    provisioned.count()
    provisioned.settle("neura")
    assert quota not in provisioned.objects
    assert provisioned.open_classes("train") == []


def test_the_default_deny_of_a_namespace_that_is_shut_is_still_repaired(provisioned):
    provisioned.provision(namespaces=[{"name": "serve"}])
    deny = provisioned.objects.pop(policy_ref("train", "gpu-tenancy-default-deny"))
    provisioned.settle("neura")
    assert provisioned.objects[policy_ref("train", "gpu-tenancy-default-deny")]["spec"] == deny["spec"]


def test_a_namespace_that_is_listed_again_opens_again(provisioned):
    before = {key: one.get("spec") for key, one in provisioned.inside("train").items()}
    labels = provisioned.labels("train")
    provisioned.provision(namespaces=[{"name": "serve"}])
    provisioned.provision()
    assert {key: one.get("spec") for key, one in provisioned.inside("train").items()} == before
    assert provisioned.labels("train") == labels


def test_with_policy_delete_a_namespace_that_is_not_listed_any_more_goes(provisioned):
    provisioned.provision(deletionPolicy="Delete")
    uid = provisioned.objects[TRAIN]["metadata"]["uid"]
    provisioned.declare("neura", spec(**NEURA | {"deletionPolicy": "Delete", "namespaces": [{"name": "serve"}]}))
    operations = provisioned.reconcile("neura")
    assert [one for one in operations if isinstance(one, Delete)] == [Delete(TRAIN, uid)]
    assert reasons(provisioned)["train"] == "Terminating"
    provisioned.settle("neura")
    provisioned.finish_deletions()
    provisioned.settle("neura")
    assert reasons(provisioned) == {"serve": "Ready"}
    assert [one.type for one in provisioned.status("neura").conditions] == ["Ready"]


def test_a_namespace_that_was_never_listed_is_not_deleted_because_of_its_label(provisioned):
    provisioned.provision(deletionPolicy="Delete")
    provisioned.put(foreign_namespace("archive", **{TENANT: "neura"}))
    provisioned.settle("neura")
    assert reasons(provisioned)["archive"] == "Retained"
    assert "deletionTimestamp" not in provisioned.objects[namespace_ref("archive")]["metadata"]


def test_a_host_that_somebody_else_was_granted_too_is_served_by_neither_until_that_is_settled(cluster):
    cluster.contested = frozenset({"app.example"})
    cluster.provision(network={"hosts": ["app.example", "own.example"]})
    assert cluster.annotations("train")["gpu-tenancy.dev/hosts"] == "own.example"
    conditions = {one.type: one for one in cluster.status("neura").conditions}
    assert conditions["HostContested"].reason == "GrantedTwice"
    assert conditions["HostContested"].message.startswith("app.example: granted to somebody else as well")
    cluster.contested = frozenset()
    cluster.settle("neura")
    assert cluster.annotations("train")["gpu-tenancy.dev/hosts"] == "app.example,own.example"
    assert [one.type for one in cluster.status("neura").conditions] == ["Ready"]


def test_roles_that_owners_handed_out_end_with_their_namespace_and_nobody_hands_out_more(provisioned):
    theirs = binding_ref("train", "to-a-friend")
    provisioned.put(
        {
            "apiVersion": theirs.api_version,
            "kind": theirs.kind,
            "metadata": {"name": theirs.name, "namespace": "train", "uid": "1"},
            "roleRef": {"kind": "ClusterRole", "name": "gpu-tenancy-editor"},
        }
    )
    assert writes(provisioned.settle("neura")) == []
    provisioned.provision(namespaces=[{"name": "serve"}])
    assert theirs not in provisioned.objects
    assert provisioned.hard("train", "gpu-tenancy-base")["count/rolebindings.rbac.authorization.k8s.io"] == "0"
    assert provisioned.plan("neura") == Plan()
    provisioned.provision()
    assert provisioned.hard("train", "gpu-tenancy-base")["count/rolebindings.rbac.authorization.k8s.io"] == "102"


def test_a_namespace_that_was_retained_is_not_deleted_by_a_later_policy(provisioned):
    provisioned.provision(namespaces=[{"name": "serve"}])
    provisioned.provision(namespaces=[{"name": "serve"}], deletionPolicy="Delete")
    assert reasons(provisioned)["train"] == "Retained"
    assert "deletionTimestamp" not in provisioned.objects[TRAIN]["metadata"]


def test_namespaces_of_a_tenant_that_is_gone_are_shut_or_go_with_it(provisioned):
    provisioned.provision("rival", namespaces=[{"name": "rival"}], deletionPolicy="Delete")
    provisioned.forget("rival")
    assert provisioned.plan("rival") == Plan()
    provisioned.forget("neura")
    provisioned.settle("neura")
    for namespace in ("train", "serve"):
        assert provisioned.labels(namespace)["gpu-tenancy.dev/suspended"] == "true"
        assert not any(kind == "RoleBinding" for kind, _ in provisioned.inside(namespace))
    assert "gpu-tenancy.dev/suspended" not in provisioned.labels("rival")


def test_a_tenant_that_is_declared_again_gets_its_namespaces_back(provisioned):
    provisioned.forget("neura")
    provisioned.settle("neura")
    provisioned.provision()
    assert reasons(provisioned) == {"train": "Ready", "serve": "Ready"}
    assert "gpu-tenancy.dev/suspended" not in provisioned.labels("train")


@pytest.mark.parametrize("label", [None, "nobody"])
def test_a_tenant_label_that_was_lost_or_changed_is_put_back(provisioned, label):
    before = provisioned.labels("train")
    provisioned.change(TRAIN, {"metadata": {"labels": {TENANT: label}}})
    written = provisioned.settle("neura")
    assert provisioned.labels("train") == before
    assert events(written) == {"IsolationDriftCorrected": "put right: Namespace train"}


def test_a_changed_label_gives_the_tenant_it_names_no_rights(provisioned):
    provisioned.change(TRAIN, {"metadata": {"labels": {TENANT: "nobody"}}})
    view = provisioned.view("nobody")
    assert plan_tenant(replace(view, foreign=frozenset({"train"})), NOW) == Plan()
    # Nothing else in the view tells the two apart: the label alone would have it shut.
    assert plan_tenant(view, NOW) != Plan()


def test_a_namespace_of_the_name_that_someone_else_created_meanwhile_is_not_ours(provisioned):
    provisioned.change(TRAIN, {"metadata": {"deletionTimestamp": "2026-12-01T08:00:00Z"}})
    provisioned.finish_deletions()
    provisioned.put(foreign_namespace("train"))
    assert writes(provisioned.settle("neura")) == []
    assert reasons(provisioned)["train"] == "NotAdopted"


def test_a_label_that_was_removed_from_a_retained_namespace_releases_it(provisioned):
    provisioned.provision(namespaces=[{"name": "serve"}])
    provisioned.change(TRAIN, {"metadata": {"labels": {TENANT: None}}})
    provisioned.settle("neura")
    assert reasons(provisioned) == {"serve": "Ready"}
    provisioned.provision()
    assert reasons(provisioned)["train"] == "NotAdopted"


def test_a_namespaces_gpu_share_follows_its_default_pool(provisioned):
    assert provisioned.labels("train")["gpu-tenancy.dev/default-pool"] == "b200"
    assert "gpu-tenancy.dev/default-pool" not in provisioned.labels("serve")
    provisioned.allotments.clear()
    provisioned.allotments["serve", "b200", Tier.GUARANTEED] = 32
    provisioned.allotments["train", "b200", Tier.GUARANTEED] = 0
    swapped = [{"name": "train"}, {"name": "serve", "defaultPool": "b200"}]
    provisioned.declare("neura", spec(**NEURA | {"namespaces": swapped}))
    provisioned.settle("neura")
    assert "gpu-tenancy.dev/default-pool" not in provisioned.labels("train")
    assert provisioned.labels("serve")["gpu-tenancy.dev/default-pool"] == "b200"
    assert provisioned.hard("serve", "gpu-b200-spot")["requests.nvidia.com/gpu"] == "64"
    assert quota_ref("train", "gpu-b200-spot") not in provisioned.objects
