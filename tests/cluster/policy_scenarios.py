"""What the admission policies deny, what they accept instead, and what they say: one line for each way to go wrong.

The world that the scenarios play in is built in test_policies.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cluster.rest import Call, create, delete, patch
from gpu_tenancy.domain.naming import (
    ACCELERATORS_ANNOTATION,
    ADOPT_LABEL,
    DEVICE_CLASSES_ANNOTATION,
    EXCLUSIVE_ANNOTATION,
    HOSTS_ANNOTATION,
    LOAD_BALANCERS_ANNOTATION,
    MANAGED_BY_LABEL,
    NETWORKS_ANNOTATION,
    NODE_PLACEMENT_PREFIX,
    NODE_POOL_LABEL,
    NODE_REGION_LABEL,
    NODE_RESERVATION_PREFIX,
    OPERATOR,
    PER_GPU_ANNOTATION,
    PLACEMENT_LABEL,
    POOL_LABEL,
    POOL_TAINT,
    REGISTRIES_ANNOTATION,
    RESERVATION_LABEL,
    RESERVATION_TAINT,
    STORAGE_CLASSES_ANNOTATION,
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
SECRET = Resource("", "v1", "secrets", "Secret")
RUNTIME_CLASS = Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)
BINDING = Resource("", "v1", "bindings", "Binding")
RESOURCE_CLAIM = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")
CLAIM_TEMPLATE = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
INGRESS = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
HTTP_ROUTE = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
VOLUME_CLAIM = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")

PLACEMENT_KEY = NODE_PLACEMENT_PREFIX + "eu-de"
IMAGE = "registry.example/acme/image:1"

# Who speaks: people of the tenant, a platform engineer with wide rights who does not write tenants, and one who does.
OLGA, EDDA, CARL, PETRA = "olga-owner", "edda-editor", "carl-ci", "petra-provider"
# The control plane, which acts on what tenants write: with an identity for each controller, or with one for all.
STATEFULSETS, CONTROLLERS = "system:serviceaccount:kube-system:statefulset-controller", "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
EPHEMERAL_VOLUMES = "system:serviceaccount:kube-system:ephemeral-volume-controller"


@dataclass(frozen=True)
class Scenario:
    """A pair of calls by `user` that differ in one thing.

    `wrong` is denied by the policy with a message that contains `says`, which is what to write instead or who to ask;
    `right` is accepted, or from somebody else if only who calls is wrong.
    """

    policy: str
    does: str
    user: str
    wrong: Call
    right: Call
    says: str
    right_user: str = ""

    def __str__(self) -> str:
        return f"{self.policy.removeprefix('gpu-tenancy-')}: {self.does}"


def pod(
    labels: Mapping[str, str] | None = None,
    *,
    namespace: str = "train",
    limits: Mapping[str, int | str] | None = None,
    env: list[dict[str, Any]] | None = None,
    image: str = IMAGE,
    ports: list[dict[str, Any]] | None = None,
    **spec: Any,
) -> Call:
    """A pod with one container, with the fields of its spec that are named."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Always",
        "resources": {"limits": limits or {}},
        "env": env or [],
        "ports": ports or [],
    }
    metadata = {"name": "probe", "labels": labels or {}}
    return create(POD, {"metadata": metadata, "spec": {"containers": [container], **spec}}, namespace)


def gpu_pod(
    labels: Mapping[str, str] | None = None, gpus: int = 1, limits: Mapping[str, str] | None = None, **fields: Any
) -> Call:
    return pod(labels, limits={"nvidia.com/gpu": gpus, **(limits or {})}, **fields)


def init_container(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "init", "image": IMAGE, "imagePullPolicy": "Always", **fields}]


def first(**limits: str) -> list[dict[str, Any]]:
    return init_container(resources={"limits": limits})


def sidecar(**limits: str) -> list[dict[str, Any]]:
    return init_container(name="sidecar", restartPolicy="Always", resources={"limits": limits})


def mounts(path: str) -> dict[str, Any]:
    volume = {"name": "data", "emptyDir": {}}
    return {"volumes": [volume], "initContainers": init_container(volumeMounts=[{"name": "data", "mountPath": path}])}


def annotated(call: Call, **annotations: str) -> Call:
    return replace(call, body=call.body | {"metadata": call.body["metadata"] | {"annotations": annotations}})


def apart(kind: str = "podAntiAffinity", **others: Any) -> dict[str, Any]:
    """Keep from the pods of others, or near them, on the nodes of a region."""
    term = {"labelSelector": {}, "topologyKey": "topology.kubernetes.io/region", **others}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def rather_near(**others: Any) -> dict[str, Any]:
    (term,) = apart(**others)["podAntiAffinity"].popitem()[1]
    preferred = [{"weight": 1, "podAffinityTerm": term}]
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def pool_toleration(pool: str) -> dict[str, str]:
    return {"key": POOL_TAINT, "operator": "Equal", "value": pool, "effect": "NoSchedule"}


def own_nodes(namespace: str) -> dict[str, str]:
    return {"key": RESERVATION_TAINT, "operator": "Equal", "value": namespace}


# In namespace train, reservations solo and duo have nodes of their own.
SOLO, SOLO_KEY = {RESERVATION_LABEL: "solo"}, NODE_RESERVATION_PREFIX + "train"


def handwritten(pool: str = "b200", tier: Tier = Tier.GUARANTEED) -> dict[str, Any]:
    """The fields that a GPU pod needs where nothing fills them in."""
    return {
        "nodeSelector": {PLACEMENT_KEY: "true", NODE_POOL_LABEL: pool},
        "priorityClassName": priority_class(pool, tier),
        "tolerations": [pool_toleration(pool)],
    }


CLAIMED = {"name": "channel", "resourceClaimName": "channel"}
VISIBLE = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}
ALL_BY_PLUGIN = {"nvidia.cdi.k8s.io/container.main": "management.nvidia.com/gpu=all"}
OF_ACME, OF_RIVAL = ({"namespaceSelector": {"matchLabels": {TENANT_LABEL: one}}} for one in ("acme", "rival"))
NETWORKS, CALICO_ADDRESS = "k8s.v1.cni.cncf.io/networks", "cni.projectcalico.org/ipAddrs"
RAILS = "namespace/name of one of [rails/a, rails/b]"
CAPABLE = {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "all"}
# In namespace train, each GPU of pool b200 brings this much.
PER_GPU = {"cpu": "26", "memory": "230Gi"}
ONE_MORE_GPU = {"nvidia.com/gpu": "1"}

POD_SCENARIOS = [
    ("runs outside its placement", pod(nodeSelector={PLACEMENT_KEY: "false"}), pod(), f'write spec.nodeSelector "{PLACEMENT_KEY}": "true"'),
    ("runs in a namespace without a placement", pod(namespace="unplaced"), pod(), PLACEMENT_LABEL),
    ("runs in a namespace without granted resources", pod(namespace="ungranted"), pod(), ACCELERATORS_ANNOTATION),
    ("runs while its tenant is suspended", pod(namespace="frozen"), pod(), "suspended: false in its IndustrialTenant"),
    ("takes a MIG profile that is not granted", pod(limits={"nvidia.com/mig-2g.45gb": 1}), pod(limits={"nvidia.com/mig-1g.23gb": 1}), "no grant for nvidia.com/mig-2g.45gb: write one of [nvidia.com/gpu, nvidia.com/mig-1g.23gb]"),
    ("takes a shared GPU in an init container", pod(initContainers=init_container(resources={"limits": {"nvidia.com/gpu.shared": 1}})), pod(initContainers=init_container(resources={"limits": {"nvidia.com/gpu": 1}})), "no grant for nvidia.com/gpu.shared"),
    ("takes devices of a class by their implicit name", pod(limits={"deviceclass.resource.kubernetes.io/gpu.nvidia.com": 1}), gpu_pod(), "no grant for deviceclass.resource.kubernetes.io/gpu.nvidia.com"),
    ("takes an extended resource that nobody offers", pod(limits={"example.com/fpga": 1}), pod(limits={"rdma/hca": 1}), "no grant for example.com/fpga"),
    ("takes devices by a resource claim", pod(namespace="serve", resourceClaims=[CLAIMED]), gpu_pod(resourceClaims=[CLAIMED]), "remove spec.resourceClaims"),
    ("takes devices by a resource claim where nothing says of which class", pod(namespace="unsaid", resourceClaims=[CLAIMED]), gpu_pod(resourceClaims=[CLAIMED]), DEVICE_CLASSES_ANNOTATION),
    ("invents a tier", gpu_pod({TIER_LABEL: "gold"}), gpu_pod({TIER_LABEL: "spot"}), "write spot, guaranteed or nothing"),
    ("calls itself reserved without a reservation", gpu_pod({TIER_LABEL: "reserved"}), gpu_pod({RESERVATION_LABEL: "nightly"}), f"{RESERVATION_LABEL}: <name>"),
    ("is of a reservation and spot at once", gpu_pod({RESERVATION_LABEL: "nightly", TIER_LABEL: "spot"}), gpu_pod({RESERVATION_LABEL: "nightly", TIER_LABEL: "reserved"}), f"remove the label {TIER_LABEL}: spot"),
    ("leaves the nodes of its reservation", gpu_pod(SOLO, nodeSelector={SOLO_KEY: "duo"}), gpu_pod(SOLO, nodeSelector={SOLO_KEY: "solo"}), f'write spec.nodeSelector "{SOLO_KEY}": "solo"'),
    ("comes to reserved nodes without a reservation", gpu_pod(tolerations=[own_nodes("train")]), gpu_pod(SOLO, tolerations=[own_nodes("train")]), f"do not tolerate {RESERVATION_TAINT}"),
    ("comes to reserved nodes with a reservation that has none", gpu_pod({RESERVATION_LABEL: "nightly"}, tolerations=[own_nodes("train")]), gpu_pod({RESERVATION_LABEL: "nightly"}), f"do not tolerate {RESERVATION_TAINT}"),
    ("comes to the nodes of somebody else", gpu_pod(SOLO, tolerations=[own_nodes("serve")]), gpu_pod(SOLO), f"do not tolerate {RESERVATION_TAINT}"),
    ("comes to reserved nodes without GPUs", pod(SOLO, tolerations=[own_nodes("train")]), pod(SOLO), f"do not tolerate {RESERVATION_TAINT}"),
    ("is of a reservation where nothing says whether it has nodes", gpu_pod({RESERVATION_LABEL: "nightly"}, namespace="unsaid"), gpu_pod({RESERVATION_LABEL: "nightly"}), EXCLUSIVE_ANNOTATION),
    ("names no pool where there is no default", gpu_pod(namespace="serve"), gpu_pod({POOL_LABEL: "b200"}, namespace="serve"), f"write the label {POOL_LABEL}: <pool>"),
    ("selects the nodes of another pool than it is counted in", gpu_pod(nodeSelector={NODE_POOL_LABEL: "rtx-pro"}), gpu_pod({POOL_LABEL: "rtx-pro"}, nodeSelector={NODE_POOL_LABEL: "rtx-pro"}), f'write spec.nodeSelector "{NODE_POOL_LABEL}": "b200"'),
    ("is counted in another pool than it selects", gpu_pod(priorityClassName="gpu-rtx-pro-guaranteed"), gpu_pod(priorityClassName="gpu-b200-guaranteed"), 'spec.priorityClassName "gpu-b200-guaranteed"'),
    ("is counted in another tier than it says", gpu_pod({TIER_LABEL: "spot"}, priorityClassName="gpu-b200-guaranteed"), gpu_pod({TIER_LABEL: "spot"}, priorityClassName="gpu-b200-spot"), 'spec.priorityClassName "gpu-b200-spot"'),
    ("takes a GPU priority without GPUs", pod(priorityClassName="gpu-b200-guaranteed"), gpu_pod(priorityClassName="gpu-b200-guaranteed"), "is for pods that ask for GPUs"),
    ("comes to the nodes of a pool with no GPUs", pod({POOL_LABEL: "rtx-pro"}, limits={"nvidia.com/gpu": 0}, **handwritten("rtx-pro")), pod({POOL_LABEL: "rtx-pro"}, limits={"nvidia.com/gpu": 1}, **handwritten("rtx-pro")), "is for pods that ask for GPUs"),
    ("takes a priority of the platform", pod(priorityClassName="system-cluster-critical"), pod(priorityClassName="tenants-batch"), "remove spec.priorityClassName"),
    ("takes a priority of the platform with GPUs", gpu_pod(priorityClassName="system-cluster-critical"), gpu_pod(priorityClassName="tenants-batch"), 'spec.priorityClassName "gpu-b200-guaranteed"'),
    ("chooses its node", pod(nodeName="node-1"), pod(nodeSelector={"kubernetes.io/hostname": "node-1"}), "remove spec.nodeName"),
    ("mounts a share with the node's rights", pod(volumes=[{"name": "share", "nfs": {"server": "192.0.2.1", "path": "/"}}]), pod(volumes=[{"name": "share", "persistentVolumeClaim": {"claimName": "share"}}]), "mounts share with its own rights: in spec.volumes write only configMap"),
    ("mounts the node's own files", pod(volumes=[{"name": "root", "hostPath": {"path": "/"}}]), pod(volumes=[{"name": "root", "emptyDir": {}}]), "or csi with driver secrets.example"),
    ("has a driver mount what it writes out", pod(volumes=[{"name": "key", "csi": {"driver": "files.example"}}]), pod(volumes=[{"name": "key", "csi": {"driver": "secrets.example"}}]), "in spec.volumes write only configMap"),
    ("shares the node's network", pod(hostNetwork=True), pod(hostNetwork=False), "remove spec.hostNetwork"),
    ("sees the node's processes", pod(hostPID=True), pod(shareProcessNamespace=True), "remove spec.hostNetwork, spec.hostPID"),
    ("shares the node's memory", pod(hostIPC=True), pod(hostIPC=False), "spec.hostIPC"),
    ("takes a port of the node", pod(ports=[{"containerPort": 80, "hostPort": 80}]), pod(ports=[{"containerPort": 80}]), "every hostPort"),
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
    ("takes all channels between nodes", gpu_pod(env=[VISIBLE | {"name": "NVIDIA_IMEX_CHANNELS"}]), gpu_pod(env=[CAPABLE]), "NVIDIA_IMEX_CHANNELS and NVIDIA_MIG_* from env"),
    ("partitions the GPUs of the node", gpu_pod(env=[VISIBLE | {"name": "NVIDIA_MIG_CONFIG_DEVICES"}]), gpu_pod(env=[CAPABLE]), "NVIDIA_IMEX_CHANNELS and NVIDIA_MIG_* from env"),
    ("names GPUs by a mount", gpu_pod(**mounts("/var/run/nvidia-container-devices/all")), gpu_pod(**mounts("/data")), "remove mounts below nvidia-container-devices"),
    ("names GPUs by an annotation", annotated(gpu_pod(), **{"cdi.k8s.io/all": "nvidia.com/gpu=all"}), annotated(gpu_pod(), note="x"), "heed cdi.k8s.io/all"),
    ("names GPUs by an annotation for a plugin of the container runtime", annotated(pod(), **ALL_BY_PLUGIN), annotated(pod(), note="x"), "heed nvidia.cdi.k8s.io/container.main past all that is granted"),
    ("joins a network that is not granted", annotated(pod(), **{NETWORKS: "rails/a, rails/c@eth1"}), annotated(pod(), **{NETWORKS: "rails/a, rails/b@eth1"}), f"do not cover rails/c: in the annotation {NETWORKS} write {RAILS}"),
    ("joins a network with an address of its choice", annotated(pod(), **{NETWORKS: '[{"name": "a", "namespace": "rails", "ips": ["192.0.2.1/24"]}]'}), annotated(pod(), **{NETWORKS: "rails/a"}), RAILS),
    ("joins a network where none is granted", annotated(pod(namespace="serve"), **{NETWORKS: "rails/a"}), annotated(pod(namespace="serve"), note="x"), "spec.network.attachments of the IndustrialTenant"),
    ("joins a network where nothing says which", annotated(pod(namespace="unsaid"), **{NETWORKS: "rails/a"}), annotated(pod(namespace="unsaid"), note="x"), NETWORKS_ANNOTATION),
    ("leaves the network of the cluster", annotated(pod(), **{"v1.multus-cni.io/default-network": "rails/a"}), annotated(pod(), **{NETWORKS: "rails/a"}), "heed v1.multus-cni.io/default-network"),
    ("takes an address of others", annotated(pod(), **{CALICO_ADDRESS: '["10.0.0.1"]'}), annotated(pod(), **{"kubernetes.io/egress-bandwidth": "1G"}), f"heed {CALICO_ADDRESS}"),
    ("chooses a runtime that isolates less", pod(runtimeClassName="runc-legacy"), pod(runtimeClassName="nvidia"), "in spec.runtimeClassName write nvidia or nothing"),
    ("runs privileged", pod(initContainers=init_container(securityContext={"privileged": True})), pod(initContainers=init_container(securityContext={"privileged": False})), "and every privileged"),
    ("keeps the pods of others off every node", pod(affinity=apart(namespaceSelector={})), pod(affinity=apart()), "leave out namespaces and namespaceSelector, or write namespaceSelector {matchLabels: {gpu-tenancy.dev/tenant: acme}}"),
    ("keeps the pods of one namespace off", pod(affinity=apart(namespaces=["train", "rival"])), pod(affinity=apart(namespaces=["train"])), "leave out namespaces"),
    ("looks for the pods of another tenant", pod(affinity=apart("podAffinity", **OF_RIVAL)), pod(affinity=apart("podAffinity", **OF_ACME)), "leave out namespaces"),
    ("would rather be near the pods of another tenant", pod(affinity=rather_near(**OF_RIVAL)), pod(affinity=rather_near(**OF_ACME)), "leave out namespaces"),
    ("takes the CPUs of its neighbours", gpu_pod(limits={"cpu": "26.0001"}), gpu_pod(limits=PER_GPU), "each of pool b200 brings cpu 26 and memory 230Gi, and this pod requests more; lower resources.requests"),
    ("takes the memory of its neighbours", gpu_pod(gpus=2, limits={"memory": "461Gi"}), gpu_pod(gpus=2, limits={"cpu": "52", "memory": "460Gi"}), "or create a pod with more GPUs"),
    ("takes the CPUs of its neighbours before it runs", gpu_pod(initContainers=first(cpu="27")), gpu_pod(limits={"cpu": "26"}, initContainers=first(cpu="26")), "lower resources.requests"),
    ("takes the CPUs of its neighbours for a sidecar", gpu_pod(limits={"cpu": "25.9"}, initContainers=sidecar(cpu="0.2")), gpu_pod(limits={"cpu": "25.9"}, initContainers=sidecar(cpu="1e-1")), "of all containers together"),
    ("takes the CPUs of its neighbours beside a sidecar", gpu_pod(initContainers=sidecar(cpu="14") + first(cpu="13")), gpu_pod(initContainers=first(cpu="13") + sidecar(cpu="14")), "lower resources.requests"),
    ("takes the CPUs of its neighbours as a pod", gpu_pod(resources={"limits": {"cpu": "27"}}), gpu_pod(limits={"cpu": "100m"}, resources={"requests": {"cpu": "26"}}), "lower resources.requests"),
    ("counts a GPU that it has before it runs twice", gpu_pod(limits={"cpu": "27"}, initContainers=first(**ONE_MORE_GPU)), gpu_pod(gpus=2, limits={"cpu": "52"}, initContainers=first(**ONE_MORE_GPU)), "or create a pod with more GPUs"),
    ("hides in a field which GPUs it sees", pod({"devices": "all"}, env=[{"name": "NVIDIA_VISIBLE_DEVICES", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['devices']"}}}]), pod({"devices": "all"}, env=[{"name": "DEVICES", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['devices']"}}}]), "remove NVIDIA_VISIBLE_DEVICES"),
]  # fmt: skip


def relabel(**labels: str | None) -> dict[str, Any]:
    return {"metadata": {"labels": labels}}


def annotate(**annotations: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations}}


def tolerate(key: str) -> list[dict[str, Any]]:
    return [{"op": "add", "path": "/spec/tolerations/-", "value": {"key": key, "operator": "Exists"}}]


def debug(env: list[dict[str, Any]], image: str = IMAGE, pull: str = "Always", **fields: Any) -> dict[str, Any]:
    container = {"name": "debug", "image": image, "imagePullPolicy": pull, "env": env, **fields}
    return {"spec": {"ephemeralContainers": [container]}}


def on_pod(body: Any, subresource: str = "") -> Call:
    return patch(POD, "standing", body, "train", subresource)


def resize(cpu: str) -> Call:
    return on_pod([{"op": "add", "path": "/spec/containers/0/resources/requests/cpu", "value": cpu}], "resize")


POD_UPDATE_SCENARIOS = [
    ("moves a pod to another pool", on_pod(relabel(**{POOL_LABEL: "rtx-pro"})), on_pod(relabel(app="x")), f"keep the label {POOL_LABEL}"),
    ("moves a pod to another tier", on_pod(relabel(**{TIER_LABEL: "spot"})), on_pod(relabel(app="x")), f"keep the label {TIER_LABEL}"),
    ("moves a pod out of its reservation", on_pod(relabel(**{RESERVATION_LABEL: None})), on_pod(relabel(app=None)), f"keep the label {RESERVATION_LABEL}"),
    ("moves a pod to another reservation", on_pod(relabel(**{RESERVATION_LABEL: "weekly"})), on_pod(relabel(app="x")), f"keep the label {RESERVATION_LABEL}"),
    ("adds a toleration", on_pod(tolerate("node.kubernetes.io/unschedulable")), on_pod(tolerate("nvidia.com/gpu")), "add only nvidia.com/gpu"),
    ("sees all GPUs from an ephemeral container", on_pod(debug([VISIBLE]), "ephemeralcontainers"), on_pod(debug([]), "ephemeralcontainers"), "remove NVIDIA_* from the ephemeral container"),
    ("names GPUs by an annotation later", on_pod(annotate(**ALL_BY_PLUGIN)), on_pod(annotate(note="x")), "heed nvidia.cdi.k8s.io/container.main past all that is granted"),
    ("joins a network later", on_pod(annotate(**{NETWORKS: "rails/c"})), on_pod(annotate(**{NETWORKS: "rails/b"})), RAILS),
    ("takes an address of others later", on_pod(annotate(**{CALICO_ADDRESS: '["10.0.0.1"]'})), on_pod(annotate(note="x")), f"heed {CALICO_ADDRESS}"),
    ("takes the CPUs of its neighbours later", resize("27"), resize("26"), "each of pool b200 brings cpu 26"),
    ("debugs privileged", on_pod(debug([], securityContext={"privileged": True}), "ephemeralcontainers"), on_pod(debug([]), "ephemeralcontainers"), "and privileged"),
]  # fmt: skip


def image_volume(reference: str) -> list[dict[str, Any]]:
    return [{"name": "data", "image": {"reference": reference, "pullPolicy": "Always"}}]


def image_of(container: str, image: str) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": f"/spec/{container}/0/image", "value": image}]


# Another path of an allowed registry, one that only begins alike, and one that is left to the node.
ELSEWHERE, ALIKE, UNNAMED = "registry.example/rival/image:1", "registry.example/acme-2/image:1", "acme/image:1"
WRITE_IMAGE = "write an image, with its registry, that begins with public.example/ or registry.example/acme/"

IMAGE_SCENARIOS = [
    ("runs an image of somebody else", pod(image=ELSEWHERE), pod(), f"does not run {ELSEWHERE}: {WRITE_IMAGE}"),
    ("runs an image from a path that begins alike", pod(image=ALIKE), pod(image="public.example/x"), f"does not run {ALIKE}: {WRITE_IMAGE}"),
    ("leaves the registry to the node", pod(image=UNNAMED), pod(), f"does not run {UNNAMED}: {WRITE_IMAGE}"),
    ("runs such an image first", pod(initContainers=init_container(image=ELSEWHERE)), pod(initContainers=init_container()), WRITE_IMAGE),
    ("mounts such an image", pod(volumes=image_volume(ELSEWHERE)), pod(volumes=image_volume(IMAGE)), WRITE_IMAGE),
    ("runs an image where nothing says which", pod(namespace="unlisted"), pod(), REGISTRIES_ANNOTATION),
    ("runs an image whose name no message can hold", pod(image="two\nlines/image:1"), pod(), "correct the names first"),
]  # fmt: skip

IMAGE_UPDATE_SCENARIOS = [
    ("changes to such an image later", on_pod(image_of("containers", ELSEWHERE)), on_pod(image_of("containers", "public.example/x:2")), WRITE_IMAGE),
    ("debugs with such an image", on_pod(debug([], ELSEWHERE), "ephemeralcontainers"), on_pod(debug([]), "ephemeralcontainers"), WRITE_IMAGE),
]  # fmt: skip


def on_namespace(body: Any, name: str = "train", subresource: str = "") -> Call:
    return patch(NAMESPACE, name, body, subresource=subresource)


def new(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


PSA = "pod-security.kubernetes.io/enforce"
OTHER = on_namespace(relabel(team="x"))
GONE = {"apiVersion": "v1", "kind": "Namespace", "name": "gone", "uid": "gone"}

NAMESPACE_SCENARIOS = [
    ("lifts a suspension", on_namespace(relabel(**{SUSPENDED_LABEL: None}), "frozen"), on_namespace(relabel(team="x"), "frozen"), SUSPENDED_LABEL),
    ("moves a namespace to another placement", on_namespace(relabel(**{PLACEMENT_LABEL: "CH"})), OTHER, PLACEMENT_LABEL),
    ("has a namespace deleted for want of its owner", on_namespace({"metadata": {"ownerReferences": [GONE]}}), OTHER, "metadata.ownerReferences is written by the operator"),
    ("moves it through the status", on_namespace(relabel(**{PLACEMENT_LABEL: "CH"}), subresource="status"), on_namespace(relabel(team="x"), subresource="status"), PLACEMENT_LABEL),
    ("takes a namespace from its tenant", on_namespace(relabel(**{TENANT_LABEL: None})), OTHER, TENANT_LABEL),
    ("grants resources", on_namespace(annotate(**{ACCELERATORS_ANNOTATION: "nvidia.com/gpu.shared"})), on_namespace(annotate(note="x")), ACCELERATORS_ANNOTATION),
    ("opens a registry", on_namespace(annotate(**{REGISTRIES_ANNOTATION: "*"})), on_namespace(annotate(note="x")), REGISTRIES_ANNOTATION),
    ("opens a storage class", on_namespace(annotate(**{STORAGE_CLASSES_ANNOTATION: "kept"})), on_namespace(annotate(note="x")), STORAGE_CLASSES_ANNOTATION),
    ("grants a network", on_namespace(annotate(**{NETWORKS_ANNOTATION: "rails/c"})), on_namespace(annotate(note="x")), NETWORKS_ANNOTATION),
    ("takes a host name", on_namespace(annotate(**{HOSTS_ANNOTATION: "*.example"})), on_namespace(annotate(note="x")), HOSTS_ANNOTATION),
    ("grants devices", on_namespace(annotate(**{DEVICE_CLASSES_ANNOTATION: "gpu.nvidia.com"})), on_namespace(annotate(note="x")), DEVICE_CLASSES_ANNOTATION),
    ("lets pods come to reserved nodes", on_namespace(annotate(**{EXCLUSIVE_ANNOTATION: "solo,mine"})), on_namespace(annotate(note="x")), EXCLUSIVE_ANNOTATION),
    ("lets pods take more of a node than comes with their GPUs", on_namespace(annotate(**{PER_GPU_ANNOTATION: ""})), on_namespace(annotate(note="x")), PER_GPU_ANNOTATION),
    ("grants a load balancer", on_namespace(annotate(**{LOAD_BALANCERS_ANNOTATION: "9"})), on_namespace(annotate(note="x")), LOAD_BALANCERS_ANNOTATION),
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
LIMITS = {"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Ti"}}]}}
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
    ("hands out a role that outlives the tenancy", OLGA, create(ROLE_BINDING, new("new") | binds("vera", "system:basic-user"), "train"), create(ROLE_BINDING, new("new") | VIEWERS, "train"), "or a Role of this namespace"),
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
    ("reserves a node", patch(NODE, "node-2", taint(RESERVATION_TAINT)), patch(NODE, "node-2", taint("example.com/maintenance")), RESERVATION_TAINT),
    ("puts a node in a pool", patch(NODE, "node-2", taint(POOL_TAINT)), patch(NODE, "node-2", taint("example.com/maintenance")), f"taint {POOL_TAINT}"),
    ("brings a node of its own", create(NODE, new("node-3", **{NODE_POOL_LABEL: "b200"})), create(NODE, new("node-3", rack="x")), f"label {NODE_POOL_LABEL}"),
]  # fmt: skip

CLAIM = {
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "1Gi"}},
    "storageClassName": "fast",
}
SPEAKS = {"ports": [{"port": 80}]}
TENANT_ONLY = "{matchLabels: {gpu-tenancy.dev/tenant: acme}}"


def service(namespace: str = "train", **spec: Any) -> Call:
    return create(SERVICE, new("new") | {"spec": SPEAKS | spec}, namespace)


def secret(kind: str, **annotations: str) -> Call:
    return annotated(create(SECRET, new("new") | {"type": kind}, "train"), **annotations)


TOKEN = secret("kubernetes.io/service-account-token", **{"kubernetes.io/service-account.name": "default"})


def volume_claim(namespace: str = "train", **spec: Any) -> Call:
    return create(VOLUME_CLAIM, new("new") | {"spec": CLAIM | spec}, namespace)


def source(kind: str, group: str | None = None) -> dict[str, Any]:
    return {"apiGroup": group, "kind": kind, "name": "source"}


SNAPSHOT = source("VolumeSnapshot", "snapshot.storage.k8s.io")
BALANCED = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}
FAST_OR_SHELF = "write one of [fast, shelf]"


def on_claim(body: Any, name: str = "loose") -> Call:
    return patch(VOLUME_CLAIM, name, body, "train")


def network_policy(**spec: Any) -> Call:
    return create(NETWORK_POLICY, new("new") | {"spec": {"podSelector": {}, **spec}}, "train")


def tenants_namespaces(tenant: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {TENANT_LABEL: tenant}}}


OWN_PODS: dict[str, Any] = {"podSelector": {"matchLabels": {"app": "x"}}}

CLASS, SELECTED_NODE = "volume.beta.kubernetes.io/storage-class", "volume.kubernetes.io/selected-node"
CHOOSE_LATER = on_claim({"spec": {"volumeName": "pv-1"}})

VOLUME_SCENARIOS = [
    ("chooses a volume", EDDA, volume_claim(volumeName="pv-1"), volume_claim(), "remove spec.volumeName"),
    ("chooses a volume later", EDDA, CHOOSE_LATER, on_claim(relabel(team="x")), "remove spec.volumeName"),
    ("chooses among the volumes that are there", EDDA, volume_claim(selector={"matchLabels": {"of": "rival"}}), volume_claim(storageClassName="fast"), "remove spec.selector"),
    ("chooses a volume in a template", STATEFULSETS, volume_claim(volumeName="pv-1"), volume_claim(), "remove spec.volumeName"),
    ("chooses among volumes in a template", CONTROLLERS, volume_claim(selector={}), volume_claim(), "remove spec.selector"),
    ("names a class that keeps what is deleted", EDDA, volume_claim(storageClassName="kept"), volume_claim(storageClassName="shelf"), FAST_OR_SHELF),
    ("names such a class in a template", EPHEMERAL_VOLUMES, volume_claim(storageClassName="kept"), volume_claim(), FAST_OR_SHELF),
    ("names such a class by an annotation", EDDA, annotated(volume_claim(), **{CLASS: "kept"}), annotated(volume_claim(), note="x"), f"remove the annotation {CLASS}"),
    ("names such a class by an annotation in a template", STATEFULSETS, annotated(volume_claim(), **{CLASS: "kept"}), volume_claim(), f"remove the annotation {CLASS}"),
    ("takes any volume by an annotation later", EDDA, on_claim(annotate(**{CLASS: ""})), on_claim(annotate(note="x")), f"remove the annotation {CLASS}"),
    ("names a class of attributes", EDDA, volume_claim(volumeAttributesClassName="fastest"), volume_claim(volumeAttributesClassName="plain"), "remove spec.volumeAttributesClassName"),
    ("has its volume made on a node", EDDA, annotated(volume_claim(), **{SELECTED_NODE: "node-1"}), annotated(volume_claim(), note="x"), "leave the node to the scheduler"),
    ("has its volume made on another node later", EDDA, on_claim(annotate(**{SELECTED_NODE: "node-1"})), on_claim(annotate(note="x")), "leave the node to the scheduler"),
    ("leaves the class to whoever sets the default", EDDA, volume_claim(storageClassName=None), volume_claim(), FAST_OR_SHELF),
    ("takes any volume without a class", EDDA, volume_claim(storageClassName=""), volume_claim(), FAST_OR_SHELF),
    ("claims a volume where nothing says of which class", EDDA, volume_claim("unsaid"), volume_claim(), STORAGE_CLASSES_ANNOTATION),
    ("copies from what is no volume", EDDA, volume_claim(dataSourceRef=source("VolumeSnapshotContent", "snapshot.storage.k8s.io")), volume_claim(dataSourceRef=SNAPSHOT), "name a PersistentVolumeClaim or a VolumeSnapshot of this namespace"),
    ("copies from an object of its own making", EDDA, volume_claim(dataSourceRef=source("Import", "example.com")), volume_claim(dataSourceRef=source("PersistentVolumeClaim")), "name a PersistentVolumeClaim or a VolumeSnapshot of this namespace"),
]  # fmt: skip


def claim(*requests: dict[str, Any], namespace: str = "train", **devices: Any) -> Call:
    spec = {"devices": {"requests": list(requests), **devices}}
    return create(RESOURCE_CLAIM, new("new") | {"spec": spec}, namespace)


def template(*requests: dict[str, Any], **devices: Any) -> Call:
    spec = {"spec": {"devices": {"requests": list(requests), **devices}}}
    return create(CLAIM_TEMPLATE, new("new") | {"spec": spec}, "train")


def exactly(device_class: str = "channel.nvidia.com", **fields: Any) -> dict[str, Any]:
    return {"name": "one", "exactly": {"deviceClassName": device_class, **fields}}


def first_of(*device_classes: str, **fields: Any) -> dict[str, Any]:
    choices = [{"name": f"x{n}", "deviceClassName": name, **fields} for n, name in enumerate(device_classes)]
    return {"name": "one", "firstAvailable": choices}


def bind(resource: Resource, name: str = "", subresource: str = "") -> Call:
    body = new("standing") | {"kind": "Binding", "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"}}
    return replace(create(resource, body, "train"), name=name, subresource=subresource)


def told(driver: str) -> dict[str, Any]:
    """What a driver is told to do with the devices."""
    return {"config": [{"opaque": {"driver": driver, "parameters": {"network": "rails/c"}}}]}


ALL_DEVICES = {"allocationMode": "All"}
TOLERANT = {"tolerations": [{"operator": "Exists"}]}
NO_GRANT = "no grant for devices of class gpu.nvidia.com: write one of [channel.nvidia.com, nic]"
GPU = "gpu.nvidia.com"

CLAIM_SCENARIOS = [
    ("claims devices of a class that is not granted", claim(exactly(GPU)), claim(exactly()), NO_GRANT),
    ("claims them if nothing else is there", claim(first_of("nic", GPU)), claim(first_of("nic", "channel.nvidia.com")), NO_GRANT),
    ("claims them beside others", claim(exactly(), exactly(GPU) | {"name": "two"}), claim(exactly(), exactly("nic") | {"name": "two"}), NO_GRANT),
    ("has a template claim them", template(exactly(GPU)), template(exactly()), NO_GRANT),
    ("claims all devices there are", claim(exactly(**ALL_DEVICES)), claim(exactly(count=2)), "allocationMode ExactCount"),
    ("claims all devices as one of several", template(first_of("nic", **ALL_DEVICES)), template(first_of("nic", count=2)), "allocationMode ExactCount"),
    ("looks into the devices of others", claim(exactly(adminAccess=True), namespace="exposed"), claim(exactly(adminAccess=False), namespace="exposed"), "remove adminAccess"),
    ("claims devices that were taken out of service", claim(exactly(**TOLERANT)), claim(exactly(tolerations=[])), "remove tolerations"),
    ("claims them as one of several", template(first_of("nic", **TOLERANT)), template(first_of("nic", tolerations=[])), "remove tolerations"),
    ("tells a driver what to do", claim(exactly(), **told("sriov.example")), claim(exactly(), **told("known.example")), "what a claim tells driver sriov.example no policy can judge"),
    ("has a template tell a driver what to do", template(exactly(), **told("sriov.example")), template(exactly(), **told("known.example")), "policies.deviceDrivers"),
    ("claims devices where none are granted", claim(exactly(), namespace="serve"), claim(exactly()), "ask the provider for a grant in spec.devices"),
    ("claims devices where nothing says of which class", claim(exactly(), namespace="unsaid"), claim(exactly()), DEVICE_CLASSES_ANNOTATION),
]  # fmt: skip

OUTSIDE = "name the namespace in the chart's value policies.platformNamespaces"

ACCELERATOR_SCENARIOS = [
    ("takes GPUs that no quota counts", pod(namespace="platform", limits={"nvidia.com/gpu": 1}), pod(namespace="platform", limits={"rdma/hca": 1}), f"no nvidia.com/gpu: create this in a namespace of an IndustrialTenant, or, if it belongs to the platform, {OUTSIDE}"),
    ("takes GPUs that no quota counts in an init container", pod(namespace="platform", initContainers=init_container(resources={"limits": {"nvidia.com/mig-1g.23gb": 1}})), pod(namespace="gpu-operator", initContainers=init_container(resources={"limits": {"nvidia.com/mig-1g.23gb": 1}})), OUTSIDE),
    ("takes devices by their implicit name", pod(namespace="platform", limits={"deviceclass.resource.kubernetes.io/gpu": 1}), pod(namespace="gpu-operator", limits={"deviceclass.resource.kubernetes.io/gpu": 1}), OUTSIDE),
    ("takes devices by a claim that no quota counts", pod(namespace="platform", resourceClaims=[CLAIMED]), pod(namespace="gpu-operator", resourceClaims=[CLAIMED]), OUTSIDE),
    ("claims devices that no quota counts", claim(exactly(), namespace="platform"), claim(exactly(), namespace="gpu-operator"), OUTSIDE),
]  # fmt: skip

NOTHING: dict[str, Any] = {}
BACKEND = {"service": {"name": "inner", "port": {"number": 80}}}


def ingress(
    *hosts: str | None,
    namespace: str = "train",
    annotations: dict[str, str] | None = None,
    path: str = "/",
    **spec: Any,
) -> Call:
    """An Ingress with a rule for each host, None for one that says none."""
    rules = [
        {
            **({"host": host} if host else {}),
            "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": BACKEND}]},
        }
        for host in hosts
    ]
    metadata = {"name": "new", "annotations": annotations or {}}
    return create(INGRESS, {"metadata": metadata, "spec": {"rules": rules} | spec}, namespace)


def route(
    *hosts: str,
    backend: dict[str, Any] = NOTHING,
    rule: dict[str, Any] = NOTHING,
    namespace: str = "train",
    **spec: Any,
) -> Call:
    refs = [{"name": "inner", "port": 80, **backend}]
    names = {"hostnames": list(hosts)} if hosts else {}
    parents = [{"name": "shared", "namespace": "gateways"}]
    body = {"parentRefs": parents, **names, "rules": [{"backendRefs": refs, **rule}], **spec}
    return create(HTTP_ROUTE, new("new") | {"spec": body}, namespace)


def mirror(namespace: str) -> dict[str, Any]:
    backend = {"name": "inner", "port": 80, "namespace": namespace}
    return {"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": backend}}]}


APP, BELOW, RIVALS = "app.acme.example", "a.b.apps.example", "app.rival.example"
WRITE_HOST = "write host names of this tenant [*.apps.example, app.acme.example]"
PUBLISH, PUBLISH_INSIDE = (f"external-dns.alpha.kubernetes.io/{one}" for one in ("hostname", "internal-hostname"))
PUBLISHED = {PUBLISH: RIVALS}
ADDRESS = {"metallb.io/loadBalancerIPs": "192.0.2.1"}
SNIPPET = {"nginx.ingress.kubernetes.io/configuration-snippet": "x"}
ALIAS = {"nginx.ingress.kubernetes.io/server-alias": RIVALS}
CERTIFIED = {"cert-manager.io/issuer": "x", "argocd.argoproj.io/sync-wave": "1", "note": "x"}

INGRESS_SCENARIOS = [
    ("serves the host of another", ingress(APP, RIVALS), ingress(APP, BELOW), f"does not serve {RIVALS}: {WRITE_HOST}"),
    ("serves what is above its hosts", ingress("apps.example"), ingress("*.apps.example"), WRITE_HOST),
    ("serves a host that ends alike", ingress("myapps.example"), ingress("my.apps.example"), WRITE_HOST),
    ("serves every host", ingress(None), ingress(APP), "does not serve every host"),
    ("serves more hosts than its own", ingress("*.example"), ingress("*.b.apps.example"), WRITE_HOST),
    ("takes the certificate of another host", ingress(APP, tls=[{"hosts": [RIVALS]}]), ingress(APP, tls=[{"hosts": [APP]}]), f"does not serve {RIVALS}: {WRITE_HOST}"),
    ("takes the certificate of every host", ingress(APP, tls=[{"secretName": "x"}]), ingress(APP, tls=[{"hosts": [BELOW], "secretName": "x"}]), "does not serve every host"),
    ("serves what nobody else does", ingress(APP, defaultBackend=BACKEND), ingress(APP), "remove spec.defaultBackend"),
    ("configures the controller by a path", ingress(APP, path='/x"; } location / { return 200; } #'), ingress(APP, path="/x/~y_z-1.html"), "may take other characters in a path"),
    ("configures the controller", ingress(APP, annotations=SNIPPET), ingress(APP, annotations=CERTIFIED), f"past the rules by {next(iter(SNIPPET))}: remove"),
    ("serves another host by an annotation", ingress(APP, annotations=ALIAS), ingress(APP, annotations=CERTIFIED), "policies.ingressAnnotations"),
    ("serves a host where none is granted", ingress(APP, namespace="serve"), ingress(APP), "spec.network.hosts of the IndustrialTenant"),
    ("serves a host where nothing says which", ingress(APP, namespace="unsaid"), ingress(APP), HOSTS_ANNOTATION),
]  # fmt: skip

ROUTE_SCENARIOS = [
    ("serves the host of another", route(APP, RIVALS), route(APP, BELOW), f"does not serve {RIVALS}: {WRITE_HOST}"),
    ("serves every host of a gateway", route(), route(APP), "does not serve every host"),
    ("serves a host where nothing says which", route(APP, namespace="unsaid"), route(APP), HOSTS_ANNOTATION),
    ("leads to another namespace", route(APP, backend={"namespace": "serve"}), route(APP, backend={"namespace": "train"}), "leave out namespace, or write train"),
    ("copies requests to another namespace", route(APP, rule=mirror("serve")), route(APP, rule=mirror("train")), "leave out namespace, or write train"),
    ("copies requests to another namespace for one backend", route(APP, backend=mirror("serve")), route(APP, backend=mirror("train")), "leave out namespace, or write train"),
    ("publishes the host of another", annotated(route(APP), **PUBLISHED), annotated(route(APP), note="x"), "remove the annotations of external-dns"),
    ("catches the traffic of a service", route(APP, parentRefs=[{"kind": "Service", "name": "x", "namespace": "serve"}]), route(APP, parentRefs=[{"kind": "Gateway", "name": "x"}]), "name Gateways only"),
]  # fmt: skip

BINDING_SCENARIOS = [
    ("binds a pod to a node", bind(POD, "standing", "binding"), "policies.schedulerUsers"),
    ("binds a pod to a node the old way", bind(BINDING), "leave it to system:kube-scheduler"),
]  # fmt: skip

TENANT_SCENARIOS = [
    ("services", "catches traffic to foreign addresses", service(externalIPs=["192.0.2.1"]), service(), "remove spec.externalIPs"),
    ("services", "leads around network policies by a name", service(type="ExternalName", externalName="rival.svc.example"), service(type="ClusterIP"), "write spec.type ClusterIP"),
    ("services", "opens a port of every node", service(type="NodePort"), service(clusterIP="None"), "write spec.type ClusterIP"),
    ("services", "takes a load balancer", service("serve", **BALANCED), service(**BALANCED), "services.loadbalancers in spec.quota of the IndustrialTenant"),
    ("services", "opens a port of every node for a load balancer", service(type="LoadBalancer"), service(**BALANCED), "write spec.allocateLoadBalancerNodePorts: false"),
    ("services", "chooses a port of every node for a load balancer", service(**BALANCED, ports=[{"port": 80, "nodePort": 30080}]), service(**BALANCED, ports=[{"port": 80}]), "no nodePort in spec.ports"),
    ("services", "takes a load balancer where nothing says how many", service("unsaid", **BALANCED), service(**BALANCED), LOAD_BALANCERS_ANNOTATION),
    ("services", "publishes the host of another", annotated(service(), **PUBLISHED), annotated(service(), **{PUBLISH: f"{APP}, {BELOW}"}), f"does not publish {RIVALS}: {WRITE_HOST}"),
    ("services", "publishes the host of another beside its own", annotated(service(), **{PUBLISH: f"{APP}, {RIVALS}"}), annotated(service(), **{PUBLISH: APP}), f"does not publish {RIVALS}: {WRITE_HOST}"),
    ("services", "publishes the host of another later", patch(SERVICE, "inner", annotate(**PUBLISHED), "train"), patch(SERVICE, "inner", annotate(note="x"), "train"), WRITE_HOST),
    ("services", "publishes a host where nothing says which", annotated(service("unsaid"), **{PUBLISH: APP}), annotated(service(), **{PUBLISH: APP}), HOSTS_ANNOTATION),
    ("services", "publishes a name inside", annotated(service(), **{PUBLISH_INSIDE: APP}), annotated(service(), **{PUBLISH: APP}), "policies.serviceAnnotations"),
    ("services", "takes an address by an annotation", annotated(service(**BALANCED), **ADDRESS), annotated(service(**BALANCED), **{"prometheus.io/scrape": "true"}), f"for {next(iter(ADDRESS))}: remove the annotation"),
    ("services", "takes an address by an annotation later", patch(SERVICE, "inner", annotate(**ADDRESS), "train"), patch(SERVICE, "inner", annotate(note="x"), "train"), "policies.serviceAnnotations"),
    ("services", "chooses its address", service(**BALANCED, loadBalancerIP="192.0.2.1"), service(**BALANCED, loadBalancerSourceRanges=["192.0.2.0/24"]), "remove spec.loadBalancerIP"),
    ("services", "chooses another load balancer", service(**BALANCED, loadBalancerClass="example.com/any"), service(**BALANCED, loadBalancerClass="example.com/internal"), "remove spec.loadBalancerClass"),
    ("secrets", "makes a token that never expires", TOKEN, secret("Opaque"), "write another type"),
    ("services", "opens a service later", patch(SERVICE, "inner", {"spec": {"type": "NodePort"}}, "train"), patch(SERVICE, "inner", {"spec": {"sessionAffinity": "ClientIP"}}, "train"), "write spec.type ClusterIP"),
    ("network-policies", "lets everyone in", network_policy(ingress=[{}]), network_policy(ingress=[{"from": [OWN_PODS]}]), TENANT_ONLY),
    ("network-policies", "lets every namespace in", network_policy(ingress=[{"from": [{"namespaceSelector": {}}]}]), network_policy(ingress=[{"from": [tenants_namespaces("acme")]}]), TENANT_ONLY),
    ("network-policies", "lets another tenant in", network_policy(ingress=[{"from": [tenants_namespaces("acme"), tenants_namespaces("rival")]}]), network_policy(ingress=[{"from": [tenants_namespaces("acme"), OWN_PODS]}]), TENANT_ONLY),
    ("network-policies", "reaches the internet", network_policy(egress=[{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]), network_policy(egress=[{"to": [OWN_PODS]}]), TENANT_ONLY),
    ("network-policies", "reaches everyone on a port", network_policy(egress=[{"ports": [{"port": 443}]}]), network_policy(egress=[{"to": [OWN_PODS], "ports": [{"port": 443}]}]), TENANT_ONLY),
]  # fmt: skip

SCENARIOS = [
    *(Scenario("gpu-tenancy-pods", does, EDDA, wrong, right, says) for does, wrong, right, says in POD_SCENARIOS + IMAGE_SCENARIOS),
    *(Scenario("gpu-tenancy-pod-updates", does, EDDA, wrong, right, says) for does, wrong, right, says in POD_UPDATE_SCENARIOS),
    *(Scenario("gpu-tenancy-images", does, EDDA, wrong, right, says) for does, wrong, right, says in IMAGE_UPDATE_SCENARIOS),
    *(Scenario("gpu-tenancy-namespaces", does, CARL, wrong, right, says) for does, wrong, right, says in NAMESPACE_SCENARIOS),
    *(Scenario("gpu-tenancy-managed-objects", does, user, wrong, right, says) for does, user, wrong, right, says in MANAGED_SCENARIOS),
    *(Scenario("gpu-tenancy-nodes", does, CARL, wrong, right, says) for does, wrong, right, says in NODE_SCENARIOS),
    *(Scenario("gpu-tenancy-resource-claims", does, EDDA, wrong, right, says) for does, wrong, right, says in CLAIM_SCENARIOS),
    *(Scenario("gpu-tenancy-accelerators", does, PETRA, wrong, right, says) for does, wrong, right, says in ACCELERATOR_SCENARIOS),
    *(Scenario("gpu-tenancy-ingresses", does, EDDA, wrong, right, says) for does, wrong, right, says in INGRESS_SCENARIOS),
    *(Scenario("gpu-tenancy-routes", does, EDDA, wrong, right, says) for does, wrong, right, says in ROUTE_SCENARIOS),
    *(Scenario("gpu-tenancy-bindings", does, PETRA, call, call, says, SCHEDULER) for does, call, says in BINDING_SCENARIOS),
    *(Scenario("gpu-tenancy-volume-claims", does, user, wrong, right, says) for does, user, wrong, right, says in VOLUME_SCENARIOS),
    *(Scenario(f"gpu-tenancy-{policy}", does, EDDA, wrong, right, says) for policy, does, wrong, right, says in TENANT_SCENARIOS),
]  # fmt: skip
POLICIES = sorted({scenario.policy for scenario in SCENARIOS})
