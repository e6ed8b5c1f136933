"""Peerings: a namespace's are judged, and their statuses written."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gpu_tenancy.domain.conditions import find
from gpu_tenancy.reconcile.peerings import PeeringsView, plan_peerings

if TYPE_CHECKING:
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.peers import Peers


class PeeringController:
    """Reconciles the statuses of one namespace's peerings."""

    def __init__(self, tools: Tools, peers: Peers) -> None:
        self._world = tools.world
        self._executor = tools.executor
        self._clock = tools.clock
        self._metrics = tools.metrics
        self._peers = peers

    async def reconcile(self, name: str) -> None:
        """Write the statuses that say something new."""
        view = PeeringsView(
            peerings=self._peers.of(name),
            wishes=self._peers.wishes(name),
            agreements=self._peers.agreements(name),
            policies={
                entry.value.ref: entry.value
                for namespace in self._peers.around(name)
                for entry in self._world.network_policies.by("namespace", namespace)
            },
        )
        await self._executor.execute(plan_peerings(view, self._clock.now()))
        ready = [find(one.status.conditions, "Ready") for one in self._peers.of(name)]
        self._metrics.peerings(name, Counter(one.reason for one in ready if one is not None))
