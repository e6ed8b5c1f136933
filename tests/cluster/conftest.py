"""Fixtures for tests against a real control plane, which each test process starts once (about 4 s).

Usage:
    def test_something(control_plane, admin):
        control_plane.kubectl("apply", "-f", "-", input=manifest)     # as admin; returns stdout, raises on failure
        anna = control_plane.kubeconfig("anna", ["neura-admins"])     # any user, by client certificate
        control_plane.kubectl("get", "pods", "-n", "x", kubeconfig=anna)
        control_plane.kubeconfig_for_service_account("ns", "name")    # by token, in a file that can be renewed
        control_plane.restart_api_server()                            # SIGKILL; returns when it answers again
        control_plane.helm("install", ...)

`admin` is the path of the administrator's kubeconfig. Every test works in namespaces, nodes and tenants of its own
names, because the control plane is shared; a test that kills parts of it starts its own in `tmp_path`:
    with ControlPlane(tmp_path / "cluster") as own: ...

`premises` is another one, which has the charts and beside which `operator` runs. A module that rents GPUs out has it to
itself for as long as it lasts, with the nodes, pools and regions that it names:
    @pytest.fixture(scope="module")
    def cluster(premises, operator):
        with a_site(premises, operator, pool("b200", B200), dgx_b200=4) as cluster: ...
One that needs operators of its own has them `with operator.away()`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from cluster.operating import SHORT_LEASE, Cluster, OperatorProcess, have_our_kinds_counted, install_charts
from gpu_tenancy.localcluster import ControlPlane, LocalClusterError
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

PREMISES, OPERATOR = pytest.StashKey[Cluster](), pytest.StashKey[OperatorProcess]()
LAST_LINES = 40


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "cluster" in item.path.parts:
            item.add_marker(pytest.mark.cluster)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside what a test waited for in vain, show what was there instead, and what the operator said last."""
    report = yield
    operator = item.config.stash.get(OPERATOR, None)
    if operator is not None and report.when == "call" and report.failed:
        report.sections.append(("the operator", "\n".join(operator.log.read_text().splitlines()[-LAST_LINES:])))
        with suppress(OSError, LocalClusterError):  # whatever it was may have taken the API server along
            for kind in ("itn", "gres"):
                found = item.config.stash[PREMISES].list(kind)
                for one in found:
                    del one["metadata"]["managedFields"]
                report.sections.append((kind, "\n".join(map(json.dumps, found))))
    return report


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="session")
def admin(control_plane: ControlPlane) -> Path:
    return control_plane.kubeconfig_for("admin")


@pytest.fixture(scope="session")
def premises(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    with ControlPlane(tmp_path_factory.mktemp("premises")) as running:
        install_charts(running, ROOT)
        pytestconfig.stash[PREMISES] = Cluster(running)
        yield pytestconfig.stash[PREMISES]


@pytest.fixture(scope="session")
def operator(
    premises: Cluster, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[OperatorProcess]:
    """The operator, which is missed and looks after residency sooner than elsewhere."""
    kubeconfig = premises.control_plane.kubeconfig_for("operator")
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    settings = SHORT_LEASE | {"GPU_TENANCY_RESIDENCY_AUDIT_INTERVAL": "3", "GPU_TENANCY_LOG_LEVEL": "DEBUG"}
    with OperatorProcess(kubeconfig, log, **settings) as running:
        pytestconfig.stash[OPERATOR] = running
        yield running


@pytest.fixture
def counted(premises: Cluster) -> None:
    """For who claims that nothing changes meanwhile: Kubernetes counts our kinds already."""
    have_our_kinds_counted(premises)
