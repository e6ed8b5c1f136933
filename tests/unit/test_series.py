"""A reservation that recurs: what is accepted of it, how it passes through its windows, and how it changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gpu_tenancy.api import GPU_RESERVATION
from gpu_tenancy.api.common import format_instant
from gpu_tenancy.api.resource import parse
from gpu_tenancy.domain.promises import Booking, PoolFacts, Reason, State, decide
from gpu_tenancy.domain.promises.register import MAX_ASKING
from gpu_tenancy.reconcile.plan import Emit, Plan, Update
from gpu_tenancy.reconcile.reservations import Turn, plan_reservation, plan_without_pool, series, spread, turn
from promise_facts import NOW, capacity, grant, hour, pool, promised, rules, window

DAY = 24


class World:
    """One reservation of two hours a day from hour 4 on, its pool, and what is stored of it."""

    def __init__(self, *others: Booking, rule: str = "FREQ=DAILY;COUNT=3", total: int = 16, **fields: Any) -> None:
        self.others = others
        self.pool = pool(reservations=rules(**fields.pop("rules", {})))
        self.total = total
        self.status: dict[str, Any] = {}
        self.generation = 0
        self.change(rule=rule, **fields)
        self.events: list[str] = []

    def change(self, *, rule: str = "FREQ=DAILY;COUNT=3", gpus: int = 8, hours: str = "2h", **fields: Any) -> None:
        wait, keep = fields.pop("wait", False), fields.pop("keep", False)
        self.generation += 1
        self.spec = {
            "pool": "b200",
            "gpus": gpus,
            "window": {"start": format_instant(hour(4)), "duration": hours},
            "recurrence": {"rule": rule, **fields},
            "onConflict": "Wait" if wait else "Reject",
            "onEnd": "Keep" if keep else "Drain",
        }

    @property
    def reservation(self):
        metadata = {
            "name": "course",
            "namespace": "neura",
            "uid": "u",
            "generation": self.generation,
            "resourceVersion": "1",
            "creationTimestamp": format_instant(hour(-1)),
        }
        return parse(GPU_RESERVATION, {"metadata": metadata, "spec": self.spec, "status": self.status})

    def at(self, at: float):
        """Decide, store what is said, and see that nothing more is said then."""
        now, rules_ = hour(at), self.pool.reservations
        one = series(self.reservation, "neura", rules_, now)
        facts = PoolFacts(
            spec=self.pool,
            capacity=capacity(self.total),
            grants=(grant("neura"), grant("agile")),
            bookings=(*one.bookings, *self.others),
        )
        verdict = one.verdict(decide(facts, now).verdicts)
        plan = plan_reservation(self.reservation, verdict, is_open=verdict.state is State.ACTIVE, now=now)
        self.turn = turn(self.reservation, verdict)
        self.wake = one.wake
        for operation in plan.operations:
            if isinstance(operation, Update):
                patched = {**self.status, **operation.patch["status"]}
                self.status = {key: value for key, value in patched.items() if value is not None}
            elif isinstance(operation, Emit):
                self.events.append(operation.reason)
        again = series(self.reservation, "neura", rules_, now)
        facts = PoolFacts(self.pool, facts.capacity, facts.grants, (*again.bookings, *self.others))
        repeated = again.verdict(decide(facts, now).verdicts)
        assert plan_reservation(self.reservation, repeated, is_open=verdict.state is State.ACTIVE, now=now) == Plan()
        return verdict

    def condition(self, type_: str) -> tuple[str, str]:
        one = next(one for one in self.status["conditions"] if one["type"] == type_)
        return one["status"], one["reason"]


def windows(verdict) -> list[tuple[float, float]]:
    return [
        tuple((at - NOW) / timedelta(hours=1) for at in one.ledger.window)
        for one in verdict.occurrences
        if one.ledger is not None
    ]


def test_all_occurrences_are_accepted_and_the_next_one_is_shown() -> None:
    world = World()

    found = world.at(0)

    assert windows(found) == [(4, 6), (28, 30), (52, 54)]
    assert (found.state, found.ledger.window) == (State.SCHEDULED, window(4, 6))
    assert found.message.endswith("; 3 of 3 occurrences are accepted")
    assert world.turn is Turn.OTHERS
    assert world.status["window"] == {"start": "2026-12-01T16:00:00Z", "end": "2026-12-01T18:00:00Z"}


def test_it_passes_through_its_windows_one_after_the_other() -> None:
    world = World()

    seen = [
        (world.at(at).state, world.at(at).again, world.status["window"]["start"][8:13], world.condition("Active"))
        for at in (0, 4, 6, 28, 53.9, 54)
    ]

    assert seen == [
        (State.SCHEDULED, False, "01T16", ("False", "NotStarted")),
        (State.ACTIVE, False, "01T16", ("True", "Open")),
        (State.SCHEDULED, True, "02T16", ("False", "NotStarted")),
        (State.ACTIVE, True, "02T16", ("True", "Open")),
        (State.ACTIVE, True, "03T16", ("True", "Open")),
        (State.COMPLETED, True, "03T16", ("False", "Ended")),
    ]
    assert world.events == [
        "ReservationAccepted",
        "ReservationActivated",
        "ReservationCompleted",
        "ReservationActivated",
        "ReservationCompleted",
    ]


def test_all_or_none_are_accepted() -> None:
    other = promised("o", 12, 28, 29, "agile")
    world = World(other)

    found = world.at(0)

    assert (found.state, found.reason, found.ledger, found.occurrences) == (
        State.REFUSED,
        Reason.DOES_NOT_FIT,
        None,
        (),
    )
    assert "from 2026-12-02T16:00:00Z to 2026-12-02T18:00:00Z do not fit: 4 are free" in found.message
    assert world.status["offers"]
    world.others = ()
    assert world.at(1).state is State.REFUSED, "it stands until the spec changes"
    world.change()
    assert world.at(1).state is State.SCHEDULED


def test_what_is_refused_together_leaves_nothing_booked() -> None:
    other = promised("o", 12, 28, 29, "agile")
    world = World(other)
    one = series(world.reservation, "neura", world.pool.reservations, NOW)
    late = Booking("neura", "z", "z", "neura", hour(0), 1, world.reservation.spec.model_copy(update={"gpus": 16}))
    alone = series_of(late, world)

    decision = decide(
        PoolFacts(world.pool, capacity(16), (grant("neura"), grant("agile")), (*one.bookings, other, alone)), NOW
    )

    assert decision.verdicts[alone.uid].state is State.SCHEDULED


def series_of(whole: Booking, world: World) -> Booking:
    """Take the first window of a reservation as one that stands alone."""
    window_ = whole.spec.window.model_copy(update={"start": hour(4)})
    spec = whole.spec.model_copy(update={"window": window_, "recurrence": None})
    return Booking(whole.namespace, whole.name, whole.uid, whole.tenant, whole.created, world.generation, spec)


def test_each_by_itself_is_accepted_if_it_fits() -> None:
    world = World(promised("o", 12, 28, 29, "agile"), acceptance="BestEffort")

    found = world.at(0)

    assert windows(found) == [(4, 6), (52, 54)]
    assert (found.state, found.refusal) == (State.SCHEDULED, None)
    assert found.message.endswith("; 2 of 3 occurrences are accepted")
    assert [one.get("reason", "") for one in world.status["occurrences"]] == ["", "DoesNotFit", ""]
    assert world.condition("Ready") == ("True", "Scheduled")
    world.others = ()
    assert windows(world.at(1)) == [(4, 6), (52, 54)], "what is refused stays so until the spec changes"


def test_each_by_itself_may_wait() -> None:
    world = World(promised("o", 12, 28, 29, "agile"), acceptance="BestEffort", wait=True)

    assert (world.at(0).position, windows(world.at(0))) == (1, [(4, 6), (52, 54)])
    world.others = ()
    assert windows(world.at(1)) == [(4, 6), (28, 30), (52, 54)]


def test_if_none_is_accepted_by_itself_it_is_refused_as_a_whole() -> None:
    world = World(promised("o", 12, 0, 99, "agile"), acceptance="BestEffort")

    found = world.at(0)

    assert (found.state, found.reason) == (State.REFUSED, Reason.DOES_NOT_FIT)
    assert [one["reason"] for one in world.status["occurrences"]] == ["DoesNotFit"] * 3
    world.others = ()
    assert world.at(1).state is State.REFUSED


def test_occurrences_beyond_the_horizon_are_asked_for_when_it_reaches_them() -> None:
    world = World(rules={"horizon": "30h"})

    assert windows(world.at(0)) == [(4, 6), (28, 30)]
    assert world.wake == hour(24)
    world.others = (promised("o", 16, 52, 53, "agile"),)
    assert windows(world.at(23.9)) == [(4, 6), (28, 30)]
    assert [one.get("reason", "") for one in (world.at(24), world.status["occurrences"])[1]] == ["", "", "DoesNotFit"]
    assert world.at(29).state is State.ACTIVE
    assert world.at(54).state is State.COMPLETED


def test_one_whose_first_window_is_beyond_the_horizon_waits_for_it() -> None:
    world = World(rules={"horizon": "3h"})

    found = world.at(0)

    assert (found.state, found.reason) == (State.WAITING, Reason.BEYOND_HORIZON)
    assert "the occurrence at 2026-12-01T16:00:00Z is asked for when the pool's horizon reaches it" in found.message
    assert world.at(3).state is State.SCHEDULED
    assert world.at(6.5).state is State.WAITING, "the next one is not promised yet"
    assert world.at(27).state is State.SCHEDULED
    assert windows(world.at(27)) == [(4, 6), (28, 30)]


def test_more_is_asked_for_each_window_and_less_is_taken_at_once() -> None:
    world = World()
    world.at(0)
    world.change(hours="1h")
    assert windows(world.at(1)) == [(4, 5), (28, 29), (52, 53)]
    assert world.turn is Turn.GIVES
    world.change(gpus=12)
    assert {one.ledger.gpus for one in world.at(2).occurrences} == {12}
    assert world.turn is Turn.OTHERS

    world.others = (promised("o", 4, 28, 29, "agile"),)
    world.change(gpus=16)
    found = world.at(3)
    assert {one.ledger.gpus for one in found.occurrences} == {12}, "all together, or none"
    assert (found.state, found.refusal.reason) == (State.SCHEDULED, Reason.CHANGE_REFUSED)
    world.change(gpus=16, acceptance="BestEffort")
    assert [one.ledger.gpus for one in world.at(3).occurrences] == [16, 12, 16]


def test_windows_that_the_rule_does_not_name_any_more_are_given_back_unless_they_are_fixed() -> None:
    world = World(rules={"modifiableUntil": "24h"})
    world.at(0)
    world.change(rule="FREQ=DAILY;COUNT=2")
    assert windows(world.at(29)) == [(4, 6), (28, 30), (52, 54)]
    world = World()
    world.at(0)
    world.at(5)
    world.change(rule="FREQ=DAILY;COUNT=1")
    assert windows(world.at(5)) == [(4, 6)]
    world.change(rule="FREQ=DAILY;COUNT=4")
    assert windows(world.at(7)) == [(4, 6), (28, 30), (52, 54), (76, 78)]


def test_a_rule_that_cannot_be_followed_is_refused_and_what_was_accepted_stays() -> None:
    world = World(rule="FREQ=DAILY;COUNT=400")

    found = world.at(0)

    assert (found.state, found.refusal.reason) == (State.REFUSED, Reason.INVALID_RECURRENCE)
    assert "at most 366 occurrences" in found.message
    world.change()
    assert world.at(0).state is State.SCHEDULED
    world.change(rule="FREQ=DAILY;COUNT=400")
    found = world.at(1)
    assert (found.state, found.refusal.reason) == (State.SCHEDULED, Reason.INVALID_RECURRENCE)
    assert windows(found) == [(4, 6), (28, 30), (52, 54)]


def test_a_loss_in_any_window_is_told() -> None:
    world = World()
    world.at(0)
    world.total = 4

    assert world.at(1).degraded


def test_windows_that_were_over_before_anybody_looked_are_left_out() -> None:
    world = World(acceptance="BestEffort")
    found = world.at(29)

    assert windows(found) == [(28, 30), (52, 54)]
    assert world.status["occurrences"][0]["reason"] == "Missed"


def test_a_pool_that_is_gone_takes_no_ledger_with_it() -> None:
    world = World()
    world.at(0)

    plan = plan_without_pool(world.reservation, NOW)

    assert all("occurrences" not in one.patch["status"] for one in plan.operations if isinstance(one, Update))


@pytest.mark.parametrize("count", [MAX_ASKING - 1, MAX_ASKING + 100])
def test_one_that_has_many_windows_asks_for_all_of_them_at_once(count) -> None:
    world = World(rule=f"FREQ=DAILY;COUNT={count}", rules={"horizon": "90000h"})

    assert len(windows(world.at(0))) == count


def test_a_window_goes_on_until_the_next_one_takes_over() -> None:
    """Else both would be open, and one that recurs would hold its GPUs many times in the end."""
    world = World(keep=True, total=100, rules={"gracePeriod": "30m"})
    for minutes in range(0, 24 * 60 + 30, 10):
        found = world.at(4 + minutes / 60)

    (_, until), (start, _), _ = windows(found)
    assert (until, start) == (28, 28)
    assert found.ledger.window == window(28, 30)


def test_what_has_gone_on_stays_as_it_is_when_its_rule_changes() -> None:
    world = World(keep=True, rule="FREQ=DAILY;COUNT=2", total=100, rules={"gracePeriod": "30m"})
    world.at(0)
    world.at(5.5)
    world.change(keep=True, rule="FREQ=DAILY;UNTIL=20261201T000000Z")

    found, _ = world.at(5.6).occurrences

    assert (found.ledger.accepted, found.ledger.kept) == (hour(0), 1800)


def test_what_a_tenant_asks_for_again_and_again_has_an_end_and_takes_nothing_from_others() -> None:
    """A hundred daily reservations for a year would cost everybody seconds with each decision."""
    world = World(rule="FREQ=DAILY;COUNT=300", acceptance="BestEffort")
    rules_ = world.pool.reservations.model_copy(update={"horizon": timedelta(days=400)})
    many = [replace(world.reservation, uid=f"u{n}", name=f"r{n:03}") for n in range(100)]
    other = replace(world.reservation, uid="o", namespace="agile", creation_timestamp=hour(0))

    found = spread([other, *reversed(many)], lambda namespace: namespace, rules_, NOW)

    assert sum(len(one.bookings) for one in found.values()) == 4 * 300 + 300
    assert [uid for uid, one in found.items() if one.bookings] == ["u0", "u1", "u2", "u3", "o"]
    told = found["u4"].verdict({})
    assert (told.state, told.refusal.reason, told.occurrences) == (State.REFUSED, Reason.TOO_MANY_REQUESTS, ())
    assert "delete some of those" in told.refusal.message
    assert not told.refusal.holds(found["u4"].whole)


def test_what_a_tenant_is_promised_again_and_again_has_an_end_too(monkeypatch) -> None:
    monkeypatch.setattr("gpu_tenancy.reconcile.reservations.MAX_WINDOWS", 6)
    world = World(rule="FREQ=DAILY;COUNT=3")
    world.at(0)
    status = world.reservation.status
    assert len(status.occurrences) == 3
    mine = [replace(world.reservation, uid=f"u{n}", name=f"r{n}") for n in range(3)]
    more = [replace(world.reservation, uid=f"n{n}", name=f"s{n}", status=type(status)()) for n in range(2)]
    other = replace(more[0], uid="o", namespace="agile")

    found = spread([*mine[:2], other, *more], lambda namespace: namespace, world.pool.reservations, NOW)

    assert [uid for uid, one in found.items() if one.bookings] == ["o", "u0", "u1"]
    refused = found["n0"].verdict({})
    assert (refused.state, refused.refusal.reason) == (State.REFUSED, Reason.TOO_MANY_REQUESTS)
    kept = spread(mine, lambda namespace: namespace, world.pool.reservations, NOW)
    assert all(len(one.bookings) == 3 for one in kept.values()), "what was promised stays"


def test_what_recurs_and_holds_something_is_looked_at_however_many_there_are() -> None:
    world = World()
    world.at(0)

    crowded = series(world.reservation, "neura", world.pool.reservations, NOW, crowded=True)

    assert crowded == series(world.reservation, "neura", world.pool.reservations, NOW)
    assert crowded.open_windows == 0
