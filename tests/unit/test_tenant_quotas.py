"""GPU quotas: which classes a namespace has, how much of each, and how they come and go without a gap."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.reconcile.gpu_quotas import Amount, plan_amounts
from gpu_tenancy.reconcile.plan import Create, Delete, Plan, Update
from tenant_world import NEURA, Cluster, pool, quota_ref, spec, writes

GPU = "requests.nvidia.com/gpu"
MIG = "requests.nvidia.com/mig-1g.23gb"
GUARANTEED = quota_ref("train", "gpu-b200-guaranteed")
CLOSING = quota_ref("train", "gpu-other")


@pytest.fixture
def provisioned() -> Cluster:
    cluster = Cluster()
    cluster.provision()
    return cluster


def grant(**fields: object) -> dict[str, object]:
    return NEURA | {"gpus": [NEURA["gpus"][0] | fields]}


def updates(cluster: Cluster, name: str) -> list[Update]:
    return [one for one in cluster.plan("neura").operations if isinstance(one, Update) and one.ref.name == name]


def test_each_class_has_its_amount_and_nothing_of_other_resources(provisioned):
    assert provisioned.hard("train", "gpu-b200-guaranteed") == {GPU: "32", MIG: "0"}
    assert provisioned.hard("train", "gpu-b200-spot") == {GPU: "64", MIG: "0"}
    assert provisioned.hard("train", "gpu-b200-reserved") == {GPU: "0", MIG: "0"}
    assert provisioned.hard("serve", "gpu-b200-reserved") == {GPU: "0", MIG: "0"}
    assert provisioned.hard("train", "gpu-other") == {GPU: "0", MIG: "0"}
    assert provisioned.open_classes("train") == ["gpu-b200-guaranteed", "gpu-b200-reserved", "gpu-b200-spot"]
    assert provisioned.open_classes("serve") == ["gpu-b200-reserved"]


def test_a_mig_pool_has_the_same_lines_with_its_own_filled(provisioned):
    provisioned.provision(residency=None, gpus=[{"pool": "mig", "spot": 7}], namespaces=[{"name": "train"}])
    assert provisioned.hard("train", "gpu-mig-spot") == {GPU: "0", MIG: "7"}


def test_without_grants_every_gpu_is_closed():
    cluster = Cluster()
    cluster.provision(gpus=[], namespaces=[{"name": "train"}])
    assert cluster.open_classes("train") == []
    assert cluster.hard("train", "gpu-other") == {GPU: "0", MIG: "0"}


def test_without_a_decision_of_the_pool_nothing_is_given_and_nothing_is_taken(provisioned):
    cluster = Cluster()
    cluster.declare("neura", spec(**NEURA))
    cluster.settle("neura")
    assert cluster.hard("train", "gpu-b200-guaranteed")[GPU] == "0"
    provisioned.allotments.clear()
    assert provisioned.plan("neura") == Plan()


def test_more_is_given_only_if_nobody_wrote_meanwhile(provisioned):
    provisioned.allotments["train", "b200", Tier.GUARANTEED] = 33
    (update,) = updates(provisioned, "gpu-b200-guaranteed")
    assert update.resource_version == provisioned.objects[GUARANTEED]["metadata"]["resourceVersion"]
    provisioned.allotments["train", "b200", Tier.GUARANTEED] = 31
    (update,) = updates(provisioned, "gpu-b200-guaranteed")
    assert update.resource_version is None


def test_within_a_plan_less_comes_before_more(provisioned):
    provisioned.allotments["train", "b200", Tier.GUARANTEED] = 16
    provisioned.allotments["serve", "b200", Tier.RESERVED] = 8
    order = [one.ref.namespace for one in provisioned.plan("neura").operations if isinstance(one, Update)]
    assert order[:2] == ["train", "serve"]
    stages = [{one.ref for one in stage} for stage in provisioned.plan("neura").stages]
    assert stages[0] == {GUARANTEED}


def test_a_missing_line_gave_everything_so_writing_it_gives_no_more(provisioned):
    provisioned.change(GUARANTEED, {"spec": {"hard": {GPU: None}}})
    provisioned.allotments["train", "b200", Tier.GUARANTEED] = 32
    (update,) = updates(provisioned, "gpu-b200-guaranteed")
    assert update.resource_version is None
    provisioned.settle("neura")
    assert provisioned.hard("train", "gpu-b200-guaranteed")[GPU] == "32"


def test_a_limit_that_moves_is_no_repair(provisioned):
    provisioned.allotments["train", "b200", Tier.RESERVED] = 8
    assert not any(getattr(one, "repair", False) for one in provisioned.settle("neura"))
    assert provisioned.hard("train", "gpu-b200-reserved")[GPU] == "8"


def test_a_new_class_is_let_out_only_when_its_own_quota_counts(provisioned):
    provisioned.counting = False
    provisioned.declare("neura", spec(**NEURA | {"gpus": [*NEURA["gpus"], {"pool": "rtx-pro", "spot": 8}]}))
    for _ in range(3):
        provisioned.reconcile("neura")
    assert quota_ref("train", "gpu-rtx-pro-spot") in provisioned.objects
    assert "gpu-rtx-pro-spot" not in provisioned.open_classes("train")
    assert not provisioned.status("neura").namespaces[0].ready
    provisioned.counting = True
    provisioned.count()
    provisioned.settle("neura")
    assert "gpu-rtx-pro-spot" in provisioned.open_classes("train")
    assert provisioned.status("neura").namespaces[0].ready


def test_a_class_without_a_ceiling_is_emptied_taken_back_and_then_removed(provisioned):
    provisioned.declare("neura", spec(**grant(spot=0)))
    first = provisioned.reconcile("neura")
    assert [one.ref.name for one in first if isinstance(one, Update) and one.subresource == ""] == ["gpu-b200-spot"]
    assert provisioned.hard("train", "gpu-b200-spot") == {GPU: "0", MIG: "0"}
    assert "gpu-b200-spot" in provisioned.open_classes("train")
    plan = provisioned.plan("neura")
    assert [[(type(one), one.ref.name) for one in stage] for stage in plan.stages[:2]] == [
        [(Update, "gpu-other"), (Update, "gpu-tenancy-base")],  # which counts the operator's own quotas
        [(Delete, "gpu-b200-spot")],
    ]
    provisioned.settle("neura")
    assert "gpu-b200-spot" not in provisioned.open_classes("train")


def test_a_class_that_is_still_used_keeps_its_quota_at_zero_and_the_tenant_is_ready(provisioned):
    spot = quota_ref("train", "gpu-b200-spot")
    provisioned.used[spot] = {GPU: "8"}
    provisioned.count()
    provisioned.declare("neura", spec(**grant(spot=0)))
    provisioned.settle("neura")
    assert provisioned.hard("train", "gpu-b200-spot")[GPU] == "0"
    assert provisioned.status("neura").namespaces[0].ready
    del provisioned.used[spot]
    provisioned.count()
    provisioned.settle("neura")
    assert spot not in provisioned.objects


def test_an_emptied_quota_is_not_removed_before_its_emptiness_is_counted(provisioned):
    provisioned.counting = False
    provisioned.declare("neura", spec(**grant(spot=0)))
    for _ in range(3):
        provisioned.reconcile("neura")
    assert quota_ref("train", "gpu-b200-spot") in provisioned.objects
    assert "gpu-b200-spot" in provisioned.open_classes("train")


def test_an_emptied_quota_is_not_removed_while_the_closing_quota_is_missing(provisioned):
    provisioned.declare("neura", spec(**grant(spot=0)))
    provisioned.reconcile("neura")
    del provisioned.objects[CLOSING]
    operations = provisioned.plan("neura").operations
    assert not any(isinstance(one, Delete) for one in operations)
    provisioned.settle("neura")
    assert quota_ref("train", "gpu-b200-spot") not in provisioned.objects
    assert "gpu-b200-spot" not in provisioned.open_classes("train")


def test_spot_is_there_only_where_the_pool_offers_it(provisioned):
    provisioned.pools["b200"] = pool(spot="Disabled")
    provisioned.settle("neura")
    assert quota_ref("train", "gpu-b200-spot") not in provisioned.objects
    provisioned.pools["b200"] = pool()
    provisioned.settle("neura")
    assert provisioned.hard("train", "gpu-b200-spot")[GPU] == "64"


def test_gpus_that_were_accepted_stay_when_the_grant_is_lowered(provisioned):
    provisioned.allotments["train", "b200", Tier.RESERVED] = 8
    provisioned.settle("neura")
    provisioned.declare("neura", spec(**grant(reservable=0)))
    provisioned.settle("neura")
    assert provisioned.hard("train", "gpu-b200-reserved")[GPU] == "8"
    assert quota_ref("serve", "gpu-b200-reserved") not in provisioned.objects
    provisioned.allotments["train", "b200", Tier.RESERVED] = 0
    provisioned.settle("neura")
    assert quota_ref("train", "gpu-b200-reserved") not in provisioned.objects


def test_the_quota_of_a_pool_that_is_gone_is_emptied_whatever_it_counted(provisioned):
    provisioned.provision(gpus=[*NEURA["gpus"], {"pool": "rtx-pro", "spot": 8}])
    provisioned.used[quota_ref("train", "gpu-rtx-pro-spot")] = {GPU: "8"}
    provisioned.count()
    del provisioned.pools["rtx-pro"]
    provisioned.provision()
    assert provisioned.hard("train", "gpu-rtx-pro-spot") == {GPU: "0", MIG: "0"}


def test_a_new_accelerator_is_closed_everywhere_before_the_fence_lets_pods_name_it(provisioned):
    provisioned.accelerators |= {"nvidia.com/mig-2g.45gb"}
    plan = provisioned.plan("neura")
    assert {ref.kind for ref in writes(plan.operations)} == {"ResourceQuota"}
    provisioned.settle("neura")
    for name in ("gpu-b200-guaranteed", "gpu-b200-reserved", "gpu-b200-spot", "gpu-other"):
        assert provisioned.hard("train", name)["requests.nvidia.com/mig-2g.45gb"] == "0"
    (namespace,) = [one for ref, one in provisioned.objects.items() if (ref.kind, ref.name) == ("Namespace", "train")]
    assert namespace["metadata"]["annotations"]["gpu-tenancy.dev/accelerators"] == (
        "nvidia.com/gpu,nvidia.com/mig-1g.23gb,nvidia.com/mig-2g.45gb"
    )


def test_the_fence_stops_naming_an_accelerator_before_quotas_do(provisioned):
    provisioned.accelerators = frozenset({"nvidia.com/gpu"})
    del provisioned.pools["mig"]
    plan = provisioned.plan("neura")
    assert {one.ref.kind for one in plan.stages[0]} == {"Namespace"}
    provisioned.settle("neura")
    assert provisioned.hard("train", "gpu-b200-spot") == {GPU: "64"}


def test_devices_of_claims_are_closed_by_both_names_and_opened_by_a_grant(provisioned):
    long = "x" * 226
    provisioned.device_classes |= {"channel.nvidia.com": "", "gpu.nvidia.com": "nvidia.com/gpu-dra", long: ""}
    provisioned.provision(devices=[{"deviceClass": "channel.nvidia.com", "count": 16}])
    base = provisioned.hard("train", "gpu-tenancy-base")
    assert base["channel.nvidia.com.deviceclass.resource.k8s.io/devices"] == "16"
    assert base["gpu.nvidia.com.deviceclass.resource.k8s.io/devices"] == "0"
    assert base["count/resourceclaims.resource.k8s.io"] == "1k"
    for name in ("gpu-b200-guaranteed", "gpu-b200-spot", "gpu-other"):
        hard = provisioned.hard("train", name)
        assert hard["requests.deviceclass.resource.kubernetes.io/channel.nvidia.com"] == "0"
        assert hard["requests.deviceclass.resource.kubernetes.io/gpu.nvidia.com"] == "0"
        assert hard["requests.nvidia.com/gpu-dra"] == "0"
    assert not any(long in key for key in base)
    annotations = provisioned.annotations("train")
    assert annotations["gpu-tenancy.dev/device-classes"] == "channel.nvidia.com"
    assert annotations["gpu-tenancy.dev/accelerators"] == "nvidia.com/gpu,nvidia.com/mig-1g.23gb"


def test_without_a_grant_there_are_no_claims_of_devices(provisioned):
    provisioned.device_classes |= {"gpu.nvidia.com": ""}
    provisioned.provision(devices=[{"deviceClass": "gpu.nvidia.com", "count": 0}])
    base = provisioned.hard("train", "gpu-tenancy-base")
    assert base["gpu.nvidia.com.deviceclass.resource.k8s.io/devices"] == "0"
    assert base["count/resourceclaims.resource.k8s.io"] == "0"
    assert provisioned.annotations("train")["gpu-tenancy.dev/device-classes"] == ""


def test_a_quota_whose_classes_were_changed_is_put_right(provisioned):
    expression = {"scopeName": "PriorityClass", "operator": "NotIn", "values": ["gpu-b200-spot", "mine"]}
    provisioned.change(CLOSING, {"spec": {"scopeSelector": {"matchExpressions": [expression]}}})
    provisioned.settle("neura")
    assert provisioned.open_classes("train") == ["gpu-b200-guaranteed", "gpu-b200-reserved", "gpu-b200-spot"]
    provisioned.change(CLOSING, {"spec": {"scopeSelector": None}})
    provisioned.settle("neura")
    assert provisioned.open_classes("train") == ["gpu-b200-guaranteed", "gpu-b200-reserved", "gpu-b200-spot"]


def test_a_class_that_is_new_is_no_repair_and_one_that_is_missing_is(provisioned):
    provisioned.allotments["serve", "b200", Tier.GUARANTEED] = 4
    del provisioned.objects[GUARANTEED]
    created = {one.ref: one.repair for one in provisioned.plan("neura").operations if isinstance(one, Create)}
    assert created == {GUARANTEED: True, quota_ref("serve", "gpu-b200-guaranteed"): False}


@pytest.mark.parametrize("gpus", [0, 16, 48], ids=["nothing", "less", "more"])
def test_amounts_alone_are_written_as_the_whole_plan_would(provisioned, gpus):
    provisioned.allotments["train", "b200", Tier.GUARANTEED] = gpus
    provisioned.allotments["serve", "b200", Tier.RESERVED] = 8
    reserved = quota_ref("serve", "gpu-b200-reserved")
    amounts = [
        Amount(provisioned.observe(GUARANTEED), "nvidia.com/gpu", gpus),
        Amount(provisioned.observe(reserved), "nvidia.com/gpu", 8),
    ]
    plan = plan_amounts(amounts)
    whole = provisioned.plan("neura")
    assert set(map(repr, plan.operations)) == set(map(repr, whole.operations)) - {
        repr(one) for one in whole.operations if not (isinstance(one, Update) and one.ref in {GUARANTEED, reserved})
    }
    assert len(plan.stages) == 1
    assert [one.ref for one in plan.operations][-1] == reserved
    for operation in plan.operations:
        provisioned.do(operation)
    assert [one for one in provisioned.plan("neura").operations if one.ref in {GUARANTEED, reserved}] == []


def test_amounts_alone_leave_what_needs_more_than_that(provisioned):
    standing = provisioned.observe(GUARANTEED)
    missing = {"spec": {"hard": {MIG: "0"}}}
    without_the_line = replace(standing, body=orjson.dumps(standing.manifest | missing))
    for quota in (without_the_line, replace(standing, deleting=True)):
        assert plan_amounts([Amount(quota, "nvidia.com/gpu", 48)]) == Plan()
    assert plan_amounts([Amount(standing, "nvidia.com/gpu", 32)]) == Plan()
