"""What is used adds up: rates times spans, by calendar month."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.usage import INTERVAL, MAX_MONTHS, Account, Amounts, Piece, Tenure, shared_out

NOVEMBER = seconds(datetime(2026, 11, 1, tzinfo=UTC))
DECEMBER = seconds(datetime(2026, 12, 1, tzinfo=UTC))
HOUR = 3600


def test_a_rate_counts_while_it_holds_and_in_the_month_in_which_it_does() -> None:
    piece = Piece(DECEMBER - 2 * HOUR, DECEMBER + HOUR, Amounts(booked=8, active=8, used=3))

    account = Account(DECEMBER - 10 * HOUR).advanced(DECEMBER + 5 * HOUR, [piece])

    assert account.until == DECEMBER + 5 * HOUR
    assert account.months == {
        NOVEMBER: Amounts(booked=16 * HOUR, active=16 * HOUR, used=6 * HOUR),
        DECEMBER: Amounts(booked=8 * HOUR, active=8 * HOUR, used=3 * HOUR),
    }
    assert account.this_month() == account.months[DECEMBER]


def test_nothing_counts_twice() -> None:
    piece = Piece(NOVEMBER, DECEMBER, Amounts(spot=1))
    account = Account(NOVEMBER).advanced(NOVEMBER + 100, [piece])
    assert account.advanced(NOVEMBER + 100, [piece]) is account
    assert account.advanced(NOVEMBER + 50, [piece]) is account, "a clock that was set back counts nothing"
    assert account.advanced(NOVEMBER + 160, [piece]).months == {NOVEMBER: Amounts(spot=160)}


@given(st.lists(st.integers(0, 40 * 24 * HOUR), max_size=6).map(sorted), st.integers(0, 9), st.integers(0, 9))
def test_it_does_not_matter_how_often_one_looks(instants, guaranteed, used) -> None:
    pieces = [
        Piece(0, 1 << 40, Amounts(guaranteed=guaranteed)),
        Piece(NOVEMBER + 999, DECEMBER + 777, Amounts(used=used)),
    ]
    end = NOVEMBER + 40 * 24 * HOUR
    account = Account(NOVEMBER)
    for at in instants:
        account = account.advanced(NOVEMBER + at, pieces)

    assert account.advanced(end, pieces) == Account(NOVEMBER).advanced(end, pieces)


def test_old_months_are_dropped_and_idle_ones_not_kept() -> None:
    account = Account(0).advanced(seconds(datetime(2026, 12, 1, tzinfo=UTC)), [Piece(0, 1 << 40, Amounts(spot=1))])
    assert len(account.months) == MAX_MONTHS
    assert Account(0).advanced(10**9, [Piece(0, 1 << 40, Amounts())]).months == {}


def test_it_is_written_when_a_window_has_ended_or_from_time_to_time_and_never_when_idle() -> None:
    window = Piece(NOVEMBER, NOVEMBER + 90, Amounts(booked=1))
    before = Account(NOVEMBER)
    early, late = before.advanced(NOVEMBER + 60, [window]), before.advanced(NOVEMBER + 90, [window])
    assert not early.is_due(before, [window])
    assert late.is_due(before, [window])
    assert not late.advanced(NOVEMBER + 9999, [window]).is_due(late, [window])
    steady = Piece(0, 1 << 40, Amounts(guaranteed=1))
    assert not before.advanced(NOVEMBER + INTERVAL - 1, [steady]).is_due(before, [steady])
    assert before.advanced(NOVEMBER + INTERVAL, [steady]).is_due(before, [steady])


def tenure(uid: str, gpus: int, namespace: str = "n") -> Tenure:
    return Tenure(uid, "t", namespace, 0, 100, gpus)


def test_reservations_of_a_namespace_use_their_quota_in_the_order_of_acceptance() -> None:
    rates = shared_out([tenure("a", 8), tenure("b", 8), tenure("c", 4, "m")], {"n": 16, "m": 4}, {"n": 11})
    assert {uid: piece.rate for uid, piece in rates.items()} == {
        "a": Amounts(booked=8, active=8, used=8),
        "b": Amounts(booked=8, active=8, used=3),
        "c": Amounts(booked=4, active=4),
    }


def test_pods_that_are_leaving_still_use_what_their_quota_does_not_allow_any_more() -> None:
    assert shared_out([tenure("a", 8)], {"n": 0}, {"n": 5})["a"].rate == Amounts(booked=8, active=5, used=5)
    assert shared_out([tenure("a", 8)], {}, {})["a"].rate == Amounts(booked=8)
