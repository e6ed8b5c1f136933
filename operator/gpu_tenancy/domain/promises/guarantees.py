"""Guarantees: what each tenant keeps, what the pool can back of it now, and who gets more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises.facts import Promise, QuotaKey
from gpu_tenancy.domain.promises.quotas import Ceiling, Wish
from gpu_tenancy.domain.promises.sharing import hand_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from gpu_tenancy.domain.promises.facts import Grant, PoolFacts


@dataclass(slots=True)
class _Claim:
    """A grant with what was promised before, what of that is backed, and what is promised on top."""

    grant: Grant
    kept: int
    backed: int = 0
    more: int = 0

    @property
    def wants(self) -> int:
        return self.grant.guaranteed - self.kept - self.more


class Guarantees:
    """The guarantees of a pool, by class of service, then oldest tenant first; those of contracts that do not run are none.

    A promise outlives a loss of capacity, so that maintenance does not hand it to a reservation. It is kept for the
    tenant even where no namespace has a share of it.

    Args:
        facts: the pool.
        capacity: GPUs that may be promised now.

    Attributes:
        unbacked: what of the capacity is left for others.
    """

    def __init__(self, facts: PoolFacts, capacity: int, now: datetime) -> None:
        guaranteed = [quota for quota in facts.standing if quota.key.tier is Tier.GUARANTEED]
        standing = {quota.key.namespace: quota.hard for quota in guaranteed}
        self._used = {quota.key.namespace: quota.used for quota in guaranteed}
        self._node = facts.spec.gpusPerNode
        self._frozen = {name: hard for name, hard in sorted(standing.items()) if name in facts.frozen}
        self._claims = [
            _Claim(grant, min(grant.guaranteed, _promised_before(grant, standing)))
            for grant in (one if one.runs(now) else replace(one, guaranteed=0) for one in facts.grants)
        ]
        self._claims.sort(key=lambda claim: (claim.grant.rank, claim.grant.created, claim.grant.tenant))
        self.unbacked = capacity - sum(self._frozen.values())
        for claim in self._claims:
            claim.backed = min(claim.kept, max(0, self.unbacked))
            self.unbacked -= claim.backed

    @property
    def promised(self) -> int:
        """GPUs that are promised, by now."""
        return sum(self._frozen.values()) + sum(claim.kept + claim.more for claim in self._claims)

    @property
    def short(self) -> bool:
        """Whether anyone's contract asks for more than is promised, by now."""
        return any(claim.wants for claim in self._claims)

    def extend(self, room: Callable[[], int]) -> int:
        """Promise more to those whose contract asks for it, and say how much.

        Args:
            room: how many more GPUs may be promised for good; asked only if anyone wants some.
        """
        wanting = [claim for claim in self._claims if claim.wants]
        left = before = max(0, room()) if wanting else 0
        for claim in wanting:
            more = min(claim.wants, left)
            claim.more += more
            left -= more
        self.unbacked -= before - left
        return before - left

    def standing_wishes(self) -> Iterator[Wish]:
        """Give what quotas should allow of the promises made before."""
        for namespace, hard in self._frozen.items():
            yield Wish(QuotaKey(namespace, Tier.GUARANTEED), hard)
        for claim in self._claims:
            yield from self._wishes(claim, 0, claim.backed)

    def further_wishes(self) -> Iterator[Wish]:
        """Give what quotas should allow on top, of the promises made now."""
        for claim in self._claims:
            yield from self._wishes(claim, claim.backed, claim.backed + claim.more)

    def ceilings(self) -> list[Ceiling]:
        """Give what each tenant's quotas may hold together: they are lowered before others of them are raised."""
        return [
            Ceiling(
                [QuotaKey(namespace, Tier.GUARANTEED) for namespace in claim.grant.shares], claim.backed + claim.more
            )
            for claim in self._claims
        ]

    def promises(self) -> dict[str, Promise]:
        """Give the outcome for each tenant."""
        return {
            claim.grant.tenant: Promise(claim.grant.guaranteed, claim.kept + claim.more, claim.backed + claim.more)
            for claim in sorted(self._claims, key=lambda claim: claim.grant.tenant)
        }

    def _wishes(self, claim: _Claim, after: int, until: int) -> Iterator[Wish]:
        """Give the wishes for a tenant's GPUs from one number to another, as they are handed out one by one."""
        if after >= until:
            return
        begin = 0
        for namespace, gpus in hand_out(claim.grant, claim.backed + claim.more, self._used, self._node):
            end = begin + gpus
            part = min(end, until) - max(begin, after)
            if part > 0 and namespace not in self._frozen:
                yield Wish(QuotaKey(namespace, Tier.GUARANTEED), part)
            begin = end


def _promised_before(grant: Grant, standing: Mapping[str, int]) -> int:
    if grant.granted is not None:
        return grant.granted
    return sum(standing.get(namespace, 0) for namespace in grant.shares)
