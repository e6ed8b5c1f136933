"""A clock that stands still until a test moves it, and an event loop that does not wait for time to pass."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


class ManualClock:
    """Implements `gpu_tenancy.runtime.clock.Clock`."""

    def __init__(self, now: datetime = datetime(2026, 12, 1, 20, 0, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._sleepers: dict[asyncio.Future[None], float] = {}

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        # Less than a microsecond could be too little to be added to the time.
        self._sleepers[sleeper] = self._monotonic + max(seconds, 1e-6)
        try:
            await sleeper
        finally:
            del self._sleepers[sleeper]

    async def advance(self, seconds: float) -> None:
        """Let time pass on both clocks; who sleeps wakes up in order, at the time it wanted to, and gets to run."""
        target = self._monotonic + seconds
        await settle()
        while due := [at for sleeper, at in self._sleepers.items() if not sleeper.done() and at <= target]:
            self._move_to(max(self._monotonic, min(due)))
            for sleeper, at in list(self._sleepers.items()):
                if at <= self._monotonic and not sleeper.done():
                    sleeper.set_result(None)
            await settle()
        self._move_to(target)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or, with a negative number, back; no time passes."""
        self._now += timedelta(seconds=seconds)

    def _move_to(self, monotonic: float) -> None:
        self._now += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic


def skip_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have time pass at once in the running event loop when there is nothing else to do, and only then."""
    loop = asyncio.get_running_loop()
    now, select = 0.0, loop._selector.select

    def jump(timeout: float | None = None) -> list[object]:
        nonlocal now
        ready = select(None if timeout is None else 0)
        if not ready:
            now += timeout or 0.0
        return ready

    monkeypatch.setattr(loop, "time", lambda: now)
    monkeypatch.setattr(loop._selector, "select", jump)


async def settle() -> None:
    """Let every task that can run do so, until all wait for something."""
    loop = asyncio.get_running_loop()
    while loop._ready:  # noqa: ASYNC110  # who runs now is not in it, and who waits is not either
        await asyncio.sleep(0)
