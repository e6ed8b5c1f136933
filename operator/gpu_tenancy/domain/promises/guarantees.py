"""Guarantees: what each tenant keeps, what the pool can back of it now, and who gets more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu_tenancy.domain.grants import clip
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises.facts import Promise, QuotaKey
from gpu_tenancy.domain.promises.quotas import Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
    """The guarantees of a pool, oldest tenant first.

    A promise outlives a loss of capacity, so that maintenance does not hand it to a reservation. It is kept for the
    tenant even where no namespace has a share of it.

    Args:
        facts: the pool.
        capacity: GPUs that may be promised now.

    Attributes:
        unbacked: what of the capacity is left for others.
    """

    def __init__(self, facts: PoolFacts, capacity: int) -> None:
        standing = {quota.key.namespace: quota.hard for quota in facts.standing if quota.key.tier is Tier.GUARANTEED}
        self._frozen = {name: hard for name, hard in sorted(standing.items()) if name in facts.frozen}
        self._claims = [
            _Claim(grant, min(grant.guaranteed, _promised_before(grant, standing)))
            for grant in sorted(facts.grants, key=lambda grant: (grant.created, grant.tenant))
        ]
        self.unbacked = capacity - sum(self._frozen.values())
        for claim in self._claims:
            claim.backed = min(claim.kept, max(0, self.unbacked))
            self.unbacked -= claim.backed

    @property
    def promised(self) -> int:
        """GPUs that are promised, by now."""
        return sum(self._frozen.values()) + sum(claim.kept + claim.more for claim in self._claims)

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
            yield from self._wishes(clip(claim.grant.shares, claim.backed))

    def further_wishes(self) -> Iterator[Wish]:
        """Give what quotas should allow on top, of the promises made now."""
        for claim in self._claims:
            if claim.more:
                before = clip(claim.grant.shares, claim.backed)
                after = clip(claim.grant.shares, claim.backed + claim.more)
                yield from self._wishes({namespace: after[namespace] - before[namespace] for namespace in after})

    def promises(self) -> dict[str, Promise]:
        """Give the outcome for each tenant."""
        return {
            claim.grant.tenant: Promise(claim.grant.guaranteed, claim.kept + claim.more, claim.backed + claim.more)
            for claim in sorted(self._claims, key=lambda claim: claim.grant.tenant)
        }

    def _wishes(self, split: Mapping[str, int]) -> Iterator[Wish]:
        for namespace, gpus in split.items():
            if gpus and namespace not in self._frozen:
                yield Wish(QuotaKey(namespace, Tier.GUARANTEED), gpus)


def _promised_before(grant: Grant, standing: Mapping[str, int]) -> int:
    if grant.granted is not None:
        return grant.granted
    return sum(standing.get(namespace, 0) for namespace in grant.shares)
