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
        self._visits: list[asyncio.Task[None]] = []

    def come(self, name: str, *, patient: bool = False) -> asyncio.Task[None]:
        self._visits.append(asyncio.create_task(self._visit(name, patient=patient)))
        return self._visits[-1]

    async def _visit(self, name: str, *, patient: bool) -> None:
        async with self.slots.taken(patient=patient):
            self.inside.append(name)
            await self._leave.wait()

    async def open(self) -> list[str]:
        self._leave.set()
        await asyncio.wait(self._visits)
        return self.inside


async def test_no_more_than_the_number_are_in_at_once():
    queue = Queue(2)
    for name in "abc":
        queue.come(name)
    await settle()
    assert queue.inside == ["a", "b"]
    assert await queue.open() == ["a", "b", "c"]


async def test_who_is_patient_lets_in_those_who_come_meanwhile():
    queue = Queue(1)
    queue.come("first")
    queue.come("patient", patient=True)
    queue.come("a")
    queue.come("b")
    await settle()
    assert await queue.open() == ["first", "a", "b", "patient"]


async def test_however_many_of_both_there_are_every_eighth_turn_is_for_the_patient():
    queue = Queue(1)
    queue.come("first")
    for number in range(20):
        queue.come(f"p{number}", patient=True)
    for number in range(21):
        queue.come(f"u{number}")
    await settle()
    inside = await queue.open()
    turns = [f"u{number}" for number in range(21)]
    for number in range(3):
        turns.insert(8 * number + 7, f"p{number}")
    assert inside == ["first", *turns, *(f"p{number}" for number in range(3, 20))]


async def test_those_who_come_late_overtake_the_patient_however_long_these_have_waited():
    queue = Queue(1)
    queue.come("first")
    for number in range(20):
        queue.come(f"p{number}", patient=True)
    await settle()
    queue.come("late")
    await settle()
    assert (await queue.open())[:2] == ["first", "late"]


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
    await slots._take(patient=False)
    turn = asyncio.create_task(slots._take(patient=False))
    await settle()
    slots._give_back()
    turn.cancel()
    with suppress(asyncio.CancelledError):
        await turn
    assert slots._free == 1
