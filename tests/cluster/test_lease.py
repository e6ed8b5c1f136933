"""The elector on a real API server: one writes at a time, whatever becomes of the way there."""

from __future__ import annotations

import asyncio
import operator
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import pytest

from cluster.faults import FaultProxy
from cluster.kube_world import eventually, open_world
from gpu_tenancy.kube.auth import Credentials
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.resource import LEASE
from gpu_tenancy.runtime.clock import SystemClock
from gpu_tenancy.runtime.lease import Elector, KubernetesLease, LeaseTimings
from gpu_tenancy.runtime.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from types import TracebackType

NAME = "gpu-tenancy"
# Short, yet a renewal must come in time on a busy machine.
TIMINGS = LeaseTimings(duration=3, renew_deadline=2, retry_period=0.5)
LONG = LeaseTimings(duration=600, renew_deadline=400, retry_period=2)


class Candidate:
    """An elector in a thread of its own, behind a proxy of its own."""

    def __init__(self, name: str, proxy: FaultProxy, timings: LeaseTimings = TIMINGS) -> None:
        self.name = name
        self.proxy = proxy
        self.changes: list[bool] = []
        self.gave_up: list[float] = []
        self.hangs = False
        proxy.delay(3600, when=lambda _: self.hangs, times=-1)
        self.elector = Elector(
            identity=name,
            clock=SystemClock(),
            on_change=self.changes.append,
            is_writing=lambda: False,
            timings=timings,
            give_up=lambda: self.gave_up.append(time.monotonic()),
        )

    @property
    def is_valid(self) -> bool:
        return self.elector.is_valid()

    @asynccontextmanager
    async def campaign(
        self, namespace: str, credentials: Callable[[], Credentials] | None = None
    ) -> AsyncIterator[None]:
        """Run it, by default through the proxy."""

        @asynccontextmanager
        async def service() -> AsyncIterator[None]:
            async with (
                Client((credentials or self.proxy.credentials)(), field_manager="gpu-tenancy") as client,
                self.elector.campaign(KubernetesLease(client, namespace, NAME)),
            ):
                yield

        async with Sidecar(service, name=self.name):
            yield


class Sampler:
    """Looks a hundred times a second, from a thread of its own, at who may write."""

    def __init__(self, *candidates: Candidate) -> None:
        self.most_at_once = 0
        self.samples = 0
        self._candidates = candidates
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        assert self.samples > 0
        assert self.most_at_once <= 1

    def _sample(self) -> None:
        while not self._stop.wait(0.01):
            # Whoever may before and after all others were asked, may together with them.
            before, after = ([one.is_valid for one in self._candidates] for _ in range(2))
            self.most_at_once = max(self.most_at_once, sum(map(operator.and_, before, after)))
            self.samples += 1


@dataclass
class World:
    namespace: str
    truth: Client

    async def lease(self) -> dict[str, Any]:
        return await self.truth.get(LEASE, NAME, self.namespace)

    async def spec(self) -> dict[str, Any]:
        return (await self.lease())["spec"]

    async def install(self) -> None:
        """Create the Lease as one who stops leaves it: nobody holds it."""
        vacant = {"metadata": self._metadata, "spec": {"holderIdentity": ""}}
        await self.truth.create(LEASE, {"apiVersion": LEASE.api_version, "kind": "Lease", **vacant})

    @property
    def _metadata(self) -> dict[str, str]:
        return {"name": NAME, "namespace": self.namespace}


@pytest.fixture
async def world(admin: Path) -> AsyncIterator[World]:
    async with open_world(admin) as opened:
        yield World(opened.namespace, opened.truth)


@pytest.fixture
async def proxies(admin: Path) -> AsyncIterator[list[FaultProxy]]:
    access = await Credentials.from_kubeconfig(admin).access()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FaultProxy(access)) for _ in range(2)]


@pytest.fixture
def one(proxies: list[FaultProxy]) -> Candidate:
    return Candidate("one", proxies[0])


@pytest.fixture
def two(proxies: list[FaultProxy]) -> Candidate:
    return Candidate("two", proxies[1])


def micro_time(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


async def test_the_api_server_lets_only_one_of_two_rivals_write(world: World):
    store = KubernetesLease(world.truth, world.namespace, NAME)
    assert await store.get() is None
    assert await store.update({"holderIdentity": "nobody"}, "1") is None
    created = await store.create({"holderIdentity": "one", "leaseDurationSeconds": 15})
    assert created is not None
    assert await store.create({"holderIdentity": "two"}) is None
    version = created["metadata"]["resourceVersion"]
    updated = await store.update({"holderIdentity": "two", "leaseDurationSeconds": None}, version)
    assert updated is not None
    assert await store.update({"holderIdentity": "three"}, version) is None
    assert (await store.get() or {})["spec"] == updated["spec"] == {"holderIdentity": "two"}


async def test_a_missing_lease_is_created_and_held(world: World, one: Candidate):
    began = time.monotonic()
    async with one.campaign(world.namespace):
        await eventually(lambda: one.is_valid)
        assert time.monotonic() - began >= TIMINGS.duration
        spec = await world.spec()
    assert spec["holderIdentity"] == "one"
    assert spec["leaseDurationSeconds"] == 3
    assert spec["leaseTransitions"] == 0
    assert abs(datetime.now(UTC) - micro_time(spec["renewTime"])) < timedelta(minutes=1)


@pytest.mark.parametrize("fault", ["hangs", "is cut off", "answers 500", "answers 429"])
async def test_when_the_api_server_fails_the_holder_it_steps_down_and_then_the_other_takes_over(
    fault: str, world: World, one: Candidate, two: Candidate
):
    broken = True
    await world.install()
    async with one.campaign(world.namespace):
        await eventually(lambda: one.is_valid)
        async with two.campaign(world.namespace):
            with Sampler(one, two):
                await asyncio.sleep(0.5)
                failing_from = time.monotonic()
                if fault == "hangs":
                    one.hangs = True
                elif fault == "is cut off":
                    one.proxy.down = True
                else:
                    status = int(fault.split()[1])
                    one.proxy.answer(status, retry_after=1, when=lambda _: broken, times=-1)
                await asyncio.sleep(max(0.0, failing_from + TIMINGS.renew_deadline - time.monotonic()))
                assert not one.is_valid
                await eventually(lambda: two.is_valid)
                assert time.monotonic() >= one.elector._others_write_from
                assert (await world.spec())["leaseTransitions"] == 1
                one.hangs = one.proxy.down = broken = False
                await asyncio.sleep(1)
    assert one.changes[:2] == [True, False]
    assert one.gave_up == two.gave_up == []


async def test_a_holder_that_stops_hands_over_without_waiting_for_the_lease_to_run_out(
    world: World, proxies: list[FaultProxy]
):
    await world.install()
    one, two = (Candidate(name, proxy, LONG) for name, proxy in zip(("one", "two"), proxies, strict=True))
    async with AsyncExitStack() as stack:
        with Sampler(one, two):
            async with one.campaign(world.namespace):
                await eventually(lambda: one.is_valid)
                await stack.enter_async_context(two.campaign(world.namespace))
                await asyncio.sleep(1.5)
            assert not one.is_valid
            await eventually(lambda: two.is_valid)
        spec = await world.spec()
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("two", 1)
    spec = await world.spec()
    assert spec.get("holderIdentity", "") == ""
    assert "leaseDurationSeconds" not in spec


async def test_a_lease_deleted_under_its_holder_never_lets_two_write(world: World, one: Candidate, two: Candidate):
    await world.install()
    async with one.campaign(world.namespace):
        await eventually(lambda: one.is_valid)
        async with two.campaign(world.namespace):
            with Sampler(one, two):
                await asyncio.sleep(0.5)
                await world.truth.delete(LEASE, NAME, world.namespace)
                await eventually(lambda: not one.is_valid and not two.is_valid)
                await eventually(lambda: one.is_valid or two.is_valid)
                await asyncio.sleep(1)


async def test_the_time_zone_makes_no_difference(world: World, one: Candidate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert datetime.now().astimezone().utcoffset() == timedelta(hours=9)
        await world.install()
        async with one.campaign(world.namespace):
            await eventually(lambda: one.is_valid)
            spec = await world.spec()
    finally:
        monkeypatch.undo()
        time.tzset()
    for instant in ("acquireTime", "renewTime"):
        assert abs(datetime.now(UTC) - micro_time(spec[instant])) < timedelta(minutes=1)


async def test_a_main_loop_that_is_busy_does_not_delay_the_renewal(
    world: World, proxies: list[FaultProxy], admin: Path
):
    await world.install()
    one = Candidate("one", proxies[0], LeaseTimings(duration=4.5, renew_deadline=3, retry_period=1))
    async with one.campaign(world.namespace, lambda: Credentials.from_kubeconfig(admin)):
        await eventually(lambda: one.is_valid)
        time.sleep(3.3)  # noqa: ASYNC251  # to block this loop, for longer than the lease is valid, is the point
        assert one.is_valid
