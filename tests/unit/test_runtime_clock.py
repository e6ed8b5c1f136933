from __future__ import annotations

import os
import time
from datetime import UTC, timedelta
from unittest.mock import patch

from gpu_tenancy.runtime.clock import SystemClock


def test_the_wall_clock_is_aware_and_in_utc():
    assert SystemClock().now().tzinfo is UTC


def test_the_wall_clock_is_the_same_instant_in_every_time_zone():
    before = SystemClock().now()
    with patch.dict(os.environ, TZ="Asia/Tokyo"):
        time.tzset()
        try:
            after = SystemClock().now()
        finally:
            os.environ.pop("TZ")
            time.tzset()
    assert timedelta(0) <= after - before < timedelta(minutes=1)


async def test_sleeping_passes_at_least_that_time_on_the_monotonic_clock():
    clock = SystemClock()
    began = clock.monotonic()
    await clock.sleep(0.02)
    # The event loop may wake up a tick of its own clock early.
    assert clock.monotonic() - began > 0.019
