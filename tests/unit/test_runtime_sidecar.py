from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gpu_tenancy.runtime.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def test_the_service_is_entered_and_left_in_a_thread_of_its_own():
    threads = []

    @asynccontextmanager
    async def service() -> AsyncIterator[str]:
        threads.append(threading.current_thread().name)
        yield "value"
        threads.append(threading.current_thread().name)

    async with Sidecar(service, name="side") as value:
        assert value == "value"
        assert threads == ["side"]
    assert threads == ["side", "side"]


async def test_the_service_goes_on_while_the_main_loop_is_busy():
    busy, ticked = threading.Event(), threading.Event()

    async def tick() -> None:
        ticks = 0
        while True:
            ticks += busy.is_set()
            if ticks == 3:
                ticked.set()
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def service() -> AsyncIterator[None]:
        ticking = asyncio.ensure_future(tick())
        yield
        ticking.cancel()

    async with Sidecar(service):
        busy.set()
        assert ticked.wait(10)  # which blocks this loop


async def test_a_service_that_cannot_start_says_why():
    @asynccontextmanager
    async def service() -> AsyncIterator[None]:
        raise OSError("address in use")
        yield

    with pytest.raises(OSError, match="address in use"):
        async with Sidecar(service):
            pytest.fail("the body ran without the service")


async def test_a_service_that_ends_too_early_is_noticed_and_its_error_raised():
    @asynccontextmanager
    async def service() -> AsyncIterator[None]:
        async def fail() -> None:
            raise ValueError("broken")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            yield

    sidecar = Sidecar(service)
    with pytest.raises(ExceptionGroup) as caught:
        async with sidecar:
            await sidecar.ended()
    assert caught.group_contains(ValueError, match="broken")


async def test_who_gives_up_waiting_for_the_end_does_not_disturb_it():
    left = threading.Event()

    @asynccontextmanager
    async def service() -> AsyncIterator[None]:
        yield
        left.set()

    sidecar = Sidecar(service)
    async with sidecar:
        waiting = asyncio.ensure_future(sidecar.ended())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
    assert left.is_set()
