"""What a reconciliation sees of an object in the cluster: its own fields, compactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import orjson

from gpu_tenancy.domain.naming import quota_of
from gpu_tenancy.reconcile.plan import Ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_tenancy.reconcile.plan import Manifest

_FLEETING = frozenset({"managedFields", "resourceVersion"})


@dataclass(frozen=True, slots=True)
class Observed:
    """An object as it was last seen, without status and managedFields, kept as JSON: ten thousand of them are small.

    Two are equal if there is nothing to do about their difference: the version alone says nothing.

    Attributes:
        labels: the object's labels.
        used: for a quota of a pool's class, `status.used`; else empty.
        counted: for a ResourceQuota, whether the controller-manager has counted it as it stands now. Until then the API
            server enforces the limits of before, and for a new quota none.
    """

    ref: Ref
    uid: str
    resource_version: str = field(compare=False)
    labels: Mapping[str, str]
    body: bytes
    deleting: bool = False
    used: tuple[tuple[str, str], ...] = ()
    counted: bool = False

    @classmethod
    def of(cls, raw: Mapping[str, Any], api_version: str, kind: str) -> Observed:
        """Trim an object as the API server sends it; items of a list lack apiVersion and kind."""
        metadata = {key: value for key, value in raw["metadata"].items() if key not in _FLEETING}
        body = {key: value for key, value in raw.items() if key not in {"status", "metadata"}}
        body |= {"apiVersion": api_version, "kind": kind, "metadata": metadata}
        ref = Ref(api_version, kind, metadata.get("namespace", ""), metadata["name"])
        quota = raw.get("status", {}) if kind == "ResourceQuota" else {}
        return cls(
            ref=ref,
            uid=metadata["uid"],
            resource_version=raw["metadata"]["resourceVersion"],
            labels=metadata.get("labels", {}),
            # A copy: what orjson gives occupies several times what it is long.
            body=bytes(memoryview(orjson.dumps(body))),
            deleting="deletionTimestamp" in metadata,
            used=tuple(quota.get("used", {}).items()) if quota_of(ref.name) else (),
            # One that limits nothing has nothing to be counted, and no status.
            counted=quota.get("hard", {}) == raw.get("spec", {}).get("hard", {}),
        )

    @property
    def manifest(self) -> Manifest:
        """The object, decoded anew at each call."""
        return cast("Manifest", orjson.loads(self.body))
