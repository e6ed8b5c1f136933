"""What holds for all tests."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# Each group is with one process, which starts once what its files share. What takes longest comes first, so that in the
# end nobody waits for one that began late; the premises are started three times, because there is much waiting there.
GROUPS = (
    ("tests/security/",),
    *(
        tuple(f"tests/cluster/test_{name}" for name in names.split())
        for names in (
            "reservations evidence network",
            "operator course leaving",
            "usage peering windows storm failover examples",
            "crds",
            "separation",
            "kopf_adapter kube_ lease",
            "localcluster",
        )
    ),
)

# A busy machine is slow, which is nobody's fault; and CI tells of a change by the same examples each time.
settings.register_profile(
    "ours", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("ours")


class Together(LoadFileScheduling):
    """Gives a group to one process, and each file that is in none."""

    def _split_scope(self, nodeid: str) -> str:
        group = _group(nodeid)
        return f"group {group}" if group < len(GROUPS) else super()._split_scope(nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _group(item.nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End what a group shares with it: a control plane that nobody needs any more takes its part of the processors."""
    if nextitem is not None and _group(nextitem.nodeid) != _group(item.nodeid):
        item.session._setupstate.teardown_exact(None)


def _group(nodeid: str) -> int:
    """Say which group a test belongs to; the number of groups if to none."""
    return next((number for number, files in enumerate(GROUPS) if nodeid.startswith(files)), len(GROUPS))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return Together(config, log) if config.getvalue("dist") == "loadfile" else None
