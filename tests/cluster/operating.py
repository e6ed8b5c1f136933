"""A cluster with the charts installed, and the operator as a process with its own service account and nothing more."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from cluster.rest import Api, create, get
from gpu_tenancy.api import GROUP, KINDS, VERSION
from gpu_tenancy.kube.resource import Resource
from gpu_tenancy.localcluster import LocalClusterError
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from prometheus_client.samples import Sample

    from cluster.rest import Answer
    from gpu_tenancy.localcluster import ControlPlane

NAMESPACE = "gpu-tenancy-system"
CRDS = ROOT / "crds"
# One that was killed is missed sooner; yet long enough for a busy machine.
SHORT_LEASE = {
    "GPU_TENANCY_LEASE_DURATION": "8",
    "GPU_TENANCY_LEASE_RENEW_DEADLINE": "5",
    "GPU_TENANCY_LEASE_RETRY_PERIOD": "1",
}
PATIENCE = 60.0


def install_kinds(control_plane: ControlPlane) -> None:
    """Install our kinds and nothing else, and wait until the API server serves them."""
    control_plane.kubectl("apply", "-f", str(CRDS))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))
    api = Api(control_plane)
    for kind in KINDS:
        resource = Resource(GROUP, VERSION, kind.plural, kind.kind, kind.namespaced)
        eventually(lambda resource=resource: api.serves(resource), lambda kind=kind: f"{kind.plural} are not served")


def install_charts(control_plane: ControlPlane, root: Path, *arguments: str) -> None:
    """Install kinds, roles and policies; the operator itself runs outside."""
    control_plane.helm("install", "gpu-tenancy-crds", str(root / "charts/gpu-tenancy-crds"))
    control_plane.helm(
        "install", "gpu-tenancy", str(root / "charts/gpu-tenancy"), "--namespace", NAMESPACE, "--create-namespace",
        "--set", "operator.enabled=false", *arguments,
    )  # fmt: skip
    # Nobody has ever written here, so the first operator need not wait for anybody.
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "gpu-tenancy", "namespace": NAMESPACE},
        "spec": {"holderIdentity": ""},
    }
    control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump(lease))


class OperatorProcess:
    """`gpu-tenancy run` as a child process."""

    def __init__(self, kubeconfig: Path, log: Path, **environment: str) -> None:
        self.log = log
        self._looks_often = "GPU_TENANCY_RESIDENCY_AUDIT_INTERVAL" in environment
        self._arguments = [
            sys.executable, "-m", "gpu_tenancy", "run", "--kubeconfig", str(kubeconfig), "--http-port", "0",
        ]  # fmt: skip
        self._environment = os.environ | environment
        self._process: subprocess.Popen[bytes] | None = None
        self._before = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until its caches are complete, or it waits for others to stop."""
        self._before = len(self.log.read_text()) if self.log.exists() else 0
        with self.log.open("a") as output:
            self._process = subprocess.Popen(self._arguments, env=self._environment, stderr=output, stdout=output)
        found = eventually(lambda: re.search(r"http://127\.0\.0\.1:(\d+)", self._said()))
        self.url = f"http://127.0.0.1:{found[1]}"
        eventually(lambda: self._works() or self._standing_by())

    def _said(self) -> str:
        return self.log.read_text()[self._before :]

    def _works(self) -> bool:
        return "The world is complete" in self._said()

    def _standing_by(self) -> bool:
        return "standing by" in self.get("/readyz")

    def stop(self) -> None:
        """Ask it to end, and wait."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE)
            self._process = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Leave the cluster to others meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it do and see nothing meanwhile, and all that it missed afterwards."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it with no chance to say goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def get(self, path: str) -> str:
        """Ask its HTTP server."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as response:  # noqa: S310  # our own
                return response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Sum up the series of a metric that have these labels."""
        return sum(sample.value for sample in self._samples(name) if labels.items() <= sample.labels.items())

    def _samples(self, name: str) -> list[Sample]:
        return [
            sample
            for family in text_string_to_metric_families(self.get("/metrics"))
            for sample in family.samples
            if sample.name == name
        ]

    def written(self) -> dict[str, float]:
        """Count what it has written so far, by verb and kind, the lease and events apart."""
        return {
            f"{sample.labels['verb']} {sample.labels['kind']}": sample.value
            for sample in self._samples("gpu_tenancy_api_writes_total")
            if sample.value and sample.labels["kind"] not in ("Lease", "Event")
        }

    def writes(self) -> float:
        return sum(self.written().values())

    def written_again(self) -> dict[str, float]:
        """Restart it when it has nothing left to do, and tell what it wrote after that, by verb and kind."""
        eventually(self.still)
        self.stop()
        self.start()
        eventually(self._works)
        eventually(self.still)
        return self.written()

    def still(self) -> bool:
        """Watch it for a moment, once it has looked at everything if it often does, and say whether it wrote nothing."""
        if self._looks_often:
            now = time.time()
            eventually(lambda: self.metric("gpu_tenancy_residency_audit_timestamp_seconds") > now)
        before = self.writes()
        time.sleep(3)
        return self.writes() == before


class Cluster:
    """A control plane to talk to in objects, of kinds by the names that kubectl knows.

    What the administrator does goes over one connection, because a test looks often and kubectl takes long to start.
    """

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self._api = Api(control_plane)
        self._kinds: dict[str, Resource] = {}

    def apply(self, *objects: dict[str, Any], kubeconfig: Path | None = None) -> None:
        """Apply objects, as the administrator by default."""
        if kubeconfig is not None:
            self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects), kubeconfig=kubeconfig)
            return
        for one in objects:
            resource = self._kind(f"{one['apiVersion']}/{one['kind']}")
            _accepted(self._api.apply(resource, one, _scope(resource, one["metadata"].get("namespace"))))

    def create(self, *objects: dict[str, Any], kubeconfig: Path | None = None) -> None:
        """Create objects, as the administrator by default."""
        if kubeconfig is not None:
            self.kubectl("create", "-f", "-", input=yaml.safe_dump_all(objects), kubeconfig=kubeconfig)
            return
        for one in objects:
            resource = self._kind(f"{one['apiVersion']}/{one['kind']}")
            _accepted(self._api.send(create(resource, one, _scope(resource, one["metadata"].get("namespace")))))

    def get(self, kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        """Read an object; None if there is none."""
        resource = self._kind(kind)
        answer = self._api.send(get(resource, name, _scope(resource, namespace)))
        return None if answer.status == HTTPStatus.NOT_FOUND else _accepted(answer)

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[dict[str, Any]]:
        """List objects, of all namespaces by default."""
        resource = self._kind(kind)
        found = _accepted(self._api.list(resource, namespace, selector))["items"]
        return [{"apiVersion": resource.api_version, "kind": resource.kind} | one for one in found]

    def versions(self, *kinds: str) -> dict[str, str]:
        """Read the version of every object of these kinds, by kind, namespace and name; of quotas what they say instead.

        In those Kubernetes counts when it likes.
        """
        return {
            f"{kind} {one['metadata'].get('namespace', '')}/{one['metadata']['name']}": _said(one)
            if one["kind"] == "ResourceQuota"
            else one["metadata"]["resourceVersion"]
            for kind in kinds
            for one in self.list(kind)
        }

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """Call kubectl, as the administrator by default."""
        return self.control_plane.kubectl(*arguments, **options)

    def _kind(self, name: str) -> Resource:
        """Find a kind, which the API server may know only a moment after it was installed."""

        def look() -> Resource | None:
            if name.lower() not in self._kinds:
                self._kinds = self._api.kinds()
            return self._kinds.get(name.lower())

        return eventually(look, lambda: f"no kind is called {name}", patience=30)

    def condition(self, kind: str, name: str, type_: str, namespace: str = "") -> dict[str, Any] | None:
        """Read a condition of an object, once its status is about its present generation."""
        found = self.get(kind, name, namespace)
        if found is None or found.get("status", {}).get("observedGeneration") != found["metadata"]["generation"]:
            return None
        return next((one for one in found["status"].get("conditions", []) if one["type"] == type_), None)

    def until(self, kind: str, name: str, type_: str, status: str, namespace: str = "") -> dict[str, Any]:
        """Wait until a condition has a status."""

        def reached() -> dict[str, Any] | None:
            condition = self.condition(kind, name, type_, namespace)
            return condition if condition is not None and condition["status"] == status else None

        return eventually(reached, lambda: f"{kind} {name}: {self.get(kind, name, namespace)}")


def have_our_kinds_counted(cluster: Cluster) -> None:
    """Wait until Kubernetes counts our kinds, on which every tenant's quota is changed.

    It knows of them within half a minute of their installation, and counts them in the quotas that change after that;
    in others some minutes later.
    """

    def counted() -> bool:
        quota = cluster.get("resourcequota", "gpu-tenancy-counted", NAMESPACE)
        assert quota is not None
        hard = quota["spec"]["hard"]
        if quota.get("status", {}).get("used", {}).keys() == hard.keys():
            return True
        changed = {"spec": {"hard": {kind: "1" if amount == "0" else "0" for kind, amount in hard.items()}}}
        cluster.kubectl(
            "patch", "resourcequota", "gpu-tenancy-counted", "-n", NAMESPACE, "--type=merge", "-p", json.dumps(changed)
        )
        return False

    eventually(counted, patience=120, every=3)


def _said(one: dict[str, Any]) -> str:
    metadata = one["metadata"]
    return json.dumps([metadata.get("labels"), metadata.get("annotations"), one["spec"]], sort_keys=True)


def _scope(resource: Resource, namespace: str | None) -> str:
    return (namespace or "default") if resource.namespaced else ""


def _accepted(answer: Answer) -> dict[str, Any]:
    if not answer.accepted:
        raise LocalClusterError(answer.message)
    return answer.body


def eventually(
    look: Callable[[], Any], explain: Callable[[], str] = lambda: "", patience: float = PATIENCE, every: float = 0.1
) -> Any:
    """Look again until what is seen is true; fail after a long while."""
    deadline = time.monotonic() + patience
    while True:
        if seen := look():
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not seen within {patience} s. {explain()}")
        time.sleep(every)
