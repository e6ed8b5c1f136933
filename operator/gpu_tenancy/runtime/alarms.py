"""Alarms: tell when the wall clock has reached an instant, such as the start or the end of a reservation."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from datetime import datetime

    from gpu_tenancy.runtime.clock import Clock

K = TypeVar("K", bound="Hashable")

# Sleeping goes by the monotonic clock, instants by the wall clock, and the wall clock may be set meanwhile. So no sleep
# is long: after a jump forward an alarm is at most this late, and after a jump back it is found not to be due yet.
LONGEST_SLEEP = 1.0


class Alarms(Generic[K]):
    """At most one alarm per key; `callback(key)` is called at or after its instant, never before it.

    Alarms of one instant go off together, in the order they were set. For use within one event loop.

    Args:
        callback: told of each alarm that goes off.
        clock: the time.
        set_back: called when the wall clock was set back: what was decided since may not be so any more.
    """

    def __init__(
        self, callback: Callable[[K], None], clock: Clock, set_back: Callable[[], None] = lambda: None
    ) -> None:
        self._callback = callback
        self._clock = clock
        self._set_back = set_back
        self._due: dict[K, tuple[datetime, int]] = {}
        # Holds entries that were replaced since as well: only the one that `_due` knows counts.
        self._heap: list[tuple[datetime, int, K]] = []
        self._sequence = 0
        self._nap: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: K, instant: datetime | None) -> None:
        """Set the key's alarm, replacing the one before; `None` means that there shall be none.

        Args:
            key: what the callback is told.
            instant: an aware instant; one that is past goes off at once.
        """
        if instant is None:
            self._due.pop(key, None)
            return
        if key in self._due and self._due[key][0] == instant:
            return
        self._sequence += 1
        self._due[key] = (instant, self._sequence)
        heapq.heappush(self._heap, (instant, self._sequence, key))
        self._forget_replaced()
        if self._heap[0][1] == self._sequence and self._nap is not None:
            self._nap.cancel()  # sleep anew, less long

    async def run(self) -> None:
        """Let alarms go off, until cancelled."""
        offset = self._offset()
        while True:
            before, offset = offset, self._offset()
            if offset < before - LONGEST_SLEEP:
                self._set_back()
            self._ring()
            self._nap = asyncio.create_task(self._clock.sleep(self._pause()))
            try:
                await asyncio.wait({self._nap})
            finally:
                self._nap.cancel()

    def _offset(self) -> float:
        """Tell by how many seconds the wall clock is ahead of the monotonic one; it falls if the wall clock is set back."""
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _ring(self) -> None:
        """Call back for every alarm that is due."""
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            instant, sequence, key = heapq.heappop(self._heap)
            if self._due.get(key) == (instant, sequence):
                del self._due[key]
                self._callback(key)

    def _pause(self) -> float:
        """Tell how many seconds to sleep until it is worth looking again."""
        if not self._heap:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(0.0, (self._heap[0][0] - self._clock.now()).total_seconds()))

    def _forget_replaced(self) -> None:
        """Rebuild the heap once most of it was replaced, or an alarm that is moved often would grow it for ever."""
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(instant, sequence, key) for key, (instant, sequence) in self._due.items()]
            heapq.heapify(self._heap)
