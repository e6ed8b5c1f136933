"""The evidence separates what is declared from what is enforced, and is the same for an unchanged cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from gpu_tenancy.api.region import RegionSpec
from gpu_tenancy.api.resource import Resource
from gpu_tenancy.cli.documents import Format, text
from gpu_tenancy.domain.criteria import CRITERIA, SOURCES
from gpu_tenancy.domain.whereabouts import Residence
from gpu_tenancy.reconcile.audit import Audit, Policies
from gpu_tenancy.reconcile.controls import IDS, NETWORK_SEPARATION
from gpu_tenancy.reconcile.evidence import ENFORCED_BY, Findings, evidence
from tenant_world import NEURA, NOW, REGIONS, Cluster, policy_ref, quota_ref, separation_ref

TODAY = date(2026, 12, 1)
CERTIFIED = RegionSpec.model_validate(
    {
        "country": "DE",
        "jurisdictions": ["DE", "EU"],
        "dataCenterOperator": "Example GmbH",
        "nodeSelector": {"matchLabels": {"region": "eu-de"}},
        "certificates": [
            {"name": "ISO 27001", "validUntil": "2026-11-30"},
            {"name": "BSI C5 Type 2", "validUntil": "2026-12-01", "evidenceURL": "https://example.com/c5"},
        ],
    }
)
POLICY = {"apiVersion": "v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "pods"}, "spec": {}}
BINDING = {
    "apiVersion": "v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "pods"},
    "spec": {"policyName": "pods", "validationActions": ["Deny"]},
}


def node(name: str, region: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"region": region}}}


def pod(name: str, on: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "train", "name": name}, "spec": {"nodeName": on}, "status": {"phase": "Running"}}


def volume(name: str, claim: str, region: str) -> dict[str, Any]:
    expression = {"key": "region", "operator": "In", "values": [region]}
    terms = [{"matchExpressions": [expression]}]
    spec = {
        "claimRef": {"namespace": claim, "name": name},
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
    }
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Bound"}}


def snapshot(name: str, of: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "train", "name": name},
        "spec": {"source": {"persistentVolumeClaimName": of}},
    }


def findings(cluster: Cluster, **fields: Any) -> Findings:
    contract, status, generation = cluster.tenants["neura"]
    assert contract is not None
    assert status is not None
    tenant = Resource("neura", "", "uid", generation, "7", datetime(2026, 1, 1, tzinfo=UTC), False, contract, status)
    base = Findings(
        tenant=tenant,
        regions=REGIONS | {"eu-de": CERTIFIED},
        namespaces=[one for ref, one in cluster.objects.items() if ref.kind == "Namespace"],
        children=[one for ref, one in cluster.objects.items() if ref.kind != "Namespace"],
        nodes=[node("de-1", "eu-de"), node("ch-1", "eu-ch2")],
        pods=[pod("a", "de-1"), pod("b", "de-1")],
        volumes=[volume("data", "train", "eu-de"), volume("foreign", "another", "eu-ch2")],
        snapshots=[],
        policies=[POLICY],
        bindings=[BINDING],
    )
    return replace(base, **fields)


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.audit = Audit(Residence(), Policies.of([POLICY], [BINDING]), NOW)
    cluster.provision(organization={"legalName": "Neura GmbH"})
    return cluster


def controls(found: dict[str, Any]) -> dict[str, Any]:
    return {one["id"]: one for one in found["controls"]}


def test_every_control_says_who_enforces_it_and_which_criteria_it_contributes_to() -> None:
    assert set(IDS) == set(ENFORCED_BY) == set(CRITERIA)
    named = {one.catalogue for criteria in CRITERIA.values() for one in criteria}
    assert named == set(SOURCES)


def test_what_stands_as_it_was_verified_says_so_object_by_object(cluster: Cluster) -> None:
    found = controls(evidence(findings(cluster), TODAY))
    assert {name for name, one in found.items() if one["asVerified"]} == set(IDS) - {NETWORK_SEPARATION}
    network = found["network-isolation"]
    assert network["observed"]["objects"] == len(network["objects"]) == 6
    assert network["verified"]["result"] == "Verified"
    assert network["objects"][0]["namespace"] == "serve"
    assert found["residency"]["objects"][0]["kind"] == "Namespace"
    assert [one["kind"] for one in found["admission-policies"]["objects"]] == [POLICY["kind"], BINDING["kind"]]


def test_where_there_are_cluster_network_policies_the_tenants_is_a_control_of_its_own(cluster: Cluster) -> None:
    assert NETWORK_SEPARATION not in controls(evidence(findings(cluster), TODAY))
    cluster.platform = replace(cluster.platform, separation_priority=100)
    cluster.settle("neura")
    separation = controls(evidence(findings(cluster), TODAY))[NETWORK_SEPARATION]
    assert separation["asVerified"]
    assert "if it knows these" in separation["enforcedBy"]
    assert [(one["kind"], one["name"]) for one in separation["objects"]] == [
        ("ClusterNetworkPolicy", "gpu-tenancy-neura")
    ]

    cluster.change(separation_ref("neura"), {"spec": {"egress": []}})
    assert not controls(evidence(findings(cluster), TODAY))[NETWORK_SEPARATION]["asVerified"]
    del cluster.objects[separation_ref("neura")]
    assert not controls(evidence(findings(cluster), TODAY))[NETWORK_SEPARATION]["asVerified"]


def test_what_was_changed_since_does_not(cluster: Cluster) -> None:
    cluster.change(policy_ref("train", "gpu-tenancy-default-deny"), {"spec": {"egress": [{}]}})
    del cluster.objects[quota_ref("train", "gpu-tenancy-base")]
    found = controls(evidence(findings(cluster, bindings=[]), TODAY))
    changed = {name for name, one in found.items() if not one["asVerified"]}
    assert changed == {"network-isolation", "base-quota", "admission-policies"}


def test_what_was_never_verified_says_nothing() -> None:
    cluster = Cluster()
    cluster.provision()
    residency = controls(evidence(findings(cluster), TODAY))["residency"]
    assert (residency["verified"], residency["asVerified"]) == (None, False)


def test_what_is_declared_is_said_to_be_and_expired_certificates_are_shown_as_such(cluster: Cluster) -> None:
    found = evidence(findings(cluster), TODAY)
    assert found["tenant"]["organization"]["said"] == {"legalName": "Neura GmbH"}
    assert "not verified" in found["tenant"]["organization"]["basis"]
    assert found["residency"] == {"declared": NEURA["residency"], "placement": "DE", "admits": ["eu-de"]}
    (region,) = found["regions"]
    assert "not verified" in region["basis"]
    assert [(one["name"], one["expired"]) for one in region["certificates"]] == [
        ("BSI C5 Type 2", False),
        ("ISO 27001", True),
    ]


def test_a_tenant_without_organization_and_residency_is_described_too(cluster: Cluster) -> None:
    cluster.provision(residency=None)
    found = evidence(findings(cluster), TODAY)
    assert found["tenant"]["organization"]["said"] is None
    assert found["residency"] == {"declared": None, "placement": "any_region", "admits": ["eu-ch2", "eu-de", "eu-nl"]}


def test_where_everything_is_is_counted_and_what_is_outside_is_named(cluster: Cluster) -> None:
    clean = evidence(findings(cluster), TODAY)["whereabouts"]
    assert clean["regions"] == {"Pod": {"eu-de": 2}, "PersistentVolume": {"eu-de": 1}}
    assert (clean["inside"], clean["unknown"], clean["outside"]) == (3, 0, [])

    pods = [pod("a", "ch-1"), pod("b", "gone"), pod("c", "de-1") | {"status": {"phase": "Succeeded"}}]
    volumes = [volume("data", "train", "eu-ch2")]
    snapshots = [snapshot("s", "data"), snapshot("t", "other")]
    found = evidence(findings(cluster, pods=pods, volumes=volumes, snapshots=snapshots), TODAY)["whereabouts"]
    assert found["regions"] == {
        "Pod": {"eu-ch2": 1, "unknown": 1},
        "PersistentVolume": {"eu-ch2": 1},
        "VolumeSnapshot": {"eu-ch2": 1, "unknown": 1},
    }
    assert found["unknown"] == 2
    assert found["outside"] == [
        "PersistentVolume data in region eu-ch2",
        "Pod train/a on node ch-1 in region eu-ch2",
        "VolumeSnapshot train/s in region eu-ch2",
    ]


@pytest.mark.parametrize("notation", Format)
def test_the_order_in_which_things_are_read_does_not_show(cluster: Cluster, notation: Format) -> None:
    found = findings(cluster, pods=[pod("a", "ch-1"), pod("b", "ch-1")])
    backwards = replace(
        found,
        namespaces=found.namespaces[::-1],
        children=found.children[::-1],
        nodes=found.nodes[::-1],
        pods=found.pods[::-1],
        volumes=found.volumes[::-1],
        regions=dict(reversed(found.regions.items())),
    )
    assert text(evidence(found, TODAY), notation) == text(evidence(backwards, TODAY), notation)
