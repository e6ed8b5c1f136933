"""How long after the start of its window a reservation's quota is raised, when many start at the same second."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from bench.raw import RESERVATION, connect, post
from bench.site import CONCURRENCY, POOLS, custom
from gpu_tenancy.domain.naming import MANAGED_SELECTOR, Tier, quota_of
from gpu_tenancy.kube.resource import RESOURCE_QUOTA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.raw import Manifest, Raw
    from bench.site import Site

_LEAD_SECONDS = 30
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.5


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
    async with connect(site.admin) as admin:
        quotas = await admin.list(RESOURCE_QUOTA, MANAGED_SELECTOR)
        heard: list[tuple[float, bytes]] = []
        listening = asyncio.create_task(_listen(admin, quotas["metadata"]["resourceVersion"], heard))
        await admin.send([[post(one)] for one in asked], CONCURRENCY)
        while not await _accepted(admin, len(asked)):
            if datetime.now(UTC) >= start:
                raise RuntimeError(f"not all of {len(asked)} reservations were accepted within {_LEAD_SECONDS} s")
            await asyncio.sleep(_POLL_SECONDS)
        raised: dict[str, float] = {}
        while len(raised) < len(asked):
            if time.time() > start.timestamp() + _PATIENCE_SECONDS:
                raise RuntimeError(f"only {len(raised)} of {len(asked)} quotas were raised")
            await asyncio.sleep(max(_POLL_SECONDS, start.timestamp() + 1 - time.time()))
            raised = _raises(heard)
        listening.cancel()
    return [came - start.timestamp() for came in raised.values()]


async def _listen(admin: Raw, version: str, heard: list[tuple[float, bytes]]) -> None:
    async for data in admin.watch(RESOURCE_QUOTA, MANAGED_SELECTOR, version):
        heard.append((time.time(), data))  # noqa: PERF401  # each is to be seen as it comes


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
            named = quota_of(quota["metadata"]["name"])
            if named is not None and named[0] in POOLS and named[1] is Tier.RESERVED and _gives(quota):
                raised.setdefault(quota["metadata"]["namespace"], came)
    return raised


def _gives(quota: dict[str, Any]) -> bool:
    return any(amount != "0" for amount in quota["spec"]["hard"].values())
