"""How a tenant's grant of a pool is split over its namespaces, or shared between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from gpu_tenancy.api.tenant import GpuGrant, TenantNamespace


class Share(NamedTuple):
    """A namespace's part of a grant, in GPUs.

    Attributes:
        guaranteed: its own, whatever the others do.
        spot: its ceiling for pods that may be preempted.
        shared: guaranteed GPUs that it may have on top while the tenant's other namespaces do not use them.
    """

    guaranteed: int = 0
    spot: int = 0
    shared: int = 0


def shares(grant: GpuGrant, namespaces: Sequence[TenantNamespace]) -> dict[str, Share]:
    """Split the guaranteed GPUs and the spot ceiling of a grant.

    A namespace that the grant names gets what is said there. The rest goes to the first namespace of which nothing is
    said and whose default pool this is, else to the first of which nothing is said, else to nobody (`unassigned`). The
    rest of shared guaranteed GPUs is everybody's.

    Args:
        grant: the grant of one pool.
        namespaces: all namespaces of the tenant, as listed.

    Returns:
        The share of each namespace by name, in the order of the list.
    """
    guaranteed = {share.name: share.guaranteed for share in grant.namespaces}
    spot = {share.name: share.spot for share in grant.namespaces if share.spot is not None}
    heir, spot_heir = _heir(grant, namespaces, guaranteed.keys()), _heir(grant, namespaces, spot.keys())
    rest, shared = grant.guaranteed - sum(guaranteed.values()), grant.sharing == "Shared"
    if heir is not None and not shared:
        guaranteed[heir] = rest
    if spot_heir is not None:
        spot[spot_heir] = grant.spot - sum(spot.values())
    return {
        one.name: Share(guaranteed.get(one.name, 0), spot.get(one.name, 0), rest if shared else 0) for one in namespaces
    }


def unassigned(grant: GpuGrant, namespaces: Sequence[TenantNamespace]) -> Share:
    """Give what no namespace gets, because something is said of each of them or there is none."""
    split = shares(grant, namespaces).values()
    guaranteed = sum(share.guaranteed for share in split) + max((share.shared for share in split), default=0)
    return Share(grant.guaranteed - guaranteed, grant.spot - sum(share.spot for share in split))


def _heir(grant: GpuGrant, namespaces: Sequence[TenantNamespace], said: AbstractSet[str]) -> str | None:
    open_ = [namespace for namespace in namespaces if namespace.name not in said]
    preferred = [namespace for namespace in open_ if namespace.defaultPool == grant.pool]
    return next((namespace.name for namespace in preferred + open_), None)
