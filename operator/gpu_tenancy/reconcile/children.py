"""The operator's objects in a namespace: compared with what should stand, in an order that is safe wherever it stops.

A quota limits nothing until the controller-manager has counted it, and one that was lowered limits as before until then.
So access to a namespace begins only when all its quotas count, and when other tenants are kept out; where it had begun,
it is restored at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.domain.naming import CLOSING_QUOTA, Tier, quota_of
from gpu_tenancy.domain.quantity import parse
from gpu_tenancy.reconcile.diff import merge_patch
from gpu_tenancy.reconcile.plan import Create, Delete, Ref, Update
from gpu_tenancy.render.network_policy import is_peering

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.reconcile.plan import Manifest, Operation

QUOTA = "ResourceQuota"
BINDING = "RoleBinding"
POLICY = "NetworkPolicy"
# What only ever adds to what somebody may do or reach: nothing that fails elsewhere may keep it standing.
_OPENING = (BINDING, POLICY)


class Step(IntEnum):
    """When an operation comes."""

    FIRST = 0
    """Namespaces, and access and network policies that change or end."""
    LESS = 1
    """GPU quotas that give less."""
    MORE = 2
    """GPU quotas that are new or give more."""
    AROUND = 3
    """The closing quota, which lets classes out or takes them back, and everything else but access."""
    GONE = 4
    """What is not wanted any more, now that the closing quota covers it."""
    ACCESS = 5
    """Access that begins."""


class Standing(NamedTuple):
    """An object as observed, and its manifest, decoded once."""

    observed: Observed
    manifest: Manifest


@dataclass(slots=True)
class Work:
    """What is to be done in one namespace.

    Attributes:
        operations: what to write, each with its step.
        waiting: whether something is held back until the cluster has counted a quota or finished a deletion.
    """

    operations: list[tuple[Step, Operation]] = field(default_factory=list)
    waiting: bool = False

    @property
    def settled(self) -> bool:
        """Whether everything is observed to stand as it should."""
        return not self.operations and not self.waiting


def compare(
    desired: Iterable[Manifest],
    standing: Mapping[Ref, Standing],
    expendable: Collection[str],
    *,
    separated: bool = True,
    steady: bool,
    new: Collection[Ref] = (),
) -> Work:
    """Decide what to write so that the desired objects stand.

    Args:
        desired: what should stand in the namespace.
        standing: the operator's objects that are there.
        expendable: kinds of which nothing else may stand.
        separated: whether access may begin, as far as it depends on what is outside the namespace.
        steady: whether all stood before, so that a difference is someone else's doing.
        new: what did not stand before all the same.
    """
    wanted = {Ref.of(manifest): manifest for manifest in desired}
    patches = {ref: _patch(one.manifest, wanted[ref]) for ref, one in standing.items() if ref in wanted}
    limited = all(
        ref in patches and patches[ref] is None and standing[ref].observed.counted
        for ref in wanted
        if ref.kind == QUOTA
    )
    work = Work(waiting=_is_closed(wanted))
    for ref, manifest in wanted.items():
        present, patch = standing.get(ref), patches.get(ref)
        if present is not None and present.observed.deleting:
            work.waiting = True
            continue
        if present is not None and patch is None:
            continue
        if present is not None and patch is not None:
            if not _is_immutable(patch):
                work.operations.append(update(present, manifest, patch, steady=steady and ref not in new))
                continue
            work.operations.append(_delete(present.observed, Step.LESS, repair=steady))
        if ref.kind == BINDING and not ((limited and separated) or steady):
            work.waiting = True
        else:
            repair = steady and ref not in new and _stood(ref, standing)
            work.operations.append((_step(ref, steady=steady), Create(manifest, repair=repair)))
    for ref, present in standing.items():
        if ref not in wanted and ref.kind in expendable and not present.observed.deleting:
            repair = steady and quota_of(ref.name) is None and not is_peering(ref.name)
            work.operations.append(_delete(present.observed, Step.GONE, repair=repair))
    return work


def not_in(closing: Manifest | None) -> list[str]:
    """Name the classes that a closing quota leaves to their own quotas."""
    if closing is None:
        return []
    expressions = closing["spec"].get("scopeSelector", {}).get("matchExpressions", [])
    return [value for one in expressions if one["operator"] == "NotIn" for value in one.get("values", [])]


def _is_closed(wanted: Mapping[Ref, Manifest]) -> bool:
    """Say whether a class has a quota and is not let out yet, because that does not count."""
    out = not_in(next(manifest for ref, manifest in wanted.items() if ref.name == CLOSING_QUOTA))
    return any(ref.kind == QUOTA and quota_of(ref.name) is not None and ref.name not in out for ref in wanted)


def _patch(observed: Manifest, desired: Manifest) -> Manifest | None:
    """Compute the merge patch, at no cost for an object that is exactly as it was written: nearly all of them."""
    metadata, wanted = observed["metadata"], desired["metadata"]
    untouched = metadata.get("labels") == wanted["labels"] and "annotations" not in metadata
    untouched = untouched and metadata.get("ownerReferences") == wanted.get("ownerReferences")
    if untouched and all(observed.get(key) == value for key, value in desired.items() if key != "metadata"):
        return None
    return merge_patch(observed, desired)


def _is_immutable(patch: Manifest) -> bool:
    return "roleRef" in patch or "scopes" in patch.get("spec", {})


def _stood(ref: Ref, standing: Mapping[Ref, Standing]) -> bool:
    """Say whether an object that is missing was there when the tenant stood."""
    closing = standing.get(Ref(ref.api_version, ref.kind, ref.namespace, CLOSING_QUOTA))
    if ref.kind != QUOTA or quota_of(ref.name) is None:
        return True
    return closing is not None and ref.name in not_in(closing.manifest)


def _step(ref: Ref, *, steady: bool) -> Step:
    """Say when an object is created: access last, and where it had begun as soon as GPUs are limited again."""
    if ref.kind == BINDING and not steady:
        return Step.ACCESS
    limits_gpus = quota_of(ref.name) is not None or (ref.name == CLOSING_QUOTA and steady)
    return Step.MORE if limits_gpus else Step.AROUND


def update(present: Standing, manifest: Manifest, patch: Manifest, *, steady: bool) -> tuple[Step, Operation]:
    """Change an object, in the step in which that is safe: whatever raises a promise names the version it was reckoned from.

    Args:
        present: the object.
        manifest: what it should be; of a GPU quota, at least all amounts that change.
        patch: what that changes.
        steady: whether a difference is someone else's doing.
    """
    ref = present.observed.ref
    if ref.kind in _OPENING:
        return Step.FIRST, Update(ref, patch, repair=steady)
    of_gpus = quota_of(ref.name)
    if of_gpus is None:
        # Which resources there are to close is not the tenant's doing, so this may be no repair.
        return Step.AROUND, Update(ref, patch, repair=steady and ref.name != CLOSING_QUOTA)
    if not _raises(present.manifest, manifest):
        return Step.LESS, Update(ref, patch)
    promised = of_gpus[1] is not Tier.SPOT
    return Step.MORE, Update(ref, patch, present.observed.resource_version if promised else None)


def _delete(observed: Observed, step: Step, *, repair: bool) -> tuple[Step, Operation]:
    step = Step.FIRST if observed.ref.kind in _OPENING else step
    return step, Delete(observed.ref, observed.uid, repair=repair)


def _raises(observed: Manifest, desired: Manifest) -> bool:
    """Say whether a quota gives more of anything than before; a line that is missing gave everything."""
    before = observed["spec"].get("hard", {})
    return any(key in before and parse(amount) > parse(before[key]) for key, amount in desired["spec"]["hard"].items())
