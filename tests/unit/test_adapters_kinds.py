"""What the watcher of our kinds makes of kopf's ways, which are played here, and of a failing census."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gpu_tenancy.adapters import kinds
from gpu_tenancy.api import GPU_POOL, REGION
from gpu_tenancy.kube.client import Page
from gpu_tenancy.kube.errors import ApiError
from gpu_tenancy.kube.resource import Resource
from gpu_tenancy.kube.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

REGIONS, POOLS = "/apis/gpu-tenancy.dev/v1alpha1/regions", "/apis/gpu-tenancy.dev/v1alpha1/gpupools"


def raw(name: str, version: int, uid: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}}


class Stage:
    """Plays kopf and the API server to a watcher."""

    def __init__(self) -> None:
        self.pages: dict[str, Page | Exception] = defaultdict(lambda: Page([], "1"))
        self.listed: list[str] = []
        self.lives = 0
        self.restarts: list[str] = []
        self.end: asyncio.Future[str]
        self.on_event: Callable[..., None]
        self.on_answer: Callable[..., None]
        self.stores: dict[Any, Store[str]] = {
            kind: Store(lambda raw: raw["metadata"]["resourceVersion"]) for kind in (REGION, GPU_POOL)
        }

    async def watch_with_kopf(self, _credentials: object, resources: tuple[Resource, ...], **options: Any) -> str:
        assert [resource.path() for resource in resources] == [REGIONS, POOLS]
        self.on_event, self.on_answer = options["on_event"], options["on_answer"]
        self.lives += 1
        self.end = asyncio.get_running_loop().create_future()
        return await self.end

    async def list(self, resource: Resource, *_args: Any, **_options: Any) -> AsyncIterator[Page]:
        self.listed.append(resource.kind)
        page = self.pages[resource.kind]
        if isinstance(page, Exception):
            raise page
        yield page

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[kinds.KindWatcher]:
        watcher = kinds.KindWatcher(lambda: None, self, self.stores, self.restarts.append)  # type: ignore[arg-type, return-value]
        task = asyncio.create_task(watcher.run())
        await pass_time()
        yield watcher
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def pass_time() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    one = Stage()
    monkeypatch.setattr(kinds, "watch_with_kopf", one.watch_with_kopf)
    return one


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Take no time over any pause, and keep how long it could have been."""
    kept: list[float] = []

    def uniform(_low: float, high: float) -> float:
        kept.append(high)
        return 0.0

    monkeypatch.setattr(kinds.random, "uniform", uniform)
    return kept


async def test_it_is_synced_when_all_kinds_have_been_counted(stage: Stage, pauses: list[float]) -> None:
    stage.pages["Region"] = Page([raw("one", 5)], "9")
    stage.pages["GpuPool"] = ApiError(503, "", "not now")
    async with stage.watched() as watcher:
        assert stage.stores[REGION].values() == ("5",)
        assert not watcher.synced.is_set()
        del stage.pages["GpuPool"]
        await pass_time()
        assert watcher.synced.is_set()
    assert pauses[:3] == [0.5, 1.0, 2.0]


async def test_a_census_follows_each_watch_that_begins_and_nothing_else(stage: Stage) -> None:
    stage.pages["Region"] = Page([raw("doomed", 5)], "9")
    async with stage.watched():
        stage.listed.clear()
        stage.pages["Region"] = Page([], "10")
        stage.on_answer(REGIONS, False, "")
        stage.on_answer(REGIONS, True, "503: not now")
        stage.on_answer("/apis", False, "")
        await pass_time()
        assert not stage.listed
        stage.on_answer(REGIONS, True, "")
        await pass_time()
        assert stage.listed == ["Region"]
        assert not stage.stores[REGION].values()


async def test_events_are_taken_in_as_if_in_order(stage: Stage) -> None:
    regions = Resource("gpu-tenancy.dev", "v1alpha1", "regions", "Region", namespaced=False)
    async with stage.watched():
        for type_, body in (
            ("MODIFIED", raw("one", 7)),
            (None, raw("one", 6)),
            ("ADDED", raw("two", 10, "second")),
            ("DELETED", raw("two", 9, "first")),
            ("ADDED", raw("three", 11)),
            ("DELETED", raw("three", 12)),
            ("MODIFIED", raw("three", 11)),
        ):
            stage.on_event(regions, type_, body)
        assert sorted(stage.stores[REGION].values()) == ["10", "7"]


async def test_an_outage_is_said_once_and_so_is_its_end(
    stage: Stage, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with stage.watched():
        for _ in range(3):
            stage.on_answer(REGIONS, True, "refused")
            stage.on_answer("/apis", False, "refused")
        stage.pages["Region"] = KeyError("a bug")
        stage.on_answer(REGIONS, True, "")
        await pass_time()
        stage.on_answer("/apis", False, "")
        assert caplog.messages == [f"Cannot watch our kinds, trying on; {REGIONS}: refused"]
        del stage.pages["Region"]
        await pass_time()
    assert caplog.messages[1:] == ["Watching our kinds again"]
    assert stage.restarts == ["Region"] * 3
    assert pauses


async def test_kopf_is_begun_again_with_growing_pauses(
    stage: Stage, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    async with stage.watched():
        for _ in range(8):
            stage.end.set_result("LookupError: lost")
            await pass_time()
    assert stage.lives == 9
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert stage.restarts == ["Region", "GpuPool"] * 8
    assert caplog.messages == ["kopf ended and begins again: LookupError: lost"] * 8


async def test_kopf_that_is_stuck_is_begun_again(
    stage: Stage, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "_OVERDUE_SECONDS", 0.05)
    async with stage.watched():
        first = stage.end
        stage.pages["Region"] = Page([raw("one", 5)], "9")
        await asyncio.sleep(0.1)
        await pass_time()
        assert first.cancelled()
        assert stage.lives > 1
        assert stage.stores[REGION].values() == ("5",)
    assert pauses


async def test_kopf_is_begun_again_when_the_server_was_restored_from_a_backup(
    stage: Stage, pauses: list[float]
) -> None:
    stage.pages["Region"] = Page([raw("one", 5)], "9")
    async with stage.watched():
        stage.pages["Region"] = Page([raw("other", 3)], "4")
        stage.on_answer(REGIONS, True, "")
        await pass_time()
        assert stage.lives == 2
        assert stage.stores[REGION].values() == ("3",)
        stage.on_answer(REGIONS, True, "")
        await pass_time()
        assert stage.lives == 2
    assert pauses == [1.0]
