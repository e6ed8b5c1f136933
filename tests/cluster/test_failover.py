"""Two operators: one leads, the other takes over when it falls silent, and never do both write."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from cluster.operating import Cluster, OperatorProcess, eventually
from cluster.site import a_site, ready, tenant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHORT_LEASE = {
    "GPU_TENANCY_LEASE_DURATION": "4",
    "GPU_TENANCY_LEASE_RENEW_DEADLINE": "2",
    "GPU_TENANCY_LEASE_RETRY_PERIOD": "0.5",
}


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    with a_site(premises, operator) as cluster, operator.away():
        yield cluster


@pytest.fixture
def pair(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """A leader and one that stands by."""
    kubeconfig = cluster.control_plane.kubeconfig_for("operator")
    with OperatorProcess(kubeconfig, tmp_path / "first.log", **SHORT_LEASE) as first:
        eventually(lambda: leads(first))
        with OperatorProcess(kubeconfig, tmp_path / "second.log", **SHORT_LEASE) as second:
            yield first, second


def leads(operator: OperatorProcess) -> bool:
    return operator.metric("gpu_tenancy_lease_held") == 1


def rent(cluster: Cluster, name: str) -> None:
    cluster.apply(tenant(name, gpus=[], namespaces=[{"name": f"{name}-a"}]))
    ready(cluster, name)


def test_the_one_that_stands_by_writes_nothing(cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]) -> None:
    first, second = pair

    rent(cluster, "calm")

    assert leads(first)
    assert not leads(second)
    assert first.writes() > 0
    assert second.writes() == 0
    assert '"ready":true' in second.get("/readyz")


def test_the_other_takes_over_when_the_leader_is_killed(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    first, second = pair

    first.kill()

    eventually(lambda: leads(second))
    rent(cluster, "heir")


def test_a_leader_that_was_frozen_past_its_lease_writes_nothing_when_it_thaws(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    first, second = pair
    rent(cluster, "before")
    written = first.writes()

    os.kill(first.pid, signal.SIGSTOP)
    eventually(lambda: leads(second))
    rent(cluster, "during")
    os.kill(first.pid, signal.SIGCONT)

    eventually(lambda: not leads(first))
    rent(cluster, "after")
    assert first.running
    assert first.writes() == written
    time.sleep(1)
    assert not (leads(first) and leads(second))


def test_a_leader_that_is_asked_to_end_hands_over(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    first, second = pair

    first.stop()

    eventually(lambda: leads(second))
    rent(cluster, "next")
