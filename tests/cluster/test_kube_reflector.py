"""Whatever happens between the reflector and the API server, the store converges, in the same process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cluster.faults import Seen, is_list, is_watch
from cluster.kube_world import CONFIG_MAP, World, eventually, open_world
from gpu_tenancy.kube.auth import Credentials, load_kubeconfig
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.reflector import Reflector
from gpu_tenancy.kube.resource import Resource
from gpu_tenancy.kube.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gpu_tenancy.localcluster import ControlPlane


@pytest.fixture
async def world(admin: Path) -> AsyncIterator[World]:
    async with open_world(admin) as one:
        yield one


class Reflected:
    """A reflector at work, and what it said."""

    def __init__(self, client: Client, namespace: str, resource: Resource = CONFIG_MAP, **options: Any) -> None:
        self.restarts: list[str] = []
        self.store: Store[dict[str, str]] = Store(lambda raw: raw.get("data", {}))
        options = {"longest_pause": 1.0} | options
        self.reflector = Reflector(
            client,
            resource,
            self.store,
            namespace=namespace,
            on_restart=lambda _kind, problem: self.restarts.append(problem),
            **options,
        )

    @property
    def data(self) -> dict[str, dict[str, str]]:
        return {key.name: entry.value for key, entry in self.store.snapshot().items()}


@asynccontextmanager
async def reflecting(reflected: Reflected) -> AsyncIterator[Reflected]:
    task = asyncio.create_task(reflected.reflector.run())
    try:
        async with asyncio.timeout(30):
            await reflected.reflector.synced.wait()
        yield reflected
        assert not task.done(), "the reflector ended"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def converges(world: World, reflected: Reflected) -> None:
    async def equal() -> bool:
        return reflected.data == await world.data()

    await eventually(equal)


async def disturb(world: World) -> None:
    """Create, change and delete something."""
    await world.create("new", a="1")
    await world.change("kept", a="2")
    await world.delete("doomed")


async def cut(world: World) -> None:
    assert world.proxy.cut_watches() == 1


async def gone_in_stream(world: World) -> None:
    assert await world.proxy.inject_error(410, "Expired") == 1


async def internal_error_in_stream(world: World) -> None:
    assert await world.proxy.inject_error(500, "InternalError") == 1


async def throttled_in_stream(world: World) -> None:
    assert await world.proxy.inject_error(429, "TooManyRequests") == 1


async def gone_as_status(world: World) -> None:
    world.proxy.answer(410, reason="Expired", when=is_watch)
    world.proxy.cut_watches()


async def throttled(world: World) -> None:
    world.proxy.answer(429, reason="TooManyRequests", retry_after=1, when=is_watch, times=2)
    world.proxy.cut_watches()


async def server_errors(world: World) -> None:
    world.proxy.answer(500, when=is_watch)
    world.proxy.answer(503, retry_after=1, when=is_watch)
    world.proxy.answer(502, body=b"<html>bad gateway</html>", when=is_watch)
    world.proxy.cut_watches()


async def lists_fail_too(world: World) -> None:
    world.proxy.answer(410, reason="Expired", when=is_watch)
    world.proxy.answer(503, when=is_list)
    world.proxy.answer(429, retry_after=1, when=is_list)
    world.proxy.answer(200, body=b"[]", when=is_list)
    world.proxy.answer(200, body=b'{"items"', when=is_list)
    world.proxy.cut_watches()


async def garbage(world: World) -> None:
    await world.proxy.inject(b"<html>")


async def garbage_that_is_json(world: World) -> None:
    await world.proxy.inject(b'{"type": "ADDED", "object": {"no": "metadata"}}')


async def half_a_line(world: World) -> None:
    await world.proxy.inject(b'{"type": "ADDED", "object":', end=b"")
    world.proxy.cut_watches()


async def ends_at_once(world: World) -> None:
    world.proxy.answer(200, body=b"", when=is_watch, times=3)
    world.proxy.cut_watches()


async def server_away(world: World) -> None:
    world.proxy.down = True
    world.proxy.cut_watches()
    asyncio.get_running_loop().call_later(2, setattr, world.proxy, "down", False)


@pytest.mark.parametrize(
    "harm",
    [
        cut,
        gone_in_stream,
        internal_error_in_stream,
        throttled_in_stream,
        gone_as_status,
        throttled,
        server_errors,
        lists_fail_too,
        garbage,
        garbage_that_is_json,
        half_a_line,
        ends_at_once,
        server_away,
    ],
)
async def test_a_store_converges_after(world: World, harm: Callable[[World], Awaitable[None]]) -> None:
    await world.create("kept", a="1")
    await world.create("doomed")
    async with reflecting(Reflected(world.client, world.namespace)) as reflected:
        await eventually(lambda: world.proxy.watching() == 1)
        await harm(world)
        await disturb(world)
        await converges(world, reflected)
        # And it still follows.
        await eventually(lambda: world.proxy.watching() == 1)
        await world.change("kept", a="3")
        await converges(world, reflected)
        assert reflected.restarts


async def test_a_silent_connection_is_given_up(world: World) -> None:
    await world.create("kept", a="1")
    await world.create("doomed")
    async with reflecting(Reflected(world.client, world.namespace, silence=2.0)) as reflected:
        await eventually(lambda: world.proxy.watching() == 1)
        assert world.proxy.freeze_watches() == 1
        await disturb(world)
        await converges(world, reflected)


async def test_a_lost_watch_resumes_without_a_list(world: World) -> None:
    await world.create("kept", a="1")
    await world.create("doomed")
    async with reflecting(Reflected(world.client, world.namespace)) as reflected:
        await eventually(lambda: world.proxy.watching() == 1)
        world.proxy.requests.clear()
        world.proxy.answer(500, when=is_watch, times=2)
        world.proxy.cut_watches()
        await disturb(world)
        await converges(world, reflected)
        assert not [seen for seen in world.proxy.requests if is_list(seen)]


async def test_objects_deleted_while_nobody_watched_are_missed_by_the_next_list(world: World) -> None:
    told: list[tuple[str, bool]] = []
    await world.create("kept", a="1")
    await world.create("doomed")
    async with reflecting(Reflected(world.client, world.namespace)) as reflected:
        await eventually(lambda: world.proxy.watching() == 1)
        reflected.store.subscribe(lambda key, _old, new: told.append((key.name, new is not None)))
        world.proxy.answer(410, reason="Expired", when=is_watch, times=3)
        world.proxy.cut_watches()
        await world.delete("doomed")
        await converges(world, reflected)
        assert told == [("doomed", False)]


async def test_an_object_replaced_in_a_gap_is_the_new_one(world: World) -> None:
    await world.create("twice", a="1")
    async with reflecting(Reflected(world.client, world.namespace)) as reflected:
        await eventually(lambda: world.proxy.watching() == 1)
        world.proxy.answer(410, reason="Expired", when=is_watch)
        world.proxy.cut_watches()
        await world.delete("twice")
        second = await world.create("twice", b="2")
        await converges(world, reflected)
        entry = reflected.store.get("twice", world.namespace)
        assert entry is not None
        assert entry.uid == second["metadata"]["uid"]


async def test_a_list_whose_continuation_expires_begins_again(world: World) -> None:
    await asyncio.gather(*(world.create(f"one-{i}") for i in range(600)))

    def continues(seen: Seen) -> bool:
        return "continue" in seen.query

    world.proxy.answer(410, reason="Expired", when=continues)
    async with reflecting(Reflected(world.client, world.namespace)) as reflected:
        await converges(world, reflected)
        assert len(reflected.store) == 601
        assert [seen.status for seen in world.proxy.requests if continues(seen)] == [410, 200]


async def test_lines_longer_than_any_buffer_arrive_whole(world: World) -> None:
    async with reflecting(Reflected(world.client, world.namespace)) as reflected:
        await eventually(lambda: world.proxy.watching() == 1)
        await world.create("big", a="x" * 900_000)
        await converges(world, reflected)
        assert not reflected.restarts


async def test_a_kind_that_does_not_exist_yet_is_waited_for(world: World, control_plane: ControlPlane) -> None:
    plural = f"kube{world.namespace[-8:]}s"
    widgets = Resource("test.example", "v1", plural, "Widget", namespaced=False)
    schema = "{type: object, x-kubernetes-preserve-unknown-fields: true}"
    reflected = Reflected(world.client, "", widgets)
    task = asyncio.create_task(reflected.reflector.run())
    await eventually(lambda: len(reflected.restarts) > 1)
    assert not reflected.reflector.synced.is_set()
    definition = f"""
        apiVersion: apiextensions.k8s.io/v1
        kind: CustomResourceDefinition
        metadata: {{name: {plural}.test.example}}
        spec:
          group: test.example
          scope: Cluster
          names: {{plural: {plural}, kind: Widget}}
          versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {schema}}}}}]
        """
    await asyncio.to_thread(control_plane.kubectl, "apply", "-f", "-", input=definition)
    async with asyncio.timeout(30):
        await reflected.reflector.synced.wait()
    widget = {"apiVersion": "test.example/v1", "kind": "Widget", "metadata": {"name": "one"}, "data": {"a": "1"}}
    await world.truth.create(widgets, widget)
    await eventually(lambda: reflected.data == {"one": {"a": "1"}})
    # And one that is taken away is no reason to die.
    await asyncio.to_thread(control_plane.kubectl, "delete", "crd", f"{plural}.test.example", "--wait=false")
    await eventually(lambda: reflected.data == {})
    assert not task.done()
    task.cancel()


async def test_an_api_server_restart_is_survived(world: World, control_plane: ControlPlane) -> None:
    await world.create("kept", a="1")
    await world.create("doomed")
    async with (
        reflecting(Reflected(world.client, world.namespace)) as through_proxy,
        reflecting(Reflected(world.truth, world.namespace)) as direct,
    ):
        await asyncio.to_thread(control_plane.restart_api_server)
        await disturb(world)
        await converges(world, through_proxy)
        await converges(world, direct)
        assert through_proxy.restarts
        assert direct.restarts


async def test_a_token_that_changed_is_read_again_when_the_old_one_is_refused(
    world: World, control_plane: ControlPlane
) -> None:
    def service_account() -> Path:
        control_plane.kubectl("create", "serviceaccount", "reader", "-n", world.namespace)
        return control_plane.kubeconfig_for_service_account(world.namespace, "reader")

    kubeconfig = await asyncio.to_thread(service_account)
    binding = f"--serviceaccount={world.namespace}:reader"
    rolebinding = ("create", "rolebinding", "reader", "--clusterrole=view", binding, "-n", world.namespace)
    await asyncio.to_thread(control_plane.kubectl, *rolebinding)
    credentials = Credentials(
        lambda: replace(load_kubeconfig(kubeconfig), server=world.proxy.url, trust=None), refresh_seconds=3600
    )
    # The proxy must not lend its own rights.
    account = await Credentials.from_kubeconfig(kubeconfig).access()
    world.proxy.access = replace(account, login=replace(account.login, authorization=""))
    async with (
        Client(credentials, field_manager="tested") as client,
        reflecting(Reflected(client, world.namespace)) as reflected,
    ):
        # Deleting the account makes its tokens void; the API server remembers for some seconds that they were good.
        await asyncio.to_thread(control_plane.kubectl, "delete", "serviceaccount", "reader", "-n", world.namespace)
        world.proxy.requests.clear()

        def refused() -> bool:
            world.proxy.cut_watches()
            return any(seen.status == 401 for seen in world.proxy.requests)

        await eventually(refused)
        await asyncio.to_thread(service_account)
        await world.create("after", a="1")
        await converges(world, reflected)
