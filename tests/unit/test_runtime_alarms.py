from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gpu_tenancy.runtime.alarms import Alarms
from gpu_tenancy.runtime.clock import SystemClock
from manual_clock import ManualClock, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime


class Bench:
    """Alarms with a clock that stands still, and the instants at which each key went off."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.start = self.clock.now()
        self.rung: list[tuple[str, float]] = []
        self.alarms: Alarms[str] = Alarms(self._ring, self.clock)

    def _ring(self, key: str) -> None:
        self.rung.append((key, (self.clock.now() - self.start).total_seconds()))

    def at(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    running = asyncio.ensure_future(bench.alarms.run())
    await settle()
    yield bench
    running.cancel()


async def test_an_alarm_goes_off_once_exactly_when_it_is_due(bench: Bench):
    bench.alarms.set("a", bench.at(90.25))
    await bench.clock.advance(90.2)
    assert bench.rung == []
    await bench.clock.advance(1000)
    assert bench.rung == [("a", 90.25)]
    assert len(bench.alarms) == 0


async def test_alarms_of_one_instant_go_off_together_in_the_order_they_were_set(bench: Bench):
    for key in ("b", "a", "c"):
        bench.alarms.set(key, bench.at(10))
    await bench.clock.advance(10)
    assert bench.rung == [("b", 10), ("a", 10), ("c", 10)]


async def test_an_alarm_is_replaced_earlier_or_later_or_taken_back(bench: Bench):
    bench.alarms.set("later", bench.at(5))
    bench.alarms.set("earlier", bench.at(50))
    bench.alarms.set("never", bench.at(5))
    bench.alarms.set("later", bench.at(60))
    bench.alarms.set("earlier", bench.at(2))
    bench.alarms.set("never", None)
    bench.alarms.set("unheard of", None)
    await bench.clock.advance(100)
    assert bench.rung == [("earlier", 2), ("later", 60)]


async def test_an_alarm_moved_away_and_back_goes_off_once(bench: Bench):
    for seconds in (5, 9, 5, 5):
        bench.alarms.set("a", bench.at(seconds))
    await bench.clock.advance(10)
    assert bench.rung == [("a", 5)]


async def test_an_instant_that_is_past_goes_off_at_once(bench: Bench):
    bench.alarms.set("a", bench.at(-3600))
    await bench.clock.advance(0)
    assert bench.rung == [("a", 0)]


async def test_an_alarm_set_while_another_sleeps_wakes_it_in_time(bench: Bench):
    bench.alarms.set("a", bench.at(10))
    await bench.clock.advance(0.3)
    bench.alarms.set("b", bench.at(0.35))
    await bench.clock.advance(0.2)
    assert bench.rung == [("b", 0.35)]


async def test_after_the_clock_was_set_forward_an_alarm_is_at_most_a_second_late(bench: Bench):
    bench.alarms.set("a", bench.at(3600))
    await bench.clock.advance(0.4)
    bench.clock.jump(7200)
    await bench.clock.advance(1)
    [(key, seconds)] = bench.rung
    assert (key, seconds) == ("a", pytest.approx(7201))


async def test_after_the_clock_was_set_back_no_alarm_is_early(bench: Bench):
    bench.alarms.set("a", bench.at(2))
    await bench.clock.advance(1.5)
    bench.clock.jump(-3600)
    await bench.clock.advance(3600)
    assert bench.rung == []
    await bench.clock.advance(1)
    assert bench.rung == [("a", 2)]


async def test_what_the_callback_sets_counts(bench: Bench):
    def again(key: str) -> None:
        bench._ring(key)
        if len(bench.rung) < 3:
            bench.alarms.set(key, bench.clock.now() + timedelta(seconds=1))

    bench.alarms._callback = again
    bench.alarms.set("a", bench.at(1))
    await bench.clock.advance(10)
    assert bench.rung == [("a", 1), ("a", 2), ("a", 3)]


def test_an_alarm_that_is_moved_all_the_time_takes_no_more_memory():
    bench = Bench()
    for number in range(10_000):
        bench.alarms.set("a", bench.at(number))
    assert len(bench.alarms._heap) < 100


async def test_with_the_machines_clock_an_alarm_goes_off_after_its_instant():
    clock = SystemClock()
    rung: asyncio.Future[datetime] = asyncio.get_running_loop().create_future()
    alarms: Alarms[str] = Alarms(lambda _: rung.set_result(clock.now()), clock)
    running = asyncio.ensure_future(alarms.run())
    instant = clock.now() + timedelta(seconds=0.1)
    alarms.set("a", instant)
    # It takes a few milliseconds; a second would mean that it was not slept towards the instant.
    assert timedelta(0) <= await rung - instant < timedelta(seconds=0.5)
    running.cancel()


async def test_a_clock_that_is_set_back_is_told_once() -> None:
    clock, told = ManualClock(), []
    alarms: Alarms[str] = Alarms(lambda _key: None, clock, lambda: told.append(clock.now()))
    running = asyncio.create_task(alarms.run())
    try:
        await clock.advance(5)
        assert told == []
        clock.jump(-3600)
        await clock.advance(5)
        assert len(told) == 1
    finally:
        running.cancel()
