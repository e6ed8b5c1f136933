"""Plans are done on a real API server, stage by stage, and what went wrong is said exactly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from cluster.faults import Seen, is_write
from cluster.kube_world import CONFIG_MAP, World, eventually, open_world
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.errors import NotLeadingError
from gpu_tenancy.kube.events import EventRecorder
from gpu_tenancy.kube.resource import BUILT_IN, EVENT, NAMESPACE, POD, RESOURCE_QUOTA, Resource
from gpu_tenancy.kube.store import Store
from gpu_tenancy.reconcile.plan import Create, Delete, Emit, Evict, Ref, Update, plan
from gpu_tenancy.runtime.executor import ExecutionError, Executor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Raw = dict[str, Any]

BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")


@pytest.fixture
async def world(admin: Path) -> AsyncIterator[World]:
    async with open_world(admin) as one:
        yield one


class Hands:
    """An executor with its stores, which no reflector fills."""

    def __init__(self, client: Client) -> None:
        self.repairs: list[str] = []
        self.quotas: Store[Raw] = Store(lambda raw: raw)
        self.maps: Store[Raw] = Store(lambda raw: raw)
        self.namespaces: Store[Raw] = Store(lambda raw: raw)
        self.recorder = EventRecorder(client, controller="example.com/op", instance="test", per_second=100)
        stores = {RESOURCE_QUOTA: self.quotas, CONFIG_MAP: self.maps, NAMESPACE: self.namespaces}
        resources = BUILT_IN.with_(CONFIG_MAP)
        self.executor = Executor(client, resources, stores, self.recorder, on_repair=self.repairs.append)


@pytest.fixture
def hands(world: World) -> Hands:
    return Hands(world.client)


def quota(world: World, gpus: str, **labels: str) -> Raw:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "gpu", "namespace": world.namespace, "labels": labels},
        "spec": {"hard": {"requests.nvidia.com/gpu": gpus}},
    }


def ref(world: World, kind: str = "ResourceQuota", name: str = "gpu") -> Ref:
    return Ref("v1", kind, world.namespace, name)


def raise_to(world: World, gpus: str, version: str | None = None) -> Update:
    return Update(ref(world), {"spec": {"hard": {"requests.nvidia.com/gpu": gpus}}}, version)


async def live_gpus(world: World) -> str:
    live = await world.truth.get(RESOURCE_QUOTA, "gpu", world.namespace)
    return live["spec"]["hard"]["requests.nvidia.com/gpu"]


def stored_gpus(world: World, hands: Hands) -> str:
    entry = hands.quotas.get("gpu", world.namespace)
    assert entry is not None
    return entry.value["spec"]["hard"]["requests.nvidia.com/gpu"]


async def created(world: World, gpus: str = "4", body: Raw | None = None) -> str:
    """Have a quota to which the quota controller has written and, as it counts nothing, writes no more; return its version."""
    await world.truth.create(RESOURCE_QUOTA, body or quota(world, gpus))

    async def counted() -> bool:
        return "hard" in (await world.truth.get(RESOURCE_QUOTA, "gpu", world.namespace)).get("status", {})

    await eventually(counted)
    return (await world.truth.get(RESOURCE_QUOTA, "gpu", world.namespace))["metadata"]["resourceVersion"]


async def test_what_is_created_is_in_the_store_at_once(world: World, hands: Hands) -> None:
    result = await hands.executor.execute(plan([Create(quota(world, "4"))]))
    assert result.writes == 1
    assert stored_gpus(world, hands) == "4"
    assert hands.repairs == []


async def test_what_exists_already_is_brought_in_line_and_foreign_fields_stay(world: World, hands: Hands) -> None:
    other = quota(world, "9", **{"other.example/team": "x", "gpu-tenancy.dev/tenant": "somebody", "own": "old"})
    other["spec"]["hard"]["requests.nvidia.com/mig-1g.23gb"] = "7"
    await created(world, body=other)
    result = await hands.executor.execute(plan([Create(quota(world, "4", own="new"), repair=True)]))
    live = await world.truth.get(RESOURCE_QUOTA, "gpu", world.namespace)
    assert live["metadata"]["labels"] == {"other.example/team": "x", "own": "new"}
    assert live["spec"]["hard"] == {"requests.nvidia.com/gpu": "4"}
    assert stored_gpus(world, hands) == "4"
    assert (result.writes, hands.repairs) == (1, ["ResourceQuota"])


async def test_what_exists_already_as_wanted_is_not_written(world: World, hands: Hands) -> None:
    await created(world, "4000m")
    result = await hands.executor.execute(plan([Create(quota(world, "4"))]))
    assert result.writes == 0
    assert [seen.method for seen in world.proxy.writes()] == ["POST"]
    assert stored_gpus(world, hands) == "4"


async def test_what_exists_already_may_be_an_error(world: World, hands: Hands) -> None:
    await created(world)
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([Create(quota(world, "9"), adopt=False)]))
    assert caught.value.conflict
    assert await live_gpus(world) == "4"


async def test_what_exists_but_is_being_deleted_is_waited_for(world: World, hands: Hands) -> None:
    dying = quota(world, "4")
    dying["metadata"]["finalizers"] = ["example.com/wait"]
    await world.truth.create(RESOURCE_QUOTA, dying)
    await world.truth.delete(RESOURCE_QUOTA, "gpu", world.namespace)
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([Create(quota(world, "9"))]))
    assert caught.value.conflict
    assert caught.value.transient
    await world.truth.merge_patch(RESOURCE_QUOTA, "gpu", {"metadata": {"finalizers": None}}, world.namespace)
    await hands.executor.execute(plan([Create(quota(world, "9"))]))
    assert stored_gpus(world, hands) == "9"


async def test_nothing_can_be_created_in_a_dying_namespace_yet_it_is_no_permanent_failure(
    world: World, hands: Hands
) -> None:
    name = f"{world.namespace}-dying"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await world.truth.create(NAMESPACE, body)
    held = {"name": "held", "namespace": name, "finalizers": ["example.com/wait"]}
    await world.truth.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    uid = (await world.truth.get(NAMESPACE, name))["metadata"]["uid"]
    namespace = Ref("v1", "Namespace", "", name)
    await hands.executor.execute(plan([Delete(namespace, uid)]))
    entry = hands.namespaces.get(name)
    assert entry is not None
    assert "deletionTimestamp" in entry.value["metadata"], "the store sees it dying at once"
    child = quota(world, "4")
    child["metadata"]["namespace"] = name
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([Create(child)]))
    assert caught.value.transient
    # Deleting it once more is a success too, although the API server calls it a conflict.
    await hands.executor.execute(plan([Delete(namespace, uid)]))
    await world.truth.merge_patch(CONFIG_MAP, "held", {"metadata": {"finalizers": None}}, name)


async def test_an_update_with_a_stale_version_is_a_conflict_and_writes_nothing(world: World, hands: Hands) -> None:
    version = await created(world)
    await world.truth.merge_patch(RESOURCE_QUOTA, "gpu", {"metadata": {"labels": {"a": "b"}}}, world.namespace)
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([raise_to(world, "8", version)]))
    assert caught.value.conflict
    assert caught.value.uncertain == ()
    assert await live_gpus(world) == "4"


async def test_a_status_is_updated_through_its_subresource(world: World, hands: Hands) -> None:
    version = await created(world)
    patch = {"status": {"used": {"requests.nvidia.com/gpu": "3"}}, "spec": {"hard": {"requests.nvidia.com/gpu": "99"}}}
    await hands.executor.execute(plan([Update(ref(world), patch, version, "status")]))
    entry = hands.quotas.get("gpu", world.namespace)
    assert entry is not None
    assert entry.value["status"]["used"] == {"requests.nvidia.com/gpu": "3"}
    assert await live_gpus(world) == "4"


async def test_deleting_is_done_when_the_object_is_gone_whoever_did_it(world: World, hands: Hands) -> None:
    first = await world.create("a")
    await hands.executor.execute(plan([Create(world.config_map("a"))]))
    assert len(hands.maps) == 1
    uid = first["metadata"]["uid"]
    assert (await hands.executor.execute(plan([Delete(ref(world, "ConfigMap", "a"), uid)]))).writes == 1
    assert len(hands.maps) == 0
    assert (await hands.executor.execute(plan([Delete(ref(world, "ConfigMap", "a"), uid)]))).writes == 0
    await world.create("a", second="1")
    assert (await hands.executor.execute(plan([Delete(ref(world, "ConfigMap", "a"), uid)]))).writes == 0
    assert (await world.data())["a"] == {"second": "1"}
    assert len(hands.maps) == 1, "its successor of the same name is what the store has now"


async def running_pod(world: World, name: str) -> str:
    """Have a pod that counts as healthy, without a node that runs it; return its uid."""
    pod = await world.truth.create(
        POD,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": world.namespace, "labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "none.invalid"}], "schedulerName": "nobody"},
        },
    )
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await world.truth.merge_patch(POD, name, {"status": status}, world.namespace, subresource="status")
    return pod["metadata"]["uid"]


async def budget(world: World, name: str) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}
    metadata = {"name": name, "namespace": world.namespace}
    body = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}
    await world.truth.create(BUDGET, body)

    async def counted() -> bool:
        return (await world.truth.get(BUDGET, name, world.namespace)).get("status", {}).get("currentHealthy") == 1

    await eventually(counted)


async def test_a_disruption_budget_blocks_an_eviction_and_nothing_else(world: World, hands: Hands) -> None:
    guarded, free = await running_pod(world, "guarded"), await running_pod(world, "free")
    await budget(world, "guarded")
    guarded_ref, free_ref = ref(world, "Pod", "guarded"), ref(world, "Pod", "free")
    both = [Evict(guarded_ref, guarded), Evict(free_ref, free, grace_seconds=0)]
    result = await hands.executor.execute(plan(both, [Create(world.config_map("later"))]))
    assert list(result.blocked) == [guarded_ref]
    assert "disruption budget" in result.blocked[guarded_ref]
    assert result.writes == 2
    assert "later" in await world.data()
    # One that is gone, and one whose name another pod has now, need no eviction.
    await running_pod(world, "successor")
    again = [Evict(free_ref, free), Evict(ref(world, "Pod", "successor"), "another uid")]
    result = await hands.executor.execute(plan(again))
    assert (result.writes, dict(result.blocked)) == (0, {})
    assert "deletionTimestamp" not in (await world.truth.get(POD, "successor", world.namespace))["metadata"]


async def test_a_stage_waits_for_the_one_before_and_is_not_begun_if_that_failed(world: World, hands: Hands) -> None:
    def is_quota(seen: Seen) -> bool:
        return seen.is_write and seen.path.endswith("/resourcequotas")

    world.proxy.delay(0.3, when=is_quota)
    await hands.executor.execute(plan([Create(quota(world, "4"))], [Create(world.config_map("after"))]))
    assert [seen.path.rpartition("/")[2] for seen in world.proxy.writes()] == ["resourcequotas", "configmaps"]
    bad = quota(world, "-1")
    bad["metadata"]["name"] = "bad"
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(
            plan([Create(bad), Create(world.config_map("beside"))], [Create(world.config_map("never"))])
        )
    (failure,) = caught.value.permanent
    assert failure.ref.name == "bad"
    assert await world.data() == await world.data() | {"beside": {}}
    assert "never" not in await world.data()


async def test_a_namespace_in_which_something_fails_does_not_hold_up_the_others(world: World, hands: Hands) -> None:
    name = f"{world.namespace}-other"
    other = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    bad, after, elsewhere = quota(world, "-1"), world.config_map("after"), world.config_map("elsewhere")
    elsewhere["metadata"]["namespace"] = name
    status = Update(Ref("v1", "Namespace", "", world.namespace), {"metadata": {"labels": {"status": "written"}}})
    of_none = Create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    stages = [Create(bad), Create(other)], [Create(after), Create(elsewhere)], [status, of_none]
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan(*stages, by_namespace=True))
    assert [failure.ref for failure in caught.value.failures] == [ref(world)]
    *first, last = [seen.path for seen in world.proxy.writes()]
    assert sorted(first) == ["/api/v1/namespaces", f"/api/v1/namespaces/{world.namespace}/resourcequotas"]
    assert last == f"/api/v1/namespaces/{name}/configmaps"
    await world.truth.delete(NAMESPACE, name)


async def test_a_lost_answer_is_looked_after(world: World, hands: Hands) -> None:
    version = await created(world)
    world.proxy.lose_answer(when=is_write)
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([raise_to(world, "8", version)]))
    assert caught.value.transient
    assert caught.value.uncertain == ()
    assert stored_gpus(world, hands) == "8"


async def test_a_request_that_may_still_be_on_its_way_is_uncertain(world: World, hands: Hands) -> None:
    version = await created(world)
    world.proxy.cut(when=is_write)
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([raise_to(world, "8", version)]))
    assert caught.value.uncertain == (ref(world),)
    assert stored_gpus(world, hands) == "4"


async def test_what_cannot_be_looked_after_is_uncertain(world: World, hands: Hands) -> None:
    version = await created(world)
    world.proxy.lose_answer(when=is_write)
    world.proxy.answer(500, when=lambda seen: not seen.is_write)
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([raise_to(world, "8", version)]))
    assert caught.value.uncertain == (ref(world),)
    assert hands.quotas.get("gpu", world.namespace) is None


async def test_lost_answers_to_creating_and_deleting_are_looked_after(world: World, hands: Hands) -> None:
    world.proxy.lose_answer(when=is_write)
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([Create(quota(world, "4"))]))
    assert caught.value.uncertain == ()
    entry = hands.quotas.get("gpu", world.namespace)
    assert entry is not None
    # aiohttp itself sends a DELETE once more when a connection that it had used before breaks.
    world.proxy.lose_answer(when=lambda seen: seen.method == "DELETE", times=-1)
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([Delete(ref(world), entry.uid)]))
    assert caught.value.uncertain == ()
    assert len(hands.quotas) == 0
    world.proxy.cut(when=is_write)
    with pytest.raises(ExecutionError) as caught:
        await hands.executor.execute(plan([Create(quota(world, "4"))]))
    assert caught.value.uncertain == (ref(world),)


async def test_who_does_not_lead_writes_nothing_and_who_stops_leading_stops(world: World) -> None:
    leading = False
    async with Client(
        world.proxy.credentials(), field_manager="tested", may_write=lambda: leading and not world.proxy.writes()
    ) as client:
        hands = Hands(client)
        with pytest.raises(NotLeadingError):
            await hands.executor.execute(plan([Create(quota(world, "4"))]))
        assert world.proxy.writes() == []
        leading = True  # until the first write is under way
        with pytest.raises(NotLeadingError):
            await hands.executor.execute(plan([Create(quota(world, "4"))], [Create(world.config_map("after"))]))
        assert [(seen.method, seen.status) for seen in world.proxy.writes()] == [("POST", 201)]


async def test_events_are_posted_by_the_recorder_and_counted(world: World, hands: Hands) -> None:
    result = await hands.executor.execute(plan([Create(quota(world, "4"))]))
    entry = hands.quotas.get("gpu", world.namespace)
    assert entry is not None
    hands.recorder._collect = 0.1
    running = asyncio.create_task(hands.recorder.run())
    emit = Emit(ref(world), entry.uid, "Warning", "Lowered", "from 8 to 4")
    result = await hands.executor.execute(plan([emit]))
    assert result.writes == 0

    async def posted(count: int) -> bool:
        events = [item async for page in world.truth.list(EVENT, world.namespace) for item in page.items]
        return [event.get("series", {}).get("count", 1) for event in events if event["reason"] == "Lowered"] == [count]

    await eventually(lambda: posted(1))
    for _ in range(3):
        await hands.executor.execute(plan([emit]))
    await eventually(lambda: posted(4))
    running.cancel()
