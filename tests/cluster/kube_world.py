"""What tests of the API client need: a namespace of their own, a client that sees the truth, and one behind a proxy."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.faults import FaultProxy
from gpu_tenancy.kube.auth import Credentials
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.resource import NAMESPACE, Resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
_SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")


@dataclass(frozen=True)
class World:
    """A namespace; `truth` talks to the API server itself, `client` through `proxy`."""

    namespace: str
    truth: Client
    proxy: FaultProxy
    client: Client

    def config_map(self, name: str, **data: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    async def create(self, name: str, **data: str) -> dict[str, Any]:
        return await self.truth.create(CONFIG_MAP, self.config_map(name, **data))

    async def change(self, name: str, **data: str) -> dict[str, Any]:
        return await self.truth.merge_patch(CONFIG_MAP, name, {"data": data}, self.namespace)

    async def delete(self, name: str) -> None:
        await self.truth.delete(CONFIG_MAP, name, self.namespace)

    async def data(self) -> dict[str, dict[str, str]]:
        """What the API server has: the data of every config map by name."""
        pages = self.truth.list(CONFIG_MAP, self.namespace)
        return {item["metadata"]["name"]: item.get("data", {}) async for page in pages for item in page.items}


@asynccontextmanager
async def open_world(admin: Path) -> AsyncIterator[World]:
    credentials = Credentials.from_kubeconfig(admin)
    name = f"kube-test-{secrets.token_hex(4)}"
    async with (
        Client(credentials, field_manager="truth", read_timeout=60, write_timeout=60) as truth,
        FaultProxy(await credentials.access()) as proxy,
        Client(proxy.credentials(), field_manager="tested") as client,
    ):
        await truth.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        # The controller-manager puts things there: one config map that would confuse counts, and what pods need.
        world = World(name, truth, proxy, client)
        await eventually(lambda: _is_furnished(world))
        yield world
        await truth.delete(NAMESPACE, name)


async def _is_furnished(world: World) -> bool:
    accounts = [item async for page in world.truth.list(_SERVICE_ACCOUNT, world.namespace) for item in page.items]
    return bool(accounts) and "kube-root-ca.crt" in await world.data()


async def eventually(condition: Callable[[], Awaitable[bool] | bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while True:
            outcome = condition()
            if outcome if isinstance(outcome, bool) else await outcome:
                return
            await asyncio.sleep(0.02)
