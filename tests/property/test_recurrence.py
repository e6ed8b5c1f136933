"""Rules name the same times as dateutil's, and as the clock on the wall."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st

from gpu_tenancy.api.reservation import MAX_OCCURRENCES, Recurrence
from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.recurrence import REACH, RuleError, occurrences

DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]


def some(values: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=4, unique=True).map(",".join)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Draw a rule that names some day at least: dateutil looks for others until the year 9999."""
    frequency = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY"]))
    parts = [f"FREQ={frequency}"]
    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(st.integers(1, 5))}")
    if frequency == "MONTHLY" and draw(st.booleans()):
        ordinals = [f"{number}{day}" for number in ("1", "+2", "4", "-1", "-3") for day in DAYS]
        parts.append(f"BYDAY={draw(some(ordinals))}")
    elif draw(st.booleans()):
        parts.append(f"BYDAY={draw(some(DAYS))}")
    elif frequency != "WEEKLY" and draw(st.booleans()):
        parts.append(f"BYMONTHDAY={draw(some([str(day) for day in (*range(1, 29), 31, -1, -2, -28)]))}")
    if "BY" in parts[-1] and "31" not in parts[-1] and "INTERVAL" not in "".join(parts) and draw(st.booleans()):
        parts.append(f"BYMONTH={draw(some([str(month) for month in range(1, 13)]))}")
    return ";".join([parts[0], *draw(st.permutations(parts[1:]))])


@given(
    rule=rules(),
    zone=st.sampled_from(ZONES),
    minutes=st.integers(0, 3 * 365 * 24 * 60),
    until=st.integers(0, 1000),
    counted=st.booleans(),
)
def test_a_rule_names_the_same_times_as_dateutil(*, rule, zone, minutes, until, counted) -> None:
    where = ZoneInfo(zone)
    day = datetime(2026, 1, 1) + timedelta(minutes=minutes)  # noqa: DTZ001  # the clock on the wall
    day = day.replace(day=min(day.day, 28))
    first = next(iter(rrulestr(rule + ";COUNT=1", dtstart=day)))
    last = (first + timedelta(days=until)).replace(tzinfo=where).astimezone(UTC)
    rule += f";COUNT={until % 40 + 1}" if counted else f";UNTIL={last:%Y%m%dT%H%M%SZ}"
    bare = rule.partition(";UNTIL")[0]
    end = first + REACH
    walls = islice(rrulestr(bare, dtstart=first), MAX_OCCURRENCES + 2)
    expected = []
    for wall in walls:
        at = seconds(wall.replace(tzinfo=where))
        if wall >= end or (not counted and at > seconds(last)):
            break
        expected.append(at)
    Recurrence.model_validate({"rule": rule, "timeZone": zone})

    start = first.replace(tzinfo=where).astimezone(UTC)
    skipped = start.astimezone(where).replace(tzinfo=None) != first
    too_many = len(expected) > MAX_OCCURRENCES or (counted and len(expected) < until % 40 + 1)

    if skipped or too_many:
        with pytest.raises(RuleError):
            occurrences(rule, zone, start, timedelta(minutes=1))
    else:
        assert list(occurrences(rule, zone, start, timedelta(minutes=1))) == expected
