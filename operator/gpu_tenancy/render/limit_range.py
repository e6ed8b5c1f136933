"""The LimitRange of a namespace: what a container asks for that says nothing, without which the base quota refuses it."""

from __future__ import annotations

from gpu_tenancy.domain.naming import LIMIT_RANGE
from gpu_tenancy.render.manifest import Manifest, managed

# Spelled as the API server stores them. There are no default limits: a container that asks for more than one would be
# refused for it.
_REQUESTS = {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "1Gi"}


def limit_range(namespace: str) -> Manifest:
    """Render the defaults for CPU, memory and ephemeral storage; GPUs have none."""
    item = {"type": "Container", "defaultRequest": dict(_REQUESTS)}
    return managed("v1", "LimitRange", namespace, LIMIT_RANGE, spec={"limits": [item]})
