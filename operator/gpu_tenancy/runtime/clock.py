"""The two times: the wall clock that reservations are promised by, and a monotonic one that waits are measured by."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

_AGEING = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first is Linux's alone


class Clock(Protocol):
    """What is asked for the time, so that tests can say what it is."""

    def now(self) -> datetime:
        """Tell the wall clock's instant, aware, in UTC; it may jump either way."""
        ...

    def monotonic(self) -> float:
        """Tell the seconds since some fixed instant; they never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of the monotonic clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Tell the wall clock's instant in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Tell the seconds since the machine started, those it was suspended for included.

        A suspended machine goes on ageing for everyone else: a lease that ran out meanwhile has run out.
        """
        return time.clock_gettime(_AGEING)

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""
        await asyncio.sleep(seconds)
