"""What the objects in a tenant's namespace have in common."""

from __future__ import annotations

from typing import Any

from gpu_tenancy.domain.naming import MANAGED_BY_LABEL, OPERATOR

Manifest = dict[str, Any]


def managed(api_version: str, kind: str, namespace: str, name: str, **fields: Any) -> Manifest:
    """Render an object that carries the operator's label, with `fields` beside its metadata."""
    metadata = {"name": name, "namespace": namespace, "labels": {MANAGED_BY_LABEL: OPERATOR}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}
