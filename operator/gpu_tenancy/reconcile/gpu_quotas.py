"""The GPU quotas of a namespace: one for each class that has a ceiling or is still used, and the closing quota.

A class leaves the closing quota only when its own quota counts, and comes back before that goes. So at every instant
each class is limited by one of the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.domain.grants import Share
from gpu_tenancy.domain.naming import CLOSING_QUOTA, Tier, priority_class, quota_of
from gpu_tenancy.domain.quantity import parse
from gpu_tenancy.reconcile.children import QUOTA, Standing, Step, not_in, update
from gpu_tenancy.reconcile.plan import Plan, plan
from gpu_tenancy.render.gpu_quota import class_quota, closing_quota, quota_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.reconcile.plan import Manifest, Operation, Ref
    from gpu_tenancy.reconcile.views import TenantView


def gpu_quotas(
    namespace: str,
    limits: Mapping[str, tuple[str, int | None]],
    accelerators: Collection[str],
    standing: Mapping[Ref, Standing],
) -> list[Manifest]:
    """Render the GPU quotas that should stand now.

    Args:
        namespace: where they are.
        limits: by class, the resource and how much of it; None for as much as stands.
        accelerators: every accelerator resource.
        standing: the operator's objects in the namespace.
    """
    quotas = {ref.name: one for ref, one in standing.items() if ref.kind == QUOTA}
    closing = quotas.pop(CLOSING_QUOTA, None)
    out = set(not_in(None if closing is None else closing.manifest))
    closable = closing is not None and closing.observed.counted and not closing.observed.deleting
    rendered, open_classes = [], []
    for name in sorted({*limits, *(name for name in quotas if quota_of(name))}):
        quota = quotas.get(name)
        if name in limits:
            resource, amount = limits[name]
            rendered.append(class_quota(namespace, name, accelerators, {resource: _standing(quota, resource, amount)}))
        elif quota is not None and not (closable and _is_empty(quota)):
            rendered.append(class_quota(namespace, name, accelerators, _nothing(quota)))
        else:
            continue
        if closing is None or name in out or (quota is not None and quota.observed.counted):
            open_classes.append(name)
    return [*rendered, closing_quota(namespace, accelerators, open_classes)]


class Amount(NamedTuple):
    """How much of a resource a quota that stands is to allow from now on."""

    quota: Observed
    resource: str
    gpus: int


def plan_amounts(amounts: Iterable[Amount]) -> Plan:
    """Have quotas allow what their pool allots, and nothing else: what a window waits for at its start.

    Raises are paid for from what no quota holds, so they need not wait for what is given back; that only goes first.
    """
    steps: dict[Step, list[Operation]] = {Step.LESS: [], Step.MORE: []}
    for quota, resource, gpus in amounts:
        key, standing = quota_key(resource), Standing(quota, quota.manifest)
        hard = standing.manifest["spec"].get("hard", {}).get(key)
        if hard is None or quota.deleting or parse(hard) == gpus:
            continue
        patch = {"spec": {"hard": {key: str(gpus)}}}
        step, operation = update(standing, patch, patch, steady=False)
        steps[step].append(operation)
    return plan([*steps[Step.LESS], *steps[Step.MORE]])


def limits_of(
    view: TenantView, namespace: str, split: Mapping[str, Mapping[str, Share]]
) -> dict[str, tuple[str, int | None]]:
    """Decide which classes a namespace has, and how much of each.

    A class is there if its ceiling is above zero, or if the pool hands out GPUs in it all the same: what was accepted
    keeps its place when the grant is lowered.

    Args:
        view: the tenant.
        namespace: one of its namespaces.
        split: by pool, each namespace's share of the grant.

    Returns:
        By class the resource and the amount; None where the pool has not decided.
    """
    return {
        priority_class(pool, tier): (view.pools[pool].resourceName, amount)
        for pool, tier, ceiling in _ceilings(view, namespace, split)
        if (amount := ceiling if tier is Tier.SPOT else view.allotments.get((namespace, pool, tier))) or ceiling
    }


def _ceilings(
    view: TenantView, namespace: str, split: Mapping[str, Mapping[str, Share]]
) -> Iterator[tuple[str, Tier, int]]:
    reservable = {} if view.spec is None else {grant.pool: grant.reservable for grant in view.spec.gpus}
    for pool, spec in view.pools.items():
        share = split.get(pool, {}).get(namespace, Share())
        yield pool, Tier.GUARANTEED, share.guaranteed + share.shared
        yield pool, Tier.RESERVED, reservable.get(pool, 0)
        yield pool, Tier.SPOT, share.spot if spec.spot == "Enabled" else 0


def _standing(quota: Standing | None, resource: str, amount: int | None) -> int:
    if amount is not None:
        return amount
    hard = {} if quota is None else quota.manifest["spec"].get("hard", {})
    return int(parse(hard.get(quota_key(resource), "0")))


def _nothing(quota: Standing) -> dict[str, int]:
    keys = quota.manifest["spec"].get("hard", {})
    return {key.removeprefix(quota_key("")): 0 for key in keys if key.startswith(quota_key("")) and "/" in key}


def _is_empty(quota: Standing) -> bool:
    """Say whether a quota gives nothing, is used by nothing, and this is certain."""
    amounts = [*quota.manifest["spec"].get("hard", {}).values(), *(amount for _, amount in quota.observed.used)]
    return quota.observed.counted and not any(map(parse, amounts))
