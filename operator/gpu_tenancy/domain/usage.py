"""What was promised and what was used, in whole GPU-seconds by calendar month.

What is used is seen when it changes, and stays so until the next change: so it is a sum of rates times spans.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.domain.budget import parts_of, period_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_MONTHS = 25
INTERVAL = 600
"""Seconds after which what has accrued is written down, if nothing else happens."""


class Amounts(NamedTuple):
    """GPUs at an instant, or GPU-seconds over a span.

    Attributes:
        guaranteed, spot: what pods of these tiers hold.
        booked: what reservations are promised, in their windows.
        active: what of that their quotas allow.
        used: what of that their pods hold.
    """

    guaranteed: int = 0
    spot: int = 0
    booked: int = 0
    active: int = 0
    used: int = 0

    def plus(self, rate: Amounts, seconds: int) -> Amounts:
        """Add a rate over a span."""
        return Amounts(*(total + gpus * seconds for total, gpus in zip(self, rate, strict=True)))


class Piece(NamedTuple):
    """A rate that holds in [start, end)."""

    start: int
    end: int
    rate: Amounts


@dataclass(frozen=True, slots=True)
class Account:
    """What has accrued before `until`, by the first instant of each month."""

    until: int
    months: Mapping[int, Amounts] = field(default_factory=dict)

    def advanced(self, to: int, pieces: Iterable[Piece]) -> Account:
        """Count up to an instant."""
        if to <= self.until:
            return self
        months = dict(self.months)
        for piece in pieces:
            for start, end in parts_of(max(self.until, piece.start), min(to, piece.end), "Month"):
                month = period_of(start, "Month")[0]
                months[month] = months.get(month, Amounts()).plus(piece.rate, end - start)
        return Account(to, {month: months[month] for month in sorted(months)[-MAX_MONTHS:] if any(months[month])})

    def this_month(self) -> Amounts:
        """Give what has accrued in the month of `until`."""
        return self.months.get(period_of(self.until, "Month")[0], Amounts())

    def is_due(self, written: Account, pieces: Iterable[Piece]) -> bool:
        """Say whether it is time to write it down: a window has ended since, or enough time has passed."""
        if self.months == written.months:
            return False
        ended = any(written.until < piece.end <= self.until for piece in pieces)
        return ended or self.until - written.until >= INTERVAL


class Tenure(NamedTuple):
    """A window that is open.

    Attributes:
        start: when it began to be promised: not before it was accepted.
    """

    uid: str
    tenant: str
    namespace: str
    start: int
    end: int
    gpus: int


def shared_out(tenures: Iterable[Tenure], allowed: Mapping[str, int], used: Mapping[str, int]) -> dict[str, Piece]:
    """Say at which rate each reservation holds GPUs; those of one namespace share a quota, the older promise first.

    Args:
        tenures: the windows that are open, the oldest promise first.
        allowed: what the reserved quota of each namespace allows.
        used: what pods hold of it.

    Returns:
        The rate of each by uid.
    """
    allowed, used, pieces = dict(allowed), dict(used), {}
    for one in tenures:
        active = min(one.gpus, allowed.get(one.namespace, 0))
        held = min(one.gpus, used.get(one.namespace, 0))
        allowed[one.namespace] = allowed.get(one.namespace, 0) - active
        used[one.namespace] = used.get(one.namespace, 0) - held
        # Pods that are leaving hold GPUs that the quota does not allow any more.
        rate = Amounts(booked=one.gpus, active=max(active, held), used=held)
        pieces[one.uid] = Piece(one.start, one.end, rate)
    return pieces
