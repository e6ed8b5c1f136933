"""A rule goes by the clock on the wall, is bounded, and says what is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gpu_tenancy.api.common import format_instant
from gpu_tenancy.domain.calendar import instant
from gpu_tenancy.domain.recurrence import RuleError, occurrences

HOUR = timedelta(hours=1)


def times(rule: str, start: datetime, zone: str = "Europe/Berlin", duration: timedelta = HOUR) -> list[str]:
    return [format_instant(instant(at)) for at in occurrences(rule, zone, start, duration)]


def test_a_course_keeps_its_hour_when_the_clocks_change() -> None:
    assert times("FREQ=WEEKLY;BYDAY=TU,TH;COUNT=3", datetime(2027, 3, 23, 17, tzinfo=UTC)) == [
        "2027-03-23T17:00:00Z",
        "2027-03-25T17:00:00Z",
        "2027-03-30T16:00:00Z",
    ]


def test_an_hour_that_is_skipped_is_read_by_the_clock_before() -> None:
    assert times("FREQ=DAILY;COUNT=3", datetime(2027, 3, 27, 1, 30, tzinfo=UTC)) == [
        "2027-03-27T01:30:00Z",
        "2027-03-28T01:30:00Z",
        "2027-03-29T00:30:00Z",
    ]


def test_an_hour_that_comes_twice_is_the_first_of_the_two() -> None:
    assert times("FREQ=DAILY;COUNT=3", datetime(2027, 10, 30, 0, 30, tzinfo=UTC)) == [
        "2027-10-30T00:30:00Z",
        "2027-10-31T00:30:00Z",
        "2027-11-01T01:30:00Z",
    ]
    with pytest.raises(RuleError, match="begin at 2027-10-31T00:30:00Z"):
        times("FREQ=DAILY;COUNT=3", datetime(2027, 10, 31, 1, 30, tzinfo=UTC))


def test_days_are_those_of_the_zone() -> None:
    assert times("FREQ=MONTHLY;BYDAY=-1FR;COUNT=2", datetime(2027, 1, 29, 23, 30, tzinfo=UTC), "Pacific/Honolulu") == [
        "2027-01-29T23:30:00Z",
        "2027-02-26T23:30:00Z",
    ]


def test_until_is_the_last_instant_at_which_one_may_begin() -> None:
    start = datetime(2027, 1, 1, 9, tzinfo=UTC)

    assert len(times("FREQ=DAILY;UNTIL=20270103T090000Z", start, "UTC")) == 3
    assert len(times("FREQ=DAILY;UNTIL=20270103T085959Z", start, "UTC")) == 2


@pytest.mark.parametrize(
    ("rule", "zone", "duration", "text"),
    [
        ("FREQ=DAILY;COUNT=2", "Europe/Atlantis", HOUR, "there is no time zone Europe/Atlantis: write one like"),
        ("FREQ=DAILY;UNTIL=20270231T000000Z", "UTC", HOUR, "UNTIL=20270231T000000Z is no instant: write one like"),
        ("FREQ=WEEKLY;BYDAY=SA;COUNT=2", "UTC", HOUR, "not one of the times that the rule names: begin at 2027-01-02"),
        ("FREQ=DAILY;BYMONTHDAY=31;BYMONTH=2;COUNT=2", "UTC", HOUR, "not one of the times that the rule names"),
        ("FREQ=DAILY;UNTIL=20261231T000000Z", "UTC", HOUR, "not one of the times that the rule names"),
        ("FREQ=DAILY;COUNT=367", "UTC", HOUR, "at most 366 occurrences within five years: lower COUNT, or UNTIL"),
        ("FREQ=DAILY;UNTIL=20290101T000000Z", "UTC", HOUR, "at most 366 occurrences"),
        ("FREQ=MONTHLY;INTERVAL=99;COUNT=3", "UTC", HOUR, "within five years"),
        ("FREQ=DAILY;COUNT=2", "UTC", 25 * HOUR, "begins before the one before it ends: choose a shorter duration"),
        ("FREQ=DAILY;COUNT=90", "Europe/Berlin", 24 * HOUR, "a shorter duration"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_what_to_write_instead(rule, zone, duration, text) -> None:
    with pytest.raises(RuleError, match=text):
        times(rule, datetime(2027, 1, 1, 9, tzinfo=UTC), zone, duration)
