"""Processes of this machine that are told apart even when the kernel uses a pid again."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid and when its process started, in clock ticks since boot: together they name one process."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Identify a running process.

        Raises:
            ProcessLookupError: There is none with this pid.
        """
        stat = _stat(pid)
        if stat is None:
            raise ProcessLookupError(pid)
        return cls(pid, stat[1])

    @property
    def alive(self) -> bool:
        """Whether this very process is still running."""
        stat = _stat(self.pid)
        return stat is not None and stat[1] == self.started and stat[0] not in "ZX"

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if the process is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The handle holds on to one process, so what is checked here is what is signalled.
            if self.alive:
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        finally:
            os.close(handle)

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the process to end; tell whether it did."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + timeout
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            while self.alive:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                poll.poll(remaining * 1000)
            return True
        finally:
            os.close(handle)


def _stat(pid: int) -> tuple[str, int] | None:
    """Read the state and the start time from /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command stands in parentheses and may itself contain spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
