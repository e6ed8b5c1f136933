"""`GpuReservation`: GPUs of a pool for a window of time, asked for by a tenant in one of its namespaces."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from gpu_tenancy.api.common import SUBDOMAIN, CatalogueName, Conditions, Duration, Generation, GpuSeconds, Instant
from gpu_tenancy.api.schema import ApiModel, Column, Immutable, Kind, ListType, Rule, name_rule


class ReservationWindow(ApiModel):
    """When: `start` with `end` or `duration`; or what fits between `notBefore` and `notAfter`. UTC, half-open."""

    start: Instant | None = None
    """When the window begins."""
    end: Instant | None = None
    """When it is over; not part of it."""
    duration: Duration | None = None
    """How long it is."""
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
        Rule(
            "!(has(self.start) && has(self.end)) || self.start < self.end",
            "start is before end",
            lambda self: self.start is None or self.end is None or self.start < self.end,
        ),
        Rule(
            "has(self.notBefore) || !has(self.preference) || self.preference == 'Earliest'",
            "a preference needs a choice: give notBefore, notAfter and duration",
            lambda self: self.notBefore is not None or self.preference == "Earliest",
        ),
        Rule(
            "!has(self.duration) || self.duration > duration('0s')",
            "duration is above zero",
            lambda self: self.duration is None or self.duration > timedelta(0),
        ),
        Rule(
            "!(has(self.notBefore) && has(self.notAfter) && has(self.duration)) || "
            "self.notBefore + self.duration <= self.notAfter",
            "the duration does not fit between notBefore and notAfter",
            lambda self: (
                None in (self.notBefore, self.notAfter, self.duration)
                or self.notBefore + self.duration <= self.notAfter
            ),
        ),
    )


class GpuReservationSpec(ApiModel):
    """What is asked for."""

    pool: Annotated[CatalogueName, Immutable("create another reservation for another pool")]
    """The GpuPool."""
    gpus: Annotated[int, Field(ge=1, le=1_000_000)]
    """How many GPUs, at every instant of the window."""
    window: ReservationWindow
    """When."""
    onConflict: Literal["Reject", "Wait"] = "Reject"
    """What happens when it does not fit: refuse it, or let it stand in line."""
    exclusivity: Literal["None", "Node", "Clique"] = "None"
    """Whether whole nodes or cliques are asked for."""


class AcceptedWindow(ApiModel):
    """The window that was promised."""

    start: Instant
    """When it begins."""
    end: Instant
    """When it is over; not part of it."""

    rules = (Rule("self.start < self.end", "start is before end", lambda self: self.start < self.end),)


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


class GpuReservationStatus(ApiModel):
    """What was promised. This is the ledger: what stands here keeps its place."""

    observedGeneration: Generation = 0
    """The generation that was judged."""
    window: AcceptedWindow | None = None
    """The accepted window."""
    gpus: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The accepted GPUs."""
    forfeitedGpuSeconds: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    """GPU-seconds that were given back too late: they stay charged to the budget."""
    domain: Annotated[str, Field(max_length=253)] = ""
    """The NVLink domain that the accepted GPUs are in, if the pool is booked in cliques."""
    acceptedTime: Instant | None = None
    """When it was accepted; earlier ones come first when capacity is lost."""
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
