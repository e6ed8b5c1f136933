"""Which simulated nodes stand in the demo's data centres."""

from __future__ import annotations

from dataclasses import dataclass

from gpu_tenancy.localcluster.hardware import MACHINES, NVL72_TRAYS

SMALLEST = 32
"""GPU nodes below which the tenants' guaranteed GPUs would not fit."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some nodes of one model in one place."""

    model: str
    count: int
    region: str
    zone: str

    @property
    def gpus(self) -> int:
        """How many GPUs they have together."""
        return self.count * MACHINES[self.model].gpus


def fleet(gpu_nodes: int) -> tuple[Batch, ...]:
    """Mix GPU nodes: one whole NVL72 rack, the rest half DGX B200 and half RTX PRO Servers; and a few without GPUs.

    Raises:
        ValueError: fewer than the smallest fleet.
    """
    if gpu_nodes < SMALLEST:
        raise ValueError(f"the demo's tenants need at least {SMALLEST} GPU nodes")
    dgx_b200, odd = divmod(gpu_nodes - NVL72_TRAYS, 2)
    return (
        Batch("dgx-gb200", NVL72_TRAYS, "eu-de", "eu-de-01"),
        Batch("dgx-b200", dgx_b200, "eu-de", "eu-de-02"),
        Batch("rtx-pro", dgx_b200 + odd, "eu-de", "eu-de-03"),
        Batch("cpu", 2, "eu-de", "eu-de-01"),
        Batch("cpu", 1, "eu-ch2", "eu-ch2a"),
    )
