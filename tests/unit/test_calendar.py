"""Free GPUs over time: windows are half-open, capacity moves in steps, and offers are what fits first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gpu_tenancy.domain.calendar import (
    FOREVER,
    Booked,
    Calendar,
    agreed,
    align,
    instant,
    offers,
    seconds,
)

TEN = [(0, 10)]


def test_instants_are_whole_seconds_in_utc_whatever_the_zone() -> None:
    winter = datetime(2026, 12, 1, 21, tzinfo=timezone(timedelta(hours=1)))

    assert instant(seconds(winter)) == winter
    assert instant(seconds(winter)).tzinfo is UTC
    assert seconds(datetime(1970, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC)) == 1, "fractions are cut off, not rounded"
    assert seconds(timedelta(hours=1)) == 3600


@pytest.mark.parametrize(("value", "aligned"), [(0, 0), (1, 300), (299, 300), (300, 300), (301, 600)])
def test_an_instant_is_moved_to_the_next_step(value: int, aligned: int) -> None:
    assert align(value, 300) == aligned


def test_the_end_of_one_booking_and_the_start_of_the_next_do_not_meet() -> None:
    calendar = Calendar(TEN, [Booked(100, 200, 10)])

    assert calendar.fits(Booked(200, 300, 10))
    assert calendar.fits(Booked(0, 100, 10))
    assert not calendar.fits(Booked(199, 200, 1))
    assert [calendar.free_at(at) for at in (99, 100, 199, 200)] == [10, 0, 0, 10]


def test_what_is_released_is_free_again() -> None:
    calendar = Calendar(TEN)
    calendar.book(Booked(100, 200, 7))
    calendar.book(Booked(150, 250, 7))

    assert calendar.free_over(0, 300) == -4, "more may be booked than there is"

    calendar.release(Booked(100, 200, 7))

    assert calendar.free_over(0, 300) == 3


def test_capacity_moves_in_steps() -> None:
    calendar = Calendar([(0, 10), (100, 4), (200, 10)], [Booked(0, 300, 4)])

    assert calendar.fits(Booked(0, 100, 6))
    assert not calendar.fits(Booked(0, 101, 6))
    assert calendar.earliest(6, 50, 60) == 200


def test_before_the_first_step_there_is_nothing() -> None:
    assert not Calendar([(100, 10)]).fits(Booked(99, 101, 1))


def test_the_past_stands_in_nobodys_way() -> None:
    calendar = Calendar([(0, 10), (50, 4), (200, 10)], [Booked(0, 150, 4)], since=100)

    assert calendar.fits(Booked(0, 100, 1000))
    assert not calendar.fits(Booked(0, 101, 1))
    assert calendar.free_at(150) == 4
    assert calendar.free_at(200) == 10


def test_what_is_over_stands_in_nobodys_way_as_time_goes_on() -> None:
    calendar = Calendar([(0, 10)], [Booked(0, 150, 4), Booked(100, 200, 6)])

    calendar.advance(160)

    assert calendar.fits(Booked(0, 160, 1000))
    assert calendar.free_over(0, 180) == 4
    calendar.release(Booked(100, 200, 6))
    assert calendar.free_over(0, 180) == 10


def test_the_earliest_fit_is_on_a_step_and_ends_in_time() -> None:
    calendar = Calendar(TEN, [Booked(0, 110, 5)])

    assert calendar.earliest(6, 100, 0) == 110
    assert calendar.earliest(6, 100, 0, step=60) == 120
    assert calendar.earliest(6, 100, 0, 220, step=60) == 120
    assert calendar.earliest(6, 100, 0, 219, step=60) is None
    assert calendar.earliest(5, 100, 1, step=60) == 60, "what fits at once still begins on a step"
    assert calendar.earliest(11, 100, 0) is None
    assert calendar.earliest(5, 100, 300, 350) is None


def test_a_gap_that_is_too_short_is_passed_over() -> None:
    calendar = Calendar(TEN, [Booked(0, 100, 8), Booked(150, 200, 8)])

    assert calendar.earliest(5, 50, 0) == 100
    assert calendar.earliest(5, 51, 0) == 200


def test_offers_are_the_next_fits_and_do_not_overlap() -> None:
    calendar = Calendar(TEN, [Booked(100, 150, 8)])

    assert offers(lambda start: calendar.earliest(5, 60, start), 60, 0) == [0, 150, 210]
    assert offers(lambda start: calendar.earliest(5, 60, start, 200), 60, 0) == [0]
    assert offers(lambda start: calendar.earliest(5, 60, start), 60, 0, count=1) == [0]


def test_several_calendars_agree_on_the_first_start_that_suits_all() -> None:
    one = Calendar(TEN, [Booked(0, 100, 10), Booked(150, 300, 10)])
    other = Calendar(TEN, [Booked(90, 140, 10)])
    questions = [lambda start: one.earliest(1, 20, start, 1000), lambda start: other.earliest(1, 20, start, 1000)]

    assert agreed(questions, 0) == 300
    assert agreed([*questions, lambda start: one.earliest(11, 20, start, 1000)], 0) is None


def test_an_empty_window_is_no_question() -> None:
    with pytest.raises(ValueError, match="empty"):
        Calendar(TEN).free_over(5, 5)


def test_bookings_in_thousands_keep_every_step() -> None:
    calendar = Calendar([(0, 0)])
    for number in range(3000):
        calendar.book(Booked(number * 7 % 3000 * 10, FOREVER, -1))

    assert [calendar.free_at(number * 10) for number in range(3000)] == list(range(1, 3001))
    assert calendar.earliest(2500, 100, 0) == 24_990
