"""HTTP to one API server: authentication, concurrency, retries that can do no harm, failures as KubeErrors.

Sent again is only what the server says it has not done (429, 503 with Retry-After, 401) and what never reached it; and,
by aiohttp itself, a GET or DELETE when a pooled connection turns out to be dead. Everything else is the caller's decision.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from gpu_tenancy.kube.errors import ApiError, ApiTimeoutError, ApiUnavailableError, KubeError, NotLeadingError
from gpu_tenancy.kube.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_tenancy.kube.auth import Access, Credentials

Object = dict[str, Any]

OnRequest = Callable[[str, str, int, float], None]
"""Told of every request when it has ended: verb, kind, HTTP status (0 if none came) and seconds.

A write is told exactly once for each time that it was allowed to be sent, whatever became of it.
"""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

_HTTP_METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "evict": "POST",
    "patch": "PATCH",
    "delete": "DELETE",
}
_ATTEMPTS = 4
_LONGEST_PAUSE = 10.0
_CONNECT_SECONDS = 5.0
_KEPT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request: what is done to which kind, and how it looks on the wire."""

    verb: str
    kind: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    content_type: str = JSON

    @property
    def is_write(self) -> bool:
        """Whether it changes anything."""
        return _HTTP_METHODS[self.verb] != "GET"

    @property
    def is_status(self) -> bool:
        """Whether it only tells how something is."""
        return self.path.endswith("/status")


class Transport:
    """Sends requests; belongs to one event loop.

    Attributes:
        idle: set while no request is under way or waits for its turn; watches do not count.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        user_agent: str,
        may_write: Callable[[], bool],
        on_request: OnRequest,
        concurrency: int,
        read_timeout: float,
        write_timeout: float,
    ) -> None:
        self._credentials = credentials
        self._may_write = may_write
        self._on_request = on_request
        self.idle = asyncio.Event()
        self.idle.set()
        self._pending = 0
        self._slots = Slots(concurrency)
        self._timeouts = {
            write: aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, _CONNECT_SECONDS))
            for write, seconds in ((False, read_timeout), (True, write_timeout))
        }
        # No limit of the pool's own: the slots are the limit, and a watch must never wait for a connection.
        self._session = aiohttp.ClientSession(
            # Kept longer than by default, so that what begins on the second need not begin with handshakes; yet less long
            # than the API server keeps them.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS),
            headers={
                "Accept": JSON,
                # Compression costs both sides more time than a data centre's network does.
                "Accept-Encoding": "identity",
                "User-Agent": user_agent,
            },
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(self, request: Request) -> Object:
        """Send a request and read its answer, again where that can do no harm.

        Raises:
            KubeError: if there was no good answer.
            NotLeadingError: if it is a write, and this process may not.
        """
        self._pending += 1
        self.idle.clear()
        try:
            # What enforces goes before what tells of it.
            async with self._slots.taken(patient=request.is_status):
                return await self._send(request)
        finally:
            self._pending -= 1
            if not self._pending:
                self.idle.set()

    async def _send(self, request: Request) -> Object:
        for attempt in range(1, _ATTEMPTS + 1):
            access = await self._credentials.access()
            if request.is_write and not self._may_write():
                raise NotLeadingError(f"{request.verb} {request.path}")
            try:
                async with self._exchange(request, access, self._timeouts[request.is_write]) as response:
                    return _object(await response.read())
            except KubeError as error:
                pause = await self._pause(error, access, attempt)
                if pause is None or attempt == _ATTEMPTS:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def stream(self, request: Request, silence: float) -> AsyncGenerator[bytes]:
        """Send a request once and yield the lines of its answer, of any length.

        Args:
            request: what to ask.
            silence: seconds without a byte after which the connection counts as lost.

        Raises:
            KubeError: if there was no good answer, or the connection was lost.
        """
        access = await self._credentials.access()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        try:
            async with self._exchange(request, access, timeout) as response:
                async for line in _lines(response.content):
                    yield line
        except ApiError as error:
            if error.is_unauthorized:
                await self._credentials.renew(access)
            raise

    async def _pause(self, error: KubeError, access: Access, attempt: int) -> float | None:
        """Say after how many seconds the request is sent again, or None if that is for the caller to decide."""
        backoff = random.uniform(0.5, 1.0) * 0.2 * 2.0**attempt  # noqa: S311  # spreads load, protects nothing
        if isinstance(error, ApiUnavailableError):
            return None if error.sent else backoff
        if not isinstance(error, ApiError):
            return None
        if error.is_unauthorized:
            return None if await self._credentials.renew(access) is access else 0.0
        asked_back = error.status == HTTPStatus.SERVICE_UNAVAILABLE and error.retry_after is not None
        if error.is_throttled or asked_back:
            # Later than asked, never earlier, and not all at once.
            return min(_LONGEST_PAUSE, (error.retry_after or 0.0) + backoff)
        return None

    @asynccontextmanager
    async def _exchange(
        self,
        request: Request,
        access: Access,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own, not asyncio.timeout
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Make one HTTP exchange; failures, also those while the caller reads the body, come out as KubeErrors."""
        status = 0
        began = time.perf_counter()
        try:
            headers = dict(access.headers)
            data = None
            if request.body is not None:
                headers["Content-Type"] = request.content_type
                data = orjson.dumps(request.body)
            async with self._session.request(
                _HTTP_METHODS[request.verb],
                # Encoded already: nothing in a name may be read as a part of the URL.
                URL(access.server + request.path + _query(tuple(request.params.items())), encoded=True),
                data=data,
                headers=headers,
                ssl=access.ssl or False,
                server_hostname=access.login.server_name,
                proxy=access.login.proxy,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                    raise ApiError.of_response(response.status, response.headers, await response.read())
                status = response.status
                yield response
        except ApiError as error:
            status = error.status
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            status = 0
            kind = ApiTimeoutError if isinstance(error, TimeoutError) else ApiUnavailableError
            raise kind(
                f"{request.verb} {request.path}: {str(error) or type(error).__name__}",
                sent=not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError),
                write=request.is_write,
            ) from error
        finally:
            self._on_request(request.verb, request.kind, status, time.perf_counter() - began)


@lru_cache(maxsize=64)
def _query(params: tuple[tuple[str, str], ...]) -> str:
    """Encode parameters; those of all writes are the same."""
    return "?" + urlencode(params) if params else ""


def _object(data: bytes) -> Object:
    answer = orjson.loads(data)
    if not isinstance(answer, dict):
        raise ValueError("the answer is no object")  # noqa: TRY004  # of the data, not of an argument
    return answer


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    begun: list[bytes] = []
    async for chunk in content.iter_any():
        *complete, rest = chunk.split(b"\n")
        for line in complete:
            yield b"".join([*begun, line])
            begun = []
        if rest:
            begun.append(rest)
