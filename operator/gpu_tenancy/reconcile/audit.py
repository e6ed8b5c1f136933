"""What an audit of the cluster found: where a tenant's things are, and which admission policies are in force."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from gpu_tenancy.domain.conditions import find
from gpu_tenancy.domain.naming import OPERATOR, TENANT_LABEL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from gpu_tenancy.domain.residency import Placement
    from gpu_tenancy.domain.whereabouts import Residence
    from gpu_tenancy.reconcile.views import TenantView

_SHOWN = 5
_HASH = 32
# The validating ones; the mutating ones depend on the version of Kubernetes.
CHART_POLICIES = frozenset(
    f"{OPERATOR}-{name}"
    for name in (
        "accelerators", "bindings", "images", "ingresses", "managed-objects", "namespaces", "network-policies", "nodes",
        "pod-updates", "pods", "resource-claims", "routes", "secrets", "services", "volume-claims",
    )
)  # fmt: skip
# What these judge is outside of tenants' namespaces.
_ABOUT_OTHERS = {f"{OPERATOR}-{name}" for name in ("accelerators", "namespaces", "nodes")}
_TENANTS = {"matchExpressions": [{"key": TENANT_LABEL, "operator": "Exists"}]}


@dataclass(frozen=True, slots=True)
class Policies:
    """The admission policies of the chart, as they stand.

    Attributes:
        objects: how many policies and bindings there are.
        hash: of what they say.
        loose: policies that are missing, that let pass what they cannot judge, or that no binding puts into force
            in every tenant's namespaces with Deny.
    """

    objects: int = 0
    hash: str = ""
    loose: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        policies: Iterable[Mapping[str, Any]],
        bindings: Iterable[Mapping[str, Any]],
        expected: Collection[str] = (),
    ) -> Policies:
        """Read validating and mutating policies and their bindings; those that are expected have to be there."""
        policies, bindings = list(policies), list(bindings)
        bound = {
            one["spec"]["policyName"]
            for one in bindings
            if _is_whole(one["spec"])
            and (one["kind"].startswith("Mutating") or "Deny" in one["spec"].get("validationActions", []))
        }
        names = {one["metadata"]["name"] for one in policies}
        strict = {one["metadata"]["name"] for one in policies if one["spec"].get("failurePolicy", "Fail") == "Fail"}
        loose = names.union(expected) - (strict & bound)
        return cls(len(policies) + len(bindings), combined(map(line, (*policies, *bindings))), tuple(sorted(loose)))


@dataclass(frozen=True, slots=True)
class Audit:
    """What is known of one tenant from the audits of this term.

    Attributes:
        residence: where its things are.
        policies: what holds for all tenants.
        at: when everything was last looked at.
        counted: names by which quotas count the operator's own kinds, those that Kubernetes counts by now.
    """

    residence: Residence
    policies: Policies
    at: datetime
    counted: frozenset[str] = frozenset()


def _is_whole(binding: Mapping[str, Any]) -> bool:
    """Say whether a binding holds in every namespace of tenants and, where its policy is about others, in all of them."""
    limits = {key: value for key, value in (binding.get("matchResources") or {}).items() if key != "matchPolicy"}
    if not any(limits.values()):
        return True
    selector = limits.pop("namespaceSelector", None)
    return binding["policyName"] not in _ABOUT_OTHERS and selector == _TENANTS and not any(limits.values())


def line(manifest: Mapping[str, Any]) -> str:
    """Name an object and the hash of its spec, for `combined`."""
    return f"{manifest['kind']} {manifest['metadata']['name']} {digest(manifest.get('spec'))}"


def digest(value: Any) -> str:
    """Hash a JSON value, whatever the order of its keys."""
    return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_HASH]


def combined(lines: Iterable[str]) -> str:
    """Hash what several objects say, whatever their order."""
    return sha256("\n".join(sorted(lines)).encode()).hexdigest()[:_HASH]


def violation(view: TenantView, placement: Placement) -> tuple[str, str] | None:
    """Say what of the tenant is where it may not be; before anyone has looked, what was said before."""
    if view.audit is None:
        before = None if view.status is None else find(view.status.conditions, "ResidencyViolated")
        return None if before is None else (before.reason, before.message)
    outside = view.audit.residence.outside
    if not outside:
        return None
    more = f"; and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else ""
    found = "; ".join(item.text for item in outside[:_SHOWN]) + more
    message = (
        f"placement {placement.name} does not admit: {found}; have them moved or deleted, put right the catalogue or "
        f"the labels of the nodes, or admit the region in spec.residency"
    )
    return "OutsidePlacement", message
