"""Runs a command that ends with its parent, even if that is killed: `python -m gpu_tenancy.demo.tied PARENT_PID COMMAND ...`.

A process of its own does it, because code between fork and exec is not safe in one that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # execve keeps it
    if os.getppid() != parent:  # it ended before the kernel was told
        sys.exit("the parent is gone")
    os.execv(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
