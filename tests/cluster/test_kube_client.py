"""The client says what happened, and sends again only what can do no harm."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from cluster.faults import is_list, is_write
from cluster.kube_world import CONFIG_MAP, World, eventually, open_world
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.errors import ApiError, ApiTimeoutError, ApiUnavailableError, NotLeadingError
from gpu_tenancy.kube.resource import RESOURCE_QUOTA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(admin: Path) -> AsyncIterator[World]:
    async with open_world(admin) as one:
        yield one


def writes(world: World) -> list[tuple[str, int]]:
    return [(seen.method, seen.status) for seen in world.proxy.writes()]


async def test_an_object_is_created_read_patched_and_deleted(world: World) -> None:
    created = await world.client.create(CONFIG_MAP, world.config_map("a", x="1", y="2"))
    assert created["metadata"]["managedFields"][0]["manager"] == "tested"
    patched = await world.client.merge_patch(CONFIG_MAP, "a", {"data": {"x": None, "z": "3"}}, world.namespace)
    assert patched["data"] == {"y": "2", "z": "3"}
    assert (await world.client.get(CONFIG_MAP, "a", world.namespace))["data"] == {"y": "2", "z": "3"}
    gone = await world.client.delete(CONFIG_MAP, "a", world.namespace, uid=created["metadata"]["uid"])
    assert (gone["kind"], gone["status"]) == ("Status", "Success")
    with pytest.raises(ApiError, match="not found") as caught:
        await world.client.get(CONFIG_MAP, "a", world.namespace)
    assert caught.value.is_not_found


async def test_a_list_comes_in_chunks_of_one_version(world: World) -> None:
    await asyncio.gather(*(world.create(f"m{i}") for i in range(5)))
    pages = [page async for page in world.client.list(CONFIG_MAP, world.namespace, chunk=2)]
    assert [len(page.items) for page in pages] == [2, 2, 2]
    assert len({page.resource_version for page in pages}) == 1
    assert {(item["apiVersion"], item["kind"]) for page in pages for item in page.items} == {("v1", "ConfigMap")}


async def test_a_list_is_restricted_by_selectors(world: World) -> None:
    await world.create("plain")
    await world.truth.create(
        CONFIG_MAP,
        {
            "metadata": {"name": "labelled", "namespace": world.namespace, "labels": {"a": "b"}},
            "kind": "ConfigMap",
        },
    )
    for selection in ({"label_selector": "a in (b)"}, {"field_selector": "metadata.name=labelled"}):
        (page,) = [page async for page in world.client.list(CONFIG_MAP, world.namespace, **selection)]
        assert [item["metadata"]["name"] for item in page.items] == ["labelled"]


async def test_failures_are_told_apart(world: World) -> None:
    first = await world.create("a")
    with pytest.raises(ApiError) as exists:
        await world.client.create(CONFIG_MAP, world.config_map("a"))
    assert exists.value.is_already_exists
    await world.change("a", x="1")
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"x": "2"}}
    with pytest.raises(ApiError) as conflict:
        await world.client.merge_patch(CONFIG_MAP, "a", stale, world.namespace)
    assert conflict.value.is_conflict
    with pytest.raises(ApiError) as other_uid:
        await world.client.delete(CONFIG_MAP, "a", world.namespace, uid="another")
    assert other_uid.value.is_conflict
    with pytest.raises(ApiError) as other_version:
        await world.client.delete(CONFIG_MAP, "a", world.namespace, resource_version="1")
    assert other_version.value.is_conflict
    quota = {"metadata": {"name": "q", "namespace": world.namespace}, "spec": {"hard": {"cpu": "-1"}}}
    with pytest.raises(ApiError) as invalid:
        await world.client.create(RESOURCE_QUOTA, {"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    assert not invalid.value.is_transient
    assert [cause.field for cause in invalid.value.causes] == ["spec.hard[cpu]"]


async def test_what_the_server_was_too_busy_for_is_sent_again_when_it_said(world: World) -> None:
    world.proxy.answer(429, reason="TooManyRequests", retry_after=1, when=is_write)
    world.proxy.answer(503, retry_after=1, when=is_write)
    began = time.monotonic()
    await world.client.create(CONFIG_MAP, world.config_map("a"))
    assert time.monotonic() - began > 2
    assert writes(world) == [("POST", 429), ("POST", 503), ("POST", 201)]


async def test_it_is_not_sent_for_ever(world: World) -> None:
    world.proxy.answer(429, reason="TooManyRequests", when=is_write, times=100)
    with pytest.raises(ApiError) as caught:
        await world.client.create(CONFIG_MAP, world.config_map("a"))
    assert caught.value.is_throttled
    assert writes(world) == [("POST", 429)] * 4


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_write_of_unknown_outcome_is_not_sent_again(world: World, status: int) -> None:
    world.proxy.answer(status, when=is_write)
    with pytest.raises(ApiError) as caught:
        await world.client.create(CONFIG_MAP, world.config_map("a"))
    assert caught.value.maybe_written
    assert writes(world) == [("POST", status)]


async def test_a_lost_answer_leaves_open_what_happened(world: World) -> None:
    world.proxy.lose_answer(when=is_write)
    with pytest.raises(ApiUnavailableError) as caught:
        await world.client.create(CONFIG_MAP, world.config_map("a"))
    assert caught.value.maybe_written
    assert "a" in await world.data()


async def test_a_request_that_takes_too_long_is_given_up(world: World) -> None:
    world.proxy.delay(5, when=lambda _seen: True, times=2)
    async with Client(world.proxy.credentials(), field_manager="hasty", read_timeout=1, write_timeout=1) as client:
        with pytest.raises(ApiTimeoutError) as reading:
            await client.get(CONFIG_MAP, "a", world.namespace)
        assert not reading.value.maybe_written
        with pytest.raises(ApiTimeoutError) as writing:
            await client.create(CONFIG_MAP, world.config_map("a"))
        assert writing.value.maybe_written
    assert world.proxy.writes()[0].query["timeout"] == "0.800s"


async def test_the_server_keeps_the_deadline_of_a_write(world: World) -> None:
    async with Client(world.proxy.credentials(), field_manager="hasty") as client:
        client._field_params["timeout"] = "0.000001s"
        with pytest.raises(ApiError) as caught:
            await client.create(CONFIG_MAP, world.config_map("a"))
    assert caught.value.status == 504
    assert "a" not in await world.data()


async def test_a_server_that_cannot_be_reached_has_written_nothing(world: World) -> None:
    url = world.proxy.url
    await world.proxy.__aexit__(None, None, None)
    async with Client(world.proxy.credentials(), field_manager="tested") as client:
        began = time.monotonic()
        with pytest.raises(ApiUnavailableError) as caught:
            await client.create(CONFIG_MAP, world.config_map("a"))
        assert not caught.value.maybe_written
        assert time.monotonic() - began > 1, f"it was not tried again at {url}"
    await world.proxy.__aenter__()


async def test_no_redirect_is_followed(world: World) -> None:
    world.proxy.answer(307, location="/api/v1/namespaces", when=is_list)
    with pytest.raises(ApiError, match="307"):
        await anext(world.client.list(CONFIG_MAP, world.namespace))
    assert [seen.path for seen in world.proxy.requests] == [f"/api/v1/namespaces/{world.namespace}/configmaps"]


async def test_who_may_not_write_sends_nothing_not_even_again(world: World) -> None:
    seen: list[tuple[str, str, int]] = []
    async with Client(
        world.proxy.credentials(),
        field_manager="tested",
        may_write=lambda: ("create", "ConfigMap", 429) not in seen,
        on_request=lambda verb, kind, status, _seconds: seen.append((verb, kind, status)),
    ) as client:
        await client.create(CONFIG_MAP, world.config_map("a"))
        world.proxy.answer(429, retry_after=1, when=is_write)
        with pytest.raises(NotLeadingError):
            await client.create(CONFIG_MAP, world.config_map("b"))
        with pytest.raises(NotLeadingError):
            await client.delete(CONFIG_MAP, "a", world.namespace)
        await client.get(CONFIG_MAP, "a", world.namespace)
    assert writes(world) == [("POST", 201), ("POST", 429)]
    assert seen == [("create", "ConfigMap", 201), ("create", "ConfigMap", 429), ("get", "ConfigMap", 200)]


async def test_every_write_that_was_allowed_is_told_to_have_ended(world: World) -> None:
    allowed: list[bool] = []
    ended: list[int] = []
    async with Client(
        world.proxy.credentials(),
        field_manager="tested",
        may_write=lambda: allowed.append(True) or True,
        on_request=lambda _verb, _kind, status, _seconds: ended.append(status),
    ) as client:
        with pytest.raises(TypeError):
            await client.create(CONFIG_MAP, world.config_map("a") | {"data": object()})
        world.proxy.cut(when=is_write)
        with pytest.raises(ApiUnavailableError):
            await client.create(CONFIG_MAP, world.config_map("a"))
        world.proxy.delay(5, when=is_write)
        cancelled = asyncio.create_task(client.create(CONFIG_MAP, world.config_map("a")))
        await eventually(lambda: len(world.proxy.writes()) == 2)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        world.proxy.answer(429, when=is_write)
        await client.create(CONFIG_MAP, world.config_map("a"))
    assert ended == [0, 0, 0, 429, 201]
    assert len(allowed) == len(ended)


async def test_no_more_requests_than_allowed_are_under_way(world: World) -> None:
    under_way = most = 0

    def started() -> bool:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        return True

    def ended(_verb: str, _kind: str, _status: int, _seconds: float) -> None:
        nonlocal under_way
        under_way -= 1

    async with Client(
        world.proxy.credentials(), field_manager="tested", may_write=started, on_request=ended, concurrency=3
    ) as client:
        await asyncio.gather(*(client.create(CONFIG_MAP, world.config_map(f"m{i}")) for i in range(20)))
    assert most == 3
