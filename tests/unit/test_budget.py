"""GPU-hours count in the calendar period, in UTC, in which they are used."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gpu_tenancy.api.tenant import GpuHours
from gpu_tenancy.domain.budget import HourBudget, period_of
from gpu_tenancy.domain.calendar import Booked, seconds

HOUR = 3600


def utc(*parts: int) -> int:
    return seconds(datetime(*parts, tzinfo=UTC))


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("Day", (2026, 12, 31), (2027, 1, 1)),
        ("Week", (2026, 12, 28), (2027, 1, 4)),
        ("Month", (2026, 12, 1), (2027, 1, 1)),
        ("Year", (2026, 1, 1), (2027, 1, 1)),
    ],
)
def test_a_period_holds_its_first_second_and_not_that_of_the_next(period: str, start: tuple, end: tuple) -> None:
    first, after = utc(*start), utc(*end)

    assert period_of(utc(2026, 12, 31, 23, 59, 59), period) == (first, after)
    assert period_of(first, period) == (first, after)
    assert period_of(after - 1, period) == (first, after)
    assert period_of(after, period)[0] == after


def test_months_have_their_own_lengths() -> None:
    assert period_of(utc(2028, 2, 29), "Month") == (utc(2028, 2, 1), utc(2028, 3, 1))


def test_weeks_begin_on_monday() -> None:
    monday, sunday = utc(2026, 11, 30), utc(2026, 12, 6)

    assert period_of(sunday, "Week")[0] == monday
    assert datetime(2026, 11, 30, tzinfo=UTC).isoweekday() == 1


def test_a_budget_is_full_at_its_limit_and_not_before() -> None:
    budget = HourBudget(GpuHours(limit=100, period="Month"), [Booked(utc(2026, 12, 1), utc(2026, 12, 1, 9), 10)])

    assert budget.exceeded(Booked(utc(2026, 12, 2), utc(2026, 12, 2, 1), 10)) is None
    assert budget.exceeded(Booked(utc(2026, 12, 2), utc(2026, 12, 2, 1), 11)) == utc(2026, 12, 2)
    assert budget.left(utc(2026, 12, 31)) == 10 * HOUR
    assert budget.left(utc(2027, 1, 1)) == 100 * HOUR


def test_a_window_across_a_border_counts_in_both_periods() -> None:
    budget = HourBudget(GpuHours(limit=10, period="Day"), [Booked(utc(2026, 12, 1, 20), utc(2026, 12, 2, 6), 1)])

    assert budget.left(utc(2026, 12, 1)) == 6 * HOUR
    assert budget.left(utc(2026, 12, 2)) == 4 * HOUR
    assert budget.exceeded(Booked(utc(2026, 12, 1, 22), utc(2026, 12, 2, 5), 1)) == utc(2026, 12, 2)

    budget.release(Booked(utc(2026, 12, 1, 20), utc(2026, 12, 2, 6), 1))

    assert budget.left(utc(2026, 12, 2)) == 10 * HOUR


def test_what_was_overspent_leaves_nothing_rather_than_less() -> None:
    budget = HourBudget(GpuHours(limit=1, period="Day"), [Booked(utc(2026, 12, 1), utc(2026, 12, 1, 5), 1)])

    assert budget.left(utc(2026, 12, 1)) == 0


def test_the_earliest_fit_uses_what_is_left_of_a_day_and_no_more() -> None:
    budget = HourBudget(GpuHours(limit=10, period="Day"), [Booked(utc(2026, 12, 1), utc(2026, 12, 1, 8), 1)])

    assert budget.earliest(1, 5 * HOUR, utc(2026, 12, 1, 12), utc(2027, 1, 1)) == utc(2026, 12, 1, 22)
    assert budget.earliest(1, 5 * HOUR, utc(2026, 12, 1, 12), utc(2027, 1, 1), 7 * HOUR) % (7 * HOUR) == 0
    assert budget.earliest(1, 5 * HOUR, utc(2026, 12, 1, 12), utc(2026, 12, 2, 2)) is None


def test_a_window_that_no_day_can_hold_may_fit_across_midnight() -> None:
    budget = HourBudget(GpuHours(limit=10, period="Day"), [Booked(utc(2026, 12, 1), utc(2026, 12, 1, 8), 1)])

    start = budget.earliest(11, HOUR, utc(2026, 12, 1, 12), utc(2027, 1, 1))

    assert start == utc(2026, 12, 2) - 2 * HOUR // 11
    assert budget.earliest(24, HOUR, utc(2026, 12, 1, 12), utc(2027, 1, 1)) is None
