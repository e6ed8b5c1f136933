"""What happens to a site from outside, in order of time: requests, cancellations, early ends, failures and repairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from gpu_tenancy.api.reservation import GpuReservationSpec, ReservationWindow
from gpu_tenancy.domain.calendar import align, instant, seconds
from gpu_tenancy.simulation.scenario import names_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_tenancy.simulation.scenario import Scenario, SimulatedPool, Workload

_DAY = 24 * 3600
_FLEXIBLE_RANGE = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """A reservation is asked for.

    Attributes:
        number: its place in the order of arrival.
        cancelled: the instant at which it is deleted, if it is.
        ended: how much of its window is used, in percent; the rest is given back.
    """

    at: int
    number: int
    tenant: str
    spec: GpuReservationSpec
    cancelled: int | None = None
    ended: int = 100


@dataclass(frozen=True, slots=True)
class Lost:
    """GPUs of a node fail, and are repaired later."""

    at: int
    gpus: int
    repaired: int


def requests(scenario: Scenario, pool: SimulatedPool) -> list[Asked]:
    """Give what is asked of a pool: what is listed, and what is drawn by chance."""
    asked = [
        Asked(seconds(one.at), 0, one.tenant, one.spec, None if one.cancelledAt is None else seconds(one.cancelledAt))
        for one in scenario.requests
        if one.spec.pool == pool.name
    ]
    if pool.workload is not None:
        asked += _drawn(scenario, pool.workload, pool)
    return [replace(one, number=number) for number, one in enumerate(sorted(asked, key=lambda one: one.at))]


def losses(scenario: Scenario, pool: SimulatedPool) -> list[Lost]:
    """Give the failures of a pool's nodes, drawn by chance."""
    if scenario.failures is None or not scenario.failures.perDay:
        return []
    chance = Random(f"{scenario.seed}/{pool.name}/failures")  # noqa: S311  # nothing secret about it
    gpus = min(pool.gpus, pool.spec.gpusPerNode)
    return [
        Lost(at, gpus, at + _around(chance, scenario.failures.repair))
        for at in _arrivals(chance, scenario, scenario.failures.perDay)
    ]


def _drawn(scenario: Scenario, workload: Workload, pool: SimulatedPool) -> Iterator[Asked]:
    chance = Random(f"{scenario.seed}/{pool.name}/requests")  # noqa: S311  # nothing secret about it
    ceilings = [
        (name, grant.reservable)
        for tenant in scenario.tenants
        for grant in tenant.gpus
        if grant.pool == pool.name and grant.reservable
        for name in names_of(tenant)
    ]
    if not ceilings:
        return
    step = seconds(pool.spec.reservations.step)
    for at in _arrivals(chance, scenario, workload.perDay):
        tenant, ceiling = chance.choice(ceilings)
        duration = max(step, align(_around(chance, workload.duration), step))
        start = align(at + _around(chance, workload.lead), step)
        window = _window(start, duration, flexible=chance.randrange(100) < workload.flexible)
        spec = GpuReservationSpec(
            pool=pool.name,
            gpus=min(chance.choice(workload.gpus), ceiling),
            window=window,
            onConflict="Wait" if chance.randrange(100) < workload.waiting else "Reject",
        )
        cancelled = chance.randrange(at, start + duration) if chance.randrange(100) < workload.cancelled else None
        ended = chance.randrange(1, 100) if chance.randrange(100) < workload.earlierEnd else 100
        yield Asked(at, 0, tenant, spec, cancelled, ended)


def _window(start: int, duration: int, *, flexible: bool) -> ReservationWindow:
    span = timedelta(seconds=duration)
    if flexible:
        return ReservationWindow(
            notBefore=instant(start), notAfter=instant(start + _FLEXIBLE_RANGE * duration), duration=span
        )
    return ReservationWindow(start=instant(start), duration=span)


def _arrivals(chance: Random, scenario: Scenario, per_day: int) -> Iterator[int]:
    """Give the instants of a Poisson process, with whole seconds between them."""
    at, end = seconds(scenario.start), seconds(scenario.end)
    while (at := at + round(chance.expovariate(per_day / _DAY))) < end:
        yield at


def _around(chance: Random, typical: timedelta) -> int:
    """Draw a span from half to twice the typical one, as often below it as above."""
    return round(seconds(typical) * 2 ** chance.uniform(-1, 1))
