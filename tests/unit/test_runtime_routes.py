"""What a change is worth: a decision at once, one soon, or one when nothing else is to be done."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises import Decision, Figures, QuotaKey
from gpu_tenancy.kube.store import Key as ObjectKey
from gpu_tenancy.observability.metrics import Metrics
from gpu_tenancy.reconcile.views import Platform
from gpu_tenancy.runtime.controllers.quotas import _Writing
from gpu_tenancy.runtime.controllers.routes import COUNT, SETTLE, Controllers
from gpu_tenancy.runtime.controllers.tools import Tools
from gpu_tenancy.runtime.engine import TELL, Engine
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.world import World
from manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

POOL = Key(Topic.POOL, "b200")
RESERVATIONS = Key(Topic.RESERVATIONS, "b200")
GPU = "requests.nvidia.com/gpu"


def metadata(name: str, version: int, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "train",
        "uid": name,
        "generation": 1,
        "resourceVersion": str(version),
        "creationTimestamp": "2026-11-22T09:00:00Z",
        **fields,
    }


def quota(version: int, hard: int, enforced: int, used: int = 0, tier: str = "reserved") -> dict[str, Any]:
    status = {"hard": {GPU: str(enforced)}, "used": {GPU: str(used)}}
    return {"metadata": metadata(f"gpu-b200-{tier}", version), "spec": {"hard": {GPU: str(hard)}}, "status": status}


def reservation(version: int, generation: int = 1, **status: Any) -> dict[str, Any]:
    window = {"start": "2026-12-01T20:00:00Z", "end": "2026-12-01T22:00:00Z"}
    spec = {"pool": "b200", "gpus": 8, "window": window}
    return {"metadata": metadata("night", version, generation=generation), "spec": spec, "status": status}


class StillLoop(asyncio.SelectorEventLoop):
    """Its time stands still until a test lets it pass."""

    passed = 0.0

    def time(self) -> float:
        return self.passed


def queued(
    change: Callable[[World], None], *before: Callable[[World], None], writing: tuple[str, ...] = ()
) -> dict[Key, float]:
    """Say which keys a change queues, and for how many seconds later; the pool writes quotas in some namespaces."""

    async def run() -> dict[Key, float]:
        world, clock, metrics = World(), ManualClock(), Metrics()
        nothing: Any = SimpleNamespace(write_timeout=5.0)
        engine = Engine(clock, metrics)
        tools = Tools(world, engine, nothing, nothing, clock, metrics, Platform(), timedelta(hours=1))
        controllers = Controllers(tools)
        allotments = {QuotaKey("train", Tier.RESERVED): 8}
        decision = Decision(allotments, allotments, {}, {}, Figures(0, 8, 0, None), overcommitted=False, wake=None)
        controllers._decisions.replace("b200", decision, {}, {})
        controllers._quotas._writing["b200"] = _Writing(set(writing), asyncio.Event())
        for one in before:
            one(world)
        queue = engine.queue
        queue._timers.clear()
        queue._rushes.clear()
        queue._waiting.clear()
        change(world)
        now = asyncio.get_running_loop().time()
        timers = {key: rush.timer for key, rush in queue._rushes.items()} | queue._timers
        later = {key: timer.when() - now for key, timer in timers.items()}
        return dict.fromkeys(queue._waiting, 0.0) | later

    with asyncio.Runner(loop_factory=StillLoop) as runner:
        return runner.run(run())


def observes(raw: dict[str, Any]) -> Callable[[World], None]:
    return lambda world: (world.quotas if raw["metadata"]["name"].startswith("gpu-") else world.reservations).observe(
        raw
    )


@pytest.mark.parametrize(
    ("before", "after", "seconds"),
    [
        ((8, 0), (8, 8), COUNT),
        ((0, 0), (8, 0), COUNT),
        ((0, 0), (9, 0), SETTLE),
        ((8, 8), (4, 8), COUNT),
        ((4, 8), (4, 4), SETTLE),
        ((8, 8), (8, 8, 1), SETTLE),
    ],
    ids=["counted", "raised as allotted", "raised beyond it", "lowered", "seen to be lowered", "used"],
)
def test_a_decision_is_due_when_a_quota_gives_way_or_is_not_as_allotted(before, after, seconds):
    keys = queued(observes(quota(2, *after)), observes(quota(1, *before)))
    assert keys[POOL] == pytest.approx(seconds, abs=0.05)


def test_of_spot_quotas_only_their_use_matters():
    assert queued(observes(quota(1, 8, 8, tier="spot")))[POOL] == pytest.approx(COUNT, abs=0.05)
    used = queued(observes(quota(2, 8, 8, 1, tier="spot")), observes(quota(1, 8, 8, tier="spot")))
    assert used[POOL] == pytest.approx(SETTLE, abs=0.05)


def test_a_quota_that_is_gone_makes_room_unless_it_comes_again_soon():
    gone = queued(
        lambda world: world.quotas.forget(ObjectKey("train", "gpu-b200-reserved"), "gpu-b200-reserved"),
        observes(quota(1, 8, 8)),
    )
    assert gone[POOL] == pytest.approx(COUNT, abs=0.05)


def test_a_quota_that_allows_nothing_takes_nothing_though_nothing_was_allotted_to_it():
    assert queued(observes(quota(1, 0, 0, tier="guaranteed")))[POOL] == pytest.approx(COUNT, abs=0.05)
    assert queued(observes(quota(1, 1, 0, tier="guaranteed")))[POOL] == pytest.approx(SETTLE, abs=0.05)


def test_of_reservations_something_is_to_be_said_only_when_their_own_quotas_change():
    assert queued(observes(quota(1, 8, 8)))[RESERVATIONS] == pytest.approx(TELL, abs=0.05)
    assert RESERVATIONS not in queued(observes(quota(1, 0, 0, tier="guaranteed")))
    assert RESERVATIONS not in queued(observes(quota(1, 8, 8, tier="spot")))


def test_while_quotas_are_being_counted_nothing_is_counted_or_told():
    def rush(world: World) -> None:
        world.quotas.observe(quota(2, 8, 8))
        asyncio.get_running_loop().passed += 0.3
        world.quotas.observe(quota(3, 8, 0))
        world.quotas.observe(quota(4, 8, 8))

    keys = queued(rush, observes(quota(1, 8, 0)))
    assert keys[POOL] == pytest.approx(COUNT, abs=0.05)
    assert keys[RESERVATIONS] == pytest.approx(TELL, abs=0.05)


def test_what_a_reservation_asks_for_is_decided_at_once_and_what_is_said_of_it_only_told():
    first = observes(reservation(1))
    assert queued(first)[POOL] == 0
    assert queued(observes(reservation(2, generation=2)), first)[POOL] == 0
    refused = {"type": "Stalled", "status": "True", "reason": "NoCapacity", "message": "", "observedGeneration": 1}
    stalled = refused | {"lastTransitionTime": "2026-11-22T09:00:00Z"}
    assert queued(observes(reservation(2, conditions=[stalled])), first)[POOL] == pytest.approx(SETTLE, abs=0.05)
    said = queued(observes(reservation(2, queuePosition=1)), first)
    assert POOL not in said
    assert said[RESERVATIONS] == pytest.approx(TELL, abs=0.05)


def owned(world: World) -> None:
    world.namespaces.observe(
        {"metadata": metadata("train", 1, labels={"gpu-tenancy.dev/tenant": "neura"}) | {"namespace": ""}}
    )


def test_a_tenant_is_not_looked_at_for_each_quota_that_its_pool_is_writing():
    tenant, before = Key(Topic.TENANT, "neura"), (owned, observes(quota(1, 0, 0)))
    assert tenant in queued(observes(quota(2, 8, 0)), *before)
    assert tenant in queued(observes(quota(2, 8, 0)), *before, writing=("lab",))
    during = queued(observes(quota(2, 8, 0)), *before, writing=("train",))
    assert tenant not in during
    assert POOL in during


def test_a_cluster_network_policy_concerns_its_tenant_and_who_peers_with_it():
    def policy(name: str) -> Callable[[World], None]:
        raw = {"metadata": {**metadata(name, 3), "labels": {}}, "spec": {}}
        del raw["metadata"]["namespace"]
        return lambda world: world.cluster_network_policies.observe(raw)

    def namespace(name: str, tenant: str) -> Callable[[World], None]:
        raw = {"metadata": {**metadata(name, 1), "labels": {"gpu-tenancy.dev/tenant": tenant}}}
        return lambda world: world.namespaces.observe(raw)

    def peering(namespace: str, tenant: str, peer: str) -> Callable[[World], None]:
        raw = {"metadata": {**metadata("joint", 2), "namespace": namespace, "uid": namespace}}
        raw["spec"] = {"peer": {"tenant": tenant, "namespace": peer}}
        return lambda world: world.peerings.observe(raw)

    site = [
        namespace("train", "neura"),
        namespace("lab", "rival"),
        namespace("serve", "neura"),
        peering("train", "rival", "lab"),
        peering("lab", "neura", "train"),
    ]
    assert queued(policy("gpu-tenancy-neura"), *site).keys() == {
        Key(Topic.TENANT, "neura"),
        Key(Topic.PEERINGS, "train"),
        Key(Topic.PEERINGS, "lab"),
    }
    assert queued(policy("somebody-elses"), *site) == {}


def test_a_namespace_that_changes_hands_is_decided_on_soon_and_a_new_one_in_a_while():
    lab = {"namespace": "", "labels": {"gpu-tenancy.dev/tenant": "lab"}}

    def changed(world: World) -> None:
        world.namespaces.observe({"metadata": metadata("train", 2) | lab})

    assert queued(owned, observes(quota(1, 8, 8)))[POOL] == pytest.approx(COUNT, abs=0.05)
    assert queued(changed, observes(quota(1, 8, 8)), owned)[POOL] == pytest.approx(SETTLE, abs=0.05)
