"""Virtual time: one thing after the other happens to a pool's book, and what is promised is written down."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

from gpu_tenancy.api.common import format_instant
from gpu_tenancy.api.reservation import ReservationWindow
from gpu_tenancy.domain.calendar import FOREVER, Booked, instant, seconds
from gpu_tenancy.domain.capacity import PoolCapacity, promisable
from gpu_tenancy.domain.promises import Book, Booking, Grant, NotAccepted, PoolFacts
from gpu_tenancy.simulation.fleet import nodes
from gpu_tenancy.simulation.report import (
    Kept,
    Tally,
    above_ceiling,
    digest,
    hours,
    levels,
    percent,
    promised_twice,
    summary,
)
from gpu_tenancy.simulation.scenario import names_of
from gpu_tenancy.simulation.workload import Asked, Lost, losses, requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_tenancy.domain.promises import Held
    from gpu_tenancy.simulation.scenario import Scenario, SimulatedPool

LONG_AGO = timedelta(days=365)
_OFTEN = 500


def simulate(scenario: Scenario, progress: Callable[[float], object] = lambda _: None) -> dict[str, Any]:
    """Simulate every pool of a site by itself.

    Args:
        scenario: what happens.
        progress: told now and then which part of it is done, from 0 to 1.

    Returns:
        What came of it, for JSON: by pool the requests, waits, GPU-hours and broken promises.
    """
    runs = []
    for number, pool in enumerate(scenario.pools):
        run = _PoolRun(scenario, pool)
        run.play(partial(_share, progress, number, len(scenario.pools)))
        runs.append(run)
    return {
        "start": format_instant(scenario.start),
        "end": format_instant(scenario.end),
        "seed": scenario.seed,
        "pools": {run.pool.name: run.result() for run in runs},
        "ledger": digest({run.pool.name: run.tally for run in runs}),
    }


def _share(progress: Callable[[float], object], number: int, total: int, done: float) -> None:
    progress((number + done) / total)


class _PoolRun:
    """One pool from the beginning to the end."""

    def __init__(self, scenario: Scenario, pool: SimulatedPool) -> None:
        self.scenario = scenario
        self.pool = pool
        self.tally = Tally()
        self._order = count()
        self._losses = losses(scenario, pool)
        self._begin, self._end = seconds(scenario.start), seconds(scenario.end)
        grants = [
            (name, grant)
            for tenant in scenario.tenants
            for grant in tenant.gpus
            if grant.pool == pool.name
            for name in names_of(tenant)
        ]
        capacity = PoolCapacity.of(nodes(pool), pool.spec)
        facts = PoolFacts(
            spec=pool.spec,
            capacity=capacity,
            grants=tuple(
                Grant(name, scenario.start - LONG_AGO, grant.guaranteed, grant.reservable, grant.gpuHours)
                for name, grant in grants
            ),
        )
        self._most = promisable(capacity, pool.spec, scenario.start)
        self._guaranteed = min(self._most, sum(grant.guaranteed for _, grant in grants))
        self._ceilings = {name: grant.reservable for name, grant in grants}
        self._book = Book(facts, self._begin, guaranteed=self._guaranteed)
        self._held: dict[int, Held] = {}
        self._waiting: dict[int, tuple[Asked, Booking]] = {}
        self._wakes: set[int] = set()
        self._events: list[tuple[int, int, Callable[[], None]]] = []

    def play(self, progress: Callable[[float], object]) -> None:
        """Let everything happen."""
        for asked in requests(self.scenario, self.pool):
            self._at(asked.at, partial(self._ask, asked))
        for lost in self._losses:
            self._at(lost.at, partial(self._lose, lost))
        heapify(self._events)
        for done in count():
            if not self._events or self._events[0][0] >= self._end:
                break
            at, _, happen = heappop(self._events)
            self._now = at
            self._book.advance(at)
            happen()
            if done % _OFTEN == 0:
                progress((at - self._begin) / (self._end - self._begin))
        self.tally.waiting = len(self._waiting)

    def _at(self, at: int, happen: Callable[[], None]) -> None:
        heappush(self._events, (at, next(self._order), happen))

    def _ask(self, asked: Asked) -> None:
        self.tally.requests += 1
        booking = Booking(
            namespace=asked.tenant,
            name=f"r{asked.number:07}",
            uid=f"{asked.number}",
            tenant=asked.tenant,
            created=instant(asked.at),
            generation=1,
            spec=asked.spec,
        )
        if asked.cancelled is not None:
            self._at(asked.cancelled, partial(self._cancel, asked))
        self._take(asked, booking)

    def _take(self, asked: Asked, booking: Booking) -> bool:
        """Ask the book once; say whether it promised anything."""
        try:
            held = self._book.accept(booking)
        except NotAccepted as outcome:
            if not outcome.waits:
                self._waiting.pop(asked.number, None)
                self.tally.refused[outcome.reason.value] += 1
                return False
            self._waiting[asked.number] = asked, booking
            for wake in {at for at in outcome.wake if at > self._now} - self._wakes:
                self._wakes.add(wake)
                self._at(wake, self._ask_those_who_wait)
            return False
        self._accepted(asked, held)
        return True

    def _accepted(self, asked: Asked, held: Held) -> None:
        if self._waiting.pop(asked.number, None) is not None:
            self.tally.waits.append(self._now - asked.at)
        wanted = asked.spec.window.notBefore
        if wanted is not None:
            self.tally.shifts.append(max(0, held.start - max(seconds(wanted), asked.at)))
        self._held[asked.number] = held
        # A window that waited beyond its start is promised from now on.
        since = max(held.start, self._now)
        self.tally.windows[asked.number] = Kept(asked.number, asked.tenant, held.gpus, since, held.end, held.end)
        if asked.ended < 100:  # noqa: PLR2004  # percent
            early = held.start + (held.end - held.start) * asked.ended // 100
            self._at(max(early, self._now + 1), partial(self._end_early, asked))

    def _cancel(self, asked: Asked) -> None:
        if self._waiting.pop(asked.number, None) is not None:
            self.tally.cancelled += 1
        elif (held := self._held.pop(asked.number, None)) is not None and held.end > self._now:
            self.tally.cancelled += 1
            self._book.release(held.booking.uid)
            kept = self.tally.windows[asked.number]
            self.tally.windows[asked.number] = kept._replace(until=max(kept.start, min(kept.until, self._now)))
        else:
            return
        self._ask_those_who_wait()

    def _end_early(self, asked: Asked) -> None:
        """Change the spec so that the window ends now, as a tenant does that needs it no longer."""
        held = self._held.get(asked.number)
        if held is None or not held.start < self._now < held.end:
            return
        step = seconds(self.pool.spec.reservations.step)
        until = min(held.end, -(-self._now // step) * step)
        window = ReservationWindow(start=instant(held.start), end=instant(until))
        changed = replace(held.booking, spec=held.booking.spec.model_copy(update={"window": window}), generation=2)
        after = self._book.change(changed)
        if after.start != held.start or after.end > held.end:
            self.tally.moved += 1
        self._held[asked.number] = after
        kept = self.tally.windows[asked.number]
        self.tally.windows[asked.number] = kept._replace(until=after.end)
        self._ask_those_who_wait()

    def _lose(self, lost: Lost) -> None:
        """Take GPUs away until further notice, since nobody knows how long a repair takes."""
        broken = Booked(self._now, FOREVER, lost.gpus)
        self._book.free.book(broken)
        self._at(lost.repaired, partial(self._repair, broken))

    def _repair(self, broken: Booked) -> None:
        self._book.free.release(broken)
        self._ask_those_who_wait()

    def _ask_those_who_wait(self) -> None:
        """Let everyone who waits ask again, first come first served, until nobody gets anything more."""
        got = bool(self._waiting)
        while got:
            self._book.drop_claims()
            got = sum(self._take(*one) for one in list(self._waiting.values())) > 0

    def result(self) -> dict[str, Any]:
        """Say what came of it."""
        kept = self.tally.windows.values()
        broken = [(one.at, one.repaired, one.gpus) for one in self._losses]
        spans = list(levels(self._begin, self._end, self.pool.gpus, broken, kept))
        used = hours(
            spans,
            guaranteed=self._guaranteed,
            scenario=self.scenario.model_dump(include={"guaranteedUse", "reservedUse", "spotDemand"}),
        )
        promised = used["guaranteed"] + used["reserved"]
        return {
            "gpus": self.pool.gpus,
            **summary(self.tally),
            "gpuHours": used,
            "promisedPercent": percent(promised, used["usable"]),
            "usedPercent": percent(used["used"], used["usable"]),
            "spotPercent": percent(used["spot"], used["usable"]),
            "brokenPromises": [
                *promised_twice(spans, most=self._most, guaranteed=self._guaranteed),
                *above_ceiling(kept, self._ceilings),
                *([f"{self.tally.moved} windows moved"] if self.tally.moved else []),
            ],
        }
