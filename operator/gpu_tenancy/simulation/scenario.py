"""What is simulated: pools with their rules, tenants with their grants, and requests, listed or drawn by chance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from gpu_tenancy.api.common import CatalogueName, Duration, Instant, NamespaceName
from gpu_tenancy.api.pool import GpuCount, GpuPoolSpec
from gpu_tenancy.api.reservation import GpuReservationSpec
from gpu_tenancy.api.schema import ApiModel
from gpu_tenancy.api.tenant import GpuGrant

Percent = Annotated[int, Field(ge=0, le=100)]
_POOL_DEFAULTS: dict[str, Any] = {
    "region": "somewhere",
    "model": "GPU",
    "nodeSelector": {"matchLabels": {"simulated": "true"}},
    "gpusPerNode": 8,
}


class Workload(ApiModel):
    """Requests drawn by chance; the same seed gives the same ones. Spans are drawn between half and twice the typical."""

    perDay: Annotated[int, Field(ge=1, le=100_000)] = 48
    """How many requests arrive on a day on average, at random instants."""
    gpus: Annotated[list[Annotated[int, Field(ge=1, le=1_000_000)]], Field(min_length=1, max_length=64)] = [
        *(8, 8, 8, 16, 16, 32, 32, 64, 128, 256),
    ]
    """Sizes, each as likely as the others; one that is named twice is twice as likely."""
    duration: Duration = timedelta(hours=24)
    """A typical duration."""
    lead: Duration = timedelta(hours=72)
    """A typical time between the request and its start."""
    flexible: Percent = 40
    """How many percent ask for the earliest fit in a range of four times their duration, and the others for one start."""
    waiting: Percent = 30
    """How many percent wait when they do not fit."""
    cancelled: Percent = 5
    """How many percent are cancelled at some instant before their end."""
    earlierEnd: Percent = 10
    """How many percent give back the rest at some instant within their window."""


class SimulatedPool(ApiModel):
    """A pool and how many GPUs it has."""

    name: CatalogueName
    """Its name."""
    gpus: Annotated[int, Field(ge=1, le=1_000_000)]
    """GPUs of all its nodes."""
    spec: GpuPoolSpec
    """As in a GpuPool; region, model and nodeSelector may be left out."""
    workload: Workload | None = None
    """Requests for it that are drawn by chance, besides those that are listed."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("spec", {}), dict):
            return raw
        return {**raw, "spec": {**_POOL_DEFAULTS, **raw.get("spec", {})}}


class SimulatedTenant(ApiModel):
    """A tenant, or several alike."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=50)]
    """Its name; with `count`, `<name>-1` and so on."""
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How many there are."""
    gpus: Annotated[list[GpuGrant], Field(max_length=32)]
    """As in an IndustrialTenant."""


class Request(ApiModel):
    """A reservation that a tenant asks for."""

    at: Instant
    """When it is asked for."""
    tenant: NamespaceName
    """By whom."""
    spec: GpuReservationSpec
    """As in a GpuReservation."""
    cancelledAt: Instant | None = None
    """When it is deleted, if it is."""


class Failures(ApiModel):
    """Nodes that fail and come back."""

    perDay: Annotated[int, Field(ge=0, le=10_000)] = 1
    """How many nodes of a pool fail on a day on average."""
    repair: Duration = timedelta(hours=12)
    """How long a typical repair takes."""


class Scenario(ApiModel):
    """A site, its tenants, and what they ask for."""

    start: Instant = datetime(2027, 1, 1, tzinfo=UTC)
    """When it begins."""
    duration: Duration = timedelta(hours=8760)
    """How long it is simulated."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 1
    """Whatever is left to chance is drawn from it."""
    pools: Annotated[list[SimulatedPool], Field(min_length=1, max_length=64)]
    """The pools."""
    tenants: Annotated[list[SimulatedTenant], Field(min_length=1, max_length=1000)]
    """The tenants, the oldest first."""
    requests: Annotated[list[Request], Field(max_length=1_000_000)] = []
    """Requests as they came."""
    failures: Failures | None = None
    """Failures drawn by chance, for each pool."""
    guaranteedUse: Percent = 70
    """How many percent of the guaranteed GPUs are in use; the others are idle, for spot."""
    reservedUse: Percent = 90
    """How many percent of the GPUs of an active reservation are in use."""
    spotDemand: GpuCount = 1_000_000
    """How many GPUs pods that may be preempted would use, in each pool."""

    @model_validator(mode="after")
    def _refers_to_what_there_is(self) -> Self:
        pools, tenants = {one.name for one in self.pools}, set(self.tenant_names())
        for tenant in self.tenants:
            for grant in tenant.gpus:
                if grant.pool not in pools:
                    raise ValueError(f"tenant {tenant.name} is granted GPUs of pool {grant.pool}, which is not listed")
        for request in self.requests:
            if request.tenant not in tenants:
                raise ValueError(f"a request is of tenant {request.tenant}, which is not listed")
            if request.spec.pool not in pools:
                raise ValueError(
                    f"a request of tenant {request.tenant} is for pool {request.spec.pool}, which is not listed"
                )
        return self

    def tenant_names(self) -> list[str]:
        """Name every tenant, the oldest first."""
        return [name for tenant in self.tenants for name in names_of(tenant)]

    @property
    def end(self) -> datetime:
        """When it is over."""
        return self.start + self.duration


def names_of(tenant: SimulatedTenant) -> list[str]:
    """Name the tenants that an entry stands for."""
    if tenant.count == 1:
        return [tenant.name]
    return [f"{tenant.name}-{number}" for number in range(1, tenant.count + 1)]


def large_site() -> Scenario:
    """Give the site that is simulated if no other is named: 10,000 GPUs in three pools, 500 tenants, a year."""
    rules = {"horizon": "2160h", "step": "15m", "maximumDuration": "720h", "gracePeriod": "10m", "cleaningGap": "15m"}

    def pool(name: str, total: int, per_node: int, headroom: int, **workload: Any) -> dict[str, Any]:
        spec = {"model": name.upper(), "gpusPerNode": per_node, "headroom": headroom, "reservations": rules}
        return {"name": name, "gpus": total, "spec": spec, "workload": workload}

    def tenants(name: str, count: int, *gpus: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "count": count, "gpus": list(gpus)}

    return Scenario.model_validate(
        {
            "pools": [
                pool("b200", 8000, 8, 64, perDay=88),
                pool("gb200", 1152, 4, 36, perDay=14, gpus=[4, 8, 16, 36, 72, 72, 144]),
                pool("rtx-pro", 848, 8, 16, perDay=32, gpus=[1, 2, 4, 8, 8, 16, 32]),
            ],
            "tenants": [
                tenants(
                    "enterprise", 20,
                    {"pool": "b200", "guaranteed": 100, "reservable": 2000},
                    {"pool": "gb200", "guaranteed": 16, "reservable": 576},
                ),
                tenants(
                    "sme", 180,
                    {"pool": "b200", "guaranteed": 2, "reservable": 256},
                    {"pool": "rtx-pro", "reservable": 64},
                ),
                tenants(
                    "start-up", 200,
                    {"pool": "b200", "reservable": 128, "gpuHours": {"limit": 20000, "period": "Month"}},
                    {"pool": "rtx-pro", "guaranteed": 1, "reservable": 32},
                ),
                tenants(
                    "university", 100,
                    {"pool": "gb200", "reservable": 72},
                    {"pool": "rtx-pro", "guaranteed": 1, "reservable": 64},
                ),
            ],
            "failures": {},
        }
    )  # fmt: skip
