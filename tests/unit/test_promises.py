"""Who gets how many GPUs of a pool, when; each test says one rule in one sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gpu_tenancy.api.tenant import GpuHours
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises import (
    Booking,
    Decision,
    Figures,
    Ledger,
    PoolFacts,
    Promise,
    QuotaKey,
    Reason,
    Refusal,
    State,
    Verdict,
    decide,
)
from gpu_tenancy.domain.promises.register import MAX_ASKING
from promise_facts import (
    NOW,
    accepted,
    booking,
    capacity,
    changed,
    grant,
    hour,
    pool,
    promised,
    quota,
    rules,
    settled,
    spec,
    window,
)

NEURA = grant("neura")
AGILE = grant("agile")


def facts(*bookings: Booking, total: int = 64, grants: tuple = (NEURA, AGILE), **fields) -> PoolFacts:
    fields = {"spec": pool(), "capacity": capacity(total)} | fields
    return PoolFacts(grants=grants, bookings=bookings, **fields)


def verdict(one: Booking, *others: Booking, at: float = 0, **fields) -> Verdict:
    return decide(facts(one, *others, **fields), hour(at)).verdicts[one.uid]


def guaranteed(decision: Decision, namespace: str) -> int:
    return decision.allotments[QuotaKey(namespace, Tier.GUARANTEED)]


def reserved(decision: Decision, namespace: str) -> int:
    return decision.allotments[QuotaKey(namespace, Tier.RESERVED)]


class TestGuarantees:
    def test_a_guarantee_becomes_a_quota_split_over_the_namespaces_in_order(self) -> None:
        decision = decide(facts(grants=(grant("neura", 40, shares={"train": 30, "serve": 10}),)), NOW)

        assert decision.promises == {"neura": Promise(asked=40, granted=40, backed=40)}
        assert (guaranteed(decision, "train"), guaranteed(decision, "serve")) == (30, 10)
        assert decision.figures == Figures(guaranteed=40, reserved=0, free=24, next_free=None)

    def test_who_was_there_first_comes_first_when_the_pool_is_too_small(self) -> None:
        grants = (grant("young", 40, age=1), grant("old", 40, age=9), grant("also-old", 10, age=9))

        decision = decide(facts(grants=grants), NOW)

        assert {name: promise.granted for name, promise in decision.promises.items()} == {
            "also-old": 10,
            "old": 40,
            "young": 14,
        }
        assert guaranteed(decision, "young") == 14

    def test_what_is_granted_fills_the_namespaces_from_the_first(self) -> None:
        grants = (grant("neura", 100, shares={"train": 50, "serve": 50}),)

        decision = decide(facts(grants=grants), NOW)

        assert (guaranteed(decision, "train"), guaranteed(decision, "serve")) == (50, 14)

    def test_headroom_is_promised_to_nobody(self) -> None:
        decision = decide(facts(grants=(grant("neura", 64),), spec=pool(headroom=16)), NOW)

        assert decision.promises["neura"].granted == 48
        assert decision.figures.free == 0
        assert decision.figures.next_free is None

    def test_a_guarantee_that_stands_goes_before_one_of_an_older_tenant_that_does_not(self) -> None:
        grants = (grant("old", 40, age=9), grant("young", 40, age=1))
        standing = (quota("young", Tier.GUARANTEED, 40),)

        decision = decide(facts(grants=grants, standing=standing), NOW)

        assert decision.promises == {"old": Promise(40, 24, 24), "young": Promise(40, 40, 40)}

    def test_what_was_granted_before_stands_even_while_no_quota_does(self) -> None:
        """A guarantee that moves to another namespace is lowered here before it is raised there."""
        grants = (grant("old", 40, age=9), grant("young", 40, age=1, granted=40))

        decision = decide(facts(grants=grants), NOW)

        assert decision.promises["young"].granted == 40
        assert decision.promises["old"].granted == 24

    def test_a_loss_of_capacity_hits_the_youngest_tenant_and_heals_before_anything_new(self) -> None:
        grants = (grant("old", 40, age=9, granted=40), grant("young", 20, age=1, granted=20))
        new = booking("new", spec(10, 1, 2))
        lost = facts(new, grants=(*grants, NEURA), capacity=capacity(64, 50))

        decision = decide(lost, NOW)

        assert decision.promises["young"] == Promise(asked=20, granted=20, backed=10)
        assert decision.promises["old"] == Promise(40, 40, 40)
        assert guaranteed(decision, "young") == 10
        assert decision.verdicts["new"].reason == Reason.DOES_NOT_FIT

        healed = decide(replace(settled(lost, decision), capacity=capacity(64)), NOW)

        assert healed.promises["young"] == Promise(20, 20, 20)
        assert guaranteed(healed, "young") == 20

    def test_maintenance_does_not_hand_a_guarantee_to_a_reservation_after_it(self) -> None:
        grants = (grant("old", 64, granted=64), NEURA)
        new = booking("new", spec(10, 5, 6))

        decision = decide(facts(new, grants=grants, spec=pool(maintenance=[(-1, 1, 32)])), NOW)

        assert decision.promises["old"] == Promise(asked=64, granted=64, backed=32)
        assert decision.verdicts["new"].state is State.REFUSED

    def test_a_guarantee_grows_only_by_what_no_accepted_reservation_will_need(self) -> None:
        later = promised("later", 50, 100, 101)

        decision = decide(facts(later, grants=(NEURA, grant("agile", 30))), NOW)

        assert decision.promises["agile"] == Promise(asked=30, granted=14, backed=14)
        assert decision.verdicts["later"].degraded == ""

    def test_a_guarantee_grows_before_a_new_reservation_is_accepted(self) -> None:
        new = booking("new", spec(50, 1, 2))

        decision = decide(facts(new, grants=(NEURA, grant("agile", 30))), NOW)

        assert decision.promises["agile"].granted == 30
        assert decision.verdicts["new"].state is State.REFUSED

    def test_maintenance_in_which_nobody_holds_a_reservation_does_not_keep_a_guarantee_small(self) -> None:
        decision = decide(facts(grants=(grant("agile", 64),), spec=pool(maintenance=[(5, 6, 60)])), NOW)

        assert decision.promises["agile"].granted == 64

    def test_a_lowered_guarantee_is_lowered_at_once(self) -> None:
        decision = decide(
            facts(grants=(grant("agile", 8, granted=32),), standing=(quota("agile", Tier.GUARANTEED, 32, 32),)), NOW
        )

        assert guaranteed(decision, "agile") == 8
        assert decision.promises["agile"] == Promise(8, 8, 8)

    def test_quotas_of_namespaces_that_belong_to_nobody_are_closed(self) -> None:
        standing = (quota("gone", Tier.GUARANTEED, 8, 8), quota("gone", Tier.RESERVED, 8))

        decision = decide(facts(standing=standing), NOW)

        assert decision.allotments == {
            QuotaKey("gone", Tier.GUARANTEED): 0,
            QuotaKey("gone", Tier.RESERVED): 0,
        }

    def test_a_tenant_whose_spec_is_refused_keeps_the_guarantee_that_stands(self) -> None:
        standing = (quota("frozen", Tier.GUARANTEED, 40, 10),)

        decision = decide(
            facts(grants=(grant("agile", 40, age=99),), standing=standing, frozen=frozenset({"frozen"})), NOW
        )

        assert guaranteed(decision, "frozen") == 40
        assert decision.promises["agile"].granted == 24

    def test_nobody_else_gets_a_share_in_a_frozen_namespace(self) -> None:
        grants = (grant("agile", 20, shares={"frozen": 10, "agile": 10}),)
        standing = (quota("frozen", Tier.GUARANTEED, 4),)

        decision = decide(facts(grants=grants, standing=standing, frozen=frozenset({"frozen"})), NOW)

        assert (guaranteed(decision, "frozen"), guaranteed(decision, "agile")) == (4, 10)

    def test_a_tenant_whose_spec_is_refused_keeps_its_reservations_and_gets_no_more(self) -> None:
        kept = promised("kept", 16, -1, 5)
        grown = changed(promised("grown", 16, -1, 5), spec(32, -1, 5))
        new = booking("new", spec(8, 1, 2))

        decision = decide(facts(kept, grown, new, grants=(), frozen=frozenset({"neura"})), NOW)

        assert reserved(decision, "neura") == 32
        assert decision.verdicts["kept"].state is State.ACTIVE
        assert decision.verdicts["grown"].ledger.gpus == 16
        assert "the tenant's spec is refused" in decision.verdicts["grown"].refusal.message
        cured = replace(grown, refusal=decision.verdicts["grown"].refusal)
        assert verdict(cured).ledger.gpus == 32, "it is asked about again when the provider has cured the reason"
        assert decision.verdicts["new"].reason == Reason.TENANT_STALLED


class TestNewReservations:
    def test_what_fits_is_accepted_and_keeps_what_it_asked_for(self) -> None:
        found = verdict(booking("r", spec(64, 8, 18)))

        assert found == Verdict(
            State.SCHEDULED,
            reason="Scheduled",
            message="64 x NVIDIA-B200 in eu-de from 2026-12-01T20:00:00Z to 2026-12-02T06:00:00Z",
            ledger=Ledger(window(8, 18), 64, NOW),
        )

    def test_what_does_not_fit_is_refused_with_what_why_and_what_next(self) -> None:
        found = verdict(booking("r", spec(16, 8, 18)), promised("other", 52, 17, 30, "agile"))

        assert found.state is State.REFUSED
        assert found.reason == Reason.DOES_NOT_FIT
        assert found.message == (
            "16 x NVIDIA-B200 in eu-de from 2026-12-01T20:00:00Z to 2026-12-02T06:00:00Z do not fit: 12 are free; "
            "earliest fit 2026-12-02T18:00:00Z"
        )
        assert found.refusal == Refusal(
            1, Reason.DOES_NOT_FIT, found.message, (window(30, 40), window(40, 50), window(50, 60))
        )
        assert found.ledger is None

    def test_an_offer_is_accepted_when_it_is_asked_for(self) -> None:
        others = [promised(f"o{number}", 60, number * 10, number * 10 + 7, "agile") for number in range(3)]
        refused = verdict(booking("r", spec(16, 1, 4)), *others)

        assert [offer.start for offer in refused.refusal.offers] == [hour(7), hour(17), hour(27)]
        for number, offer in enumerate(refused.refusal.offers):
            start, end = ((instant - NOW) / timedelta(hours=1) for instant in offer)

            assert verdict(booking(f"again{number}", spec(16, start, end)), *others).state is State.SCHEDULED

    def test_when_nothing_fits_within_the_horizon_that_is_said(self) -> None:
        found = verdict(
            booking("r", spec(16, 8, 9)),
            promised("other", 60, 0, 1000, "agile"),
            spec=pool(reservations=rules(horizon="100h")),
        )

        assert found.message.endswith("nothing fits until 2026-12-05T16:00:00Z")
        assert found.refusal.offers == ()

    def test_a_refusal_stands_until_the_spec_changes(self) -> None:
        asked = booking("r", spec(16, 8, 18))
        full = facts(asked, promised("other", 60, 0, 20, "agile"))
        refused = decide(full, NOW)

        empty = replace(settled(full, refused), bookings=settled(full, refused).bookings[:1])

        assert decide(empty, hour(1)).verdicts["r"] == refused.verdicts["r"]
        (again,) = empty.bookings
        assert decide(replace(empty, bookings=(changed(again, again.spec),)), hour(1)).verdicts["r"].ledger

    def test_the_first_created_is_accepted_whatever_the_order_of_the_input(self) -> None:
        first = booking("zeta", spec(40, 1, 2), created=-3)
        second = booking("alpha", spec(40, 1, 2), "agile", created=-2)

        for order in ((first, second), (second, first)):
            decision = decide(facts(*order), NOW)

            assert decision.verdicts["zeta"].state is State.SCHEDULED
            assert decision.verdicts["alpha"].state is State.REFUSED

    def test_one_window_may_begin_where_another_ends_when_no_cleaning_is_needed(self) -> None:
        assert verdict(booking("r", spec(64, 5, 6)), promised("other", 64, 4, 5)).state is State.SCHEDULED

    def test_a_cleaning_gap_keeps_the_next_window_off(self) -> None:
        spec_ = pool(reservations=rules(cleaningGap="10m"))

        assert verdict(booking("r", spec(64, 5, 6)), promised("o", 64, 4, 5), spec=spec_).state is State.REFUSED
        assert verdict(booking("r", spec(64, 5, 6)), promised("o", 64, 6, 7), spec=spec_).state is State.REFUSED
        assert verdict(booking("r", spec(64, 5.25, 6)), promised("o", 64, 4, 5), spec=spec_).state is State.SCHEDULED

    def test_what_is_guaranteed_or_under_maintenance_is_not_free(self) -> None:
        spec_ = pool(headroom=4, maintenance=[(5, 6, 20)])
        grants = (NEURA, grant("agile", 30))

        assert "10 are free" in verdict(booking("r", spec(16, 4, 6)), grants=grants, spec=spec_).message
        assert verdict(booking("r", spec(16, 6, 7)), grants=grants, spec=spec_).state is State.SCHEDULED
        assert verdict(booking("r", spec(10, 4, 7)), grants=grants, spec=spec_).state is State.SCHEDULED

    def test_reservations_hold_at_most_their_share_of_the_pool(self) -> None:
        spec_ = pool(reservations=rules(maximumShare=50))
        found = verdict(booking("r", spec(13, 5, 6)), promised("o", 20, 4, 5.5, "agile"), spec=spec_)

        assert found.reason == Reason.DOES_NOT_FIT
        assert "12 are left for reservations; earliest fit 2026-12-01T17:30:00Z" in found.message
        assert verdict(booking("r", spec(12, 5, 6)), promised("o", 20, 4, 6), spec=spec_).state is State.SCHEDULED

    def test_the_ceiling_counts_all_reservations_of_the_tenant_at_one_instant(self) -> None:
        grants = (grant("neura", reservable=20), AGILE)
        others = (
            promised("mine", 12, 4, 5),
            promised("mine-too", 12, 5, 6, namespace="neura-2"),
            promised("theirs", 12, 4, 6, "agile"),
        )

        assert verdict(booking("r", spec(8, 4, 6)), *others, grants=grants).state is State.SCHEDULED
        found = verdict(booking("r", spec(9, 4, 6)), *others, grants=grants)
        assert found.reason == Reason.CEILING_EXCEEDED
        assert "exceed the tenant's ceiling: 8 of 20 GPUs are left; earliest fit 2026-12-01T18:00:00Z" in found.message
        assert found.refusal.offers[0] == window(6, 8)

    def test_the_budget_of_gpu_hours_counts_past_and_coming_windows(self) -> None:
        grants = (grant("neura", hours=GpuHours(limit=100, period="Day")), AGILE)
        others = (promised("past", 20, -9, -7), promised("theirs", 50, 3, 6, "agile"))

        assert verdict(booking("r", spec(10, 2, 8)), *others, grants=grants).state is State.SCHEDULED
        found = verdict(booking("r", spec(11, 2, 8)), *others, grants=grants)
        assert found.reason == Reason.BUDGET_EXCEEDED
        assert (
            "exceed the tenant's budget: 60 of 100 GPU-hours are left in the day that begins at 2026-12-01T00:00:00Z"
            in found.message
        )
        assert found.refusal.offers[0].start > hour(2)

    @pytest.mark.parametrize(
        ("asked", "fields", "reason", "said"),
        [
            (spec(8, 1, 2), {"tenant": ""}, Reason.NOT_A_TENANT, "is no tenant's"),
            (spec(8, 1, 2), {"tenant": "stranger"}, Reason.NOT_GRANTED, "may not reserve in pool b200"),
            (spec(8, 1, 2), {"tenant": "guest"}, Reason.NOT_GRANTED, "may not reserve in pool b200"),
            (spec(9, 1, 2), {"tenant": "small"}, Reason.TOO_MANY_GPUS, "more than the tenant's ceiling, 8"),
            (spec(61, 1, 2), {}, Reason.TOO_MANY_GPUS, "more than the pool can reserve, 60"),
        ],
    )
    def test_what_the_provider_can_cure_is_refused_and_asked_again(self, asked, fields, reason, said) -> None:
        one = booking("r", asked, **fields)
        grants = (NEURA, grant("guest", 8, 0), grant("small", 8, 8))
        bad = facts(one, grants=grants, spec=pool(headroom=4))

        refused = decide(bad, NOW)

        assert refused.verdicts["r"].state is State.REFUSED
        assert refused.verdicts["r"].reason == reason
        assert said in refused.verdicts["r"].message
        cured = replace(
            settled(bad, refused),
            grants=(grant(one.tenant or "neura"),),
            bookings=(
                replace(
                    one,
                    tenant=one.tenant or "neura",
                    refusal=refused.verdicts["r"].refusal,
                ),
            ),
            spec=pool(),
        )
        assert decide(cured, NOW).verdicts["r"].state is State.SCHEDULED


class TestWindowRules:
    RULES = rules(
        minimumDuration="30m", maximumDuration="24h", horizon="240h", leadTime="1h", step="5m", cleaningGap="0s"
    )

    @pytest.mark.parametrize(
        ("asked", "reason", "said"),
        [
            (spec(8, 1, 1.25), Reason.TOO_SHORT, "of 15m is shorter than the pool's minimum of 30m"),
            (spec(8, between=(1, 9, 0.25)), Reason.TOO_SHORT, "of 15m is shorter"),
            (spec(8, 1, 26), Reason.TOO_LONG, "of 25h is longer than the pool's maximum of 24h"),
            (
                spec(8, 1.01, 2),
                Reason.NOT_ALIGNED,
                "instead of 2026-12-01T13:00:36Z write 2026-12-01T13:00:00Z or 2026-12-01T13:05:00Z",
            ),
            (spec(8, 1, 2.01), Reason.NOT_ALIGNED, "multiples of 5m"),
            (spec(8, between=(1, 9, 1.01)), Reason.NOT_ALIGNED, "multiples of 5m"),
            (spec(8, between=(1.01, 2.05, 1)), Reason.NOT_ALIGNED, "a wider range"),
            (spec(8, -2, 5), Reason.IN_THE_PAST, "before the reservation was created"),
            (spec(8, -0.5, 5), Reason.TOO_SOON, "begin at 2026-12-01T12:00:00Z or later"),
            (spec(8, between=(-1, 0.75, 1)), Reason.TOO_SOON, "let the range reach 2026-12-01T13:00:00Z or later"),
            (spec(8, 239, 241), Reason.BEYOND_HORIZON, "at most 240h ahead: ask from 2026-12-01T13:00:00Z on"),
            (spec(8, between=(239.5, 300, 1)), Reason.BEYOND_HORIZON, "would end at 2026-12-11T12:30:00Z"),
        ],
    )
    def test_a_window_against_the_rules_is_refused_with_what_to_write(self, asked, reason, said) -> None:
        found = verdict(booking("r", asked, created=-1), spec=pool(reservations=self.RULES))

        assert (found.state, found.reason) == (State.REFUSED, reason)
        assert said in found.message

    @pytest.mark.parametrize(
        "asked", [spec(8, 0, 0.5), spec(8, 0, 24), spec(8, 239, 240), spec(8, between=(-9, 240, 24))]
    )
    def test_a_window_on_the_edge_of_the_rules_is_accepted(self, asked) -> None:
        assert verdict(booking("r", asked, created=-1), spec=pool(reservations=self.RULES)).ledger is not None

    def test_a_start_a_minute_before_the_creation_is_taken_as_meant(self) -> None:
        minute = 1 / 60

        assert verdict(booking("r", spec(8, -minute, 1), created=0)).state is State.ACTIVE
        assert verdict(booking("r", spec(8, -2 * minute, 1), created=0)).reason == Reason.IN_THE_PAST

    def test_a_window_that_began_while_the_operator_was_away_is_accepted_for_the_rest(self) -> None:
        late = booking("r", spec(40, -5, 5), created=-6)
        over = promised("over", 64, -5, -1, "agile")

        found = verdict(late, over, spec=pool(reservations=rules(leadTime="1h")))

        assert (found.state, found.ledger.window) == (State.ACTIVE, window(-5, 5))

    def test_what_is_past_of_a_late_window_stands_in_nobodys_way(self) -> None:
        late = booking("r", spec(40, -5, 5), created=-6)
        grants = (grant("neura", reservable=40),)

        assert verdict(late, promised("over", 40, -5, -1), grants=grants).state is State.ACTIVE
        assert verdict(late, promised("on", 1, -5, 1), grants=grants).reason == Reason.CEILING_EXCEEDED

    def test_a_window_that_is_over_before_it_could_be_accepted_was_missed(self) -> None:
        found = verdict(booking("r", spec(8, -3, 0), created=-6))

        assert (found.state, found.reason) == (State.REFUSED, Reason.MISSED)

    def test_a_changed_spec_has_to_keep_the_lead_time_from_now(self) -> None:
        one = booking("r", spec(8, 0.5, 2), created=-50)
        spec_ = pool(reservations=rules(leadTime="1h"))

        assert verdict(one, spec=spec_).state is State.SCHEDULED
        assert verdict(changed(one, one.spec), spec=spec_).reason == Reason.TOO_SOON
        flexible = changed(one, spec(8, between=(0, 1.5, 1)))
        assert verdict(flexible, spec=spec_).reason == Reason.TOO_SOON
        assert verdict(changed(one, spec(8, between=(0, 9, 1))), spec=spec_).ledger.window == window(1, 2)


class TestFlexibleWindows:
    def test_the_earliest_fit_is_taken(self) -> None:
        found = verdict(booking("r", spec(16, between=(1, 20, 3))), promised("o", 60, 0, 5), promised("p", 60, 7, 9))

        assert found.ledger.window == window(9, 12)

    def test_it_begins_on_a_step_and_not_in_the_past(self) -> None:
        asked = booking("r", spec(16, between=(-5, 20, 3)), created=-9)

        found = verdict(asked, at=0.01, spec=pool(reservations=rules(step="30m")))

        assert found.ledger.window == window(0.5, 3.5)

    def test_a_flexible_window_may_prefer_the_latest_fit(self) -> None:
        others = (promised("o", 60, 0, 5), promised("p", 60, 14, 30))
        late = booking("r", spec(16, between=(1, 20, 3), late=True))

        assert verdict(late, *others).ledger.window == window(11, 14)
        grants = (grant("neura", hours=GpuHours(limit=16 * 3, period="Day")),)
        spent = promised("s", 16, 10.5, 12)
        assert verdict(late, spent, grants=grants).ledger.window == window(12 + 5, 12 + 8), "the next day's hours"
        assert verdict(booking("r", spec(16, between=(1, 11.5, 3), late=True)), spent, grants=grants).reason == (
            Reason.BUDGET_EXCEEDED
        )

    def test_the_latest_fit_is_the_latest_within_the_horizon(self) -> None:
        spec_ = pool(reservations=rules(horizon="10h", step="2h"))
        late = spec(16, between=(1, 20, 3), late=True)

        assert verdict(booking("r", late), spec=pool(reservations=rules(horizon="10h"))).ledger.window == window(7, 10)
        assert verdict(booking("r", spec(16, between=(1, 20, 2), late=True)), spec=spec_).ledger.window == window(8, 10)
        taken = promised("o", 60, 0, 9)
        found = verdict(booking("r", spec(16, between=(1, 20, 2), late=True)), taken, spec=spec_)
        assert found.reason == Reason.BEYOND_HORIZON
        assert "would end at 2026-12-02T00:00:00Z" in found.message

    def test_it_keeps_its_window_once_accepted_even_if_an_earlier_one_becomes_free(self) -> None:
        one = accepted(booking("r", spec(16, between=(1, 20, 3))), 9, 12)

        assert verdict(one).ledger.window == window(9, 12)

    def test_without_a_fit_in_its_range_it_is_refused_with_later_ones(self) -> None:
        found = verdict(booking("r", spec(16, between=(1, 9, 3))), promised("o", 60, 0, 8))

        assert found.reason == Reason.DOES_NOT_FIT
        assert found.message == (
            "16 x NVIDIA-B200 in eu-de for 3h between 2026-12-01T13:00:00Z and 2026-12-01T21:00:00Z do not fit; "
            "earliest fit 2026-12-01T20:00:00Z"
        )

    def test_all_limits_agree_on_the_window(self) -> None:
        grants = (grant("neura", reservable=20, hours=GpuHours(limit=100, period="Day")), AGILE)
        others = (
            promised("pool", 60, 0, 2, "agile"),
            promised("ceiling", 10, 2, 5),
            promised("budget", 10, -6, -4),
        )

        found = verdict(booking("r", spec(15, between=(0, 40, 4))), *others, grants=grants)

        assert found.ledger.window.start >= hour(5)
        assert found.state is State.SCHEDULED

    @pytest.mark.parametrize(
        ("asked", "reason"),
        [(spec(12, between=(2, 5, 3)), Reason.CEILING_EXCEEDED), (spec(9, between=(6, 11, 4)), Reason.BUDGET_EXCEEDED)],
    )
    def test_a_refusal_names_the_limit_that_alone_forbids_it(self, asked, reason) -> None:
        grants = (grant("neura", reservable=20, hours=GpuHours(limit=60, period="Day")), AGILE)

        found = verdict(booking("r", asked), promised("mine", 10, 2, 5), grants=grants)

        assert found.reason == reason


class TestWaiting:
    def test_it_waits_until_what_it_asks_for_is_free(self) -> None:
        one = booking("r", spec(16, 4, 6, wait=True))
        full = facts(one, promised("o", 60, 0, 5, "agile"))

        waiting = decide(full, NOW)

        assert (waiting.verdicts["r"].state, waiting.verdicts["r"].reason) == (State.WAITING, Reason.DOES_NOT_FIT)
        assert waiting.verdicts["r"].message.endswith("do not fit: 4 are free; it waits until it can be had")
        assert waiting.verdicts["r"].ledger is None
        assert waiting.verdicts["r"].refusal is None
        assert decide(replace(settled(full, waiting), bookings=(one,)), NOW).verdicts["r"].state is State.SCHEDULED

    def test_those_who_wait_are_asked_in_order_of_creation(self) -> None:
        second = booking("second", spec(40, 4, 6, wait=True), "agile", created=-1)
        first = booking("first", spec(40, 4, 6, wait=True), created=-2)

        decision = decide(facts(second, first), NOW)

        assert decision.verdicts["first"].state is State.SCHEDULED
        assert decision.verdicts["second"].state is State.WAITING

    def test_a_later_smaller_request_does_not_overtake(self) -> None:
        taken, first = promised("o", 40, 4, 6, "agile"), booking("first", spec(40, 4, 6, wait=True), created=-3)
        beside = booking("beside", spec(64, 6, 7), "agile", created=-2)
        later = [booking(f"r{number}", spec(8, 5, 6, wait=number > 1), "agile", created=-1) for number in (1, 2)]

        world = facts(taken, first, beside, *later)
        decision = decide(world, NOW)

        assert {uid: (found.state, found.position) for uid, found in decision.verdicts.items() if uid != "o"} == {
            "first": (State.WAITING, 1),
            "beside": (State.SCHEDULED, 0),
            "r1": (State.REFUSED, 0),
            "r2": (State.WAITING, 2),
        }
        assert decision.verdicts["r1"].refusal.offers[0].start == hour(7)
        assert decision.figures.free == 64, "what is claimed is not taken"
        gone = replace(settled(world, decision), bookings=settled(world, decision).bookings[1:])
        assert decide(gone, NOW).verdicts["first"].state is State.SCHEDULED
        assert decide(gone, NOW).verdicts["r2"].state is State.SCHEDULED

    def test_one_that_waits_for_its_own_tenant_stands_in_nobodys_way(self) -> None:
        grants = (grant("neura", 0, 16), AGILE)
        mine = booking("mine", spec(16, 4, 6, wait=True), created=-2)
        other = booking("other", spec(64 - 16, 4, 6), "agile", created=-1)

        decision = decide(facts(mine, other, promised("r", 16, 4, 5), grants=grants), NOW)

        assert (decision.verdicts["mine"].state, decision.verdicts["mine"].position) == (State.WAITING, 0)
        assert decision.verdicts["other"].state is State.SCHEDULED

    def test_nobody_keeps_more_from_others_by_waiting_than_by_reserving(self) -> None:
        grants = (grant("neura", 0, 30), AGILE)
        waiting = [booking(f"w{number}", spec(30, 4, 6, wait=True), created=-5 + number) for number in range(3)]
        other = booking("other", spec(4, 4, 6), "agile", created=-1)

        decision = decide(facts(promised("o", 40, 5, 6, "agile"), *waiting, other, total=74, grants=grants), NOW)

        assert [decision.verdicts[one.uid].position for one in waiting] == [0, 0, 0]
        assert decision.verdicts["w0"].state is State.SCHEDULED
        decision = decide(facts(promised("o", 40, 5, 6, "agile"), *waiting, other, total=69, grants=grants), NOW)
        assert [decision.verdicts[one.uid].position for one in waiting] == [1, 0, 0]
        assert decision.verdicts["other"].state is State.REFUSED

    def test_a_changed_request_stands_in_line_from_its_change_on(self) -> None:
        taken = promised("o", 60, 4, 6, "agile")
        early, late = booking("early", spec(8, 4, 6, wait=True), created=-3), booking("late", spec(8, 4, 6, wait=True))
        world = facts(taken, early, late)
        told = settled(world, decide(world, NOW))
        assert [one.since for one in told.bookings] == [None, hour(-3), hour(-1)]

        grown = replace(told, bookings=(taken, changed(told.bookings[1], spec(64, 4, 6, wait=True)), told.bookings[2]))
        decision = decide(grown, NOW)

        assert [decision.verdicts[uid].position for uid in ("late", "early")] == [1, 2]
        assert decision.verdicts["early"].since == NOW
        again = decide(settled(grown, decision), hour(1))
        assert again.verdicts["early"].since == NOW, "and keeps its place from then on"

    def test_a_change_that_waits_claims_only_what_it_asks_for_on_top(self) -> None:
        mine = changed(promised("mine", 16, 4, 8, created=-9), spec(32, 5, 10, wait=True))
        taken = promised("o", 36, 7, 9, "agile")
        others = [booking(f"r{at}", spec(size, at, at + 1), "agile") for at, size in ((4, 48), (5, 32), (9, 32))]
        more = [booking(f"m{at}", spec(1, at, at + 1), "agile", created=0) for at in (4, 5, 9)]

        decision = decide(facts(mine, taken, *others, *more), NOW)

        assert decision.verdicts["mine"].refusal.reason == Reason.CHANGE_WAITS
        assert decision.verdicts["mine"].position == 1
        assert {decision.verdicts[one.uid].state for one in others} == {State.SCHEDULED}
        assert {decision.verdicts[one.uid].state for one in more} == {State.REFUSED}

    def test_one_that_waits_for_the_horizon_is_not_overtaken(self) -> None:
        spec_ = pool(reservations=rules(horizon="10h"))
        first = booking("first", spec(64, 8, 11, wait=True), created=-2)

        decision = decide(facts(first, booking("later", spec(1, 8, 9), "agile"), spec=spec_), NOW)

        assert (decision.verdicts["first"].reason, decision.verdicts["first"].position) == (Reason.BEYOND_HORIZON, 1)
        assert decision.verdicts["later"].state is State.REFUSED

    def test_a_claim_does_not_wake_the_pool_every_second(self) -> None:
        one = booking("r", spec(16, between=(0, 9, 2), wait=True))

        assert decide(facts(one, promised("o", 60, -1, 9, "agile")), NOW).wake == hour(7) + timedelta(seconds=1)

    def test_it_gets_the_rest_of_its_window_and_is_refused_when_that_is_over(self) -> None:
        one, other = booking("r", spec(16, 4, 6, wait=True)), promised("o", 60, 0, 5.5, "agile")

        assert verdict(one, other, at=5.4).state is State.WAITING
        assert verdict(one, other, at=5.5).state is State.ACTIVE
        assert verdict(one, promised("o", 60, 0, 6, "agile"), at=6).reason == Reason.MISSED

    def test_it_waits_for_the_horizon(self) -> None:
        spec_ = pool(reservations=rules(horizon="10h"))
        for asked in (spec(16, 11, 12, wait=True), spec(16, between=(11, 20, 1), wait=True)):
            decision = decide(facts(booking("r", asked), spec=spec_), NOW)

            assert decision.verdicts["r"].reason == Reason.BEYOND_HORIZON
            assert decision.wake == hour(2)
            assert verdict(booking("r", asked), at=2, spec=spec_).state is State.SCHEDULED

    def test_it_does_not_wait_for_what_never_comes(self) -> None:
        found = verdict(booking("r", spec(16, 1, 1.25, wait=True)), spec=pool(reservations=rules(minimumDuration="1h")))

        assert (found.state, found.reason) == (State.REFUSED, Reason.TOO_SHORT)

    def test_a_change_that_frees_a_window_serves_who_waits_at_once(self) -> None:
        mover = changed(promised("mover", 60, 4, 6, "agile", created=-1), spec(60, 7, 9))
        waiter = booking("r", spec(16, 4, 6, wait=True), created=-2)

        decision = decide(facts(waiter, mover), NOW)

        assert decision.verdicts["mover"].ledger.window == window(7, 9)
        assert decision.verdicts["r"].state is State.SCHEDULED

    def test_a_flexible_one_is_refused_when_its_last_start_has_passed(self) -> None:
        one, other = booking("r", spec(16, between=(0, 6, 2), wait=True)), promised("o", 60, 0, 9, "agile")

        assert verdict(one, other, at=4).state is State.WAITING
        assert verdict(one, other, at=4.1).reason == Reason.MISSED

    def test_the_last_start_is_on_a_step_and_is_not_slept_through(self) -> None:
        one = booking("r", spec(16, between=(0, 6.5, 2), wait=True))
        world = facts(one, promised("o", 60, -1, 9, "agile"), spec=pool(reservations=rules(step="1h")))

        assert decide(world, NOW).wake == hour(4) + timedelta(seconds=1)
        assert decide(world, hour(4)).verdicts["r"].state is State.WAITING
        assert decide(world, hour(4) + timedelta(seconds=1)).verdicts["r"].reason == Reason.MISSED


class TestPhases:
    RULES = rules(noticeBeforeEnd="40m", gracePeriod="10m", cleaningGap="5m")
    ONE = promised("r", 16, 0, 10)

    @pytest.mark.parametrize(
        ("at", "state", "notice", "draining", "allowed"),
        [
            (-0.001, State.SCHEDULED, False, False, None),
            (0, State.ACTIVE, False, False, 16),
            (9.33, State.ACTIVE, False, False, 16),
            (9.334, State.ACTIVE, True, False, 16),
            (9.833, State.ACTIVE, True, False, 16),
            (9.834, State.ACTIVE, True, True, None),
            (9.9999, State.ACTIVE, True, True, None),
            (10, State.COMPLETED, False, False, None),
            (99, State.COMPLETED, False, False, None),
        ],
    )
    def test_a_window_passes_through_its_phases_by_time_alone(self, at, state, notice, draining, allowed) -> None:
        decision = decide(facts(self.ONE, spec=pool(reservations=self.RULES)), hour(at))
        found = decision.verdicts["r"]

        assert (found.state, found.notice, found.draining) == (state, notice, draining)
        assert decision.allotments.get(QuotaKey("neura", Tier.RESERVED)) == allowed
        assert found.backed == (16 if state is State.ACTIVE else 0)
        assert found.ledger == self.ONE.ledger

    def test_a_short_window_has_notice_in_its_second_half_and_drains_in_its_last_quarter(self) -> None:
        short = promised("r", 16, 0, 0.2)
        spec_ = pool(reservations=self.RULES)

        seen = [(one.notice, one.draining) for one in (verdict(short, at=at, spec=spec_) for at in (0.09, 0.1, 0.16))]
        assert seen == [(False, False), (True, False), (True, True)]

    def test_its_gpus_stay_taken_until_they_are_cleaned(self) -> None:
        spec_ = pool(reservations=self.RULES)
        big = promised("r", 64, 0, 10)

        for at, free in ((9.99, 0), (10.05, 0), (10.084, 64)):
            assert decide(facts(big, spec=spec_), hour(at)).figures.free == free
        assert decide(facts(big, spec=spec_), hour(9)).figures.next_free == hour(10) + timedelta(minutes=5)

    def test_a_clock_that_jumps_back_opens_the_window_again(self) -> None:
        assert verdict(self.ONE, at=10).state is State.COMPLETED
        assert verdict(self.ONE, at=5).state is State.ACTIVE

    def test_what_is_over_is_not_changed_any_more(self) -> None:
        longer = changed(self.ONE, spec(16, 0, 20))

        found = verdict(longer, at=10)

        assert (found.state, found.ledger, found.refusal) == (State.COMPLETED, self.ONE.ledger, None)

    def test_it_wakes_for_every_boundary_in_turn(self) -> None:
        spec_ = pool(reservations=self.RULES, maintenance=[(-1, 3, 1)])
        at, seen = hour(-2), []
        while (wake := decide(facts(self.ONE, spec=spec_), at).wake) is not None:
            seen.append(round((wake - NOW) / timedelta(hours=1), 3))
            at = wake

        assert seen == [-1, 0, 3, 9.333, 9.833, 10, 10.083]

    def test_windows_of_one_namespace_share_its_quota(self) -> None:
        decision = decide(facts(self.ONE, promised("s", 8, -1, 1), promised("t", 8, -1, 1, "agile")), NOW)

        assert reserved(decision, "neura") == 24
        assert reserved(decision, "agile") == 8
        assert decision.figures == Figures(guaranteed=0, reserved=32, free=32, next_free=None)


class TestChanges:
    ONE = promised("r", 16, 4, 8)
    ACTIVE = promised("r", 16, -1, 8)

    @pytest.mark.parametrize(
        ("asked", "expected", "gpus"),
        [
            (spec(16, 4, 6), (4, 6), 16),
            (spec(16, 5, 8), (5, 8), 16),
            (spec(16, 5, 6), (5, 6), 16),
            (spec(8, 4, 8), (4, 8), 8),
            (spec(8, between=(5, 20, 2)), (5, 7), 8),
        ],
    )
    def test_what_is_given_back_is_taken_at_once_and_keeps_its_place(self, asked, expected, gpus) -> None:
        found = verdict(changed(self.ONE, asked), grants=())

        assert found.ledger == Ledger(window(*expected), gpus, self.ONE.ledger.accepted)
        assert found.refusal is None

    def test_an_active_window_can_end_earlier_but_not_before_now(self) -> None:
        assert verdict(changed(self.ACTIVE, spec(16, -1, 2))).ledger.window == window(-1, 2)

        ended = verdict(changed(self.ACTIVE, spec(16, -1, -0.5)))

        assert ended.ledger.window == window(-1, 0)
        assert ended.state is State.COMPLETED

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            (spec(16, 4, 12), (4, 12)),
            (spec(48, 4, 8), (4, 8)),
            (spec(16, 2, 8), (2, 8)),
            (spec(16, 20, 24), (20, 24)),
            (spec(16, between=(10, 20, 4)), (10, 14)),
            (spec(16, between=(0, 20, 5)), (4, 9)),
        ],
    )
    def test_more_is_accepted_if_it_fits_and_counts_as_accepted_now(self, asked, expected) -> None:
        found = verdict(changed(self.ONE, asked), promised("o", 16, 0, 99, "agile"))

        assert found.ledger == Ledger(window(*expected), asked.gpus, NOW)
        assert found.refusal is None

    @pytest.mark.parametrize(
        "asked",
        [spec(16, 4, 12), spec(56, 4, 8), spec(16, 9, 10), spec(16, between=(9, 13, 1)), spec(16, between=(0, 20, 5))],
    )
    def test_more_that_does_not_fit_is_refused_and_what_was_accepted_stays(self, asked) -> None:
        change = changed(self.ONE, asked)
        others = (promised("o", 16, 0, 8, "agile"), promised("p", 60, 8, 99, "agile"))
        found = verdict(change, *others)

        assert (found.state, found.ledger) == (State.SCHEDULED, self.ONE.ledger)
        assert found.message == "16 x NVIDIA-B200 in eu-de from 2026-12-01T16:00:00Z to 2026-12-01T20:00:00Z"
        assert (found.refusal.generation, found.refusal.reason) == (2, Reason.CHANGE_REFUSED)
        assert found.refusal.message.startswith("the change is refused and what was accepted stays: ")
        assert "do not fit" in found.refusal.message
        again = replace(change, refusal=found.refusal)
        assert verdict(again) == found, "it stands until the spec changes, even if it would fit now"

    def test_a_change_may_wait(self) -> None:
        change = changed(self.ONE, spec(16, 4, 12, wait=True))
        found = verdict(change, promised("o", 60, 8, 99, "agile"))

        assert found.ledger == self.ONE.ledger
        assert found.refusal.message.startswith("the change waits and what was accepted stays: ")
        assert verdict(replace(change, refusal=found.refusal)).ledger.window == window(4, 12)

    def test_an_active_window_can_be_extended_and_grown_but_its_start_stays(self) -> None:
        spec_ = pool(reservations=rules(leadTime="5h", step="30m"))

        assert verdict(changed(self.ACTIVE, spec(32, -1, 12)), spec=spec_).ledger == Ledger(window(-1, 12), 32, NOW)
        for asked in (spec(16, 1, 8), spec(16, -2, 8), spec(16, between=(1, 20, 2))):
            found = verdict(changed(self.ACTIVE, asked), spec=spec_)

            assert found.ledger == self.ACTIVE.ledger
            assert "its start stays 2026-12-01T11:00:00Z" in found.refusal.message

    def test_a_start_stays_from_when_the_pool_says_so(self) -> None:
        spec_ = pool(reservations=rules(modifiableUntil="4h"))

        for asked in (spec(16, 5, 8), spec(16, 3, 8)):
            assert verdict(changed(self.ONE, asked), spec=spec_, at=-0.1).ledger.window.start == asked.window.start
            found = verdict(changed(self.ONE, asked), spec=spec_)

            assert found.ledger == self.ONE.ledger
            assert found.refusal.reason == Reason.START_IMMUTABLE
            assert "the window begins in less than 4h, its start stays" in found.refusal.message

    def test_two_that_would_have_each_others_place_keep_their_own_until_one_lets_go(self) -> None:
        there = changed(promised("a", 64, 2, 4), spec(64, 6, 8, wait=True))
        back = changed(promised("b", 64, 6, 8, "agile"), spec(64, 2, 4, wait=True))
        world = facts(there, back)

        decision = decide(world, NOW)
        told = settled(world, decision)

        assert {uid: one.ledger for uid, one in decision.verdicts.items()} == {"a": there.ledger, "b": back.ledger}
        assert {one.refusal.reason for one in decision.verdicts.values()} == {Reason.CHANGE_WAITS}
        assert decide(told, NOW).verdicts == decision.verdicts
        alone = decide(replace(told, bookings=(told.bookings[0],)), NOW).verdicts["a"]
        assert (alone.ledger.window, alone.refusal) == (window(6, 8), None)
        smaller = replace(told, bookings=(told.bookings[0], changed(told.bookings[1], spec(32, 10, 12))))
        both = decide(smaller, NOW).verdicts
        assert (both["a"].ledger.window, both["b"].ledger.window) == (window(6, 8), window(10, 12))

    def test_one_that_waits_to_be_moved_is_looked_at_again_when_its_start_is_fixed(self) -> None:
        spec_ = pool(reservations=rules(modifiableUntil="4h"))
        moved = changed(promised("r", 16, 10, 12), spec(16, 20, 22, wait=True))
        world = facts(moved, promised("other", 60, 18, 24, "agile"), spec=spec_)

        waiting = decide(world, NOW)

        assert waiting.verdicts["r"].refusal.reason == Reason.CHANGE_WAITS
        assert waiting.wake == hour(6)
        assert decide(settled(world, waiting), hour(6)).verdicts["r"].refusal.reason == Reason.START_IMMUTABLE

    @pytest.mark.parametrize(
        ("at", "asked", "forfeited"),
        [
            (-0.1, spec(16, 4, 5), 0),
            (0, spec(16, 4, 5), 3 * 16),
            (0, spec(4, 4, 8), 4 * 12),
            (5, spec(16, 4, 6), 2 * 16),
            (5, spec(16, 4, 4.5), 3 * 16),
        ],
    )
    def test_what_is_given_back_late_stays_charged(self, at, asked, forfeited) -> None:
        change, another = changed(self.ONE, asked), booking("another", spec(1, 5.5, 12), created=at)
        grants = (grant("neura", hours=GpuHours(limit=4 * 16 + 6, period="Day")),)
        spec_ = pool(reservations=rules(modifiableUntil="4h"))

        found = verdict(another, change, at=at, grants=grants, spec=spec_)

        assert verdict(change, at=at, spec=spec_).ledger.forfeited == forfeited * 3600
        assert (found.reason == Reason.BUDGET_EXCEEDED) is bool(forfeited)

    def test_what_is_given_back_late_is_free_for_others(self) -> None:
        other = booking("other", spec(64, 2, 8), "agile")

        assert verdict(other, changed(self.ACTIVE, spec(16, -1, 2))).state is State.SCHEDULED
        assert verdict(other, self.ACTIVE).state is State.REFUSED

    def test_what_is_given_back_late_is_not_counted_twice_over_time(self) -> None:
        given_back = changed(self.ACTIVE, spec(16, -1, 4))
        once = replace(given_back, ledger=verdict(given_back).ledger)

        assert verdict(once, at=1).ledger == once.ledger
        assert once.ledger.forfeited == 4 * 16 * 3600
        more = changed(once, spec(16, -1, 8))
        assert verdict(more, at=1).ledger == Ledger(window(-1, 8), 16, hour(1), 4 * 16 * 3600)

    def test_a_late_change_gives_back_or_asks_but_not_both(self) -> None:
        assert verdict(changed(self.ONE, spec(8, 4, 12))).ledger.gpus == 8
        for asked in (spec(8, -1, 12), spec(20, -1, 4)):
            found = verdict(changed(self.ACTIVE, asked))

            assert found.ledger == self.ACTIVE.ledger
            assert found.refusal.reason == Reason.TWO_CHANGES
            assert "first give back, and ask for more when that is taken" in found.refusal.message

    def test_a_start_that_moves_has_to_keep_the_rules_and_one_that_stays_does_not(self) -> None:
        spec_ = pool(reservations=rules(leadTime="6h", step="30m"))
        odd = promised("r", 16, 4.1, 8.1)

        assert verdict(changed(odd, spec(32, 4.1, 8.1)), spec=spec_).ledger.gpus == 32
        assert "begin at 2026-12-01T18:00:00Z" in verdict(changed(odd, spec(16, 4, 9)), spec=spec_).refusal.message
        assert "multiples of 30m" in verdict(changed(odd, spec(16, 4.1, 9.1)), spec=spec_).refusal.message

    def test_a_change_is_counted_instead_of_what_it_replaces(self) -> None:
        grants = (grant("neura", reservable=32, hours=GpuHours(limit=32 * 5, period="Day")),)

        assert verdict(changed(self.ONE, spec(32, 4, 8)), grants=grants).ledger.gpus == 32
        assert (
            "exceed the tenant's budget" in verdict(changed(self.ONE, spec(32, 4, 9.5)), grants=grants).refusal.message
        )

    def test_a_change_that_is_refused_leaves_the_calendar_as_it_was(self) -> None:
        change = changed(promised("r", 40, 4, 8, created=-9), spec(40, 4, 12))
        new = booking("new", spec(30, 7, 8), "agile")

        decision = decide(facts(change, new, promised("o", 60, 8, 99, "agile")), NOW)

        assert decision.verdicts["r"].refusal is not None
        assert "24 are free" in decision.verdicts["new"].message


class TestNoShows:
    SPEC = pool(reservations=rules(noShowAfter="30m"))
    ONE = replace(promised("r", 16, 0, 10), opened=hour(0.1))

    def test_a_window_that_nobody_uses_is_taken_back_and_stays_charged(self) -> None:
        other = booking("other", spec(64, 1, 2), "agile", created=0.6)
        world = facts(self.ONE, spec=self.SPEC, since=hour(-1))

        assert decide(world, hour(0.59)).verdicts["r"].state is State.ACTIVE
        assert decide(world, hour(0.59)).wake == hour(0.6)
        found = decide(replace(world, bookings=(self.ONE, other)), hour(0.6)).verdicts
        assert found["r"].ledger == self.ONE.ledger._replace(
            window=window(0, 0.6), forfeited=16 * 33840, ended="NoShow"
        )
        assert (found["r"].state, found["r"].message[-41:]) == (
            State.COMPLETED,
            "; it was taken back, since no pod used it",
        )
        assert found["other"].state is State.SCHEDULED
        later = replace(self.ONE, ledger=found["r"].ledger)
        assert verdict(later, spec=self.SPEC, at=5).ledger == later.ledger

    def test_one_that_was_used_once_is_kept(self) -> None:
        world = facts(self.ONE, spec=self.SPEC, since=hour(-1), standing=(quota("neura", Tier.RESERVED, 16, 1),))

        found = decide(world, hour(0.2)).verdicts["r"]

        assert found.first_used == hour(0.2)
        idle = replace(world, standing=(), bookings=(replace(self.ONE, first_used=hour(0.2)),))
        assert decide(idle, hour(9)).verdicts["r"].state is State.ACTIVE
        assert decide(idle, hour(9)).verdicts["r"].first_used == hour(0.2)
        earlier = replace(idle, bookings=(replace(self.ONE, first_used=hour(-5)),))
        assert decide(earlier, hour(9)).verdicts["r"].state is State.COMPLETED, "that was in another window"

    @pytest.mark.parametrize(
        ("one", "since", "spec_"),
        [
            (ONE, -1, pool(reservations=rules(noShowAfter="0s"))),
            (replace(ONE, opened=None), -1, SPEC),
            (ONE, 4.6, SPEC),
            (ONE, None, SPEC),
        ],
        ids=["the pool does not ask", "it was not opened", "nobody watched", "nothing is known"],
    )
    def test_only_what_was_open_and_watched_for_long_is_taken_back(self, one, since, spec_) -> None:
        world = facts(one, spec=spec_, since=None if since is None else hour(since))

        found = decide(world, hour(5)).verdicts["r"]

        assert (found.state, found.first_used) == (State.ACTIVE, None)


class TestKeeping:
    SPEC = pool(reservations=rules(gracePeriod="10m"))
    ONE = accepted(booking("r", spec(16, 0, 10, keep=True)), 0, 10)
    DRAIN = 10 - 1 / 6

    def test_a_window_goes_on_in_steps_while_its_gpus_are_free(self) -> None:
        world = facts(self.ONE, spec=self.SPEC)

        before = decide(world, hour(self.DRAIN - 0.01))
        assert before.verdicts["r"].ledger == self.ONE.ledger
        decision = decide(world, hour(self.DRAIN))
        found = decision.verdicts["r"]

        assert found.ledger == self.ONE.ledger._replace(window=window(0, 10 + 1 / 6), kept=600)
        assert (found.draining, decision.wake) == (False, hour(10))
        assert reserved(decision, "neura") == 16
        again = decide(settled(world, decision), hour(10))
        assert again.verdicts["r"].ledger.window == window(0, 10 + 2 / 6)
        assert again.verdicts["r"].ledger.accepted == self.ONE.ledger.accepted

    def test_it_goes_on_also_where_pods_are_given_no_time_to_go(self) -> None:
        minute = 1 / 60
        world = facts(self.ONE, spec=pool())

        before = decide(world, hour(9))
        decision = decide(world, hour(10 - minute))

        assert before.wake == hour(10 - minute)
        assert decision.verdicts["r"].ledger == self.ONE.ledger._replace(window=window(0, 10 + minute), kept=60)
        assert decision.wake == hour(10)

    @pytest.mark.parametrize(
        "other",
        [
            promised("other", 60, 10.1, 11, "agile"),
            booking("other", spec(60, 10.1, 11), "agile", created=9),
            booking("other", spec(64, 9.9, 10.5, wait=True), "agile", created=9),
        ],
        ids=["promised", "asked for", "claimed"],
    )
    def test_it_ends_in_time_for_whoever_comes_next(self, other) -> None:
        found = verdict(self.ONE, other, spec=self.SPEC, at=self.DRAIN)

        assert (found.ledger, found.draining) == (self.ONE.ledger, True)

    def test_it_ends_while_a_guarantee_lacks_gpus(self) -> None:
        grants = (grant("neura"), grant("agile", 64))

        decision = decide(facts(self.ONE, spec=self.SPEC, grants=grants), hour(self.DRAIN))

        assert (decision.promises["agile"].granted, decision.verdicts["r"].draining) == (48, True)

    def test_it_is_bound_by_the_tenants_own_limits(self) -> None:
        grants = (grant("neura", hours=GpuHours(limit=160, period="Month")),)

        assert verdict(self.ONE, spec=self.SPEC, grants=grants, at=self.DRAIN).draining
        assert verdict(self.ONE, spec=self.SPEC, grants=(), at=self.DRAIN).draining

    def test_what_drains_already_goes_on_to(self) -> None:
        assert verdict(replace(self.ONE, draining=True), spec=self.SPEC, at=self.DRAIN).draining

    def test_the_next_one_who_asks_sees_it_taken_for_a_step_at_most(self) -> None:
        world = facts(self.ONE, spec=self.SPEC)
        kept = settled(world, decide(world, hour(self.DRAIN)))
        other = booking("other", spec(64, 10 + 1 / 6, 11), "agile", created=9.9)

        decision = decide(replace(kept, bookings=(*kept.bookings, other)), hour(10))

        assert decision.verdicts["other"].state is State.SCHEDULED
        assert decision.verdicts["r"].draining

    def test_a_change_counts_from_what_was_asked_for(self) -> None:
        kept = replace(self.ONE, ledger=self.ONE.ledger._replace(window=window(0, 11), kept=3600))

        assert verdict(kept, spec=self.SPEC, at=10).ledger == kept.ledger
        longer = changed(kept, spec(16, 0, 12, keep=True))
        assert verdict(longer, spec=self.SPEC, at=10).ledger == Ledger(window(0, 12), 16, hour(10))
        shorter = changed(kept, spec(16, 0, 9, keep=True))
        assert verdict(shorter, spec=self.SPEC, at=10).ledger.window == window(0, 10)
        drained = changed(kept, spec(16, 0, 10))
        assert verdict(drained, spec=self.SPEC, at=10).ledger == kept.ledger
        assert verdict(drained, spec=self.SPEC, at=10.9).draining


class TestContracts:
    def test_nothing_is_promised_before_a_contract_begins_or_beyond_its_end(self) -> None:
        grants = (grant("neura", begins=hour(2), ends=hour(10)), AGILE)

        for asked, reason in ((spec(8, 1, 3), Reason.CONTRACT_BEGINS), (spec(8, 9, 10.5), Reason.CONTRACT_ENDS)):
            found = verdict(booking("r", asked), grants=grants)
            assert (found.state, found.reason) == (State.REFUSED, reason)
        assert (
            "the contract ends at 2026-12-01T22:00:00Z: end by then, or ask the provider to extend it" in found.message
        )
        assert verdict(booking("r", spec(8, 2, 10)), grants=grants).state is State.SCHEDULED
        flexible = booking("r", spec(8, between=(0, 20, 4), late=True))
        assert verdict(flexible, grants=grants).ledger.window == window(6, 10)
        full = promised("o", 60, 2, 8, "agile")
        assert [one.end for one in verdict(booking("r", spec(8, 3, 5)), full, grants=grants).refusal.offers] == [
            hour(10)
        ]

    def test_what_was_accepted_is_honoured_and_not_extended(self) -> None:
        one = promised("r", 16, -1, 8)
        grants = (grant("neura", ends=hour(-0.5)),)

        decision = decide(facts(one, grants=grants), NOW)
        assert (decision.verdicts["r"].state, reserved(decision, "neura")) == (State.ACTIVE, 16)
        assert verdict(changed(one, spec(16, -1, 9)), grants=grants).refusal.reason == Reason.CONTRACT_ENDS
        keeps = accepted(booking("r", spec(16, -1, 8, keep=True)), -1, 8)
        assert verdict(keeps, grants=grants, spec=pool(reservations=rules(gracePeriod="10m")), at=7.9).draining

    def test_a_refusal_is_asked_again_when_the_contract_was_extended(self) -> None:
        asked = booking("r", spec(8, 9, 10.5))
        world = facts(asked, grants=(grant("neura", ends=hour(10)),))
        told = settled(world, decide(world, NOW))

        assert (
            decide(replace(told, grants=(grant("neura", ends=hour(11)),)), NOW).verdicts["r"].state is State.SCHEDULED
        )

    def test_a_guarantee_lasts_as_long_as_its_contract(self) -> None:
        world = facts(grants=(grant("neura", 16, begins=hour(1), ends=hour(5)),))

        seen = [(decide(world, hour(at)).promises["neura"].backed, decide(world, hour(at)).wake) for at in (0, 1, 5)]

        assert seen == [(0, hour(1)), (16, hour(5)), (0, None)]

    def test_who_is_committed_comes_first_where_not_all_can_be_backed(self) -> None:
        grants = (grant("early", 40, age=9, granted=40, rank=2), grant("firm", 40, granted=40, rank=0))

        promises = decide(facts(grants=grants, capacity=capacity(80, 50)), NOW).promises
        assert (promises["firm"].backed, promises["early"].backed) == (40, 10)
        new = (grant("early", 40, age=9, rank=2), grant("firm", 40, rank=0))
        promises = decide(facts(grants=new, total=64), NOW).promises
        assert (promises["firm"].granted, promises["early"].granted) == (40, 24)

    def test_a_change_of_class_takes_nothing_from_anybody_who_has_it(self) -> None:
        before = (grant("a", 32, granted=32), grant("b", 32, granted=32))
        after = (replace(before[0], rank=2), replace(before[1], rank=0, guaranteed=40))

        promises = decide(facts(grants=after), NOW).promises

        assert (promises["a"].backed, promises["b"].backed) == (32, 32)


class TestLosses:
    def test_the_latest_promise_gives_way_first(self) -> None:
        ones = [promised(name, 20, -1, 5, at=at) for name, at in (("third", -1), ("first", -3), ("second", -2))]

        decision = decide(facts(*ones, capacity=capacity(64, 30)), NOW)

        assert {name: found.backed for name, found in decision.verdicts.items()} == {
            "first": 20,
            "second": 10,
            "third": 0,
        }
        assert decision.verdicts["first"].degraded == ""
        assert decision.verdicts["second"].degraded.startswith("10 of 20 GPUs are there")
        assert decision.verdicts["third"].degraded.startswith("0 of 20 GPUs are there")
        assert all(found.state is State.ACTIVE for found in decision.verdicts.values())
        assert reserved(decision, "neura") == 30

    def test_guarantees_come_before_reservations(self) -> None:
        grants = (grant("agile", 30, granted=30), NEURA)

        decision = decide(facts(promised("r", 20, -1, 5), grants=grants, capacity=capacity(64, 40)), NOW)

        assert decision.promises["agile"].backed == 30
        assert decision.verdicts["r"].backed == 10

    def test_a_coming_window_that_no_longer_fits_stays_booked_and_heals_by_itself(self) -> None:
        later, other = promised("later", 40, 5, 6), promised("other", 40, 7, 8)
        lost = facts(later, other, spec=pool(maintenance=[(5.5, 6.5, 30)]))

        decision = decide(lost, NOW)

        assert decision.verdicts["later"].ledger == later.ledger
        assert decision.verdicts["later"].degraded.startswith("fewer than 40 GPUs will be there for some of the time")
        assert decision.verdicts["other"].degraded == ""
        assert decide(replace(lost, spec=pool()), NOW).verdicts["later"].degraded == ""

    def test_an_active_window_is_warned_of_a_loss_to_come(self) -> None:
        found = verdict(promised("r", 40, -1, 6), spec=pool(maintenance=[(5, 7, 30)]))

        assert found.backed == 40
        assert found.degraded.startswith("fewer than 40")

    def test_maintenance_after_the_end_of_a_window_does_not_concern_it(self) -> None:
        spec_ = pool(maintenance=[(6, 7, 60)], reservations=rules(cleaningGap="10m"))

        assert verdict(promised("r", 40, -1, 6), spec=spec_).degraded == ""

    def test_one_that_does_not_fit_any_more_still_keeps_new_ones_off(self) -> None:
        decision = decide(
            facts(promised("old", 60, 5, 6), booking("new", spec(8, 5, 6)), capacity=capacity(64, 40)), NOW
        )

        assert decision.verdicts["old"].degraded
        assert decision.verdicts["new"].state is State.REFUSED

    def test_what_was_accepted_outlives_the_grant_the_tenant_and_the_rules(self) -> None:
        one = replace(promised("r", 20, -1, 5), tenant="")
        spec_ = pool(reservations=rules(minimumDuration="100h", maximumDuration="200h", maximumShare=0))

        decision = decide(facts(one, grants=(), spec=spec_), NOW)

        assert decision.verdicts["r"].state is State.ACTIVE
        assert reserved(decision, "neura") == 20


class TestAllotments:
    """Nothing rises before what it takes is seen let go."""

    def test_a_quota_is_raised_only_when_another_is_seen_used_down(self) -> None:
        over, next_ = promised("over", 64, -5, 0, "agile"), promised("next", 64, 0, 5)
        standing = quota("agile", Tier.RESERVED, 64, 64)

        at_the_end = decide(facts(over, next_, standing=(standing,)), NOW)
        assert (reserved(at_the_end, "agile"), reserved(at_the_end, "neura")) == (0, 0)
        assert at_the_end.targets[QuotaKey("neura", Tier.RESERVED)] == 64

        pods_go = decide(facts(over, next_, standing=(replace(standing, hard=0, used=24),)), NOW)
        assert reserved(pods_go, "neura") == 40

        all_gone = decide(facts(over, next_, standing=(replace(standing, hard=0, used=0),)), NOW)
        assert reserved(all_gone, "neura") == 64

    def test_lowering_frees_nothing_until_it_is_observed(self) -> None:
        standing = (quota("agile", Tier.GUARANTEED, 64),)

        decision = decide(facts(grants=(grant("neura", 64),), standing=standing), NOW)

        assert (guaranteed(decision, "agile"), guaranteed(decision, "neura")) == (0, 0)

    def test_what_is_left_goes_to_standing_guarantees_then_reservations_then_more_guarantees(self) -> None:
        grants = (grant("old", 20, age=9), grant("young", 20, age=1, granted=20), NEURA)
        one = promised("r", 20, -1, 5)
        held = quota("gone", Tier.GUARANTEED, 0, 64)

        def allowed(used: int) -> tuple[int, int, int]:
            decision = decide(facts(one, grants=grants, standing=(replace(held, used=used),)), NOW)
            return guaranteed(decision, "young"), reserved(decision, "neura"), guaranteed(decision, "old")

        assert [allowed(used) for used in (64, 50, 30, 10, 0)] == [
            (0, 0, 0),
            (14, 0, 0),
            (20, 14, 0),
            (20, 20, 14),
            (20, 20, 20),
        ]

    def test_what_pods_hold_above_their_quota_is_theirs_to_be_allowed(self) -> None:
        standing = (quota("neura", Tier.GUARANTEED, 10, 30), quota("gone", Tier.GUARANTEED, 0, 60))

        decision = decide(facts(grants=(grant("neura", 40),), standing=standing), NOW)

        assert guaranteed(decision, "neura") == 30, "that takes nothing from anyone; 10 more would"
        assert decision.overcommitted

    def test_a_loss_of_capacity_is_told_as_overcommitment_and_lowers_quotas(self) -> None:
        standing = (quota("neura", Tier.GUARANTEED, 60, 60),)

        decision = decide(
            facts(grants=(grant("neura", 60, granted=60),), standing=standing, capacity=capacity(64, 50)), NOW
        )

        assert decision.overcommitted
        assert guaranteed(decision, "neura") == 50

    def test_a_deleted_reservation_gives_way_to_a_new_one_when_its_pods_are_gone(self) -> None:
        new = booking("new", spec(64, 0, 5))

        decision = decide(facts(new, standing=(quota("agile", Tier.RESERVED, 64, 10),)), NOW)

        assert decision.verdicts["new"].state is State.ACTIVE
        assert reserved(decision, "agile") == 0
        assert QuotaKey("neura", Tier.RESERVED) not in decision.allotments

    def test_a_quota_opens_only_for_what_is_written_down(self) -> None:
        new = booking("new", spec(8, 0, 5))

        first = decide(facts(new), NOW)
        then = decide(facts(replace(new, ledger=first.verdicts["new"].ledger)), NOW)

        assert QuotaKey("neura", Tier.RESERVED) not in first.allotments
        assert reserved(then, "neura") == 8


def test_messages_name_no_other_tenant_and_no_other_booking() -> None:
    others = [promised(f"secret-{number}", 60, 0, 20 + number, "agile") for number in range(2)]
    asked = [
        booking("a", spec(16, 4, 6)),
        booking("b", spec(16, between=(4, 9, 2))),
        booking("c", spec(16, 4, 6, wait=True)),
        changed(promised("d", 4, 30, 40), spec(4, 10, 40)),
    ]

    decision = decide(facts(*others, *asked, grants=(NEURA, grant("agile", 2))), NOW)

    for one in asked:
        found = decision.verdicts[one.uid]
        said = f"{found.message} {found.refusal.message if found.refusal else ''} {found.degraded}"
        assert "secret" not in said
        assert "agile" not in said


def test_an_empty_pool_has_nothing_to_say() -> None:
    assert decide(facts(grants=()), NOW) == Decision(
        allotments={}, targets={}, verdicts={}, promises={}, figures=Figures(0, 0, 64, None)
    )


def test_one_tenant_that_asks_without_end_does_not_hold_up_the_others() -> None:
    crowd = [booking(f"n{number:04}", spec(64, 1, 2, wait=True)) for number in range(MAX_ASKING + 3)]
    other = booking("zz", spec(8, 5, 6), "agile")

    decision = decide(facts(*crowd, other, grants=(NEURA, grant("agile", reservable=64))), NOW)

    turned_away = [one.uid for one in crowd if decision.verdicts[one.uid].reason == "TooManyRequests"]
    assert turned_away == [one.uid for one in crowd[MAX_ASKING:]]
    assert decision.verdicts["zz"].state is State.SCHEDULED
