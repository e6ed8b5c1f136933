"""How many requests are under way at once, and which of those that wait is the next."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_PATIENT_TURN = 8


class Slots:
    """Lets so many in at once; belongs to one event loop.

    Who is patient lets all others go first, also those who come later. Yet every eighth turn is theirs, so that they
    neither wait for ever nor hold up the others by more than that, however many there are of either.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()
        self._turns = 0

    @asynccontextmanager
    async def taken(self, *, patient: bool = False) -> AsyncGenerator[None]:
        """Have a slot within the block."""
        await self._take(patient=patient)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, *, patient: bool) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        (self._patient if patient else self._urgent).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came at the same moment
                self._give_back()
            raise

    def _give_back(self) -> None:
        while queue := self._next():
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _next(self) -> deque[asyncio.Future[None]]:
        """Say which queue's turn it is; an empty one if nobody waits."""
        if not (self._urgent and self._patient):
            return self._urgent or self._patient
        self._turns = (self._turns + 1) % _PATIENT_TURN
        return self._urgent if self._turns else self._patient
