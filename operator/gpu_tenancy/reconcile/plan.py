"""What a reconciliation decides: operations in stages, and when to look again. Data only; the executor does it.

A stage begins when every operation of the one before it has succeeded, so what must stand first goes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Manifest = dict[str, Any]


class Ref(NamedTuple):
    """Names one object: `namespace` is empty for cluster-scoped kinds."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Ref:
        """Read the reference from a manifest."""
        metadata = manifest["metadata"]
        return cls(manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"])


@dataclass(frozen=True, slots=True)
class Create:
    """Create the object; if it turns out to exist, bring its fields in line with the manifest."""

    manifest: Manifest
    adopt: bool = True
    """Whether an object that exists already is brought in line; else it is an error."""
    repair: bool = False
    """Whether it undoes what someone else did to a tenant that stood."""

    @property
    def ref(self) -> Ref:
        """The object."""
        return Ref.of(self.manifest)


@dataclass(frozen=True, slots=True)
class Update:
    """Send a JSON merge patch; `resource_version` makes it fail if anyone wrote in between."""

    ref: Ref
    patch: Manifest
    resource_version: str | None = None
    subresource: Literal["", "status"] = ""
    repair: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete exactly this incarnation of the object; an object that is gone is a success."""

    ref: Ref
    uid: str
    grace_seconds: int | None = None
    repair: bool = False


@dataclass(frozen=True, slots=True)
class Evict:
    """Ask a pod to go through the Eviction API, which honours disruption budgets."""

    ref: Ref
    uid: str
    grace_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """Post an Event about an object; repeated ones are counted, not repeated."""

    regarding: Ref
    uid: str
    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    action: str = "Reconcile"


Operation = Create | Update | Delete | Evict | Emit


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations in stages, and the next instant at which the same input would give another plan.

    Attributes:
        by_namespace: whether namespaces do not build on each other: what fails in one holds up what comes later there
            and in none, such as a status, but not the other namespaces.
    """

    stages: tuple[tuple[Operation, ...], ...] = ()
    wake: datetime | None = None
    by_namespace: bool = False

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All operations in order."""
        return tuple(operation for stage in self.stages for operation in stage)


def plan(*stages: list[Operation], wake: datetime | None = None, by_namespace: bool = False) -> Plan:
    """Build a plan, leaving out empty stages; all plans with nothing to do are equal."""
    begun = tuple(tuple(stage) for stage in stages if stage)
    return Plan(begun, wake, by_namespace and bool(begun))
