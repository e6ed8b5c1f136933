from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gpu_tenancy.observability.health import Health, serve
from gpu_tenancy.observability.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def served(health: Health, metrics: Metrics | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serve(health, metrics or Metrics(), "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):
        yield session


async def get(session: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with session.get(path) as response:
        return response.status, await response.json()


async def test_the_process_is_alive_while_the_main_loop_gives_signs_of_life():
    time = Time()
    health = Health((), patience=10, monotonic=time)
    async with served(health) as session:
        time.now += 9
        assert await get(session, "/healthz") == (200, {"alive": True, "secondsSinceHeartbeat": 9.0})
        time.now += 1
        assert await get(session, "/healthz") == (503, {"alive": False, "secondsSinceHeartbeat": 10.0})
        health.beat()
        assert (await get(session, "/healthz"))[0] == 200


async def test_it_is_ready_when_all_checks_are_fine_and_says_which_are_not():
    health = Health(("caches", "tenants"))
    async with served(health) as session:
        status, body = await get(session, "/readyz")
        assert status == 503
        assert body == {
            "ready": False,
            "checks": {"caches": {"ok": False, "detail": "not yet"}, "tenants": {"ok": False, "detail": "not yet"}},
        }
        health.set_check("caches", True, "7 kinds")
        assert (await get(session, "/readyz"))[0] == 503
        health.set_check("tenants", True)
        status, body = await get(session, "/readyz")
        assert (status, body["ready"], body["checks"]["caches"]["detail"]) == (200, True, "7 kinds")
        health.set_check("tenants", False, "watch lost")
        assert (await get(session, "/readyz"))[0] == 503


def test_a_check_that_nobody_waits_for_is_a_mistake():
    with pytest.raises(KeyError, match="cashes"):
        Health(("caches",)).set_check("cashes", True)


async def test_metrics_come_in_the_format_that_is_asked_for():
    metrics = Metrics()
    metrics.drift_repaired("Namespace")
    async with served(Health(()), metrics) as session:
        async with session.get("/metrics") as response:
            assert response.status == 200
            assert response.content_type == "text/plain"
            assert 'gpu_tenancy_drift_repairs_total{kind="Namespace"} 1.0' in await response.text()
        async with session.get(
            "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        ) as response:
            assert response.content_type == "application/openmetrics-text"
            families = {family.name for family in text_string_to_metric_families(await response.text())}
            assert "gpu_tenancy_drift_repairs" in families


async def test_there_is_nothing_else():
    async with served(Health(())) as session, session.get("/") as response:
        assert response.status == 404


async def test_a_port_that_is_taken_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="address already in use"):
        async with serve(Health(()), Metrics(), "127.0.0.1", taken.getsockname()[1]):
            pytest.fail("it cannot listen there")


async def test_the_port_is_free_again_afterwards():
    async with serve(Health(()), Metrics(), "127.0.0.1", 0) as (_, port):
        pass
    async with serve(Health(()), Metrics(), "127.0.0.1", port) as (_, again):
        assert again == port
