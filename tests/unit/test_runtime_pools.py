"""A decision about a pool is made of what is so when it is published, also when pods had to be looked at for it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises import PoolFacts, QuotaKey, State, decide
from gpu_tenancy.observability.metrics import Metrics
from gpu_tenancy.reconcile.plan import Create, plan
from gpu_tenancy.reconcile.reservations import unread
from gpu_tenancy.reconcile.views import Platform
from gpu_tenancy.runtime.controllers.binder import Binder
from gpu_tenancy.runtime.controllers.pools import Decisions, PoolController
from gpu_tenancy.runtime.controllers.tools import Tools
from gpu_tenancy.runtime.engine import Engine
from gpu_tenancy.runtime.fleet import Fleet
from gpu_tenancy.runtime.raises import Raises
from gpu_tenancy.runtime.world import Broken, World
from manual_clock import ManualClock
from promise_facts import NOW, booking, capacity, grant, pool, spec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

POOL = {"region": "eu-de", "model": "NVIDIA-B200", "nodeSelector": {"matchLabels": {"gpus": "yes"}}, "gpusPerNode": 8}
REGION = {
    "displayName": "Germany",
    "country": "DE",
    "jurisdictions": ["DE"],
    "nodeSelector": {"matchLabels": {"gpus": "yes"}},
}


def stored(name: str, namespace: str = "", labels: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"{namespace}/{name}",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-22T09:00:00Z",
        "labels": labels or {},
    }
    return {"metadata": metadata, **fields}


class Pods:
    """A client that lists no pods, and what happens meanwhile."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.looks = 0
        self._meanwhile = meanwhile

    async def list(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        self.looks += 1
        await asyncio.sleep(0)
        self._meanwhile()
        return
        yield


class Nothing:
    async def execute(self, _plan: Any) -> None:
        """Write nothing."""


def observe(world: World) -> None:
    """Put there one node of eight GPUs, and a reservation that has just begun and is to have it to itself."""
    world.regions.observe(stored("eu-de", spec=REGION))
    world.pools.observe(stored("b200", spec=POOL))
    amounts = {"nvidia.com/gpu": "8"}
    ready = [{"type": "Ready", "status": "True"}]
    node = {"capacity": amounts, "allocatable": amounts, "conditions": ready}
    world.nodes.observe(stored("node-1", labels={"gpus": "yes"}, spec={}, status=node))
    grants = [{"pool": "b200", "reservable": 8}]
    world.tenants.observe(stored("neura", spec={"namespaces": [{"name": "train"}], "gpus": grants}))
    world.namespaces.observe(stored("train", labels={"gpu-tenancy.dev/tenant": "neura"}))
    window = {"start": "2026-12-01T20:00:00Z", "end": "2026-12-01T22:00:00Z"}
    asked = {"pool": "b200", "gpus": 8, "exclusivity": "Node", "window": window}
    status = {"window": window, "gpus": 8, "acceptedTime": "2026-11-30T00:00:00Z"}
    world.reservations.observe(stored("night", "train", spec=asked, status=status))


def decided(meanwhile: Callable[[Raises], None]) -> tuple[int, int]:
    """Say what the reservation's quota is to allow, and how often pods were looked at."""

    async def run() -> tuple[int, int]:
        world, clock, metrics, raises, decisions = World(), ManualClock(), Metrics(), Raises(5), Decisions()
        pods: Any = Pods(lambda: meanwhile(raises))
        executor: Any = Nothing()
        engine = Engine(clock, metrics)
        tools = Tools(world, engine, executor, pods, clock, metrics, Platform(), timedelta(hours=1))
        fleet = Fleet(world, lambda *_: None, lambda: None)
        observe(world)
        await PoolController(tools, fleet, Binder(tools, fleet), decisions, raises).reconcile("b200")
        decision = decisions.of("b200")
        assert decision is not None
        return decision.allotments[QuotaKey("train", Tier.RESERVED)], pods.looks

    return asyncio.run(run())


def test_what_was_promised_to_a_reservation_that_cannot_be_read_keeps_its_place() -> None:
    window = {"start": "2026-12-01T12:00:00Z", "end": "2026-12-01T14:00:00Z"}
    status = {"window": window, "gpus": 8, "acceptedTime": "2026-11-29T00:00:00Z"}
    world = World()
    world.reservations.observe(stored("old", "train", spec={"pool": "b200", "gpus": "many"}, status=status))
    world.reservations.observe(stored("odd", "train", spec={"pool": 7}))
    (entry,) = world.reservations.by("pool", "b200")
    assert isinstance(entry.value, Broken)
    (old,) = unread("train", "old", "u", pool="b200", status=entry.value.status, tenant="neura")

    decision = decide(
        PoolFacts(pool(), capacity(8), (grant("agile"),), (old, booking("new", spec(8, 1, 3), "agile"))), NOW
    )

    assert decision.verdicts["new"].state is State.REFUSED
    assert decision.verdicts[old.uid].ledger == old.ledger
    assert decision.allotments[QuotaKey("train", Tier.RESERVED)] == 8


def test_a_window_opens_after_one_look_at_pods() -> None:
    assert decided(lambda _: None) == (8, 1)


def test_what_is_raised_during_a_look_at_pods_is_not_promised_again() -> None:
    quota = stored("gpu-b200-reserved", "lab", spec={"hard": {"requests.nvidia.com/gpu": "8"}})
    writing = plan([Create({"apiVersion": "v1", "kind": "ResourceQuota", **quota})])
    with ExitStack() as under_way:
        assert decided(lambda raises: under_way.enter_context(raises.of(writing))) == (0, 1)
