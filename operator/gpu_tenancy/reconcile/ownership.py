"""Which namespaces are a tenant's, and what becomes of each.

The view names for each listed namespace the one tenant that may have it. That tenant acts on it if nobody has it yet, or
if it carries its label, which only the operator and the cluster's administrators can write. A label that was changed or
lost is put back if the tenant stood there until now: its objects are still inside, and its own status says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import ADOPT_LABEL, TENANT_LABEL
from gpu_tenancy.render.namespace import refers_to_tenant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_tenancy.api.tenant import IndustrialTenantSpec, IndustrialTenantStatus, TenantNamespace
    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.reconcile.views import TenantView

_RESERVED_PREFIXES = ("kube-", "openshift-")


class Reason(StrEnum):
    """Why a namespace is as it is; what status says of it."""

    READY = "Ready"
    PROVISIONING = "Provisioning"
    PROGRESSING = "Progressing"
    TERMINATING = "Terminating"
    RETAINED = "Retained"
    NAME_TAKEN = "NameTaken"
    RESERVED = "Reserved"
    NOT_ADOPTED = "NotAdopted"


REFUSALS = frozenset({Reason.NAME_TAKEN, Reason.RESERVED, Reason.NOT_ADOPTED})
_STOOD = frozenset({Reason.READY, Reason.PROVISIONING, Reason.PROGRESSING, Reason.TERMINATING})


@dataclass(frozen=True, slots=True)
class Kept:
    """A listed namespace that is the tenant's; `observed` is None for one that is to be created.

    Attributes:
        adopted: whether it becomes the tenant's only now, by the opt-in label.
    """

    spec: IndustrialTenantSpec
    declared: TenantNamespace
    observed: Observed | None = None
    adopted: bool = False

    @property
    def name(self) -> str:
        """The namespace."""
        return self.declared.name


@dataclass(frozen=True, slots=True)
class Retained:
    """A namespace that is not listed any more and stays, shut."""

    observed: Observed

    @property
    def name(self) -> str:
        """The namespace."""
        return self.observed.ref.name


@dataclass(frozen=True, slots=True)
class Removed:
    """A namespace that is not listed any more and goes."""

    observed: Observed

    @property
    def name(self) -> str:
        """The namespace."""
        return self.observed.ref.name


@dataclass(frozen=True, slots=True)
class Left:
    """A namespace in which nothing is written.

    Attributes:
        reason: why.
        message: the same for people, with what to do.
        listed: whether the tenant lists it.
    """

    name: str
    reason: Reason
    message: str
    listed: bool


Claim = Kept | Retained | Removed | Left


def claims(view: TenantView) -> list[Claim]:
    """Decide on each namespace: those listed in their order, then those that carry the tenant's label, by name."""
    spec = view.spec
    declared = [] if spec is None else [(spec, one) for one in spec.namespaces]
    listed = {one.name for _, one in declared} | view.foreign
    labelled = sorted(name for name, one in view.namespaces.items() if one.labels.get(TENANT_LABEL) == view.name)
    inside = {ref.namespace for ref in view.children}
    return [
        *(_listed(view, spec, one, inside=one.name in inside) for spec, one in declared),
        *(
            _unlisted(view, view.namespaces[name])
            for name in labelled
            if name not in listed and not _is_reserved(view, name)
        ),
    ]


def previous_reasons(status: IndustrialTenantStatus | None) -> dict[str, str]:
    """Give what the last status said of each namespace."""
    return {} if status is None else {one.name: one.reason for one in status.namespaces}


def stands_in(status: IndustrialTenantStatus | None, namespace: str) -> bool:
    """Say whether a tenant had a namespace when its status was written."""
    return previous_reasons(status).get(namespace) in _STOOD


def _is_reserved(view: TenantView, name: str) -> bool:
    return name in {"default", view.platform.operator_namespace} or name.startswith(_RESERVED_PREFIXES)


def _listed(view: TenantView, spec: IndustrialTenantSpec, declared: TenantNamespace, *, inside: bool) -> Claim:
    name, observed = declared.name, view.namespaces.get(declared.name)
    labels: Mapping[str, str] = {} if observed is None else observed.labels
    # It needs both: a status may be older than the namespace, and objects may be another tenant's.
    stands = inside and stands_in(view.status, name)
    if _is_reserved(view, name):
        message = f"{name} belongs to the platform: choose another name in spec.namespaces"
        return Left(name, Reason.RESERVED, message, listed=True)
    foreign = labels.get(TENANT_LABEL, view.name) != view.name and not stands
    if foreign or view.claims.get(name, view.name) != view.name:
        message = f"{name} belongs to another tenant: choose another name in spec.namespaces"
        return Left(name, Reason.NAME_TAKEN, message, listed=True)
    if observed is not None and observed.deleting:
        message = f"{name} is being deleted; it is created anew when it is gone"
        return Left(name, Reason.TERMINATING, message, listed=True)
    if observed is None or TENANT_LABEL in labels or stands:
        return Kept(spec, declared, observed)
    if labels.get(ADOPT_LABEL) == view.name:
        return Kept(spec, declared, observed, adopted=True)
    message = (
        f"{name} exists and is nobody's: label it {ADOPT_LABEL}={view.name} to have it adopted, or choose another name"
    )
    return Left(name, Reason.NOT_ADOPTED, message, listed=True)


def _unlisted(view: TenantView, observed: Observed) -> Claim:
    name = observed.ref.name
    if observed.deleting:
        return Left(name, Reason.TERMINATING, f"{name} is not listed any more and is being deleted", listed=False)
    if view.spec is None:
        references = observed.manifest["metadata"].get("ownerReferences", [])
        if any(map(refers_to_tenant, references)):
            return Left(name, Reason.TERMINATING, f"{name} goes with its tenant", listed=False)
        return Retained(observed)
    # Only what this tenant listed until now is deleted; a label alone is no proof of it.
    if view.spec.deletionPolicy == "Delete" and stands_in(view.status, name):
        return Removed(observed)
    return Retained(observed)
