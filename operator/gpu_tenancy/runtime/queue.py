"""The work queue: which keys want to be looked at, in which order, and how soon again after a failure."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")


class QueueShutDownError(Exception):
    """The queue hands out no more keys."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: any time up to `base * 2 ** failures` seconds, at most `cap`.

    Full jitter, because keys that failed together (an API server that restarted) must not come back together.

    Attributes:
        base: seconds, the longest wait after the first failure.
        cap: seconds, the longest wait of all.
    """

    base: float = 0.5
    cap: float = 60.0

    def delay(self, failures: int, jitter: Callable[[], float]) -> float:
        """Choose how many seconds to wait after `failures` failures before this one; `jitter` gives numbers in [0, 1)."""
        return min(self.cap, self.base * 2.0 ** min(failures, 32)) * jitter()


class _Rush(NamedTuple):
    """Until when a rush may put off a look, by the loop's time, and the timer that ends it."""

    until: float
    timer: asyncio.TimerHandle


class WorkQueue(Generic[K]):
    """A deduplicating queue of keys for workers in one event loop.

    A key waits at most once, is with at most one worker at a time, and one that is added while a worker has it is
    handed out again once that worker is done: no change goes unseen, and no two workers write the same object.
    Keys of a lower `priority` number go first, among equals those that waited longest. A key that a worker was done with
    rests for a moment: what a burst of changes adds meanwhile is looked at together.
    """

    def __init__(
        self,
        priority: Callable[[K], int] = lambda _: 0,
        *,
        rest: Callable[[K], float] = lambda _: 0.0,
        backoff: Backoff | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._priority = priority
        self._rest = rest
        self._backoff = backoff or Backoff()
        self._jitter = jitter
        self._ready: asyncio.PriorityQueue[tuple[float, int, K | None]] = asyncio.PriorityQueue()
        self._sequence = 0
        self._waiting: set[K] = set()
        self._active: set[K] = set()
        self._resting: dict[K, asyncio.TimerHandle] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._rushes: dict[K, _Rush] = {}
        self._failures: dict[K, int] = {}
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def depth(self) -> int:
        """How many keys want a worker; those that were added for later are not counted."""
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Ask for the key to be looked at, once, however often it is asked."""
        if self._closed or key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._active and key not in self._resting:
            self._push(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add the key later; of several such wishes for one key the earliest is kept."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        pending = self._timers.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + seconds:
                return
            pending.cancel()
        self._timers[key] = loop.call_later(seconds, self._add_now, key)

    def add_in_calm(self, key: K, seconds: float, patience: float) -> None:
        """Add the key once a rush is over, unless it is looked at in between.

        Args:
            key: what changes in the rush.
            seconds: the rush is over when nobody has asked for this for so long.
            patience: seconds after which the key is added all the same.
        """
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        rush = self._end_rush(key)
        until = now + patience if rush is None else rush.until
        self._rushes[key] = _Rush(until, loop.call_at(min(now + seconds, until), self._calmed, key))

    def retry(self, key: K, retry_after: float | None = None) -> float:
        """Add the key again after a failure, and tell in how many seconds.

        Args:
            key: the key that failed.
            retry_after: seconds that the API server asked for; they replace the backoff's.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = self._backoff.delay(failures, self._jitter) if retry_after is None else retry_after
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Reset the key's backoff, after a success or when its object is gone."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for a key; whoever got it calls `done` in the end.

        Raises:
            QueueShutDownError: when the queue was shut down.
        """
        _, _, key = await self._ready.get()
        if key is None:
            self._push(None)  # for the next worker
            raise QueueShutDownError
        self._waiting.discard(key)
        self._end_rush(key)
        self._active.add(key)
        self._idle.clear()
        return key

    def done(self, key: K) -> None:
        """Give the key back, whether it succeeded or not."""
        self._active.discard(key)
        if (seconds := self._rest(key)) and not self._closed:
            self._resting[key] = asyncio.get_running_loop().call_later(seconds, self._rested, key)
        elif key in self._waiting:
            self._push(key)
        if not self._active:
            self._idle.set()

    async def shut_down(self) -> None:
        """Take and hand out no more keys, and wait until the workers are done with those they have.

        Keys that wait are dropped: whoever comes next looks at everything anyway, and sooner if it need not wait.
        """
        self._closed = True
        for timer in (*self._timers.values(), *self._resting.values(), *(rush.timer for rush in self._rushes.values())):
            timer.cancel()
        self._timers.clear()
        self._rushes.clear()
        self._waiting.clear()
        self._push(None)
        await self._idle.wait()

    def _add_now(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _calmed(self, key: K) -> None:
        del self._rushes[key]
        self.add(key)

    def _end_rush(self, key: K) -> _Rush | None:
        rush = self._rushes.pop(key, None)
        if rush is not None:
            rush.timer.cancel()
        return rush

    def _rested(self, key: K) -> None:
        del self._resting[key]
        if key in self._waiting:
            self._push(key)

    def _push(self, key: K | None) -> None:
        """Make the key available; `None` says that there are no more, ahead of all keys."""
        self._sequence += 1
        priority = -math.inf if key is None else self._priority(key)
        self._ready.put_nowait((priority, self._sequence, key))
