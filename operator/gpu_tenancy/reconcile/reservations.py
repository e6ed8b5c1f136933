"""Reservations: their status, which is the ledger of what was promised, and the events that tell of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from gpu_tenancy.api import API_VERSION, GPU_RESERVATION, GpuReservationSpec, GpuReservationStatus
from gpu_tenancy.api import reservation as api
from gpu_tenancy.api.common import format_instant
from gpu_tenancy.api.reservation import AcceptedWindow, Offer, ReservationWindow
from gpu_tenancy.domain.calendar import instant, seconds
from gpu_tenancy.domain.conditions import find, holds, set_condition
from gpu_tenancy.domain.promises import (
    Booking,
    Ledger,
    Occurrence,
    Reason,
    Refusal,
    Series,
    State,
    Verdict,
    Window,
)
from gpu_tenancy.domain.promises.series import MAX_SPREAD, MAX_WINDOWS
from gpu_tenancy.domain.promises.windows import Wanted
from gpu_tenancy.domain.promises.wording import at
from gpu_tenancy.reconcile.plan import Emit, Operation, Plan, Ref, Update, plan
from gpu_tenancy.reconcile.status import invalid_spec, write_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from gpu_tenancy.api.common import Condition
    from gpu_tenancy.api.pool import ReservationRules
    from gpu_tenancy.api.reservation import ReservationUsage
    from gpu_tenancy.api.resource import Resource


def booking(reservation: Resource[GpuReservationSpec, GpuReservationStatus], tenant: str) -> Booking:
    """Read what a reservation asks for, and what its status says was promised or refused."""
    status = reservation.status
    refusal = None
    stalled = find(status.conditions, "Stalled")
    if stalled is not None and stalled.status == "True":
        offers = tuple(Window(offer.start, offer.end) for offer in status.offers)
        refusal = Refusal(stalled.observedGeneration, stalled.reason, stalled.message, offers)
    active, ending = find(status.conditions, "Active"), find(status.conditions, "EndingSoon")
    return Booking(
        namespace=reservation.namespace,
        name=reservation.name,
        uid=reservation.uid,
        tenant=tenant,
        created=reservation.creation_timestamp,
        generation=reservation.generation,
        spec=reservation.spec,
        ledger=_own_ledger(status) or _as_asked(reservation),
        refusal=refusal,
        since=status.waitingSince if status.observedGeneration == reservation.generation else None,
        opened=active.lastTransitionTime if active is not None and active.status == "True" else None,
        first_used=status.firstUsedTime,
        draining=ending is not None and ending.reason == "Draining",
    )


def _as_asked(reservation: Resource[GpuReservationSpec, GpuReservationStatus]) -> Ledger | None:
    """Keep the place of one that was accepted where its status can be read in part only: what is missing is as it asks."""
    status, spec = reservation.status, reservation.spec
    if spec.recurrence is not None or not (status.window or status.gpus or status.acceptedTime):
        return None
    whole: dict[str, object] = {
        "gpus": status.gpus or spec.gpus,
        "acceptedTime": status.acceptedTime or reservation.creation_timestamp,
    }
    if status.window is None:
        first, _, duration = Wanted.of(spec.window)
        whole |= {"window": AcceptedWindow(start=instant(first), end=instant(first + duration)), "keptSeconds": 0}
    return _own_ledger(status.model_copy(update=whole))


def _own_ledger(status: GpuReservationStatus) -> Ledger | None:
    window = status.window
    return None if window is None else _ledger(status, Window(window.start, window.end))


def _ledger(said: GpuReservationStatus | api.Occurrence, window: Window) -> Ledger | None:
    if said.acceptedTime is None or not said.gpus:
        return None
    return Ledger(
        window,
        said.gpus,
        said.acceptedTime,
        forfeited=said.forfeitedGpuSeconds,
        domain=said.domain,
        kept=said.keptSeconds,
        ended=said.ended,
        nodes=tuple(said.nodes),
    )


def spread(
    reservations: Iterable[Resource[GpuReservationSpec, GpuReservationStatus]],
    tenant_of: Callable[[str], str],
    rules: ReservationRules,
    now: datetime,
) -> dict[str, Series]:
    """Read reservations with all of their windows, by uid: of each tenant the oldest first, and not without end."""
    found: dict[str, Series] = {}
    asked: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for one in sorted(reservations, key=lambda one: (one.creation_timestamp, one.namespace, one.name)):
        tenant = tenant_of(one.namespace)
        crowded = asked[tenant] >= MAX_SPREAD or named[tenant] >= MAX_WINDOWS
        found[one.uid] = series(one, tenant, rules, now, crowded=crowded)
        asked[tenant] += found[one.uid].open_windows
        named[tenant] += found[one.uid].named_windows
    return found


def series(
    reservation: Resource[GpuReservationSpec, GpuReservationStatus],
    tenant: str,
    rules: ReservationRules,
    now: datetime,
    *,
    crowded: bool = False,
) -> Series:
    """Read a reservation with all of its windows."""
    return Series.of(booking(reservation, tenant), _occurrences(reservation.status), rules, now, crowded=crowded)


def unread(
    namespace: str,
    name: str,
    uid: str,
    *,
    pool: str,
    status: GpuReservationStatus,
    tenant: str,
    spec: GpuReservationSpec | None = None,
) -> Series | None:
    """Read what was promised to a reservation, whatever it asks for now: that keeps its place, as it is.

    So it is with one whose spec cannot be read, and with one whose status cannot be written.
    """

    def kept(ledger: Ledger, which: str = "") -> Booking:
        return Booking(
            namespace=namespace,
            name=f"{name}{which}",
            uid=f"{uid}{which}",
            tenant=tenant,
            created=ledger.accepted,
            generation=status.observedGeneration,
            spec=_as_it_is(ledger, pool, spec),
            ledger=ledger,
        )

    ledgers = [one.ledger for one in _occurrences(status) if one.ledger is not None]
    if ledgers:
        bookings = tuple(kept(one, f"/{seconds(one.window.start)}") for one in ledgers)
        return Series(kept(ledgers[0]), bookings, len(bookings))
    ledger = None if status.occurrences else _own_ledger(status)
    return None if ledger is None else Series(whole := kept(ledger), (whole,))


def _as_it_is(ledger: Ledger, pool: str, spec: GpuReservationSpec | None) -> GpuReservationSpec:
    window = ReservationWindow(start=ledger.window.start, end=ledger.window.end - timedelta(seconds=ledger.kept))
    if spec is None:
        exclusivity: Literal["None", "Node"] = "Node" if ledger.nodes else "None"
        return GpuReservationSpec(pool=pool, gpus=ledger.gpus, window=window, exclusivity=exclusivity)
    return spec.model_copy(update={"gpus": ledger.gpus, "window": window, "recurrence": None})


def _occurrences(status: GpuReservationStatus) -> list[Occurrence]:
    occurrences = []
    for said in status.occurrences:
        window = Window(said.start, said.end)
        refusal = Refusal(status.observedGeneration, said.reason, "") if said.reason else None
        occurrences.append(Occurrence(window, _ledger(said, window), refusal))
    return occurrences


class Turn(IntEnum):
    """When a status is written: what one gives back another may take, so who only gives back comes first."""

    GIVES = 0
    MOVES = 1
    OTHERS = 2


def turn(reservation: Resource[GpuReservationSpec, GpuReservationStatus], verdict: Verdict) -> Turn:
    """Say what a verdict gives back of what the status promises, and whether it promises anything else.

    Who gives nothing back is waited for by nobody.
    """
    before, after = _written(reservation), _promised(reservation, verdict)
    if not any(_grows(after.get(key), ledger) for key, ledger in before.items()):
        return Turn.OTHERS
    grows = any(_grows(before.get(key), ledger) for key, ledger in after.items())
    return Turn.MOVES if grows else Turn.GIVES


def is_written(reservation: Resource[GpuReservationSpec, GpuReservationStatus], verdict: Verdict) -> bool:
    """Say whether the status promises what the verdict does, so that nothing is left but to tell of it."""
    before, after = _written(reservation), _promised(reservation, verdict)
    return all(before.get(key) == after.get(key) for key in before.keys() | after.keys())


def basis(reservation: Resource[GpuReservationSpec, GpuReservationStatus]) -> tuple[Booking, list[Occurrence]]:
    """Give what decisions about a reservation go by; the rest of its status only tells of them."""
    return booking(reservation, ""), _occurrences(reservation.status)


def _written(reservation: Resource[GpuReservationSpec, GpuReservationStatus]) -> dict[int, Ledger | None]:
    """Read what the status promises, by the start of the window if there are several."""
    status = reservation.status
    if reservation.spec.recurrence is not None:
        return {seconds(one.window.start): one.ledger for one in _occurrences(status)}
    return {0: _own_ledger(status)}


def _promised(
    reservation: Resource[GpuReservationSpec, GpuReservationStatus], verdict: Verdict
) -> dict[int, Ledger | None]:
    """Read what a verdict promises, likewise."""
    if reservation.spec.recurrence is not None:
        return {seconds(one.window.start): one.ledger for one in verdict.occurrences}
    return {0: verdict.ledger}


def _grows(before: Ledger | None, after: Ledger | None) -> bool:
    if after is None or after == before:
        return False
    if before is None:
        return True
    within = before.window.start <= after.window.start and after.window.end <= before.window.end
    more = after.gpus > before.gpus or not set(after.nodes) <= set(before.nodes)
    return more or after.domain != before.domain or not within


def plan_reservation(
    reservation: Resource[GpuReservationSpec, GpuReservationStatus],
    verdict: Verdict,
    *,
    is_open: bool,
    usage: ReservationUsage | None = None,
    now: datetime,
) -> Plan:
    """Decide the status of a reservation and what to tell of it.

    Args:
        reservation: as stored.
        verdict: what its pool decided.
        is_open: whether the API server lets pods use what is backed now.
        usage: what was used so far; None for what the status says.
        now: the time.
    """
    ledger, refusal = verdict.ledger, verdict.refusal
    offers = refusal.offers if refusal is not None else ()
    # A copy, and not validated: of most reservations there is nothing new to say, at every decision of the pool.
    status = reservation.status.model_copy(
        update={
            "observedGeneration": reservation.generation,
            "window": _window(reservation.status.window, ledger),
            "gpus": 0 if ledger is None else ledger.gpus,
            "forfeitedGpuSeconds": 0 if ledger is None else ledger.forfeited,
            "domain": "" if ledger is None else ledger.domain,
            "keptSeconds": 0 if ledger is None else ledger.kept,
            "ended": "" if ledger is None else ledger.ended,
            "firstUsedTime": verdict.first_used,
            "nodes": [] if ledger is None else list(ledger.nodes),
            "acceptedTime": None if ledger is None else ledger.accepted,
            "occurrences": [_said(one) for one in verdict.occurrences],
            "queuePosition": verdict.position or None,
            "waitingSince": verdict.since,
            "usage": usage or reservation.status.usage,
            "offers": [Offer(start=offer.start, end=offer.end) for offer in offers],
            "conditions": _conditions(
                reservation.status.conditions, reservation.generation, verdict, is_open=is_open, now=now
            ),
        }
    )
    writes = write_status(GPU_RESERVATION, reservation, status)
    ref = Ref(API_VERSION, GPU_RESERVATION.kind, reservation.namespace, reservation.name)
    events = _events(ref, reservation.uid, reservation.status.conditions, status.conditions) if writes else []
    if writes and reservation.unread:
        events.append(_unread(ref, reservation))
    return plan([*writes], events)


def _window(before: AcceptedWindow | None, ledger: Ledger | None) -> AcceptedWindow | None:
    if ledger is None:
        return None
    start, end = ledger.window
    return (
        before
        if before is not None and (before.start, before.end) == (start, end)
        else AcceptedWindow(start=start, end=end)
    )


def _said(one: Occurrence) -> api.Occurrence:
    if one.ledger is None:
        reason = "" if one.refusal is None else one.refusal.reason
        return api.Occurrence(start=one.window.start, end=one.window.end, reason=reason)
    return api.Occurrence(
        start=one.ledger.window.start,
        end=one.ledger.window.end,
        gpus=one.ledger.gpus,
        acceptedTime=one.ledger.accepted,
        forfeitedGpuSeconds=one.ledger.forfeited,
        domain=one.ledger.domain,
        keptSeconds=one.ledger.kept,
        ended=one.ledger.ended,
        nodes=list(one.ledger.nodes),
    )


def plan_without_pool(reservation: Resource[GpuReservationSpec, GpuReservationStatus], now: datetime) -> Plan:
    """Decide the status of a reservation whose pool does not exist; what was accepted before is kept in mind."""
    pool = reservation.spec.pool
    message = f"there is no pool {pool}: name another in a new reservation, or ask the provider for it"
    refusal = Refusal(reservation.generation, Reason.UNKNOWN_POOL, message)
    ledger = _own_ledger(reservation.status)
    occurrences = tuple(_occurrences(reservation.status))
    verdict = Verdict(
        State.REFUSED, Reason.UNKNOWN_POOL, message, ledger=ledger, refusal=refusal, occurrences=occurrences
    )
    return plan_reservation(reservation, verdict, is_open=False, now=now)


def plan_unreadable(
    ref: Ref,
    uid: str,
    generation: int,
    resource_version: str,
    *,
    before: list[Condition],
    problem: str,
    verdict: Verdict | None,
    is_open: bool,
    now: datetime,
) -> Plan:
    """Have a reservation whose spec cannot be read say so, and how what was promised to it stands.

    The rest of its status is left alone, `observedGeneration` too: it is about a spec that could be read.

    Args:
        ref: which one.
        uid: which incarnation of it.
        generation: of the spec that cannot be read.
        resource_version: in which it was seen.
        before: its conditions.
        problem: what cannot be read.
        verdict: what its pool decided about what was promised; None if nothing was, or there is no pool.
        is_open: whether the API server lets pods use what is backed now.
        now: the time.
    """
    reason, message = invalid_spec(problem)
    refusal = Refusal(generation, reason, message)
    verdict = Verdict(State.REFUSED, reason, message) if verdict is None else verdict
    after = _conditions(before, generation, verdict._replace(refusal=refusal), is_open=is_open, now=now)
    if after == before:
        return plan()
    conditions = [one.model_dump(mode="json") for one in after]
    write = Update(ref, {"status": {"conditions": conditions}}, resource_version, subresource="status")
    return plan([write], _events(ref, uid, before, after))


def _conditions(
    before: list[Condition], generation: int, verdict: Verdict, *, is_open: bool, now: datetime
) -> list[Condition]:
    said = {
        "Ready": _ready(verdict),
        "Active": _active(before, verdict, is_open=is_open),
    }
    if verdict.state is State.WAITING:
        said["Reconciling"] = ("True", verdict.reason, verdict.message)
    if verdict.refusal is not None and verdict.state is not State.WAITING:
        said["Stalled"] = ("True", verdict.refusal.reason, verdict.refusal.message)
    if verdict.notice and verdict.ledger is not None:
        reason = "Draining" if verdict.draining else "NoticeGiven"
        end = format_instant(verdict.ledger.window.end)
        said["EndingSoon"] = ("True", reason, f"the window ends at {end}; save your work, or extend spec.window")
    if verdict.degraded:
        said["Degraded"] = ("True", "CapacityLost", verdict.degraded)
    conditions = [condition for condition in before if condition.type in said]
    for type_, (status, reason, message) in said.items():
        conditions = set_condition(conditions, type_, status, reason, message, generation, now)
    return conditions


Said = tuple[Literal["True", "False"], str, str]


def _ready(verdict: Verdict) -> Said:
    """Say whether what was asked for is promised; GitOps tools wait for this, so it does not wait for the window."""
    if verdict.refusal is not None or verdict.state is State.WAITING:
        reason, message = verdict.reason, verdict.message
        if verdict.refusal is not None:
            reason, message = verdict.refusal.reason, verdict.refusal.message
        return "False", reason, message
    return "True", verdict.state.value, verdict.message


def _active(before: list[Condition], verdict: Verdict, *, is_open: bool) -> Said:
    ledger = verdict.ledger
    if ledger is None:
        return "False", "NotAccepted", "nothing is promised"
    start, end = (at(seconds(one)) for one in ledger.window)
    match verdict.state:
        case State.ACTIVE if verdict.draining:
            return "True", "Draining", f"pods leave until {end}"
        case State.ACTIVE if is_open or (verdict.backed and holds(before, "Active")):
            return "True", "Open", f"{verdict.backed} GPUs until {end}"
        case State.ACTIVE:
            return "False", "Opening", "the window has begun; the quota follows as soon as the GPUs are handed over"
        case State.COMPLETED:
            why = "; it was taken back, since no pod used it: reserve again" if ledger.ended else ""
            return "False", ledger.ended or "Ended", f"the window ended at {end}{why}"
        case _:
            return "False", "NotStarted", f"starts at {start}"


def _events(ref: Ref, uid: str, before: list[Condition], after: list[Condition]) -> list[Operation]:
    """Tell of each turn once: of conditions that became true, or whose reason changed."""
    events: list[Operation] = []
    for condition in after:
        old = find(before, condition.type)
        if old is not None and (old.status, old.reason) == (condition.status, condition.reason):
            continue
        if old is not None and (old.reason, condition.reason) == ("Active", "Scheduled"):
            events.append(Emit(ref, uid, "Normal", "ReservationCompleted", condition.message))
            continue  # one window of several is over
        if told := _TOLD.get((condition.type, condition.reason)) or _TOLD.get((condition.type, condition.status)):
            severity, reason = told
            events.append(Emit(ref, uid, severity, reason, condition.message))
    return events


UNREADABLE = "StatusUnreadable"


def _unread(ref: Ref, reservation: Resource[GpuReservationSpec, GpuReservationStatus]) -> Emit:
    what = f"{', '.join(reservation.unread)} of the stored status could not be read and was written anew"
    return Emit(ref, reservation.uid, "Warning", UNREADABLE, f"{what}: see whether what is promised is still right")


# By condition and reason or, for what has many reasons, status.
_TOLD: dict[tuple[str, str], tuple[Literal["Normal", "Warning"], str]] = {
    ("Ready", "Scheduled"): ("Normal", "ReservationAccepted"),
    ("Ready", "Completed"): ("Normal", "ReservationCompleted"),
    ("Active", "Open"): ("Normal", "ReservationActivated"),
    ("Active", "NoShow"): ("Warning", "ReservationTakenBack"),
    ("EndingSoon", "NoticeGiven"): ("Normal", "ReservationEndingSoon"),
    ("EndingSoon", "Draining"): ("Warning", "ReservationDraining"),
    ("Stalled", "True"): ("Warning", "ReservationRefused"),
    ("Reconciling", "True"): ("Normal", "ReservationWaiting"),
    ("Degraded", "True"): ("Warning", "ReservationDegraded"),
}
