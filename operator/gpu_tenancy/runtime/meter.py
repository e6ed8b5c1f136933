"""Use of GPUs in one term: measured with every decision about a pool, written down now and then with the statuses.

What was used while nobody looked counts as it was found: mostly the same pods run on.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpu_tenancy.api.reservation import MonthOfReservation, ReservationUsage
from gpu_tenancy.api.tenant import GrantUsage, MonthOfUse
from gpu_tenancy.domain.calendar import FOREVER, instant, seconds
from gpu_tenancy.domain.usage import INTERVAL, Account, Amounts, Piece, Tenure, shared_out

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from gpu_tenancy.domain.promises import Booking
    from gpu_tenancy.runtime.world import Reservation, Tenant


@dataclass(frozen=True, slots=True)
class Reading:
    """What a pool's quotas and ledgers say at an instant.

    Attributes:
        bookings: of the pool, as written down.
        allowed, used: by namespace, GPUs of reserved quotas.
        held: by tenant, what pods of other tiers hold.
    """

    bookings: tuple[Booking, ...]
    allowed: Mapping[str, int]
    used: Mapping[str, int]
    held: Mapping[str, Amounts]


@dataclass(slots=True)
class _Counter:
    """What one tenant, or one reservation, has used of the pool; and what of that is to be written down."""

    account: Account
    written: Account

    def count(self, now: int, pieces: list[Piece], *, at_once: bool = False) -> bool:
        self.account = self.account.advanced(now, pieces)
        due = self.account.is_due(self.written, pieces) or (at_once and self.account.months != self.written.months)
        if due:
            self.written = self.account
        return due


@dataclass(slots=True)
class _Pool:
    """One pool: its rates since the last reading, and its counters by tenant's and reservation's uid."""

    owners: dict[str, str] = field(default_factory=dict)
    pieces: dict[str, Piece] = field(default_factory=dict)
    held: Mapping[str, Amounts] | None = None
    tenants: dict[str, _Counter] = field(default_factory=dict)
    reservations: dict[str, _Counter] = field(default_factory=dict)


class Meter:
    """The use of all pools."""

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}

    def read(
        self,
        pool: str,
        reading: Reading,
        tenants: Iterable[Tenant],
        reservations: Mapping[str, Reservation],
        now: datetime,
    ) -> set[str]:
        """Count up to now; name the tenants of whom there is something new to write down.

        Args:
            pool: the pool's name.
            reading: as of now.
            tenants: whoever has a grant in it.
            reservations: all of the pool, by uid.
            now: the time.
        """
        at, last = seconds(now), self._pools.setdefault(pool, _Pool())
        unfinished = {uid for uid, one in reservations.items() if last.held is None and _is_unfinished(one)}
        tenures = list(_open(reading.bookings, at, unfinished))
        current = shared_out(tenures, reading.allowed, reading.used)
        # A window that was not open at the last reading has been used since then as it is now.
        pieces = current | last.pieces
        owners = {one.uid: one.tenant for one in tenures} | last.owners
        own: defaultdict[str, list[Piece]] = defaultdict(list)
        gone = set()
        for uid, piece in pieces.items():
            own[owners[uid]].append(piece)
            if uid not in reservations:
                gone.add(owners[uid])
            else:
                counter = last.reservations.get(uid) or _of_reservation(reservations[uid], piece.start)
                last.reservations[uid] = counter
                counter.count(at, [piece])
        new = set()
        for tenant in tenants:
            begun = min([at, *(piece.start for piece in own[tenant.name])])
            counter = last.tenants.get(tenant.uid) or _of_tenant(tenant, pool, begun)
            last.tenants[tenant.uid] = counter
            rate = (reading.held if last.held is None else last.held).get(tenant.name, Amounts())
            rates = [Piece(0, FOREVER, rate), *own[tenant.name]]
            if counter.count(at, rates, at_once=tenant.name in gone):
                new.add(tenant.name)
        last.pieces, last.held = current, reading.held
        last.owners = {one.uid: one.tenant for one in tenures}
        last.reservations = {uid: one for uid, one in last.reservations.items() if uid in reservations}
        return new

    def drop(self, pool: str) -> None:
        """Forget a pool that is gone."""
        self._pools.pop(pool, None)

    def next_reading(self, pool: str, now: datetime) -> datetime | None:
        """Say when to read again, if nothing happens until then: never while nothing is used."""
        last = self._pools[pool]
        idle = not last.pieces and not any(any(rate) for rate in (last.held or {}).values())
        return None if idle else instant(seconds(now) + INTERVAL)

    def of_tenant(self, pool: str, tenant: Tenant) -> Account | None:
        """Give what a tenant has used of a pool."""
        counter = self._pools[pool].tenants.get(tenant.uid) if pool in self._pools else None
        return None if counter is None else counter.account

    def grant_usage(self, pool: str, tenant: Tenant) -> GrantUsage | None:
        """Say what is to be written down of a tenant's use."""
        counter = self._pools[pool].tenants.get(tenant.uid) if pool in self._pools else None
        if counter is None or not counter.written.months:
            return None
        months = [
            MonthOfUse(month=instant(month), **amounts._asdict()) for month, amounts in counter.written.months.items()
        ]
        return GrantUsage(until=instant(counter.written.until), months=months)

    def reservation_usage(self, pool: str, reservation: Reservation) -> ReservationUsage | None:
        """Say what is to be written down of a reservation's use."""
        counter = self._pools[pool].reservations.get(reservation.uid) if pool in self._pools else None
        if counter is None or not counter.written.months:
            return reservation.status.usage
        amounts = counter.written.months.values()
        return ReservationUsage(
            until=instant(counter.written.until),
            bookedGpuHours=sum(one.booked for one in amounts) // 3600,
            usedGpuHours=sum(one.used for one in amounts) // 3600,
            months=[
                MonthOfReservation(month=instant(month), booked=one.booked, active=one.active, used=one.used)
                for month, one in counter.written.months.items()
            ],
        )


def _open(bookings: Iterable[Booking], now: int, unfinished: Collection[str]) -> Iterator[Tenure]:
    """Give the windows that are open, the oldest promise first; and those that ended before they were counted."""
    promised = [(one.ledger, one) for one in bookings if one.ledger is not None]
    for ledger, one in sorted(
        promised, key=lambda pair: (pair[0].accepted, pair[1].created, pair[1].namespace, pair[1].name)
    ):
        start, end = max(ledger.window.start, ledger.accepted), seconds(ledger.window.end)
        if seconds(start) <= now and (now < end or one.uid in unfinished):
            yield Tenure(one.uid, one.tenant, one.namespace, seconds(start), end, ledger.gpus)


def _is_unfinished(reservation: Reservation) -> bool:
    window, usage = reservation.status.window, reservation.status.usage
    return window is not None and (usage is None or usage.until < window.end)


def _of_tenant(tenant: Tenant, pool: str, begun: int) -> _Counter:
    usage = next((one.usage for one in tenant.status.gpus if one.pool == pool), None)
    if usage is None:
        # Its first windows may have begun while nobody looked.
        account = Account(max(begun, seconds(tenant.creation_timestamp)))
        return _Counter(account, account)
    months = {
        seconds(one.month): Amounts(one.guaranteed, one.spot, one.booked, one.active, one.used) for one in usage.months
    }
    account = Account(seconds(usage.until), months)
    return _Counter(account, account)


def _of_reservation(reservation: Reservation, start: int) -> _Counter:
    usage = reservation.status.usage
    if usage is None:
        return _Counter(Account(start), Account(start))
    months = {seconds(one.month): Amounts(booked=one.booked, active=one.active, used=one.used) for one in usage.months}
    account = Account(seconds(usage.until), months)
    return _Counter(account, account)
