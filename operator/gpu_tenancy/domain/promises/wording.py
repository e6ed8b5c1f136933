"""How reservations are spoken of. Messages name no other tenant and no other tenant's booking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from gpu_tenancy.api.common import format_duration, format_instant
from gpu_tenancy.domain.calendar import instant

if TYPE_CHECKING:
    from gpu_tenancy.api.pool import GpuPoolSpec


# Every decision speaks of the same windows again.
@lru_cache(maxsize=1 << 15)
def at(value: int) -> str:
    """Write an instant."""
    return format_instant(instant(value))


def span(value: int) -> str:
    """Write a duration in seconds."""
    return format_duration(timedelta(seconds=value))


@dataclass(frozen=True, slots=True)
class Wording:
    """Sentences about one pool's GPUs."""

    pool: GpuPoolSpec

    def gpus(self, count: int) -> str:
        """Name so many GPUs: `64 x NVIDIA-B200 in eu-de`."""
        return f"{count} x {self.pool.model} in {self.pool.region}"

    def fixed(self, count: int, start: int, end: int) -> str:
        """Name GPUs in a window."""
        return f"{self.gpus(count)} from {at(start)} to {at(end)}"

    def flexible(self, count: int, duration: int, not_before: int, not_after: int) -> str:
        """Name GPUs for some time within a range."""
        return f"{self.gpus(count)} for {span(duration)} between {at(not_before)} and {at(not_after)}"
