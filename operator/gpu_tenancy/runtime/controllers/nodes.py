"""Nodes get the labels and the taints of where they belong, and to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.reconcile.nodes import NodeView, plan_node

if TYPE_CHECKING:
    from gpu_tenancy.runtime.controllers.binder import Binder
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.fleet import Fleet


class NodeController:
    """Reconciles one node."""

    def __init__(self, tools: Tools, fleet: Fleet, binder: Binder) -> None:
        self._world = tools.world
        self._executor = tools.executor
        self._fleet = fleet
        self._binder = binder

    async def reconcile(self, name: str) -> None:
        """Label and taint the node; it writes nothing to one that is as it should be."""
        entry = self._world.nodes.get(name)
        if entry is None:
            return
        home = self._fleet.home(name)
        view = NodeView(
            name=name,
            resource_version=entry.resource_version,
            labels=entry.value.facts.labels,
            raw_taints=entry.value.taints,
            region=home.region,
            pool=home.pool,
            catalogue=self._world.catalogue(),
            placements=self._world.placements(),
            tenure=self._binder.tenure(name, home.pool),
        )
        await self._executor.execute(plan_node(view))
