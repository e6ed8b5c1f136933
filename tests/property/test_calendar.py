"""The calendar is what a second-by-second count would be, and what it offers fits and nothing earlier does."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from gpu_tenancy.api.tenant import GpuHours
from gpu_tenancy.domain import calendar, steps
from gpu_tenancy.domain.budget import HourBudget, period_of
from gpu_tenancy.domain.calendar import Booked, Calendar, agreed, offers

if TYPE_CHECKING:
    from collections.abc import Sequence

END = 60
DAY = 86_400

windows = st.tuples(st.integers(0, END - 1), st.integers(1, 20)).map(lambda w: (w[0], min(END, w[0] + w[1])))
bookings = st.lists(st.builds(lambda window, gpus: Booked(*window, gpus), windows, st.integers(1, 6)), max_size=40)
capacities = st.lists(st.tuples(st.integers(0, END - 1), st.integers(0, 12)), max_size=5, unique_by=lambda s: s[0]).map(
    sorted
)
small_nodes = st.integers(2, 5).map(lambda size: mock.patch.object(steps, "_WIDTH", size))


def count(capacity: Sequence[tuple[int, int]], booked: Sequence[Booked]) -> list[int]:
    """Count the free GPUs of each second."""
    levels = [next((gpus for start, gpus in reversed(capacity) if start <= at), 0) for at in range(2 * END)]
    return [level - sum(one.gpus for one in booked if one.start <= at < one.end) for at, level in enumerate(levels)]


def fits(free: Sequence[int], gpus: int, start: int, duration: int) -> bool:
    return all(left >= gpus for left in free[start : start + duration])


@given(capacities, bookings, st.lists(st.tuples(st.booleans(), st.integers(0, 39))), windows, small_nodes)
def test_booking_and_releasing_in_any_order_is_counting(capacity, first, changes, window, nodes) -> None:
    with nodes:
        free, booked = Calendar(capacity, first), list(first)
        for release, number in changes:
            if release and booked:
                free.release(booked.pop(number % len(booked)))
            elif first:
                booked.append(first[number % len(first)])
                free.book(booked[-1])

        counted = count(capacity, booked)

        assert [free.free_at(at) for at in range(2 * END)] == counted
        assert free.free_over(*window) == min(counted[slice(*window)])
        assert [free.free_at(at) for at in range(2 * END)] == [
            Calendar(capacity, booked).free_at(at) for at in range(2 * END)
        ]


@given(capacities, st.tuples(bookings, bookings, bookings), st.integers(0, END), small_nodes)
def test_booking_many_at_once_is_booking_each(capacity, parts, now, nodes) -> None:
    first, many, more = parts
    with nodes:
        free = Calendar(capacity, first)
        free.advance(now)
        free.book_all(many)
        for one in more:
            free.book(one)

        counted = count(capacity, [*first, *many, *more])

        assert [free.free_at(at) for at in range(now, 2 * END)] == counted[now:]


@given(
    capacity=capacities,
    booked=bookings,
    gpus=st.integers(1, 12),
    duration=st.integers(1, 20),
    not_before=st.integers(0, END),
    not_after=st.integers(0, 2 * END),
    step=st.integers(1, 7),
    nodes=small_nodes,
)
def test_the_earliest_fit_fits_and_nothing_earlier_does(
    *, capacity, booked, gpus, duration, not_before, not_after, step, nodes
) -> None:
    with nodes:
        free = Calendar(capacity, booked)
        found = free.earliest(gpus, duration, not_before, not_after, step)
        counted = count(capacity, booked)
        starts = [at for at in range(not_before, not_after - duration + 1) if at % step == 0]

        assert found == next((at for at in starts if fits(counted, gpus, at, duration)), None)


@given(
    capacity=capacities,
    booked=bookings,
    gpus=st.integers(1, 12),
    duration=st.integers(1, 20),
    not_before=st.integers(0, END),
    not_after=st.integers(0, 2 * END),
    step=st.integers(1, 7),
    nodes=small_nodes,
)
def test_the_latest_fit_fits_and_nothing_later_does(
    *, capacity, booked, gpus, duration, not_before, not_after, step, nodes
) -> None:
    with nodes:
        free = Calendar(capacity, booked)
        found = free.latest(gpus, duration, not_before, not_after, step)
        counted = count(capacity, booked)
        starts = [at for at in range(not_before, not_after - duration + 1) if at % step == 0]

        assert found == next((at for at in reversed(starts) if fits(counted, gpus, at, duration)), None)


@given(
    capacity=capacities,
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, END), windows, st.integers(1, 6)), max_size=40),
    asked=st.tuples(st.integers(1, 12), st.integers(1, 20), st.integers(0, END), st.integers(1, 7)),
    nodes=small_nodes,
)
def test_as_time_goes_on_the_past_is_free_and_the_rest_stays_as_it_was(*, capacity, changes, asked, nodes) -> None:
    """Bookings, releases and the clock in any order; a calendar made anew of what is left says the same."""
    with nodes:
        free, booked, now = Calendar(capacity), [], 0
        for going_on, at, window, gpus in changes:
            if going_on:
                now = max(now, at)
                free.advance(now)
            elif booked and at % 3 == 0:
                free.release(booked.pop(at % len(booked)))
            else:
                booked.append(Booked(*window, gpus))
                free.book(booked[-1])

        counted = [calendar.UNLIMITED] * now + count(capacity, booked)[now:]
        again = Calendar(capacity, booked, now)
        gpus, duration, not_before, step = asked

        assert [free.free_at(at) for at in range(2 * END)] == counted
        assert [again.free_at(at) for at in range(2 * END)] == counted
        for one in (free, again):
            starts = [at for at in range(not_before, 2 * END - duration + 1) if at % step == 0]
            fitting = [at for at in starts if fits(counted, gpus, at, duration)]
            assert one.earliest(gpus, duration, not_before, 2 * END, step) == (fitting[0] if fitting else None)
            assert one.latest(gpus, duration, not_before, 2 * END, step) == (fitting[-1] if fitting else None)


@given(
    capacity=capacities,
    booked=bookings,
    gpus=st.integers(1, 12),
    duration=st.integers(1, 10),
    after=st.integers(0, END),
)
def test_offers_fit_do_not_overlap_and_leave_nothing_earlier_out(capacity, booked, gpus, duration, after) -> None:
    free, counted = Calendar(capacity, booked), count(capacity, booked)

    found = offers(lambda start: free.earliest(gpus, duration, start, 2 * END), duration, after)

    expected, at = [], after
    while len(expected) < 3 and at + duration <= 2 * END:
        if fits(counted, gpus, at, duration):
            expected.append(at)
            at += duration
        else:
            at += 1
    assert found == expected


@given(
    several=st.lists(st.tuples(capacities, bookings), min_size=1, max_size=3),
    gpus=st.integers(1, 12),
    duration=st.integers(1, 10),
    after=st.integers(0, END),
)
def test_what_several_agree_on_suits_all_and_nothing_earlier_does(several, gpus, duration, after) -> None:
    calendars = [Calendar(*one) for one in several]
    counted = [count(*one) for one in several]
    questions = [lambda start, one=one: one.earliest(gpus, duration, start, 2 * END) for one in calendars]

    starts = range(after, 2 * END - duration + 1)

    assert agreed(questions, after) == next(
        (at for at in starts if all(fits(free, gpus, at, duration) for free in counted)), None
    )


@given(
    several=st.lists(st.tuples(capacities, bookings), min_size=1, max_size=3),
    gpus=st.integers(1, 12),
    duration=st.integers(1, 10),
    last=st.integers(0, 2 * END),
)
def test_what_several_agree_on_late_suits_all_and_nothing_later_does(several, gpus, duration, last) -> None:
    calendars = [Calendar(*one) for one in several]
    counted = [count(*one) for one in several]
    questions = [lambda start, one=one: one.latest(gpus, duration, 0, start + duration) for one in calendars]

    assert agreed(questions, min(last, 2 * END - duration)) == next(
        (
            at
            for at in range(min(last, 2 * END - duration), -1, -1)
            if all(fits(free, gpus, at, duration) for free in counted)
        ),
        None,
    )


hours = st.builds(GpuHours, limit=st.integers(0, 40), period=st.sampled_from(["Day", "Week", "Month", "Year"]))
spans = st.builds(
    lambda start, length, gpus: Booked(start * 1800, (start + length) * 1800, gpus),
    st.integers(20_000 * 48, 20_000 * 48 + 500),
    st.integers(1, 200),
    st.integers(1, 3),
)


@given(hours, st.lists(spans, max_size=6), spans)
def test_a_budget_is_a_count_of_half_hours(hours, booked, one) -> None:
    def used(windows, period: int) -> int:
        return sum(
            window.gpus * 1800
            for window in windows
            for at in range(window.start, window.end, 1800)
            if period_of(at, hours.period)[0] == period
        )

    periods = {period_of(at, hours.period)[0] for at in range(one.start, one.end, 1800)}
    over = [period for period in sorted(periods) if used([*booked, one], period) > hours.limit * 3600]
    found = HourBudget(hours, booked).exceeded(one)

    assert (found is None) == (not over)
    assert found is None or period_of(found, hours.period)[0] == over[0]
    assert HourBudget(hours, booked).left(one.start) == max(
        0, hours.limit * 3600 - used(booked, period_of(one.start, hours.period)[0])
    )


@given(
    hours=st.builds(GpuHours, limit=st.integers(0, 40), period=st.sampled_from(["Day", "Week"])),
    booked=st.lists(spans, max_size=3),
    gpus=st.integers(1, 4),
    half_hours=st.integers(1, 60),
    after=st.integers(20_000 * 48, 20_000 * 48 + 200),
    step=st.sampled_from([1800, 3600, 5400]),
)
def test_the_earliest_start_in_a_budget_is_the_first_that_fits(*, hours, booked, gpus, half_hours, after, step) -> None:
    budget, duration, after = HourBudget(hours, booked), half_hours * 1800, after * 1800
    until = after + 20 * DAY

    starts = range(calendar.align(after, step), until - duration + 1, step)
    expected = next((at for at in starts if budget.exceeded(Booked(at, at + duration, gpus)) is None), None)

    assert budget.earliest(gpus, duration, after, until, step) == expected


@given(
    hours=st.builds(GpuHours, limit=st.integers(0, 40), period=st.sampled_from(["Day", "Week"])),
    booked=st.lists(spans, max_size=3),
    gpus=st.integers(1, 4),
    half_hours=st.integers(1, 60),
    until=st.integers(20_000 * 48 + 300, 20_000 * 48 + 600),
    step=st.sampled_from([1800, 3600, 5400]),
)
def test_the_latest_start_in_a_budget_is_the_last_that_fits(*, hours, booked, gpus, half_hours, until, step) -> None:
    budget, duration, until = HourBudget(hours, booked), half_hours * 1800, until * 1800
    after = until - 20 * DAY

    starts = range(calendar.align(after, step), until - duration + 1, step)
    expected = next((at for at in reversed(starts) if budget.exceeded(Booked(at, at + duration, gpus)) is None), None)

    assert budget.latest(gpus, duration, after, until, step) == expected
