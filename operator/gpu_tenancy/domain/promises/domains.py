"""NVLink domains: what is booked in one of them has to fit into that one, over its whole window.

A domain is kept by whole nodes, since a part of a node is nobody's domain. Bookings by count take from what all domains
have left together, so they are in the pool's calendar only, and so is everything that is booked in a domain: whatever is
counted fits beside it, wherever its pods run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.calendar import BEGINNING, Calendar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpu_tenancy.domain.calendar import Booked


class Domains:
    """What is free in each domain of a pool, over time.

    Args:
        sizes: GPUs of each domain's whole nodes that can be used, by name.
        now: in seconds.
    """

    def __init__(self, sizes: Mapping[str, int], now: int) -> None:
        self._sizes = dict(sorted(sizes.items()))
        self._now = now
        self._booked: dict[str, Calendar] = {}
        self._idle = self._distinct()

    def most(self) -> int:
        """Say how many GPUs the largest domain has."""
        return max(self._sizes.values(), default=0)

    def book(self, domain: str, booked: Booked) -> None:
        """Take GPUs of a domain; whether they are free is not asked."""
        self._calendar(domain).book(booked)

    def release(self, domain: str, booked: Booked) -> None:
        """Give back what was booked."""
        self._calendar(domain).release(booked)

    def advance(self, now: int) -> None:
        """Let time pass."""
        self._now = now
        for calendar in self._booked.values():
            calendar.advance(now)

    def fits(self, domain: str, booked: Booked) -> bool:
        """Say whether so many GPUs of a domain are free at every instant of the window."""
        return self._free(domain).fits(booked)

    def choose(self, booked: Booked, preferred: str = "") -> str | None:
        """Find the domain that has the least left beside the booking, so that others stay whole.

        Args:
            booked: what has to fit.
            preferred: is taken if it fits.
        """
        if preferred and self.fits(preferred, booked):
            return preferred
        left = ((self._free(name).free_over(booked.start, booked.end), name) for name in (*self._booked, *self._idle))
        return min((one for one in left if one[0] >= booked.gpus), default=(0, None))[1]

    def emptiest(self, booked: Booked) -> str:
        """Find the domain that has the most free in a window, or give an empty name if there are no domains."""
        free = ((-self._free(name).free_over(booked.start, booked.end), name) for name in (*self._booked, *self._idle))
        return min(free, default=(0, ""))[1]

    def calendars(self, gpus: int, only: str = "") -> Iterator[Calendar]:
        """List those that can hold so many GPUs at all; of those in which nothing is booked, one of each size.

        Args:
            gpus: how many.
            only: the one domain that is asked about, or empty.
        """
        for name in (only,) if only else (*self._booked, *self._idle):
            if self._sizes.get(name, 0) >= gpus:
                yield self._free(name)

    def _distinct(self) -> list[str]:
        """Give the first of each size among the domains in which nothing is booked: their likes answer as they do."""
        first: dict[int, str] = {}
        for name, size in self._sizes.items():
            if name not in self._booked:
                first.setdefault(size, name)
        return list(first.values())

    def _free(self, domain: str) -> Calendar:
        return self._booked.get(domain) or Calendar([(BEGINNING, self._sizes.get(domain, 0))], since=self._now)

    def _calendar(self, domain: str) -> Calendar:
        if domain not in self._booked:
            self._booked[domain] = self._free(domain)
            if domain in self._idle:
                self._idle = self._distinct()
        return self._booked[domain]


class OneDomain:
    """What can be had in one domain.

    Args:
        domains: all of them.
        only: which one it has to be, or empty if any will do.
    """

    def __init__(self, domains: Domains, only: str = "") -> None:
        self._domains = domains
        self._only = only
        self._claimed = ""

    def free_over(self, start: int, end: int) -> int:
        """Say how many GPUs of one domain are free at every instant of [start, end)."""
        return max((free.free_over(start, end) for free in self._domains.calendars(1, self._only)), default=0)

    def earliest(self, gpus: int, duration: int, not_before: int, not_after: int, step: int = 1) -> int | None:
        """Find the earliest start of a window that fits; see `Calendar.earliest`."""
        calendars = self._domains.calendars(gpus, self._only)
        starts = (free.earliest(gpus, duration, not_before, not_after, step) for free in calendars)
        return min((start for start in starts if start is not None), default=None)

    def latest(self, gpus: int, duration: int, not_before: int, not_after: int, step: int = 1) -> int | None:
        """Find the latest start of a window that fits; see `Calendar.latest`."""
        calendars = self._domains.calendars(gpus, self._only)
        starts = (free.latest(gpus, duration, not_before, not_after, step) for free in calendars)
        return max((start for start in starts if start is not None), default=None)

    def advance(self, now: int) -> None:
        """Let time pass: the domains do so themselves."""

    def book(self, booked: Booked) -> None:
        """Claim GPUs for whoever waits, in the domain that comes closest to having them."""
        self._claimed = self._claimed or self._only or self._domains.emptiest(booked)
        self._domains.book(self._claimed, booked)

    def release(self, booked: Booked) -> None:
        """Give back what was claimed."""
        self._domains.release(self._claimed, booked)
