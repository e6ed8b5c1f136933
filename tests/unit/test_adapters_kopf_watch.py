"""How kopf is kept: in its own thread, without a memory, without a word to the API server."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from typing import Any

import kopf
import pytest

from gpu_tenancy.adapters import kopf_watch
from gpu_tenancy.adapters.kopf_watch import _end_watches, _handler, _in_thread, _settings
from gpu_tenancy.kube.resource import NODE

# Kubernetes' own: a finalizer is a qualified name, which may have a DNS subdomain before it.
FINALIZER = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


async def fail() -> None:
    raise LookupError("lost")


async def end() -> None:
    assert threading.current_thread().name == "kopf"


async def test_whatever_ends_a_thread_is_told() -> None:
    assert await _in_thread(fail()) == "LookupError: lost"
    assert await _in_thread(end()) == "no reason given"


async def test_a_thread_that_nobody_waits_for_ends() -> None:
    began, ended = threading.Event(), threading.Event()

    async def live() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(_in_thread(live()))
    await asyncio.to_thread(began.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_thread_that_does_not_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kopf_watch, "_STOP_SECONDS", 0.05)
    release = threading.Event()

    async def hang() -> None:
        release.wait()  # what no coroutine may do

    task = asyncio.create_task(_in_thread(hang()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert caplog.messages == ["kopf does not end; its thread is left behind"]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "kopf")


async def test_what_else_fails_in_its_loop_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def live() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.INFO):
        await _in_thread(live())
    assert not caplog.messages


async def test_watches_that_kopf_would_leave_running_are_ended() -> None:
    watch = asyncio.create_task(asyncio.Event().wait(), name="watcher for regions.v1alpha1.gpu-tenancy.dev@None")
    other = asyncio.create_task(asyncio.Event().wait(), name="something else")
    await _end_watches()
    assert watch.cancelled()
    assert not other.done()
    other.cancel()


async def test_an_event_is_handed_over_as_it_came() -> None:
    told: list[tuple[Any, ...]] = []
    raw = {"metadata": {"name": "one"}}
    await _handler(NODE, lambda *event: told.append(event))(event={"type": None, "object": raw}, body=raw, retry=0)
    assert told == [(NODE, None, raw)]


def test_kopf_takes_no_finalizer_off_that_an_object_can_have() -> None:
    assert FINALIZER.fullmatch(kopf.OperatorSettings().persistence.finalizer), "the pattern is too strict"
    assert not FINALIZER.fullmatch(_settings(90).persistence.finalizer)


def test_kopf_neither_believes_annotations_nor_leaves_any() -> None:
    storage = _settings(90).persistence.diffbase_storage
    body = kopf.Body({"metadata": {"annotations": {"kopf.zalando.org/last-handled-configuration": "no JSON"}}})
    patch = kopf.Patch()
    assert storage.fetch(body=body) is None
    assert storage.build(body=body) == {}
    storage.store(body=body, patch=patch, essence={})
    assert not patch


def test_kopf_does_not_kill_the_process_that_it_is_in() -> None:
    assert _settings(90).process.ultimate_exiting_timeout is None
