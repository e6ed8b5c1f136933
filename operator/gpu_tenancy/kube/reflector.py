"""Keeps a store equal to what the API server has: list once, watch from there, and come back from every failure."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from gpu_tenancy.kube.client import Selection
from gpu_tenancy.kube.errors import ApiError, ApiTimeoutError, ApiUnavailableError, KubeError
from gpu_tenancy.kube.store import Key

if TYPE_CHECKING:
    from gpu_tenancy.kube.client import Client, WatchEvent
    from gpu_tenancy.kube.resource import Resource
    from gpu_tenancy.kube.store import Store

logger = logging.getLogger(__name__)

OnRestart = Callable[[str, str], None]
"""Told of every failure that the reflector came back from: kind and what went wrong."""

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 30.0
_UNKNOWN_PAUSE = 300.0
_SHORTEST_WATCH = 1.0


async def fill(
    client: Client,
    resource: Resource,
    store: Store[Any],
    namespace: str = "",
    *,
    label_selector: str = "",
    field_selector: str = "",
) -> str:
    """Make a store equal to what is listed now, unless it knows something later, and give the list's version.

    Raises:
        KubeError: if the list did not come whole; what came of it is kept.
    """
    latest_before = store.latest
    uids: set[str] = set()
    version = ""
    pages = client.list(resource, namespace, label_selector=label_selector, field_selector=field_selector)
    async with aclosing(pages):
        async for page in pages:
            if not version:
                version = page.resource_version
                if int(version) < latest_before:
                    logger.warning("Versions of %s went back: the server's data was restored", resource.kind)
                    store.restart_history()
            for item in page.items:
                uids.add(item["metadata"]["uid"])
                store.observe(item)
    store.retain(uids, version)
    return version


class Reflector:
    """Lists and watches one kind into a store; never ends by itself.

    Attributes:
        synced: set once the store has been complete; the store is at most a watch's delay behind from then on, as
            long as the server can be reached.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        store: Store[Any],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        silence: float = 90.0,
        longest_pause: float = _LONGEST_PAUSE,
        optional: bool = False,
        on_restart: OnRestart = lambda _kind, _problem: None,
    ) -> None:
        """Set up; `run` does the work.

        Args:
            client: talks to the server.
            resource: what to reflect.
            store: where to.
            namespace: empty for all.
            label_selector: restricts the objects.
            field_selector: restricts the objects.
            silence: seconds without a byte after which a watch is begun again, in case its connection was lost. Of a
                kind that changes the server sends a bookmark each minute.
            longest_pause: seconds, at most, between two attempts while the server fails.
            optional: the server may not know the kind; then there are none of it, until it does.
            on_restart: told of every failure.
        """
        self.synced = asyncio.Event()
        self._client = client
        self._resource = resource
        self._store = store
        self._namespace = namespace
        self._selection = Selection(label_selector=label_selector, field_selector=field_selector)
        self._silence = silence
        self._longest_pause = longest_pause
        self._optional = optional
        self._on_restart = on_restart
        self._resource_version = ""
        self._failures = 0
        self._problem = ""

    async def run(self) -> None:
        """Reflect until cancelled."""
        while True:
            try:
                if not self._resource_version:
                    self._resource_version = await fill(
                        self._client, self._resource, self._store, self._namespace, **self._selection
                    )
                    self.synced.set()
                await self._watch()
            except KubeError as error:
                problem = str(error)
                if isinstance(error, ApiError) and error.is_expired:
                    self._resource_version = ""
                if self._optional and isinstance(error, ApiError) and error.is_not_found:
                    self._resource_version = ""
                    self.synced.set()
                    await asyncio.sleep(_UNKNOWN_PAUSE)
                    continue
            except Exception as error:
                # A reflector that died would leave the operator blind; a bug must not do what an outage may not.
                logger.exception("Reflecting %s failed", self._resource.kind)
                problem = f"{type(error).__name__}: {error}"
                self._resource_version = ""
            else:
                continue
            await self._recover(problem)

    async def _watch(self) -> None:
        began, events = time.monotonic(), 0
        try:
            async with aclosing(
                self._client.watch(
                    self._resource,
                    self._namespace,
                    resource_version=self._resource_version,
                    silence=self._silence,
                    **self._selection,
                )
            ) as changes:
                async for change in changes:
                    self._take(change)
                    events += 1
                    self._healthy()
        except ApiTimeoutError as error:
            if not error.sent:
                raise
            await self._doubt_silence()
        else:
            if not events and time.monotonic() - began < _SHORTEST_WATCH:
                raise ApiUnavailableError("the watch ended as soon as it began", sent=True, write=False)
        self._healthy()

    async def _doubt_silence(self) -> None:
        """Ask where the server is, after a watch that said nothing, and list anew if that is not where we are.

        Silence may be a lost connection, or that nothing happens: of a kind that never changes the server sends no
        bookmarks either. Watching on is right for both. But it is also the answer to a version that the server has not
        reached, because its data was restored from a backup.
        """
        pages = self._client.list(self._resource, self._namespace, chunk=1, **self._selection)
        async with aclosing(pages):
            page = await anext(pages)
        if int(page.resource_version) < int(self._resource_version):
            self._resource_version = ""

    def _take(self, change: WatchEvent) -> None:
        metadata = change.object["metadata"]
        version = metadata["resourceVersion"]
        if change.type == "DELETED":
            self._store.forget(Key(metadata.get("namespace", ""), metadata["name"]), metadata["uid"], version)
        elif change.type != "BOOKMARK":
            self._store.observe(change.object)
        self._resource_version = version

    def _healthy(self) -> None:
        self._failures = 0
        if self._problem:
            logger.info("Watching %s again", self._resource.kind)
            self._problem = ""

    async def _recover(self, problem: str) -> None:
        """Wait before the next attempt: full jitter, so that all who lost one server do not come back at once."""
        if problem != self._problem:
            logger.warning("Cannot watch %s, trying on: %s", self._resource.kind, problem)
            self._problem = problem
        self._on_restart(self._resource.kind, problem)
        longest = min(self._longest_pause, _FIRST_PAUSE * 2.0 ** min(self._failures, 16))
        self._failures += 1
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  # spreads load, protects nothing
