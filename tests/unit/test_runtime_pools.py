"""A decision about a pool is made of what is so when it is published, also when pods had to be looked at for it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises import PoolFacts, QuotaKey, State, decide
from gpu_tenancy.kube.errors import ApiError
from gpu_tenancy.kube.store import Key
from gpu_tenancy.observability.metrics import Metrics
from gpu_tenancy.reconcile.exclusive import named
from gpu_tenancy.reconcile.plan import Create, Emit, Plan, Update, plan
from gpu_tenancy.reconcile.reservations import unread
from gpu_tenancy.reconcile.views import Platform
from gpu_tenancy.runtime.controllers.binder import Binder
from gpu_tenancy.runtime.controllers.pools import Decisions, PoolController
from gpu_tenancy.runtime.controllers.quotas import QuotaWriter
from gpu_tenancy.runtime.controllers.reservations import ReservationController
from gpu_tenancy.runtime.controllers.tools import Tools
from gpu_tenancy.runtime.controllers.workloads import Remainders, WorkloadController
from gpu_tenancy.runtime.engine import Engine
from gpu_tenancy.runtime.executor import ExecutionError, Failure
from gpu_tenancy.runtime.fleet import Fleet
from gpu_tenancy.runtime.keys import Key as QueueKey
from gpu_tenancy.runtime.keys import Topic
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


def looked_around() -> Decisions:
    """Begin as when no pod was found that should be gone."""
    decisions = Decisions()
    decisions.overdue.known = True
    return decisions


def equipped(world: World, executor: Any, pods: Any) -> tuple[Tools, Fleet]:
    """Give what a controller needs to look after a world, with a clock that stands still."""
    clock, metrics = ManualClock(), Metrics()
    tools = Tools(world, Engine(clock, metrics), executor, pods, clock, metrics, Platform(), timedelta(hours=1))
    return tools, Fleet(world, lambda *_: None, lambda: None)


def controller(tools: Tools, fleet: Fleet, decisions: Decisions, raises: Raises) -> PoolController:
    quotas, reservations = QuotaWriter(tools, raises), ReservationController(tools, decisions)
    binder = Binder(tools, fleet)
    return PoolController(tools, fleet, binder, decisions, raises, quotas=quotas, reservations=reservations)


def decided(meanwhile: Callable[[Raises], None]) -> tuple[int, int]:
    """Say what the reservation's quota is to allow, and how often pods were looked at."""

    async def run() -> tuple[int, int]:
        world, raises, decisions = World(), Raises(5), looked_around()
        pods = Pods(lambda: meanwhile(raises))
        tools, fleet = equipped(world, Nothing(), pods)
        observe(world)
        await controller(tools, fleet, decisions, raises).reconcile("b200")
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
    series = unread("train", "old", "u", pool="b200", status=entry.value.status, tenant="neura")
    assert series is not None
    (old,) = series.bookings

    decision = decide(
        PoolFacts(pool(), capacity(8), (grant("agile"),), (old, booking("new", spec(8, 1, 3), "agile"))), NOW
    )

    assert decision.verdicts["new"].state is State.REFUSED
    assert decision.verdicts[old.uid].ledger == old.ledger
    assert decision.allotments[QuotaKey("train", Tier.RESERVED)] == 8


class Noting:
    """An executor that writes nothing, and notes what it was to write."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    async def execute(self, plan: Plan) -> None:
        """Note it."""
        self.plans.append(plan)


def test_one_that_cannot_be_read_says_so_also_where_its_pool_is_gone() -> None:
    async def run() -> list[Plan]:
        world, decisions, executor = World(), looked_around(), Noting()
        tools, fleet = equipped(world, executor, Pods(lambda: None))
        world.reservations.observe(stored("odd", "train", spec={"pool": "b200", "gpus": "many"}))
        await controller(tools, fleet, decisions, Raises(5)).reconcile("b200")
        return executor.plans

    (written,) = asyncio.run(run())
    (update,) = (one for one in written.operations if isinstance(one, Update))
    assert {one["reason"] for one in update.patch["status"]["conditions"]} == {"InvalidSpec", "NotAccepted"}


WEEKLY = [
    {"start": f"2026-12-0{day}T20:00:00Z", "end": f"2026-12-0{day}T22:00:00Z", "gpus": 8, "nodes": nodes}
    | {"acceptedTime": "2026-11-30T00:00:00Z"}
    for day, nodes in ((1, ["node-1"]), (8, []))
]


@pytest.mark.parametrize("status", [{}, {"occurrences": WEEKLY}], ids=["once", "recurring"])
def test_a_reservation_that_cannot_be_read_any_more_is_charged_once_keeps_its_nodes_and_ends(status) -> None:
    async def run() -> None:
        world, decisions, remainders, pods = World(), looked_around(), Remainders(), Pods(lambda: None)
        tools, fleet = equipped(world, Nothing(), pods)
        clock: Any = tools.clock
        observe(world)
        grants = [{"pool": "b200", "reservable": 8, "gpuHours": {"limit": 64, "period": "Week"}}]
        tenant = stored("neura", spec={"namespaces": [{"name": "train"}], "gpus": grants})
        tenant["metadata"]["resourceVersion"] = "2"
        world.tenants.observe(tenant)
        (night,) = world.reservations.by("pool", "b200")
        asked = {"pool": "b200", "gpus": 8, "exclusivity": "Node"} | {
            "window": {"start": "2026-12-01T20:00:00Z", "end": "2026-12-01T22:00:00Z"}
        }
        if status:
            asked["recurrence"] = {"rule": "FREQ=WEEKLY;COUNT=2", "timeZone": "UTC"}
        said = {"window": asked["window"], "gpus": 8, "acceptedTime": "2026-11-30T00:00:00Z", "nodes": ["node-1"]}
        raises = Raises(5)
        pools = controller(tools, fleet, decisions, raises)
        for version, spec_ in (("2", asked), ("3", asked | {"gpus": "many"})):
            again = stored("night", "train", spec=spec_, status=said | status)
            again["metadata"]["resourceVersion"] = version
            world.reservations.observe(again)
            await clock.advance(60)
            await pools.reconcile("b200")
        (night,) = world.reservations.by("pool", "b200")
        assert isinstance(night.value, Broken)

        (owner,) = world.tenants.values()
        assert not isinstance(owner, Broken)
        assert decisions.charges.spent("b200", owner) == {}
        assert named([night.value]) == ("night",)
        tenure = Binder(tools, fleet).tenure("node-1", "b200")
        assert tenure is not None
        assert tenure.name == "night"
        verdict = decisions.verdict(night.value)
        assert verdict is not None
        assert verdict.ledger is not None
        assert (verdict.state, verdict.ledger.nodes) == (State.ACTIVE, ("node-1",))

        workloads, looks = WorkloadController(tools, decisions, remainders), pods.looks
        await workloads.reconcile("train")
        assert pods.looks == looks, "nobody has to go"
        await clock.advance(2 * 3600)
        await pools.reconcile("b200")
        looks = pods.looks
        await workloads.reconcile("train")
        assert pods.looks == looks + 1, "its pods have to go"

    asyncio.run(run())


def test_a_window_opens_after_one_look_at_pods() -> None:
    assert decided(lambda _: None) == (8, 1)


def test_what_is_raised_during_a_look_at_pods_is_not_promised_again() -> None:
    quota = stored("gpu-b200-reserved", "lab", spec={"hard": {"requests.nvidia.com/gpu": "8"}})
    writing = plan([Create({"apiVersion": "v1", "kind": "ResourceQuota", **quota})])
    with ExitStack() as under_way:
        assert decided(lambda raises: under_way.enter_context(raises.of(writing))) == (0, 1)


def test_what_a_late_pod_holds_is_promised_to_nobody_though_its_quota_counts_it_no_longer() -> None:
    async def run() -> list[int]:
        world, decisions, executor = World(), looked_around(), Noting()
        tools, fleet = equipped(world, executor, Pods(lambda: None))
        observe(world)
        world.quotas.observe(
            stored("gpu-b200-reserved", "lab", spec={"hard": {"requests.nvidia.com/gpu": "0"}})
            | {"status": {"hard": {"requests.nvidia.com/gpu": "0"}, "used": {"requests.nvidia.com/gpu": "0"}}}
        )
        allotted = []
        for late in ({("gpu-b200-reserved", "nvidia.com/gpu"): 4}, {}):
            assert decisions.overdue.replace("lab", late) == {"b200"}
            await controller(tools, fleet, decisions, Raises(5)).reconcile("b200")
            decision = decisions.of("b200")
            assert decision is not None
            allotted.append(decision.allotments[QuotaKey("train", Tier.RESERVED)])
        assert decisions.overdue.replace("lab", {}) == set()
        return allotted

    assert asyncio.run(run()) == [4, 8]


def test_a_pool_promises_nothing_before_late_pods_were_looked_for() -> None:
    async def run() -> list[int]:
        world, decisions, executor = World(), Decisions(), Noting()
        tools, fleet = equipped(world, executor, Pods(lambda: None))
        observe(world)
        made = []
        for decisions.overdue.known in (False, True):
            await controller(tools, fleet, decisions, Raises(5)).reconcile("b200")
            made.append(decisions.of("b200") is not None)
        return made

    assert asyncio.run(run()) == [False, True]


class Contested:
    """An executor to which the status of some reservations is always refused, since somebody has just changed them."""

    def __init__(self, world: World, names: frozenset[str], *, uncertain: bool = False) -> None:
        self.written: dict[str, list[dict[str, Any]]] = {}
        self._world = world
        self._names = names
        self._uncertain = uncertain

    async def execute(self, plan: Plan) -> None:
        """Take in what is written."""
        failures = []
        for operation in plan.operations:
            if not isinstance(operation, Update) or operation.ref.kind != "GpuReservation":
                continue
            if operation.ref.name in self._names:
                failures.append(Failure(operation.ref, ApiError(409, "Conflict", "changed"), self._uncertain))
            else:
                self.written.setdefault(operation.ref.name, []).append(operation.patch["status"])
        if failures:
            raise ExecutionError(tuple(failures))


def promised(names: frozenset[str], *, uncertain: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Have a pool decide whose 8 GPUs are taken by `fast`, which gives 4 of them back.

    `next` would have exactly these, and `later` all GPUs of another day.
    """

    async def run() -> dict[str, list[dict[str, Any]]]:
        world, raises, decisions = World(), Raises(5), looked_around()
        executor = Contested(world, names, uncertain=uncertain)
        tools, fleet = equipped(world, executor, Pods(lambda: None))
        observe(world)
        world.reservations.forget(Key("train", "night"), "train/night")
        tonight = {"start": "2026-12-02T20:00:00Z", "end": "2026-12-02T22:00:00Z"}
        tomorrow = {"start": "2026-12-03T20:00:00Z", "end": "2026-12-03T22:00:00Z"}
        status = {"window": tonight, "gpus": 8, "acceptedTime": "2026-11-30T00:00:00Z"}
        for name, gpus, window, said in (
            ("fast", 4, tonight, status),
            ("next", 4, tonight, {}),
            ("later", 8, tomorrow, {}),
        ):
            asked = {"pool": "b200", "gpus": gpus, "window": window}
            world.reservations.observe(stored(name, "train", spec=asked, status=said))
        pools = controller(tools, fleet, decisions, raises)
        with pytest.raises(ExecutionError) if names else nullcontext():
            await pools.reconcile("b200")
        return executor.written

    return asyncio.run(run())


def gpus(written: dict[str, list[dict[str, Any]]], name: str) -> list[int]:
    """Say how many GPUs each status that was written promises."""
    return [status.get("gpus", 0) for status in written.get(name, [])]


def test_what_is_given_back_is_promised_to_the_next_one() -> None:
    written = promised(frozenset())
    assert (gpus(written, "fast"), gpus(written, "next"), gpus(written, "later")) == ([4], [4], [8])


def test_a_reservation_that_cannot_be_written_holds_up_only_those_who_would_have_what_it_gives_back() -> None:
    written = promised(frozenset({"fast"}))
    assert (gpus(written, "next"), gpus(written, "later")) == ([], [8])


def test_nothing_more_is_promised_while_it_is_not_known_what_was_written() -> None:
    assert promised(frozenset({"fast"}), uncertain=True) == {}


class Watching:
    """An executor that notes, for each plan, what it writes and who is in line meanwhile; quotas it refuses on demand."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.engine: Engine
        self.plans: list[tuple[list[str], set[QueueKey]]] = []
        self._refuses = refuses

    async def execute(self, plan: Plan) -> None:
        """Note it."""
        written = [operation.ref.kind for operation in plan.operations if not isinstance(operation, Emit)]
        if written:
            self.plans.append((written, set(self.engine.queue._waiting) | set(self.engine.queue._timers)))
        if self._refuses and "ResourceQuota" in written:
            ref = next(iter(plan.operations)).ref  # type: ignore[union-attr]
            raise ExecutionError((Failure(ref, ApiError(409, "Conflict", "changed")),))


def opened(executor: Watching, **place: Any) -> set[QueueKey]:
    """Have a pool decide when a window has begun whose quota stands; say who is in line afterwards."""

    async def run() -> set[QueueKey]:
        world, raises, decisions = World(), Raises(5), looked_around()
        tools, fleet = equipped(world, executor, Pods(lambda: None))
        executor.engine = tools.engine
        observe(world)
        quota = {"requests.nvidia.com/gpu": "0"}
        standing = stored("gpu-b200-reserved", "train", spec={"hard": quota}, status={"hard": quota})
        world.quotas.observe(standing)
        if place:
            world.namespaces.observe({"metadata": stored("train")["metadata"] | {"resourceVersion": "2"} | place})
        await controller(tools, fleet, decisions, raises).reconcile("b200")
        return set(executor.engine.queue._waiting) | set(executor.engine.queue._timers)

    return asyncio.run(run())


TENANT, TOLD = QueueKey(Topic.TENANT, "neura"), QueueKey(Topic.RESERVATIONS, "b200")


def test_quotas_are_raised_before_anybody_is_told() -> None:
    executor = Watching()
    assert opened(executor) >= {TENANT, TOLD, QueueKey(Topic.WORKLOADS, "train")}
    assert executor.plans[0] == (["ResourceQuota"], set())
    assert all("ResourceQuota" not in kinds for kinds, _ in executor.plans[1:])


def test_a_quota_that_cannot_be_written_is_left_to_its_tenant() -> None:
    executor = Watching(refuses=True)
    assert opened(executor) >= {TENANT, TOLD}
    assert executor.plans[0][0] == ["ResourceQuota"]
    assert "GpuPool" in executor.plans[-1][0]


@pytest.mark.parametrize(
    "place",
    [
        {"labels": {"gpu-tenancy.dev/tenant": "neura"}, "deletionTimestamp": "2026-11-22T09:00:00Z"},
        {"labels": {"gpu-tenancy.dev/tenant": "agile"}},
    ],
    ids=["being deleted", "another tenant's"],
)
def test_no_quota_is_raised_in_a_namespace_with_which_something_is_the_matter(place: dict[str, Any]) -> None:
    executor = Watching()
    opened(executor, **place)
    assert all("ResourceQuota" not in kinds for kinds, _ in executor.plans)
