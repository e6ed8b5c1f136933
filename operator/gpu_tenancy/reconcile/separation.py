"""What keeps tenants apart whatever their own NetworkPolicies say: a ClusterNetworkPolicy for each, where there are such.

It stands from before there is access to a namespace of the tenant until no namespace is the tenant's any more: also
while the spec is refused, while the tenant is suspended, and after it is gone, since what runs in namespaces that stay is
still to be kept apart. One of the same name that does not carry the operator's label is somebody else's and left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import MANAGED_BY_LABEL, MANAGED_SELECTOR, OPERATOR, TENANT_LABEL
from gpu_tenancy.reconcile.children import Step, Work
from gpu_tenancy.reconcile.controls import NETWORK_SEPARATION
from gpu_tenancy.reconcile.diff import merge_patch
from gpu_tenancy.reconcile.isolation import agreed
from gpu_tenancy.reconcile.plan import Create, Delete, Update
from gpu_tenancy.render.cluster_network_policy import KIND, cluster_network_policy, peers_of, policy_name

if TYPE_CHECKING:
    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.reconcile.views import TenantView


def separate(view: TenantView, *, needed: bool, steady: bool) -> Work:
    """Compare a tenant's ClusterNetworkPolicy with what should stand.

    Args:
        view: the tenant.
        needed: whether a namespace is about to become the tenant's; one that is already needs it in any case.
        steady: whether all stood before, so that a difference is someone else's doing.
    """
    priority, found = view.platform.separation_priority, view.separation
    if priority is None:
        return Work()
    needed = needed or any(one.labels.get(TENANT_LABEL) == view.name for one in view.namespaces.values())
    if found is not None and (found.deleting or not is_ours(found)):
        return Work(waiting=needed)
    if not needed:
        return Work() if found is None else Work([(Step.GONE, Delete(found.ref, found.uid))])
    listed = [] if view.spec is None else view.spec.namespaces
    peers = {one.peer.namespace for namespace in listed for one in agreed(view, namespace.name)}
    wanted = cluster_network_policy(view.name, peers, priority)
    if found is None:
        return Work([(Step.FIRST, Create(wanted, adopt=False, repair=steady and _stood(view)))])
    manifest = found.manifest
    if (patch := merge_patch(manifest, wanted)) is None:
        return Work()
    # Peerings come and go, which is nobody's meddling.
    as_before = cluster_network_policy(view.name, peers_of(manifest), priority)
    repair = steady and merge_patch(manifest, as_before) is not None
    # The version makes sure that it is still the one that was judged, and not another of the same name.
    return Work([(Step.FIRST, Update(found.ref, patch, found.resource_version, repair=repair))])


def is_ours(policy: Observed) -> bool:
    """Say whether a policy carries the operator's label."""
    return policy.labels.get(MANAGED_BY_LABEL) == OPERATOR


def taken(view: TenantView) -> str:
    """Say what to do about somebody else's policy of the name; empty if there is none."""
    if view.platform.separation_priority is None or view.separation is None or is_ours(view.separation):
        return ""
    return (
        f"{KIND} {policy_name(view.name)} exists and is not the operator's, so access to new namespaces waits: "
        f"delete it, or label it {MANAGED_SELECTOR} to hand it over"
    )


def _stood(view: TenantView) -> bool:
    """Say whether a policy that is missing was there, by the tenant's status: it may never have been wanted until now."""
    return view.status is not None and any(one.id == NETWORK_SEPARATION for one in view.status.controls)
