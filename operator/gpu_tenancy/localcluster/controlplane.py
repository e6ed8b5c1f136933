"""`ControlPlane`: start and stop a control plane, and reach it as anybody."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import platformdirs
from rich.console import Console

from gpu_tenancy.localcluster.binaries import ensure
from gpu_tenancy.localcluster.components import AUDIT_LOG, components
from gpu_tenancy.localcluster.errors import LocalClusterError
from gpu_tenancy.localcluster.identities import ADMIN, Identities
from gpu_tenancy.localcluster.processes import ProcessId
from gpu_tenancy.localcluster.state import LOGS, Plan, State
from gpu_tenancy.localcluster.versions import DEFAULT_KUBERNETES, KUBERNETES

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence
    from types import TracebackType

POLL = 0.02
START_TIMEOUT = 90.0
STOP_TIMEOUT = 15.0
TOKEN_LIFETIME = "24h"  # noqa: S105  # how long, not what
OPERATOR_ACCOUNT = ("gpu-tenancy-system", "gpu-tenancy")


def default_data_dir() -> Path:
    """Name the folder of the control plane that is meant when none is named."""
    return Path(platformdirs.user_state_dir("gpu-tenancy")) / "localcluster"


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
        audit: Have the API server write down in `audit_log` what the operator asks.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        kubernetes: str = DEFAULT_KUBERNETES,
        detached: bool = False,
        console: Console | None = None,
        audit: bool = False,
    ) -> None:
        if kubernetes not in KUBERNETES:
            raise LocalClusterError(f"Kubernetes {kubernetes} is not known; choose from {', '.join(KUBERNETES)}")
        self.data_dir = data_dir.absolute()
        self.kubernetes = kubernetes
        self.detached = detached
        self.logs_dir = self.data_dir / LOGS
        self.audit_log = self.data_dir / AUDIT_LOG
        self._audit = audit
        self._identities = Identities(self.data_dir)
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
        return self._running().url

    @property
    def version(self) -> str:
        """The exact Kubernetes version that runs, such as 1.36.3."""
        return self._running().kubernetes

    @property
    def ca_file(self) -> Path:
        """The certificate that the API server's is signed by, as PEM."""
        return self._identities.ca_file

    def program(self, name: str) -> Path:
        """Say where a program is that goes with the running control plane, such as kubectl."""
        self._running()
        return Path(Plan.load(self.data_dir).binaries[name])

    def start(self) -> None:
        """Start it and return when pods can be created.

        Raises:
            LocalClusterError: It is running already, the folder is somebody else's, a program cannot be had, or one of
                them failed.
        """
        self._refuse_foreign_folder()
        binaries = ensure(self.kubernetes, self._console)
        self.logs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._exclusive() as lock, self._port() as port:
            plan = Plan(
                components=components(binaries, port.getsockname()[1], audit=self._audit),
                port=port.getsockname()[1],
                kubernetes=KUBERNETES[self.kubernetes],
                binaries={name: str(path) for name, path in binaries.items()},
                owner=None if self.detached else ProcessId.of(os.getpid()),
            )
            self._identities.create(plan.url)
            plan.save(self.data_dir)
            self._supervise((lock, port.fileno()))

    def stop(self) -> None:
        """End it and wait until every process is gone; nothing happens if it does not run."""
        state = self.state
        if state is not None:
            state.supervisor.send(signal.SIGTERM)
            if not state.supervisor.wait(STOP_TIMEOUT):
                state.supervisor.send(signal.SIGKILL)
                state.supervisor.wait(STOP_TIMEOUT)
        if self._supervisor is not None:
            self._supervisor.wait()

    def delete(self) -> None:
        """Delete the data directory.

        Raises:
            LocalClusterError: The control plane is running, or the directory is none of a control plane.
        """
        if not self.data_dir.exists():
            return
        if State.load(self.data_dir) is None:
            raise LocalClusterError(f"{self.data_dir} does not look like the data of a control plane; not deleted")
        with self._exclusive():
            shutil.rmtree(self.data_dir)

    def restart_api_server(self) -> None:
        """Kill the API server and return when its successor answers, at the same URL."""
        before = self._running().components["kube-apiserver"].process
        before.send(signal.SIGKILL)
        deadline = time.monotonic() + START_TIMEOUT
        while self._running().components["kube-apiserver"].process == before or not self._ready():
            if time.monotonic() > deadline:
                raise LocalClusterError(f"the API server did not come back; see {self.logs_dir}")
            time.sleep(POLL)

    def admin_tls(self) -> ssl.SSLContext:
        """Make a TLS context by which an HTTP client trusts the API server and is the administrator."""
        self._running()
        return self._identities.admin_tls()

    def kubeconfig(self, user: str, groups: Sequence[str] = (), *, namespace: str = "") -> Path:
        """Write a kubeconfig for any user, identified by a client certificate; return its path."""
        return self._identities.user(self.url, user, groups, namespace)

    def kubeconfig_for(self, role: str) -> Path:
        """Return the kubeconfig of a role: `admin` may do everything, `operator` exactly what the chart grants it.

        Raises:
            LocalClusterError: The control plane does not run, there is no such role, or the chart is not installed.
        """
        self._running()
        match role:
            case "admin":
                return self._identities.path(ADMIN)
            case "operator":
                return self.kubeconfig_for_service_account(*OPERATOR_ACCOUNT)
            case _:
                raise LocalClusterError(f"there is no role {role!r}; choose admin or operator")

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """Write a kubeconfig for a service account with a fresh token; a running client reads the new token too.

        Raises:
            LocalClusterError: There is no such service account.
        """
        self._running()
        try:
            token = self.kubectl("create", "token", name, f"--namespace={namespace}", f"--duration={TOKEN_LIFETIME}")
        except LocalClusterError as error:
            hint = "install the chart first; " if (namespace, name) == OPERATOR_ACCOUNT else ""
            raise LocalClusterError(f"no token for service account {namespace}/{name}: {hint}{error}") from error
        return self._identities.service_account(self.url, namespace, name, token.strip())

    def kubectl(self, *args: str, input: str | None = None, kubeconfig: Path | None = None) -> str:  # noqa: A002  # as in subprocess
        """Run kubectl, as admin unless told otherwise; return what it printed.

        Raises:
            LocalClusterError: It failed; the message has what it printed on standard error.
        """
        return self._client("kubectl", args, input, kubeconfig)

    def helm(self, *args: str, input: str | None = None, kubeconfig: Path | None = None) -> str:  # noqa: A002  # as in subprocess
        """Run Helm, as admin unless told otherwise; return what it printed.

        Raises:
            LocalClusterError: It failed; the message has what it printed on standard error.
        """
        return self._client("helm", args, input, kubeconfig)

    def _client(self, program: str, args: Sequence[str], text: str | None, config: Path | None) -> str:
        caches = self.data_dir / "clients"
        done = subprocess.run(
            [self.program(program), *args],
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

    def _refuse_foreign_folder(self) -> None:
        """Whatever is in the folder would be deleted with the control plane."""
        if not self._lock.exists() and self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise LocalClusterError(
                f"{self.data_dir} has files that are none of a control plane; name a folder that is new or empty"
            )

    @property
    def _lock(self) -> Path:
        return self.data_dir / "lock"

    @contextmanager
    def _exclusive(self) -> Iterator[int]:
        """Hold the data directory; the supervisor inherits the hold and keeps it while it runs."""
        with self._lock.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LocalClusterError(f"a control plane is already running in {self.data_dir}") from error
            yield lock.fileno()

    def _port(self) -> socket.socket:
        """Take the port of last time, so that kubeconfigs given away stay good, or else any."""
        previous = State.load(self.data_dir)
        try:
            return reserve_port(previous.port if previous else 0)
        except OSError:
            return reserve_port()

    def _supervise(self, inherited: Sequence[int]) -> None:
        """Start the supervisor in its own session and wait for its verdict."""
        with (self.logs_dir / "supervisor.log").open("ab") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "gpu_tenancy.localcluster.supervisor", str(self.data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=inherited,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        try:
            self._wait_until_ready(self._supervisor)
        except BaseException:
            self._supervisor.terminate()
            self._supervisor.wait()
            raise

    def _wait_until_ready(self, supervisor: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            ended = supervisor.poll() is not None
            state = State.load(self.data_dir)
            if state is not None and state.supervisor.pid == supervisor.pid:
                if state.phase == "ready":
                    return
                if state.phase == "failed":
                    raise LocalClusterError(f"the control plane did not start: {state.error}")
            if ended:
                raise LocalClusterError(f"the supervisor ended early; see {self.logs_dir / 'supervisor.log'}")
            time.sleep(POLL)
        raise LocalClusterError(f"the control plane did not start in {START_TIMEOUT:.0f} s; see {self.logs_dir}")


def reserve_port(port: int = 0) -> socket.socket:
    """Take a free port on loopback and keep it, in a way that lets the API server listen on it too.

    Args:
        port: The port that is wanted; 0 for any.

    Raises:
        OSError: The port is taken.
    """
    if port:
        # Sharing would also let two control planes of one user have the same port, so first ask without.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    reserved = socket.socket()
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", port))
    except OSError:
        reserved.close()
        raise
    return reserved
