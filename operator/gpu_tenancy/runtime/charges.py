"""The budgets' memory in one term: kept up to date with every decision, written with the tenants' statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.api.tenant import ChargedHours, ChargedPeriod
from gpu_tenancy.domain.calendar import instant, seconds
from gpu_tenancy.domain.charges import Charge, Record, Span, account, fixed_before

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from gpu_tenancy.api.pool import ReservationRules
    from gpu_tenancy.api.tenant import GpuGrant
    from gpu_tenancy.domain.promises import Booking, Ledger
    from gpu_tenancy.runtime.world import Tenant


class Charges:
    """The records of all budgets, by pool and tenant."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], tuple[Record, Mapping[str, Charge]]] = {}

    def update(
        self, tenant: Tenant, grant: GpuGrant, bookings: Iterable[Booking], rules: ReservationRules, now: datetime
    ) -> bool:
        """Take in which reservations a tenant has in a pool; say whether there is something new to write down."""
        key = grant.pool, tenant.uid
        if grant.gpuHours is None:
            return self._records.pop(key, None) is not None
        record, before = self._records.get(key, (None, None))
        known = _written(grant.pool, tenant) if record is None else record
        charges = {one.uid: _charge(one.ledger, rules) for one in bookings if one.ledger is not None}
        new = account(known, before, charges, grant.gpuHours.period, seconds(now))
        # Also what was fixed in this very second, before the record says so: it may be gone by the next.
        self._records[key] = new, fixed_before(charges, seconds(now) + 1)
        return new is not known

    def spent(self, pool: str, tenant: Tenant) -> Mapping[int, int]:
        """Say how many GPU-seconds are charged for reservations that are gone, by the start of the period."""
        found = self._records.get((pool, tenant.uid))
        return {} if found is None else {span.start: span.gone for span in found[0].spans if span.gone}

    def status(self, pool: str, tenant: Tenant) -> ChargedHours | None:
        """Say what is to be written down."""
        found = self._records.get((pool, tenant.uid))
        if found is None or not found[0].until:
            return None
        periods = [
            ChargedPeriod(start=instant(span.start), end=instant(span.end), present=span.present, gone=span.gone)
            for span in found[0].spans
        ]
        return ChargedHours(until=instant(found[0].until), periods=periods)


def next_fixed(bookings: Iterable[Booking], rules: ReservationRules, now: datetime) -> datetime | None:
    """Find the next instant at which a window that was not fixed before is to be written down."""
    coming = [
        fixed + 1
        for one in bookings
        if one.ledger is not None and one.ledger.window.end > now
        if (fixed := _charge(one.ledger, rules).fixed) >= seconds(now)
    ]
    return instant(min(coming)) if coming else None


def _charge(ledger: Ledger, rules: ReservationRules) -> Charge:
    start, end = map(seconds, ledger.window)
    fixed = max(start - seconds(rules.modifiableUntil), seconds(ledger.accepted))
    return Charge(fixed, start, end, ledger.gpus, ledger.forfeited)


def _written(pool: str, tenant: Tenant) -> Record:
    charged = next((one.charged for one in tenant.status.gpus if one.pool == pool), None)
    if charged is None:
        return Record()
    spans = [Span(seconds(one.start), seconds(one.end), one.present, one.gone) for one in charged.periods]
    return Record(seconds(charged.until), tuple(spans))
