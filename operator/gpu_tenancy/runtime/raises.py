"""Raises of GPU quotas that are on their way, so that no decision promises again what a write is about to take.

A decision reads what was observed. Between the moment a plan is made and the moment its write is observed, another
decision may be made; it counts what is on its way as if it stood.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.domain.naming import Tier, quota_of
from gpu_tenancy.reconcile.plan import Create, Update
from gpu_tenancy.runtime.executor import ExecutionError
from gpu_tenancy.runtime.world import gpus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from gpu_tenancy.reconcile.plan import Operation, Plan, Ref


class Raise(NamedTuple):
    """A GPU quota and what it is to allow."""

    pool: str
    namespace: str
    tier: Tier
    hard: int


class Raises:
    """The raises on their way.

    Args:
        settle_seconds: how long a write whose answer got lost may still take effect.
    """

    def __init__(self, settle_seconds: float) -> None:
        self._settle_seconds = settle_seconds
        self._under_way: defaultdict[str, Counter[Raise]] = defaultdict(Counter)

    def of_pool(self, pool: str) -> Mapping[tuple[str, Tier], int]:
        """Give the highest limit on its way for each quota of the pool, by namespace and tier."""
        highest: dict[tuple[str, Tier], int] = {}
        for raise_ in self._under_way[pool]:
            key = raise_.namespace, raise_.tier
            highest[key] = max(highest.get(key, 0), raise_.hard)
        return highest

    @contextmanager
    def of(self, plan: Plan) -> Iterator[None]:
        """Count the plan's raises while it is executed, and longer if it stays unknown whether they were written."""
        raises = dict(_raises(plan.operations))
        for raise_ in raises.values():
            self._under_way[raise_.pool][raise_] += 1
        uncertain: Collection[Ref] = raises
        try:
            yield
            uncertain = ()
        except ExecutionError as error:
            uncertain = error.uncertain
            raise
        finally:
            for ref, raise_ in raises.items():
                if ref in uncertain:
                    asyncio.get_running_loop().call_later(self._settle_seconds, self._forget, raise_)
                else:
                    self._forget(raise_)

    def _forget(self, raise_: Raise) -> None:
        under_way = self._under_way[raise_.pool]
        under_way[raise_] -= 1
        if not under_way[raise_]:
            del under_way[raise_]


def _raises(operations: Iterable[Operation]) -> Iterator[tuple[Ref, Raise]]:
    """Read the limits that operations give to guaranteed and reserved quotas; a lower one does no harm here."""
    for operation in operations:
        if not isinstance(operation, Create | Update) or operation.ref.kind != "ResourceQuota":
            continue
        body = operation.manifest if isinstance(operation, Create) else operation.patch
        hard = body.get("spec", {}).get("hard")
        named = quota_of(operation.ref.name)
        if hard and named is not None and named[1] is not Tier.SPOT:
            amounts = {key: amount for key, amount in hard.items() if amount is not None}
            yield operation.ref, Raise(named[0], operation.ref.namespace, named[1], gpus(amounts))
