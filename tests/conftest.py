"""What holds for all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    import pytest

TOGETHER = {
    "a tenant's world": ("tests/security/",),
    "a bare control plane": ("tests/cluster/test_kube_", "tests/cluster/test_lease.py"),
}

# What takes longest comes first, so that in the end nobody waits for one that began late.
LONG = (
    "tests/security/",
    "tests/cluster/test_reservations.py",
    "tests/cluster/test_operator.py",
    "tests/cluster/test_crds.py",
    "tests/cluster/test_usage.py",
    "tests/cluster/test_peering.py",
    "tests/cluster/test_course.py",
    "tests/cluster/test_separation.py",
    "tests/cluster/test_localcluster.py",
    "tests/cluster/test_windows.py",
    "tests/cluster/",
)

# A busy machine is slow, which is nobody's fault; and CI tells of a change by the same examples each time.
settings.register_profile(
    "ours", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("ours")


class Together(LoadFileScheduling):
    """Gives a file to one process, and files for which something is started that no others need to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((group for group, files in TOGETHER.items() if file.startswith(files)), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((i for i, files in enumerate(LONG) if item.nodeid.startswith(files)), len(LONG)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return Together(config, log) if config.getvalue("dist") == "loadfile" else None
