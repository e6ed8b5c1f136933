"""A tenant's contract in time: ahead, running, about to end, over but with promises to honour, and over."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from gpu_tenancy.api.reservation import GpuReservationStatus
    from gpu_tenancy.api.tenant import ContractTerms

# Who is served first where a pool cannot back every guarantee.
CLASS_RANK = {"Committed": 0, "OnDemand": 1, "EarlyAccess": 2}


class Stage(StrEnum):
    """Where a contract stands."""

    AHEAD = "ContractAhead"
    RUNNING = "Running"
    ENDING = "NoticeGiven"
    HONOURED = "Honoured"
    OVER = "ContractOver"


@dataclass(frozen=True, slots=True)
class Standing:
    """A contract at an instant.

    Attributes:
        wake: when time alone changes the stage.
    """

    stage: Stage = Stage.RUNNING
    wake: datetime | None = None

    @property
    def shut(self) -> bool:
        """Whether nothing new may start."""
        return self.stage in {Stage.AHEAD, Stage.OVER}

    @classmethod
    def of(cls, terms: ContractTerms | None, promised_until: datetime | None, now: datetime) -> Standing:
        """Say where a contract stands.

        Args:
            terms: the contract, if there is one.
            promised_until: when the last accepted reservation of the tenant ends, if it has any.
            now: an aware instant.
        """
        if terms is None:
            return cls()
        ends = terms.validUntil
        stages = (
            (Stage.AHEAD, terms.validFrom),
            (Stage.RUNNING, None if ends is None else ends - terms.notice),
            (Stage.ENDING, ends),
            (Stage.HONOURED, None if ends is None else promised_until),
        )
        for stage, until in stages:
            if until is not None and now < until:
                return cls(stage, until)
        return cls(Stage.RUNNING if ends is None else Stage.OVER)


def promised_until(status: GpuReservationStatus) -> datetime | None:
    """Say when the last window that was promised to a reservation ends."""
    ends = [one.end for one in status.occurrences if one.gpus]
    if status.window is not None and status.gpus:
        ends.append(status.window.end)
    return max(ends, default=None)
