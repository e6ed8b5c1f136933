"""How many requests are under way at once, and which of those that wait is the next."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Slots:
    """Lets so many in at once; belongs to one event loop.

    Who can wait says for how long: whoever else comes meanwhile goes first, but nobody who comes later than that.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sequence = itertools.count()

    @asynccontextmanager
    async def taken(self, patience: float = 0.0) -> AsyncGenerator[None]:
        """Have a slot within the block.

        Args:
            patience: seconds for which others may be let in that come later.
        """
        await self._take(patience)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, patience: float) -> None:
        if self._free:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        heapq.heappush(self._waiting, (loop.time() + patience, next(self._sequence), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came at the same moment
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
