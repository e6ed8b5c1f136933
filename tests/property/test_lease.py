"""However clocks, networks, holders and strangers behave, no two may write, and in the end one does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from unit.test_runtime_lease import Arena, arena

Play = Callable[[Arena], Awaitable[None]]


def step(do: Callable[..., Any], *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Play]:
    """Generate something that happens in an arena."""

    async def play(arena: Arena, *values: Any) -> None:
        result = do(arena, *values)
        if asyncio.iscoroutine(result):
            await result

    return st.tuples(*arguments).map(lambda values: lambda arena: play(arena, *values))


NUMBERS = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        step(Arena.pass_time, st.floats(0.05, 4)),
        step(
            Arena.slow_down,
            NUMBERS,
            st.sampled_from([0.0, 0.05, 0.15, 0.3, 1.2, 2.5]),
            st.sampled_from([0.0, 0.1, 0.3]),
        ),
        step(Arena.cut_holder),
        step(Arena.mend, NUMBERS),
        step(Arena.restart, NUMBERS),
        step(Arena.delete_lease),
        step(Arena.empty_lease),
        step(Arena.touch_lease),
        step(Arena.jump, st.floats(-1e5, 1e5)),
    ),
    max_size=20,
)


# Once, two of them created the Lease one after the other, each sure that it had been gone for long enough.
GONE_BETWEEN_TWO_LOOKS: list[Play] = [
    lambda a: a.pass_time(1.75),
    lambda a: _at_once(a.delete_lease, lambda: a.restart(2)),
    lambda a: a.pass_time(1.6320609322100996),
    lambda a: _at_once(a.delete_lease),
]


async def _at_once(*steps: Callable[[], None]) -> None:
    for do in steps:
        do()


@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
@example(steps=GONE_BETWEEN_TWO_LOOKS)
def test_whatever_happens_no_two_may_write_and_in_the_end_one_does(steps: list[Play]):
    async def play() -> None:
        async with arena() as a:
            for name in ("one", "two", "three"):
                a.add(name)
            for happen in steps:
                await happen(a)
            for number in range(3):
                a.mend(number)
                a.slow_down(number, 0.0, 0.0)
            await a.pass_time(10)
            assert [candidate.is_valid for candidate in a.candidates].count(True) == 1

    asyncio.run(play())
