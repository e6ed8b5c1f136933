"""`ControlPlane`: start and stop a control plane, and reach it as anybody."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console

from gpu_tenancy.localcluster import kubeconfig
from gpu_tenancy.localcluster.binaries import ensure
from gpu_tenancy.localcluster.certificates import CertificateAuthority, new_key, private_pem, public_pem
from gpu_tenancy.localcluster.components import FIRST_SERVICE_ADDRESS, components
from gpu_tenancy.localcluster.errors import LocalClusterError
from gpu_tenancy.localcluster.processes import ProcessId
from gpu_tenancy.localcluster.supervisor import LOGS, Plan, State, admin_tls, reserve_port
from gpu_tenancy.localcluster.versions import DEFAULT_KUBERNETES, KUBERNETES

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence
    from types import TracebackType

POLL = 0.02
START_TIMEOUT = 90.0
STOP_TIMEOUT = 15.0
TOKEN_LIFETIME = "24h"  # noqa: S105  # how long, not what

# The identities of the control plane's own processes; the bootstrap policy of the API server gives them their rights.
SYSTEM_USERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kwok": ("kwok", ("system:masters",)),
}


class ControlPlane:
    """A control plane in a data directory.

    It ends with the process that started it, however that ends, unless `detached`. As a context manager it runs
    within the block.

    Args:
        data_dir: Where the cluster's data, certificates, kubeconfigs and logs are. Starting again with the same
            directory continues with the same objects.
        kubernetes: The minor version: 1.34, 1.35 or 1.36.
        detached: Keep running after this process ends, until `stop` is called, from anywhere.
        console: Where progress is shown while programs are fetched or built; standard error by default.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        kubernetes: str = DEFAULT_KUBERNETES,
        detached: bool = False,
        console: Console | None = None,
    ) -> None:
        if kubernetes not in KUBERNETES:
            raise LocalClusterError(f"Kubernetes {kubernetes} is not known; choose from {', '.join(KUBERNETES)}")
        self.data_dir = data_dir.absolute()
        self.kubernetes = kubernetes
        self.detached = detached
        self.logs_dir = self.data_dir / LOGS
        self.ca_file = self.data_dir / "pki" / "ca.crt"
        self._console = console or Console(stderr=True)
        self._supervisor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def state(self) -> State | None:
        """What runs in the data directory now, or None."""
        state = State.load(self.data_dir)
        return state if state is not None and state.supervisor.alive else None

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return f"https://127.0.0.1:{self._running().port}"

    def start(self) -> None:
        """Start it and return when pods can be created.

        Raises:
            LocalClusterError: It is running already, a program cannot be had, or one of them failed.
        """
        if self.state is not None:
            raise LocalClusterError(f"a control plane is already running in {self.data_dir}")
        binaries = ensure(self.kubernetes, self._console)
        for directory in (self.data_dir, self.logs_dir, self.data_dir / "pki", self.data_dir / "kubeconfigs"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._port() as reserved:
            port = reserved.getsockname()[1]
            self._write_identities(port)
            owner = None if self.detached else ProcessId.of(os.getpid())
            Plan(
                components(binaries, port),
                port,
                KUBERNETES[self.kubernetes],
                {name: str(path) for name, path in binaries.items()},
                owner,
            ).save(self.data_dir)
            self._supervise()

    def stop(self) -> None:
        """End it and wait until every process is gone; nothing happens if it does not run."""
        state = self.state
        if state is None:
            return
        state.supervisor.send(signal.SIGTERM)
        if not state.supervisor.wait(STOP_TIMEOUT):
            state.supervisor.send(signal.SIGKILL)
            state.supervisor.wait(STOP_TIMEOUT)
        if self._supervisor is not None:
            self._supervisor.wait()

    @property
    def version(self) -> str:
        """The exact Kubernetes version that runs, such as 1.36.3."""
        return self._running().kubernetes

    def admin_tls(self) -> ssl.SSLContext:
        """Make a TLS context by which an HTTP client trusts the API server and is the administrator."""
        return admin_tls(self.data_dir)

    def restart_api_server(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the API server with a signal and return when its successor answers, at the same URL."""
        before = self._running().components["kube-apiserver"].process
        before.send(number)
        deadline = time.monotonic() + START_TIMEOUT
        while self._running().components["kube-apiserver"].process == before or not self._ready():
            if time.monotonic() > deadline:
                raise LocalClusterError(f"the API server did not come back; see {self.logs_dir}")
            time.sleep(POLL)

    def kubeconfig(self, user: str, groups: Sequence[str] = (), *, namespace: str = "") -> Path:
        """Write a kubeconfig for any user, identified by a client certificate; return its path."""
        name = re.sub(r"[^A-Za-z0-9.-]", "_", user)
        if identity := "\0".join([*sorted(groups), namespace]):
            name += "-" + hashlib.sha256(identity.encode()).hexdigest()[:8]
        pair = self._authority().client(user, groups)
        return self._kubeconfig(name, user, kubeconfig.certificate_user(pair), namespace)

    def kubeconfig_for(self, role: str) -> Path:
        """Return the kubeconfig of a standing role: `admin`, who may do everything."""
        path = self.data_dir / "kubeconfigs" / f"{role}.yaml"
        if not path.exists():
            raise LocalClusterError(f"there is no role {role}")
        return path

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """Write a kubeconfig for a service account with a fresh token; a running client reads the new token too."""
        token = self.kubectl("create", "token", name, f"--namespace={namespace}", f"--duration={TOKEN_LIFETIME}")
        stem = f"serviceaccount-{namespace}-{name}"
        token_file = self.data_dir / "kubeconfigs" / f"{stem}.token"
        kubeconfig.write_private(token_file, token.strip().encode())
        return self._kubeconfig(stem, name, kubeconfig.token_user(token_file), namespace)

    def kubectl(self, *args: str, input: str | None = None, kubeconfig: Path | None = None) -> str:  # noqa: A002  # as in subprocess
        """Run kubectl, as admin unless told otherwise; return what it printed."""
        return self._client("kubectl", args, input, kubeconfig)

    def helm(self, *args: str, input: str | None = None, kubeconfig: Path | None = None) -> str:  # noqa: A002  # as in subprocess
        """Run Helm, as admin unless told otherwise; return what it printed."""
        return self._client("helm", args, input, kubeconfig)

    def _client(self, program: str, args: Sequence[str], text: str | None, config: Path | None) -> str:
        caches = self.data_dir / "clients"
        done = subprocess.run(
            [Plan.load(self.data_dir).binaries[program], *args],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "KUBECONFIG": str(config or self.kubeconfig_for("admin")),
                "KUBECACHEDIR": str(caches / "kubectl"),
                "HELM_CACHE_HOME": str(caches / "helm/cache"),
                "HELM_CONFIG_HOME": str(caches / "helm/config"),
                "HELM_DATA_HOME": str(caches / "helm/data"),
            },
        )
        if done.returncode:
            raise LocalClusterError(f"{program} {' '.join(args)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _running(self) -> State:
        state = self.state
        if state is None:
            raise LocalClusterError(f"no control plane is running in {self.data_dir}")
        return state

    def _ready(self) -> bool:
        try:
            self.kubectl("get", "--raw=/readyz")
        except LocalClusterError:
            return False
        return True

    def _port(self) -> socket.socket:
        previous = State.load(self.data_dir)
        try:
            return reserve_port(previous.port if previous else 0)
        except OSError:
            return reserve_port()

    def _authority(self) -> CertificateAuthority:
        return CertificateAuthority.load(self.ca_file, self.data_dir / "pki" / "ca.key")

    def _write_identities(self, port: int) -> None:
        """Make the certificates once, and every time the kubeconfigs, which contain the port."""
        pki = self.data_dir / "pki"
        if not (pki / "complete").exists():
            authority = CertificateAuthority.create()
            service_accounts = new_key()
            server = authority.server(
                "kube-apiserver",
                ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
                ("127.0.0.1", FIRST_SERVICE_ADDRESS),
            )
            admin = authority.client("admin", ("system:masters",))
            for name, content in {
                "ca.crt": authority.pem.certificate,
                "ca.key": authority.pem.key,
                "apiserver.crt": server.certificate,
                "apiserver.key": server.key,
                "admin.crt": admin.certificate,
                "admin.key": admin.key,
                "service-accounts.key": private_pem(service_accounts),
                "service-accounts.pub": public_pem(service_accounts),
                "complete": b"",
            }.items():
                kubeconfig.write_private(pki / name, content)
        authority = self._authority()
        url = f"https://127.0.0.1:{port}"
        users = {**SYSTEM_USERS, "admin": ("admin", ("system:masters",))}
        for name, (user, groups) in users.items():
            kubeconfig.write(
                self.data_dir / "kubeconfigs" / f"{name}.yaml",
                url=url,
                ca=self.ca_file.read_bytes(),
                user=user,
                credentials=kubeconfig.certificate_user(authority.client(user, groups)),
            )

    def _kubeconfig(self, name: str, user: str, credentials: dict[str, str], namespace: str) -> Path:
        return kubeconfig.write(
            self.data_dir / "kubeconfigs" / f"{name}.yaml",
            url=self.url,
            ca=self.ca_file.read_bytes(),
            user=user,
            credentials=credentials,
            namespace=namespace,
        )

    def _supervise(self) -> None:
        """Start the supervisor in its own session and wait for its verdict."""
        with (self.logs_dir / "supervisor.log").open("ab") as log:
            self._supervisor = supervisor = subprocess.Popen(
                [sys.executable, "-m", "gpu_tenancy.localcluster.supervisor", str(self.data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            state = State.load(self.data_dir)
            if state is not None and state.supervisor.pid == supervisor.pid:
                if state.phase == "ready":
                    return
                if state.phase == "failed":
                    supervisor.wait()
                    raise LocalClusterError(f"the control plane did not start: {state.error}")
            if supervisor.poll() is not None:
                raise LocalClusterError(f"the supervisor ended early; see {log.name}")
            time.sleep(POLL)
        self.stop()
        raise LocalClusterError(f"the control plane did not start in {START_TIMEOUT:.0f} s; see {self.logs_dir}")
