"""The examples are what the models accept, and what they say of themselves is true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gpu_tenancy.api import API_VERSION, KINDS, IndustrialTenantSpec, RegionSpec
from gpu_tenancy.domain.naming import POOL_LABEL, RESERVATION_LABEL, TIER_LABEL
from gpu_tenancy.domain.residency import Placement

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples" / "industrial-ai-cloud"
MODELS = {kind.kind: kind for kind in KINDS}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield path.name, document


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for _, document in documents() if document["kind"] == kind}


def workloads() -> list[dict[str, Any]]:
    return [document for _, document in documents() if document["kind"] in {"Deployment", "Job"}]


OURS = [(name, document) for name, document in documents() if document["apiVersion"] == API_VERSION]


@pytest.mark.parametrize(
    "document", [document for _, document in OURS], ids=[f"{n}:{d['metadata']['name']}" for n, d in OURS]
)
def test_the_models_accept_every_object(document: dict[str, Any]) -> None:
    kind = MODELS[document["kind"]]
    kind.spec.model_validate(document["spec"])
    for rule in kind.name_rules:
        assert rule.holds is not None
        assert rule.holds(document["metadata"]["name"])


def test_every_kind_has_an_example() -> None:
    assert {document["kind"] for _, document in OURS} == MODELS.keys()


def test_pools_lie_in_regions_and_grants_in_pools() -> None:
    regions, pools = of_kind("Region"), of_kind("GpuPool")
    assert {pool["spec"]["region"] for pool in pools.values()} <= regions.keys()
    for tenant in of_kind("IndustrialTenant").values():
        assert {grant["pool"] for grant in tenant["spec"]["gpus"]} <= pools.keys()


def test_one_residency_is_contradicted_by_its_regions_and_no_other() -> None:
    regions = {name: RegionSpec.model_validate(region["spec"]) for name, region in of_kind("Region").items()}
    refused = {
        name
        for name, tenant in of_kind("IndustrialTenant").items()
        if list(Placement.of(IndustrialTenantSpec.model_validate(tenant["spec"]).residency).contradictions(regions))
    }
    assert refused == {"diagnostics"}


def test_workloads_stand_in_namespaces_of_tenants_and_name_what_these_were_granted() -> None:
    namespaces = {
        namespace["name"]: ({grant["pool"] for grant in tenant["spec"]["gpus"]}, namespace.get("defaultPool"))
        for tenant in of_kind("IndustrialTenant").values()
        for namespace in tenant["spec"]["namespaces"]
    }
    reservations = of_kind("GpuReservation")
    for workload in workloads():
        granted, default = namespaces[workload["metadata"]["namespace"]]
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert labels.get(POOL_LABEL, default) in granted
        assert labels.get(TIER_LABEL, "spot") == "spot"
        if reservation := labels.get(RESERVATION_LABEL):
            assert reservations[reservation]["metadata"]["namespace"] == workload["metadata"]["namespace"]


def test_the_training_job_fills_its_reservation() -> None:
    [job] = [
        workload for workload in workloads() if RESERVATION_LABEL in workload["spec"]["template"]["metadata"]["labels"]
    ]
    assert job["spec"]["suspend"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    gpus = job["spec"]["parallelism"] * container["resources"]["limits"]["nvidia.com/gpu"]
    assert gpus == of_kind("GpuReservation")["evening-training"]["spec"]["gpus"]


def test_the_readme_names_every_file() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    assert [name for name in sorted({name for name, _ in documents()}) if f"`{name}`" not in readme] == []
