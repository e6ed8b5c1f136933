"""The session through which kopf reads."""

from __future__ import annotations

import asyncio
import random
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakSet

import aiohttp

from gpu_tenancy.kube.errors import ApiError, ApiUnavailableError, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpu_tenancy.kube.auth import Credentials
    from gpu_tenancy.kube.resource import Resource

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
_SHORTEST_WATCH = 1.0


class PatientSession:
    """As much of an aiohttp session as kopf uses: it only reads, and does not come back without a good answer.

    Args:
        http: sends the requests.
        credentials: asked for anew with each attempt.
        resources: what must be served for an answer about what is served to be good.
        on_answer: told of each answer: the path, whether a watch was asked for, and what was wrong with it, if
            anything.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        credentials: Credentials,
        resources: Sequence[Resource],
        on_answer: Callable[[str, bool, str], None],
    ) -> None:
        self.headers = http.headers
        self._http = http
        self._credentials = credentials
        self._on_answer = on_answer
        self._served: dict[str, set[str]] = {}
        for resource in resources:
            self._served.setdefault("/apis", set()).add(resource.group)
            self._served.setdefault(f"/apis/{resource.api_version}", set()).add(resource.plural)
        self._ours = tuple(f"/apis/{resource.group}/" for resource in resources)
        self._next_watch: dict[str, float] = {}
        self._connections = WeakSet[asyncio.Transport]()

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._http.closed

    async def close(self) -> None:
        """Close everything, without the farewells of TLS: there may be no loop any more when they are answered."""
        for connection in self._connections:
            connection.abort()
        await self._http.close()

    async def request(
        self,
        *,
        method: str,
        url: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own
        **_: object,
    ) -> aiohttp.ClientResponse:
        """Get a path, again and again until it succeeds or 410 says that what is asked for has expired.

        Raises:
            ValueError: if it is to be anything but read.
        """
        if method != "get":
            raise ValueError(f"kopf is not to write: {method} {url}")
        path, watch = urlsplit(url).path, "watch=" in url
        pause = FIRST_PAUSE
        if watch:
            # What ends as soon as it began kopf would ask for again without a pause.
            clock = asyncio.get_running_loop().time
            await asyncio.sleep(self._next_watch.get(path, 0.0) - clock())
            self._next_watch[path] = clock() + _SHORTEST_WATCH
        while True:
            try:
                response = await self._get(url, timeout)
            except (KubeError, aiohttp.ClientError, TimeoutError, OSError) as error:
                self._on_answer(path, watch, str(error) or type(error).__name__)
                asked_for = (isinstance(error, KubeError) and error.retry_after) or 0.0
                await asyncio.sleep(min(asked_for, LONGEST_PAUSE) + random.uniform(0, pause))  # noqa: S311  # no secret
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._on_answer(path, watch, "")
                if response.connection is not None and response.connection.transport is not None:
                    self._connections.add(response.connection.transport)
                return response

    async def _get(self, url: str, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:  # noqa: ASYNC109  # see above
        access = await self._credentials.access()
        response = await self._http.get(
            access.server + url,
            headers=access.headers,
            ssl=access.ssl or False,
            server_hostname=access.login.server_name,
            proxy=access.login.proxy,
            timeout=timeout,
            allow_redirects=False,
        )
        # That a group of others, which it looks for, is just gone kopf bears; that ours is, it waits for.
        gone = response.status == HTTPStatus.NOT_FOUND and not url.startswith(self._ours)
        if response.status not in {HTTPStatus.OK, HTTPStatus.GONE} and not gone:
            error = ApiError.of_response(response.status, response.headers, await response.read())
            if error.is_unauthorized:
                await self._credentials.renew(access)
            raise error
        for name in self._served.get(url, ()):
            if f'"{name}"'.encode() not in await response.read():
                raise ApiUnavailableError(f"{name} is not served (yet)", sent=True, write=False)
        return response
