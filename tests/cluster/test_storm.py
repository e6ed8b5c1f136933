"""A storm of reservations, cancellations, pods, node failures and operator kills, and what has to hold after every write.

`make soak` lets it rage for ten minutes, `make test` for a third of one.
"""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cluster.invariants import violations
from cluster.operating import Cluster, OperatorProcess, eventually
from cluster.recording import Recording
from cluster.rest import Api, create, delete, patch
from cluster.site import B200, a_site, pod, pool, tenant, text
from gpu_tenancy.api import GPU_RESERVATION
from gpu_tenancy.kube.resource import NODE, POD, RESOURCE_QUOTA
from gpu_tenancy.runtime.term import api_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = float(os.environ.get("GPU_TENANCY_SOAK_SECONDS", "20"))
SEED = int(os.environ.get("GPU_TENANCY_SOAK_SEED", "1"))
TENANTS = ("amber", "birch", "cedar", "delta")
NODES, PER_NODE, HEADROOM = 5, 8, 4
RESERVATION = api_resource(GPU_RESERVATION)
pytestmark = pytest.mark.timeout(SECONDS + 240)


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    rules = {"minimumDuration": "1s", "gracePeriod": "2s", "noticeBeforeEnd": "3s", "cleaningGap": "1s"}
    grants = [{"pool": "b200", "guaranteed": 2, "reservable": 24, "spot": 16}]
    objects = (
        pool("b200", B200, headroom=HEADROOM, reservations=rules),
        *(tenant(name, f"{name}-a", f"{name}-b", gpus=grants) for name in TENANTS),
    )
    with a_site(premises, operator, *objects, dgx_b200=NODES) as cluster, operator.away():
        yield cluster


class Storm:
    """Things that happen at random, drawn from one seed."""

    def __init__(self, cluster: Cluster, operator: OperatorProcess, chance: random.Random) -> None:
        self._api = Api(cluster.control_plane)
        self._operator = operator
        self._chance = chance
        self._nodes = [node["metadata"]["name"] for node in cluster.list("node")]
        self._cordoned: list[str] = []
        self._reservations: list[tuple[str, str]] = []
        self._pods: list[tuple[str, str]] = []
        self.kills = 0
        self.happened: dict[str, int] = {}
        self._number = 0

    def rage(self, seconds: float) -> None:
        """Let things happen until time is up and as many reservations were asked for, then bring the nodes back."""
        what: list[tuple[int, Callable[[], object]]] = [
            (30, self._reserve), (8, self._cancel), (8, self._change), (20, self._run_pod), (6, self._delete_pod),
            (4, self._cordon), (4, self._uncordon), (1, self._kill_operator),
        ]  # fmt: skip
        actions, weights = [action for _, action in what], [weight for weight, _ in what]
        until = time.monotonic() + seconds
        while time.monotonic() < until or self.happened.get("_reserve", 0) < seconds:
            (action,) = self._chance.choices(actions, weights)
            action()
            self.happened[action.__name__] = self.happened.get(action.__name__, 0) + 1
            self.revive()
            time.sleep(self._chance.uniform(0, 0.3))
        while self._cordoned:
            self._uncordon()

    def revive(self) -> None:
        """Do as a kubelet does for one that gave up, as it has to when a write takes longer than its short lease."""
        if not self._operator.running:
            assert "giving up" in self._operator.log.read_text(), "it ended for no good reason"
            self._operator.start()

    def close(self) -> None:
        self._api.close()

    def _name(self) -> str:
        self._number += 1
        return f"n{self._number:05}"

    def _namespace(self) -> str:
        return f"{self._chance.choice(TENANTS)}-{self._chance.choice('ab')}"

    def _window(self) -> dict[str, str]:
        now = datetime.now(UTC).replace(microsecond=0)
        start = now + timedelta(seconds=self._chance.randint(0, 12))
        length = self._chance.randint(4, 15)
        if self._chance.random() < 0.5:
            return {"start": text(start), "duration": f"{length}s"}
        until = start + timedelta(seconds=length + self._chance.randint(0, 20))
        return {"notBefore": text(start), "notAfter": text(until), "duration": f"{length}s"}

    def _reserve(self) -> None:
        namespace, name = self._namespace(), self._name()
        spec = {
            "pool": "b200",
            "gpus": self._chance.choice([1, 2, 4, 8, 8, 12, 16, 24]),
            "window": self._window(),
            "onConflict": self._chance.choice(["Reject", "Wait"]),
        }
        self._api.must(create(RESERVATION, {"metadata": {"name": name}, "spec": spec}, namespace))
        self._reservations.append((namespace, name))

    def _pick(self, things: list[tuple[str, str]]) -> tuple[str, str] | None:
        return things.pop(self._chance.randrange(len(things))) if things else None

    def _cancel(self) -> None:
        if picked := self._pick(self._reservations):
            self._api.send(delete(RESERVATION, picked[1], picked[0]))

    def _change(self) -> None:
        if self._reservations:
            namespace, name = self._chance.choice(self._reservations)
            spec: dict[str, Any] = {"gpus": self._chance.choice([1, 4, 8, 16])}
            self._api.send(patch(RESERVATION, name, {"spec": spec}, namespace))

    def _run_pod(self) -> None:
        if not self._reservations:
            return
        namespace, reservation = self._chance.choice(self._reservations[-20:])
        name = self._name()
        labels = {"gpu-tenancy.dev/reservation": reservation} if self._chance.random() < 0.7 else {}
        if not labels and self._chance.random() < 0.5:
            labels = {"gpu-tenancy.dev/tier": "spot"}
        body = pod(name, namespace, self._chance.choice([1, 2, 4, 8]))
        body["metadata"]["labels"] = labels
        if self._api.send(create(POD, body, namespace)).accepted:
            self._pods.append((namespace, name))

    def _delete_pod(self) -> None:
        if picked := self._pick(self._pods):
            self._api.send(delete(POD, picked[1], picked[0]))

    def _cordon(self) -> None:
        if len(self._cordoned) < 2:
            name = self._chance.choice([one for one in self._nodes if one not in self._cordoned])
            self._cordoned.append(name)
            self._api.must(patch(NODE, name, {"spec": {"unschedulable": True}}))

    def _uncordon(self) -> None:
        if self._cordoned:
            self._api.must(patch(NODE, self._cordoned.pop(0), {"spec": {"unschedulable": None}}))

    def _kill_operator(self) -> None:
        self._operator.kill()
        time.sleep(self._chance.uniform(0, 2))
        self._operator.start()
        self.kills += 1


def test_nothing_is_promised_twice_in_a_storm(cluster: Cluster, tmp_path: Path) -> None:
    kubeconfig = cluster.control_plane.kubeconfig_for("operator")
    lease = {
        "GPU_TENANCY_LEASE_DURATION": "3",
        "GPU_TENANCY_LEASE_RENEW_DEADLINE": "2",
        "GPU_TENANCY_LEASE_RETRY_PERIOD": "0.5",
    }
    with OperatorProcess(kubeconfig, tmp_path / "operator.log", **lease) as operator:
        for name in TENANTS:
            cluster.until("itn", name, "Ready", "True")
        storm = Storm(cluster, operator, random.Random(SEED))  # noqa: S311  # nothing secret about it
        with Recording(cluster.control_plane, [NODE, RESOURCE_QUOTA, RESERVATION]) as recording:
            storm.rage(SECONDS)
            eventually(lambda: _quiet(cluster, storm), patience=120, every=1)
            changes = recording.changes()
        storm.close()
        accepted = {change.body["metadata"]["uid"] for change in changes if "window" in change.body.get("status", {})}
        active = [one for one in changes if one.kind == "ResourceQuota" and one.key[1] == "gpu-b200-reserved"]
        print(f"\n{SECONDS:.0f} s, seed {SEED}: {storm.happened}, {len(changes)} writes seen, {len(accepted)} accepted")  # noqa: T201

        assert list(violations(changes, "b200", HEADROOM)) == []
        # The storm was one: promises were made and kept, and the operator died in between.
        assert len(accepted) > SECONDS / 4
        assert any(one.body["spec"]["hard"]["requests.nvidia.com/gpu"] != "0" for one in active)
        assert storm.kills or SECONDS < 60
        eventually(operator.still, patience=120)


def _quiet(cluster: Cluster, storm: Storm) -> bool:
    """Say whether every window is over and every reserved quota shut."""
    storm.revive()
    quotas = [one for one in cluster.list("resourcequota") if one["metadata"]["name"] == "gpu-b200-reserved"]
    amounts = [
        one.get("status", {}).get(part, {}).get("requests.nvidia.com/gpu")
        for one in quotas
        for part in ("hard", "used")
    ]
    return all(amount == "0" for amount in amounts)
