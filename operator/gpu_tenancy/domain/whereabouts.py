"""Where a tenant's pods, volumes and snapshots are, as observed, and whether its residency admits that.

What cannot be told counts as unknown, never as fine. A volume is wherever the nodes are that it can be attached to.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any, Literal

from gpu_tenancy.domain.selector import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.domain.capacity import NodeFacts
    from gpu_tenancy.domain.residency import Placement

State = Literal["inside", "outside", "unknown"]
ItemKind = Literal["Pod", "PersistentVolume", "VolumeSnapshot"]

NOWHERE = ""
"""Stands for nodes that no region selects: no tenant's residency admits them."""
_FINISHED = frozenset({"Succeeded", "Failed"})
_MOST_COMBINATIONS = 64


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """Something of a tenant that is somewhere.

    Attributes:
        namespace: the tenant's; for a volume that of its claim.
        node: the node of a pod, else empty.
        regions: where it may be; empty if that cannot be told.
    """

    kind: ItemKind
    namespace: str
    name: str
    node: str = ""
    regions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Say what it is and where."""
        place = " or ".join(f"region {region}" if region else "no region" for region in self.regions)
        on = f" on node {self.node}" if self.node else ""
        called = f"{self.namespace}/{self.name}" if self.kind != "PersistentVolume" else self.name
        return f"{self.kind} {called}{on} in {place or 'an unknown place'}"


def judge(item: Item, placement: Placement, catalogue: Mapping[str, RegionSpec]) -> State:
    """Say whether something is where the placement admits it; if it may be both here and there, that is unknown."""
    if not item.regions:
        return "unknown"
    admitted = {region in catalogue and placement.admits(region, catalogue[region]) for region in item.regions}
    if len(admitted) > 1:
        return "unknown"
    return "inside" if admitted.pop() else "outside"


class Atlas:
    """Tells regions of nodes, volumes and snapshots, by the catalogue and the nodes of one moment.

    Args:
        nodes: all nodes by name.
        home: the region of a node, None for none.
        catalogue: the regions by name.
    """

    def __init__(
        self,
        nodes: Mapping[str, NodeFacts],
        home: Callable[[str], str | None],
        catalogue: Mapping[str, RegionSpec],
    ) -> None:
        self._nodes = nodes
        self._home = home
        self._catalogue = catalogue
        self._by_label: dict[str, Mapping[str, AbstractSet[str]]] = {}

    def pod(self, raw: Mapping[str, Any]) -> Item | None:
        """Read a pod; None for one that holds no node."""
        node = raw["spec"].get("nodeName", "")
        if not node or raw.get("status", {}).get("phase") in _FINISHED:
            return None
        regions = (self._home(node) or NOWHERE,) if node in self._nodes else ()
        return Item("Pod", raw["metadata"]["namespace"], raw["metadata"]["name"], node, regions)

    def volume(self, raw: Mapping[str, Any]) -> Item | None:
        """Read a volume that has or had a claim: what a claim left behind is the tenant's data all the same."""
        claim = raw["spec"].get("claimRef")
        if not claim or raw.get("status", {}).get("phase") not in {"Bound", "Released"}:
            return None
        name = raw["metadata"]["name"]
        return Item("PersistentVolume", claim.get("namespace", ""), name, regions=self._of_volume(raw))

    def snapshot(self, raw: Mapping[str, Any], volumes: Mapping[tuple[str, str], Item]) -> Item:
        """Read a snapshot. Where it lies the API does not say; but if its volume is outside, so was what it holds.

        Args:
            raw: the VolumeSnapshot.
            volumes: volumes that are outside, by namespace and name of their claims.
        """
        metadata = raw["metadata"]
        claim = raw["spec"].get("source", {}).get("persistentVolumeClaimName", "")
        volume = volumes.get((metadata["namespace"], claim))
        regions = () if volume is None else volume.regions
        return Item("VolumeSnapshot", metadata["namespace"], metadata["name"], regions=regions)

    def _of_volume(self, raw: Mapping[str, Any]) -> tuple[str, ...]:
        terms = raw["spec"].get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms", [])
        if not terms:
            # In-tree provisioners of old say it in labels alone.
            region = self._claiming(raw["metadata"].get("labels", {}))
            return () if region is None else (region,)
        found: set[str] = set()
        for term in terms:
            regions = self._of_term(term)
            if not regions:
                return ()
            found |= regions
        return tuple(sorted(found))

    def _of_term(self, term: Mapping[str, Any]) -> AbstractSet[str]:
        """Name the regions of the nodes that a term selects; where it selects none now, those that its labels mean."""
        expressions = term.get("matchExpressions", [])
        if nodes := self._selected(expressions, term.get("matchFields", [])):
            return {self._home(node) or NOWHERE for node in nodes}
        choices = [[(one["key"], value) for value in one["values"]] for one in expressions if one["operator"] == "In"]
        combinations = list(islice(product(*choices), _MOST_COMBINATIONS + 1)) if choices else []
        regions = {self._claiming(dict(labels)) for labels in combinations}
        if None in regions or len(combinations) > _MOST_COMBINATIONS:
            return frozenset()
        return {region for region in regions if region is not None}

    def _selected(
        self, expressions: Sequence[Mapping[str, Any]], fields: Sequence[Mapping[str, Any]]
    ) -> AbstractSet[str]:
        """Name the nodes that meet all requirements; none if one cannot be read, and for a term without any."""
        selected: AbstractSet[str] | None = None
        for one in (*expressions, *fields):
            met = self._meeting(one, of_name=one in fields)
            selected = met if selected is None else selected & met
        return selected or frozenset()

    def _meeting(self, requirement: Mapping[str, Any], *, of_name: bool) -> AbstractSet[str]:
        key, values = requirement["key"], requirement.get("values", [])
        labelled = {name: frozenset({name}) for name in self._nodes} if of_name else self._labelled(key)
        match requirement["operator"]:
            case "In":
                return frozenset().union(*(labelled.get(value, frozenset()) for value in values))
            case "NotIn":
                return self._nodes.keys() - frozenset().union(*(labelled.get(value, frozenset()) for value in values))
            case "Exists":
                return frozenset().union(*labelled.values())
            case "DoesNotExist":
                return self._nodes.keys() - frozenset().union(*labelled.values())
            case _:
                return frozenset()

    def _labelled(self, key: str) -> Mapping[str, AbstractSet[str]]:
        """Give the nodes by their value of a label."""
        if key not in self._by_label:
            nodes: defaultdict[str, set[str]] = defaultdict(set)
            for name, node in self._nodes.items():
                if key in node.labels:
                    nodes[node.labels[key]].add(name)
            self._by_label[key] = nodes
        return self._by_label[key]

    def _claiming(self, labels: Mapping[str, str]) -> str | None:
        """Name the one region whose nodes have such labels, if that follows from these labels alone."""
        claimed = [
            name
            for name, region in self._catalogue.items()
            if all(one.operator in {"In", "Exists"} for one in region.nodeSelector.matchExpressions)
            and matches(region.nodeSelector, labels)
        ]
        return claimed[0] if len(claimed) == 1 else None


@dataclass(frozen=True, slots=True)
class Residence:
    """What an audit found of one tenant.

    Attributes:
        outside: what is where it may not be.
        unknown, inside: how many things are so, by kind.
    """

    outside: tuple[Item, ...] = ()
    unknown: tuple[tuple[ItemKind, int], ...] = ()
    inside: tuple[tuple[ItemKind, int], ...] = ()


def residence(items: Iterable[Item], placement: Placement, catalogue: Mapping[str, RegionSpec]) -> Residence:
    """Judge all that was found of a tenant."""
    outside: list[Item] = []
    counts: dict[str, defaultdict[ItemKind, int]] = {"inside": defaultdict(int), "unknown": defaultdict(int)}
    for item in items:
        state = judge(item, placement, catalogue)
        if state == "outside":
            outside.append(item)
        else:
            counts[state][item.kind] += 1
    unknown, inside = (tuple(sorted(counts[state].items())) for state in ("unknown", "inside"))
    return Residence(tuple(sorted(outside)), unknown, inside)
