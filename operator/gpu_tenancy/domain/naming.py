"""Names and keys that the parts agree on. Users type the first group; the others are the operator's own."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

OPERATOR = "gpu-tenancy"
PREFIX = "gpu-tenancy.dev/"

# Pod labels, written by users.
POOL_LABEL = "gpu-tenancy.dev/pool"
TIER_LABEL = "gpu-tenancy.dev/tier"
RESERVATION_LABEL = "gpu-tenancy.dev/reservation"

# Namespaces: an opt-in to adoption (value: the tenant's name) that only a cluster administrator can set ...
ADOPT_LABEL = "gpu-tenancy.dev/adopt"
# ... and what the operator sets.
TENANT_LABEL = "gpu-tenancy.dev/tenant"
PLACEMENT_LABEL = "gpu-tenancy.dev/placement"
DEFAULT_POOL_LABEL = "gpu-tenancy.dev/default-pool"
SUSPENDED_LABEL = "gpu-tenancy.dev/suspended"
# What the policies read, comma separated: they deny what is not there, and everything while an annotation is missing.
# Accelerator resources that the namespace's quotas name;
ACCELERATORS_ANNOTATION = "gpu-tenancy.dev/accelerators"
# registries, or paths in them, that images come from, `*` for any;
REGISTRIES_ANNOTATION = "gpu-tenancy.dev/registries"
# storage classes that volume claims name;
STORAGE_CLASSES_ANNOTATION = "gpu-tenancy.dev/storage-classes"
# how many Services of type LoadBalancer the base quota allows;
LOAD_BALANCERS_ANNOTATION = "gpu-tenancy.dev/load-balancers"
# device classes that resource claims name;
DEVICE_CLASSES_ANNOTATION = "gpu-tenancy.dev/device-classes"
# host names that Ingresses and routes serve;
HOSTS_ANNOTATION = "gpu-tenancy.dev/hosts"
# networks besides the cluster's that pods join, as namespace/name;
NETWORKS_ANNOTATION = "gpu-tenancy.dev/networks"
# reservations of the namespace that have nodes of their own, whose pods run nowhere else.
EXCLUSIVE_ANNOTATION = "gpu-tenancy.dev/exclusive-reservations"
# The one that limits instead: what pods may request with each GPU, as pool, GPU resource, resource of the node, amount.
PER_GPU_ANNOTATION = "gpu-tenancy.dev/per-gpu"

# What Kubernetes itself writes on each namespace: its name.
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"

# Every object that the operator writes in a tenant's namespace, and cluster-scoped ones.
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_SELECTOR = f"{MANAGED_BY_LABEL}={OPERATOR}"
# Every object of the chart, whatever its release is called.
CHART_SELECTOR = f"app.kubernetes.io/name={OPERATOR}"
# Who reports Events.
EVENT_CONTROLLER = "gpu-tenancy.dev/operator"

# Nodes. A kubelet may not set labels under node-restriction.kubernetes.io on itself.
NODE_PREFIX = "gpu-tenancy.node-restriction.kubernetes.io/"
NODE_POOL_LABEL = NODE_PREFIX + "pool"
NODE_REGION_LABEL = NODE_PREFIX + "region"
NODE_PLACEMENT_PREFIX = "placement.gpu-tenancy.node-restriction.kubernetes.io/"
# What belongs to a reservation: a label for its namespace, with its name, and a taint with its namespace.
NODE_RESERVATION_PREFIX = "reservation.gpu-tenancy.node-restriction.kubernetes.io/"
POOL_TAINT = "gpu-tenancy.dev/pool"
RESERVATION_TAINT = "gpu-tenancy.dev/reservation"

# A Job that was resumed carries the window it was resumed for, so that its owner may suspend it again.
RESUMED_ANNOTATION = "gpu-tenancy.dev/resumed-for"

BASE_QUOTA = "gpu-tenancy-base"
CLOSING_QUOTA = "gpu-other"
LIMIT_RANGE = "gpu-tenancy-defaults"


class Tier(StrEnum):
    """How firmly a pod holds its GPUs."""

    GUARANTEED = "guaranteed"
    RESERVED = "reserved"
    SPOT = "spot"


TIER_PRIORITY = {Tier.GUARANTEED: 1000, Tier.RESERVED: 1000, Tier.SPOT: -10}


def priority_class(pool: str, tier: Tier) -> str:
    """Name the PriorityClass of a pool's tier; the quota that counts it has the same name."""
    return f"gpu-{pool}-{tier.value}"


@lru_cache(maxsize=4096)
def quota_of(name: str) -> tuple[str, Tier] | None:
    """Read pool and tier from the name of a class or of its quota; None if it is no such name."""
    for tier in Tier:
        if name.startswith("gpu-") and name.endswith(f"-{tier.value}"):
            pool = name.removeprefix("gpu-").removesuffix(f"-{tier.value}")
            return (pool, tier) if pool else None
    return None
