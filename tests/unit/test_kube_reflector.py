"""What a reflector does that a real API server cannot be brought to show."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gpu_tenancy.kube.client import Page, WatchEvent
from gpu_tenancy.kube.errors import ApiError, ApiTimeoutError
from gpu_tenancy.kube.reflector import Reflector
from gpu_tenancy.kube.resource import NODE
from gpu_tenancy.kube.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

Raw = dict[str, Any]


def node(name: str, version: int, data: str = "x") -> Raw:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}, "data": data}


class Script:
    """Answers lists and watches one after the other as it was told; then watches stay open and silent."""

    def __init__(self, lists: list[Page | Exception], watches: list[list[WatchEvent | Exception]]) -> None:
        self.lists = lists
        self.watches = watches
        self.asked: list[str] = []

    async def list(self, *_args: Any, **_options: Any) -> AsyncIterator[Page]:
        self.asked.append("list")
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield answer

    async def watch(self, *_args: Any, resource_version: str, **_options: Any) -> AsyncIterator[WatchEvent]:
        self.asked.append(f"watch {resource_version}")
        if not self.watches:
            await asyncio.Event().wait()
        for step in self.watches.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step


async def reflect(script: Script, store: Store[str], until: Callable[[], bool], *, optional: bool = False) -> list[str]:
    restarts: list[str] = []
    reflector = Reflector(
        script,  # type: ignore[arg-type]
        NODE,
        store,
        longest_pause=0.01,
        optional=optional,
        on_restart=lambda _kind, problem: restarts.append(problem),
    )
    task = asyncio.create_task(reflector.run())
    async with asyncio.timeout(10):
        while not until():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.005)
    assert not task.done()
    task.cancel()
    return restarts


async def test_bookmarks_move_the_version_on() -> None:
    bookmark = WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "77"}})
    script = Script([Page([], "5")], [[bookmark, ApiError(500, "", "cut")]])
    await reflect(script, Store(lambda raw: raw["data"]), lambda: "watch 77" in script.asked)
    assert script.asked == ["list", "watch 5", "watch 77"]


SILENCE = ApiTimeoutError("silent", sent=True, write=False)


async def test_after_silence_it_watches_on_and_finds_nothing_wrong_with_that() -> None:
    script = Script([Page([node("a", 90)], "100"), Page([node("a", 90)], "120")], [[SILENCE]])
    store: Store[str] = Store(lambda raw: raw["data"])
    restarts = await reflect(script, store, lambda: script.asked.count("watch 100") == 2)
    assert restarts == []


async def test_a_server_that_says_nothing_because_its_data_was_restored_is_listed_anew() -> None:
    restored = Page([node("a", 40, "restored")], "50")
    script = Script([Page([node("a", 90), node("b", 91)], "100"), restored, restored], [[SILENCE]])
    store: Store[str] = Store(lambda raw: raw["data"])
    await reflect(script, store, lambda: "watch 50" in script.asked)
    assert store.values() == ("restored",)


async def test_a_server_that_is_gone_after_silence_is_tried_again() -> None:
    script = Script([Page([], "100"), SILENCE, Page([], "100")], [[SILENCE], [SILENCE]])
    restarts = await reflect(script, Store(lambda raw: raw["data"]), lambda: script.asked.count("watch 100") == 3)
    assert restarts == ["silent"]


async def test_an_expired_version_leads_to_a_list() -> None:
    expired = ApiError(410, "Expired", "too old")
    script = Script([Page([], "5"), Page([node("a", 7)], "9")], [[expired]])
    store: Store[str] = Store(lambda raw: raw["data"])
    await reflect(script, store, lambda: "watch 9" in script.asked)
    assert script.asked == ["list", "watch 5", "list", "watch 9"]
    assert len(store) == 1


async def test_a_refused_connection_does_not_lead_to_a_list() -> None:
    refused = ApiTimeoutError("connecting took too long", sent=False, write=False)
    script = Script([Page([], "100")], [[refused], [refused]])
    await reflect(script, Store(lambda raw: raw["data"]), lambda: len(script.asked) == 4)
    assert script.asked == ["list", "watch 100", "watch 100", "watch 100"]


async def test_a_kind_that_the_server_may_not_know_is_empty_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_tenancy.kube.reflector._UNKNOWN_PAUSE", 0.01)
    unknown = ApiError(404, "NotFound", "the server could not find the requested resource")
    script = Script([unknown, unknown, Page([node("a", 7)], "7")], [])
    store = Store(lambda raw: raw["data"])
    assert await reflect(script, store, until=lambda: len(store) == 1, optional=True) == []


async def test_a_bug_is_logged_and_outlived(caplog: pytest.LogCaptureFixture) -> None:
    script = Script([RuntimeError("a bug"), Page([node("a", 1)], "1")], [])
    store: Store[str] = Store(lambda raw: raw["data"])
    restarts = await reflect(script, store, lambda: len(store) == 1)
    assert restarts == ["RuntimeError: a bug"]
    assert "a bug" in caplog.text


async def test_the_same_problem_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    missing, forbidden = ApiError(404, "NotFound", "no such kind"), ApiError(403, "Forbidden", "not you")
    script = Script([missing, missing, missing, forbidden, forbidden, Page([], "1")], [])
    restarts = await reflect(script, Store(lambda raw: raw["data"]), lambda: "watch 1" in script.asked)
    assert len(restarts) == 5
    assert caplog.text.count("no such kind") == 1
    assert caplog.text.count("not you") == 1


async def test_watches_that_end_at_once_are_not_repeated_without_a_pause() -> None:
    script = Script([Page([], "1")], [[], [], []])
    restarts = await reflect(script, Store(lambda raw: raw["data"]), lambda: len(script.asked) == 5)
    assert restarts == ["the watch ended as soon as it began"] * 3
