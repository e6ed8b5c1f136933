"""Pools that are booked in whole nodes, or in whole nodes of one NVLink domain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpu_tenancy.domain.promises import Booking, Decision, PoolFacts, Reason, State, decide
from promise_facts import NOW, accepted, booking, changed, grant, hour, pool, racks, rules, settled, spec, window

NODES = pool(gpusPerNode=4, placementUnit="Node")
CLIQUES = pool(gpusPerNode=4, placementUnit="Clique")


def facts(*bookings: Booking, of: Any = CLIQUES, capacity: Any = None) -> PoolFacts:
    return PoolFacts(
        spec=of,
        capacity=racks(16, 12) if capacity is None else capacity,
        grants=(grant("neura"), grant("other")),
        bookings=bookings,
    )


def decided(*bookings: Booking, at: float = 0, **fields: Any) -> Decision:
    return decide(facts(*bookings, **fields), hour(at))


def homed(name: str, gpus: int, start: float, end: float, domain: str, *, at: float = -1) -> Booking:
    one = accepted(booking(name, spec(gpus, start, end)), start, end, at=at)
    return replace(one, ledger=one.ledger._replace(domain=domain))


class TestWholeNodes:
    @pytest.mark.parametrize("of", [NODES, CLIQUES])
    @pytest.mark.parametrize(("gpus", "fitting"), [(6, "ask for 4 or 8"), (1, "ask for 4")])
    def test_an_amount_that_is_no_whole_number_of_nodes_is_refused(self, of, gpus, fitting) -> None:
        found = decided(booking("r", spec(gpus, 1, 2)), of=of).verdicts["r"]

        assert found.reason == Reason.NOT_WHOLE_NODES
        assert found.message == f"this pool is booked in whole nodes of 4 GPUs: instead of {gpus} {fitting}"

    @pytest.mark.parametrize("of", [NODES, CLIQUES])
    def test_whole_nodes_are_accepted(self, of) -> None:
        assert decided(booking("r", spec(8, 1, 2)), of=of).verdicts["r"].state is State.SCHEDULED

    def test_nodes_of_several_domains_may_be_booked_together(self) -> None:
        found = decided(booking("r", spec(20, 1, 2)), of=NODES).verdicts["r"]

        assert (found.state, found.ledger.domain) == (State.SCHEDULED, "")


class TestDomains:
    def test_a_booking_goes_where_the_least_is_left_beside_it(self) -> None:
        found = decided(*(booking(name, spec(gpus, 1, 2)) for name, gpus in [("a", 8), ("b", 16), ("c", 4)])).verdicts

        assert {uid: one.ledger.domain for uid, one in found.items()} == {"a": "rack-1", "b": "rack-0", "c": "rack-1"}

    def test_what_fits_in_total_and_in_no_domain_is_refused_with_offers(self) -> None:
        others = homed("a", 8, 1, 3, "rack-0"), homed("b", 8, 2, 6, "rack-1")

        found = decided(*others, booking("r", spec(12, 1, 4))).verdicts["r"]

        assert found.reason == Reason.NO_DOMAIN_FITS
        assert "do not fit into one NVLink domain: at most 8 are free in one; earliest fit 2026-12-01T15:00:00Z" in (
            found.message
        )
        assert found.refusal.offers == (window(3, 6), window(6, 9), window(9, 12))

    def test_more_than_any_domain_has_is_refused(self) -> None:
        found = decided(booking("r", spec(20, 1, 2))).verdicts["r"]

        assert found.reason == Reason.TOO_MANY_GPUS
        assert "more than the largest NVLink domain has now, 16" in found.message

    def test_a_flexible_window_waits_for_a_domain(self) -> None:
        others = homed("a", 8, 1, 3, "rack-0"), homed("b", 8, 2, 6, "rack-1")

        assert decided(*others, booking("r", spec(16, between=(1, 9, 2)))).verdicts["r"].ledger.window == window(3, 5)
        late = booking("r", spec(16, between=(1, 9, 2), late=True))
        assert decided(*others, late).verdicts["r"].ledger.window == window(7, 9)

    def test_a_domain_is_cleaned_up_before_it_is_booked_again(self) -> None:
        of = pool(gpusPerNode=4, placementUnit="Clique", reservations=rules(cleaningGap="1h"))
        one = homed("a", 16, 1, 3, "rack-0")

        assert decided(one, booking("r", spec(16, 3.5, 4)), of=of).verdicts["r"].reason == Reason.DOES_NOT_FIT
        assert decided(one, booking("r", spec(16, 4, 5)), of=of).verdicts["r"].ledger.domain == "rack-0"

    def test_a_change_keeps_the_domain_if_it_can(self) -> None:
        one, other = homed("a", 8, 2, 4, "rack-0"), homed("b", 8, 2, 4, "rack-0")
        longer = changed(one, spec(8, 2, 6))

        assert decided(longer, other).verdicts["a"].ledger.domain == "rack-0"
        assert decided(changed(one, spec(12, 2, 6)), other).verdicts["a"].ledger.domain == "rack-1"

    def test_a_window_that_has_begun_stays_in_its_domain(self) -> None:
        one, other = homed("a", 8, -1, 4, "rack-0"), homed("b", 8, -1, 4, "rack-0")

        found = decided(changed(one, spec(12, -1, 4)), other).verdicts["a"]

        assert found.ledger == one.ledger
        assert "at most 8 are free in one" in found.refusal.message

    def test_who_waits_for_a_domain_claims_one(self) -> None:
        """Later ones do not take what the first in the line waits for."""
        others = homed("a", 4, 1, 3, "rack-0"), homed("b", 12, 1, 9, "rack-1")
        waits = booking("w", spec(16, 1, 2, wait=True), created=-3)

        found = decided(*others, waits, booking("r", spec(4, 1, 2), created=-2)).verdicts

        assert (found["w"].state, found["r"].state) == (State.WAITING, State.REFUSED)
        assert decided(*others, booking("r", spec(4, 1, 2))).verdicts["r"].state is State.SCHEDULED


class TestLosses:
    A, B = homed("a", 8, 2, 4, "rack-0", at=-3), homed("b", 8, 2, 4, "rack-0", at=-2)

    def test_who_was_accepted_last_moves_to_another_domain(self) -> None:
        found = decided(self.A, self.B, capacity=racks(12, 12)).verdicts

        assert {uid: one.ledger.domain for uid, one in found.items()} == {"a": "rack-0", "b": "rack-1"}
        assert not any(one.degraded for one in found.values())

    def test_without_another_domain_it_stays_is_degraded_and_heals(self) -> None:
        degraded = decided(self.A, self.B, capacity=racks(12, 4)).verdicts
        healed = decided(self.A, self.B, capacity=racks(16, 4)).verdicts

        assert not degraded["a"].degraded
        assert degraded["b"].degraded == "NVLink domain rack-0 has lost nodes, and 8 GPUs are free in no other"
        assert degraded["b"].ledger == self.B.ledger
        assert not healed["b"].degraded

    def test_one_that_has_begun_stays(self) -> None:
        found = decided(self.A, self.B, at=3, capacity=racks(12, 12)).verdicts

        assert found["b"].ledger.domain == "rack-0"
        assert found["b"].degraded

    def test_a_domain_that_is_gone_is_left(self) -> None:
        assert decided(self.A, capacity=racks(0, 12)).verdicts["a"].ledger.domain == "rack-1"

    def test_moving_is_decided_once(self) -> None:
        before = facts(self.A, self.B, capacity=racks(12, 12))
        first = decide(before, NOW)

        assert decide(settled(before, first), NOW).verdicts == first.verdicts
