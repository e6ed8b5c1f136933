"""Nodes of exclusive reservations: chosen, kept, and cleared of others, with a look at pods only when that is decided."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeAlias

from gpu_tenancy.domain.binding import bind, lacking
from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.naming import RESERVATION_TAINT
from gpu_tenancy.kube.errors import KubeError
from gpu_tenancy.kube.resource import POD
from gpu_tenancy.reconcile.exclusive import claims, exclusive, occupant, sites, with_nodes
from gpu_tenancy.reconcile.nodes import Tenure
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.world import pool_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpu_tenancy.domain.binding import Exclusive
    from gpu_tenancy.domain.promises import Decision, PoolFacts
    from gpu_tenancy.reconcile.exclusive import Occupant
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.fleet import Fleet
    from gpu_tenancy.runtime.world import Pool

_TRY_AGAIN = 5.0

_Seat: TypeAlias = tuple[tuple[str, str], int, str]
"""A reservation by namespace and name, the start of its window, and one of its nodes."""


class Binder:
    """Gives reservations nodes, and says whose a node is."""

    def __init__(self, tools: Tools, fleet: Fleet) -> None:
        self._world = tools.world
        self._engine = tools.engine
        self._client = tools.client
        self._clock = tools.clock
        self._fleet = fleet
        # Whether nothing firm of others was seen on a node after nobody new could come to it any more.
        self._clear: dict[str, dict[_Seat, bool]] = {}
        # Seats to be looked at: nobody new could come to them before the look began. And what was seen.
        self._unseen: dict[str, list[_Seat]] = {}
        self._seen: dict[str, list[Occupant]] = {}

    def needs_look(self, pool: Pool, facts: PoolFacts, decision: Decision) -> bool:
        """Say whether it takes a look at pods to give reservations their nodes."""
        wanted, now = exclusive(facts, decision), seconds(self._clock.now())
        lacks = lacking(wanted, sites(self._fleet.of_pool(pool.name), pool.spec), now)
        self._unseen[pool.name] = [
            seat
            for seat in self._seats(facts, wanted, now)
            if seat not in self._clear.get(pool.name, {}) and self._closed(seat[2])
        ]
        return lacks or bool(self._unseen[pool.name])

    async def look(self, pool: Pool) -> None:
        """Look at pods, for the next decision that is bound."""
        try:
            self._seen[pool.name] = await self._occupants(pool)
        except KubeError:
            self._engine.queue.add_after(Key(Topic.POOL, pool.name), _TRY_AGAIN)

    def bind(self, pool: Pool, facts: PoolFacts, decision: Decision) -> Decision:
        """Enter the nodes of exclusive reservations into a decision."""
        wanted, nodes, now = exclusive(facts, decision), self._fleet.of_pool(pool.name), seconds(self._clock.now())
        seats, before = self._seats(facts, wanted, now), self._clear.get(pool.name, {})
        clear = self._clear[pool.name] = {seat: before[seat] for seat in seats if seat in before}
        occupants = self._seen.pop(pool.name, None)
        if not wanted:
            return decision
        usable = sites(nodes, pool.spec, occupants or ())
        if occupants is not None:
            firm = defaultdict[str, set[tuple[str, str]]](set)
            for each in occupants:
                if each.firm:
                    firm[each.node].add((each.namespace, each.reservation))
            for whose, start, node in self._unseen.pop(pool.name, ()):
                if (whose, start, node) in seats:
                    clear[whose, start, node] = firm[node] <= {whose}
                    self._engine.queue.add(Key(Topic.NODE, node))
        else:
            # Without a look at the pods nobody gets another node; everything else goes on.
            held = {name for one in wanted for name in one.bound}
            usable = [site for site in usable if site.name in held]
        return with_nodes(decision, wanted, bind(wanted, usable, now))

    @staticmethod
    def _seats(facts: PoolFacts, wanted: Iterable[Exclusive], now: int) -> dict[_Seat, None]:
        """List the nodes that reservations have in windows that have begun."""
        own = {one.uid: (one.namespace, one.name.partition("/")[0]) for one in facts.bookings}
        open_ = [one for one in wanted if one.start <= now < one.end]
        return dict.fromkeys((own[one.uid], one.start, node) for one in open_ for node in one.bound)

    def tenure(self, node: str, pool: str | None) -> Tenure | None:
        """Say whose a node is, by what reservations of its pool say."""
        found = [
            claim
            for entry in self._world.reservations.by("node", node)
            if pool_of(entry.value) == pool
            for name, claim in claims(entry.value)
            if name == node
        ]
        if pool is None or not found:
            return None
        oldest = min(found)
        seat = ((oldest.namespace, oldest.name), seconds(oldest.start), node)
        empty = self._clear.get(pool, {}).get(seat, self._evicts(node, oldest.namespace))
        return Tenure(oldest.namespace, oldest.name, oldest.start <= self._clock.now() and empty)

    async def _occupants(self, pool: Pool) -> list[Occupant]:
        return [
            found
            async for page in self._client.list(POD)
            for raw in page.items
            if (found := occupant(raw, pool.spec.resourceName)) is not None
        ]

    def _closed(self, node: str) -> bool:
        entry = self._world.nodes.get(node)
        return entry is not None and any(taint["key"] == RESERVATION_TAINT for taint in entry.value.taints)

    def _evicts(self, node: str, namespace: str) -> bool:
        """Say whether a node was found clear before; the taint tells, also after a restart."""
        entry = self._world.nodes.get(node)
        taint = {"key": RESERVATION_TAINT, "value": namespace, "effect": "NoExecute"}
        return entry is not None and any(taint.items() <= one.items() for one in entry.value.taints)
