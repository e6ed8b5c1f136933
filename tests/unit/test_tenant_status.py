"""What the status of a tenant says, and which events go with it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gpu_tenancy.api.tenant import GrantStatus
from gpu_tenancy.domain.contract import Stage, Standing
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.reconcile.plan import Plan
from tenant_world import NEURA, NOW, Cluster, events, foreign_namespace, policy_ref, spec, status_writes


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def provisioned(cluster: Cluster) -> Cluster:
    cluster.provision()
    return cluster


def said(cluster: Cluster) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in cluster.status("neura").conditions}


def test_a_new_tenant_is_reconciling_from_its_first_pass_and_ready_when_all_is_observed(cluster):
    cluster.declare("neura", spec(**NEURA))
    first = cluster.reconcile("neura")
    assert said(cluster) == {"Ready": ("False", "Provisioning"), "Reconciling": ("True", "Provisioning")}
    assert cluster.status("neura").observedGeneration == 1
    assert events(first) == {}
    last = cluster.settle("neura")
    assert said(cluster) == {"Ready": ("True", "Reconciled")}
    assert events(last) == {"TenantProvisioned": "2 namespaces stand as declared"}


def test_the_status_says_where_pods_run_what_is_granted_and_what_stands(provisioned):
    status = provisioned.status("neura")
    assert (status.placement, status.regions, status.readyNamespaces) == ("DE", ["eu-de"], "2/2")
    assert [(one.name, one.ready, one.reason) for one in status.namespaces] == [
        ("train", True, "Ready"),
        ("serve", True, "Ready"),
    ]
    assert status.gpus == [GrantStatus(pool="b200", guaranteed=32, granted=32, backed=32, spot=64)]


def test_a_tenant_without_namespaces_is_ready_at_once(cluster):
    written = cluster.provision(namespaces=[], gpus=[])
    assert status_writes(written) == 1
    assert said(cluster) == {"Ready": ("True", "Reconciled")}
    assert cluster.status("neura").readyNamespaces == "0/0"


def test_a_repair_in_a_tenant_that_stands_costs_no_status_write(provisioned):
    del provisioned.objects[policy_ref("train", "gpu-tenancy-allow-dns")]
    first = provisioned.reconcile("neura")
    assert status_writes(first) == 0
    assert set(events(first)) == {"IsolationDriftCorrected"}
    assert provisioned.settle("neura") == []
    assert said(provisioned) == {"Ready": ("True", "Reconciled")}


def test_a_repair_that_something_holds_up_takes_readiness_away(provisioned):
    ref = policy_ref("train", "gpu-tenancy-allow-dns")
    provisioned.change(ref, {"metadata": {"deletionTimestamp": "2026-12-01T08:00:00Z"}})
    provisioned.settle("neura")
    assert said(provisioned) == {"Ready": ("False", "Progressing"), "Reconciling": ("True", "Progressing")}
    assert [(one.name, one.ready) for one in provisioned.status("neura").namespaces] == [
        ("train", False),
        ("serve", True),
    ]
    del provisioned.objects[ref]
    assert events(provisioned.settle("neura")) == {}
    assert said(provisioned) == {"Ready": ("True", "Reconciled")}


def test_a_limit_that_the_pool_moves_costs_no_status_write(provisioned):
    provisioned.allotments["train", "b200", Tier.RESERVED] = 8
    written = provisioned.settle("neura")
    assert (len(written), status_writes(written)) == (1, 0)


def test_a_change_of_the_spec_is_reconciling_at_the_new_generation(provisioned):
    provisioned.declare("neura", spec(**NEURA | {"quota": {"pods": "5"}}))
    written = provisioned.settle("neura")
    assert status_writes(written) == 2
    assert provisioned.status("neura").observedGeneration == 2
    assert all(one.observedGeneration == 2 for one in provisioned.status("neura").conditions)


def test_a_change_that_concerns_no_object_costs_one_write(provisioned):
    provisioned.declare("neura", spec(**NEURA | {"organization": {"legalName": "Neura GmbH"}}))
    written = provisioned.settle("neura")
    assert (len(written), status_writes(written)) == (1, 1)
    assert provisioned.status("neura").observedGeneration == 2


def test_conditions_keep_the_date_of_their_last_transition(provisioned):
    since = provisioned.status("neura").conditions[0].lastTransitionTime
    provisioned.declare("neura", spec(**NEURA | {"organization": {"legalName": "Neura GmbH"}}))
    provisioned.reconcile("neura", NOW + timedelta(days=1))
    assert provisioned.status("neura").conditions[0].lastTransitionTime == since
    assert provisioned.plan("neura", NOW + timedelta(days=1, hours=1)) == Plan()


def test_suspension_is_a_condition_of_a_tenant_that_is_ready(provisioned):
    provisioned.provision(suspended=True)
    assert said(provisioned) == {"Ready": ("True", "Reconciled"), "Suspended": ("True", "Cordoned")}
    provisioned.provision()
    assert said(provisioned) == {"Ready": ("True", "Reconciled")}


def test_a_guarantee_that_is_not_backed_is_said_once_and_withdrawn(provisioned):
    provisioned.grants["neura"]["b200"] = GrantStatus(pool="b200", guaranteed=32, granted=24, backed=24, spot=64)
    written = provisioned.settle("neura")
    assert said(provisioned) == {"Ready": ("True", "Reconciled"), "GuaranteeShort": ("True", "CapacityShort")}
    message = provisioned.status("neura").conditions[1].message
    assert message.startswith("24 of 32 guaranteed GPUs of pool b200 are backed; ")
    assert events(written) == {"GuaranteeShort": message}
    provisioned.grants["neura"]["b200"] = GrantStatus(pool="b200", guaranteed=32, granted=16, backed=16, spot=64)
    assert events(provisioned.settle("neura")) == {}
    assert "16 of 32" in provisioned.status("neura").conditions[1].message
    provisioned.grants["neura"]["b200"] = GrantStatus(pool="b200", guaranteed=32, granted=32, backed=32, spot=64)
    provisioned.settle("neura")
    assert said(provisioned) == {"Ready": ("True", "Reconciled")}


def test_a_tenant_waits_for_the_pools_that_owe_it_guaranteed_gpus(cluster):
    cluster.declare("neura", spec(**NEURA))
    del cluster.grants["neura"]["b200"]
    cluster.settle("neura")
    assert said(cluster) == {"Ready": ("False", "AwaitingPool"), "Reconciling": ("True", "AwaitingPool")}
    assert "b200" in cluster.status("neura").conditions[0].message
    assert cluster.status("neura").gpus == [GrantStatus(pool="b200", guaranteed=32)]
    cluster.provision()
    assert said(cluster) == {"Ready": ("True", "Reconciled")}


def test_gpus_that_belong_to_no_namespace_are_mentioned(cluster):
    split = [{"name": "train", "guaranteed": 8, "spot": 4}, {"name": "serve", "guaranteed": 4, "spot": 60}]
    cluster.provision(gpus=[NEURA["gpus"][0] | {"namespaces": split}])
    message = cluster.status("neura").conditions[0].message
    assert message.startswith("2 namespaces stand as declared; 20 guaranteed GPUs of pool b200 belong to no namespace")


def test_texts_of_any_length_fit_the_api(cluster):
    many = [{"name": f"n-{number:03}-{'x' * 50}", "defaultPool": f"p{number:03}-{'y' * 30}"} for number in range(256)]
    cluster.declare("neura", spec(namespaces=many))
    assert events(cluster.settle("neura")) == {}
    assert said(cluster)["Ready"] == ("False", "UnknownPool")
    assert len(cluster.status("neura").conditions[0].message) == 4096
    for one in many:
        cluster.put(foreign_namespace(one["name"]))
    cluster.declare("neura", spec(namespaces=[{"name": one["name"]} for one in many]))
    assert len(events(cluster.settle("neura"))["NamespaceRefused"]) == 1000
    assert said(cluster)["Ready"] == ("False", "NotAdopted")


TERMS = {"validFrom": "2026-01-01T00:00:00Z", "validUntil": "2027-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("stage", "conditions", "pods"),
    [
        (Stage.RUNNING, {}, None),
        (Stage.ENDING, {"ContractEnding": ("True", "NoticeGiven")}, None),
        (Stage.HONOURED, {"ContractEnding": ("True", "Honoured")}, None),
        (
            Stage.OVER,
            {"ContractEnding": ("True", "ContractOver"), "Suspended": ("True", "ContractOver")},
            "0",
        ),
        (Stage.AHEAD, {"Suspended": ("True", "ContractAhead")}, "0"),
    ],
)
def test_a_contract_that_does_not_run_shuts_the_tenant_and_its_end_is_announced_once(
    provisioned, stage, conditions, pods
) -> None:
    provisioned.provision(contract=TERMS)
    open_ = provisioned.hard("train", "gpu-tenancy-base")["pods"]
    provisioned.standing = Standing(stage)

    written = provisioned.settle("neura")

    assert said(provisioned) == {"Ready": ("True", "Reconciled"), **conditions}
    assert provisioned.hard("train", "gpu-tenancy-base")["pods"] == (pods or open_)
    assert provisioned.labels("train").get("gpu-tenancy.dev/suspended") == ("true" if pods else None)
    assert ("ContractEnding" in events(written)) is ("ContractEnding" in conditions)
    assert provisioned.reconcile("neura") == []
    provisioned.standing = Standing()
    provisioned.settle("neura")
    assert said(provisioned) == {"Ready": ("True", "Reconciled")}
    assert provisioned.hard("train", "gpu-tenancy-base")["pods"] == open_
