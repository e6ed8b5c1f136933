"""Builders of what a decision about a pool reads, in hours from a fixed instant."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gpu_tenancy.api import GpuPoolSpec, GpuReservationSpec
from gpu_tenancy.api.common import LabelSelector
from gpu_tenancy.api.pool import MaintenanceWindow, ReservationRules
from gpu_tenancy.api.reservation import ReservationWindow
from gpu_tenancy.domain.capacity import PoolCapacity
from gpu_tenancy.domain.grants import Share
from gpu_tenancy.domain.promises import Booking, Grant, Ledger, PoolFacts, QuotaKey, StandingQuota, Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpu_tenancy.domain.naming import Tier
    from gpu_tenancy.domain.promises import Decision

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=365)


def hour(number: float) -> datetime:
    return NOW + timedelta(hours=number)


def window(start: float, end: float) -> Window:
    return Window(hour(start), hour(end))


def rules(**durations: Any) -> ReservationRules:
    return ReservationRules.model_validate({"noticeBeforeEnd": "0s", "gracePeriod": "0s"} | durations)


def pool(
    *,
    headroom: int = 0,
    maintenance: Iterable[tuple[float, float, int]] = (),
    reservations: ReservationRules | None = None,
    **fields: Any,
) -> GpuPoolSpec:
    return GpuPoolSpec(
        region="eu-de",
        model="NVIDIA-B200",
        nodeSelector=LabelSelector(matchLabels={"gpus": "yes"}),
        gpusPerNode=fields.pop("gpusPerNode", 8),
        headroom=headroom,
        **fields,
        reservations=reservations or rules(),
        maintenance=[
            MaintenanceWindow(start=hour(start), end=hour(end), gpus=gpus) for start, end, gpus in maintenance
        ],
    )


def capacity(total: int, usable: int | None = None) -> PoolCapacity:
    usable = total if usable is None else usable
    return PoolCapacity(nodes=-(-total // 8), capacity=total, usable=usable, unhealthy=total - usable)


def racks(*sizes: int, total: int | None = None) -> PoolCapacity:
    """Give the capacity of NVLink domains `rack-0`, `rack-1` and so on with so many usable GPUs each."""
    total = sum(sizes) if total is None else total
    return replace(capacity(total, sum(sizes)), domains={f"rack-{one}": size for one, size in enumerate(sizes) if size})


def grant(tenant: str, guaranteed: int = 0, reservable: int = 1000, *, age: int = 0, **fields: Any) -> Grant:
    """Build a grant of a tenant with one namespace, named like it; the greater the age, the older the tenant."""
    shares = fields.pop("shares", {tenant: guaranteed})
    return Grant(
        tenant,
        LONG_AGO - timedelta(days=age),
        guaranteed=guaranteed,
        reservable=reservable,
        shares={namespace: Share(gpus) for namespace, gpus in shares.items()},
        **fields,
    )


def spec(
    gpus: int,
    start: float | None = None,
    end: float | None = None,
    *,
    between: tuple[float, float, float] | None = None,
    late: bool = False,
    wait: bool = False,
    keep: bool = False,
    exclusivity: Any = "None",
) -> GpuReservationSpec:
    """Build a spec with a fixed window, or with a duration between two hours."""
    if between is None:
        when = ReservationWindow(start=hour(start or 0), end=hour(end or 0))
    else:
        first, last, duration = between
        when = ReservationWindow(
            notBefore=hour(first),
            notAfter=hour(last),
            duration=timedelta(hours=duration),
            preference="Latest" if late else "Earliest",
        )
    on_conflict = "Wait" if wait else "Reject"
    return GpuReservationSpec(
        pool="b200",
        gpus=gpus,
        window=when,
        onConflict=on_conflict,
        onEnd="Keep" if keep else "Drain",
        exclusivity=exclusivity,
    )


def booking(
    name: str, asked: GpuReservationSpec, tenant: str = "neura", *, created: float = -1, **fields: Any
) -> Booking:
    """Build a reservation in the namespace that is named like its tenant."""
    fields = {"namespace": tenant, "uid": name, "generation": 1} | fields
    return Booking(name=name, tenant=tenant, created=hour(created), spec=asked, **fields)


def accepted(one: Booking, start: float, end: float, *, gpus: int | None = None, at: float = -1) -> Booking:
    ledger = Ledger(window(start, end), one.spec.gpus if gpus is None else gpus, hour(at))
    return replace(one, ledger=ledger)


def promised(
    name: str, gpus: int, start: float, end: float, tenant: str = "neura", *, at: float = -1, **fields: Any
) -> Booking:
    """Build a reservation that was accepted as it asked."""
    return accepted(booking(name, spec(gpus, start, end), tenant, **fields), start, end, at=at)


def changed(one: Booking, asked: GpuReservationSpec) -> Booking:
    return replace(one, spec=asked, generation=one.generation + 1, since=None)


def quota(namespace: str, tier: Tier, hard: int, used: int = 0) -> StandingQuota:
    return StandingQuota(QuotaKey(namespace, tier), hard, used)


def settled(facts: PoolFacts, decision: Decision) -> PoolFacts:
    """Give the facts after everything that was decided is written, and before any pod has moved."""
    used = {one.key: one.used for one in facts.standing}
    return replace(
        facts,
        grants=tuple(replace(one, granted=decision.promises[one.tenant].granted) for one in facts.grants),
        bookings=tuple(
            replace(
                one,
                ledger=found.ledger,
                refusal=found.refusal,
                since=found.since,
                first_used=found.first_used,
                draining=found.draining,
            )
            for one in facts.bookings
            for found in [decision.verdicts[one.uid]]
        ),
        standing=tuple(StandingQuota(key, hard, used.get(key, 0)) for key, hard in decision.allotments.items()),
    )
