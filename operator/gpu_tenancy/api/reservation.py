"""`GpuReservation`: GPUs of a pool for a window of time, asked for by a tenant in one of its namespaces."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gpu_tenancy.api.common import (
    SUBDOMAIN,
    TIME_ZONE,
    CatalogueName,
    Conditions,
    Duration,
    Generation,
    GpuSeconds,
    Instant,
    above_zero,
    in_order,
    malformed,
)
from gpu_tenancy.api.schema import ApiModel, Column, Immutable, Kind, ListType, Rule, name_rule

NodeNames = Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=2048), ListType("atomic")]


class ReservationWindow(ApiModel):
    """When: `start` with `end` or `duration`; or what fits between `notBefore` and `notAfter`. UTC, half-open."""

    start: Instant | None = None
    """When the window begins, with a time zone and before the year 2100, such as 2027-01-11T18:00:00Z."""
    end: Instant | None = None
    """When it is over; not part of it."""
    duration: Duration | None = None
    """How long it is, such as 3h, 1h30m or 45s."""
    notBefore: Instant | None = None
    """The earliest start of a flexible window."""
    notAfter: Instant | None = None
    """The latest end of a flexible window."""
    preference: Literal["Earliest", "Latest"] = "Earliest"
    """Which of the windows that fit between `notBefore` and `notAfter` is taken."""

    rules = (
        Rule(
            "has(self.start) ? !has(self.notBefore) && !has(self.notAfter) && has(self.end) != has(self.duration) : "
            "has(self.notBefore) && has(self.notAfter) && has(self.duration) && !has(self.end)",
            "a window has start with either end or duration, or else notBefore, notAfter and duration",
            lambda self: (
                self.notBefore is None and self.notAfter is None and (self.end is None) != (self.duration is None)
                if self.start is not None
                else None not in (self.notBefore, self.notAfter, self.duration) and self.end is None
            ),
        ),
        in_order("start", "end"),
        Rule(
            "has(self.notBefore) || !has(self.preference) || self.preference == 'Earliest'",
            "a preference needs a choice: give notBefore, notAfter and duration",
            lambda self: self.notBefore is not None or self.preference == "Earliest",
        ),
        above_zero("duration"),
        Rule(
            "!(has(self.notBefore) && has(self.notAfter) && has(self.duration)) || "
            "timestamp(self.notBefore) + duration(self.duration) <= timestamp(self.notAfter) || "
            + malformed(instants=("notBefore", "notAfter"), durations=("duration",)),
            "the duration does not fit between notBefore and notAfter",
            lambda self: (
                None in (self.notBefore, self.notAfter, self.duration)
                or self.notBefore + self.duration <= self.notAfter
            ),
        ),
    )


_DAY = "(MO|TU|WE|TH|FR|SA|SU)"
_NUMBERED_DAY = f"[+-]?[1-5]{_DAY}"
_MONTH_DAY = "-?([1-9]|[12][0-9]|3[01])"
_MONTH = "([1-9]|1[0-2])"
RULE = (
    "^FREQ=(DAILY|WEEKLY|MONTHLY)(;(INTERVAL=[1-9][0-9]?|"
    f"BYDAY={_DAY}(,{_DAY}){{0,9}}|BYDAY={_NUMBERED_DAY}(,{_NUMBERED_DAY}){{0,9}}|BYMONTHDAY={_MONTH_DAY}(,{_MONTH_DAY}){{0,9}}|"
    f"BYMONTH={_MONTH}(,{_MONTH}){{0,11}}))*;(COUNT=[1-9][0-9]{{0,2}}|UNTIL=20[0-9]{{6}}T[0-9]{{6}}Z)$"
)
RULE_PARTS = ("INTERVAL", "BYDAY", "BYMONTHDAY", "BYMONTH")


MAX_OCCURRENCES = 366


class Recurrence(ApiModel):
    """How the window recurs, by the clock on the wall."""

    rule: Annotated[str, StringConstraints(pattern=RULE, min_length=1, max_length=160)]
    """A recurrence rule of RFC 5545: FREQ DAILY, WEEKLY or MONTHLY first, INTERVAL, BYDAY, BYMONTHDAY and BYMONTH if need
    be, COUNT or UNTIL last. At most 366 occurrences within five years; `window.start` is the first."""
    timeZone: Annotated[str, StringConstraints(pattern=TIME_ZONE, min_length=1, max_length=64)] = "UTC"
    """The time zone whose clock the rule goes by, such as Europe/Berlin."""
    acceptance: Literal["All", "BestEffort"] = "All"
    """Whether all occurrences within the pool's horizon are accepted or none, or each by itself."""

    rules = (
        Rule(
            f"[{', '.join(repr(f';{part}=') for part in RULE_PARTS)}].all(p, self.rule.split(p).size() <= 2)",
            "a rule names each part once",
            lambda self: all(self.rule.count(f";{part}=") <= 1 for part in RULE_PARTS),
        ),
        Rule(
            "self.rule.startsWith('FREQ=MONTHLY') || !self.rule.matches(';BYDAY=[^;]*[0-9]')",
            "days are numbered, as in 2TU, only with FREQ=MONTHLY",
            lambda self: self.rule.startswith("FREQ=MONTHLY") or not re.search(";BYDAY=[^;]*[0-9]", self.rule),
        ),
        Rule(
            "!(self.rule.startsWith('FREQ=WEEKLY') && self.rule.contains(';BYMONTHDAY='))",
            "a weekly rule has no BYMONTHDAY",
            lambda self: not (self.rule.startswith("FREQ=WEEKLY") and ";BYMONTHDAY=" in self.rule),
        ),
    )


class GpuReservationSpec(ApiModel):
    """What is asked for."""

    pool: Annotated[CatalogueName, Immutable("create another reservation for another pool")]
    """The GpuPool."""
    gpus: Annotated[int, Field(ge=1, le=1_000_000)]
    """How many GPUs, at every instant of the window."""
    window: ReservationWindow
    """When; if it recurs, the first time."""
    recurrence: Recurrence | None = None
    """How it recurs, if it does."""
    onConflict: Literal["Reject", "Wait"] = "Reject"
    """What happens when it does not fit: refuse it, or let it stand in line."""
    onEnd: Literal["Drain", "Keep"] = "Drain"
    """What happens at the end: pods are asked to go, or the window goes on in short steps while the GPUs are free."""
    exclusivity: Annotated[
        Literal["None", "Node", "Clique"], Immutable("create another reservation for nodes of another kind")
    ] = "None"
    """Whether it gets nodes of its own, on which nothing else runs: any of the pool, or nodes of one NVLink domain."""

    rules = (
        Rule(
            "!has(self.recurrence) || has(self.window.start)",
            "a window that recurs has a start",
            lambda self: self.recurrence is None or self.window.start is not None,
        ),
        Rule(
            "!has(self.recurrence) || !has(self.onConflict) || self.onConflict == 'Reject' || "
            "self.recurrence.?acceptance.orValue('All') == 'BestEffort'",
            "all occurrences together cannot wait: set recurrence.acceptance to BestEffort, or onConflict to Reject",
            lambda self: (
                self.recurrence is None or self.onConflict == "Reject" or self.recurrence.acceptance == "BestEffort"
            ),
        ),
        Rule(
            "has(self.recurrence) == has(oldSelf.recurrence) && (!has(self.recurrence) || ("
            "self.window.start == oldSelf.window.start && "
            "self.recurrence.timeZone == oldSelf.recurrence.timeZone && "
            "self.recurrence.rule.substring(0, self.recurrence.rule.lastIndexOf(';')) == "
            "oldSelf.recurrence.rule.substring(0, oldSelf.recurrence.rule.lastIndexOf(';'))))",
            "of a recurrence only COUNT, UNTIL and acceptance can be changed: create another reservation for other times",
            None,
        ),
    )


class AcceptedWindow(ApiModel):
    """The window that was promised."""

    start: Instant
    """When it begins."""
    end: Instant
    """When it is over; not part of it."""

    rules = (in_order("start", "end"),)


class Offer(ApiModel):
    """A window in which what was asked for would fit."""

    start: Instant
    """When it would begin."""
    end: Instant
    """When it would be over."""


class MonthOfReservation(ApiModel):
    """GPU-seconds of a calendar month in UTC."""

    month: Instant
    """When it begins."""
    booked: GpuSeconds = 0
    """What was promised."""
    active: GpuSeconds = 0
    """What of that the quota allowed."""
    used: GpuSeconds = 0
    """What of that pods held."""


class ReservationUsage(ApiModel):
    """What was used of the reservation; reservations of one namespace use their quota in the order of acceptance."""

    until: Instant
    """Everything before this is counted."""
    bookedGpuHours: GpuSeconds = 0
    """Whole GPU-hours that were promised until then."""
    usedGpuHours: GpuSeconds = 0
    """Whole GPU-hours of these that pods held."""
    months: Annotated[list[MonthOfReservation], Field(max_length=25), ListType("map", ("month",))] = []
    """By month, in GPU-seconds."""


class Occurrence(ApiModel):
    """A window of a reservation that recurs."""

    start: Instant
    """When it begins."""
    end: Instant
    """When it is over; not part of it."""
    gpus: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The accepted GPUs; 0 if it is not accepted."""
    acceptedTime: Instant | None = None
    """When it was accepted."""
    forfeitedGpuSeconds: GpuSeconds = 0
    """GPU-seconds of it that were given back too late."""
    keptSeconds: Annotated[int, Field(ge=0, le=2**40)] = 0
    """How long it went on beyond what was asked for."""
    ended: Literal["", "NoShow"] = ""
    """Why it ended early, if the pool took it back."""
    domain: Annotated[str, Field(max_length=253)] = ""
    """The NVLink domain that they are in, if the pool is booked in cliques."""
    nodes: NodeNames = []
    """Its nodes, if it is exclusive, from shortly before it begins until they are cleaned up."""
    reason: Annotated[str, StringConstraints(max_length=64)] = ""
    """Why it is not accepted, if it was refused."""


class GpuReservationStatus(ApiModel):
    """What was promised. This is the ledger: what stands here keeps its place."""

    observedGeneration: Generation = 0
    """The generation that was judged."""
    window: AcceptedWindow | None = None
    """The accepted window; of one that recurs, the present or next one."""
    gpus: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The accepted GPUs."""
    forfeitedGpuSeconds: GpuSeconds = 0
    """GPU-seconds that were given back too late: they stay charged to the budget."""
    keptSeconds: Annotated[int, Field(ge=0, le=2**40)] = 0
    """How long the window goes on beyond what was asked for, with `onEnd: Keep`."""
    ended: Literal["", "NoShow"] = ""
    """Why the window ended early, if the pool took it back."""
    firstUsedTime: Instant | None = None
    """When pods first held GPUs in the window, in a pool that takes back what is not used."""
    domain: Annotated[str, Field(max_length=253)] = ""
    """The NVLink domain that the accepted GPUs are in, if the pool is booked in cliques."""
    nodes: NodeNames = []
    """For an exclusive reservation: its nodes, from shortly before the start until they are cleaned up."""
    acceptedTime: Instant | None = None
    """When it was accepted; earlier ones come first when capacity is lost."""
    occurrences: Annotated[list[Occurrence], Field(max_length=MAX_OCCURRENCES), ListType("atomic")] = []
    """The ledger of one that recurs: what was promised or refused of each window."""
    queuePosition: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Its place among those that wait for GPUs of the pool; 1 is next."""
    waitingSince: Instant | None = None
    """Since when it waits: its place in the line. A changed spec begins anew."""
    usage: ReservationUsage | None = None
    """What was used so far; written every ten minutes at most, and when the window ends."""
    offers: Annotated[list[Offer], Field(max_length=3), ListType("atomic")] = []
    """For a refused reservation: the next windows that would fit."""
    conditions: Conditions = []
    """Ready, Reconciling, Stalled, Active, EndingSoon, Degraded."""


GPU_RESERVATION = Kind(
    kind="GpuReservation",
    plural="gpureservations",
    short_names=("gres",),
    namespaced=True,
    description="GpuReservation is a number of GPUs of a pool for a window of time.",
    spec=GpuReservationSpec,
    status=GpuReservationStatus,
    columns=(
        Column("Pool", ".spec.pool"),
        Column("GPUs", ".spec.gpus", "integer"),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Active", ".status.conditions[?(@.type=='Active')].status"),
        Column("Start", ".status.window.start"),
        Column("End", ".status.window.end"),
        Column("Used-Hours", ".status.usage.usedGpuHours", "integer", wide=True),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message", wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    name_rules=(name_rule(f"^{SUBDOMAIN}$", 63, "pods carry the name as a label's value: at most 63 characters"),),
)
