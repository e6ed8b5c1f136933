"""Where the checks play: a site with the charts, the operator, and two tenants that use equal names for everything.

| namespace | tenant | GPUs |
|---|---|---|
| train | acme | b200: 4 guaranteed, 8 spot, 8 reserved by `nightly`, which is active; rtx-pro: 2 guaranteed, 2 spot; mig: 7 |
| serve | acme | b200: 4 guaranteed; no default pool |
| frozen | frost | none: it is suspended |
| left | past | none: the tenant is gone, the namespace is retained |
| train-2 | rival | b200: 4 guaranteed, 4 reserved by `nightly`, which is active |
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cluster.operating import NAMESPACE as SYSTEM_NAMESPACE
from cluster.operating import (
    SHORT_LEASE,
    Cluster,
    OperatorProcess,
    eventually,
    have_our_kinds_counted,
    install_charts,
)
from cluster.policy_scenarios import (
    CARL,
    EDDA,
    OLGA,
    PER_GPU,
    PETRA,
    PLACEMENT_KEY,
    RBAC,
    RUNTIME_CLASS,
    SERVICE,
    SPEAKS,
    binds,
    gpu_pod,
    handwritten,
    new,
    pod,
)
from cluster.rest import Api, Call, create, delete, get
from cluster.site import text
from cluster.test_policies import build_kinds
from gpu_tenancy.domain.naming import (
    BASE_QUOTA,
    NODE_POOL_LABEL,
    OPERATOR,
    POOL_LABEL,
    RESERVATION_LABEL,
    TIER_LABEL,
    Tier,
)
from gpu_tenancy.kube.resource import NAMESPACE, POD, PRIORITY_CLASS, RESOURCE_QUOTA, ROLE_BINDING, Resource
from gpu_tenancy.localcluster import ControlPlane, nodes
from gpu_tenancy.render.base_quota import OWN_KINDS
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.rest import Answer

API = "gpu-tenancy.dev/v1alpha1"
OPERATOR_USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{OPERATOR}"

# Mallory has every role that there is in acme, Rita owns rival; each has a service account of the same name.
MALLORY, VERA, ROSA, RITA = "mallory-everything", "vera-viewer", "rosa-reserves", "rita-rival"
# A host name that was granted to acme and to rival.
TWICE = "twice.example.org"
# A friend, to whom Mallory handed out a role in two namespaces.
DORA = "dora-befriended"
OWN_ACCOUNT, RIVALS_ACCOUNT = "system:serviceaccount:train:ci", "system:serviceaccount:train-2:ci"
PLATFORM = ("platform", "gpu-operator")
OWN, SECOND, FROZEN, LEFT, RIVALS = "train", "serve", "frozen", "left", "train-2"

STORAGE_CLASS = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
DEVICE_CLASS = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False)
CLUSTER_ROLE = Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDING = Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
RESERVATION = Resource("gpu-tenancy.dev", "v1alpha1", "gpureservations", "GpuReservation")
PEERING = Resource("gpu-tenancy.dev", "v1alpha1", "tenantpeerings", "TenantPeering")
TENANT = Resource("gpu-tenancy.dev", "v1alpha1", "industrialtenants", "IndustrialTenant", namespaced=False)

# What Kubernetes counts is seen sooner.
OFTEN = {"GPU_TENANCY_RESIDENCY_AUDIT_INTERVAL": "5"}
HARDENED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_DEFAULT_POOLS = {OWN: "b200", RIVALS: "b200"}
_TIERS = {str(tier): tier for tier in (Tier.GUARANTEED, Tier.SPOT)}


@dataclass
class World:
    """The site, and how to speak to it as anybody.

    Attributes:
        mutation: whether the API server fills in what pods leave out.
    """

    control_plane: ControlPlane
    api: Api
    operator: OperatorProcess
    mutation: bool

    @cached_property
    def cluster(self) -> Cluster:
        return Cluster(self.control_plane)

    @cached_property
    def namespaced_resources(self) -> list[tuple[str, str]]:
        """Group and plural of each resource in namespaces, with the subresources that are ways to something else."""
        subresources = [
            ("", "pods/binding"), ("", "pods/status"), ("", "services/status"), ("", "services/proxy"),
            ("", "serviceaccounts/token"), ("", "persistentvolumeclaims/status"),
            ("gpu-tenancy.dev", "gpureservations/status"), ("gpu-tenancy.dev", "tenantpeerings/status"),
        ]  # fmt: skip
        return self._resources(namespaced=True) + subresources

    @cached_property
    def cluster_resources(self) -> list[tuple[str, str]]:
        subresources = [
            ("", "nodes/proxy"),
            ("", "nodes/status"),
            ("", "namespaces/status"),
            ("", "namespaces/finalize"),
        ]
        return self._resources(namespaced=False) + subresources

    def _resources(self, *, namespaced: bool) -> list[tuple[str, str]]:
        text = self.control_plane.kubectl("api-resources", f"--namespaced={str(namespaced).lower()}", "-o", "name")
        return [(group, plural) for plural, _, group in (line.partition(".") for line in text.split())]

    def send(self, call: Call, user: str, *, dry_run: bool = True) -> Answer:
        """Make a call in somebody's name."""
        return self.api.send(self.written(call), user, dry_run=dry_run)

    def written(self, call: Call) -> Call:
        """Complete a pod as a careful user would, and never change what is said: see `complete`."""
        body = copy.deepcopy(call.body)
        if call.verb == "POST" and call.resource == POD and not call.subresource:
            complete(body, call.namespace, fill=not self.mutation)
        elif call.subresource == "ephemeralcontainers" and isinstance(body, dict):
            _harden(body["spec"]["ephemeralContainers"])
        return Call(call.verb, call.resource, body, call.namespace, call.name, call.subresource)


def complete(pod: dict[str, Any], namespace: str, *, fill: bool) -> dict[str, Any]:
    """Make a pod's containers meet Pod Security and, where no mutation does it, write placement, pool and tier."""
    spec = pod["spec"]
    _harden(spec["containers"])
    _harden(spec.get("initContainers", []))
    if not fill:
        return pod
    labels = pod.get("metadata", {}).get("labels") or {}
    pool = labels.get(POOL_LABEL) or _DEFAULT_POOLS.get(namespace, "")
    tier = Tier.RESERVED if labels.get(RESERVATION_LABEL) else _TIERS.get(labels.get(TIER_LABEL, "guaranteed"))
    spec["nodeSelector"] = {PLACEMENT_KEY: "true"} | spec.get("nodeSelector", {})
    if pool and tier and _asks_for_gpus(spec):
        fields = handwritten(pool, tier)
        spec["nodeSelector"] = {NODE_POOL_LABEL: pool} | spec["nodeSelector"]
        spec.setdefault("priorityClassName", fields["priorityClassName"])
        spec["tolerations"] = [*spec.get("tolerations", []), *fields["tolerations"]]
    return pod


def _harden(containers: list[dict[str, Any]]) -> None:
    for container in containers:
        container.setdefault("imagePullPolicy", "Always")
        container["securityContext"] = HARDENED | container.get("securityContext", {})


def _asks_for_gpus(spec: dict[str, Any]) -> bool:
    containers = spec["containers"] + spec.get("initContainers", [])
    return any(
        name.startswith("nvidia.com/") for one in containers for name in one.get("resources", {}).get("limits", {})
    )


@contextlib.contextmanager
def a_world(folder: Path, *, kubernetes: str = "1.36", mutation: bool = True) -> Iterator[World]:
    """Build it; the operator runs.

    Args:
        folder: where the control plane and the operator's log are.
        kubernetes: the minor version.
        mutation: whether to install the mutation where the version has it.
    """
    with ControlPlane(folder / "cluster", kubernetes=kubernetes, audit=True) as control_plane:
        api = Api(control_plane)
        try:
            install(control_plane, mutation=mutation)
            build_kinds(api)
            build_people(api)
            build_site(control_plane, api)
            account = control_plane.kubeconfig_for("operator")
            with OperatorProcess(account, folder / "operator.log", **SHORT_LEASE, **OFTEN) as operator:
                mutation = "MutatingAdmissionPolicy" in control_plane.kubectl("api-resources") and mutation
                world = World(control_plane, api, operator, mutation=mutation)
                build_tenants(world)
                yield world
        finally:
            api.close()


def install(control_plane: ControlPlane, *, mutation: bool) -> None:
    install_charts(
        control_plane, ROOT,
        "--set", "policies.priorityClasses={tenants-batch}", "--set", "policies.extendedResources={rdma/hca}",
        "--set", "policies.csiDrivers={secrets.example}", "--set", "policies.deviceDrivers={known.example}", "--set", "policies.loadBalancerClasses={example.com/internal}",
        "--set", f"policies.mutation={'Auto' if mutation else 'Disabled'}",
    )  # fmt: skip
    control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


def build_people(api: Api) -> None:
    """Create people of the platform: Carl with wide rights who does not write tenants, and Petra who does."""
    for namespace in PLATFORM:
        api.must(create(NAMESPACE, new(namespace)))
    everything = ["get", "list", "create", "update", "patch", "delete"]
    core = ["namespaces", "namespaces/status", "nodes", "nodes/status", "resourcequotas", "limitranges"]
    platform = [{"apiGroups": [""], "resources": core, "verbs": everything}]
    provider = [
        *platform,
        {"apiGroups": ["gpu-tenancy.dev"], "resources": ["industrialtenants", "gpupools"], "verbs": everything},
        {"apiGroups": [""], "resources": ["pods", "pods/binding", "bindings"], "verbs": everything},
        {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims"], "verbs": everything},
    ]
    for user, rules in ((CARL, platform), (PETRA, provider)):
        api.must(create(CLUSTER_ROLE, new(user) | {"rules": rules}))
        api.must(create(CLUSTER_ROLE_BINDING, new(user) | binds(user, user)))


def build_site(control_plane: ControlPlane, api: Api) -> None:
    api.must(create(PRIORITY_CLASS, new("tenants-batch") | {"value": 10}))
    for name, policy in (("fast", "Delete"), ("shelf", "Delete"), ("kept", "Retain")):
        api.must(create(STORAGE_CLASS, new(name) | {"provisioner": "example.com/none", "reclaimPolicy": policy}))
    for name in ("nvidia", "runc-legacy"):
        api.must(create(RUNTIME_CLASS, new(name) | {"handler": name}))
    for name in ("channel.nvidia.com", "nic", "gpu.nvidia.com"):
        api.must(create(DEVICE_CLASS, new(name) | {"spec": {}}))
    for model, count, mig in (("dgx-b200", 4, ""), ("rtx-pro", 1, ""), ("cpu", 1, ""), ("dgx-b200", 1, "all-1g.23gb")):
        asyncio.run(nodes.add(control_plane, model=model, count=count, region="eu-de", mig=mig))
    Cluster(control_plane).apply(
        region("eu-de", "DE", "DE", "EU"),
        region("eu-ch2", "CH", "CH"),
        pool("b200", "NVIDIA-B200", 8, mig="all-disabled", perGpu=PER_GPU),
        pool("rtx-pro", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", 8, mig="all-disabled"),
        pool("mig", "NVIDIA-B200", 56, mig="all-1g.23gb", resourceName="nvidia.com/mig-1g.23gb"),
    )


def region(name: str, country: str, *jurisdictions: str, **more: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"topology.kubernetes.io/region": name}}
    spec = {"country": country, "jurisdictions": list(jurisdictions), "nodeSelector": selector, **more}
    return {"apiVersion": API, "kind": "Region", "metadata": {"name": name}, "spec": spec}


def pool(name: str, model: str, gpus: int, *, mig: str, **more: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"nvidia.com/gpu.product": model, "nvidia.com/mig.config": mig}}
    spec = {"region": "eu-de", "model": model, "nodeSelector": selector, "gpusPerNode": gpus, **more}
    return {"apiVersion": API, "kind": "GpuPool", "metadata": {"name": name}, "spec": spec}


def tenant(name: str, **spec: Any) -> dict[str, Any]:
    """Render a tenant whose pods may run where placement `eu-de` is."""
    body = {"residency": {"regions": ["eu-de"]}, "deletionPolicy": "Delete", **spec}
    return {"apiVersion": API, "kind": "IndustrialTenant", "metadata": {"name": name}, "spec": body}


def owners(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"kind": "User", "name": name, "role": role} for name, role in pairs]


def account(namespace: str) -> dict[str, str]:
    return {"kind": "ServiceAccount", "namespace": namespace, "name": "ci", "role": "Editor"}


def share(namespace: str, guaranteed: int, spot: int = 0) -> dict[str, Any]:
    return {"name": namespace, "guaranteed": guaranteed, "spot": spot}


TENANTS = (
    tenant(
        "acme",
        owners=[
            *owners((OLGA, "Owner"), (EDDA, "Editor"), (VERA, "Viewer"), (ROSA, "ReservationUser")),
            *owners((MALLORY, "Owner"), (MALLORY, "Editor"), (MALLORY, "Viewer"), (MALLORY, "ReservationUser")),
            account(OWN),
        ],
        namespaces=[{"name": OWN, "defaultPool": "b200"}, {"name": SECOND}],
        gpus=[
            {
                "pool": "b200", "guaranteed": 8, "spot": 8, "reservable": 16,
                "namespaces": [share(OWN, 4, 8), share(SECOND, 4)],
            },
            {"pool": "rtx-pro", "guaranteed": 2, "spot": 2, "reservable": 2},
            {"pool": "mig", "guaranteed": 7},
        ],
        devices=[{"deviceClass": "channel.nvidia.com", "count": 2}, {"deviceClass": "nic", "count": 2}],
        storageClasses=["fast", "shelf", "kept"],
        workloads={"registries": ["registry.example/acme", "public.example"]},
        quota={"services.loadbalancers": "1"},
        network={
            "internetEgress": "Allowed", "peering": "Allowed", "hosts": ["app.acme.example", "*.apps.example", TWICE],
            "attachments": ["rails/a", "rails/b"],
        },
    ),
    tenant("frost", owners=owners((MALLORY, "Owner"), (EDDA, "Editor")), namespaces=[{"name": FROZEN}], suspended=True),
    tenant(
        "rival",
        owners=[*owners((RITA, "Owner")), account(RIVALS)],
        namespaces=[{"name": RIVALS, "defaultPool": "b200"}],
        gpus=[{"pool": "b200", "guaranteed": 4, "reservable": 8}],
        network={"internetEgress": "Allowed", "peering": "Allowed", "hosts": [TWICE]},
    ),
)  # fmt: skip


def reservation(name: str, gpus: int, start: datetime) -> dict[str, Any]:
    """Reserve for a day."""
    window = {"start": text(start), "duration": "24h"}
    return {"metadata": {"name": name}, "spec": {"pool": "b200", "gpus": gpus, "window": window}}


def peering(name: str, tenant: str, namespace: str) -> dict[str, Any]:
    """Agree to traffic with another tenant's namespace."""
    return {"metadata": {"name": name}, "spec": {"peer": {"tenant": tenant, "namespace": namespace}}}


def build_tenants(world: World) -> None:
    """Let the operator make the tenants, and the tenants their things: the same ones, by the same names."""
    cluster, now = world.cluster, datetime.now(UTC)
    for name in ("b200", "rtx-pro", "mig"):
        cluster.until("pool", name, "Ready", "True")
    cluster.apply(*TENANTS)
    for name in ("acme", "rival"):
        cluster.until("itn", name, "Ready", "True")
        cluster.until("itn", name, "HostContested", "True")
    cluster.until("itn", "frost", "Suspended", "True")
    for user, namespace, gpus in ((MALLORY, OWN, 8), (RITA, RIVALS, 4)):
        _make(world, create(RESERVATION, reservation("nightly", gpus, now), namespace), user)
        cluster.until("gres", "nightly", "Active", "True", namespace)
        for name in ("ci", "default"):
            if name == "ci":
                world.api.must(create(SERVICE_ACCOUNT, new(name), namespace), user)
            there = get(SERVICE_ACCOUNT, name, namespace)
            eventually(lambda there=there: world.api.send(there).accepted)
        _build_things(world, user, namespace)
    _leave(world)
    have_our_kinds_counted(cluster)
    for namespace in (OWN, RIVALS):
        eventually(lambda of=namespace: _counted(world, of) >= OWN_KINDS.keys())


def _counted(world: World, namespace: str) -> set[str]:
    """Name what the base quota of a namespace counts."""
    return set(world.api.must(get(RESOURCE_QUOTA, BASE_QUOTA, namespace)).get("status", {}).get("hard", {}))


def _leave(world: World) -> None:
    """Let a tenant go that handed out roles, and keep its namespace."""
    past = tenant("past", owners=owners((MALLORY, "Owner")), namespaces=[{"name": LEFT}], deletionPolicy="Retain")
    world.cluster.apply(past)
    world.cluster.until("itn", "past", "Ready", "True")
    for namespace in (OWN, LEFT):
        world.api.must(create(ROLE_BINDING, new("friends") | binds(DORA, "gpu-tenancy-editor"), namespace), MALLORY)
    world.api.must(delete(TENANT, "past"))
    eventually(lambda: world.api.must(get(ROLE_BINDING, "", LEFT))["items"] == [])


def _make(world: World, call: Call, user: str) -> None:
    """Create something as soon as the API server knows the user's role, and a quota that was raised just now counts."""
    eventually(lambda: world.send(call, user, dry_run=False).accepted, lambda: world.send(call, user).message)


def _build_things(world: World, user: str, namespace: str) -> None:
    nightly = {"app": "x", RESERVATION_LABEL: "nightly"}
    nowhere = {"kubernetes.io/hostname": "nowhere"}
    # One that runs, and one that waits for the scheduler.
    pods = (new("standing", **nightly), gpu_pod(namespace=namespace)), (new("waiting"), pod(nodeSelector=nowhere))
    for metadata, one in pods:
        _make(world, create(POD, one.body | metadata, namespace), user)
    world.api.must(create(SERVICE, new("inner") | {"spec": SPEAKS}, namespace), user)
    config_map, secret = Resource("", "v1", "configmaps", "ConfigMap"), Resource("", "v1", "secrets", "Secret")
    world.api.must(create(config_map, new("settings") | {"data": {"of": namespace}}, namespace), user)
    world.api.must(create(secret, new("token") | {"stringData": {"of": namespace}}, namespace), user)
