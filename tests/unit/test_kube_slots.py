"""Who goes next when not all can at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gpu_tenancy.kube.slots import Slots
from manual_clock import settle


class Queue:
    """People at slots, and the order in which they got one."""

    def __init__(self, number: int) -> None:
        self.slots = Slots(number)
        self.inside: list[str] = []
        self._leave = asyncio.Event()

    def come(self, name: str, patience: float = 0.0) -> asyncio.Task[None]:
        return asyncio.create_task(self._visit(name, patience))

    async def _visit(self, name: str, patience: float) -> None:
        async with self.slots.taken(patience):
            self.inside.append(name)
            await self._leave.wait()

    async def open(self) -> list[str]:
        self._leave.set()
        await settle()
        return self.inside


async def test_no_more_than_the_number_are_in_at_once():
    queue = Queue(2)
    visits = [queue.come(name) for name in "abc"]
    await settle()
    assert queue.inside == ["a", "b"]
    assert await queue.open() == ["a", "b", "c"]
    assert all(visit.done() for visit in visits)


async def test_who_can_wait_lets_in_those_who_come_meanwhile():
    queue = Queue(1)
    visits = [queue.come("first"), queue.come("patient", 30.0), queue.come("a"), queue.come("b")]
    await settle()
    assert await queue.open() == ["first", "a", "b", "patient"]
    assert all(visit.done() for visit in visits)


async def test_nobody_waits_for_those_who_come_later_than_they_can_wait():
    queue = Queue(1)
    visits = [queue.come("first"), queue.come("patient", 0.05)]
    await asyncio.sleep(0.1)
    visits.append(queue.come("late"))
    await settle()
    assert await queue.open() == ["first", "patient", "late"]
    assert all(visit.done() for visit in visits)


async def test_who_gives_up_waiting_takes_no_slot_along():
    queue = Queue(1)
    first, gone, next_ = queue.come("first"), queue.come("gone"), queue.come("next")
    await settle()
    gone.cancel()
    assert await queue.open() == ["first", "next"]
    assert first.done()
    assert next_.done()
    assert queue.slots._free == 1


async def test_who_gives_up_at_the_very_moment_of_their_turn_passes_it_on():
    slots = Slots(1)
    await slots._take(0)
    turn = asyncio.create_task(slots._take(0))
    await settle()
    slots._give_back()
    turn.cancel()
    with suppress(asyncio.CancelledError):
        await turn
    assert slots._free == 1
