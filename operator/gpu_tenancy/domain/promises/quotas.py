"""From what quotas should allow to what may be written now, so that no GPU is ever promised twice.

A quota holds the greater of what it allows and what its pods use. Lowering one frees nothing until that is observed,
so lowering is always safe. Raising is paid for from what no quota holds, and each raise is paid for before the next:
whichever of them are written, in whatever order, the sum stays within the pool.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from gpu_tenancy.domain.promises.facts import QuotaKey, StandingQuota


class Wish(NamedTuple):
    """GPUs that a quota should allow, on top of the wishes for it before."""

    key: QuotaKey
    gpus: int


class Ceiling(NamedTuple):
    """What several quotas may hold together, such as a tenant's guaranteed ones."""

    keys: Collection[QuotaKey]
    gpus: int


def targets_of(standing: Iterable[StandingQuota], wishes: Iterable[Wish]) -> dict[QuotaKey, int]:
    """Add up what each quota should allow; one that nobody wishes for should allow nothing."""
    targets = {quota.key: 0 for quota in standing}
    for key, gpus in wishes:
        targets[key] = targets.get(key, 0) + gpus
    return dict(sorted(targets.items()))


def allot(
    standing: Iterable[StandingQuota],
    wishes: Iterable[Wish],
    targets: Mapping[QuotaKey, int],
    capacity: int,
    ceilings: Sequence[Ceiling] = (),
) -> dict[QuotaKey, int]:
    """Decide what each quota is to allow now.

    Args:
        standing: the quotas as observed.
        wishes: the most important first.
        targets: the sums of the wishes.
        capacity: GPUs that may be promised now.
        ceilings: of quotas that are in none twice; no raise takes them beyond it.
    """
    committed = Counter({quota.key: quota.committed for quota in standing})
    hard = dict.fromkeys(targets, 0) | {quota.key: min(quota.hard, targets[quota.key]) for quota in standing}
    left = max(0, capacity - committed.total())
    under = {key: number for number, ceiling in enumerate(ceilings) for key in ceiling.keys}
    below = [max(0, ceiling.gpus - sum(committed[key] for key in ceiling.keys)) for ceiling in ceilings]
    wished: Counter[QuotaKey] = Counter()
    for key, gpus in wishes:
        wished[key] += gpus
        paid = min(left, max(0, wished[key] - committed[key]))
        if key in under:
            paid = min(paid, below[under[key]])
            below[under[key]] -= paid
        left -= paid
        committed[key] += paid
        hard[key] = max(hard[key], min(wished[key], committed[key]))
    return hard
