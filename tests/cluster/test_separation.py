"""ClusterNetworkPolicies on a real control plane, of the kind as its makers release it: tenants stay apart whatever they write.

Who reaches whom is judged by our own evaluator (`netpol`); cyclonus knows NetworkPolicies only.
"""

from __future__ import annotations

import asyncio
import json
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import network_policy_api
from cluster.operating import Cluster, OperatorProcess, eventually, install_charts
from cluster.site import region
from cluster.test_leaving import command
from cluster.test_network import (
    API,
    ENVIRONMENT,
    PHASES,
    PODS,
    PROBES,
    TENANTS,
    addresses_of,
    expected,
    network_policies,
    phases,
    platform,
    wrong,
)
from gpu_tenancy.localcluster import ControlPlane, nodes
from gpu_tenancy.render.cluster_network_policy import cluster_network_policy, peers_of
from netpol import Network
from places import ROOT
from security import roles

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("operator")
GROUP = "policy.networking.k8s.io"
KIND = "clusternetworkpolicies"
BOTH_AGREE = PHASES[1]
EVERYBODY = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane that has the kind before the chart is installed."""
    definition = network_policy_api.crd()
    with ControlPlane(tmp_path_factory.mktemp("separation-cluster"), audit=True) as control_plane:
        control_plane.kubectl("apply", "--server-side", "-f", str(definition))
        control_plane.kubectl("wait", "--for=condition=Established", f"crd/{KIND}.{GROUP}")
        install_charts(control_plane, ROOT)
        asyncio.run(nodes.add(control_plane, model="cpu", count=1, region="eu-de"))
        cluster = Cluster(control_plane)
        cluster.apply(region("eu-de", "DE", ["DE", "EU", "EEA"]), *platform())
        yield cluster


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    kubeconfig, log = cluster.control_plane.kubeconfig_for("operator"), tmp_path_factory.mktemp("operator") / "log"
    environment = ENVIRONMENT | {"GPU_TENANCY_CLUSTER_NETWORK_POLICY_PRIORITY": "100"}
    with OperatorProcess(kubeconfig, log, **environment) as running:
        yield running


@pytest.fixture(scope="module")
def networks(cluster: Cluster, operator: OperatorProcess) -> dict[str, Network]:
    """What stands in each phase of a peering between the labs of neura and rival."""
    assert operator.running
    return phases(cluster, read_back)


@pytest.fixture(scope="module")
def widened(cluster: Cluster, networks: dict[str, Network]) -> dict[str, Network]:
    """The same, with what admission policies keep tenants from writing: a policy that lets everybody in and out."""
    for namespace in (*TENANTS["neura"], *TENANTS["rival"]):
        metadata = {"name": "everybody", "namespace": namespace}
        cluster.apply(
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": EVERYBODY}
        )
    added = tuple(one for one in cluster.list("networkpolicies") if one["metadata"]["name"] == "everybody")
    for one in added:
        cluster.kubectl("delete", "networkpolicy", "everybody", "-n", one["metadata"]["namespace"])
    return {phase: Network(one.namespaces, one.policies + added, one.admin) for phase, one in networks.items()}


def read_back(cluster: Cluster) -> Network:
    """Read both kinds of policies, once the one says the same of peerings as the other."""
    network = network_policies(cluster)
    peering = any("-peer-" in one["metadata"]["name"] for one in network.policies)

    def agreeing() -> list[dict[str, Any]] | None:
        found = cluster.list(KIND)
        return found if all(bool(peers_of(one)) == peering for one in found) else None

    return Network(network.namespaces, network.policies, tuple(eventually(agreeing)))


def tenant(name: str, *namespaces: str, **more: Any) -> dict[str, Any]:
    owners = [{"kind": "User", "name": f"{name}-editor", "role": "Editor"}]
    spec = {"owners": owners, "namespaces": [{"name": one} for one in namespaces], "deletionPolicy": "Delete"}
    return {"apiVersion": API, "kind": "IndustrialTenant", "metadata": {"name": name}, "spec": spec | more}


def policy(cluster: Cluster, name: str) -> dict[str, Any] | None:
    return cluster.get(KIND, f"gpu-tenancy-{name}")


def bindings(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    return cluster.list("rolebindings", namespace)


# Who reaches whom


@pytest.mark.parametrize("phase", PHASES)
def test_what_was_open_and_closed_without_them_is_so_with_them(
    cluster: Cluster, networks: dict[str, Network], phase: str
) -> None:
    assert len(networks[phase].admin) == len(TENANTS)
    assert wrong(networks[phase], expected(phase, addresses_of(cluster))) == []


@pytest.mark.parametrize("phase", PHASES)
def test_whatever_its_own_policies_let_in_no_other_tenant_gets_there(widened: dict[str, Network], phase: str) -> None:
    network, labs = widened[phase], {"neura-lab", "rival-lab"}
    of = {namespace: name for name, namespaces in TENANTS.items() for namespace in namespaces}
    for (source, owner), (target, other) in product(of.items(), repeat=2):
        open_ = owner == other or (phase == BOTH_AGREE and {source, target} == labs)
        for protocol, port in PROBES:
            found = network.allows(PODS[source], PODS[target], port, protocol)
            assert found == open_, f"{source} -> {target}, {protocol} {port}"


def test_without_them_tenants_that_let_everybody_in_reach_each_other(widened: dict[str, Network]) -> None:
    for network in widened.values():
        alone = Network(network.namespaces, network.policies)
        assert alone.allows(PODS["rival-train"], PODS["neura-train"])
        assert not network.allows(PODS["rival-train"], PODS["neura-train"])


def test_what_is_no_tenants_is_left_to_network_policies(
    networks: dict[str, Network], widened: dict[str, Network]
) -> None:
    for phase in PHASES:
        assert widened[phase].allows(PODS["ingress"], PODS["neura-train"])
        assert not networks[phase].allows(PODS["ingress"], PODS["neura-train"])


# Its life


def test_what_somebody_changes_or_deletes_is_put_right(cluster: Cluster, operator: OperatorProcess) -> None:
    cluster.apply(tenant("drift", "drift-a"))
    cluster.until("itn", "drift", "Ready", "True")
    spec = policy(cluster, "drift")["spec"]
    before = operator.metric("gpu_tenancy_drift_repairs_total", kind="ClusterNetworkPolicy")

    change = {"spec": {"ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}], "egress": None}}
    cluster.kubectl("patch", KIND, "gpu-tenancy-drift", "--type=merge", "-p", json.dumps(change))
    eventually(lambda: policy(cluster, "drift")["spec"] == spec)
    cluster.kubectl("delete", KIND, "gpu-tenancy-drift")
    eventually(lambda: (policy(cluster, "drift") or {}).get("spec") == spec)

    eventually(lambda: operator.metric("gpu_tenancy_drift_repairs_total", kind="ClusterNetworkPolicy") == before + 2)


def test_somebody_elses_of_the_name_is_left_alone_and_access_waits(cluster: Cluster) -> None:
    foreign = cluster_network_policy("late", [], 900)
    foreign["metadata"]["labels"] = {"team": "network"}
    cluster.create(foreign)
    version = policy(cluster, "late")["metadata"]["resourceVersion"]
    cluster.apply(tenant("late", "late-a"))
    said = cluster.until("itn", "late", "Stalled", "True")
    assert said["reason"] == "PolicyNameTaken"
    time.sleep(3)
    assert bindings(cluster, "late-a") == []
    assert policy(cluster, "late")["metadata"]["resourceVersion"] == version

    cluster.kubectl("delete", KIND, "gpu-tenancy-late")
    cluster.until("itn", "late", "Ready", "True")
    assert policy(cluster, "late")["spec"]["priority"] == 100
    assert bindings(cluster, "late-a")


def test_it_goes_with_its_tenant_and_not_before_the_last_namespace(cluster: Cluster) -> None:
    cluster.apply(tenant("gone", "gone-a"), tenant("kept", "kept-a", deletionPolicy="Retain"))
    for name in ("gone", "kept"):
        cluster.until("itn", name, "Ready", "True")
    cluster.kubectl("delete", "itn", "gone", "kept")
    eventually(lambda: policy(cluster, "gone") is None)
    assert cluster.get("namespace", "gone-a") is None
    eventually(lambda: bindings(cluster, "kept-a") == [])
    assert policy(cluster, "kept") is not None, "what runs in the namespace is still to be kept apart"

    cluster.kubectl("delete", "namespace", "kept-a")
    eventually(lambda: policy(cluster, "kept") is None)


def test_one_whose_tenant_went_while_the_operator_was_down_goes_when_it_is_back(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.apply(tenant("past", "past-a"))
    cluster.until("itn", "past", "Ready", "True")
    with operator.away():
        cluster.kubectl("delete", "itn", "past")
        eventually(lambda: cluster.get("namespace", "past-a") is None)
        assert policy(cluster, "past") is not None
    eventually(lambda: policy(cluster, "past") is None)


def test_the_evidence_has_it_as_a_control_of_its_own(cluster: Cluster) -> None:
    cluster.apply(tenant("shown", "shown-a"))
    cluster.until("itn", "shown", "Ready", "True")
    eventually(lambda: shown(cluster)["asVerified"], every=1)
    assert [one["name"] for one in shown(cluster)["objects"]] == ["gpu-tenancy-shown"]


def shown(cluster: Cluster) -> dict[str, Any]:
    found = yaml.safe_load(command(cluster, "evidence", "shown").stdout)
    return {one["id"]: one for one in found["controls"]}["network-separation"]


@pytest.mark.usefixtures("networks")
def test_a_restart_with_nothing_changed_writes_nothing(operator: OperatorProcess) -> None:
    assert operator.written_again() == {}


@pytest.mark.usefixtures("networks")
def test_the_right_to_them_is_what_the_operator_uses(cluster: Cluster) -> None:
    cluster.apply(tenant("brief", "brief-a"))
    eventually(lambda: policy(cluster, "brief"))
    cluster.kubectl("delete", "itn", "brief")
    eventually(lambda: policy(cluster, "brief") is None)
    role = json.loads(cluster.kubectl("get", "clusterrole", "gpu-tenancy-operator", "-o", "json"))
    granted = {one for one in roles.granted(role["rules"]) if one[0] == GROUP}
    assert {verb for _, _, verb in granted} == {"get", "list", "watch", "create", "patch", "delete"}

    def used() -> set[tuple[str, str, str]]:
        return {one for one in roles.seen(cluster.control_plane.audit_log) if one[0] == GROUP}

    # What is done is logged a moment after it can be seen. Who may list may as well get.
    eventually(lambda: granted - used() <= {(GROUP, KIND, "get")}, lambda: str(granted - used()))
    assert used() <= granted


def test_a_kind_that_is_taken_out_of_the_cluster_is_told_and_stops_nothing_else(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.kubectl("delete", "crd", f"{KIND}.{GROUP}")
    cluster.apply(tenant("after", "after-a"))
    said = cluster.until("itn", "after", "Stalled", "True")
    assert said["reason"] == "WriteRefused"
    assert "ClusterNetworkPolicy" in said["message"]
    assert bindings(cluster, "after-a") == []
    eventually(lambda: cluster.get("networkpolicy", "gpu-tenancy-default-deny", "after-a"))
    with operator.away():
        pass
    cluster.apply(tenant("elsewhere"))
    cluster.until("itn", "elsewhere", "Ready", "True")
