"""Which nodes an exclusive reservation gets.

They are chosen shortly before it begins: what is chosen long before is broken by then. A node that is bound stays so as
long as it can be used; one that fails is replaced while there is another.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LEAD = 300
"""How many seconds before the start nodes are bound, and no others may come to them any more."""


@dataclass(frozen=True, slots=True)
class Site:
    """A node that is usable as a whole.

    Attributes:
        domain: its NVLink domain.
        firm: pods of guarantees and of reservations on it; nobody evicts them.
        loose: other pods that ask for GPUs on it.
    """

    name: str
    domain: str
    firm: int = 0
    loose: int = 0


@dataclass(frozen=True, slots=True)
class Exclusive:
    """A reservation of whole nodes.

    Attributes:
        nodes: how many it is to have.
        domain: the NVLink domain that they have to be in, or empty.
        start, end: its window in seconds, with the time to clean up.
        bound: those that it has.
    """

    uid: str
    nodes: int
    domain: str
    start: int
    end: int
    bound: tuple[str, ...] = ()

    def is_due(self, now: int) -> bool:
        """Say whether it has nodes: from shortly before its window until it is cleaned up."""
        return self.start - LEAD <= now < self.end


def lacking(exclusive: Iterable[Exclusive], sites: Iterable[Site], now: int) -> bool:
    """Say whether any that is due has fewer nodes than it should, and might get some: then pods are worth a look."""
    due = [one for one in exclusive if one.is_due(now)]
    kept, idle = _keep(due, sites)
    domains = {site.domain for site in idle.values()}
    return any(
        len(kept[one.uid]) < one.nodes and (one.domain in domains if one.domain else bool(domains)) for one in due
    )


def bind(exclusive: Sequence[Exclusive], sites: Iterable[Site], now: int) -> dict[str, tuple[str, ...]]:
    """Give each reservation its nodes, by uid; none if it is not due.

    Those that are bound and usable stay. Then the oldest promise chooses first: nodes without firm pods, outside of
    domains that others have booked for the time, where the fewest pods are disturbed, in domains that are broken into
    already.

    Args:
        exclusive: all of them, the oldest promise first.
        sites: the nodes of the pool that are usable as a whole.
        now: in seconds.
    """
    due = [one for one in exclusive if one.is_due(now)]
    found, idle = _keep(due, sites)
    for one in due:
        if len(found[one.uid]) < one.nodes:
            for name in _choose(one, exclusive, idle, one.nodes - len(found[one.uid])):
                found[one.uid].append(name)
                del idle[name]
    return {one.uid: tuple(sorted(found.get(one.uid, ()))) for one in exclusive}


def _keep(due: Iterable[Exclusive], sites: Iterable[Site]) -> tuple[dict[str, list[str]], dict[str, Site]]:
    """Give what each has and may keep, and the nodes that nobody has; one that was made smaller gives back the last."""
    idle, kept = {site.name: site for site in sites}, {}
    for one in due:
        usable = [name for name in one.bound if name in idle and one.domain in {"", idle[name].domain}]
        kept[one.uid] = usable[: one.nodes]
        for name in kept[one.uid]:
            del idle[name]
    return kept, idle


def _choose(one: Exclusive, exclusive: Iterable[Exclusive], idle: Mapping[str, Site], number: int) -> list[str]:
    """Give the best of the nodes that nobody has."""
    free = Counter(site.domain for site in idle.values())
    spare = free.copy()
    for other in exclusive:
        if other.domain and other.uid != one.uid and other.start < one.end and one.start < other.end:
            spare[other.domain] -= max(0, other.nodes - len(other.bound))
    ranked = []
    for site in sorted(idle.values(), key=lambda site: (site.firm, site.loose, site.name)):
        if one.domain in {"", site.domain}:
            spare[site.domain] -= 1
            booked = not one.domain and spare[site.domain] < 0
            disturbed = site.firm + site.loose
            ranked.append((bool(site.firm), booked, disturbed, free[site.domain], site.domain, site.name))
    return [name for *_, name in sorted(ranked)[: max(0, number)]]
