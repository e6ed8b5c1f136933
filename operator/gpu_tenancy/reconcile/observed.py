"""What a reconciliation sees of an object in the cluster: its own fields, compactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from gpu_tenancy.reconcile.plan import Ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_tenancy.reconcile.plan import Manifest


@dataclass(frozen=True, slots=True)
class Observed:
    """An object as it was last seen, without status and managedFields, kept as JSON: ten thousand of them are small.

    Attributes:
        used: for a ResourceQuota, `status.used`; else empty.
        counted: for a ResourceQuota, whether the controller-manager has counted it as it stands now. Until then the API
            server enforces the limits of before, and for a new quota none.
    """

    ref: Ref
    uid: str
    resource_version: str
    body: bytes
    deleting: bool = False
    used: tuple[tuple[str, str], ...] = ()
    counted: bool = False

    @classmethod
    def of(cls, raw: Mapping[str, Any], api_version: str, kind: str) -> Observed:
        """Trim an object as the API server sends it; items of a list lack apiVersion and kind."""
        metadata = {key: value for key, value in raw["metadata"].items() if key != "managedFields"}
        body = {key: value for key, value in raw.items() if key not in {"status", "metadata"}}
        body |= {"apiVersion": api_version, "kind": kind, "metadata": metadata}
        quota = raw.get("status", {}) if kind == "ResourceQuota" else {}
        return cls(
            ref=Ref(api_version, kind, metadata.get("namespace", ""), metadata["name"]),
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            body=orjson.dumps(body),
            deleting="deletionTimestamp" in metadata,
            used=tuple(quota.get("used", {}).items()),
            counted=quota.get("hard", {}) == raw.get("spec", {}).get("hard", {}),
        )

    @property
    def manifest(self) -> Manifest:
        """The object, decoded anew at each call."""
        return cast("Manifest", orjson.loads(self.body))

    @property
    def labels(self) -> Mapping[str, str]:
        """The object's labels."""
        return cast("Mapping[str, str]", self.manifest["metadata"].get("labels", {}))
