"""A proxy before the API server that passes everything on until it is told to do harm.

Usage:
    async with FaultProxy(await Credentials.from_kubeconfig(admin).access()) as proxy:
        client = Client(proxy.credentials(), field_manager="test")   # in this process
        proxy.kubeconfig(tmp_path / "kubeconfig")                    # for another one
        proxy.answer(429, retry_after=1, when=is_write, times=2)
        proxy.cut_watches()
        proxy.requests                                               # everything that was asked, and the answers

It speaks plain HTTP on loopback. A request keeps its own Authorization header; one without gets that of the access.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import aiohttp
import orjson
import yaml
from aiohttp import web
from yarl import URL

from gpu_tenancy.kube.auth import Credentials, Login

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from pathlib import Path
    from types import TracebackType

    from gpu_tenancy.kube.auth import Access

HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass(slots=True)
class Seen:
    """A request, and what was answered: status 0 while nothing was."""

    method: str
    path: str
    query: Mapping[str, str]
    status: int = 0

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query

    @property
    def is_write(self) -> bool:
        return self.method not in {"GET", "HEAD"}


When = Callable[[Seen], bool]


def is_write(seen: Seen) -> bool:
    return seen.is_write


def is_watch(seen: Seen) -> bool:
    return seen.is_watch


def is_list(seen: Seen) -> bool:
    return "limit" in seen.query


@dataclass(slots=True)
class _Fault:
    when: When
    times: int
    act: Callable[[web.Request, Seen], Awaitable[web.StreamResponse]]


@dataclass(slots=True, eq=False)
class _Stream:
    """A watch under way."""

    request: web.Request
    response: web.StreamResponse
    frozen: asyncio.Event = field(default_factory=asyncio.Event)


class FaultProxy:
    """See the module.

    Attributes:
        requests: everything that was asked, in order.
        down: while true, every connection is cut as soon as something is asked.
        access: how the API server is reached.
    """

    def __init__(self, access: Access) -> None:
        self.requests: list[Seen] = []
        self.down = False
        self.url = ""
        self.access = access
        self._faults: list[_Fault] = []
        self._streams: set[_Stream] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cut_watches()
        await self._runner.cleanup()
        await self._session.close()

    def credentials(self, authorization: str = "") -> Credentials:
        """Credentials that lead here."""
        return Credentials(lambda: Login(self.url, authorization))

    def kubeconfig(self, path: Path, token: str = "") -> Path:
        """Write a kubeconfig that leads here."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "proxy", "user": {"token": token} if token else {}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def writes(self) -> list[Seen]:
        """The requests that were to change something."""
        return [seen for seen in self.requests if seen.is_write]

    def watching(self, plural: str = "") -> int:
        """How many watches (of a kind) are under way."""
        return len(self._matching(plural))

    def watches(self) -> frozenset[object]:
        """All watches that are under way, to tell them from later ones."""
        return frozenset(self._streams)

    # What can be done to single requests.

    def answer(
        self,
        status: int,
        *,
        reason: str = "",
        retry_after: int | None = None,
        location: str = "",
        body: bytes | None = None,
        when: When,
        times: int = 1,
    ) -> None:
        """Answer with a failure instead of passing on."""

        async def act(_request: web.Request, seen: Seen) -> web.StreamResponse:
            seen.status = status
            content = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": "by test"}
            headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
            headers |= {"Location": location} if location else {}
            return web.Response(status=status, headers=headers, body=orjson.dumps(content) if body is None else body)

        self._faults.append(_Fault(when, times, act))

    def cut(self, *, when: When, times: int = 1) -> None:
        """Cut the connection instead of passing on."""

        async def act(request: web.Request, _seen: Seen) -> web.StreamResponse:
            return _abort(request)

        self._faults.append(_Fault(when, times, act))

    def lose_answer(self, *, when: When, times: int = 1) -> None:
        """Pass on, and cut the connection when the API server has answered."""

        async def act(request: web.Request, seen: Seen) -> web.StreamResponse:
            await self._forward(request, seen)
            return _abort(request)

        self._faults.append(_Fault(when, times, act))

    def delay(self, seconds: float, *, when: When, times: int = 1) -> None:
        """Pass on later."""

        async def act(request: web.Request, seen: Seen) -> web.StreamResponse:
            await asyncio.sleep(seconds)
            return await self._forward(request, seen)

        self._faults.append(_Fault(when, times, act))

    # What can be done to watches under way.

    def cut_watches(self, plural: str = "") -> int:
        """Cut their connections; say how many there were."""
        streams = self._matching(plural)
        for stream in streams:
            _abort(stream.request)
        return len(streams)

    def freeze_watches(self, plural: str = "") -> int:
        """Pass nothing on any more, keeping the connections open; say how many there were."""
        streams = self._matching(plural)
        for stream in streams:
            stream.frozen.set()
        return len(streams)

    async def inject(self, line: bytes, plural: str = "", *, end: bytes = b"\n") -> int:
        """Send a line to the watchers; say how many there were."""
        streams = self._matching(plural)
        for stream in streams:
            await stream.response.write(line + end)
        return len(streams)

    async def inject_error(self, code: int, reason: str, plural: str = "") -> int:
        """Send an ERROR event to the watchers; say how many there were."""
        status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "by test"}
        return await self.inject(orjson.dumps({"type": "ERROR", "object": status}), plural)

    def _matching(self, plural: str) -> list[_Stream]:
        return [stream for stream in self._streams if stream.request.path.endswith(f"/{plural}" if plural else "")]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(request.method, request.path, dict(request.query))
        self.requests.append(seen)
        if self.down:
            return _abort(request)
        for fault in self._faults:
            if fault.when(seen):
                fault.times -= 1
                self._faults = [one for one in self._faults if one.times]
                return await fault.act(request, seen)
        if seen.is_watch:
            return await self._watch(request, seen)
        return await self._forward(request, seen)

    def _upstream(self, request: web.Request, data: bytes | None = None) -> aiohttp.client._RequestContextManager:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        return self._session.request(
            request.method,
            URL(self.access.server + request.raw_path, encoded=True),
            headers={**self.access.headers, **headers},
            data=data,
            ssl=self.access.ssl or False,
        )

    async def _forward(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        try:
            async with self._upstream(request, await request.read() or None) as answer:
                seen.status = answer.status
                headers = {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}
                return web.Response(status=answer.status, headers=headers, body=await answer.read())
        except aiohttp.ClientError:
            return _abort(request)

    async def _watch(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        try:
            async with self._upstream(request) as answer:
                seen.status = answer.status
                headers = {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}
                response = web.StreamResponse(status=answer.status, headers=headers)
                await response.prepare(request)
                stream = _Stream(request, response)
                self._streams.add(stream)
                try:
                    async for chunk in answer.content.iter_any():
                        if stream.frozen.is_set():
                            await asyncio.Event().wait()
                        await response.write(chunk)
                finally:
                    self._streams.discard(stream)
                return response
        except (aiohttp.ClientError, ConnectionError):
            return _abort(request)


def _abort(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)
