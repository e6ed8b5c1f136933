"""Peerings as the world has them: what each namespace asks for, what is agreed on, and whom a change concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import SUSPENDED_LABEL
from gpu_tenancy.domain.peering import Agreement, Wish, agreements
from gpu_tenancy.reconcile.peerings import wish
from gpu_tenancy.runtime.world import Broken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpu_tenancy.runtime.world import Peering, Tenant, World


class Peers:
    """Reads the peerings of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def of(self, namespace: str) -> Sequence[Peering]:
        """List the peerings of a namespace; those that cannot be read ask for nothing, nor do those being deleted."""
        entries = self._world.peerings.by("namespace", namespace)
        return [entry.value for entry in entries if not isinstance(entry.value, Broken) and not entry.value.deleting]

    def wishes(self, namespace: str) -> Sequence[Wish]:
        """Say what a namespace asks for, in the order of `of`."""
        peerings = self.of(namespace)
        tenant = self._tenant(namespace) if peerings else None
        if tenant is None:
            return [wish(one, "", allowed=False, suspended=False) for one in peerings]
        allowed = tenant.spec.network.peering == "Allowed"
        suspended = tenant.spec.suspended or self._is_shut(namespace)
        return [wish(one, tenant.name, allowed=allowed, suspended=suspended) for one in peerings]

    def agreements(self, namespace: str) -> Mapping[str, Agreement]:
        """Say what is in force in a namespace, by the peering's uid."""
        wishes = self.wishes(namespace)
        return agreements(wishes, self.wishes) if wishes else {}

    def around(self, namespace: str, *also: str) -> set[str]:
        """Name whom a change in a namespace concerns: itself, and who names it back of those that it or `also` names.

        So a tenant that names others gives nobody any work but itself, until they name it.
        """
        named = {one.spec.peer.namespace for one in self.of(namespace)} | set(also)
        back = {name for name in named if any(one.spec.peer.namespace == namespace for one in self.of(name))}
        return {namespace} | back if named else set()

    def _is_shut(self, namespace: str) -> bool:
        """Say whether nothing new may start in a namespace, for instance since the contract is over."""
        entry = self._world.namespaces.get(namespace)
        return entry is not None and SUSPENDED_LABEL in entry.value.labels

    def _tenant(self, namespace: str) -> Tenant | None:
        """Give the tenant that has a namespace: it carries that one's label, is listed by it, and is here to stay."""
        entry = self._world.namespaces.get(namespace)
        owner = self._world.owner(namespace)
        if entry is None or entry.value.deleting or owner not in self._world.claims(namespace):
            return None
        tenant = self._world.tenants.get(owner)
        return None if tenant is None or isinstance(tenant.value, Broken) else tenant.value
