"""What all controllers work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from gpu_tenancy.kube.client import Client
    from gpu_tenancy.observability.metrics import Metrics
    from gpu_tenancy.reconcile.views import Platform
    from gpu_tenancy.runtime.clock import Clock
    from gpu_tenancy.runtime.engine import Engine
    from gpu_tenancy.runtime.executor import Executor
    from gpu_tenancy.runtime.world import World


@dataclass(frozen=True, slots=True)
class Tools:
    """The surroundings of one term.

    Attributes:
        world: what was observed.
        engine: the queue and the alarms.
        executor: carries out plans.
        client: for what is not watched, such as pods.
        clock: the time.
        metrics: what Prometheus is told.
        platform: what the operator was told about the cluster.
        audit_interval: how long between two looks at everything that is not watched.
    """

    world: World
    engine: Engine
    executor: Executor
    client: Client
    clock: Clock
    metrics: Metrics
    platform: Platform
    audit_interval: timedelta
