"""HTTP to an API server with next to nothing around it: what a floor is made of."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
import orjson

from gpu_tenancy.kube.auth import Credentials
from gpu_tenancy.kube.resource import BUILT_IN, Resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from pathlib import Path

Manifest = dict[str, Any]

TENANT = Resource("gpu-tenancy.dev", "v1alpha1", "industrialtenants", "IndustrialTenant", namespaced=False)
RESERVATION = Resource("gpu-tenancy.dev", "v1alpha1", "gpureservations", "GpuReservation")
RESOURCES = BUILT_IN.with_(TENANT, RESERVATION)


class Call(NamedTuple):
    """One request, ready to be sent."""

    method: str
    path: str
    body: bytes | None = None
    content_type: str = "application/json"

    @property
    def headers(self) -> dict[str, str]:
        """What it says of its body."""
        return {"Content-Type": self.content_type}


def post(manifest: Manifest) -> Call:
    """Make the request that creates an object."""
    resource = RESOURCES.of(manifest["apiVersion"], manifest["kind"])
    return Call("POST", resource.path(manifest["metadata"].get("namespace", "")), orjson.dumps(manifest))


def patch(resource: Resource, namespace: str, name: str, body: Manifest) -> Call:
    """Make the request that sends a merge patch."""
    return Call("PATCH", resource.path(namespace, name), orjson.dumps(body), "application/merge-patch+json")


def delete_all(resource: Resource, namespace: str, selector: str) -> Call:
    """Make the request that deletes all objects of a kind in a namespace that carry a label."""
    return Call("DELETE", f"{resource.path(namespace)}?{urlencode({'labelSelector': selector})}")


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Raw]:
    """Connect as whom a kubeconfig says."""
    access = await Credentials.from_kubeconfig(kubeconfig).access()
    headers = {**access.headers, "Accept-Encoding": "identity"}
    connector = aiohttp.TCPConnector(ssl=access.ssl or False, limit=0)
    async with aiohttp.ClientSession(access.server, headers=headers, connector=connector) as session:
        yield Raw(session)


class Raw:
    """Sends requests, many at once."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def list(self, resource: Resource, selector: str) -> Any:
        """List the objects of a kind that carry a label."""
        async with self._session.get(resource.path(), params={"labelSelector": selector}) as response:
            response.raise_for_status()
            return orjson.loads(await response.read())

    async def watch(self, resource: Resource, selector: str, version: str) -> AsyncIterator[bytes]:
        """Give what the watch of a kind says, in pieces as they come."""
        params = {"labelSelector": selector, "resourceVersion": version, "watch": "1", "timeoutSeconds": "3600"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(resource.path(), params=params, timeout=timeout) as response:
            response.raise_for_status()
            async for data in response.content.iter_any():
                yield data

    async def ask(self, call: Call) -> Any:
        """Send a request and give what the API server answers, be it a refusal."""
        async with self._session.request(call.method, call.path, data=call.body, headers=call.headers) as response:
            return orjson.loads(await response.read())

    async def send(self, groups: Iterable[Sequence[Call]], concurrency: int) -> float:
        """Send all requests and return the seconds that it took.

        Args:
            groups: what is sent one after the other; different groups are sent at the same time.
            concurrency: how many requests are under way at once.

        Raises:
            RuntimeError: the API server refused one.
        """
        rest = iter(list(groups))
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(self._work(rest))
        return time.perf_counter() - began

    async def _work(self, groups: Iterator[Sequence[Call]]) -> None:
        for group in groups:
            for call in group:
                while not await self._done(call):
                    pass

    async def _done(self, call: Call) -> bool:
        """Send a request and say whether it need not be sent again."""
        async with self._session.request(call.method, call.path, data=call.body, headers=call.headers) as response:
            answer = await response.read()
            if response.ok:
                return True
            status = orjson.loads(answer)
            # The API server counts the object in a quota that the controller-manager is just writing, or that is gone.
            of_quota = status["reason"] in {"Conflict", "NotFound"} and status["details"]["kind"] == "resourcequotas"
            if of_quota and call.method != "PATCH":  # which names a version that will never be again
                return False
            raise RuntimeError(f"{call.method} {call.path}: {status['message']}")
