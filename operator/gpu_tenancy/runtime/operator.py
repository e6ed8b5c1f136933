"""The operator as a process: it stands for election, and while it leads it serves terms."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import EVENT_CONTROLLER, OPERATOR
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.events import EventRecorder
from gpu_tenancy.observability.health import Health, serve
from gpu_tenancy.observability.metrics import Metrics
from gpu_tenancy.runtime.clock import SystemClock
from gpu_tenancy.runtime.lease import Elector, KubernetesLease, unique_identity
from gpu_tenancy.runtime.sidecar import Sidecar
from gpu_tenancy.runtime.term import serve_term

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gpu_tenancy.kube.auth import Credentials
    from gpu_tenancy.runtime.clock import Clock
    from gpu_tenancy.runtime.settings import Settings
    from gpu_tenancy.runtime.term import WatchKinds

logger = logging.getLogger(__name__)

_LAST_EVENTS_SECONDS = 2.0


class Operator:
    """Runs until it is told to stop.

    Args:
        settings: the settings.
        credentials: makes credentials; called once per event loop.
        watch_kinds: makes the watcher of our own kinds.
        clock: the time.

    Attributes:
        address: where /healthz, /readyz and /metrics are served, once it runs.
    """

    def __init__(
        self,
        settings: Settings,
        credentials: Callable[[], Credentials],
        watch_kinds: WatchKinds,
        clock: Clock | None = None,
    ) -> None:
        self.address: tuple[str, int] | None = None
        self._settings = settings
        self._credentials = credentials
        self._watch_kinds = watch_kinds
        self._clock = clock or SystemClock()
        self._metrics = Metrics()
        self._health = Health(("caches",))
        self._identity = unique_identity()
        self._recorder: EventRecorder | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run; a lost lease, a lost API server and a changed token end a term at most, never the process.

        Raises:
            OSError: if the HTTP address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        leadership = Leadership()
        gate = WriteGate(lambda: True)

        def changed(held: bool) -> None:
            self._metrics.lease_changed(held)
            loop.call_soon_threadsafe(leadership.change, held)

        elector = Elector(
            identity=self._identity,
            clock=self._clock,
            on_change=changed,
            is_writing=lambda: gate.writing > 0,
            timings=self._settings.lease_timings,
        )
        if self._settings.lease_enabled:
            gate.is_valid = elector.is_valid
        else:
            changed(held=True)

        @asynccontextmanager
        async def sidecar() -> AsyncIterator[tuple[str, int]]:
            settings = self._settings
            async with AsyncExitStack() as stack:
                address = await stack.enter_async_context(
                    serve(self._health, self._metrics, settings.http_host, settings.http_port)
                )
                if settings.lease_enabled:
                    client = await stack.enter_async_context(
                        Client(
                            self._credentials(),
                            field_manager=OPERATOR,
                            read_timeout=settings.lease_retry_period,
                            write_timeout=settings.lease_retry_period,
                        )
                    )
                    lease = KubernetesLease(client, settings.namespace, settings.lease_name)
                    await stack.enter_async_context(elector.campaign(lease))
                yield address

        side = Sidecar(sidecar)
        async with side as self.address:
            logger.info("Serving /healthz, /readyz and /metrics at http://%s:%d", *self.address)
            self._health.set_check("caches", ok=True, detail="standing by for the lease")
            async with asyncio.TaskGroup() as tasks:
                others = [
                    tasks.create_task(self._health.beat_for_ever()),
                    tasks.create_task(self._serve_terms(leadership, gate)),
                    tasks.create_task(side.ended()),
                ]
                await stop.wait()
                logger.info("Stopping")
                await self._post_events()
                await gate.close(self._settings.lease_timings.longest_write)
                for task in others:
                    task.cancel()

    async def _post_events(self) -> None:
        """Post the events that have given way to other requests until now."""
        if self._recorder is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_EVENTS_SECONDS):
                    await self._recorder.flush()

    async def _serve_terms(self, leadership: Leadership, gate: WriteGate) -> None:
        """Serve a term whenever the lease is held; a term that ends by itself is a bug, and the next one begins."""
        while True:
            await leadership.gained.wait()
            term = asyncio.create_task(self._serve_term(gate))
            lost = asyncio.create_task(leadership.lost.wait())
            try:
                await asyncio.wait({term, lost}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost.cancel()
                term.cancel()
                await asyncio.wait({term})
            self._health.set_check("caches", ok=True, detail="standing by for the lease")
            if not term.cancelled() and (error := term.exception()) is not None:
                logger.error("The term ended, another begins", exc_info=error)
            # A write of this term may still take effect, and the next one knows nothing of it.
            await self._clock.sleep(self._settings.lease_timings.longest_write)

    async def _serve_term(self, gate: WriteGate) -> None:

        def requested(verb: str, kind: str, status: int, seconds: float) -> None:
            gate.ended(verb)
            self._metrics.request(verb, kind, status, seconds)

        self._health.set_check("caches", ok=False, detail="filling")
        async with Client(
            self._credentials(),
            field_manager=OPERATOR,
            may_write=gate.may_write,
            on_request=requested,
            concurrency=self._settings.max_concurrent_writes,
            write_timeout=self._settings.lease_timings.longest_write,
        ) as client:
            self._recorder = EventRecorder(client, controller=EVENT_CONTROLLER, instance=self._identity)
            try:
                await serve_term(
                    client=client,
                    recorder=self._recorder,
                    settings=self._settings,
                    clock=self._clock,
                    metrics=self._metrics,
                    health=self._health,
                    watch_kinds=self._watch_kinds,
                )
            finally:
                self._recorder = None


class Leadership:
    """Whether this process leads, to wait for from the main loop. What may be written the gate decides, not this."""

    def __init__(self) -> None:
        self.gained = asyncio.Event()
        self.lost = asyncio.Event()

    def change(self, held: bool) -> None:
        """Take note that the lease was got or lost."""
        event, opposite = (self.gained, self.lost) if held else (self.lost, self.gained)
        opposite.clear()
        event.set()


class WriteGate:
    """Lets writes begin while the lease is valid, and counts those that are under way.

    The client asks `may_write` immediately before it sends a write and reports its end to `ended`.
    """

    def __init__(self, is_valid: Callable[[], bool]) -> None:
        self.is_valid = is_valid
        self.writing = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def may_write(self) -> bool:
        """Tell whether a write may begin; if so it counts as under way."""
        if self._closed or not self.is_valid():
            return False
        self.writing += 1
        self._idle.clear()
        return True

    def ended(self, verb: str) -> None:
        """Take note that a request has ended."""
        if verb in {"create", "patch", "delete", "evict"}:
            self.writing -= 1
            if not self.writing:
                self._idle.set()

    async def close(self, patience: float) -> None:
        """Let no more writes begin, and wait for those under way, before the lease goes to somebody else."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._idle.wait()
