"""The pure parts by themselves, in CPU time: they run in the one thread in which everything else does, too."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import statistics
import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import orjson

from bench.report import Figure
from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.promises import Book, NotAccepted, PoolFacts, decide
from gpu_tenancy.kube.client import Page, WatchEvent
from gpu_tenancy.kube.reflector import Reflector
from gpu_tenancy.kube.resource import RESOURCE_QUOTA
from gpu_tenancy.reconcile.isolation import Memory
from gpu_tenancy.reconcile.tenants import plan_tenant
from gpu_tenancy.runtime.world import World
from promise_facts import NOW, booking, capacity, grant, pool, rules, settled, spec
from tenant_world import NEURA, Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from bench.raw import Manifest
    from gpu_tenancy.domain.promises import Booking
    from gpu_tenancy.kube.client import Client

CURVE = (0.1, 0.3, 1, 3, 10)
EVENTS = 10_000
_RESERVATIONS_PER_TENANT = 20
_MANY = 10_000
_HORIZON_HOURS = 90 * 24
_MILLI, _MICRO, _MEBI = 1e3, 1e6, 1 << 20


def pure(quota: Manifest, reservations: int) -> list[Figure]:
    """Time the planners and the reflector.

    Args:
        quota: a ResourceQuota as the operator renders it.
        reservations: how many the pool has, as many as GPUs; the curve goes from a tenth of it to ten times as many.
    """
    return [*_decide(reservations), *_plan_tenant(), _reflect(quota)]


def _decide(reservations: int) -> list[Figure]:
    new = _site(reservations)
    decision = decide(new, NOW)
    old = settled(new, decision)
    what = f"decide: {new.capacity.usable:,} GPUs, {len(new.grants)} tenants, {reservations:,} reservations"
    return [
        Figure(f"{what}, all new", _cpu(lambda: decide(new, NOW), _MILLI, repeat=5), "ms CPU", target=1000, below=True),
        Figure(
            f"{what}, decided before",
            _cpu(lambda: decide(old, NOW), _MILLI, repeat=5),
            "ms CPU",
            target=500,
            below=True,
        ),
        Figure(f"{what}, memory", [_memory(reservations)], "MiB", target=100, below=True),
        Figure(
            f"book: one more beside {reservations:,} reservations, p99", _accept(new), "ms CPU", target=2, below=True
        ),
        *_curve([int(reservations * part) for part in CURVE]),
    ]


def _site(reservations: int) -> PoolFacts:
    """Make a pool that is nearly booked out; it grows with the number of reservations."""
    chance = random.Random(1)  # noqa: S311  # nothing secret about it
    names = [f"tenant-{number:05}" for number in range(reservations // _RESERVATIONS_PER_TENANT)]

    def asked(number: int) -> Booking:
        start = chance.uniform(1, _HORIZON_HOURS)
        wanted = spec(chance.choice([8, 8, 16, 32, 64, 128]), start, start + chance.uniform(1, 72))
        return booking(f"r{number:06}", wanted, chance.choice(names), created=-1 - number / 3600)

    gc.collect()  # what others have left behind is not the planner's to clear away
    return PoolFacts(
        spec=pool(reservations=rules(horizon=f"{_HORIZON_HOURS + 72}h")),
        capacity=capacity(reservations),
        grants=tuple(grant(name, 2, 1000) for name in names),
        bookings=tuple(map(asked, range(reservations))),
    )


def _memory(reservations: int) -> float:
    """Say what the facts and the decision take, at most."""
    gc.collect()
    tracemalloc.start()
    facts = _site(reservations)
    decide(facts, NOW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / _MEBI


def _accept(facts: PoolFacts) -> list[float]:
    """Time requests one by one, whether they are accepted or refused with offers, in a book that is kept."""
    book = Book(facts, seconds(NOW))
    for one in facts.bookings:
        _ask(book, one)
    again = [replace(one, uid=f"{one.uid}-again") for one in facts.bookings[::5]]
    runs = [_cpu(partial(_ask, book, one), _MILLI, repeat=1)[0] for one in again]
    return [sorted(runs)[len(runs) * 99 // 100]]


def _ask(book: Book, one: Booking) -> None:
    with suppress(NotAccepted):
        book.accept(one)


def _curve(numbers: Sequence[int]) -> Iterator[Figure]:
    """Compare with n log n, from the smallest number on; a site ten times as large has ten times the tenants."""
    unit = 0.0
    for number in numbers:
        facts = _site(number)
        growth = number * math.log2(number)
        took = _cpu(partial(decide, facts, NOW), _MILLI, repeat=3 if number <= _MANY else 1)
        unit = unit or statistics.median(took) / growth
        name = f"decide: {number:,} reservations, all new; the floor is n log n"
        yield Figure(name, took, "ms CPU", floors=[unit * growth], target=1.5)


def _plan_tenant() -> list[Figure]:
    namespaces = [{"name": f"neura-{number}"} for number in range(3)]
    owners = [*NEURA["owners"], {"kind": "Group", "name": "auditors", "role": "Viewer"}]
    cluster = Cluster()
    cluster.provision("neura", namespaces=namespaces, owners=owners)
    view = cluster.view("neura")
    empty = Cluster(tenants=cluster.tenants, allotments=cluster.allotments, grants=cluster.grants)
    new, memory = empty.view("neura"), Memory()
    what = f"plan_tenant: {len(namespaces)} namespaces, {len(view.children)} children"
    return [
        Figure(f"{what}, all to be written", _cpu(lambda: plan_tenant(new, NOW), _MILLI, repeat=100), "ms CPU"),
        Figure(f"{what}, nothing to do", _cpu(lambda: plan_tenant(view, NOW), _MILLI, repeat=100), "ms CPU"),
        Figure(f"{what}, nothing changed", _cpu(lambda: plan_tenant(view, NOW, memory), _MILLI, repeat=100), "ms CPU"),
    ]


def _cpu(function: Callable[[], object], unit: float, repeat: int) -> list[float]:
    seconds = []
    for _ in range(repeat):
        began = time.thread_time()
        function()
        seconds.append((time.thread_time() - began) * unit)
    return seconds


class Tape:
    """Plays the part of a client whose watch says what was recorded."""

    def __init__(self, lines: list[bytes]) -> None:
        self.played = asyncio.Event()
        self._lines = lines

    async def list(self, *_: Any, **__: Any) -> AsyncGenerator[Page]:
        """List nothing."""
        yield Page([], "1")

    async def watch(self, *_: Any, **__: Any) -> AsyncGenerator[WatchEvent]:
        """Tell what was recorded, then nothing more."""
        for line in self._lines:
            event = orjson.loads(line)
            yield WatchEvent(event["type"], event["object"])
        self.played.set()
        await asyncio.Event().wait()


def _reflect(quota: Manifest) -> Figure:
    lines = []
    for number in range(EVENTS):
        metadata = quota["metadata"] | {
            "name": f"gpu-pool-{number}-spot",
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "resourceVersion": str(number + 2),
            "creationTimestamp": "2026-12-01T12:00:00Z",
            "managedFields": [
                {"manager": "gpu-tenancy", "operation": "Update", "fieldsV1": {"f:spec": {"f:hard": {}}}}
            ],
        }
        status = {"hard": quota["spec"]["hard"], "used": dict.fromkeys(quota["spec"]["hard"], "0")}
        lines.append(orjson.dumps({"type": "ADDED", "object": quota | {"metadata": metadata, "status": status}}))
    runs = [asyncio.run(_play(lines)) / EVENTS * _MICRO for _ in range(3)]
    return Figure("reflector: a watch event of a quota, from JSON to the store", runs, "us CPU")


async def _play(lines: list[bytes]) -> float:
    tape, world = Tape(lines), World()
    began = time.process_time()
    reflecting = asyncio.create_task(Reflector(cast("Client", tape), RESOURCE_QUOTA, world.quotas).run())
    await tape.played.wait()
    seconds = time.process_time() - began
    reflecting.cancel()
    await asyncio.gather(reflecting, return_exceptions=True)
    assert len(world.quotas) == len(lines)
    return seconds
