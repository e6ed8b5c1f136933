"""No sequence of requests that a tenant may make changes anything outside it, or makes it exceed what was granted."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cluster.operating import eventually
from cluster.policy_scenarios import CLAIM, IMAGE, RBAC, SELECT_ALL, SERVICE, SPEAKS, VIEWERS, VOLUME_CLAIM, create, new
from cluster.rest import delete, get, patch
from gpu_tenancy.domain.naming import POOL_LABEL, RESERVATION_LABEL, TENANT_LABEL, TIER_LABEL, Tier, quota_of
from gpu_tenancy.domain.quantity import parse
from gpu_tenancy.kube.resource import JOB, NAMESPACE, NETWORK_POLICY, POD, RESOURCE_QUOTA, ROLE_BINDING, Resource
from security.attempts import DEPLOYMENT
from security.world import (
    FROZEN,
    MALLORY,
    OWN,
    PEERING,
    RESERVATION,
    RIVALS,
    SECOND,
    TENANT,
    complete,
    peering,
    reservation,
)

if TYPE_CHECKING:
    from cluster.rest import Answer, Call
    from security.world import World

MINE = (OWN, SECOND)
# What changes by itself, or is there for each object of a tenant that has an address.
UNSTEADY = {"events", "leases", "ipaddresses", "endpointslices", "endpoints", "componentstatuses"}
GRANTED = {("b200", Tier.GUARANTEED): 8, ("b200", Tier.SPOT): 8, ("rtx-pro", Tier.GUARANTEED): 2,
           ("rtx-pro", Tier.SPOT): 2, ("mig", Tier.GUARANTEED): 7}  # fmt: skip
RESERVABLE = {"b200": 16, "rtx-pro": 2}

names = st.sampled_from([f"m-{number}" for number in range(4)])
namespaces = st.sampled_from(MINE)
anywhere = st.sampled_from([*MINE, FROZEN, RIVALS, "default", "kube-system", "gpu-tenancy-system"])
labels = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        POOL_LABEL: st.sampled_from(["b200", "rtx-pro", "mig", "none"]),
        TIER_LABEL: st.sampled_from(["guaranteed", "spot", "reserved"]),
        RESERVATION_LABEL: st.sampled_from(["nightly", "m-0", "m-1", "m-2"]),
        TENANT_LABEL: st.just("rival"),
        "app.kubernetes.io/managed-by": st.just("gpu-tenancy"),
    },
)
gpus = st.dictionaries(
    st.sampled_from(["nvidia.com/gpu", "nvidia.com/mig-1g.23gb", "nvidia.com/mig-2g.45gb", "nvidia.com/gpu.shared"]),
    st.integers(1, 5),
    max_size=1,
)
oddities = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        "nodeName": st.sampled_from(["eu-de-dgx-b200-0001", "eu-de-rtx-pro-0001"]),
        "priorityClassName": st.sampled_from(["gpu-b200-guaranteed", "gpu-rtx-pro-spot", "system-node-critical"]),
        "hostNetwork": st.just(True),
        "tolerations": st.just([{"operator": "Exists"}]),
        "schedulerName": st.just("mine"),
    },
)
service_specs = st.fixed_dictionaries(
    {"ports": st.just([{"port": 80}])},
    optional={
        "type": st.sampled_from(["NodePort", "LoadBalancer"]),
        "externalIPs": st.just(["192.0.2.1"]),
        "selector": st.just({"app": "m"}),
    },
)
peers = st.sampled_from(
    [
        {"podSelector": {}},
        {"namespaceSelector": {}},
        {"namespaceSelector": {"matchLabels": {TENANT_LABEL: "acme"}}},
        {"namespaceSelector": {"matchLabels": {TENANT_LABEL: "rival"}}},
        {"ipBlock": {"cidr": "0.0.0.0/0"}},
    ]
)
role_names = st.sampled_from(
    ["gpu-tenancy-owner", "gpu-tenancy-viewer", "gpu-tenancy-operator", "cluster-admin", "edit"]
)
CREATED = (POD, JOB, DEPLOYMENT, SERVICE, VOLUME_CLAIM, NETWORK_POLICY, ROLE_BINDING, RESERVATION, PEERING)
kinds = st.sampled_from(CREATED)


class Site:
    """What is looked at between requests."""

    def __init__(self, world: World) -> None:
        self.world = world

    @cached_property
    def kinds(self) -> list[Resource]:
        text = self.world.control_plane.kubectl("api-resources", "--verbs=list", "--no-headers")
        found = [line.split() for line in text.splitlines()]
        return [
            Resource(*_split(fields[-3]), fields[0], fields[-1], namespaced=fields[-2] == "true")
            for fields in found
            if fields[0] not in UNSTEADY
        ]

    def outside(self) -> dict[str, str]:
        """Digest every object that is not the tenant's: all but what its status and its versions say."""
        return {
            f"{kind.plural} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}": _digest(kind, item)
            for kind in self.kinds
            for item in self.world.api.must(get(kind, ""))["items"]
            if item["metadata"].get("namespace") not in {*MINE, FROZEN}
        }

    def gpus_of_pods(self) -> Counter[tuple[str, Tier]]:
        """Sum up what the tenant's pods hold, by pool and tier."""
        held: Counter[tuple[str, Tier]] = Counter()
        for _, item in self._at_one_moment(POD, MINE):
            asked = sum(
                int(amount)
                for container in item["spec"]["containers"]
                for name, amount in container.get("resources", {}).get("limits", {}).items()
                if "/" in name
            )
            if asked and item["status"].get("phase") not in {"Succeeded", "Failed"}:
                pool = quota_of(item["spec"].get("priorityClassName", ""))
                assert pool is not None, f"a pod with GPUs is of no pool: {item}"
                held[pool] += asked
        return held

    def quotas(self) -> list[tuple[str, dict[str, Any]]]:
        return self._at_one_moment(RESOURCE_QUOTA, (*MINE, RIVALS))

    def _at_one_moment(self, kind: Resource, namespaces: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
        """List what is in some namespaces by one request: what moves from one to another is in neither twice."""
        found = [(item["metadata"]["namespace"], item) for item in self.world.api.must(get(kind, ""))["items"]]
        return [(namespace, item) for namespace, item in found if namespace in namespaces]


def _split(api_version: str) -> tuple[str, str]:
    group, _, version = api_version.rpartition("/")
    return group, version


def _digest(kind: Resource, item: dict[str, Any]) -> str:
    metadata = {key: item["metadata"].get(key) for key in ("labels", "annotations", "uid", "ownerReferences")}
    content = {key: value for key, value in item.items() if key not in {"metadata", "status"}}
    if kind.plural == RESERVATION.plural:
        # What others were promised is theirs.
        content["promised"] = {key: item.get("status", {}).get(key) for key in ("window", "gpus")}
    return hashlib.sha256(json.dumps([metadata, content], sort_keys=True).encode()).hexdigest()


class Tenant(RuleBasedStateMachine):
    """A tenant's people, who may do whatever we let them."""

    site: ClassVar[Site]
    before: ClassVar[dict[str, str]]

    def ask(self, call: Call) -> Answer:
        return self.site.world.api.send(call, MALLORY)

    def pod(
        self, namespace: str, labels: dict[str, str], limits: dict[str, int], spec: dict[str, Any]
    ) -> dict[str, Any]:
        container = {"name": "main", "image": IMAGE, "resources": {"limits": limits}}
        body = {"metadata": {"labels": labels}, "spec": {"containers": [container], **spec}}
        return complete(body, namespace, fill=not self.site.world.mutation)

    @initialize(namespace=namespaces)
    def have_something_of_everything(self, namespace) -> None:
        template = {"metadata": {"labels": {"app": "m"}}, **self.pod(namespace, {"app": "m"}, {}, {})}
        once = {"template": {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}}
        spot = self.pod(namespace, {POOL_LABEL: "b200", TIER_LABEL: "spot"}, {"nvidia.com/gpu": 1}, {})
        bodies = {
            POD: {**spot, "metadata": {**spot["metadata"], "name": "m-0"}}
            if namespace == OWN
            else template | new("m-0"),
            JOB: new("m-0") | {"spec": once},
            DEPLOYMENT: new("m-0") | {"spec": {"selector": {"matchLabels": {"app": "m"}}, "template": template}},
            SERVICE: new("m-0") | {"spec": SPEAKS},
            VOLUME_CLAIM: new("m-0") | {"spec": CLAIM},
            NETWORK_POLICY: new("m-0") | SELECT_ALL,
            ROLE_BINDING: new("m-0") | VIEWERS,
            RESERVATION: reservation("m-0", 1, datetime.now(UTC) + timedelta(hours=1)),
            PEERING: peering("m-0", "rival", RIVALS),
        }
        for kind in CREATED:
            call = create(kind, bodies[kind], namespace)
            # What the sequence before had may be gone and still be counted.
            eventually(lambda call=call: self.ask(call).accepted, lambda call=call: self.ask(call).message)

    @rule(name=names, namespace=namespaces, labels=labels, limits=gpus, spec=oddities)
    def run_a_pod(self, name, namespace, labels, limits, spec) -> None:
        body = self.pod(namespace, labels, limits, spec)
        body["metadata"]["name"] = name
        self.ask(create(POD, body, namespace))

    @rule(name=names, namespace=namespaces, labels=labels, limits=gpus, spec=oddities, pods=st.integers(1, 3))
    def have_pods_run(self, *, name, namespace, labels, limits, spec, pods) -> None:
        template = self.pod(namespace, {**labels, "app": "m"}, limits, spec)
        deployment = {"replicas": pods, "selector": {"matchLabels": {"app": "m"}}, "template": template}
        self.ask(create(DEPLOYMENT, new(name) | {"spec": deployment}, namespace))
        job = {"parallelism": pods, "template": {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}}
        self.ask(create(JOB, new(name) | {"spec": job}, namespace))

    @rule(name=names, namespace=namespaces, labels=labels)
    def relabel_a_pod(self, name, namespace, labels) -> None:
        self.ask(patch(POD, name, {"metadata": {"labels": labels}}, namespace))

    @rule(name=names, namespace=namespaces, spec=service_specs)
    def open_a_service(self, name, namespace, spec) -> None:
        self.ask(create(SERVICE, new(name) | {"spec": spec}, namespace))

    @rule(name=names, namespace=namespaces, volume=st.none() | st.just("pv-of-rival"))
    def claim_a_volume(self, name, namespace, volume) -> None:
        named = {"volumeName": volume} if volume else {}
        self.ask(create(VOLUME_CLAIM, new(name) | {"spec": CLAIM | named}, namespace))

    @rule(name=names, namespace=namespaces, peer=peers, direction=st.sampled_from(["ingress", "egress"]))
    def open_the_network(self, name, namespace, peer, direction) -> None:
        rules = [{"from" if direction == "ingress" else "to": [peer]}]
        self.ask(create(NETWORK_POLICY, new(name) | {"spec": {"podSelector": {}, direction: rules}}, namespace))

    @rule(name=names, namespace=anywhere, role=role_names, user=st.sampled_from([MALLORY, "system:anonymous"]))
    def hand_out_a_role(self, name, namespace, role, user) -> None:
        reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
        subjects = [{"apiGroup": RBAC, "kind": "User", "name": user}]
        self.ask(create(ROLE_BINDING, new(name) | {"roleRef": reference, "subjects": subjects}, namespace))

    @rule(
        name=names, namespace=namespaces | anywhere, amount=st.integers(1, 4) | st.integers(1, 20), pool=st.sampled_from(["b200", "rtx-pro", "mig"]),
        hours=st.sampled_from([0, 0, 1, 48]),
    )  # fmt: skip
    def reserve(self, name, namespace, amount, pool, hours) -> None:
        body = reservation(name, amount, datetime.now(UTC) + timedelta(hours=hours))
        body["spec"]["pool"] = pool
        body["status"] = {"gpus": 20, "window": {"start": "2026-01-01T00:00:00Z", "end": "2036-01-01T00:00:00Z"}}
        self.ask(create(RESERVATION, body, namespace))

    @rule(name=names, namespace=anywhere, tenant=st.sampled_from(["rival", "acme"]), peer=anywhere)
    def peer(self, name, namespace, tenant, peer) -> None:
        self.ask(create(PEERING, peering(name, tenant, peer), namespace))

    @rule(name=names, namespace=namespaces, amount=st.integers(1, 40))
    def change_a_reservation(self, name, namespace, amount) -> None:
        self.ask(patch(RESERVATION, name, {"spec": {"gpus": amount}}, namespace))

    @rule(kind=kinds, name=names | st.sampled_from(["standing", "nightly"]), namespace=namespaces | anywhere)
    def delete_something(self, kind, name, namespace) -> None:
        if namespace in MINE and name in {"standing", "nightly"}:
            return  # other tests need them
        self.ask(delete(kind, name, namespace))

    @rule(namespace=anywhere, labels=labels)
    def take_what_is_the_providers(self, namespace, labels) -> None:
        for call in (
            patch(NAMESPACE, namespace, {"metadata": {"labels": labels}}),
            patch(
                RESOURCE_QUOTA, "gpu-b200-guaranteed", {"spec": {"hard": {"requests.nvidia.com/gpu": "32"}}}, namespace
            ),
            patch(TENANT, "acme", {"spec": {"gpus": []}}),
            delete(NAMESPACE, namespace),
        ):
            assert not self.ask(call).accepted, call

    @invariant()
    def no_grant_is_exceeded(self) -> None:
        promised: Counter[str] = Counter()
        allowed: Counter[tuple[str, str]] = Counter()
        for namespace, quota in self.site.quotas():
            status = quota.get("status", {})
            draining = quota["metadata"]["name"].endswith(f"-{Tier.RESERVED}")  # used may be above until pods have gone
            for key, used in () if draining else status.get("used", {}).items():
                assert parse(used) <= parse(status["hard"][key]), (namespace, quota["metadata"]["name"], key)
            if owned := quota_of(quota["metadata"]["name"]):
                pool, tier = owned
                hard = sum(int(parse(amount)) for amount in quota["spec"]["hard"].values())
                promised[pool] += hard if tier is not Tier.SPOT else 0
                allowed[pool, tier] += hard if namespace in MINE else 0
        for (pool, tier), amount in allowed.items():
            assert amount <= (RESERVABLE.get(pool, 0) if tier is Tier.RESERVED else GRANTED.get((pool, tier), 0))
        assert promised["b200"] <= 32
        for (pool, tier), held in self.site.gpus_of_pods().items():
            assert held <= (RESERVABLE.get(pool, 0) if tier is Tier.RESERVED else GRANTED.get((pool, tier), 0))

    def teardown(self) -> None:
        """See that nothing outside has changed, and leave nothing for the next sequence."""
        after, world = self.site.outside(), self.site.world
        for kind, namespace, name in self._made():
            world.api.send(delete(kind, name, namespace))
        eventually(lambda: not self._made(), lambda: str(self._made()))
        assert {key for key in after.keys() | self.before.keys() if after.get(key) != self.before.get(key)} == set()

    def _made(self) -> list[tuple[Resource, str, str]]:
        return [
            (kind, namespace, item["metadata"]["name"])
            for kind in CREATED
            for namespace in MINE
            for item in self.site.world.api.must(get(kind, "", namespace))["items"]
            if item["metadata"]["name"].startswith("m-")
        ]


@pytest.mark.timeout(600)
def test_no_sequence_of_requests_reaches_beyond_the_tenant(world: World) -> None:
    Tenant.site = Site(world)
    Tenant.before = Tenant.site.outside()
    # The same sequences each time: what is found is to be found again.
    bounds = settings(
        max_examples=10, stateful_step_count=20, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(Tenant, settings=bounds)
