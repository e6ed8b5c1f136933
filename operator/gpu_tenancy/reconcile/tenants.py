"""Tenants: everything that one tenant needs, decided from one view of the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import TENANT_LABEL, quota_of
from gpu_tenancy.domain.quantity import parse
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.reconcile.children import QUOTA, Step
from gpu_tenancy.reconcile.controls import verification_due
from gpu_tenancy.reconcile.isolation import Contract, Memory, closed, released, work_on
from gpu_tenancy.reconcile.ownership import Kept, claims
from gpu_tenancy.reconcile.plan import Plan, Update, plan
from gpu_tenancy.reconcile.separation import separate
from gpu_tenancy.reconcile.status import invalid_spec
from gpu_tenancy.reconcile.tenant_status import is_steady, report, report_failure, report_refusal
from gpu_tenancy.render.base_quota import faults
from gpu_tenancy.render.gpu_quota import quota_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from gpu_tenancy.api.pool import GpuPoolSpec
    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.api.tenant import IndustrialTenantSpec
    from gpu_tenancy.reconcile.plan import Operation
    from gpu_tenancy.reconcile.views import TenantView


def plan_tenant(view: TenantView, now: datetime, memory: Memory | None = None) -> Plan:
    """Decide what to write for one tenant.

    A tenant whose spec is refused as a whole keeps what it has, but for peerings that were revoked. One that is gone has no status; its namespaces go with
    it or stay, shut.

    Args:
        view: the tenant and what it depends on.
        now: dates changes of conditions and what was verified; nothing else depends on it.
        memory: of what was planned for the tenant before; without it the plan is the same.

    Returns:
        Stages that leave every namespace safe wherever they stop, the status last; nothing at all if all is as it
        should be.
    """
    problem = _problem(view)
    if problem is not None:
        apart = [operation for _, operation in separate(view, needed=False, steady=False).operations]
        return plan([*_lowered(view), *released(view), *closed(view), *apart], report_refusal(view, *problem, now))
    claimed, steady = claims(view), is_steady(view)
    separation = separate(view, needed=any(isinstance(claim, Kept) for claim in claimed), steady=steady)
    contract = Contract.of(view, memory or Memory(), separated=separation.settled, steady=steady)
    work = [(claim, work_on(contract, claim)) for claim in claimed]
    stages: dict[Step, list[Operation]] = {step: [] for step in Step}
    for one in (separation, *(one for _, one in work)):
        for step, operation in one.operations:
            stages[step].append(operation)
    status = [] if view.spec is None else report(view, view.spec, work, contract.children, now, separation=separation)
    return plan(*stages.values(), status, by_namespace=True)


def look_again(view: TenantView, now: datetime) -> datetime | None:
    """Say when time alone changes something for a tenant whose plan was carried out."""
    times = (view.contract.wake, verification_due(view, now))
    return min((at for at in times if at is not None), default=None)


def plan_failure(view: TenantView, message: str, now: datetime, *, permanent: bool) -> Plan:
    """Say in the status that a plan for the tenant could not be carried out.

    Args:
        view: the tenant.
        message: what failed and why.
        now: dates changes of conditions.
        permanent: whether trying again is of no use before somebody does something.
    """
    if view.spec is None and not view.invalid:
        return Plan()
    return plan(report_failure(view, message, now, permanent=permanent))


def refusal(
    spec: IndustrialTenantSpec, regions: Mapping[str, RegionSpec], pools: Mapping[str, GpuPoolSpec]
) -> tuple[str, str] | None:
    """Say why a spec cannot be carried out as a whole: reason and message, or None if it can.

    Args:
        spec: the tenant's spec.
        regions: the catalogue by name.
        pools: the pools by name.
    """
    checks = (
        ("ResidencyContradiction", Placement.of(spec.residency).contradictions(regions)),
        ("UnknownPool", _unknown_pools(spec, pools)),
        ("ResidencyContradiction", _foreign_pools(spec, regions, pools)),
        ("DefaultPoolNotGranted", _ungranted_defaults(spec)),
        ("InvalidQuota", faults(spec.quota)),
    )
    for reason, problems in checks:
        if message := "; ".join(problems):
            return reason, message
    return None


def _problem(view: TenantView) -> tuple[str, str] | None:
    if view.invalid:
        return invalid_spec(view.invalid)
    return None if view.spec is None else refusal(view.spec, view.regions, view.pools)


def _unknown_pools(spec: IndustrialTenantSpec, pools: Mapping[str, GpuPoolSpec]) -> Iterator[str]:
    named = [grant.pool for grant in spec.gpus]
    named += [one.defaultPool for one in spec.namespaces if one.defaultPool is not None]
    for name in dict.fromkeys(named):
        if name not in pools:
            yield f"pool {name} is not in the catalogue: create the GpuPool, or correct spec.gpus and spec.namespaces"


def _foreign_pools(
    spec: IndustrialTenantSpec, regions: Mapping[str, RegionSpec], pools: Mapping[str, GpuPoolSpec]
) -> Iterator[str]:
    placement = Placement.of(spec.residency)
    for grant in spec.gpus if spec.residency is not None else []:
        region = pools[grant.pool].region
        if region not in regions:
            yield f"pool {grant.pool} is in region {region}, which is not in the catalogue: create the Region"
        elif not placement.admits(region, regions[region]):
            yield (
                f"pool {grant.pool} is in region {region} ({', '.join(regions[region].jurisdictions)}), which the "
                f"residency does not admit: remove it from spec.gpus or admit the region in spec.residency"
            )


def _ungranted_defaults(spec: IndustrialTenantSpec) -> Iterator[str]:
    granted = {grant.pool for grant in spec.gpus}
    for one in spec.namespaces:
        if one.defaultPool is not None and one.defaultPool not in granted:
            yield (
                f"namespace {one.name} has default pool {one.defaultPool}, of which nothing is granted: "
                f"grant it in spec.gpus or remove it from spec.namespaces"
            )


def _lowered(view: TenantView) -> Iterator[Operation]:
    """Take back what the pools do not hand out any more, such as after a window: others may have been promised it."""
    for ref, quota in sorted(view.children.items()):
        namespace, of_gpus = view.namespaces.get(ref.namespace), quota_of(ref.name)
        if ref.kind != QUOTA or of_gpus is None or of_gpus[0] not in view.pools:
            continue
        if namespace is None or namespace.labels.get(TENANT_LABEL) != view.name or namespace.deleting:
            continue
        pool, tier = of_gpus
        key, amount = quota_key(view.pools[pool].resourceName), view.allotments.get((ref.namespace, pool, tier))
        hard = quota.manifest["spec"].get("hard", {})
        if amount is not None and parse(hard.get(key, "0")) > amount:
            yield Update(ref, {"spec": {"hard": {key: str(amount)}}})
