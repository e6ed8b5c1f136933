"""Whatever happens between kopf and the API server, the stores converge, in the same process, and nothing is written."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
import warnings
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from api_examples import SPECS, raw_object
from cluster.faults import FaultProxy, is_list, is_watch
from cluster.kube_world import eventually
from cluster.operating import CRDS, install_kinds
from gpu_tenancy.adapters import KindWatcher, kopf_watch
from gpu_tenancy.api import GPU_RESERVATION, GROUP, KINDS, REGION, VERSION
from gpu_tenancy.kube.auth import Credentials, load_kubeconfig
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.resource import Resource
from gpu_tenancy.kube.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from gpu_tenancy.localcluster import ControlPlane

RESOURCES = {kind: Resource(GROUP, VERSION, kind.plural, kind.kind, kind.namespaced) for kind in KINDS}
REGIONS = RESOURCES[REGION]
RESERVATIONS = RESOURCES[GPU_RESERVATION]
KOPFS_FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"
KOPFS_ANNOTATION = "kopf.zalando.org/last-handled-configuration"
READER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: kind-reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kind-reader}
rules:
  - apiGroups: [gpu-tenancy.dev]
    resources: [regions, gpupools, industrialtenants, gpureservations, tenantpeerings]
    verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kind-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kind-reader}
subjects: [{kind: ServiceAccount, namespace: default, name: kind-reader}]
"""


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    install_kinds(control_plane)
    gc.collect()
    gc.freeze()  # collections look at what comes from now on
    yield control_plane
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left_behind(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No thread, no unclosed session or connection, no complaint of an event loop."""
    caplog.set_level(logging.INFO)
    gc.collect()  # what others left
    ignored: list[str] = []
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        # pytest's own are of what was ignored before; what is from now on is seen here.
        warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)
        monkeypatch.setattr(sys, "unraisablehook", lambda one: ignored.append(f"{one.object!r}: {one.exc_value!r}"))
        yield
        gc.collect()
    assert not ignored
    assert not [str(complaint.message) for complaint in complaints]
    assert not [record.getMessage() for record in caplog.records if record.name.startswith(("asyncio", "aiohttp"))]
    assert not [one.name for one in threading.enumerate() if one.name.startswith(("kopf", "ThreadPoolExecutor"))]


@dataclass(frozen=True)
class World:
    """The kinds as they are, seen by `truth` and through `proxy`."""

    cluster: ControlPlane
    truth: Client
    proxy: FaultProxy

    async def create(self, resource: Resource, name: str, **metadata: Any) -> None:
        kind = next(kind for kind in KINDS if kind.plural == resource.plural)
        raw = raw_object(kind, SPECS[kind.kind][1], name)
        raw["metadata"] |= metadata | ({"namespace": "default"} if resource.namespaced else {})
        await self.truth.create(resource, raw)

    async def touch(self, resource: Resource, name: str, value: str) -> None:
        await self.patch(resource, name, {"labels": {"touched": value}})

    async def patch(self, resource: Resource, name: str, metadata: dict[str, Any]) -> None:
        namespace = "default" if resource.namespaced else ""
        await self.truth.merge_patch(resource, name, {"metadata": metadata}, namespace)

    async def delete(self, resource: Resource, name: str) -> None:
        await self.truth.delete(resource, name, "default" if resource.namespaced else "")

    async def versions(self) -> dict[str, dict[str, str]]:
        """What the API server has: resource versions by kind and name."""
        found: dict[str, dict[str, str]] = {resource.kind: {} for resource in RESOURCES.values()}
        for resource in RESOURCES.values():
            async for page in self.truth.list(resource):
                found[resource.kind] |= {
                    item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in page.items
                }
        return found

    async def clear(self) -> None:
        for resource in RESOURCES.values():
            async for page in self.truth.list(resource):
                await asyncio.gather(*(self.delete(resource, item["metadata"]["name"]) for item in page.items))


@pytest.fixture
async def world(cluster: ControlPlane) -> AsyncIterator[World]:
    credentials = Credentials.from_kubeconfig(cluster.kubeconfig_for("admin"))
    async with (
        Client(credentials, field_manager="truth", read_timeout=60, write_timeout=60) as truth,
        FaultProxy(await credentials.access()) as proxy,
    ):
        world = World(cluster, truth, proxy)
        yield world
        await world.clear()
        assert not proxy.writes()


class Watching:
    """A watcher at work, and what it said."""

    def __init__(self, world: World, credentials: Callable[[], Credentials], client: Client, **options: Any) -> None:
        self.world = world
        self.restarts: list[str] = []
        # Whatever changes in an object shows.
        self.stores: dict[Any, Store[Any]] = {kind: Store(lambda raw: raw["metadata"]) for kind in KINDS}
        self.watcher = KindWatcher(credentials, client, self.stores, self.restarts.append, **options)

    @property
    def versions(self) -> dict[str, dict[str, str]]:
        return {
            kind.kind: {key.name: entry.resource_version for key, entry in store.snapshot().items()}
            for kind, store in self.stores.items()
        }

    async def converges(self) -> None:
        async def equal() -> bool:
            return self.versions == await self.world.versions()

        await eventually(equal)

    async def watches(self) -> None:
        await eventually(lambda: self.world.proxy.watching() == len(KINDS))


@asynccontextmanager
async def watching(
    world: World, credentials: Callable[[], Credentials] | None = None, **options: Any
) -> AsyncIterator[Watching]:
    credentials = credentials or world.proxy.credentials
    async with Client(credentials(), field_manager="tested") as client:
        one = Watching(world, credentials, client, **options)
        task = asyncio.create_task(one.watcher.run())
        try:
            yield one
            assert not task.done(), "the watcher ended"
        finally:
            task.cancel()
            # Promptly, whatever kopf was about.
            done, _ = await asyncio.wait({task}, timeout=30)
        assert done


async def synced(one: Watching) -> None:
    async with asyncio.timeout(30):
        await one.watcher.synced.wait()


@pytest.mark.parametrize("count", [0, 300])
async def test_what_is_there_at_the_beginning_is_all_there_when_synced(world: World, count: int) -> None:
    await asyncio.gather(*(world.create(RESERVATIONS, f"one-{i}") for i in range(count)))
    async with watching(world) as one:
        await synced(one)
        assert one.versions == await world.versions()
        assert len(one.stores[GPU_RESERVATION]) == count


async def test_what_happens_to_an_object_arrives_by_the_watch(world: World) -> None:
    async with watching(world) as one:
        await one.watches()
        world.proxy.answer(500, when=is_list, times=1000)
        for resource in RESOURCES.values():
            await world.create(resource, "new")
            await one.converges()
            await world.touch(resource, "new", "once")
            await one.converges()
            await world.delete(resource, "new")
            await one.converges()
        assert not one.restarts


async def test_an_object_that_speaks_to_kopf_is_not_heard_by_it(world: World) -> None:
    async with watching(world) as one:
        await one.watches()
        world.proxy.answer(500, when=is_list, times=1000)
        await world.create(
            REGIONS, "sly", finalizers=[KOPFS_FINALIZER], annotations={KOPFS_ANNOTATION: "no JSON", "kopf.dev/x": "{"}
        )
        await one.converges()
        await world.delete(REGIONS, "sly")  # which the finalizer holds up
        await one.converges()
        await world.patch(REGIONS, "sly", {"finalizers": None})
        await one.converges()
        assert not one.restarts


async def cut(world: World) -> None:
    world.proxy.cut_watches()


async def expired(world: World) -> None:
    await world.proxy.inject_error(410, "Expired")


async def expired_as_status(world: World) -> None:
    world.proxy.answer(410, reason="Expired", when=is_watch, times=len(KINDS))
    world.proxy.cut_watches()


async def throttled(world: World) -> None:
    world.proxy.answer(429, reason="TooManyRequests", retry_after=1, when=is_watch, times=len(KINDS))
    world.proxy.cut_watches()


async def server_errors(world: World) -> None:
    for status, body in ((500, None), (503, None), (502, b"<html>bad gateway</html>"), (403, None), (404, None)):
        world.proxy.answer(status, body=body, when=is_watch)
    world.proxy.cut_watches()


async def lists_fail_too(world: World) -> None:
    for status, body in ((503, None), (429, None), (200, b"[]"), (200, b'{"items"'), (200, b"{}"), (410, None)):
        world.proxy.answer(status, body=body, when=is_list)
    await world.proxy.inject_error(410, "Expired")


async def refused(world: World) -> None:
    world.proxy.answer(401, reason="Unauthorized", when=lambda seen: not seen.is_write, times=12)
    world.proxy.cut_watches()


async def server_away(world: World) -> None:
    world.proxy.down = True
    world.proxy.cut_watches()
    asyncio.get_running_loop().call_later(1.0, setattr, world.proxy, "down", False)


async def kopf_crashes(world: World) -> None:
    await world.proxy.inject_error(500, "InternalError", REGIONS.plural)


async def kopf_crashes_on_garbage(world: World) -> None:
    await world.proxy.inject(b"<html>", RESERVATIONS.plural)


async def kopf_crashes_while_the_server_is_away(world: World) -> None:
    world.proxy.down = True
    for plural in (RESERVATIONS.plural, "gpupools", "industrialtenants"):
        assert world.proxy.cut_watches(plural) == 1
    await asyncio.sleep(0.2)  # kopf is amid asking again
    await world.proxy.inject_error(500, "InternalError", REGIONS.plural)
    await asyncio.sleep(0.2)
    world.proxy.down = False


@pytest.mark.parametrize(
    "harm",
    [
        cut,
        expired,
        expired_as_status,
        throttled,
        server_errors,
        lists_fail_too,
        refused,
        server_away,
        kopf_crashes,
        kopf_crashes_on_garbage,
        kopf_crashes_while_the_server_is_away,
    ],
)
async def test_the_stores_converge_after(world: World, harm: Callable[[World], Awaitable[None]]) -> None:
    for resource in (REGIONS, RESERVATIONS):
        await world.create(resource, "kept")
        await world.create(resource, "doomed")
    async with watching(world) as one:
        await one.watches()
        await harm(world)
        for resource in (REGIONS, RESERVATIONS):
            await world.create(resource, "new")
            await world.touch(resource, "kept", "once")
            await world.delete(resource, "doomed")
        await one.converges()
        # And they still follow.
        await one.watches()
        await world.touch(RESERVATIONS, "kept", "twice")
        await one.converges()


@pytest.mark.parametrize("left", [0, 1])
async def test_what_is_deleted_while_nobody_watches_is_missed_when_kopf_lists_again(world: World, left: int) -> None:
    for i in range(3):
        await world.create(RESERVATIONS, f"one-{i}")
    async with watching(world) as one:
        await synced(one)
        await one.watches()
        world.proxy.down = True
        world.proxy.cut_watches()
        for i in range(left, 3):
            await world.delete(RESERVATIONS, f"one-{i}")
        world.proxy.answer(410, reason="Expired", when=is_watch, times=len(KINDS))
        world.proxy.down = False
        await one.converges()
        assert len(one.stores[GPU_RESERVATION]) == left


async def test_a_reservation_replaced_in_a_gap_is_the_new_one(world: World) -> None:
    await world.create(RESERVATIONS, "twice")
    async with watching(world) as one:
        await one.watches()
        await expired_as_status(world)
        await world.delete(RESERVATIONS, "twice")
        await world.create(RESERVATIONS, "twice")
        await one.converges()


async def test_a_silent_connection_is_given_up(world: World) -> None:
    await world.create(REGIONS, "doomed")
    async with watching(world, silence=1.0) as one:
        await one.watches()
        assert world.proxy.freeze_watches() >= 1
        await world.create(REGIONS, "new")
        await world.delete(REGIONS, "doomed")
        await one.converges()


async def test_a_list_whose_continuation_expires_begins_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kopf_watch, "_CHUNK", 2)
    for i in range(5):
        await world.create(RESERVATIONS, f"one-{i}")
    world.proxy.answer(410, reason="Expired", when=lambda seen: "continue" in seen.query)
    async with watching(world) as one:
        await eventually(lambda: len(one.restarts) == len(KINDS))
        await one.watches()
        await one.converges()


async def test_watches_that_end_at_once_are_not_asked_for_without_a_pause(world: World) -> None:
    async with watching(world) as one:
        await one.watches()
        world.proxy.requests.clear()
        world.proxy.answer(200, body=b"", when=is_watch, times=1000)
        began = time.monotonic()
        world.proxy.cut_watches()
        await asyncio.sleep(2.5)
        # A watch and a census of each kind each second, and those that were under way or due at the beginning.
        assert len(world.proxy.requests) <= 2 * len(KINDS) * (time.monotonic() - began + 2)
        await eventually(lambda: sum(map(is_watch, world.proxy.requests)) >= len(KINDS))


async def test_an_outage_is_told_in_two_lines(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(world) as one:
        await one.watches()
        world.proxy.down = True
        world.proxy.cut_watches()
        await eventually(lambda: set(one.restarts) == {kind.kind for kind in KINDS})
        world.proxy.down = False
        await one.watches()
        await eventually(lambda: len(caplog.records) > 1)
    said = [(record.levelname, record.name) for record in caplog.records]
    assert said == [("WARNING", "gpu_tenancy.adapters.kinds"), ("INFO", "gpu_tenancy.adapters.kinds")]


async def test_kopf_that_keeps_crashing_is_begun_again_and_again(world: World) -> None:
    async with watching(world) as one:
        for _ in range(2):
            await one.watches()
            before = world.proxy.watches()
            await kopf_crashes(world)
            await eventually(lambda before=before: not before & world.proxy.watches())
        await world.create(REGIONS, "new")
        await one.converges()
        assert len(one.restarts) >= 2 * len(KINDS)


async def test_kinds_that_are_not_discovered_yet_are_waited_for(world: World) -> None:
    group, version = "/apis", f"/apis/{GROUP}/{VERSION}"
    world.proxy.answer(200, body=b'{"kind":"APIGroupList","groups":[]}', when=lambda seen: seen.path == group)
    world.proxy.answer(404, when=lambda seen: seen.path == version)
    world.proxy.answer(200, body=b'{"kind":"APIResourceList","resources":[]}', when=lambda seen: seen.path == version)
    async with watching(world) as one:
        await synced(one)
        await one.watches()
        assert not one.restarts


async def test_kinds_that_go_and_come_back_are_followed(world: World, cluster: ControlPlane) -> None:
    await world.create(RESERVATIONS, "gone")
    async with watching(world) as one:
        await one.watches()
        await asyncio.to_thread(cluster.kubectl, "delete", "-f", str(CRDS))
        await eventually(lambda: not any(one.versions.values()))
        async with watching(world) as other:
            await eventually(lambda: any(seen.status == 404 for seen in world.proxy.requests))
            assert not other.watcher.synced.is_set()
            await asyncio.to_thread(install_kinds, cluster)
            await eventually(lambda: world.proxy.watching() == 2 * len(KINDS))
            await world.create(RESERVATIONS, "new")
            await one.converges()
            await other.converges()


async def test_an_api_server_restart_is_survived(world: World, cluster: ControlPlane) -> None:
    await world.create(REGIONS, "doomed")
    admin = cluster.kubeconfig_for("admin")
    async with watching(world) as proxied, watching(world, lambda: Credentials.from_kubeconfig(admin)) as direct:
        await synced(direct)
        await proxied.watches()
        await asyncio.to_thread(cluster.restart_api_server)
        await world.create(REGIONS, "new")
        await world.delete(REGIONS, "doomed")
        await proxied.converges()
        await direct.converges()


async def test_least_privilege_is_enough_and_a_changed_token_is_followed(world: World, cluster: ControlPlane) -> None:
    def service_account() -> tuple[Path, Path, str]:
        cluster.kubectl("apply", "-f", "-", input=READER)
        kubeconfig = cluster.kubeconfig_for_service_account("default", "kind-reader")
        token = Path(yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["tokenFile"])
        good = token.read_text()
        token.write_text("revoked")
        return kubeconfig, token, good

    kubeconfig, token, good = await asyncio.to_thread(service_account)
    # The proxy must not lend its own rights.
    account = await Credentials.from_kubeconfig(kubeconfig).access()
    world.proxy.access = replace(account, login=replace(account.login, authorization=""))

    def credentials() -> Credentials:
        # Nothing is read again before the server refuses it.
        return Credentials(
            lambda: replace(load_kubeconfig(kubeconfig), server=world.proxy.url, trust=None), refresh_seconds=3600
        )

    async with watching(world, credentials) as one:
        await eventually(lambda: sum(seen.status == 401 for seen in world.proxy.requests) > 8)
        assert not one.watcher.synced.is_set()
        await asyncio.to_thread(token.write_text, good)
        await synced(one)
        await one.watches()
        await world.create(RESERVATIONS, "new")
        await one.converges()
    assert {seen.status for seen in world.proxy.requests} <= {0, 200, 401}


@pytest.mark.parametrize("state", ["beginning", "discovering", "watching", "away", "crashing"])
async def test_it_ends_promptly_while(world: World, state: str) -> None:
    if state == "discovering":
        world.proxy.delay(60, when=lambda seen: seen.path.startswith("/apis"), times=100)
    async with watching(world) as one:
        if state == "discovering":
            await eventually(lambda: any(seen.path == "/apis" for seen in world.proxy.requests))
        if state in {"watching", "away", "crashing"}:
            await one.watches()
        if state == "away":
            world.proxy.down = True
            world.proxy.cut_watches()
            await eventually(lambda: bool(one.restarts))
        if state == "crashing":
            await kopf_crashes(world)
            await asyncio.sleep(0.3)
