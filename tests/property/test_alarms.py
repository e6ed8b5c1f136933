"""Alarms, however the clock is set."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from unit.test_runtime_alarms import Bench

if TYPE_CHECKING:
    from datetime import datetime


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.sampled_from("abc"), st.integers(0, 20)),
            st.tuples(st.just("unset"), st.sampled_from("abc"), st.just(0)),
            st.tuples(st.just("jump"), st.just(""), st.integers(-10, 10)),
            st.tuples(st.just("advance"), st.just(""), st.integers(0, 5)),
        ),
        max_size=12,
    )
)
def test_whatever_happens_to_the_clock_each_alarm_goes_off_once_and_never_early(steps: list[tuple[str, str, int]]):
    async def play() -> None:
        bench = Bench()
        due: dict[str, datetime] = {}

        def ring(key: str) -> None:
            assert bench.clock.now() >= due.pop(key)

        bench.alarms._callback = ring
        running = asyncio.ensure_future(bench.alarms.run())
        for step, key, seconds in steps:
            if step == "set":
                due[key] = bench.at(seconds)
                bench.alarms.set(key, due[key])
            elif step == "unset":
                due.pop(key, None)
                bench.alarms.set(key, None)
            elif step == "jump":
                bench.clock.jump(seconds)
            else:
                await bench.clock.advance(seconds)
        await bench.clock.advance(150)
        running.cancel()
        assert due == {}

    asyncio.run(play())
