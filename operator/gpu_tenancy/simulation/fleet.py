"""The nodes of a simulated pool, as they would describe themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.capacity import NodeFacts

if TYPE_CHECKING:
    from gpu_tenancy.simulation.scenario import SimulatedPool

TRAYS = 18  # of an NVL72 rack, https://docs.nvidia.com/dgx/dgxgb200-user-guide/hardware.html


def nodes(pool: SimulatedPool) -> list[NodeFacts]:
    """Give as many healthy nodes as the pool's GPUs make; those of a pool of cliques are in racks of 18."""
    spec = pool.spec
    full, rest = divmod(pool.gpus, spec.gpusPerNode)
    return [
        NodeFacts(
            name=f"{pool.name}-{number:05}",
            labels={"nvidia.com/gpu.clique": f"rack.{number // TRAYS}"} if spec.placementUnit == "Clique" else {},
            unschedulable=False,
            ready=True,
            taints=(),
            conditions={"Ready": "True"},
            capacity={spec.resourceName: gpus},
            allocatable={spec.resourceName: gpus},
        )
        for number, gpus in enumerate([spec.gpusPerNode] * full + ([rest] if rest else []))
    ]
