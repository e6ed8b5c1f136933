"""The edge through which changes of our own kinds arrive: kopf's event handlers, and a census beside them.

kopf watches. It never says when its first list is complete, and after a gap in a watch it lists anew without telling
what has gone meanwhile. So whenever kopf lists a kind, a census lists it too, straight into the store, which takes
in whatever comes in any order. kopf writes nothing: no finalizers, no annotations, no events.

kopf ends on many failures of the API server, and when it ends it cancels every task in its event loop. So it has a
loop and a thread of its own, and is begun again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import kopf

from gpu_tenancy.api import GROUP, VERSION
from gpu_tenancy.kube.errors import KubeError
from gpu_tenancy.kube.reflector import fill
from gpu_tenancy.kube.resource import Resource
from gpu_tenancy.kube.store import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpu_tenancy.api.schema import Kind
    from gpu_tenancy.kube.auth import Access, Credentials
    from gpu_tenancy.kube.client import Client
    from gpu_tenancy.kube.store import Store

logger = logging.getLogger(__name__)

# A census is taken this often whatever happens, against what nobody thought of.
CENSUS_SECONDS = 600.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0


class KindWatcher:
    """Feeds the stores of our kinds until it is cancelled.

    Args:
        credentials: makes credentials for kopf's event loop.
        client: lists for the census.
        stores: what to feed, by kind; they belong to the loop that runs this.
        on_restart: told the kind of each watch that was begun again.

    Attributes:
        synced: set once every store has been complete.
    """

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        client: Client,
        stores: Mapping[Kind[Any, Any], Store[Any]],
        on_restart: Callable[[str], None],
    ) -> None:
        self.synced = asyncio.Event()
        self._credentials = credentials
        self._client = client
        self._stores = stores
        self._on_restart = on_restart
        self._due = {kind: asyncio.Event() for kind in stores}
        self._counted: set[str] = set()

    async def run(self) -> None:
        """Watch and count until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind in self._stores:
                tasks.create_task(self._take_census(kind))
            tasks.create_task(self._keep_watching())

    async def _take_census(self, kind: Kind[Any, Any]) -> None:
        resource = Resource(GROUP, VERSION, kind.plural, kind.kind, kind.namespaced)
        pause = FIRST_PAUSE
        while True:
            self._due[kind].clear()
            try:
                await fill(self._client, resource, self._stores[kind])
            except KubeError as error:
                logger.warning("Cannot list %s, trying again: %s", kind.plural, error)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311  # spreads load, protects nothing
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._counted.add(kind.kind)
            if len(self._counted) == len(self._stores):
                self.synced.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(CENSUS_SECONDS):
                    await self._due[kind].wait()

    async def _keep_watching(self) -> None:
        pause = FIRST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            watch = _Watch(self._credentials, self._stores, self._listed)
            try:
                await watch.run()
            except Exception as error:  # noqa: BLE001  # whatever ended kopf, it is begun again
                logger.warning("The watch of our kinds ended and begins again: %s", error or type(error).__name__)
            for kind in self._stores:
                self._on_restart(kind.kind)
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311  # spreads load, protects nothing
            pause = min(2 * pause, LONGEST_PAUSE)

    def _listed(self, plural: str) -> None:
        """Take note that kopf has listed a kind; what was deleted before that it will not tell."""
        for kind, due in self._due.items():
            if kind.plural == plural:
                due.set()


class _Watch:
    """One life of kopf, in a thread of its own."""

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        stores: Mapping[Kind[Any, Any], Store[Any]],
        listed: Callable[[str], None],
    ) -> None:
        self._make_credentials = credentials
        self._stores = stores
        self._listed = listed
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._refused: Access | None = None

    async def run(self) -> None:
        """Run until kopf ends, which it never should, or until cancelled."""
        thread = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(self._run_kopf())))
        try:
            await asyncio.shield(thread)
        finally:
            self._stop.set()
            with suppress(Exception):
                await thread

    async def _run_kopf(self) -> None:
        self._credentials = self._make_credentials()
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind, store in self._stores.items():
            kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=kind.plural)(self._handler(store))
        await kopf.operator(
            registry=registry, settings=_settings(), clusterwide=True, standalone=True, stop_flag=self._stop
        )

    def _handler(self, store: Store[Any]) -> Callable[..., Any]:
        async def take(event: Mapping[str, Any], **_: object) -> None:
            # A copy: kopf goes on to use its own.
            raw = dict(event["object"])
            self._tell(_take, store, event["type"], raw)

        return take

    async def _login(self, **_: object) -> kopf.AiohttpSession:
        """Log in as ourselves; kopf asks again when the server has refused what it was given."""
        if self._refused is not None:
            await self._credentials.renew(self._refused)
        self._refused = access = await self._credentials.access()
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._request_ended)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=access.ssl or False),
            headers=access.headers,
            proxy=access.login.proxy,
            trace_configs=[trace],
        )
        return kopf.AiohttpSession(server=access.server, aiohttp_session=session)

    async def _request_ended(
        self, _session: aiohttp.ClientSession, _context: object, end: aiohttp.TraceRequestEndParams
    ) -> None:
        if end.method == "GET" and "watch" not in end.url.query:
            self._tell(self._listed, end.url.name)

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in the loop that the stores belong to."""
        with suppress(RuntimeError):  # it is closing
            self._loop.call_soon_threadsafe(function, *arguments)


def _take(store: Store[Any], type_: str | None, raw: dict[str, Any]) -> None:
    if type_ == "DELETED":
        metadata = raw["metadata"]
        key = Key(metadata.get("namespace", ""), metadata["name"])
        store.forget(key, metadata["uid"], metadata["resourceVersion"])
    else:
        store.observe(raw)


class _Backoffs:
    """Pauses without end, jittered: a failing API server does not end kopf."""

    def __iter__(self) -> Iterator[float]:
        pause = 0.5
        while True:
            yield random.uniform(0, pause)  # noqa: S311  # spreads load, protects nothing
            pause = min(2 * pause, LONGEST_PAUSE)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.queueing.idle_timeout = 0.5
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = _Backoffs()
    return settings
