"""What the admission policies deny, what they accept instead, and what they say: one line for each way to go wrong.

The world that the scenarios play in is built in test_policies.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.rest import Call, create, delete, patch
from gpu_tenancy.domain.naming import (
    ACCELERATORS_ANNOTATION,
    ADOPT_LABEL,
    MANAGED_BY_LABEL,
    NODE_PLACEMENT_PREFIX,
    NODE_POOL_LABEL,
    NODE_REGION_LABEL,
    OPERATOR,
    PLACEMENT_LABEL,
    POOL_LABEL,
    POOL_TAINT,
    RESERVATION_LABEL,
    SUSPENDED_LABEL,
    TENANT_LABEL,
    TIER_LABEL,
    Tier,
    priority_class,
)
from gpu_tenancy.kube.resource import (
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    NODE,
    POD,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    Resource,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

RBAC = "rbac.authorization.k8s.io"
SERVICE = Resource("", "v1", "services", "Service")
VOLUME_CLAIM = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")

PLACEMENT_KEY = NODE_PLACEMENT_PREFIX + "eu-de"

# Who speaks: people of the tenant, a platform engineer with wide rights who does not write tenants, and one who does.
OLGA, EDDA, CARL, PETRA = "olga-owner", "edda-editor", "carl-ci", "petra-provider"
# The control plane, which acts on what tenants write: with an identity for each controller, or with one for all.
STATEFULSETS, CONTROLLERS = "system:serviceaccount:kube-system:statefulset-controller", "system:kube-controller-manager"


@dataclass(frozen=True)
class Scenario:
    """A pair of calls by `user` that differ in one thing.

    `wrong` is denied by the policy with a message that contains `says`, which is what to write instead or who to ask;
    `right` is accepted.
    """

    policy: str
    does: str
    user: str
    wrong: Call
    right: Call
    says: str

    def __str__(self) -> str:
        return f"{self.policy.removeprefix('gpu-tenancy-')}: {self.does}"


def pod(
    labels: Mapping[str, str] | None = None,
    *,
    namespace: str = "train",
    limits: Mapping[str, int] | None = None,
    env: list[dict[str, Any]] | None = None,
    **spec: Any,
) -> Call:
    """A pod with one container, with the fields of its spec that are named."""
    container = {"name": "main", "image": "example/image:1", "resources": {"limits": limits or {}}, "env": env or []}
    metadata = {"name": "probe", "labels": labels or {}}
    return create(POD, {"metadata": metadata, "spec": {"containers": [container], **spec}}, namespace)


def gpu_pod(labels: Mapping[str, str] | None = None, **fields: Any) -> Call:
    return pod(labels, limits={"nvidia.com/gpu": 1}, **fields)


def init_container(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "init", "image": "example/image:1", **fields}]


def pool_toleration(pool: str) -> dict[str, str]:
    return {"key": POOL_TAINT, "operator": "Equal", "value": pool, "effect": "NoSchedule"}


def handwritten(pool: str = "b200", tier: Tier = Tier.GUARANTEED) -> dict[str, Any]:
    """The fields that a GPU pod needs where nothing fills them in."""
    return {
        "nodeSelector": {PLACEMENT_KEY: "true", NODE_POOL_LABEL: pool},
        "priorityClassName": priority_class(pool, tier),
        "tolerations": [pool_toleration(pool)],
    }


VISIBLE = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}
CAPABLE = {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "all"}

POD_SCENARIOS = [
    ("runs outside its placement", pod(nodeSelector={PLACEMENT_KEY: "false"}), pod(), f'write spec.nodeSelector "{PLACEMENT_KEY}": "true"'),
    ("runs in a namespace without a placement", pod(namespace="unplaced"), pod(), PLACEMENT_LABEL),
    ("runs in a namespace without granted resources", pod(namespace="ungranted"), pod(), ACCELERATORS_ANNOTATION),
    ("runs while its tenant is suspended", pod(namespace="frozen"), pod(), "suspended: false in its IndustrialTenant"),
    ("takes a MIG profile that is not granted", pod(limits={"nvidia.com/mig-2g.45gb": 1}), pod(limits={"nvidia.com/mig-1g.23gb": 1}), "no grant for nvidia.com/mig-2g.45gb: write one of [nvidia.com/gpu, nvidia.com/mig-1g.23gb]"),
    ("takes a shared GPU in an init container", pod(initContainers=init_container(resources={"limits": {"nvidia.com/gpu.shared": 1}})), pod(initContainers=init_container(resources={"limits": {"nvidia.com/gpu": 1}})), "no grant for nvidia.com/gpu.shared"),
    ("takes devices of a class by their implicit name", pod(limits={"deviceclass.resource.kubernetes.io/gpu.nvidia.com": 1}), gpu_pod(), "no grant for deviceclass.resource.kubernetes.io/gpu.nvidia.com"),
    ("takes an extended resource that nobody offers", pod(limits={"example.com/fpga": 1}), pod(limits={"rdma/hca": 1}), "no grant for example.com/fpga"),
    ("takes devices by a resource claim", pod(resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu"}]), gpu_pod(), "remove spec.resourceClaims"),
    ("invents a tier", gpu_pod({TIER_LABEL: "gold"}), gpu_pod({TIER_LABEL: "spot"}), "write spot, guaranteed or nothing"),
    ("calls itself reserved without a reservation", gpu_pod({TIER_LABEL: "reserved"}), gpu_pod({RESERVATION_LABEL: "nightly"}), f"{RESERVATION_LABEL}: <name>"),
    ("is of a reservation and spot at once", gpu_pod({RESERVATION_LABEL: "nightly", TIER_LABEL: "spot"}), gpu_pod({RESERVATION_LABEL: "nightly", TIER_LABEL: "reserved"}), f"remove the label {TIER_LABEL}: spot"),
    ("names no pool where there is no default", gpu_pod(namespace="serve"), gpu_pod({POOL_LABEL: "b200"}, namespace="serve"), f"write the label {POOL_LABEL}: <pool>"),
    ("selects the nodes of another pool than it is counted in", gpu_pod(nodeSelector={NODE_POOL_LABEL: "rtx-pro"}), gpu_pod({POOL_LABEL: "rtx-pro"}, nodeSelector={NODE_POOL_LABEL: "rtx-pro"}), f'write spec.nodeSelector "{NODE_POOL_LABEL}": "b200"'),
    ("is counted in another pool than it selects", gpu_pod(priorityClassName="gpu-rtx-pro-guaranteed"), gpu_pod(priorityClassName="gpu-b200-guaranteed"), 'spec.priorityClassName "gpu-b200-guaranteed"'),
    ("is counted in another tier than it says", gpu_pod({TIER_LABEL: "spot"}, priorityClassName="gpu-b200-guaranteed"), gpu_pod({TIER_LABEL: "spot"}, priorityClassName="gpu-b200-spot"), 'spec.priorityClassName "gpu-b200-spot"'),
    ("takes a GPU priority without GPUs", pod(priorityClassName="gpu-b200-guaranteed"), gpu_pod(priorityClassName="gpu-b200-guaranteed"), "is for pods that ask for GPUs"),
    ("takes a priority of the platform", pod(priorityClassName="system-cluster-critical"), pod(priorityClassName="tenants-batch"), "remove spec.priorityClassName"),
    ("takes a priority of the platform with GPUs", gpu_pod(priorityClassName="system-cluster-critical"), gpu_pod(priorityClassName="tenants-batch"), 'spec.priorityClassName "gpu-b200-guaranteed"'),
    ("chooses its node", pod(nodeName="node-1"), pod(nodeSelector={"kubernetes.io/hostname": "node-1"}), "remove spec.nodeName"),
    ("chooses its scheduler", pod(schedulerName="mine"), pod(schedulerName="default-scheduler"), "write spec.schedulerName default-scheduler"),
    ("tolerates everything", pod(tolerations=[{"operator": "Exists"}]), pod(tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}]), "do not tolerate every key"),
    ("tolerates the taint of a resource that is not granted", pod(tolerations=[{"key": "nvidia.com/mig-2g.45gb", "operator": "Exists"}]), pod(tolerations=[{"key": "nvidia.com/mig-1g.23gb", "operator": "Exists"}, {"key": "rdma/hca", "operator": "Exists"}]), "do not tolerate nvidia.com/mig-2g.45gb"),
    ("tolerates cordoned nodes", pod(tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]), pod(tolerations=[{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]), "do not tolerate node.kubernetes.io/unschedulable"),
    ("tolerates a pool without GPUs", pod(tolerations=[pool_toleration("b200")]), gpu_pod(tolerations=[pool_toleration("b200")]), f"do not tolerate {POOL_TAINT}"),
    ("tolerates another pool", gpu_pod(tolerations=[pool_toleration("rtx-pro")]), gpu_pod({POOL_LABEL: "rtx-pro"}, tolerations=[pool_toleration("rtx-pro")]), f"{POOL_TAINT} with operator Equal and value b200"),
    ("tolerates every pool", gpu_pod(tolerations=[{"key": POOL_TAINT, "operator": "Exists"}]), gpu_pod(tolerations=[pool_toleration("b200")]), f"{POOL_TAINT} with operator Equal and value b200"),
    ("sets up the driver without GPUs", pod(env=[CAPABLE]), gpu_pod(env=[CAPABLE]), "write GPUs in resources.limits"),
    ("sees all GPUs without asking for any", pod(env=[VISIBLE]), pod(env=[VISIBLE | {"value": "void"}]), "remove NVIDIA_VISIBLE_DEVICES"),
    ("sees more GPUs than it asks for", gpu_pod(env=[VISIBLE]), gpu_pod(), "remove NVIDIA_VISIBLE_DEVICES"),
    ("sees all GPUs from an init container", gpu_pod(initContainers=init_container(env=[VISIBLE])), gpu_pod(initContainers=init_container(env=[CAPABLE])), "remove NVIDIA_VISIBLE_DEVICES"),
    ("hides in a field which GPUs it sees", pod({"devices": "all"}, env=[{"name": "NVIDIA_VISIBLE_DEVICES", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['devices']"}}}]), pod({"devices": "all"}, env=[{"name": "DEVICES", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['devices']"}}}]), "remove NVIDIA_VISIBLE_DEVICES"),
]  # fmt: skip


def relabel(**labels: str | None) -> dict[str, Any]:
    return {"metadata": {"labels": labels}}


def tolerate(key: str) -> list[dict[str, Any]]:
    return [{"op": "add", "path": "/spec/tolerations/-", "value": {"key": key, "operator": "Exists"}}]


def debug(env: list[dict[str, Any]]) -> dict[str, Any]:
    return {"spec": {"ephemeralContainers": [{"name": "debug", "image": "example/debug:1", "env": env}]}}


def on_pod(body: Any, subresource: str = "") -> Call:
    return patch(POD, "standing", body, "train", subresource)


POD_UPDATE_SCENARIOS = [
    ("moves a pod to another pool", on_pod(relabel(**{POOL_LABEL: "rtx-pro"})), on_pod(relabel(app="x")), f"keep the label {POOL_LABEL}"),
    ("moves a pod to another tier", on_pod(relabel(**{TIER_LABEL: "spot"})), on_pod(relabel(app="x")), f"keep the label {TIER_LABEL}"),
    ("moves a pod out of its reservation", on_pod(relabel(**{RESERVATION_LABEL: None})), on_pod(relabel(app=None)), f"keep the label {RESERVATION_LABEL}"),
    ("moves a pod to another reservation", on_pod(relabel(**{RESERVATION_LABEL: "weekly"})), on_pod(relabel(app="x")), f"keep the label {RESERVATION_LABEL}"),
    ("adds a toleration", on_pod(tolerate("node.kubernetes.io/unschedulable")), on_pod(tolerate("nvidia.com/gpu")), "add only nvidia.com/gpu"),
    ("sees all GPUs from an ephemeral container", on_pod(debug([VISIBLE]), "ephemeralcontainers"), on_pod(debug([]), "ephemeralcontainers"), "remove NVIDIA_* from the ephemeral container"),
]  # fmt: skip


def on_namespace(body: Any, name: str = "train", subresource: str = "") -> Call:
    return patch(NAMESPACE, name, body, subresource=subresource)


def annotate(**annotations: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations}}


def new(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


PSA = "pod-security.kubernetes.io/enforce"
OTHER = on_namespace(relabel(team="x"))

NAMESPACE_SCENARIOS = [
    ("lifts a suspension", on_namespace(relabel(**{SUSPENDED_LABEL: None}), "frozen"), on_namespace(relabel(team="x"), "frozen"), SUSPENDED_LABEL),
    ("moves a namespace to another placement", on_namespace(relabel(**{PLACEMENT_LABEL: "CH"})), OTHER, PLACEMENT_LABEL),
    ("moves it through the status", on_namespace(relabel(**{PLACEMENT_LABEL: "CH"}), subresource="status"), on_namespace(relabel(team="x"), subresource="status"), PLACEMENT_LABEL),
    ("takes a namespace from its tenant", on_namespace(relabel(**{TENANT_LABEL: None})), OTHER, TENANT_LABEL),
    ("grants resources", on_namespace(annotate(**{ACCELERATORS_ANNOTATION: "nvidia.com/gpu.shared"})), on_namespace(annotate(note="x")), ACCELERATORS_ANNOTATION),
    ("weakens Pod Security of a tenant", on_namespace(relabel(**{PSA: "privileged"})), on_namespace(relabel(**{PSA: "privileged"}), "platform"), PSA),
    ("allows administrative access to devices", on_namespace(relabel(**{"resource.kubernetes.io/admin-access": "true"})), OTHER, "resource.kubernetes.io/admin-access"),
    ("overrides node selection", on_namespace(annotate(**{"scheduler.alpha.kubernetes.io/node-selector": "a=b"})), on_namespace(annotate(note="x")), "scheduler.alpha.kubernetes.io/node-selector"),
    ("offers a namespace for adoption", on_namespace(relabel(**{ADOPT_LABEL: "acme"}), "platform"), on_namespace(relabel(team="x"), "platform"), ADOPT_LABEL),
    ("creates a namespace in a tenant's name", create(NAMESPACE, new("forged", **{TENANT_LABEL: "acme"})), create(NAMESPACE, new("forged", team="x", **{PSA: "baseline"})), TENANT_LABEL),
]  # fmt: skip

MANAGED = {MANAGED_BY_LABEL: OPERATOR}
ANNOTATE = annotate(note="x")
CLAIM_LABEL = relabel(**MANAGED)
SELECT_ALL = {"spec": {"podSelector": {}}}
LIMITS = {"spec": {"limits": [{"type": "Container", "max": {"cpu": "64"}}]}}
QUOTA = {"spec": {"hard": {"services": "50"}}}
BEGIN_OTHERWISE = "write a metadata.name that begins otherwise"


def binds(user: str, role: str) -> dict[str, Any]:
    return {
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }


VIEWERS = binds("vera", "gpu-tenancy-viewer")
EDITORS = binds("vera", "gpu-tenancy-editor")
LEAVE = "leave it as it is and ask the provider"

MANAGED_SCENARIOS = [
    ("raises a quota", CARL, patch(RESOURCE_QUOTA, "managed", {"spec": {"hard": {"pods": "9"}}}, "train"), patch(RESOURCE_QUOTA, "own", {"spec": {"hard": {"pods": "9"}}}, "train"), LEAVE),
    ("deletes a quota", CARL, delete(RESOURCE_QUOTA, "managed", "train"), delete(RESOURCE_QUOTA, "own", "train"), LEAVE),
    ("releases a quota from the operator", CARL, patch(RESOURCE_QUOTA, "managed", relabel(**{MANAGED_BY_LABEL: None}), "train"), patch(RESOURCE_QUOTA, "own", relabel(team="x"), "train"), LEAVE),
    ("deletes default limits", CARL, delete(LIMIT_RANGE, "managed", "train"), delete(LIMIT_RANGE, "own", "train"), LEAVE),
    ("changes a network policy", EDDA, patch(NETWORK_POLICY, "managed", ANNOTATE, "train"), patch(NETWORK_POLICY, "own", ANNOTATE, "train"), LEAVE),
    ("deletes a network policy", EDDA, delete(NETWORK_POLICY, "managed", "train"), delete(NETWORK_POLICY, "own", "train"), LEAVE),
    ("changes a role binding", OLGA, patch(ROLE_BINDING, "managed", {"subjects": []}, "train"), patch(ROLE_BINDING, "own", {"subjects": []}, "train"), LEAVE),
    ("deletes a role binding", OLGA, delete(ROLE_BINDING, "managed", "train"), delete(ROLE_BINDING, "own", "train"), LEAVE),
    ("creates one as if it were the operator's", OLGA, create(ROLE_BINDING, new("new", **MANAGED) | VIEWERS, "train"), create(ROLE_BINDING, new("new") | VIEWERS, "train"), "leave out that label"),
    ("passes one off as the operator's", OLGA, patch(ROLE_BINDING, "own", CLAIM_LABEL, "train"), patch(ROLE_BINDING, "own", relabel(team="x"), "train"), "leave out that label"),
    ("gives viewers a role before the operator does", OLGA, create(ROLE_BINDING, new("gpu-tenancy-viewer") | EDITORS, "train"), create(ROLE_BINDING, new("viewer") | EDITORS, "train"), "names of rolebindings that begin with gpu-tenancy-"),
    ("generates a name that is the operator's", OLGA, create(ROLE_BINDING, {"metadata": {"generateName": "gpu-tenancy-"}} | VIEWERS, "train"), create(ROLE_BINDING, {"metadata": {"generateName": "gpu-"}} | VIEWERS, "train"), BEGIN_OTHERWISE),
    ("takes the name of a network policy", EDDA, create(NETWORK_POLICY, new("gpu-tenancy-allow-internet") | SELECT_ALL, "train"), create(NETWORK_POLICY, new("allow-internet") | SELECT_ALL, "train"), BEGIN_OTHERWISE),
    ("takes the name of the default limits", CARL, create(LIMIT_RANGE, new("gpu-tenancy-defaults") | LIMITS, "train"), create(LIMIT_RANGE, new("gpu-defaults") | LIMITS, "train"), BEGIN_OTHERWISE),
    ("takes the name of the base quota", CARL, create(RESOURCE_QUOTA, new("gpu-tenancy-base") | QUOTA, "train"), create(RESOURCE_QUOTA, new("base") | QUOTA, "train"), BEGIN_OTHERWISE),
    ("takes the name of a pool's quota", CARL, create(RESOURCE_QUOTA, new("gpu-b200-spot") | QUOTA, "train"), create(RESOURCE_QUOTA, new("b200-spot") | QUOTA, "train"), "names of resourcequotas that begin with gpu-"),
    ("takes the name of the closing quota", CARL, create(RESOURCE_QUOTA, new("gpu-other") | QUOTA, "train"), create(RESOURCE_QUOTA, new("other") | QUOTA, "train"), BEGIN_OTHERWISE),
]  # fmt: skip


def taint(key: str) -> dict[str, Any]:
    return {"spec": {"taints": [{"key": key, "value": "b200", "effect": "NoSchedule"}]}}


NODE_SCENARIOS = [
    ("moves a node to another region", patch(NODE, "node-1", relabel(**{NODE_REGION_LABEL: "eu-ch"})), patch(NODE, "node-1", relabel(rack="x")), f"label {NODE_REGION_LABEL}"),
    ("admits a placement", patch(NODE, "node-1", relabel(**{NODE_PLACEMENT_PREFIX + "DE": "true"})), patch(NODE, "node-1", relabel(rack="x")), f"label {NODE_PLACEMENT_PREFIX}DE"),
    ("relabels through the status", patch(NODE, "node-1", relabel(**{NODE_POOL_LABEL: "b200"}), subresource="status"), patch(NODE, "node-1", relabel(rack="x"), subresource="status"), f"label {NODE_POOL_LABEL}"),
    ("takes a node out of its pool", patch(NODE, "node-1", {"spec": {"taints": None}}), patch(NODE, "node-2", {"spec": {"taints": None}}), f"taint {POOL_TAINT}"),
    ("puts a node in a pool", patch(NODE, "node-2", taint(POOL_TAINT)), patch(NODE, "node-2", taint("example.com/maintenance")), f"taint {POOL_TAINT}"),
    ("brings a node of its own", create(NODE, new("node-3", **{NODE_POOL_LABEL: "b200"})), create(NODE, new("node-3", rack="x")), f"label {NODE_POOL_LABEL}"),
]  # fmt: skip

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
SPEAKS = {"ports": [{"port": 80}]}
TENANT_ONLY = "{matchLabels: {gpu-tenancy.dev/tenant: acme}}"


def service(**spec: Any) -> Call:
    return create(SERVICE, new("new") | {"spec": SPEAKS | spec}, "train")


def volume_claim(**spec: Any) -> Call:
    return create(VOLUME_CLAIM, new("new") | {"spec": CLAIM | spec}, "train")


def on_claim(body: Any, name: str = "loose") -> Call:
    return patch(VOLUME_CLAIM, name, body, "train")


def network_policy(**spec: Any) -> Call:
    return create(NETWORK_POLICY, new("new") | {"spec": {"podSelector": {}, **spec}}, "train")


def tenants_namespaces(tenant: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {TENANT_LABEL: tenant}}}


OWN_PODS: dict[str, Any] = {"podSelector": {"matchLabels": {"app": "x"}}}

CHOOSE_LATER = on_claim({"spec": {"volumeName": "pv-1"}})

VOLUME_SCENARIOS = [
    ("chooses a volume", EDDA, volume_claim(volumeName="pv-1"), volume_claim(), "remove spec.volumeName"),
    ("chooses a volume later", EDDA, CHOOSE_LATER, on_claim(relabel(team="x")), "remove spec.volumeName"),
    ("chooses among the volumes that are there", EDDA, volume_claim(selector={"matchLabels": {"of": "rival"}}), volume_claim(storageClassName="fast"), "remove spec.selector"),
    ("chooses a volume in a template", STATEFULSETS, volume_claim(volumeName="pv-1"), volume_claim(), "remove spec.volumeName"),
    ("chooses among volumes in a template", CONTROLLERS, volume_claim(selector={}), volume_claim(), "remove spec.selector"),
]  # fmt: skip

TENANT_SCENARIOS = [
    ("services", "catches traffic to foreign addresses", service(externalIPs=["192.0.2.1"]), service(), "remove spec.externalIPs"),
    ("network-policies", "lets everyone in", network_policy(ingress=[{}]), network_policy(ingress=[{"from": [OWN_PODS]}]), TENANT_ONLY),
    ("network-policies", "lets every namespace in", network_policy(ingress=[{"from": [{"namespaceSelector": {}}]}]), network_policy(ingress=[{"from": [tenants_namespaces("acme")]}]), TENANT_ONLY),
    ("network-policies", "lets another tenant in", network_policy(ingress=[{"from": [tenants_namespaces("acme"), tenants_namespaces("rival")]}]), network_policy(ingress=[{"from": [tenants_namespaces("acme"), OWN_PODS]}]), TENANT_ONLY),
    ("network-policies", "reaches the internet", network_policy(egress=[{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]), network_policy(egress=[{"to": [OWN_PODS]}]), TENANT_ONLY),
    ("network-policies", "reaches everyone on a port", network_policy(egress=[{"ports": [{"port": 443}]}]), network_policy(egress=[{"to": [OWN_PODS], "ports": [{"port": 443}]}]), TENANT_ONLY),
]  # fmt: skip

SCENARIOS = [
    *(Scenario("gpu-tenancy-pods", does, EDDA, wrong, right, says) for does, wrong, right, says in POD_SCENARIOS),
    *(Scenario("gpu-tenancy-pod-updates", does, EDDA, wrong, right, says) for does, wrong, right, says in POD_UPDATE_SCENARIOS),
    *(Scenario("gpu-tenancy-namespaces", does, CARL, wrong, right, says) for does, wrong, right, says in NAMESPACE_SCENARIOS),
    *(Scenario("gpu-tenancy-managed-objects", does, user, wrong, right, says) for does, user, wrong, right, says in MANAGED_SCENARIOS),
    *(Scenario("gpu-tenancy-nodes", does, CARL, wrong, right, says) for does, wrong, right, says in NODE_SCENARIOS),
    *(Scenario("gpu-tenancy-volume-claims", does, user, wrong, right, says) for does, user, wrong, right, says in VOLUME_SCENARIOS),
    *(Scenario(f"gpu-tenancy-{policy}", does, EDDA, wrong, right, says) for policy, does, wrong, right, says in TENANT_SCENARIOS),
]  # fmt: skip
POLICIES = sorted({scenario.policy for scenario in SCENARIOS})
