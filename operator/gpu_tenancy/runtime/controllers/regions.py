"""Regions: their status follows the number of their nodes, and the days on which their certificates end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.reconcile.regions import plan_region
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.world import Broken

if TYPE_CHECKING:
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.fleet import Fleet


class RegionController:
    """Reconciles the status of one region."""

    def __init__(self, tools: Tools, fleet: Fleet) -> None:
        self._world = tools.world
        self._engine = tools.engine
        self._executor = tools.executor
        self._clock = tools.clock
        self._fleet = fleet

    async def reconcile(self, name: str) -> None:
        """Write the status if it says something new."""
        entry, alarm = self._world.regions.get(name), Key(Topic.REGION, name)
        if entry is None or isinstance(entry.value, Broken):
            self._engine.alarms.set(alarm, None)
            return
        plan = plan_region(entry.value, self._fleet.count(name), self._clock.now())
        self._engine.alarms.set(alarm, plan.wake)
        await self._executor.execute(plan)
