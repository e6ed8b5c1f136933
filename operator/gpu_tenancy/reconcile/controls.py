"""The controls of a tenant: by what each is enforced, and when that was last seen to stand as it should.

An entry is small: how many objects, and one hash over the operator's own fields of all of them. It is written when it
says something new and otherwise once in a long while, so a restart has nothing to write.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import orjson

from gpu_tenancy.api.tenant import ControlStatus
from gpu_tenancy.domain.naming import BASE_QUOTA, MANAGED_BY_LABEL, PLACEMENT_LABEL, quota_of
from gpu_tenancy.reconcile.audit import combined, digest
from gpu_tenancy.reconcile.diff import OWNED, OWNED_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.reconcile.plan import Manifest
    from gpu_tenancy.reconcile.views import TenantView

Result = Literal["Verified", "Violated", "Unknown"]

NAMESPACE_ISOLATION = "namespace-isolation"
BASE_QUOTAS = "base-quota"
DEFAULT_REQUESTS = "default-requests"
GPU_QUOTAS = "gpu-quotas"
NETWORK_ISOLATION = "network-isolation"
NETWORK_SEPARATION = "network-separation"
ACCESS_BINDINGS = "access-bindings"
RESIDENCY = "residency"
ADMISSION_POLICIES = "admission-policies"

IDS = (
    NAMESPACE_ISOLATION,
    BASE_QUOTAS,
    DEFAULT_REQUESTS,
    GPU_QUOTAS,
    NETWORK_ISOLATION,
    NETWORK_SEPARATION,
    ACCESS_BINDINGS,
    RESIDENCY,
    ADMISSION_POLICIES,
)
_OVERDUE = timedelta(minutes=1)
_BY_KIND = {
    "Namespace": NAMESPACE_ISOLATION,
    "ResourceQuota": GPU_QUOTAS,
    "LimitRange": DEFAULT_REQUESTS,
    "NetworkPolicy": NETWORK_ISOLATION,
    "ClusterNetworkPolicy": NETWORK_SEPARATION,
    "RoleBinding": ACCESS_BINDINGS,
}


def control_of(manifest: Mapping[str, Any]) -> str:
    """Name the control that an object of the operator belongs to."""
    return BASE_QUOTAS if manifest["metadata"]["name"] == BASE_QUOTA else _BY_KIND[manifest["kind"]]


def own_fields(manifest: Mapping[str, Any]) -> Manifest:
    """Pick the fields of an object that are the operator's: what others add does not count.

    Nor do the amounts of a pool's quota: they follow windows and capacity, and `status.gpus` has them. Which resources
    are limited for which pods is what has to stay.
    """
    metadata = manifest["metadata"]
    fields: Manifest = {path[0]: manifest.get(path[0]) for path in OWNED.get(manifest["kind"], ())}
    if "roleRef" in manifest:
        fields["roleRef"] = manifest["roleRef"]
    if manifest["kind"] == "ResourceQuota" and quota_of(metadata["name"]) is not None:
        fields["spec"] = {**manifest["spec"], "hard": sorted(manifest["spec"].get("hard", {}))}
    for key in ("labels", "annotations"):
        fields[key] = {
            name: value
            for name, value in metadata.get(key, {}).items()
            if name.startswith(OWNED_PREFIXES) or name == MANAGED_BY_LABEL
        }
    return fields


def line_of(manifest: Mapping[str, Any], fields: Any) -> str:
    """Name an object and what it says, for the hash of its control."""
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']} {digest(fields)}"


def placement_of(namespace: Mapping[str, Any]) -> str:
    """Read the placement that a namespace's pods get."""
    label: str = namespace["metadata"].get("labels", {}).get(PLACEMENT_LABEL, "")
    return label


def lines_of(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Say what an object contributes to which controls."""
    own = (control_of(manifest), line_of(manifest, own_fields(manifest)))
    if manifest["kind"] == "Namespace":
        return own, (RESIDENCY, line_of(manifest, placement_of(manifest)))
    return (own,)


def summed_up(lines: Iterable[tuple[str, str]]) -> dict[str, tuple[int, str]]:
    """Count and hash the objects of each control."""
    by_control: defaultdict[str, list[str]] = defaultdict(list)
    for control, line in lines:
        by_control[control].append(line)
    return {control: (len(found), combined(found)) for control, found in by_control.items()}


@lru_cache(maxsize=2**15)
def _remembered(body: bytes) -> tuple[tuple[str, str], ...]:
    """Read an object once: nearly all of them stay as they are."""
    return lines_of(orjson.loads(body))


def controls(view: TenantView, objects: Iterable[Observed], now: datetime) -> list[ControlStatus]:
    """Report the controls of a tenant of which everything stands as it should.

    Args:
        view: the tenant.
        objects: the operator's objects in its namespaces, these, and its ClusterNetworkPolicy.
        now: when they were seen.
    """
    found = summed_up(entry for one in objects for entry in _remembered(one.body))
    seen = now.astimezone(UTC).replace(microsecond=0)
    before = {} if view.status is None else {one.id: one for one in view.status.controls}
    due = seen - _patience(view)

    def entry(control: str, objects: int, hash_: str, result: Result, at: datetime) -> ControlStatus:
        last = before.get(control)
        same = last is not None and (last.objects, last.hash, last.result) == (objects, hash_, result)
        if last is not None and same and last.lastVerifiedTime > due:
            return last
        return ControlStatus(id=control, objects=objects, hash=hash_, result=result, lastVerifiedTime=at)

    entries = {
        control: entry(control, *one, "Verified", seen) for control, one in found.items() if control != RESIDENCY
    }
    if view.audit is None:
        entries |= {control: before[control] for control in (RESIDENCY, ADMISSION_POLICIES) if control in before}
    else:
        audited = view.audit.at.astimezone(UTC).replace(microsecond=0)
        residence, policies = view.audit.residence, view.audit.policies
        placed: Result = "Violated" if residence.outside else "Unknown" if residence.unknown else "Verified"
        in_force: Result = "Violated" if policies.loose or not policies.objects else "Verified"
        entries[RESIDENCY] = entry(RESIDENCY, *found.get(RESIDENCY, (0, combined(()))), placed, audited)
        entries[ADMISSION_POLICIES] = entry(ADMISSION_POLICIES, policies.objects, policies.hash, in_force, audited)
    return [entries[control] for control in IDS if control in entries]


def verification_due(view: TenantView, now: datetime) -> datetime | None:
    """Say when the controls are to be verified anew although nothing has changed.

    What is overdue, since the tenant is refused or something does not settle, is looked at now and then, not at once.
    """
    entries: Sequence[ControlStatus] = () if view.status is None else view.status.controls
    times = [one.lastVerifiedTime for one in entries if one.id not in {RESIDENCY, ADMISSION_POLICIES}]
    return max(min(times) + _patience(view), now + _OVERDUE) if times else None


def _patience(view: TenantView) -> timedelta:
    """Spread over the last tenth of the interval, so that those that were made together are not written together."""
    share = crc32(view.name.encode()) % 1000 / 1000
    # Whole seconds, as what is compared with it: else the alarm for it could be early for ever.
    return timedelta(seconds=int(view.platform.verification.total_seconds() * (1 - 0.1 * share)))
