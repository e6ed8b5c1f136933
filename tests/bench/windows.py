"""How long after the start of its window a reservation's quota is raised, when many start at the same second."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from bench.raw import RESERVATION, connect, patch, post
from bench.site import CONCURRENCY, POOLS, custom
from gpu_tenancy.domain.naming import MANAGED_SELECTOR, Tier, quota_of
from gpu_tenancy.kube.resource import RESOURCE_QUOTA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from bench.raw import Call, Manifest, Raw
    from bench.site import Site

_LEAD_SECONDS = 30
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.5
_GPUS = "requests.nvidia.com/gpu"


def p99(values: Sequence[float]) -> float:
    """Give the value that 99 of 100 do not exceed."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


async def open_windows(site: Site, tenants: Sequence[Manifest]) -> list[float]:
    """Reserve a GPU for each tenant, all from the same second on; give the seconds from there to each raise.

    Raises:
        RuntimeError: a reservation was not accepted in time, or a quota was not raised.
    """
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=_LEAD_SECONDS)
    window = {"start": start.strftime("%Y-%m-%dT%H:%M:%SZ"), "duration": "1h"}
    namespaces = {one["spec"]["namespaces"][0]["name"]: one["spec"]["gpus"][0]["pool"] for one in tenants}
    asked = [
        custom("GpuReservation", "bench", namespace, pool=pool, gpus=1, window=window)
        for namespace, pool in namespaces.items()
    ]
    async with connect(site.admin) as admin, _listening(admin) as heard:
        await admin.send([[post(one)] for one in asked], CONCURRENCY)
        while not await _accepted(admin, len(asked)):
            if datetime.now(UTC) >= start:
                raise RuntimeError(f"not all of {len(asked)} reservations were accepted within {_LEAD_SECONDS} s")
            await asyncio.sleep(_POLL_SECONDS)
        return await _seen(heard, len(asked), start.timestamp())


async def raise_plainly(site: Site, tenants: Sequence[Manifest]) -> list[float]:
    """Raise the same quotas by plain PATCHes of the same sort, once lowered; give the seconds from the first to each raise."""
    namespaces = {one["spec"]["namespaces"][0]["name"] for one in tenants}
    async with connect(site.admin) as admin, connect(site.account) as account:
        await _counted(admin)
        await account.send(await _amounts(admin, namespaces, 0), CONCURRENCY)
        await _counted(admin)
        raises = await _amounts(admin, namespaces, 1)
        async with _listening(admin) as heard:
            began = time.time()
            await account.send(raises, CONCURRENCY)
            return await _seen(heard, len(raises), began)


async def _amounts(admin: Raw, namespaces: Collection[str], gpus: int) -> list[list[Call]]:
    """Make the requests that have each namespace's quota of reserved GPUs allow so many, as it stands now."""
    calls = []
    for quota in (await admin.list(RESOURCE_QUOTA, MANAGED_SELECTOR))["items"]:
        metadata = quota["metadata"]
        if metadata["namespace"] in namespaces and _is_reserved(metadata["name"]):
            body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "spec": {"hard": {_GPUS: str(gpus)}}}
            calls.append([patch(RESOURCE_QUOTA, metadata["namespace"], metadata["name"], body)])
    return calls


async def _counted(admin: Raw) -> None:
    """Wait until the controller-manager has counted what was written, and writes no more to the quotas."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while any(
        quota.get("status", {}).get("hard") != quota["spec"]["hard"]
        for quota in (await admin.list(RESOURCE_QUOTA, MANAGED_SELECTOR))["items"]
        if _is_reserved(quota["metadata"]["name"])
    ):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the quotas are not counted after {_PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def _listening(admin: Raw) -> AsyncIterator[list[tuple[float, bytes]]]:
    """Note within the block what is told of quotas, and when."""
    quotas = await admin.list(RESOURCE_QUOTA, MANAGED_SELECTOR)
    heard: list[tuple[float, bytes]] = []
    listening = asyncio.create_task(_listen(admin, quotas["metadata"]["resourceVersion"], heard))
    yield heard
    listening.cancel()


async def _listen(admin: Raw, version: str, heard: list[tuple[float, bytes]]) -> None:
    async for data in admin.watch(RESOURCE_QUOTA, MANAGED_SELECTOR, version):
        heard.append((time.time(), data))  # noqa: PERF401  # each is to be seen as it comes


async def _seen(heard: Sequence[tuple[float, bytes]], number: int, start: float) -> list[float]:
    """Wait until so many quotas were raised; give the seconds from the start to each."""
    raised: dict[str, float] = {}
    while len(raised) < number:
        if time.time() > start + _PATIENCE_SECONDS:
            raise RuntimeError(f"only {len(raised)} of {number} quotas were raised")
        await asyncio.sleep(max(_POLL_SECONDS, start + 1 - time.time()))
        raised = _raises(heard)
    return [came - start for came in raised.values()]


async def _accepted(admin: Raw, number: int) -> bool:
    stored = (await admin.list(RESERVATION, ""))["items"]
    return sum(_is_ready(one) for one in stored) == number


def _is_ready(raw: Manifest) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in raw["status"]["conditions"])


def _raises(heard: Sequence[tuple[float, bytes]]) -> dict[str, float]:
    """Say when the quota of each namespace was first seen to give anything to reservations."""
    raised: dict[str, float] = {}
    rest = b""
    for came, data in heard:
        *lines, rest = (rest + data).split(b"\n")
        for quota in (orjson.loads(line)["object"] for line in lines):
            if _is_reserved(quota["metadata"]["name"]) and _gives(quota):
                raised.setdefault(quota["metadata"]["namespace"], came)
    return raised


def _is_reserved(name: str) -> bool:
    named = quota_of(name)
    return named is not None and named[0] in POOLS and named[1] is Tier.RESERVED


def _gives(quota: dict[str, Any]) -> bool:
    return any(amount != "0" for amount in quota["spec"]["hard"].values())
