"""The HTTP server that probes and Prometheus ask: /healthz, /readyz, /metrics.

It lives in another thread than the main loop, so it answers while that is busy, and can tell when it is stuck.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gpu_tenancy.observability.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be so before the operator is ready; `detail` says for people how it stands."""

    ok: bool
    detail: str


class Health:
    """What the main loop says of itself; safe to use from any thread.

    Args:
        checks: names of all that must be so before the operator is ready; none is so at first.
        patience: seconds without a sign of life of the main loop after which it counts as stuck.
        monotonic: tells the time, in seconds.
    """

    def __init__(
        self, checks: tuple[str, ...], *, patience: float = 30.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks = dict.fromkeys(checks, Check(ok=False, detail="not yet"))
        self._patience = patience
        self._monotonic = monotonic
        self._last_beat = monotonic()

    def beat(self) -> None:
        """Give a sign of life."""
        self._last_beat = self._monotonic()

    async def beat_for_ever(self) -> None:
        """Give a sign of life each second, as a task of the loop that is to be watched."""
        while True:
            self.beat()
            await asyncio.sleep(1)

    def set_check(self, name: str, ok: bool, detail: str = "") -> None:
        """Say how something stands.

        Raises:
            KeyError: if there is no such check: it would never have been waited for.
        """
        if name not in self._checks:
            raise KeyError(name)
        self._checks[name] = Check(ok, detail)

    @property
    def silence(self) -> float:
        """Seconds since the last sign of life."""
        return self._monotonic() - self._last_beat

    @property
    def is_alive(self) -> bool:
        """Whether the main loop has given a sign of life lately."""
        return self.silence < self._patience

    @property
    def is_ready(self) -> bool:
        """Whether all checks are fine."""
        return all(check.ok for check in self._checks.values())

    @property
    def checks(self) -> dict[str, Check]:
        """All checks, as they stand."""
        return dict(self._checks)


@asynccontextmanager
async def serve(health: Health, metrics: Metrics, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """Serve until the context is left.

    Args:
        health: what the probes tell.
        metrics: what Prometheus is told.
        host: the address to listen at.
        port: 0 takes a free one.

    Yields:
        The address and the port it listens at.

    Raises:
        OSError: if it cannot listen there.
    """

    async def healthz(_: web.Request) -> web.Response:
        body = {"alive": health.is_alive, "secondsSinceHeartbeat": round(health.silence, 3)}
        return _answer(health.is_alive, body)

    async def readyz(_: web.Request) -> web.Response:
        checks = {name: {"ok": check.ok, "detail": check.detail} for name, check in health.checks.items()}
        return _answer(health.is_ready, {"ready": health.is_ready, "checks": checks})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", make_aiohttp_handler(metrics.registry))
    # Probes come every few seconds and would fill the log; and nothing is worth waiting for at the end.
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound_host, bound_port = runner.addresses[0][:2]
        yield bound_host, bound_port
    finally:
        await runner.cleanup()


def _answer(fine: bool, body: object) -> web.Response:
    status = HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
