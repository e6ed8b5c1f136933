"""The example files as the demo uses them: an hour becomes ten seconds, and nothing else changes.

What a window may be at most stays, so that other examples can be tried afterwards.
"""

from __future__ import annotations

import copy
import math
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gpu_tenancy.api import IndustrialTenantSpec
from gpu_tenancy.api.common import format_duration, format_instant, parse_duration
from gpu_tenancy.domain.naming import (
    NODE_PLACEMENT_PREFIX,
    NODE_POOL_LABEL,
    POOL_LABEL,
    POOL_TAINT,
    RESERVATION_LABEL,
    TIER_LABEL,
    Tier,
    priority_class,
)
from gpu_tenancy.domain.residency import Placement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Object = dict[str, Any]

EXAMPLES = Path(__file__).parents[3] / "examples" / "industrial-ai-cloud"
HOUR = timedelta(seconds=10)
SPEED_UP = timedelta(hours=1) / HOUR
SECOND = timedelta(seconds=1)
AT_MOST = {"maximumDuration", "horizon"}
FILLS_IN_SINCE = (1, 36)
"""The Kubernetes version from which an admission policy fills in what pods leave out."""


def objects(file: str) -> list[Object]:
    """Read the objects of an example file, by its name without the ending, such as `02-pools`."""
    return copy.deepcopy(_read(file))


@cache
def _read(file: str) -> list[Object]:
    return list(yaml.safe_load_all((EXAMPLES / f"{file}.yaml").read_text("utf-8")))


def quickened_pools() -> Iterator[Object]:
    """Give the example's pools with durations of the demo's pace."""
    for pool in objects("02-pools"):
        rules = pool["spec"]["reservations"]
        shorter = {field: one for field, one in rules.items() if isinstance(one, str) and field not in AT_MOST}
        rules |= {field: quickened(duration) for field, duration in shorter.items()}
        yield pool


def quickened(duration: str) -> str:
    """Shorten a duration to the demo's pace, to whole seconds and at least one."""
    return format_duration(max(SECOND, timedelta(seconds=round((parse_duration(duration) / SPEED_UP).total_seconds()))))


def reservation(pool: Mapping[str, Any], earliest: datetime) -> Object:
    """Give the example's reservation at the demo's pace, starting at the pool's first step from `earliest` on."""
    [manifest] = objects("07-reservation")
    step = parse_duration(pool["spec"]["reservations"]["step"]).total_seconds()
    start = datetime.fromtimestamp(math.ceil(earliest.timestamp() / step) * step, UTC)
    duration = quickened(manifest["spec"]["window"]["duration"])
    manifest["spec"]["window"] = {"start": format_instant(start), "duration": duration}
    return manifest


def bare_pod(workload: Mapping[str, Any], name: str, *, gpus: int) -> Object:
    """Make a pod of its own from a workload's template, asking for so many GPUs."""
    template = copy.deepcopy(workload["spec"]["template"])
    template["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = gpus
    metadata = {**template["metadata"], "name": name, "namespace": workload["metadata"]["namespace"]}
    metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key != "app"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def as_users_write(manifest: Object, kubernetes: str) -> Object:
    """Give a workload or pod as it is written on that version of Kubernetes: older ones want every field."""
    if tuple(map(int, kubernetes.split(".")[:2])) >= FILLS_IN_SINCE:
        return manifest
    written = copy.deepcopy(manifest)
    pod = written if written["kind"] == "Pod" else written["spec"]["template"]
    labels = pod["metadata"]["labels"]
    placement, default_pool = _namespace(written["metadata"]["namespace"])
    pool = labels.get(POOL_LABEL, default_pool)
    tier = Tier.RESERVED if RESERVATION_LABEL in labels else Tier(labels.get(TIER_LABEL, Tier.GUARANTEED))
    pod["spec"] |= {
        "nodeSelector": {NODE_PLACEMENT_PREFIX + placement: "true", NODE_POOL_LABEL: pool},
        "priorityClassName": priority_class(pool, tier),
        "tolerations": [{"key": POOL_TAINT, "operator": "Equal", "value": pool, "effect": "NoSchedule"}],
        "containers": [container | {"imagePullPolicy": "Always"} for container in pod["spec"]["containers"]],
    }
    return written


def _namespace(name: str) -> tuple[str, str]:
    """Find a namespace's placement and default pool in the example's tenants."""
    for tenant in objects("03-tenants"):
        spec = IndustrialTenantSpec.model_validate(tenant["spec"])
        for namespace in spec.namespaces:
            if namespace.name == name:
                return Placement.of(spec.residency).name, namespace.defaultPool or ""
    raise LookupError(f"no tenant of the example has the namespace {name}")
