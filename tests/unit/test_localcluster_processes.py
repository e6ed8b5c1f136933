"""A recorded process is never mistaken for another, and a reserved port belongs to one control plane."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from gpu_tenancy.localcluster.controlplane import ControlPlane, reserve_port
from gpu_tenancy.localcluster.processes import ProcessId
from gpu_tenancy.localcluster.state import State


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_running_process_is_alive_until_it_is_ended(sleeper):
    known = ProcessId.of(sleeper.pid)
    assert known.alive
    assert not known.wait(0.05)
    known.send(signal.SIGKILL)
    assert known.wait(10)
    assert not known.alive


def test_a_process_that_was_not_reaped_counts_as_ended(sleeper):
    known = ProcessId.of(sleeper.pid)
    sleeper.kill()
    assert known.wait(10)
    assert os.path.exists(f"/proc/{sleeper.pid}")  # noqa: PTH110  # the zombie is the point
    assert not known.alive


def test_a_pid_that_was_used_again_is_another_process_and_gets_no_signal(sleeper):
    earlier = ProcessId(sleeper.pid, ProcessId.of(sleeper.pid).started - 1)
    assert not earlier.alive
    assert earlier.wait(0)
    earlier.send(signal.SIGKILL)
    assert ProcessId.of(sleeper.pid).alive


def test_a_process_that_is_gone_is_harmless(sleeper):
    known = ProcessId.of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    known.send(signal.SIGKILL)
    assert known.wait(0)
    with pytest.raises(ProcessLookupError):
        ProcessId.of(sleeper.pid)


def test_a_command_name_with_spaces_and_parentheses_does_not_confuse_the_reading(tmp_path):
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "60"]) as process:
        try:
            assert ProcessId.of(process.pid).started >= ProcessId.of(os.getpid()).started
            assert ProcessId.of(process.pid).alive
        finally:
            process.kill()


def test_a_reserved_port_is_not_given_twice():
    with reserve_port() as first:
        port = first.getsockname()[1]
        assert first.getsockname()[0] == "127.0.0.1"
        with pytest.raises(OSError, match="in use"):
            reserve_port(port)
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", port))
    with reserve_port(port) as again:
        assert again.getsockname()[1] == port


def test_ports_of_several_reservations_differ():
    reserved = [reserve_port() for _ in range(50)]
    try:
        assert len({one.getsockname()[1] for one in reserved}) == 50
    finally:
        for one in reserved:
            one.close()


def test_the_holder_of_a_reserved_port_can_let_another_process_listen_on_it():
    with reserve_port() as holder, socket.socket() as server, socket.socket() as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(holder.getsockname())
        server.listen()
        for _ in range(10):
            with socket.create_connection(holder.getsockname(), timeout=5):
                server.accept()[0].close()
        client.close()


def test_a_control_plane_takes_its_port_of_last_time_or_another_if_that_is_taken(tmp_path):
    with reserve_port() as once:
        port = once.getsockname()[1]
    State(ProcessId(1, 0), "stopped", port, "1.36.3").save(tmp_path)
    with ControlPlane(tmp_path)._port() as same, ControlPlane(tmp_path)._port() as other:
        assert same.getsockname()[1] == port
        assert other.getsockname()[1] not in {port, 0}
