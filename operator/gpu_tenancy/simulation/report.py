"""What came of a simulation: who got what, how well the site was used, and whether every promise held.

The promises are judged here from the ledger alone, by adding up windows, and not by asking the planner.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from gpu_tenancy.api.common import format_instant
from gpu_tenancy.domain.calendar import instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_HOUR = 3600


class Kept(NamedTuple):
    """A window as it was promised, and what was used of it; instants in seconds."""

    number: int
    tenant: str
    gpus: int
    start: int
    end: int
    until: int


@dataclass(slots=True)
class Tally:
    """What happened to the requests for one pool.

    Attributes:
        requests: how many there were.
        refused: how many were refused, by reason.
        windows: what was promised, by the request's number.
        waits: how long those waited that were not accepted at once, in seconds.
        shifts: how much later than asked flexible windows begin, in seconds.
        cancelled: how many were deleted while they held or waited for something.
        moved: promises that changed without having been asked to.
    """

    requests: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    windows: dict[int, Kept] = field(default_factory=dict)
    waits: list[int] = field(default_factory=list)
    shifts: list[int] = field(default_factory=list)
    cancelled: int = 0
    waiting: int = 0
    moved: int = 0


class Levels(NamedTuple):
    """A pool between two instants, in GPUs."""

    start: int
    end: int
    usable: int
    lost: int
    reserved: int


def levels(
    begin: int, end: int, gpus: int, losses: Iterable[tuple[int, int, int]], kept: Iterable[Kept]
) -> Iterator[Levels]:
    """Cut the time into spans in which nothing changes.

    Args:
        begin: when the simulation begins, in seconds.
        end: when it is over.
        gpus: what the pool has when nothing is broken.
        losses: (from, until, GPUs) that are broken.
        kept: the windows that were used.
    """
    lost: Counter[int] = Counter({begin: 0, end: 0})
    reserved: Counter[int] = Counter({begin: 0, end: 0})
    for start, until, amount in losses:
        lost[max(begin, start)] += amount
        lost[until] -= amount
    for one in kept:
        if one.until > one.start:
            reserved[max(begin, one.start)] += one.gpus
            reserved[one.until] -= one.gpus
    broken = held = 0
    for at, until in pairwise(sorted({*lost, *reserved})):
        broken += lost[at]
        held += reserved[at]
        if at < end:
            yield Levels(at, min(until, end), max(0, gpus - broken), broken, held)


def hours(spans: Iterable[Levels], *, guaranteed: int, scenario: Mapping[str, int]) -> dict[str, int]:
    """Add up GPU-hours.

    Args:
        spans: the pool over time.
        guaranteed: GPUs that are promised for good.
        scenario: guaranteedUse and reservedUse in percent, spotDemand in GPUs.
    """
    total: Counter[str] = Counter()
    for one in spans:
        seconds = one.end - one.start
        in_use = guaranteed * scenario["guaranteedUse"] // 100 + one.reserved * scenario["reservedUse"] // 100
        used = min(one.usable, in_use)
        spot = min(one.usable - used, scenario["spotDemand"])
        amounts = {"usable": one.usable, "guaranteed": guaranteed, "reserved": one.reserved, "used": used, "spot": spot}
        for name, gpus in amounts.items():
            total[name] += gpus * seconds
    return {name: total[name] // _HOUR for name in ("usable", "guaranteed", "reserved", "used", "spot")}


def promised_twice(spans: Iterable[Levels], *, most: int, guaranteed: int) -> list[str]:
    """Tell of every span in which more was promised than the pool can promise when nothing is broken."""
    return [
        f"{one.reserved} reserved and {guaranteed} guaranteed GPUs of {most} from {format_instant(instant(one.start))}"
        for one in spans
        if one.reserved + guaranteed > most
    ]


def above_ceiling(kept: Iterable[Kept], ceilings: Mapping[str, int]) -> list[str]:
    """Tell of every tenant that held more at one instant than it may reserve."""
    changes: dict[str, Counter[int]] = {}
    for one in kept:
        if one.until > one.start:
            steps = changes.setdefault(one.tenant, Counter())
            steps[one.start] += one.gpus
            steps[one.until] -= one.gpus
    told = []
    for tenant, steps in sorted(changes.items()):
        held = most = 0
        for at in sorted(steps):
            held += steps[at]
            most = max(most, held)
        if most > ceilings.get(tenant, 0):
            told.append(f"{tenant} held {most} GPUs of {ceilings.get(tenant, 0)}")
    return told


def spread(values: Sequence[int]) -> dict[str, int]:
    """Give the median, the 90th and 99th percentile and the greatest of values, by nearest rank."""
    if not values:
        return {}
    ordered = sorted(values)
    ranks = {name: -(-len(ordered) * percent // 100) - 1 for name, percent in (("p50", 50), ("p90", 90), ("p99", 99))}
    return {name: ordered[rank] for name, rank in ranks.items()} | {"max": ordered[-1]}


def digest(tallies: Mapping[str, Tally]) -> str:
    """Hash everything that was promised: the same scenario gives the same."""
    lines = [f"{pool} {one}" for pool, tally in sorted(tallies.items()) for _, one in sorted(tally.windows.items())]
    return sha256("\n".join(map(str, lines)).encode()).hexdigest()


def percent(part: int, whole: int) -> float:
    """Give a part in percent, to one decimal."""
    return round(100 * part / whole, 1) if whole else 0.0


def summary(tally: Tally) -> dict[str, Any]:
    """Say what came of the requests, for JSON."""
    accepted = len(tally.windows)
    return {
        "requests": tally.requests,
        "accepted": accepted,
        "acceptedPercent": percent(accepted, tally.requests),
        "afterWaiting": len(tally.waits),
        "refused": dict(sorted(tally.refused.items())),
        "cancelled": tally.cancelled,
        "stillWaiting": tally.waiting,
        "waitSeconds": spread(tally.waits),
        "shiftSeconds": spread(tally.shifts),
    }
