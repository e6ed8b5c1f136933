"""The parent of the control plane's processes: starts them, restarts what dies, and takes them along when it ends.

Run as `python -m gpu_tenancy.localcluster.supervisor <data directory>`. It reads its `Plan` there and writes its `State`
there. It inherits the holds on the directory and on the port, and has them as long as it runs. Its children cannot
outlive it, even if it is killed with -9, and it does not outlive its owner, if it has one.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_tenancy.localcluster.identities import Identities
from gpu_tenancy.localcluster.processes import ProcessId
from gpu_tenancy.localcluster.state import LOGS, Child, Plan, State

if TYPE_CHECKING:
    import ssl

    from gpu_tenancy.localcluster.components import Component

READY_POLL = 0.05
START_TIMEOUT = 60.0
STOP_GRACE = 3.0
LONG_LIVED = 30.0
LONGEST_BACKOFF = 10.0
GARBAGE_PER_CENT = "400"
LAST_LINES = 5
LONGEST_LINE = 400
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Supervisor:
    """Runs a plan until it is told to stop or its owner ends."""

    def __init__(self, data_dir: Path, plan: Plan) -> None:
        self.data_dir = data_dir
        self.plan = plan
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.started_at: dict[str, float] = {}
        self.due: dict[str, float] = {}
        self.backoff: dict[str, float] = {}
        self.stopping = False
        self.state = State(ProcessId.of(os.getpid()), "starting", plan.port, plan.kubernetes)
        self.poll = select.poll()
        self.handles: dict[int, str] = {}

    def run(self) -> None:
        """Start everything, keep it running, and end it all."""
        self._listen_for_signals()
        if self.plan.owner is not None and not self._watch_owner(self.plan.owner):
            return
        try:
            self._start()
            while not self.stopping:
                self._wait(min((due - time.monotonic() for due in self.due.values()), default=None))
        except StartError as error:
            self._report(phase="failed", error=str(error))
        finally:
            self._stop()

    def _start(self) -> None:
        """Start the API server and its store, and when it answers those that need it."""
        serving, clients = self.plan.components[:2], self.plan.components[2:]
        deadline = time.monotonic() + START_TIMEOUT
        for component in serving:
            self._spawn(component)
        self._wait_until(deadline, "/readyz")
        for component in clients:
            self._spawn(component)
        # Pods are refused until the controller manager has made the account that they run as.
        self._wait_until(deadline, "/api/v1/namespaces/default/serviceaccounts/default")
        if not self.stopping:
            self._report(phase="ready")

    def _wait_until(self, deadline: float, path: str) -> None:
        client = Identities(self.data_dir).admin_tls()
        while not self.stopping and not _answers(self.plan.port, path, client):
            self._wait(READY_POLL)
            if self.due:
                name = next(iter(self.due))
                raise StartError(f"{name} ended while starting; {self._last_words(name)}")
            if time.monotonic() > deadline:
                raise StartError(f"the API server did not answer {path} within {START_TIMEOUT:.0f} s")

    def _last_words(self, name: str) -> str:
        log = self.data_dir / LOGS / f"{name}.log"
        lines = log.read_text(errors="replace").strip().splitlines()
        return f"{log} ends with:\n" + "\n".join(line[:LONGEST_LINE] for line in lines[-LAST_LINES:])

    def _spawn(self, component: Component) -> None:
        restarts = 0
        if known := self.state.components.get(component.name):
            restarts = known.restarts + 1
        with (self.data_dir / LOGS / f"{component.name}.log").open("ab") as log:
            child = subprocess.Popen(
                component.command,
                cwd=self.data_dir,
                # Nothing of the user's environment or home (kwok reads a file there) changes what runs here.
                # Memory is cleared up a quarter as often as Go would, which leaves the processors less to do.
                env={"HOME": str(self.data_dir), "PATH": os.defpath, "GOGC": GARBAGE_PER_CENT},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509  # this process has one thread
            )
        self.children[component.name] = child
        self.started_at[component.name] = time.monotonic()
        handle = os.pidfd_open(child.pid)
        self.handles[handle] = component.name
        self.poll.register(handle, select.POLLIN)
        record = Child(ProcessId.of(child.pid), restarts)
        self._report(components={**self.state.components, component.name: record})

    def _wait(self, timeout: float | None) -> None:
        """Sleep until something happens, and deal with it."""
        for handle, _ in self.poll.poll(None if timeout is None else max(0.0, timeout) * 1000):
            if handle in self.handles:
                self._bury(handle)
            else:
                self.stopping = True
        for component in self.plan.components:
            if self.state.phase == "ready" and self.due.get(component.name, float("inf")) <= time.monotonic():
                del self.due[component.name]
                self._spawn(component)

    def _bury(self, handle: int) -> None:
        """Note that a child has ended and when to start it again: at once, then later and later."""
        name = self.handles.pop(handle)
        self.poll.unregister(handle)
        os.close(handle)
        self.children.pop(name).wait()
        now = time.monotonic()
        lived_long = now - self.started_at[name] > LONG_LIVED
        delay = 0.0 if lived_long else self.backoff.get(name, 0.0)
        self.backoff[name] = min(LONGEST_BACKOFF, max(0.5, delay * 2))
        self.due[name] = now + delay

    def _stop(self) -> None:
        """End the clients first and the store last, so that nobody writes errors about the others."""
        for group in (self.plan.components[2:], self.plan.components[1:2], self.plan.components[:1]):
            names = [component.name for component in group if component.name in self.children]
            for name in names:
                self.children[name].terminate()
            deadline = time.monotonic() + STOP_GRACE
            for name in names:
                try:
                    self.children[name].wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self.children[name].kill()
                    self.children[name].wait()
        if self.state.phase != "failed":
            self._report(phase="stopped")

    def _report(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self.state.save(self.data_dir)

    def _listen_for_signals(self) -> None:
        """Turn signals into something that `poll` sees."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self.poll.register(reader, select.POLLIN)

    def _watch_owner(self, owner: ProcessId) -> bool:
        """End when the owner does; tell whether it is still there."""
        try:
            handle = os.pidfd_open(owner.pid)
        except ProcessLookupError:
            return False
        self.poll.register(handle, select.POLLIN)
        return owner.alive


class StartError(Exception):
    """The control plane did not come up."""


def _die_with_parent(parent: int) -> Any:
    def prepare() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the kernel was told
            os._exit(1)

    return prepare


def _answers(port: int, path: str, client: ssl.SSLContext) -> bool:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=client)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    """Run the plan of the data directory given on the command line."""
    data_dir = Path(sys.argv[1])
    Supervisor(data_dir, Plan.load(data_dir)).run()


if __name__ == "__main__":
    main()
