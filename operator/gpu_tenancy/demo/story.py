"""The demo from its first to its last step, and what became of each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_tenancy.demo import resilience, setup, tenancy, window
from gpu_tenancy.demo.observe import NotObserved
from gpu_tenancy.kube.errors import KubeError
from gpu_tenancy.localcluster import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gpu_tenancy.demo.screen import Screen
    from gpu_tenancy.demo.world import World


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the demo shows.

    Attributes:
        title: what happens.
        run: makes it happen, and says what was observed.
    """

    title: str
    run: Callable[[World], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a step."""

    step: str
    observed: str
    seconds: float
    ok: bool = True


STORY = (
    Step("A Kubernetes control plane starts", setup.start_control_plane),
    Step("The charts are installed", setup.install_charts),
    Step("Nodes are simulated", setup.simulate_nodes),
    Step("The operator starts, with its service account's rights only", setup.start_operator),
    Step("GPU pools are offered", setup.offer_pools),
    Step("Tenants are ready", setup.admit_tenants),
    Step("A tenant is refused: its regions contradict its residency", setup.refuse_residency),
    Step("A tenant's pods run in their region and pool", tenancy.place_pods),
    Step("A pod over its quota is refused", tenancy.refuse_over_quota),
    Step("Pods that choose their nodes themselves are refused", tenancy.refuse_foreign_nodes),
    Step("Spot pods use what is idle", window.fill_with_spot),
    Step("A reservation is accepted", window.accept_reservation),
    Step("A second reservation does not fit and is told what would", window.refuse_second_reservation),
    Step("A Job waits for its window", window.hold_job_back),
    Step("The window opens on time", window.open_window),
    Step("The Job runs, and spot pods give way", window.preempt_spot),
    Step("Notice is given before the end", window.give_notice),
    Step("The window closes on time", window.close_window),
    Step("Spot pods use again what is idle", window.return_to_spot),
    Step("The operator is killed, and everything still holds", resilience.kill_operator),
    Step("The operator comes back and has nothing to write", resilience.restart_operator),
    Step("What is deleted is restored", resilience.repair_drift),
)


async def tell(world: World, screen: Screen) -> list[Result]:
    """Take one step after the other; the first one that fails is the last."""
    results: list[Result] = []
    for step in STORY:
        started = time.monotonic()
        with screen.step(step.title):
            try:
                observed, ok = await step.run(world), True
            except (NotObserved, KubeError, LocalClusterError) as error:
                observed, ok = str(error), False
        results.append(Result(step.title, observed, round(time.monotonic() - started, 1), ok))
        screen.report(results[-1])
        if not ok:
            break
    return results
