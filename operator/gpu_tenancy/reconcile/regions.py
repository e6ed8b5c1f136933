"""Regions: how many nodes are there, and whether what the catalogue says of them is out of date."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from gpu_tenancy.api import REGION, RegionSpec, RegionStatus
from gpu_tenancy.domain.conditions import set_condition, without
from gpu_tenancy.reconcile.plan import Plan, plan
from gpu_tenancy.reconcile.status import write_status

if TYPE_CHECKING:
    from gpu_tenancy.api.region import Certificate
    from gpu_tenancy.api.resource import Resource


def plan_region(region: Resource[RegionSpec, RegionStatus], nodes: int, now: datetime) -> Plan:
    """Decide the status of a region with so many nodes; a region without nodes is a fact of the catalogue too."""
    conditions = set_condition(
        region.status.conditions,
        "Ready",
        "True",
        "Catalogued",
        f"tenants may reside in {', '.join(region.spec.jurisdictions)}",
        region.generation,
        now,
    )
    ends = {one.name: _end(one) for one in region.spec.certificates}
    expired = sorted(name for name, end in ends.items() if end <= now)
    if expired:
        message = f"{', '.join(expired)}: no longer valid; renew spec.certificates. Nothing is enforced by them, so tenants stay"
        conditions = set_condition(conditions, "CertificateExpired", "True", "Expired", message, region.generation, now)
    else:
        conditions = without(conditions, "CertificateExpired")
    status = RegionStatus(observedGeneration=region.generation, nodes=nodes, conditions=conditions)
    wake = min((end for end in ends.values() if end > now), default=None)
    return plan([*write_status(REGION, region, status)], wake=wake)


def _end(certificate: Certificate) -> datetime:
    """Give the instant after the last day on which a certificate is valid, as days are in UTC."""
    return datetime.combine(certificate.validUntil + timedelta(days=1), time(), UTC)
