"""Peerings: a namespace's are judged, and their statuses written."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gpu_tenancy.domain.conditions import find
from gpu_tenancy.reconcile.peerings import PeeringsView, plan_peerings
from gpu_tenancy.reconcile.separation import is_ours

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.domain.peering import Agreement
    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.peers import Peers


class PeeringController:
    """Reconciles the statuses of one namespace's peerings."""

    def __init__(self, tools: Tools, peers: Peers) -> None:
        self._world = tools.world
        self._executor = tools.executor
        self._clock = tools.clock
        self._metrics = tools.metrics
        self._platform = tools.platform
        self._peers = peers

    async def reconcile(self, name: str) -> None:
        """Write the statuses that say something new."""
        agreements = self._peers.agreements(name)
        view = PeeringsView(
            peerings=self._peers.of(name),
            wishes=self._peers.wishes(name),
            agreements=agreements,
            policies={
                entry.value.ref: entry.value
                for namespace in self._peers.around(name)
                for entry in self._world.network_policies.by("namespace", namespace)
            },
            separations=None if self._platform.separation_priority is None else self._separations(agreements.values()),
        )
        await self._executor.execute(plan_peerings(view, self._clock.now()))
        ready = [find(one.status.conditions, "Ready") for one in self._peers.of(name)]
        self._metrics.peerings(name, Counter(one.reason for one in ready if one is not None))

    def _separations(self, agreements: Iterable[Agreement]) -> Mapping[str, Observed]:
        """Give what keeps those who agree apart from everybody else, as far as it is the operator's."""
        tenants = {side.tenant for one in agreements for side in (one.own, one.peer)}
        found = {tenant: self._world.separation(tenant) for tenant in tenants}
        return {tenant: one for tenant, one in found.items() if one is not None and is_ours(one)}
