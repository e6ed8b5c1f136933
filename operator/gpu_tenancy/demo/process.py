"""The operator as a child process, with the rights of its service account and no others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import aiohttp
import orjson
from prometheus_client.parser import text_string_to_metric_families

from gpu_tenancy.demo.observe import NotObserved, NotYet

STOP_SECONDS = 10.0
# A successor takes over from one that was killed when the lease runs out: in a cluster 15 s, here as short as a busy
# machine allows. And what Kubernetes counts by now is seen within seconds.
SOONER = {
    "GPU_TENANCY_LEASE_DURATION": "8",
    "GPU_TENANCY_LEASE_RENEW_DEADLINE": "5",
    "GPU_TENANCY_LEASE_RETRY_PERIOD": "1",
    "GPU_TENANCY_RESIDENCY_AUDIT_INTERVAL": "5",
}


class OperatorProcess:
    """Starts, kills and asks the operator.

    Args:
        kubeconfig: as whom it speaks to the API server.
        log: the file that its log is appended to.
    """

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self.kubeconfig = kubeconfig
        self.log = log
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where /healthz, /readyz and /metrics are."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; call this from the main thread, whose end is the child's."""
        tied = [sys.executable, "-m", "gpu_tenancy.demo.tied", str(os.getpid())]
        command = [
            str(Path(sysconfig.get_path("scripts")) / "gpu-tenancy"),
            "run",
            "--kubeconfig",
            str(self.kubeconfig),
        ]
        command += ["--http-port", str(self.port), "--log-format", "json"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*tied, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **SOONER}
            )

    def kill(self) -> None:
        """End it without giving it a chance to do anything more."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """End it in good order, and by force if that takes too long."""
        if self._process is None or not self.running:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    async def leads(self) -> None:
        """Ask it whether it holds the Lease and has begun to work; a replica that stands by is ready as well.

        Raises:
            NotYet: it does not; the message says how it stands.
            NotObserved: it never will.
        """
        if not self.running:
            raise NotObserved(f"its process has ended; see {self.log}")
        caches = orjson.loads(await self._get("/readyz"))["checks"]["caches"]
        if caches["detail"] != "complete":
            raise NotYet(f"its caches are {caches['detail']}")

    async def writes(self) -> int:
        """Ask it how many writes, other than of its lease, the API server accepted from it."""
        families = text_string_to_metric_families(await self._get("/metrics"))
        return round(
            sum(
                sample.value
                for family in families
                for sample in family.samples
                if sample.name == "gpu_tenancy_api_writes_total" and sample.labels["kind"] != "Lease"
            )
        )

    async def _get(self, path: str) -> str:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(self.url + path) as response,
            ):
                body = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotYet(f"{path} does not answer: {error}") from error
        if not response.ok:
            raise NotYet(f"{path} says {body}")
        return body


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
