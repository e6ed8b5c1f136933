"""Which node is where, kept up to date node by node: a fleet has thousands, and each of them changes now and then."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from gpu_tenancy.domain.capacity import Belonging, accelerators, assign
from gpu_tenancy.runtime.world import readable, spec_changed

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_tenancy.domain.capacity import NodeFacts
    from gpu_tenancy.kube.store import Entry, Key
    from gpu_tenancy.runtime.world import Node, World

NOWHERE = Belonging()


class Fleet:
    """Where nodes belong, by the catalogue of the moment.

    Args:
        world: what was observed.
        changed: told, for each node that changed, its name and where it belonged and belongs.
        recast: told when the catalogue or the set of accelerators changed, which concerns every node and tenant.
    """

    def __init__(
        self, world: World, changed: Callable[[str, Belonging, Belonging], None], recast: Callable[[], None]
    ) -> None:
        self._world = world
        self._changed = changed
        self._recast = recast
        self._homes: dict[str, Belonging] = {}
        self._members: defaultdict[str | None, dict[str, NodeFacts]] = defaultdict(dict)
        self._regions: Counter[str | None] = Counter()
        self._accelerators: Counter[str] = Counter()
        world.nodes.subscribe(self._node_changed)
        world.regions.subscribe(self._catalogue_changed)
        world.pools.subscribe(self._catalogue_changed)

    def home(self, node: str) -> Belonging:
        """Say where a node belongs."""
        return self._homes.get(node, NOWHERE)

    def of_pool(self, pool: str) -> list[NodeFacts]:
        """List the nodes of a pool."""
        return list(self._members[pool].values())

    def problems(self, pool: str) -> list[str]:
        """List what is wrong with where the pool's nodes belong."""
        return sorted(problem for name in self._members[pool] if (problem := self._homes[name].problem))

    def count(self, region: str) -> int:
        """Count the nodes of a region."""
        return self._regions[region]

    def accelerators(self) -> frozenset[str]:
        """List every accelerator resource that a pool or a node has."""
        return accelerators((), self._world.pool_specs().values()) | self._accelerators.keys()

    def _node_changed(self, key: Key, _old: Entry[Node] | None, new: Entry[Node] | None) -> None:
        before, known = self.home(key.name), self.accelerators()
        self._settle(key.name, None if new is None else new.value.facts)
        self._changed(key.name, before, self.home(key.name))
        if self.accelerators() != known:
            self._recast()

    def _settle(self, name: str, facts: NodeFacts | None) -> None:
        before = self._homes.pop(name, None)
        if before is not None:
            former = self._members[before.pool].pop(name)
            self._regions[before.region] -= 1
            self._accelerators = +(self._accelerators - Counter(accelerators([former], ())))
        if facts is not None:
            self._accelerators.update(accelerators([facts], ()))
            home = assign([facts], readable(self._world.pools), self._world.catalogue())[name]
            self._homes[name] = home
            self._members[home.pool][name] = facts
            self._regions[home.region] += 1

    def _catalogue_changed(self, _key: Key, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        if not spec_changed(old, new):
            return
        for entry in self._world.nodes.snapshot().values():
            self._settle(entry.key.name, entry.value.facts)
        self._recast()
