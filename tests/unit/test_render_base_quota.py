from __future__ import annotations

import pytest

from gpu_tenancy.render.base_quota import base_quota, faults

RESERVATIONS = "count/gpureservations.gpu-tenancy.dev"


def hard(said=None, *, suspended=False, own=None, counted=()):
    return base_quota("train", said or {}, suspended=suspended, own=own or {}, counted=counted)["spec"]["hard"]


def test_the_names_that_the_multi_tenancy_benchmarks_ask_for_are_there():
    names = {
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
    assert names <= hard().keys()
    assert {"requests.cpu", "requests.memory", "requests.ephemeral-storage"} <= hard().keys()


@pytest.mark.parametrize(
    "key",
    [
        "services.nodeports",
        "services.loadbalancers",
        "count/resourceclaims.resource.k8s.io",
        "count/resourceclaimtemplates.resource.k8s.io",
    ],
)
def test_ways_in_and_ways_past_the_gpu_quotas_are_closed_unless_granted(key):
    assert hard()[key] == "0"
    assert hard({key: "2"})[key] == "2"


def test_what_is_said_replaces_a_default_and_adds_to_them():
    said = {"requests.cpu": "8", "gold.storageclass.storage.k8s.io/requests.storage": "1Ti"}
    assert hard(said) == hard() | said


def test_no_pod_has_to_name_limits():
    assert not any(key.startswith("limits.") for key in hard())


def test_the_operators_own_kinds_are_counted_once_kubernetes_does():
    assert not any("gpu-tenancy.dev" in key for key in hard({RESERVATIONS: "5"}))
    assert hard(counted=[RESERVATIONS]).keys() - hard().keys() == {RESERVATIONS}
    assert hard(counted=[RESERVATIONS])[RESERVATIONS] == "1k"
    assert hard({RESERVATIONS: "5"}, counted=[RESERVATIONS])[RESERVATIONS] == "5"


def test_a_suspended_tenant_starts_no_pods_whatever_is_said():
    assert hard({"pods": "5"}, suspended=True)["pods"] == "0"
    assert hard({"pods": "5"})["pods"] == "5"


def test_the_operator_never_shuts_itself_out():
    own = {"ResourceQuota": 5, "NetworkPolicy": 4, "RoleBinding": 3, "LimitRange": 1}
    said = {
        "resourcequotas": "1",
        "count/networkpolicies.networking.k8s.io": "0",
        "count/rolebindings.rbac.authorization.k8s.io": "0",
        "count/limitranges": "0",
    }
    counted = hard(said, own=own)
    assert [counted[key] for key in said] == ["6", "4", "3", "1"]
    assert "count/resourcequotas" not in counted


@pytest.mark.parametrize(
    "said",
    [
        {"gold.storageclass.storage.k8s.io/requests.storage": "0.5"},
        {"count/storages.example.com": "500m"},
        {"requests.memory": "9000Pi"},
        {"requests.cpu": "0.0000001m"},
    ],
)
def test_what_the_api_server_would_refuse_or_round_is_a_fault(said):
    (message,) = faults(said)
    assert next(iter(said)) in message


def test_what_the_api_server_takes_is_none():
    said = {
        "cpu": "0.5",
        "requests.cpu": "1500m",
        "requests.memory": "1.5Gi",
        "pods": "1k",
        "count/deployments.apps": "3",
        "count/pods": "3",
        "gold.storageclass.storage.k8s.io/requests.storage": "8000Pi",
    }
    assert list(faults(said)) == []
    assert list(faults(hard())) == []
