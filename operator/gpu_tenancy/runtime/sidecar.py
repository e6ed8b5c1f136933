"""A thread with an event loop of its own, for what may not wait for the main loop: the lease, probes and metrics."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Sidecar(Generic[T]):
    """Enters an asynchronous context manager in its own thread, and leaves it there when this one is left.

        async with Sidecar(services) as address:
            ...

    Args:
        service: makes the context manager; what is bound to one event loop (sessions, servers) is made within it.
        name: of the thread.
    """

    def __init__(self, service: Callable[[], AbstractAsyncContextManager[T]], name: str = "sidecar") -> None:
        self._service = service
        self._entered: Future[T] = Future()
        self._left: Future[None] = Future()
        for future in (self._entered, self._left):
            future.set_running_or_notify_cancel()  # whoever waits may give up waiting, not cancel the thread's answer
        self._stop: Callable[[], object] = lambda: None
        # A daemon: when the main thread is done for, the process shall not live on as half of itself.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def __aenter__(self) -> T:
        self._thread.start()
        return await asyncio.wrap_future(self._entered)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # its loop has ended already
            self._stop()
        await self.ended()

    async def ended(self) -> None:
        """Wait until the services have ended, so that the main loop notices when they end too early.

        Raises:
            BaseException: what ended them.
        """
        await asyncio.wrap_future(self._left)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # a thread has nobody to raise to but those who wait for it
            logger.critical("The %s thread ended", self._thread.name, exc_info=error)
            if not self._entered.done():
                self._entered.set_exception(error)
            self._left.set_exception(error)
        else:
            self._left.set_result(None)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        async with self._service() as value:
            self._entered.set_result(value)
            await stop.wait()
