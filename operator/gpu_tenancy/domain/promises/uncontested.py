"""Many requests at once: which of them fit beside all the others, whoever of those is accepted."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gpu_tenancy.domain.calendar import Booked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gpu_tenancy.domain.promises.limits import Limit
    from gpu_tenancy.domain.promises.windows import Held


def uncontested(asked: Iterable[Held], own: Callable[[str], Sequence[Limit]], pool: Sequence[Limit]) -> Iterator[Held]:
    """Give those in whose windows no limit is exceeded although everything that is asked for is counted in.

    Args:
        asked: the windows, each counted in its limits.
        own: the limits of a tenant.
        pool: the limits of all.
    """
    of_tenant: defaultdict[str, list[Held]] = defaultdict(list)
    for one in sorted(asked, key=lambda one: one.start):
        of_tenant[one.booking.tenant].append(one)
    within = [one for tenant, some in of_tenant.items() for one in _within(own(tenant), some)]
    yield from _within(pool, sorted(within, key=lambda one: one.start))


def _within(limits: Sequence[Limit], held: Sequence[Held]) -> Iterator[Held]:
    """Halve them, by start, until what is left is within the limits, or is one and exceeds them."""
    if not held:
        return
    span = Booked(held[0].start, max(one.end for one in held), 0)
    if all(limit.objection(span) is None for limit in limits):
        yield from held
    elif len(held) > 1:
        half = len(held) // 2
        yield from _within(limits, held[:half])
        yield from _within(limits, held[half:])
