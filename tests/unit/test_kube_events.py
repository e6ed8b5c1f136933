"""Events are posted once, counted when they repeat, and given up rather than waited for."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gpu_tenancy.kube import events
from gpu_tenancy.kube.errors import ApiError, NotLeadingError
from gpu_tenancy.kube.events import EventRecorder, Regarding
from manual_clock import skip_waits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gpu_tenancy.kube.resource import Resource

ACME = Regarding("example.com/v1", "Tenant", "", "acme", "uid-1")
QUOTA = Regarding("v1", "ResourceQuota", "acme-prod", "System:Gpu_b200-", "uid-2")


@pytest.fixture(autouse=True)
async def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_waits(monkeypatch)
    monkeypatch.setattr(events, "time", SimpleNamespace(monotonic=asyncio.get_running_loop().time))


class Sink:
    """Takes what a client would send."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.patched: list[tuple[str, str, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.idle = asyncio.Event()
        self.idle.set()

    async def create(self, _resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        if self.error:
            raise self.error
        self.created.append(manifest)
        return manifest

    async def merge_patch(
        self, _resource: Resource, name: str, patch: dict[str, Any], namespace: str
    ) -> dict[str, Any]:
        if self.error:
            raise self.error
        self.patched.append((namespace, name, patch))
        return patch


@asynccontextmanager
async def recording(sink: Sink, **options: Any) -> AsyncIterator[EventRecorder]:
    options = {"per_second": 1000.0, "collect": 0.05} | options
    recorder = EventRecorder(sink, controller="example.com/op", instance="pod-1", **options)  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    yield recorder
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def settle() -> None:
    await asyncio.sleep(0.15)


async def test_an_event_is_posted_with_all_that_the_api_asks_for() -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        recorder.record(QUOTA, "Warning", "Lowered", "from 8 to 4", "Reconcile")
        await settle()
    (event,) = sink.created
    assert event["metadata"]["namespace"] == "acme-prod"
    assert re.fullmatch(r"system-gpu-b200\.[0-9a-f]{16}", event["metadata"]["name"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["eventTime"])
    assert event["regarding"] == {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "namespace": "acme-prod",
        "name": "System:Gpu_b200-",
        "uid": "uid-2",
    }
    assert (event["type"], event["reason"], event["action"], event["note"]) == (
        "Warning",
        "Lowered",
        "Reconcile",
        "from 8 to 4",
    )
    assert (event["reportingController"], event["reportingInstance"]) == ("example.com/op", "pod-1")
    assert "series" not in event


async def test_an_event_about_a_cluster_scoped_object_is_in_the_default_namespace() -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        recorder.record(ACME, "Normal", "Ready", "all stands")
        await settle()
    (event,) = sink.created
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["regarding"]


async def test_repetitions_are_counted_and_told_together() -> None:
    sink = Sink()
    async with recording(sink, collect=0.5) as recorder:
        for _ in range(10):
            recorder.record(ACME, "Normal", "Ready", "all stands")
            await asyncio.sleep(0.01)
        assert sink.patched == []
        await asyncio.sleep(0.6)
        assert len(sink.created) == 1
        ((namespace, name, patch),) = sink.patched
        assert (namespace, name) == ("default", sink.created[0]["metadata"]["name"])
        assert patch["series"]["count"] == 10
        recorder.record(ACME, "Normal", "Ready", "all stands")
        await asyncio.sleep(0.6)
        assert sink.patched[-1][2]["series"]["count"] == 11


async def test_repetitions_before_the_first_post_are_in_it() -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        for _ in range(3):
            recorder.record(ACME, "Normal", "Ready", "all stands")
        await settle()
    assert [event["series"]["count"] for event in sink.created] == [3]
    assert sink.patched == []


async def test_another_note_reason_or_object_is_another_event() -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        recorder.record(ACME, "Normal", "Ready", "one")
        recorder.record(ACME, "Normal", "Ready", "two")
        recorder.record(ACME, "Normal", "Other", "one")
        recorder.record(QUOTA, "Normal", "Ready", "one")
        await settle()
    assert len(sink.created) == 4


async def test_after_the_window_the_same_thing_is_a_new_event() -> None:
    sink = Sink()
    async with recording(sink, window=0.05) as recorder:
        recorder.record(ACME, "Normal", "Ready", "one")
        await settle()
        recorder.record(ACME, "Normal", "Ready", "one")
        await settle()
    assert len(sink.created) == 2


async def test_memory_is_bounded_and_the_oldest_are_given_up() -> None:
    sink = Sink()
    async with recording(sink, remembered=10) as recorder:
        for number in range(100):
            recorder.record(ACME, "Normal", "Ready", f"{number}")
        await settle()
        assert len(recorder._series) == 10
        assert recorder.dropped == 90
    assert [event["note"] for event in sink.created] == [str(number) for number in range(90, 100)]


async def test_new_events_give_way_while_there_is_something_better_to_do() -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        sink.idle.clear()
        recorder.record(ACME, "Normal", "Ready", "one")
        recorder.record(ACME, "Normal", "Ready", "two")
        await settle()
        assert sink.created == []
        sink.idle.set()
        await settle()
    assert [event["note"] for event in sink.created] == ["one", "two"]


async def test_new_events_do_not_give_way_for_ever() -> None:
    sink = Sink()
    async with recording(sink, patience=0.1) as recorder:
        sink.idle.clear()
        recorder.record(ACME, "Normal", "Ready", "one")
        await settle()
        recorder.record(ACME, "Normal", "Ready", "two")
        assert [event["note"] for event in sink.created] == ["one"]


async def test_events_that_are_given_up_while_they_give_way_are_not_posted() -> None:
    sink = Sink()
    async with recording(sink, remembered=1) as recorder:
        sink.idle.clear()
        recorder.record(ACME, "Normal", "Ready", "one")
        await asyncio.sleep(0)
        recorder.record(ACME, "Normal", "Ready", "two")
        sink.idle.set()
        await settle()
    assert [event["note"] for event in sink.created] == ["two"]


async def test_what_waits_can_be_posted_at_once() -> None:
    sink = Sink()
    async with recording(sink, collect=60.0) as recorder:
        recorder.record(ACME, "Normal", "Ready", "one")
        await settle()
        sink.idle.clear()
        recorder.record(ACME, "Normal", "Ready", "one")
        recorder.record(ACME, "Normal", "Ready", "two")
        await recorder.flush()
        assert [event["note"] for event in sink.created] == ["one", "two"]
        assert [patch["series"]["count"] for _, _, patch in sink.patched] == [2]
        assert recorder.dropped == 0


async def test_requests_are_rate_limited() -> None:
    sink = Sink()
    async with recording(sink, per_second=20.0) as recorder:
        for number in range(100):
            recorder.record(ACME, "Normal", "Ready", f"{number}")
        await asyncio.sleep(0.3)
        assert 3 <= len(sink.created) <= 8


@pytest.mark.parametrize("error", [ApiError(500, "InternalError", "no"), NotLeadingError("not us")])
async def test_what_cannot_be_posted_is_given_up_and_posted_anew_when_it_repeats(error: Exception) -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        sink.error = error
        recorder.record(ACME, "Normal", "Ready", "one")
        await settle()
        assert recorder.dropped == 1
        sink.error = None
        recorder.record(ACME, "Normal", "Ready", "one")
        await settle()
    assert len(sink.created) == 1


async def test_a_long_note_is_cut_within_its_bytes() -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        recorder.record(ACME, "Normal", "Ready", "ü" * 2000)
        await settle()
    note = sink.created[0]["note"]
    assert len(note.encode()) <= 1024
    assert note.endswith("ü…")
