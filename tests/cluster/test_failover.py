"""Two operators: one leads, the other takes over when it falls silent, and never do both write."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from cluster.operating import SHORT_LEASE, Cluster, OperatorProcess, eventually
from cluster.site import a_site, ready, tenant

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    with a_site(premises, operator) as cluster, operator.away():
        yield cluster


@pytest.fixture(scope="module")
def both(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    kubeconfig, logs = cluster.control_plane.kubeconfig_for("operator"), tmp_path_factory.mktemp("operators")
    with (
        OperatorProcess(kubeconfig, logs / "one.log", **SHORT_LEASE) as one,
        OperatorProcess(kubeconfig, logs / "other.log", **SHORT_LEASE) as other,
    ):
        yield one, other


@pytest.fixture
def pair(both: tuple[OperatorProcess, OperatorProcess]) -> tuple[OperatorProcess, OperatorProcess]:
    """A leader and one that stands by, whichever it was before."""
    for operator in both:
        if not operator.running:
            operator.start()
    one, other = both
    eventually(lambda: leads(one) != leads(other))
    return both if leads(one) else (other, one)


def leads(operator: OperatorProcess) -> bool:
    return operator.metric("gpu_tenancy_lease_held") == 1


def rent(cluster: Cluster, name: str) -> None:
    cluster.apply(tenant(name, gpus=[], namespaces=[{"name": f"{name}-a"}]))
    ready(cluster, name)


def test_the_one_that_stands_by_writes_nothing(cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]) -> None:
    first, second = pair
    before = [one.writes() for one in pair]

    rent(cluster, "calm")

    assert leads(first)
    assert not leads(second)
    assert first.writes() > before[0]
    assert second.writes() == before[1]
    assert '"ready":true' in second.get("/readyz")


def test_the_other_takes_over_when_the_leader_is_killed(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    first, second = pair

    first.kill()

    eventually(lambda: leads(second))
    rent(cluster, "heir")


@pytest.mark.usefixtures("counted")
def test_a_leader_that_was_frozen_past_its_lease_writes_nothing_when_it_thaws(
    cluster: Cluster, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    first, second = pair
    rent(cluster, "before")
    eventually(first.still)  # what is on its way when it freezes was written before, and is counted after
    written = first.writes()

    with first.frozen():
        eventually(lambda: leads(second))
        rent(cluster, "during")

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
