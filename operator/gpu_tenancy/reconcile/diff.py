"""What to write so that an object has the fields that it should, leaving alone those that others own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_tenancy.domain import quantity
from gpu_tenancy.domain.naming import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_tenancy.reconcile.plan import Manifest

Path = tuple[str, ...]

OWNED: Mapping[str, tuple[Path, ...]] = {
    "ResourceQuota": (("spec",),),
    "LimitRange": (("spec",),),
    "NetworkPolicy": (("spec",),),
    "ClusterNetworkPolicy": (("spec",),),
    "RoleBinding": (("subjects",),),
}
"""By kind, the fields that are the operator's with all that is below them: what is not desired there goes."""

OWNED_PREFIXES = (PREFIX, "pod-security.kubernetes.io/")
_LABELLED: tuple[Path, ...] = (("metadata", "labels"), ("metadata", "annotations"))
_QUANTITIES: Mapping[str, Path] = {"ResourceQuota": ("spec", "hard"), "LimitRange": ("spec", "limits")}


def merge_patch(
    observed: Mapping[str, Any], desired: Manifest, owned: Mapping[str, tuple[Path, ...]] = OWNED
) -> Manifest | None:
    """Compute the JSON merge patch that brings an object in line.

    Maps are merged key by key, lists and scalars replaced as a whole. Keys that only the object has are left alone,
    except below an owned field, and labels and annotations with the operator's prefix or Pod Security's. Quantities are
    compared as numbers. An empty map or list that is desired counts as present where the object has none, because the
    API server does not store it.

    Args:
        observed: the object as it is.
        desired: the fields that it should have, with the API server's defaults spelled out below owned fields.
        owned: by kind, the fields that are owned whole.

    Returns:
        The patch, or None if there is nothing to change.
    """
    kind = desired["kind"]
    return _Diff(owned.get(kind, ()), _QUANTITIES.get(kind)).of_maps((), observed, desired) or None


class _Diff:
    """The rules of one kind."""

    def __init__(self, owned: tuple[Path, ...], quantities: Path | None) -> None:
        self._owned = owned
        self._quantities = quantities

    def of_maps(self, path: Path, observed: Mapping[str, Any], desired: Mapping[str, Any]) -> Manifest:
        patch: Manifest = {key: None for key in observed if desired.get(key) is None and self._is_owned((*path, key))}
        for key, wanted in desired.items():
            have, below = observed.get(key), (*path, key)
            if wanted is None:
                if have is not None:
                    patch[key] = None
            elif isinstance(wanted, dict):
                if not isinstance(have, dict):
                    if have is not None or wanted:
                        patch[key] = wanted
                elif nested := self.of_maps(below, have, wanted):
                    patch[key] = nested
            elif not (self._same(below, have, wanted) or (have is None and wanted == [])):
                patch[key] = wanted
        return patch

    def _is_owned(self, path: Path) -> bool:
        if path[:-1] in _LABELLED:
            return path[-1].startswith(OWNED_PREFIXES)
        return any(path[: len(owned)] == owned for owned in self._owned)

    def _same(self, path: Path, have: Any, wanted: Any) -> bool:
        if isinstance(have, dict) and isinstance(wanted, dict):
            return have.keys() == wanted.keys() and all(self._same(path, have[key], wanted[key]) for key in wanted)
        if isinstance(have, list) and isinstance(wanted, list):
            return len(have) == len(wanted) and all(
                self._same(path, one, other) for one, other in zip(have, wanted, strict=True)
            )
        if have == wanted:
            return True
        return (
            self._quantities is not None and path[: len(self._quantities)] == self._quantities and _equal(have, wanted)
        )


def _equal(have: Any, wanted: Any) -> bool:
    if not (isinstance(have, str | int) and isinstance(wanted, str | int)):
        return False
    try:
        return quantity.same(have, wanted)
    except ValueError:
        return False
