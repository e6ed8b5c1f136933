"""A suspended tenant says whether it is merely shut, being emptied, or empty, and since when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gpu_tenancy.api.common import parse_instant
from gpu_tenancy.api.tenant import DrainStatus, IndustrialTenantStatus
from gpu_tenancy.domain.conditions import find
from gpu_tenancy.domain.contract import Stage, Standing
from gpu_tenancy.domain.naming import SUSPENDED_LABEL
from gpu_tenancy.reconcile.drain import Phase, Remainder
from gpu_tenancy.reconcile.plan import Plan
from gpu_tenancy.reconcile.suspension import drain_phase
from tenant_world import NEURA, NOW, Cluster, events, spec

DRAIN: dict[str, Any] = {"suspended": True, "suspension": {"pods": "Drain", "gracePeriod": "5m"}}
SINCE = parse_instant("2026-12-01T08:00:00Z")
SHUT = {SUSPENDED_LABEL: "true"}


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.provision()
    return cluster


def said(cluster: Cluster) -> tuple[str, str]:
    condition = find(cluster.status("neura").conditions, "Suspended")
    assert condition is not None
    return condition.reason, condition.message


def test_a_cordon_has_no_drain(cluster: Cluster) -> None:
    cluster.provision(suspended=True)
    assert said(cluster)[0] == "Cordoned"
    assert cluster.status("neura").drain is None


def test_a_drain_begins_when_its_status_says_so_after_everything_is_shut(cluster: Cluster) -> None:
    written = cluster.provision(**DRAIN)
    assert said(cluster)[0] == "Draining"
    assert cluster.status("neura").drain == DrainStatus(since=SINCE)
    assert "TenantDraining" in events(written)
    assert cluster.labels("train")[SUSPENDED_LABEL] == "true"


def test_its_progress_is_told(cluster: Cluster) -> None:
    cluster.provision(**DRAIN)
    cluster.remainders = {"train": Remainder(2, ("pod train/a should be gone",)), "serve": Remainder(1)}
    cluster.settle("neura")
    reason, message = said(cluster)
    assert reason == "Draining"
    assert message.startswith(
        "3 pods are left; those that run at 2026-12-01T08:05:00Z are deleted; pod train/a should be gone"
    )
    assert cluster.status("neura").drain == DrainStatus(since=SINCE, pods=3)

    cluster.remainders = {"train": Remainder(0), "serve": Remainder(0)}
    assert "TenantDrained" in events(cluster.settle("neura"))
    assert said(cluster)[0] == "Drained"
    assert cluster.status("neura").drain == DrainStatus(since=SINCE, pods=0)


def test_nothing_is_said_anew_after_a_restart_until_pods_were_counted(cluster: Cluster) -> None:
    cluster.provision(**DRAIN)
    cluster.remainders = {"train": Remainder(0), "serve": Remainder(0)}
    cluster.settle("neura")
    cluster.remainders = {}
    assert cluster.plan("neura", NOW + timedelta(hours=1)) == Plan()


def test_a_cordon_that_becomes_a_drain_counts_from_then(cluster: Cluster) -> None:
    cluster.provision(suspended=True)
    cluster.declare("neura", spec(**NEURA | DRAIN))
    cluster.reconcile("neura", NOW + timedelta(days=3))
    assert said(cluster)[0] == "Draining"
    assert cluster.status("neura").drain == DrainStatus(since=SINCE + timedelta(days=3))


def test_opening_the_tenant_ends_the_drain(cluster: Cluster) -> None:
    cluster.provision(**DRAIN)
    cluster.provision()
    assert find(cluster.status("neura").conditions, "Suspended") is None
    assert cluster.status("neura").drain is None


def test_a_namespace_is_drained_until_the_grace_period_is_over_and_a_little_longer() -> None:
    status = IndustrialTenantStatus(drain=DrainStatus(since=SINCE))
    deadline = SINCE + timedelta(minutes=5)
    end = deadline + timedelta(seconds=30)
    assert drain_phase(spec(**DRAIN), status, SHUT, NOW) == Phase("draining", "", deadline, end, last_grace=30)


OVER: dict[str, Any] = {"contract": {"validUntil": "2026-12-01T07:00:00Z"}, "suspension": DRAIN["suspension"]}


def test_a_contract_that_is_over_drains_as_well(cluster: Cluster) -> None:
    cluster.standing = Standing(Stage.OVER)
    written = cluster.provision(**OVER)
    reason, message = said(cluster)
    assert reason == "Draining"
    assert message == "its pods are being counted; the contract is over: extend spec.contract.validUntil"
    assert "TenantDraining" in events(written)
    drained, shut = cluster.status("neura"), cluster.labels("train")
    assert drained.drain == DrainStatus(since=SINCE)
    assert drain_phase(spec(**OVER), drained, shut, NOW) is not None
    longer = {"contract": {"validUntil": "2026-12-02T07:00:00Z"}}
    assert drain_phase(spec(**OVER | longer), drained, shut, NOW) is None
    cluster.standing = Standing()
    cluster.provision(**OVER | longer)
    assert cluster.status("neura").drain is None


@pytest.mark.parametrize(
    ("contract", "status", "labels"),
    [
        ({}, IndustrialTenantStatus(drain=DrainStatus(since=SINCE)), SHUT),
        ({"suspended": True}, IndustrialTenantStatus(drain=DrainStatus(since=SINCE)), SHUT),
        ({"suspension": {"pods": "Drain"}}, IndustrialTenantStatus(drain=DrainStatus(since=SINCE)), SHUT),
        (DRAIN, IndustrialTenantStatus(), SHUT),
        (DRAIN, IndustrialTenantStatus(drain=DrainStatus(since=SINCE)), {}),
    ],
    ids=["open", "cordoned", "only prepared", "not begun", "new pods are not kept out yet"],
)
def test_nothing_is_drained(contract: dict[str, Any], status: IndustrialTenantStatus, labels: dict[str, str]) -> None:
    assert drain_phase(spec(**contract), status, labels, NOW) is None
