"""Quotas that stand are made to allow what their pool has just decided, before anything else is done or said."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.domain.promises import QuotaKey
from gpu_tenancy.reconcile.gpu_quotas import Amount, plan_amounts
from gpu_tenancy.runtime.executor import ExecutionError
from gpu_tenancy.runtime.keys import Key, Topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_tenancy.domain.promises import Decision
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.raises import Raises
    from gpu_tenancy.runtime.world import Pool


class _Writing(NamedTuple):
    """What a pool is having written: in which namespaces, and whether it is done."""

    namespaces: set[str]
    done: asyncio.Event


class QuotaWriter:
    """Writes how much quotas allow, all of a pool at once: when windows begin, nothing is as urgent."""

    def __init__(self, tools: Tools, raises: Raises) -> None:
        self._world = tools.world
        self._queue = tools.engine.queue
        self._executor = tools.executor
        self._raises = raises
        self._writing: dict[str, _Writing] = {}

    def is_at(self, pool: str, namespace: str) -> bool:
        """Say whether a pool's quotas in a namespace are being written, whose tenant is queued when all of them are."""
        return pool in self._writing and namespace in self._writing[pool].namespaces

    async def write(self, pool: Pool, decision: Decision) -> None:
        """Have quotas allow what is allotted to them, and wait for other pools that are at it: the rest follows then.

        Where that fails is left to the tenants' own plans, which have their say on it.
        """
        amounts = list(self._amounts(pool, decision))
        if not amounts:
            return
        plan, writing = plan_amounts(amounts), _Writing({one.quota.ref.namespace for one in amounts}, asyncio.Event())
        self._writing[pool.name] = writing
        try:
            with suppress(ExecutionError), self._raises.of(plan):
                await self._executor.execute(plan)
            writing.done.set()
            await asyncio.gather(*(other.done.wait() for other in self._writing.values()))
        finally:
            writing.done.set()
            del self._writing[pool.name]
            for tenant in {self._world.owner(namespace) for namespace in writing.namespaces} - {""}:
                self._queue.add(Key(Topic.TENANT, tenant))

    def _amounts(self, pool: Pool, decision: Decision) -> Iterator[Amount]:
        """List the quotas that allow something else than was allotted to them."""
        for entry in self._world.quotas.by("pool", pool.name):
            quota, namespace = entry.value, entry.key.namespace
            if quota.tier is None:
                continue
            gpus = decision.allotments.get(QuotaKey(namespace, quota.tier), quota.hard)
            if gpus != quota.hard and self._is_in_order(namespace):
                yield Amount(quota.observed, pool.spec.resourceName, gpus)

    def _is_in_order(self, namespace: str) -> bool:
        """Say whether a namespace is with the tenant that declares it, and nothing is the matter with either."""
        owner, place = self._world.owner(namespace), self._world.namespaces.get(namespace)
        declared = owner in self._world.claims(namespace) and owner not in self._world.refusals()
        return declared and place is not None and not place.value.deleting
