"""Events about objects: posted when there is nothing better to do, repeated ones counted, never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from gpu_tenancy.kube.errors import KubeError, NotLeadingError
from gpu_tenancy.kube.resource import EVENT

if TYPE_CHECKING:
    from gpu_tenancy.kube.client import Client
    from gpu_tenancy.kube.transport import Object

logger = logging.getLogger(__name__)

_LONGEST_NOTE = 1024
_LONGEST_NAME = 200


class Regarding(NamedTuple):
    """The object that an event is about; `namespace` is empty for cluster-scoped kinds."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


class _Topic(NamedTuple):
    uid: str
    reason: str
    note: str


@dataclass(slots=True)
class _Series:
    """What happened, once or again and again, and how much of that the server knows."""

    regarding: Regarding
    type: str
    reason: str
    note: str
    action: str
    began: datetime
    last: datetime
    last_seconds: float
    count: int = 1
    name: str = field(default="")
    """Of the Event object; empty until it is posted."""

    @property
    def namespace(self) -> str:
        return self.regarding.namespace or "default"


class EventRecorder:
    """Posts events.k8s.io/v1 Events; belongs to one event loop.

    Attributes:
        dropped: how many occurrences were given up, because there were too many or the server did not take them.
    """

    def __init__(
        self,
        client: Client,
        *,
        controller: str,
        instance: str,
        per_second: float = 10.0,
        patience: float = 30.0,
        window: float = 600.0,
        collect: float = 60.0,
        remembered: int = 1000,
    ) -> None:
        """Set up; `run` does the work.

        Args:
            client: talks to the server.
            controller: who reports, such as `example.com/operator`.
            instance: which process of it, such as the pod's name.
            per_second: how many requests are sent at most.
            patience: seconds for which a new event gives way to other requests, at most.
            window: seconds without a repetition after which the same thing is a new event.
            collect: seconds for which repetitions are counted before the server is told.
            remembered: how many different events are kept in mind; the oldest are forgotten first.
        """
        self.dropped = 0
        self._client = client
        self._controller = controller
        self._instance = instance
        self._per_second = per_second
        self._patience = patience
        self._window = window
        self._collect = collect
        self._remembered = remembered
        self._series: OrderedDict[_Topic, _Series] = OrderedDict()
        # Two queues, each in the order in which they fall due: new events at once, or at the latest then, while there
        # is something better to do; repetitions after a while.
        self._new: dict[_Topic, float] = {}
        self._repeated: dict[_Topic, float] = {}
        self._wake = asyncio.Event()

    def record(
        self,
        regarding: Regarding,
        type_: Literal["Normal", "Warning"],
        reason: str,
        note: str,
        action: str = "Reconcile",
    ) -> None:
        """Note that something happened; returns at once and never fails.

        Args:
            regarding: the object.
            type_: how bad it is.
            reason: a stable UpperCamelCase word for machines.
            note: a sentence for people; cut at 1024 bytes.
            action: what was being done, UpperCamelCase.
        """
        topic, now, seconds = _Topic(regarding.uid, reason, note), datetime.now(UTC), time.monotonic()
        series = self._series.get(topic)
        if series is None or seconds - series.last_seconds > self._window:
            self._forget(topic)
            self._series[topic] = _Series(regarding, type_, reason, note, action, now, now, seconds)
            self._new[topic] = seconds + self._patience
            while len(self._series) > self._remembered:
                self._forget(next(iter(self._series)))
        else:
            series.count, series.last, series.last_seconds = series.count + 1, now, seconds
            self._series.move_to_end(topic)
            if topic not in self._new:
                self._repeated.setdefault(topic, seconds + self._collect)
        self._wake.set()

    async def run(self) -> None:
        """Post what was recorded, until cancelled."""
        while True:
            self._wake.clear()
            topic, due = self._next()
            if topic is None or (due > time.monotonic() and not self._may_go_early(topic)):
                await _wait(self._client.idle if topic in self._new else self._wake, until=due)
                continue
            await self._send(topic)
            await asyncio.sleep(1 / self._per_second)

    async def flush(self) -> None:
        """Post all that was recorded, now."""
        await asyncio.gather(*map(self._send, [*self._new, *self._repeated]))

    def _next(self) -> tuple[_Topic | None, float]:
        queue = self._new or self._repeated
        return next(iter(queue.items()), (None, math.inf))

    def _may_go_early(self, topic: _Topic) -> bool:
        return topic in self._new and self._client.idle.is_set()

    async def _send(self, topic: _Topic) -> None:
        self._new.pop(topic, None)
        self._repeated.pop(topic, None)
        series = self._series.get(topic)
        if series is None:
            return
        try:
            if series.name:
                patch = {"series": _count(series)}
                await self._client.merge_patch(EVENT, series.name, patch, series.namespace)
            else:
                name = f"{_event_name(series.regarding.name)}.{secrets.token_hex(8)}"
                await self._client.create(EVENT, self._manifest(series, name))
                series.name = name
        except (KubeError, NotLeadingError) as error:
            logger.info("Event %s about %s %s not posted: %s", series.reason, *series.regarding[1:4:2], error)
            self.dropped += 1
            self._forget(topic)

    def _forget(self, topic: _Topic) -> None:
        """Drop a series; with it goes what the server has not been told of it."""
        self.dropped += topic in self._new or topic in self._repeated
        self._series.pop(topic, None)
        self._new.pop(topic, None)
        self._repeated.pop(topic, None)

    def _manifest(self, series: _Series, name: str) -> Object:
        regarding = series.regarding
        manifest: Object = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": name, "namespace": series.namespace},
            "eventTime": _micro_time(series.began),
            "reportingController": self._controller,
            "reportingInstance": self._instance[:128],
            "type": series.type,
            "reason": series.reason,
            "action": series.action,
            "note": _cut(series.note),
            "regarding": {
                "apiVersion": regarding.api_version,
                "kind": regarding.kind,
                "name": regarding.name,
                "uid": regarding.uid,
            },
        }
        if regarding.namespace:
            manifest["regarding"]["namespace"] = regarding.namespace
        if series.count > 1:
            manifest["series"] = _count(series)
        return manifest


async def _wait(event: asyncio.Event, *, until: float) -> None:
    """Wait for an event, but no longer than until an instant of `time.monotonic`."""
    pause = None if until == math.inf else until - time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(pause):
            await event.wait()


def _count(series: _Series) -> Object:
    return {"count": series.count, "lastObservedTime": _micro_time(series.last)}


def _micro_time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _event_name(name: str) -> str:
    """Make a part of a DNS name out of a name that may have other characters, as those of role bindings do."""
    return re.sub(r"[^a-z0-9.-]", "-", name.lower())[:_LONGEST_NAME].strip("-.")


def _cut(note: str) -> str:
    data = note.encode()
    return note if len(data) <= _LONGEST_NOTE else data[: _LONGEST_NOTE - 3].decode(errors="ignore") + "…"
