"""How a tenant's grant of a pool is split over its namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from gpu_tenancy.api.tenant import GpuGrant, TenantNamespace


class Share(NamedTuple):
    """A namespace's part of a grant, in GPUs."""

    guaranteed: int = 0
    spot: int = 0


def shares(grant: GpuGrant, namespaces: Sequence[TenantNamespace]) -> dict[str, Share]:
    """Split the guaranteed GPUs and the spot ceiling of a grant.

    A namespace that the grant names gets what is said there. The rest goes to the first namespace of which nothing is
    said and whose default pool this is, else to the first of which nothing is said, else to nobody (`unassigned`).

    Args:
        grant: the grant of one pool.
        namespaces: all namespaces of the tenant, as listed.

    Returns:
        The share of each namespace by name, in the order of the list.
    """
    guaranteed = {share.name: share.guaranteed for share in grant.namespaces}
    spot = {share.name: share.spot for share in grant.namespaces if share.spot is not None}
    heir, spot_heir = _heir(grant, namespaces, guaranteed.keys()), _heir(grant, namespaces, spot.keys())
    if heir is not None:
        guaranteed[heir] = grant.guaranteed - sum(guaranteed.values())
    if spot_heir is not None:
        spot[spot_heir] = grant.spot - sum(spot.values())
    return {one.name: Share(guaranteed.get(one.name, 0), spot.get(one.name, 0)) for one in namespaces}


def unassigned(grant: GpuGrant, namespaces: Sequence[TenantNamespace]) -> Share:
    """Give what no namespace gets, because something is said of each of them or there is none."""
    split = shares(grant, namespaces).values()
    return Share(
        grant.guaranteed - sum(share.guaranteed for share in split), grant.spot - sum(share.spot for share in split)
    )


def clip(split: Mapping[str, Share], granted: int) -> dict[str, int]:
    """Hand out `granted` guaranteed GPUs to the namespaces in their order, to each at most its share."""
    handed_out = {}
    for name, share in split.items():
        handed_out[name] = min(share.guaranteed, granted)
        granted -= handed_out[name]
    return handed_out


def _heir(grant: GpuGrant, namespaces: Sequence[TenantNamespace], said: AbstractSet[str]) -> str | None:
    open_ = [namespace for namespace in namespaces if namespace.name not in said]
    preferred = [namespace for namespace in open_ if namespace.defaultPool == grant.pool]
    return next((namespace.name for namespace in preferred + open_), None)
