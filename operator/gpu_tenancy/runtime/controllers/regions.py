"""Regions: their status follows the number of their nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.reconcile.regions import plan_region
from gpu_tenancy.runtime.world import Broken

if TYPE_CHECKING:
    from gpu_tenancy.runtime.clock import Clock
    from gpu_tenancy.runtime.executor import Executor
    from gpu_tenancy.runtime.fleet import Fleet
    from gpu_tenancy.runtime.world import World


class RegionController:
    """Reconciles the status of one region."""

    def __init__(self, world: World, fleet: Fleet, executor: Executor, clock: Clock) -> None:
        self._world = world
        self._fleet = fleet
        self._executor = executor
        self._clock = clock

    async def reconcile(self, name: str) -> None:
        """Write the status if it says something new."""
        entry = self._world.regions.get(name)
        if entry is not None and not isinstance(entry.value, Broken):
            await self._executor.execute(plan_region(entry.value, self._fleet.count(name), self._clock.now()))
