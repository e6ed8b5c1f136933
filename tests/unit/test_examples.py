"""The examples are what the models accept, and what they say of themselves is true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gpu_tenancy.api import API_VERSION, KINDS, GpuPoolSpec, GpuReservationSpec, IndustrialTenantSpec, RegionSpec
from gpu_tenancy.domain.capacity import PoolCapacity
from gpu_tenancy.domain.grants import Share
from gpu_tenancy.domain.naming import POOL_LABEL, RESERVATION_LABEL, TIER_LABEL
from gpu_tenancy.domain.promises import Booking, Grant, PoolFacts, Reason, Series, State, decide
from gpu_tenancy.domain.quantity import parse
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.localcluster.hardware import MACHINES, Place, node
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpu_tenancy.domain.promises import Verdict

FOLDER = ROOT / "examples"
EXAMPLES, RESERVATIONS = FOLDER / "industrial-ai-cloud", FOLDER / "reservations"
MODELS = {kind.kind: kind for kind in KINDS}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in (*sorted(EXAMPLES.glob("*.yaml")), *sorted(RESERVATIONS.glob("*.yaml"))):
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


def test_what_comes_with_the_gpus_of_a_node_is_there_with_some_left_for_the_platform() -> None:
    machines = {machine.gpu.product: machine for machine in MACHINES.values() if machine.gpu is not None}
    for one in of_kind("GpuPool").values():
        spec = GpuPoolSpec.model_validate(one["spec"])
        made = node(machines[spec.model], Place("eu-de"), 1, "1.36.3", datetime.now(UTC))
        for resource, amount in spec.perGpu.items():
            part = parse(amount) * spec.gpusPerNode / parse(made["status"]["allocatable"][resource])
            assert Fraction(85, 100) < part < Fraction(98, 100), (
                f"{part:.2f} of {resource} in {one['metadata']['name']}"
            )


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


def test_jobs_that_wait_fill_their_reservations() -> None:
    reservations, filled = of_kind("GpuReservation"), set()
    for job in workloads():
        if name := job["spec"]["template"]["metadata"]["labels"].get(RESERVATION_LABEL):
            assert job["spec"]["suspend"]
            [container] = job["spec"]["template"]["spec"]["containers"]
            gpus = job["spec"]["parallelism"] * container["resources"]["limits"]["nvidia.com/gpu"]
            assert gpus == reservations[name]["spec"]["gpus"]
            filled.add(name)
    assert filled == {"evening-training", "alone"}


def test_the_planner_says_of_each_reservation_what_the_readme_says() -> None:
    """On the smallest site, one after the other, on the Friday before."""
    now, gpus = datetime(2027, 1, 8, 12, tzinfo=UTC), {"gb200": 72, "rtx-pro": 40}
    found: dict[str, Verdict] = {}
    for pool, total in gpus.items():
        spec = GpuPoolSpec.model_validate(of_kind("GpuPool")[pool]["spec"])
        bookings: list[Booking] = []
        for name, document in of_kind("GpuReservation").items():
            one = document["spec"]
            if one["pool"] == pool and name != "evening-training":
                asked, namespace = GpuReservationSpec.model_validate(one), document["metadata"]["namespace"]
                created = now - timedelta(seconds=10 - len(bookings))
                whole = Booking(namespace, name, name, namespace.partition("-")[0], created, 1, asked)
                bookings += Series.of(whole, (), spec.reservations, now).bookings
        capacity = PoolCapacity(nodes=18, capacity=total, usable=total, unhealthy=0, domains={"rack": total})
        facts = PoolFacts(spec=spec, capacity=capacity, grants=tuple(grants(pool)), bookings=tuple(bookings))
        found |= decide(facts, now).verdicts

    assert found.pop("waiting").position == 1
    assert found.pop("final-render").reason == Reason.BUDGET_EXCEEDED
    assert {uid.partition("/")[0] for uid in found} == {"flexible", "nightly", "alone", "going-on"}
    assert {verdict.state for verdict in found.values()} == {State.SCHEDULED}


def grants(pool: str) -> Iterator[Grant]:
    for number, (name, tenant) in enumerate(of_kind("IndustrialTenant").items()):
        spec = IndustrialTenantSpec.model_validate(tenant["spec"])
        for one in (one for one in spec.gpus if one.pool == pool):
            shares = {spec.namespaces[0].name: Share(one.guaranteed)}
            created = datetime(2026, 1, 1 + number, tzinfo=UTC)
            yield Grant(name, created, one.guaranteed, one.reservable, one.gpuHours, shares=shares)


@pytest.mark.parametrize("folder", [EXAMPLES, RESERVATIONS], ids=lambda folder: folder.name)
def test_the_readme_names_every_file(folder: Path) -> None:
    readme = (folder / "README.md").read_text()
    assert [path.name for path in folder.glob("*.yaml") if path.name not in readme] == []
