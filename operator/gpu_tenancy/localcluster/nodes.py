"""Simulated GPU nodes: add them to a running control plane."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from gpu_tenancy.localcluster.errors import LocalClusterError
from gpu_tenancy.localcluster.hardware import MACHINES, MODEL_LABEL, Machine, Place, node

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_tenancy.localcluster.controlplane import ControlPlane

CONCURRENCY = 16
HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
SCHEDULABLE_POLL = 0.2
SCHEDULABLE_TIMEOUT = 120.0
NOT_READY = "node.kubernetes.io/not-ready"
REGION = re.compile(r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")


async def add(
    control_plane: ControlPlane,
    *,
    model: str,
    count: int,
    region: str,
    zone: str = "",
    mig: str = "",
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Add simulated nodes and return their names when pods can run on them.

    Names count on from the nodes of the same model and region: eu-de-dgx-b200-0001, and so on.

    Args:
        control_plane: A running control plane.
        model: `dgx-b200`, `dgx-gb200`, `rtx-pro` or `cpu` (no GPUs).
        count: How many nodes; of `dgx-gb200`, 18 in a row form an NVLink domain.
        region: The value of topology.kubernetes.io/region.
        zone: The value of topology.kubernetes.io/zone; empty for none.
        mig: A MIG layout of the GPU Operator, such as `all-1g.23gb` or `all-balanced`; empty for whole GPUs.
        progress: Told, as they happen, how many more nodes are there.

    Raises:
        LocalClusterError: The control plane does not run or refused a node, or an argument is none of the above.
    """
    if model not in MACHINES:
        raise LocalClusterError(f"there is no model {model!r}; choose from {', '.join(MACHINES)}")
    if not REGION.match(region):
        raise LocalClusterError(f"{region!r} is not a region: lower case letters, digits and '-', at most 40")
    machine, place = MACHINES[model], Place(region, zone, mig)
    connector = aiohttp.TCPConnector(ssl=control_plane.admin_tls(), limit=CONCURRENCY)
    try:
        async with aiohttp.ClientSession(control_plane.url, headers=HEADERS, connector=connector) as session:
            first = 1 + await _highest_number(session, machine, region)
            version, now = control_plane.version, datetime.now(UTC)
            new = [node(machine, place, number, version, now) for number in range(first, first + count)]
            names = [item["metadata"]["name"] for item in new]
            await _create(session, new, progress)
            await _wait_until_schedulable(session, machine, region, set(names))
            return names
    except (aiohttp.ClientError, ValueError) as error:
        raise LocalClusterError(str(error)) from error


async def _highest_number(session: aiohttp.ClientSession, machine: Machine, region: str) -> int:
    names = [item["metadata"]["name"] for item in await _list(session, machine, region)]
    return max((int(name.rpartition("-")[2]) for name in names), default=0)


async def _create(
    session: aiohttp.ClientSession, nodes: list[dict[str, Any]], progress: Callable[[int], None] | None
) -> None:
    waiting, refused = iter(nodes), list[str]()

    async def worker() -> None:
        for item in waiting:
            async with session.post("/api/v1/nodes", data=orjson.dumps(item)) as response:
                if response.status != HTTPStatus.CREATED:
                    refused.append(f"{item['metadata']['name']} was refused: {(await response.json())['message']}")
                if refused:
                    return
            if progress is not None:
                progress(1)

    # The others end by themselves after one is refused: a request that is cancelled leaves its connection behind.
    for ended in await asyncio.gather(*(worker() for _ in range(CONCURRENCY)), return_exceptions=True):
        if ended is not None:
            raise ended
    if refused:
        raise LocalClusterError(refused[0])


async def _wait_until_schedulable(
    session: aiohttp.ClientSession, machine: Machine, region: str, names: set[str]
) -> None:
    """Wait until the controller manager has taken off the taint that every new node gets."""
    deadline = time.monotonic() + SCHEDULABLE_TIMEOUT
    while True:
        asked = time.monotonic()
        tainted = {
            item["metadata"]["name"]
            for item in await _list(session, machine, region)
            if any(taint["key"] == NOT_READY for taint in item["spec"].get("taints", ()))
        }
        if not tainted & names:
            return
        now = time.monotonic()
        if now > deadline:
            raise LocalClusterError(f"{len(tainted & names)} of the nodes that were added are not ready yet")
        # A list of a thousand nodes is work for the API server, which has enough of it now.
        await asyncio.sleep(max(SCHEDULABLE_POLL, 4 * (now - asked)))


async def _list(session: aiohttp.ClientSession, machine: Machine, region: str) -> list[dict[str, Any]]:
    selector = f"{MODEL_LABEL}={machine.name},topology.kubernetes.io/region={region}"
    async with session.get("/api/v1/nodes", params={"labelSelector": selector}) as response:
        response.raise_for_status()
        items: list[dict[str, Any]] = orjson.loads(await response.read())["items"]
        return items
