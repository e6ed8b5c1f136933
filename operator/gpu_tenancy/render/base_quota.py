"""The base quota of a namespace: CPU, memory, storage and object counts; everything but GPUs.

| key | default | why |
|---|---|---|
| requests.cpu, requests.memory | 512, 4Ti | about two DGX B200 |
| requests.ephemeral-storage | 4Ti | |
| requests.storage, persistentvolumeclaims | 20Ti, 100 | |
| pods | 1k | 0 while suspended |
| services; services.nodeports, services.loadbalancers | 200; 0, 0 | ways in are granted, not taken |
| configmaps, secrets, resourcequotas, replicationcontrollers | 1k, 1k, 128, 10 | |
| count/... of other kinds | see below | no tenant floods the API server |
| count/resourceclaims, count/resourceclaimtemplates | 0, 0 | claims are a way to GPUs past the GPU quotas; 1k with a grant |
| devices of each DeviceClass | 0 | what is granted of it |

`spec.quota` replaces any of them, and adds others. Limits are not counted: a quota on them would make every pod name
them. Our own kinds are counted once Kubernetes counts them: a quota knows a new kind only minutes after it was installed,
and until then refuses its objects.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import BASE_QUOTA
from gpu_tenancy.domain.quantity import parse
from gpu_tenancy.render.gpu_quota import device_key
from gpu_tenancy.render.manifest import Manifest, managed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

BINDINGS_COUNT = "count/rolebindings.rbac.authorization.k8s.io"
# Spelled as the API server stores them, so that what stands is seen to be right at a glance.
OWN_KINDS = MappingProxyType(
    {"count/gpureservations.gpu-tenancy.dev": "1k", "count/tenantpeerings.gpu-tenancy.dev": "100"}
)
_DEFAULTS = {
    "requests.cpu": "512",
    "requests.memory": "4Ti",
    "requests.ephemeral-storage": "4Ti",
    "requests.storage": "20Ti",
    "persistentvolumeclaims": "100",
    "pods": "1k",
    "services": "200",
    "services.nodeports": "0",
    "services.loadbalancers": "0",
    "configmaps": "1k",
    "secrets": "1k",
    "replicationcontrollers": "10",
    "resourcequotas": "128",
    "count/serviceaccounts": "200",
    "count/deployments.apps": "500",
    "count/replicasets.apps": "5k",
    "count/statefulsets.apps": "200",
    "count/daemonsets.apps": "20",
    "count/jobs.batch": "2k",
    "count/cronjobs.batch": "200",
    "count/ingresses.networking.k8s.io": "100",
    "count/networkpolicies.networking.k8s.io": "100",
    "count/horizontalpodautoscalers.autoscaling": "200",
    "count/poddisruptionbudgets.policy": "200",
    "count/roles.rbac.authorization.k8s.io": "100",
    BINDINGS_COUNT: "100",
    "count/resourceclaims.resource.k8s.io": "0",
    "count/resourceclaimtemplates.resource.k8s.io": "0",
    **OWN_KINDS,
}
# Keys that count the operator's own objects as well.
_OWN = {
    "ResourceQuota": ("resourcequotas", "count/resourcequotas"),
    "LimitRange": ("count/limitranges",),
    "NetworkPolicy": ("count/networkpolicies.networking.k8s.io",),
    "RoleBinding": (BINDINGS_COUNT,),
}
_CLAIMS = ("count/resourceclaims.resource.k8s.io", "count/resourceclaimtemplates.resource.k8s.io")
_NONE: Mapping[str, int] = MappingProxyType({})
_LARGEST = 2**63 - 1
_FINEST = 10**9


def base_quota(
    namespace: str,
    said: Mapping[str, str],
    *,
    suspended: bool,
    own: Mapping[str, int],
    devices: Mapping[str, int] = _NONE,
    counted: Collection[str] = (),
) -> Manifest:
    """Render the quota.

    Args:
        namespace: where it counts.
        said: quantities by key that replace the defaults.
        suspended: whether no new pod may be created.
        own: how many objects the operator itself has in the namespace, by kind. They come on top, so that nobody who
            uses up their own can keep the operator from writing another.
        devices: by DeviceClass, how many devices claims may ask for.
        counted: those of OWN_KINDS that Kubernetes counts. It begins minutes after a kind was installed, and until then
            refuses all objects of a kind that a quota names.
    """
    claims = dict.fromkeys(_CLAIMS, "1k") if any(devices.values()) else {}
    hard = {**_DEFAULTS, **claims, **said, **{device_key(name): str(count) for name, count in devices.items()}}
    for key in OWN_KINDS.keys() - counted:
        del hard[key]
    for kind, number in own.items():
        for key in _OWN[kind]:
            if key in hard:
                hard[key] = str(int(parse(hard[key])) + number)
    if suspended:
        hard["pods"] = "0"
    return managed("v1", "ResourceQuota", namespace, BASE_QUOTA, spec={"hard": hard})


def load_balancers(said: Mapping[str, str]) -> str:
    """Say how many Services of type LoadBalancer the quota allows."""
    return str(int(parse(said.get("services.loadbalancers", _DEFAULTS["services.loadbalancers"]))))


def faults(said: Mapping[str, str]) -> Iterator[str]:
    """Say what the API server would refuse, or store otherwise than it is written; the schema has seen to the rest."""
    for key, amount in said.items():
        value = parse(amount)
        if "/" in key and value.denominator != 1:
            yield f"spec.quota.{key} is {amount}, but it counts whole numbers: write one"
        elif value > _LARGEST or (value * _FINEST).denominator != 1:
            yield f"spec.quota.{key} is {amount}, which is out of the range of quantities: write at most {_LARGEST}"
