"""What stops attacks: policies, Pod Security, quotas, roles, schemas, network policies, lines at the API server."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.policy_scenarios import RBAC
from cluster.rest import create, delete, get, patch
from gpu_tenancy.kube.resource import NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, Resource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from security.world import World

_ADMISSION = "admissionregistration.k8s.io"
_POLICY_BINDING = Resource(
    _ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
)
_MUTATION_BINDING = Resource(
    _ADMISSION, "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", namespaced=False
)
_CLUSTER_ROLE_BINDING = Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
_CRD = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
_FLOW_SCHEMA = Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", namespaced=False)
_ENFORCE = "pod-security.kubernetes.io/enforce"
_CLOSED = "no network policy lets it through"


@contextlib.contextmanager
def _without(world: World, resource: Resource, name: str, namespace: str = "") -> Iterator[None]:
    manifest = world.api.must(get(resource, name, namespace))
    world.api.must(delete(resource, name, namespace))
    try:
        yield
    finally:
        metadata = {key: manifest["metadata"].get(key) for key in ("name", "labels", "annotations", "ownerReferences")}
        world.api.must(create(resource, {"metadata": metadata, "spec": manifest["spec"]}, namespace))


@dataclass(frozen=True)
class Policy:
    """An admission policy of the chart, by its name without the prefix."""

    short: str

    @property
    def name(self) -> str:
        return f"policy {self.short}"

    def refuses(self, message: str) -> bool:
        return f"ValidatingAdmissionPolicy 'gpu-tenancy-{self.short}'" in message

    @contextlib.contextmanager
    def down(self, world: World) -> Iterator[None]:
        with _without(world, _POLICY_BINDING, f"gpu-tenancy-{self.short}"):
            yield


@dataclass(frozen=True)
class Pulls:
    """What makes every image be pulled: the mutation where there is one, and the policy on pods."""

    @property
    def name(self) -> str:
        return "policy pods"

    def refuses(self, message: str) -> bool:
        return "imagePullPolicy: Always" in message or "imagePullPolicy is changed" in message

    @contextlib.contextmanager
    def down(self, world: World) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(Policy("pods").down(world))
            if world.mutation:
                stack.enter_context(_without(world, _MUTATION_BINDING, "gpu-tenancy-placement"))
            yield


@dataclass(frozen=True)
class PodSecurity:
    """Pod Security admission by a namespace's labels."""

    namespace: str

    @property
    def name(self) -> str:
        return "Pod Security"

    def refuses(self, message: str) -> bool:
        return 'violates PodSecurity "restricted:v' in message

    @contextlib.contextmanager
    def down(self, world: World) -> Iterator[None]:
        before = world.api.must(get(NAMESPACE, self.namespace))["metadata"]["labels"][_ENFORCE]
        self._set(world, "privileged")
        try:
            yield
        finally:
            self._set(world, before)

    def _set(self, world: World, level: str) -> None:
        world.api.must(patch(NAMESPACE, self.namespace, {"metadata": {"labels": {_ENFORCE: level}}}))


@dataclass(frozen=True)
class Quota:
    """A ResourceQuota."""

    namespace: str
    quota: str

    @property
    def name(self) -> str:
        return f"quota {self.quota}"

    def refuses(self, message: str) -> bool:
        return f"exceeded quota: {self.quota}," in message

    @contextlib.contextmanager
    def down(self, world: World) -> Iterator[None]:
        with _without(world, RESOURCE_QUOTA, self.quota, self.namespace):
            yield


@dataclass(frozen=True)
class Flow:
    """The line of its own in which the operator's requests wait at the API server."""

    @property
    def name(self) -> str:
        return "FlowSchema"

    def refuses(self, message: str) -> bool:
        return "FlowSchema gpu-tenancy" in message

    @contextlib.contextmanager
    def down(self, world: World) -> Iterator[None]:
        with _without(world, _FLOW_SCHEMA, "gpu-tenancy"):
            yield


@dataclass(frozen=True)
class Rbac:
    """The narrowness of somebody's roles; down, they are cluster-admin."""

    user: str

    @property
    def name(self) -> str:
        return "RBAC"

    def refuses(self, message: str) -> bool:
        return f'User "{self.user}" cannot ' in message or (
            f'user "{self.user}"' in message and "attempting to grant RBAC permissions not currently held" in message
        )

    @contextlib.contextmanager
    def down(self, world: World) -> Iterator[None]:
        reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"}
        subjects = [{"apiGroup": RBAC, "kind": "User", "name": self.user}]
        body = {"metadata": {"name": "everything"}, "roleRef": reference, "subjects": subjects}
        world.api.must(create(_CLUSTER_ROLE_BINDING, body))
        try:
            yield
        finally:
            world.api.must(delete(_CLUSTER_ROLE_BINDING, "everything"))


@dataclass(frozen=True)
class Schema:
    """The schema of one of our kinds, with its rules and its status subresource."""

    plural: str

    @property
    def name(self) -> str:
        return f"schema {self.plural}"

    def refuses(self, message: str) -> bool:
        return " is invalid: " in message or "is dropped" in message

    @contextlib.contextmanager
    def down(self, world: World) -> Iterator[None]:
        name = f"{self.plural}.gpu-tenancy.dev"
        versions = world.api.must(get(_CRD, name))["spec"]["versions"]
        loose = [
            {
                **version,
                "schema": {"openAPIV3Schema": _loosened(version["schema"]["openAPIV3Schema"])},
                "subresources": {},
            }
            for version in versions
        ]
        world.api.must(patch(_CRD, name, {"spec": {"versions": loose}}))
        try:
            yield
        finally:
            world.api.must(patch(_CRD, name, {"spec": {"versions": versions}}))


_BOUNDS = {
    "pattern", "format", "enum", "maxLength", "minLength", "maxItems", "minItems", "maximum", "minimum",
    "maxProperties", "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
}  # fmt: skip


def _loosened(schema: dict[str, Any]) -> dict[str, Any]:
    """Keep the types of a schema and none of its bounds and rules."""
    loose = {key: value for key, value in schema.items() if key not in _BOUNDS}
    if "properties" in loose:
        # The API server allows nothing of this kind below an object's own metadata.
        loose["properties"] = {
            name: value if name == "metadata" else _loosened(value) for name, value in loose["properties"].items()
        }
        loose["x-kubernetes-preserve-unknown-fields"] = True
    for key in ("items", "additionalProperties"):
        if isinstance(loose.get(key), dict):
            loose[key] = _loosened(loose[key])
    return loose


@dataclass(frozen=True)
class NetworkPolicies:
    """All network policies of some namespaces, by Kubernetes' rules; a cluster's network has to follow them."""

    namespaces: tuple[str, ...]

    @property
    def name(self) -> str:
        return "network policies"

    def refuses(self, message: str) -> bool:
        return _CLOSED in message

    @contextlib.contextmanager
    def down(self, world: World) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for namespace in self.namespaces:
                for policy in world.api.must(get(NETWORK_POLICY, "", namespace))["items"]:
                    stack.enter_context(_without(world, NETWORK_POLICY, policy["metadata"]["name"], namespace))
            yield
