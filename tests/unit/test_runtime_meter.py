"""What is used is counted once: over restarts and gaps, by clocks that jump, and by one term after another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gpu_tenancy.api import GpuReservationStatus, IndustrialTenantSpec, IndustrialTenantStatus
from gpu_tenancy.api.reservation import AcceptedWindow
from gpu_tenancy.api.resource import Resource
from gpu_tenancy.api.tenant import GrantStatus
from gpu_tenancy.domain.usage import INTERVAL, Amounts
from gpu_tenancy.reconcile.reservations import booking
from gpu_tenancy.runtime.meter import Meter, Reading
from promise_facts import NOW, hour, spec

if TYPE_CHECKING:
    from datetime import datetime

    from gpu_tenancy.runtime.world import Reservation, Tenant

POOL = "b200"
HOUR = 3600


def a_tenant(name: str = "neura", uid: str = "t") -> Tenant:
    asked = {"namespaces": [{"name": "train"}], "gpus": [{"pool": POOL, "guaranteed": 8, "reservable": 8}]}
    fields = {"generation": 1, "resource_version": "1", "creation_timestamp": NOW, "deleting": False}
    return Resource(
        name, "", uid, spec=IndustrialTenantSpec.model_validate(asked), status=IndustrialTenantStatus(), **fields
    )


def a_reservation(name: str, start: float, end: float, *, gpus: int = 8, accepted: float = -9) -> Reservation:
    fields = {"generation": 1, "resource_version": "1", "creation_timestamp": hour(accepted), "deleting": False}
    window = AcceptedWindow(start=hour(start), end=hour(end))
    status = GpuReservationStatus(window=window, gpus=gpus, acceptedTime=hour(accepted))
    return Resource(name, "train", name, spec=spec(gpus, start, end), status=status, **fields)


class Operator:
    """One term after another over the same statuses, which outlive them; quotas say what pods hold."""

    def __init__(self, *reservations: Reservation) -> None:
        self.tenant = a_tenant()
        self.reservations = {one.uid: one for one in reservations}
        self.held = self.allowed = self.used = 0
        self.restart()

    def restart(self) -> None:
        self.meter = Meter()

    def look(self, at: float, *, write: bool = True) -> bool:
        """Read at an hour; write down what is due, unless it is killed before it can."""
        new = self._read(hour(at))
        if new and write:
            self.write()
        return bool(new)

    def _read(self, now: datetime) -> set[str]:
        bookings = tuple(booking(one, "neura") for one in self.reservations.values())
        reading = Reading(
            bookings, {"train": self.allowed}, {"train": self.used}, {"neura": Amounts(guaranteed=self.held)}
        )
        return self.meter.read(POOL, reading, [self.tenant], self.reservations, now)

    def write(self) -> None:
        """Write the statuses of the tenant and its reservations."""
        grant = GrantStatus(pool=POOL, usage=self.meter.grant_usage(POOL, self.tenant))
        self.tenant = replace(self.tenant, status=IndustrialTenantStatus(gpus=[grant]))
        for uid, one in self.reservations.items():
            usage = self.meter.reservation_usage(POOL, one)
            self.reservations[uid] = replace(one, status=one.status.model_copy(update={"usage": usage}))

    def total(self) -> Amounts:
        """What the tenant has used by now, written or not."""
        account = self.meter.of_tenant(POOL, self.tenant)
        assert account is not None
        return _sum(account.months.values())

    def of(self, name: str) -> Amounts:
        """What is written down of a reservation."""
        usage = self.reservations[name].status.usage
        months = [] if usage is None else usage.months
        return _sum(Amounts(booked=one.booked, active=one.active, used=one.used) for one in months)


def _sum(amounts: Any) -> Amounts:
    total = Amounts()
    for one in amounts:
        total = total.plus(one, 1)
    return total


def test_a_window_counts_once_however_often_one_looks() -> None:
    often, seldom = Operator(a_reservation("night", 1, 2)), Operator(a_reservation("night", 1, 2))
    for operator, looks in ((often, [0, 1, 1.1, 1.25, 1.5, 2, 2.5, 3]), (seldom, [0, 1, 2.5])):
        for at in looks:
            operator.allowed = operator.used = 8 if 1 <= at < 2 else 0
            operator.look(at)
            operator.look(at)

    assert often.total() == seldom.total() == Amounts(booked=8 * HOUR, active=8 * HOUR, used=8 * HOUR)
    assert often.of("night") == often.total()


@pytest.mark.parametrize("restarts", [(), (1.5,), (1.5, 1.75), (0.5, 2.5)], ids=str)
def test_a_restart_changes_nothing_that_was_written(restarts) -> None:
    operator = Operator(a_reservation("night", 1, 2))
    operator.held = 2
    for at in (0, 0.5, 1, 1.5, 1.75, 2, 2.5, 3):
        operator.allowed, operator.used = (8, 4) if 1 <= at < 2 else (0, 0)
        operator.look(at)
        if at in restarts:
            operator.write()
            operator.restart()
            operator.look(at)

    assert operator.total() == Amounts(guaranteed=6 * HOUR, booked=8 * HOUR, active=8 * HOUR, used=4 * HOUR)


def test_one_that_is_killed_forgets_only_changes_since_it_last_wrote() -> None:
    operator = Operator()
    operator.held = 8
    operator.look(0)
    assert operator.look(INTERVAL / HOUR)
    operator.held = 0
    operator.look(0.2)  # used for two minutes more, which nobody writes down
    operator.restart()
    operator.look(0.2)

    # What runs now is taken to have run since then: nothing.
    assert operator.total() == Amounts(guaranteed=8 * INTERVAL)


def test_what_is_used_while_the_operator_is_away_counts_as_it_is_found() -> None:
    operator = Operator()
    operator.held = 8
    operator.look(0)
    operator.look(1)
    operator.restart()
    operator.held = 4
    operator.look(3)
    assert operator.total() == Amounts(guaranteed=8 * HOUR + 4 * 2 * HOUR)


@pytest.mark.parametrize("anything_before", [True, False])
def test_a_window_that_began_and_ended_while_the_operator_was_away_is_booked_in_full(*, anything_before) -> None:
    operator = Operator(a_reservation("night", 1, 2))
    operator.look(0)
    if anything_before:
        operator.held = 1
        operator.look(0)
        operator.look(0.5)
        operator.held = 0
        operator.look(0.5)
        operator.write()
    before = operator.total()
    operator.restart()
    operator.look(5)
    operator.look(6)

    assert operator.total() == before._replace(booked=8 * HOUR)
    assert operator.of("night") == Amounts(booked=8 * HOUR)


def test_a_long_time_without_a_look_counts_at_the_rate_before() -> None:
    operator = Operator(a_reservation("night", 0, 48))
    operator.allowed = operator.used = 8
    operator.look(0)
    operator.look(30)
    assert operator.total() == Amounts(booked=240 * HOUR, active=240 * HOUR, used=240 * HOUR)


def test_a_clock_that_is_set_back_counts_nothing_twice_and_nothing_less() -> None:
    operator = Operator(a_reservation("night", 0, 4))
    operator.allowed = operator.used = 8
    for at in (0, 2, 1, 1.5, 2, 3):
        operator.look(at)
    assert operator.total() == Amounts(booked=24 * HOUR, active=24 * HOUR, used=24 * HOUR)

    operator.write()
    operator.restart()
    for at in (1, 2.5, 3, 4, 5):
        operator.look(at)
    assert operator.total() == operator.of("night") == Amounts(booked=32 * HOUR, active=32 * HOUR, used=32 * HOUR)


def test_a_term_goes_on_where_the_one_before_stopped_writing() -> None:
    operator = Operator(a_reservation("night", 0, 4))
    operator.allowed = operator.used = 8
    operator.look(0)
    operator.look(1)
    # It counts on, and loses its Lease before it writes; what it counted is counted by the next one.
    operator.look(1.9, write=False)
    operator.restart()
    operator.look(2)
    assert operator.total() == Amounts(booked=16 * HOUR, active=16 * HOUR, used=16 * HOUR)


def test_a_term_that_reads_a_status_again_counts_it_once() -> None:
    operator = Operator(a_reservation("night", 0, 4))
    operator.allowed = operator.used = 8
    operator.look(0)
    operator.look(1)
    for _ in range(3):
        operator.restart()
        operator.look(1)
    assert operator.total() == operator.of("night") == Amounts(booked=8 * HOUR, active=8 * HOUR, used=8 * HOUR)


def test_what_a_deleted_reservation_used_stays_with_its_tenant_and_is_written_at_once() -> None:
    operator = Operator(a_reservation("night", 0, 4))
    operator.allowed = operator.used = 8
    operator.look(0)
    del operator.reservations["night"]
    operator.allowed = operator.used = 0

    assert operator.look(0.1), "long before it would be due"
    assert not operator.look(0.2)
    usage = operator.tenant.status.gpus[0].usage
    assert usage is not None
    assert [(one.booked, one.used) for one in usage.months] == [(8 * HOUR // 10, 8 * HOUR // 10)]
    operator.restart()
    operator.look(9)
    assert operator.total() == Amounts(booked=8 * HOUR // 10, active=8 * HOUR // 10, used=8 * HOUR // 10)


def test_reservations_of_two_tenants_count_for_their_own() -> None:
    operator = Operator(a_reservation("night", 0, 1))
    other = a_tenant("agile", "u")
    bookings = (booking(operator.reservations["night"], "neura"),)
    for at in (0, 1):
        reading = Reading(bookings, {"train": 8}, {"train": 8}, {"agile": Amounts(spot=1)})
        operator.meter.read(POOL, reading, [operator.tenant, other], operator.reservations, hour(at))

    account = operator.meter.of_tenant(POOL, other)
    assert account is not None
    assert account.this_month() == Amounts(spot=HOUR)
    assert operator.total() == Amounts(booked=8 * HOUR, active=8 * HOUR, used=8 * HOUR)


def test_there_is_nothing_to_look_at_while_nothing_is_used() -> None:
    operator = Operator(a_reservation("night", 1, 2))
    operator.look(0)
    assert operator.meter.next_reading(POOL, hour(0)) is None
    operator.look(1)
    assert operator.meter.next_reading(POOL, hour(1)) == hour(1) + timedelta(seconds=INTERVAL)
    operator.look(3)
    operator.held = 1
    operator.look(3)
    assert operator.meter.next_reading(POOL, hour(3)) is not None
    operator.meter.drop(POOL)
    assert operator.meter.of_tenant(POOL, operator.tenant) is None
    assert operator.meter.grant_usage(POOL, operator.tenant) is None
