"""A reservation that recurs: each of its windows is a booking by itself, and together they have one verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from gpu_tenancy.api.common import format_instant
from gpu_tenancy.api.reservation import ReservationWindow
from gpu_tenancy.domain.calendar import instant, seconds
from gpu_tenancy.domain.promises.facts import Booking, Occurrence, Reason, Refusal, State, Verdict, Window
from gpu_tenancy.domain.promises.windows import Wanted
from gpu_tenancy.domain.recurrence import RuleError, occurrences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gpu_tenancy.api import GpuReservationSpec
    from gpu_tenancy.api.pool import ReservationRules
    from gpu_tenancy.domain.promises.facts import Ledger


MAX_SPREAD = 1000
"""How many windows without GPUs recurring reservations of one tenant may name in a pool; those beyond are not looked at."""
MAX_WINDOWS = 5000
"""How many windows recurring reservations of one tenant may name in a pool before no more of them are accepted: each
costs every decision about the pool 70 microseconds."""
_TOO_MANY = (
    f"older reservations of yours that recur name {MAX_WINDOWS} windows in this pool already, or {MAX_SPREAD} which they "
    "did not get: delete some of those that are over or were refused, or give them a lower COUNT"
)


@dataclass(frozen=True, slots=True)
class Series:
    """A reservation and what it asks for and holds now; one that does not recur is a series of itself.

    Attributes:
        whole: the reservation.
        bookings: one for each of its windows, in order.
        total: how many windows its rule names.
        fault: why its rule cannot be followed, or is not, or empty.
        reason: the same for machines.
        later: when the first window begins that lies beyond the pool's horizon.
        wake: when the horizon reaches that, and it is asked for.
    """

    whole: Booking
    bookings: tuple[Booking, ...]
    total: int = 1
    fault: str = ""
    reason: Reason = Reason.INVALID_RECURRENCE
    later: datetime | None = None
    wake: datetime | None = None

    @classmethod
    def of(
        cls,
        whole: Booking,
        known: Sequence[Occurrence],
        rules: ReservationRules,
        now: datetime,
        *,
        crowded: bool = False,
    ) -> Series:
        """Spread a reservation over its windows.

        What was accepted of a window that the rule does not name any more is given back, unless that window is fixed.

        Args:
            whole: the reservation.
            known: its windows as its status says.
            rules: the pool's.
            now: an aware instant.
            crowded: whether the tenant's others name so many windows that this one has to hold something to be looked at.
        """
        if whole.spec.recurrence is None:
            return cls(whole, (whole,))
        held = {one.window.start: one.ledger for one in known if one.ledger is not None}
        if crowded and not held:
            return cls(whole, (), fault=_TOO_MANY, reason=Reason.TOO_MANY_REQUESTS)
        named, fault = _windows(whole.spec)
        duration, horizon = timedelta(seconds=Wanted.of(whole.spec.window).duration), now + rules.horizon
        refusals = {one.window.start: one.refusal for one in known}
        # All together were refused together: the reservation's own refusal is that of each.
        refused = whole.refusal if _together(whole) and not held else None
        bookings = [
            _booking(whole, start, named.get(start) or _as_it_is(whole.spec, ledger), ledger, whole.refusal)
            for start, ledger in held.items()
            if fault or start in named or now >= start - rules.modifiableUntil
        ]
        bookings += [
            _booking(whole, start, spec, None, refusals.get(start) or refused)
            for start, spec in named.items()
            if start not in held and start + duration <= horizon
            if now < start + duration or not held or start in refusals
        ]
        later = next((start for start in named if start not in held and start + duration > horizon), None)
        wake = None if later is None else later + duration - rules.horizon
        spread = tuple(sorted(bookings, key=lambda one: one.name))
        return cls(whole, spread, len(named), fault, later=later, wake=wake)

    @property
    def named_windows(self) -> int:
        """Say how many windows it has or may yet have, if it recurs."""
        return 0 if self.whole.spec.recurrence is None else max(self.total, len(self.bookings))

    @property
    def open_windows(self) -> int:
        """Say how many of its windows have no GPUs, if it recurs."""
        return 0 if self.whole.spec.recurrence is None else sum(one.ledger is None for one in self.bookings)

    def present(self, now: datetime) -> Booking:
        """Give the reservation as one booking: with the window that began last, if there is any."""
        ledgers = [one.ledger for one in self.bookings if one.ledger is not None and one.ledger.window.start <= now]
        latest = max(ledgers, key=lambda ledger: ledger.window, default=None)
        return self.whole if self.whole.spec.recurrence is None else replace(self.whole, ledger=latest)

    def verdict(self, verdicts: Mapping[str, Verdict]) -> Verdict:
        """Say what is decided about the reservation, given the verdicts on its bookings."""
        if self.bookings == (self.whole,):
            return verdicts[self.whole.uid]
        found = [verdicts[one.uid] for one in self.bookings]
        held = [verdict for verdict in found if verdict.ledger is not None]
        current, message = self._current(found, held), ""
        if held and not self.fault:
            message = f"; {len(held)} of {self.total} occurrences are accepted"
        refusal = next((verdict.refusal for verdict in held or found if verdict.refusal is not None), None)
        if refusal is not None and not refusal.message:  # what was stored of it is its reason
            refusal = self.whole.refusal or refusal
            current = current if held else current._replace(message=refusal.message)
        if self.fault:
            refusal = Refusal(self.whole.generation, self.reason, self.fault)
        elif current.state is State.WAITING:
            refusal = None
        waits = next((verdict for verdict in found if verdict.since is not None), current)
        return current._replace(
            message=current.message + message,
            refusal=refusal,
            since=waits.since,
            position=waits.position,
            degraded=next((verdict.degraded for verdict in held if verdict.degraded), ""),
            occurrences=tuple(map(_occurrence, self.bookings, found)) if held or not _together(self.whole) else (),
            again=any(verdict.state is State.COMPLETED for verdict in held),
        )

    def _current(self, found: Sequence[Verdict], held: Sequence[Verdict]) -> Verdict:
        """Let the window that is open speak for all, else the next one, else the last one."""
        for state in (State.ACTIVE, State.SCHEDULED, State.WAITING):
            for verdict in found:
                if verdict.state is state:
                    return verdict
        if self.later is not None and (held or not found):
            message = f"the occurrence at {format_instant(self.later)} is asked for when the pool's horizon reaches it"
            return Verdict(State.WAITING, Reason.BEYOND_HORIZON, message)
        if not found:
            return Verdict(State.REFUSED, self.reason, self.fault)
        return held[-1] if held else found[0]


def _together(whole: Booking) -> bool:
    return whole.spec.recurrence is not None and whole.spec.recurrence.acceptance == "All"


# A year of days is half a megabyte.
@lru_cache(maxsize=256)
def _windows(spec: GpuReservationSpec) -> tuple[Mapping[datetime, GpuReservationSpec], str]:
    """Give what is asked for in each window, by its start, or say why the rule cannot be followed."""
    recurrence, start = spec.recurrence, spec.window.start
    if recurrence is None or start is None:
        return {}, "a window that recurs has a start"
    duration = timedelta(seconds=Wanted.of(spec.window).duration)
    try:
        starts = occurrences(recurrence.rule, recurrence.timeZone, start, duration)
    except RuleError as problem:
        return {}, str(problem)
    return {at: _in(spec, at, at + duration) for at in map(instant, starts)}, ""


def _in(spec: GpuReservationSpec, start: datetime, end: datetime, gpus: int | None = None) -> GpuReservationSpec:
    window = ReservationWindow(start=start, end=end)
    return spec.model_copy(update={"window": window, "gpus": gpus or spec.gpus, "recurrence": None})


def _as_it_is(spec: GpuReservationSpec, ledger: Ledger) -> GpuReservationSpec:
    return _in(spec, ledger.window.start, ledger.window.end - timedelta(seconds=ledger.kept), ledger.gpus)


def _booking(
    whole: Booking, start: datetime, spec: GpuReservationSpec, ledger: Ledger | None, refusal: Refusal | None
) -> Booking:
    name, uid = (f"{text}/{seconds(start)}" for text in (whole.name, whole.uid))
    series = whole.uid if _together(whole) else ""
    return replace(whole, name=name, uid=uid, spec=spec, ledger=ledger, refusal=refusal, series=series)


def _occurrence(booking: Booking, verdict: Verdict) -> Occurrence:
    wanted = Wanted.of(booking.spec.window)
    window = Window(instant(wanted.first), instant(wanted.first + wanted.duration))
    return Occurrence(window, verdict.ledger, None if verdict.ledger is not None else verdict.refusal)
