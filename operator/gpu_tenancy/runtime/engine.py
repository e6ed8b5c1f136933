"""The engine: workers take keys from the queue and hand them to whoever reconciles that topic; failures come back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from gpu_tenancy.kube.errors import KubeError, NotLeadingError
from gpu_tenancy.observability.logs import about
from gpu_tenancy.runtime.alarms import Alarms
from gpu_tenancy.runtime.executor import ExecutionError
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.queue import QueueShutDownError, WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gpu_tenancy.observability.metrics import Metrics
    from gpu_tenancy.runtime.clock import Clock

logger = logging.getLogger(__name__)

# A refusal that no retry heals is tried on all the same, rarely: what it depends on may not be watched.
PATIENCE = 60.0


# What is decided is first enforced, and then told: nobody waits for it.
TELL = 0.5

# All that a tenant's plan has written is told back by watches, and its quotas are counted one by one.
REST = 0.05


def _rest(key: Key) -> float:
    return REST if key.topic is Topic.TENANT else 0.0


class Controller(Protocol):
    """Reconciles the keys of one topic."""

    async def reconcile(self, name: str) -> None:
        """Bring what the name stands for in line with what it should be; do nothing if it is."""


class Engine:
    """The queue, the alarms and the workers of one term.

    Attributes:
        queue: keys that want to be reconciled.
        alarms: keys that want to be reconciled at an instant.
        pools: names every pool, to be decided on anew when the clock was set back.
    """

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(lambda key: key.rank, rest=_rest)
        self.alarms: Alarms[Key] = Alarms(self.queue.add, clock, self._clock_set_back)
        self.pools: Callable[[], Iterable[str]] = tuple
        self._clock = clock
        self._metrics = metrics
        metrics.queue_depth(lambda: self.queue.depth)

    def _clock_set_back(self) -> None:
        logger.warning("The clock was set back: deciding anew")
        for pool in self.pools():
            self.queue.add(Key(Topic.POOL, pool))

    async def run(self, controllers: Mapping[Topic, Controller], workers: int) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.alarms.run())
            for _ in range(workers):
                tasks.create_task(self._work(controllers))

    async def _work(self, controllers: Mapping[Topic, Controller]) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueShutDownError:
                return
            began = self._clock.monotonic()
            result = "error"
            try:
                result = await self._reconcile(controllers[key.topic], key)
            finally:
                self.queue.done(key)
                self._metrics.reconciled(key.kind, result, self._clock.monotonic() - began)

    async def _reconcile(self, controller: Controller, key: Key) -> str:
        extra = about(key.kind, "", key.name)
        try:
            await controller.reconcile(key.name)
        except NotLeadingError:
            self.queue.retry(key)
            return "not_leading"
        except ExecutionError as error:
            if error.conflict and error.transient:
                delay = self.queue.retry(key)
                logger.debug("The world changed meanwhile, planning anew in %.1f s: %s", delay, error, extra=extra)
                return "conflict"
            delay = self.queue.retry(key, error.retry_after if error.transient else PATIENCE)
            logger.warning("Not done, trying again in %.1f s: %s", delay, error, extra=extra)
            return "error"
        except KubeError as error:
            delay = self.queue.retry(key, error.retry_after)
            logger.warning("Not done, trying again in %.1f s: %s", delay, error, extra=extra)
            return "error"
        except Exception:
            delay = self.queue.retry(key)
            logger.exception("A bug: not reconciled, trying again in %.1f s", delay, extra=extra)
            return "bug"
        self.queue.forget(key)
        return "success"
