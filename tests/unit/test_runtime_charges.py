"""Budgets remember what was charged: over restarts, for whoever is gone, and once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpu_tenancy.api import IndustrialTenantSpec, IndustrialTenantStatus
from gpu_tenancy.api.resource import Resource
from gpu_tenancy.api.tenant import GrantStatus
from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.runtime.charges import Charges, next_fixed
from promise_facts import NOW, hour, promised, rules

if TYPE_CHECKING:
    from gpu_tenancy.domain.promises import Booking
    from gpu_tenancy.runtime.world import Tenant

POOL = "b200"
HOUR = 3600


def a_tenant(uid: str = "t", **hours: Any) -> Tenant:
    budget = {"limit": 1000, "period": "Day"} | hours
    grant = {"pool": POOL, "reservable": 8, "gpuHours": budget}
    asked = {"namespaces": [{"name": "train"}], "gpus": [grant]}
    fields = {"generation": 1, "resource_version": "1", "creation_timestamp": NOW, "deleting": False}
    return Resource(
        "neura", "", uid, spec=IndustrialTenantSpec.model_validate(asked), status=IndustrialTenantStatus(), **fields
    )


class Operator:
    """One term after another over the tenant's status, which outlives them."""

    def __init__(self) -> None:
        self.tenant = a_tenant()
        self.rules = rules()
        self.restart()

    def restart(self) -> None:
        self.charges = Charges()

    def look(self, at: float, *bookings: Booking, write: bool = True) -> bool:
        new = self.charges.update(self.tenant, self.tenant.spec.gpus[0], bookings, self.rules, hour(at))
        if new and write:
            self.write()
        return new

    def write(self) -> None:
        grant = GrantStatus(pool=POOL, charged=self.charges.status(POOL, self.tenant))
        self.tenant = replace(self.tenant, status=IndustrialTenantStatus(gpus=[grant]))

    @property
    def charged(self) -> list[tuple[int, int]]:
        """What is written down of each period: for those that are there, and for those that are gone."""
        charged = self.tenant.status.gpus[0].charged if self.tenant.status.gpus else None
        return [] if charged is None else [(one.present, one.gone) for one in charged.periods]


# Noon is NOW, so these are windows of today.
NIGHT = promised("night", 4, 1, 3)
EVENING = promised("evening", 2, 4, 5)


def test_a_window_is_charged_from_its_start_on_and_once() -> None:
    operator = Operator()
    assert not operator.look(0, NIGHT)
    assert operator.look(1.01, NIGHT)
    assert not operator.look(1.02, NIGHT)
    assert not operator.look(2, NIGHT)
    assert operator.charged == [(8 * HOUR, 0)]
    assert not operator.charges.spent(POOL, operator.tenant), "who is there is counted by the planner"


def test_a_restart_writes_nothing_and_forgets_nothing() -> None:
    operator = Operator()
    operator.look(1.01, NIGHT)
    operator.look(1.5)
    assert operator.charged == [(0, 8 * HOUR)]
    for at in (1.5, 1.6, 2):
        operator.restart()
        assert not operator.look(at)
        assert list(operator.charges.spent(POOL, operator.tenant).values()) == [8 * HOUR]
        assert not operator.look(at)


def test_one_that_went_while_the_operator_was_away_is_charged_all_the_same() -> None:
    operator = Operator()
    operator.look(1.01, NIGHT)
    operator.restart()
    assert operator.look(6, EVENING)
    assert operator.charged == [(2 * HOUR, 8 * HOUR)]
    operator.restart()
    assert not operator.look(6, EVENING)


def test_one_that_goes_in_the_second_in_which_it_was_changed_is_charged_all_the_same() -> None:
    operator = Operator()
    operator.look(1.01, NIGHT)
    longer = promised("night", 4, 1, 4, at=1.5)
    operator.look(1.5, longer)
    operator.look(1.5)
    assert operator.charged == [(0, 12 * HOUR)]


def test_a_change_that_costs_the_same_is_not_taken_for_another_reservation() -> None:
    operator = Operator()
    operator.look(1.01, NIGHT)
    again = promised("night", 4, 1, 3, at=1.5)
    assert operator.look(1.6, again)
    operator.restart()
    assert not operator.look(1.7, again)
    assert operator.charged == [(8 * HOUR, 0)]


def test_one_that_went_before_its_window_was_fixed_is_charged_nothing() -> None:
    operator = Operator()
    operator.look(0, NIGHT, EVENING)
    operator.look(1.01, NIGHT)
    assert operator.charged == [(8 * HOUR, 0)]
    operator.rules = rules(modifiableUntil="1h")
    later = promised("later", 1, 9, 10)
    operator.look(7.5, NIGHT, later)
    operator.look(7.6, NIGHT)
    assert operator.charged == [(8 * HOUR, 0)]
    operator.look(8.5, NIGHT, later)
    operator.look(8.6, NIGHT)
    assert operator.charged == [(8 * HOUR, HOUR)]


def test_a_term_that_lost_its_lease_before_it_wrote_is_charged_for_by_the_next_and_once() -> None:
    operator = Operator()
    operator.look(1.01, NIGHT)
    operator.look(1.5, write=False)
    assert operator.charged == [(8 * HOUR, 0)]
    operator.restart()
    assert operator.look(1.6)
    assert operator.charged == [(0, 8 * HOUR)]


def test_a_clock_that_is_set_back_charges_nothing_twice() -> None:
    operator = Operator()
    operator.look(4.5, NIGHT, EVENING)
    before = operator.charged
    for at in (2, 0, 4.5):
        operator.look(at, NIGHT, EVENING)
        operator.restart()
    operator.look(4.6, NIGHT, EVENING)
    assert operator.charged == before == [(10 * HOUR, 0)]


def test_another_day_begins_at_nothing() -> None:
    operator = Operator()
    operator.look(1.01, NIGHT)
    operator.look(1.5)
    assert not operator.look(13), "which is no reason to write"
    assert seconds(hour(12)) not in operator.charges.spent(POOL, operator.tenant)
    assert operator.look(13.1, promised("tomorrow", 1, 13, 14))
    assert operator.charged == [(HOUR, 0)]


def test_a_tenant_without_a_budget_is_charged_nothing_and_a_new_one_begins_anew() -> None:
    operator = Operator()
    operator.look(1.01, NIGHT)
    free = operator.tenant.spec.gpus[0].model_copy(update={"gpuHours": None})
    assert operator.charges.update(operator.tenant, free, (NIGHT,), operator.rules, hour(2))
    assert not operator.charges.update(operator.tenant, free, (NIGHT,), operator.rules, hour(2))
    assert operator.charges.status(POOL, operator.tenant) is None
    assert operator.charges.spent(POOL, a_tenant("another")) == {}


def test_one_looks_again_when_the_next_window_is_fixed() -> None:
    assert next_fixed([NIGHT, EVENING], rules(), hour(0)) == hour(1 + 1 / HOUR)
    assert next_fixed([NIGHT, EVENING], rules(), hour(1.5)) == hour(4 + 1 / HOUR)
    assert next_fixed([NIGHT, EVENING], rules(modifiableUntil="2h"), hour(-0.5)) == hour(2 + 1 / HOUR)
    assert next_fixed([NIGHT], rules(), hour(2)) is None
    assert next_fixed([], rules(), hour(0)) is None
    assert seconds(hour(1 + 1 / HOUR)) == seconds(hour(1)) + 1
