"""After a restart, pods of reservations that are gone are found by one list, not by one for each namespace."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gpu_tenancy.kube.client import Page
from gpu_tenancy.observability.metrics import Metrics
from gpu_tenancy.reconcile.views import Platform
from gpu_tenancy.runtime.controllers.pools import Decisions
from gpu_tenancy.runtime.controllers.tools import Tools
from gpu_tenancy.runtime.controllers.workloads import EVERYWHERE, Remainders, WorkloadController
from gpu_tenancy.runtime.engine import Engine
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.world import World
from manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gpu_tenancy.reconcile.plan import Operation, Plan

NAMESPACES = ("train", "serve", "data")


class Pods:
    """A client that has pods, and notes in which namespace they are asked for; empty for all."""

    def __init__(self, *namespaces: str) -> None:
        self.asked: list[str] = []
        self._pods = [pod(f"pod-{number}", namespace) for number, namespace in enumerate(namespaces)]

    async def list(self, _resource: Any, namespace: str = "", **_: Any) -> AsyncIterator[Page]:
        """Give each pod on a page of its own."""
        self.asked.append(namespace)
        for one in self._pods:
            if namespace in {"", one["metadata"]["namespace"]}:
                yield Page([one], "1")


class Done:
    """An executor that notes what is done."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    async def execute(self, plan: Plan) -> None:
        """Note it."""
        self.operations += plan.operations


def pod(name: str, namespace: str) -> dict[str, Any]:
    labels = {"gpu-tenancy.dev/reservation": "gone"}
    metadata = {"name": name, "namespace": namespace, "uid": name, "labels": labels}
    metadata["creationTimestamp"] = "2026-11-22T09:00:00Z"
    return {"metadata": metadata, "spec": {"priorityClassName": "gpu-b200-reserved", "containers": []}, "status": {}}


def test_only_namespaces_with_pods_of_reservations_are_looked_at_more_closely() -> None:
    async def run() -> None:
        world, clock, metrics = World(), ManualClock(), Metrics()
        client, executor = Pods("train", "train", "foreign"), Done()
        engine, pods, executing = Engine(clock, metrics), client, executor
        anything: Any = (pods, executing)
        tools = Tools(world, engine, anything[1], anything[0], clock, metrics, Platform(), timedelta(hours=1))
        for name in NAMESPACES:
            labels = {"gpu-tenancy.dev/tenant": "neura"}
            world.namespaces.observe(
                {"metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": labels}}
            )
        engine.pools = lambda: ["b200"]
        decisions = Decisions()
        workloads = WorkloadController(tools, decisions, Remainders())

        await workloads.reconcile(EVERYWHERE)
        looks = {Key(Topic.WORKLOADS, "train"), Key(Topic.WORKLOADS, "foreign")}
        assert engine.queue._waiting == looks | {Key(Topic.POOL, "b200")}, "and pools wait no longer"
        assert decisions.overdue.known
        for name in (*NAMESPACES, "foreign"):
            await workloads.reconcile(name)
        assert client.asked == ["", "train"]
        assert {operation.ref.name for operation in executor.operations} == {"pod-0", "pod-1"}  # type: ignore[union-attr]

    asyncio.run(run())
