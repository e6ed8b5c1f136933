"""What a decision about one pool reads, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from gpu_tenancy.api.pool import GpuPoolSpec
    from gpu_tenancy.api.reservation import GpuReservationSpec
    from gpu_tenancy.api.tenant import GpuHours
    from gpu_tenancy.domain.capacity import PoolCapacity
    from gpu_tenancy.domain.grants import Share
    from gpu_tenancy.domain.naming import Tier


class State(StrEnum):
    """Where a reservation stands; an accepted one moves on by time alone."""

    REFUSED = "Refused"
    WAITING = "Waiting"
    SCHEDULED = "Scheduled"
    ACTIVE = "Active"
    COMPLETED = "Completed"


class Reason(StrEnum):
    """Why a reservation, or a change of one, is not accepted."""

    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_POOL = "UnknownPool"
    TOO_MANY_REQUESTS = "TooManyRequests"
    NOT_A_TENANT = "NotATenant"
    TENANT_STALLED = "TenantStalled"
    NOT_GRANTED = "NotGranted"
    CONTRACT_BEGINS = "ContractBegins"
    CONTRACT_ENDS = "ContractEnds"
    INVALID_RECURRENCE = "InvalidRecurrence"
    TOO_MANY_GPUS = "TooManyGpus"
    NOT_WHOLE_NODES = "NotWholeNodes"
    TOO_SHORT = "TooShort"
    TOO_LONG = "TooLong"
    NOT_ALIGNED = "NotAligned"
    IN_THE_PAST = "InThePast"
    MISSED = "Missed"
    TOO_SOON = "TooSoon"
    BEYOND_HORIZON = "BeyondHorizon"
    CEILING_EXCEEDED = "CeilingExceeded"
    BUDGET_EXCEEDED = "BudgetExceeded"
    DOES_NOT_FIT = "DoesNotFit"
    NO_DOMAIN_FITS = "NoDomainFits"
    START_IMMUTABLE = "StartImmutable"
    TWO_CHANGES = "TwoChanges"
    CHANGE_REFUSED = "ChangeRefused"
    CHANGE_WAITS = "ChangeWaits"


OPEN = frozenset(
    {
        # the provider can cure these without the tenant touching its reservation
        Reason.INVALID_SPEC,
        Reason.UNKNOWN_POOL,
        Reason.NOT_A_TENANT,
        Reason.TENANT_STALLED,
        Reason.NOT_GRANTED,
        Reason.CONTRACT_BEGINS,
        Reason.CONTRACT_ENDS,
        Reason.TOO_MANY_GPUS,
        Reason.TOO_MANY_REQUESTS,
        # others can cure this
        Reason.CHANGE_WAITS,
    }
)
"""Reasons that may pass without the spec being changed."""


class Window(NamedTuple):
    """A span of time in UTC; the end is not part of it."""

    start: datetime
    end: datetime


class Ledger(NamedTuple):
    """What was promised to a reservation, as its status says. It keeps its place.

    Attributes:
        window: when.
        gpus: how many GPUs at every instant of the window.
        accepted: when it was promised; earlier ones come first when capacity is lost.
        forfeited: GPU-seconds that were given back too late and stay charged.
        kept: how many seconds it goes on beyond what was asked for.
        ended: why it ended early, if the pool took it back.
        domain: the NVLink domain that they are in, or empty if they may be anywhere in the pool.
        nodes: the nodes that it has to itself now.
    """

    window: Window
    gpus: int
    accepted: datetime
    forfeited: int = 0
    domain: str = ""
    kept: int = 0
    ended: Literal["", "NoShow"] = ""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the spec of this generation is not taken, as the reservation's status says.

    Attributes:
        reason: a `Reason`, or the one of another version of this program.
        offers: windows in which it would have fitted.
    """

    generation: int
    reason: str
    message: str
    offers: tuple[Window, ...] = ()

    def holds(self, booking: Booking) -> bool:
        """Say whether it stands until the spec changes; else the reservation is asked about again."""
        return self.generation == booking.generation and self.reason not in OPEN


@dataclass(frozen=True, slots=True)
class Booking:
    """A reservation in the pool.

    Attributes:
        tenant: whose namespace it is in; empty if it is no tenant's.
        ledger, refusal: what its status says; None if it says nothing.
        since: since when this spec waits, as its status says.
        opened: since when its quota is open, as its status says.
        first_used: when pods first held GPUs in its window, as its status says.
        draining: whether its pods are being asked to go, as its status says.
        series: names the reservation whose windows are taken together or not at all; empty for one that stands alone.
    """

    namespace: str
    name: str
    uid: str
    tenant: str
    created: datetime
    generation: int
    spec: GpuReservationSpec
    ledger: Ledger | None = None
    refusal: Refusal | None = None
    since: datetime | None = None
    opened: datetime | None = None
    first_used: datetime | None = None
    draining: bool = False
    series: str = ""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One of the windows of a reservation that recurs.

    Attributes:
        ledger: what is promised in it, if anything.
        refusal: why nothing is, if that was refused.
    """

    window: Window
    ledger: Ledger | None = None
    refusal: Refusal | None = None


class Asking(NamedTuple):
    """Pods of a workload that are missing: it would have them if it could.

    Attributes:
        gpus: what each of them asks for.
        pods: how many.
    """

    namespace: str
    gpus: int
    pods: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What a tenant's contract says about the pool, in GPUs.

    Attributes:
        created: when the tenant was; older ones come first.
        rank: by its class of service; lower ones come first.
        begins, ends: when the contract does, if it does.
        guaranteed: what is asked for as always theirs.
        reservable: the ceiling for all its reservations at one instant.
        hours: the budget of its reservations, if it has one.
        spent: GPU-seconds that it is charged for reservations that are gone, by the start of the budget's period.
        shares: its namespaces' parts, in order; what is granted fills them from the first.
        asking: who wants more of what its namespaces share.
        granted: what was granted before, as the tenant's status says. None if it says nothing: then it is what stands
            in the namespaces' quotas.
    """

    tenant: str
    created: datetime
    guaranteed: int = 0
    reservable: int = 0
    hours: GpuHours | None = None
    spent: Mapping[int, int] = field(default_factory=dict)
    shares: Mapping[str, Share] = field(default_factory=dict)
    asking: tuple[Asking, ...] = ()
    granted: int | None = None
    rank: int = 1
    begins: datetime | None = None
    ends: datetime | None = None

    def runs(self, now: datetime) -> bool:
        """Say whether the contract has begun and is not over."""
        return (self.begins is None or self.begins <= now) and (self.ends is None or now < self.ends)


class QuotaKey(NamedTuple):
    """One GPU quota of the pool."""

    namespace: str
    tier: Tier


@dataclass(frozen=True, slots=True)
class StandingQuota:
    """A quota as observed, in GPUs.

    Attributes:
        hard: what it allows.
        used: what pods hold; more than `hard` after it was lowered, until they go.
    """

    key: QuotaKey
    hard: int
    used: int

    @property
    def committed(self) -> int:
        """What is out of the pool's hands because of it."""
        return max(self.hard, self.used)


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """Everything that a decision about one pool reads; the order within does not matter.

    Attributes:
        grants: of every tenant whose spec is accepted.
        bookings: every reservation in the pool.
        standing: every observed guaranteed and reserved quota of the pool, whoever it belongs to.
        frozen: namespaces of tenants whose spec is refused: their guarantee stays what it is.
        since: from when on the use of quotas was observed without a gap.
    """

    spec: GpuPoolSpec
    capacity: PoolCapacity
    grants: tuple[Grant, ...] = ()
    bookings: tuple[Booking, ...] = ()
    standing: tuple[StandingQuota, ...] = ()
    frozen: frozenset[str] = frozenset()
    since: datetime | None = None


class Verdict(NamedTuple):
    """What is decided about one reservation.

    Attributes:
        state: where it stands.
        reason: the state, or why it is refused or waits.
        message: a sentence for people; it names no other tenant and no other tenant's booking.
        ledger: what is promised, to be kept in its status.
        refusal: why the present spec is not taken, to be kept in its status. With a ledger, it is about a change.
        since: since when it waits, to be kept in its status.
        position: its place in the line for GPUs of the pool, from 1; 0 if it is not in it.
        backed: GPUs that are there for it now, in its window.
        notice: whether its end is near.
        draining: whether its pods are asked to go; its quota is lowered.
        degraded: what the pool cannot keep of the promise as things stand, or empty.
        first_used: when pods first held GPUs in its window, to be kept in its status.
        occurrences: for one that recurs, each of its windows; the ledger is then that of the present or next one.
        again: whether it was open in an earlier window.
    """

    state: State
    reason: str
    message: str
    ledger: Ledger | None = None
    refusal: Refusal | None = None
    since: datetime | None = None
    position: int = 0
    backed: int = 0
    notice: bool = False
    draining: bool = False
    degraded: str = ""
    first_used: datetime | None = None
    occurrences: tuple[Occurrence, ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Promise:
    """What is decided about one tenant's guarantee, in GPUs.

    Attributes:
        asked: what the contract says.
        granted: what is promised, to be kept in the tenant's status.
        backed: what of it is there now; less after a loss of capacity.
    """

    asked: int
    granted: int
    backed: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The pool in numbers of GPUs.

    Attributes:
        guaranteed, reserved: in quotas, when the allotments are written; what is lowered counts until that is seen.
        free: promised to nobody now.
        next_free: when some become free, if none are.
    """

    guaranteed: int
    reserved: int
    free: int
    next_free: datetime | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided about one pool.

    Attributes:
        allotments: what each quota is to allow now. They may be written in any order, and any of them not at all.
        targets: what each quota will allow once others have let go.
        verdicts: about each reservation, by uid.
        promises: about each tenant's guarantee, by name.
        overcommitted: whether quotas and pods hold more than the pool can promise, since capacity was lost.
        wake: the next instant at which the same facts give another decision.
    """

    allotments: Mapping[QuotaKey, int]
    targets: Mapping[QuotaKey, int]
    verdicts: Mapping[str, Verdict]
    promises: Mapping[str, Promise]
    figures: Figures
    overcommitted: bool = False
    wake: datetime | None = None
