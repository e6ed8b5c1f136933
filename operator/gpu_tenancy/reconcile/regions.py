"""Regions: how many nodes are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.api import REGION, RegionSpec, RegionStatus
from gpu_tenancy.domain.conditions import set_condition
from gpu_tenancy.reconcile.plan import Plan, plan
from gpu_tenancy.reconcile.status import write_status

if TYPE_CHECKING:
    from datetime import datetime

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
    status = RegionStatus(observedGeneration=region.generation, nodes=nodes, conditions=conditions)
    return plan([*write_status(REGION, region, status)])
