"""What a budget remembers: by its periods, also when these become others."""

from __future__ import annotations

from datetime import UTC, datetime

from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.charges import MAX_SPANS, Charge, Record, Span, account

HOUR = 3600
DAY = 24 * HOUR
NOW = seconds(datetime(2026, 12, 9, 12, tzinfo=UTC))  # a Wednesday
MONTH = (seconds(datetime(2026, 12, 1, tzinfo=UTC)), seconds(datetime(2027, 1, 1, tzinfo=UTC)))
WEEK = (seconds(datetime(2026, 12, 7, tzinfo=UTC)), seconds(datetime(2026, 12, 14, tzinfo=UTC)))


def charge(start: int, hours: int, gpus: int = 1, **fields: int) -> Charge:
    return Charge(NOW + start * HOUR, NOW + start * HOUR, NOW + (start + hours) * HOUR, gpus, **fields)


def test_what_becomes_fixed_is_written_a_second_later() -> None:
    one = {"a": charge(0, 2)}
    assert account(Record(), None, one, "Month", NOW) == Record()
    assert account(Record(), None, one, "Month", NOW + 1) == Record(NOW + 1, (Span(*MONTH, 2 * HOUR),))


def test_what_is_given_back_too_late_counts_where_the_window_begins() -> None:
    one = {"a": charge(-1, 1, forfeited=7)}
    assert account(Record(), None, one, "Month", NOW).spans == (Span(*MONTH, HOUR + 7),)


def test_another_period_takes_along_what_was_charged_for_those_that_are_gone() -> None:
    before = Record(NOW - 1, (Span(*MONTH, present=5 * HOUR, gone=3 * HOUR),))
    there = {"a": charge(-4, 5)}

    weekly = account(before, None, there, "Week", NOW)

    assert weekly == Record(NOW, (Span(*WEEK, present=5 * HOUR, gone=3 * HOUR),))
    assert account(before, None, {}, "Week", NOW).spans == (Span(*WEEK, gone=8 * HOUR),)


def test_a_period_that_is_over_is_forgotten_with_what_was_charged_in_it() -> None:
    over = Record(MONTH[0], (Span(MONTH[0] - 30 * DAY, MONTH[0], 5, 6),))
    assert account(over, None, {}, "Month", NOW) is over, "which is no reason to write"
    assert account(over, None, {}, "Day", NOW) is over
    assert account(over, None, {"a": charge(-1, 1)}, "Month", NOW).spans == (Span(*MONTH, HOUR),)


def test_a_long_window_is_written_down_as_far_as_there_is_room() -> None:
    spans = account(Record(), None, {"a": charge(-1, 24 * 1000)}, "Day", NOW).spans
    assert len(spans) == MAX_SPANS
    assert [span.end for span in spans[:-1]] == [span.start for span in spans[1:]]
