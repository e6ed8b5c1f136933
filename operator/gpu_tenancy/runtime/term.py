"""One term as the leader: fill an empty world, and when it is complete, work on it until the lease is lost.

No plan is made before the world is complete. A tenant that is merely not known yet would look deleted, and a
reservation that is not known yet would be promised to somebody else.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from gpu_tenancy.api import GROUP, VERSION
from gpu_tenancy.domain.naming import MANAGED_SELECTOR
from gpu_tenancy.kube.reflector import Reflector
from gpu_tenancy.kube.resource import BUILT_IN, CLUSTER_NETWORK_POLICY, DEVICE_CLASS
from gpu_tenancy.kube.resource import Resource as ApiResource
from gpu_tenancy.runtime.controllers import Controllers
from gpu_tenancy.runtime.controllers.tools import Tools
from gpu_tenancy.runtime.engine import Engine
from gpu_tenancy.runtime.executor import Executor
from gpu_tenancy.runtime.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpu_tenancy.api.schema import Kind
    from gpu_tenancy.kube.client import Client
    from gpu_tenancy.kube.events import EventRecorder
    from gpu_tenancy.kube.store import Store
    from gpu_tenancy.observability.health import Health
    from gpu_tenancy.observability.metrics import Metrics
    from gpu_tenancy.runtime.clock import Clock
    from gpu_tenancy.runtime.settings import Settings

logger = logging.getLogger(__name__)

# Served from 1.34 on, unless switched off; and as long as nobody takes the kind out of the cluster.
_OPTIONAL = frozenset({DEVICE_CLASS, CLUSTER_NETWORK_POLICY})


class KindWatcher(Protocol):
    """Feeds the stores of our own kinds; `synced` is set once they are complete."""

    synced: asyncio.Event

    async def run(self) -> None:
        """Feed until cancelled."""


class WatchKinds(Protocol):
    """Makes a watcher of our own kinds."""

    def __call__(
        self, client: Client, stores: Mapping[Kind[Any, Any], Store[Any]], on_restart: Callable[[str], None]
    ) -> KindWatcher:
        """Make it, to feed these stores; `on_restart` is told the kind of each watch that was lost."""


async def serve_term(
    *,
    client: Client,
    recorder: EventRecorder,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    health: Health,
    watch_kinds: WatchKinds,
) -> None:
    """Lead until cancelled."""
    world = World()
    engine = Engine(clock, metrics)
    separating = {} if settings.cluster_network_policy_priority is None else world.separating
    reflected = {**world.reflected, **separating}
    resources = BUILT_IN.with_(*separating, *(api_resource(kind) for kind in world.custom))
    stores = {**reflected, **world.managed, **{api_resource(kind): world.custom[kind] for kind in world.custom}}
    executor = Executor(client, resources, stores, recorder, on_repair=metrics.drift_repaired)
    audit_interval = timedelta(seconds=settings.residency_audit_interval)
    tools = Tools(world, engine, executor, client, clock, metrics, settings.platform, audit_interval)
    controllers = Controllers(tools)

    def restarted(kind: str, _problem: str = "") -> None:
        metrics.watch_restarted(kind)

    reflectors = [
        Reflector(
            client,
            resource,
            store,
            label_selector=selector,
            optional=resource in _OPTIONAL,
            on_restart=restarted,
        )
        for selector, group in (("", reflected), (MANAGED_SELECTOR, world.managed))
        for resource, store in group.items()
    ]
    watcher = watch_kinds(client, world.custom, restarted)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(recorder.run())
            tasks.create_task(watcher.run())
            for reflector in reflectors:
                tasks.create_task(reflector.run())
            for event in (watcher.synced, *(reflector.synced for reflector in reflectors)):
                await event.wait()
            health.set_check("caches", ok=True, detail="complete")
            logger.info("The world is complete: beginning to reconcile")
            await engine.run(controllers.begin(), settings.workers)
    finally:
        metrics.term_ended()


def api_resource(kind: Kind[Any, Any]) -> ApiResource:
    """Say where the objects of one of our kinds live."""
    return ApiResource(GROUP, VERSION, kind.plural, kind.kind, kind.namespaced)
