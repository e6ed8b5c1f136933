"""Where the objects of a kind live in the API server's URL space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of objects; `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Give the path of an object, of its subresource, or, without a name, of the collection.

        Args:
            namespace: empty for cluster-scoped kinds, and for the collection of all namespaces.
            name: empty for the collection.
            subresource: such as `status`.

        Raises:
            ValueError: if the scope does not fit the kind, or a part would lead to another path.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self.kind} is cluster-scoped, but a namespace was given: {namespace}")
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name} needs a namespace")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        parts += ["namespaces", namespace] if namespace else []
        parts += [self.plural]
        parts += [name] if name else []
        parts += [subresource] if subresource else []
        return "/" + "/".join(_segment(part) for part in parts)


@lru_cache(maxsize=4096)
def _segment(part: str) -> str:
    if part in {".", ".."} or "/" in part:
        raise ValueError(f"not a path segment: {part!r}")
    return quote(part, safe="")


NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODE = Resource("", "v1", "nodes", "Node", namespaced=False)
POD = Resource("", "v1", "pods", "Pod")
RESOURCE_QUOTA = Resource("", "v1", "resourcequotas", "ResourceQuota")
LIMIT_RANGE = Resource("", "v1", "limitranges", "LimitRange")
NETWORK_POLICY = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
CLUSTER_NETWORK_POLICY = Resource(
    "policy.networking.k8s.io", "v1alpha2", "clusternetworkpolicies", "ClusterNetworkPolicy", namespaced=False
)
ROLE_BINDING = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
PRIORITY_CLASS = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
STORAGE_CLASS = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
DEVICE_CLASS = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False)
JOB = Resource("batch", "v1", "jobs", "Job")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENT = Resource("events.k8s.io", "v1", "events", "Event")
PERSISTENT_VOLUME = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
VOLUME_SNAPSHOT = Resource("snapshot.storage.k8s.io", "v1", "volumesnapshots", "VolumeSnapshot")
_ADMISSION = "admissionregistration.k8s.io"
VALIDATING_POLICY = Resource(
    _ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
)
VALIDATING_POLICY_BINDING = Resource(
    _ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
)
MUTATING_POLICY = Resource(_ADMISSION, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", namespaced=False)
MUTATING_POLICY_BINDING = Resource(
    _ADMISSION, "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", namespaced=False
)


class Resources:
    """Finds the resource of an object by its apiVersion and kind; immutable."""

    def __init__(self, *resources: Resource) -> None:
        self._by_kind = {(resource.api_version, resource.kind): resource for resource in resources}

    def with_(self, *resources: Resource) -> Resources:
        """Add kinds, such as one's own."""
        return Resources(*self, *resources)

    def of(self, api_version: str, kind: str) -> Resource:
        """Find a resource.

        Raises:
            KeyError: if the kind is not among them.
        """
        return self._by_kind[api_version, kind]

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_kind.values())


BUILT_IN = Resources(
    NAMESPACE,
    NODE,
    POD,
    RESOURCE_QUOTA,
    LIMIT_RANGE,
    NETWORK_POLICY,
    ROLE_BINDING,
    PRIORITY_CLASS,
    STORAGE_CLASS,
    DEVICE_CLASS,
    JOB,
    DEPLOYMENT,
    STATEFUL_SET,
    LEASE,
    EVENT,
)
"""The kinds of Kubernetes itself that an operator of quotas touches."""
