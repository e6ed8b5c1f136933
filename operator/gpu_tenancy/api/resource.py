"""Stored objects of our kinds, read into the models."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic

from pydantic import ValidationError

from gpu_tenancy.api.schema import SpecT, StatusT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_tenancy.api.schema import Kind


class InvalidObject(ValueError):  # noqa: N818  # it says what the object is, as Kubernetes' own reason Invalid does
    """A stored object that the models refuse; it was accepted by an earlier or a later version of the schema.

    Attributes:
        path: the field, such as `spec.gpus[0].pool`.
        message: what is wrong with it.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True)
class Resource(Generic[SpecT, StatusT]):
    """One object as the API server stores it.

    Attributes:
        name, namespace: where it is; the namespace is empty for cluster-scoped kinds.
        uid: this incarnation of it.
        generation: counts the changes of its spec.
        resource_version: counts all its changes; opaque.
        creation_timestamp: when it was created, in UTC, to the second.
        deleting: whether its deletion has begun.
        spec, status: the models.
        unread: fields of the stored status that could not be read, or not all of them.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    creation_timestamp: datetime
    deleting: bool
    spec: SpecT
    status: StatusT
    unread: tuple[str, ...] = ()


def parse(kind: Kind[SpecT, StatusT], raw: Mapping[str, Any]) -> Resource[SpecT, StatusT]:
    """Read an object that the API server gave out.

    Fields that the models do not know are passed over: the schema may be newer than this program. What of a status does
    not validate is passed over too: it may come from another version, and is computed anew. The rest of it is kept, for
    it may say what was promised.

    Raises:
        InvalidObject: when the name or the spec does not validate.
    """
    metadata = raw["metadata"]
    for rule in kind.name_rules:
        if rule.holds is not None and not rule.holds(metadata["name"]):
            raise InvalidObject("metadata.name", rule.message)
    status, unread = parse_status(kind, raw)
    return Resource(
        name=metadata["name"],
        namespace=metadata.get("namespace", ""),
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        creation_timestamp=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        spec=_spec(kind, raw.get("spec")),
        status=status,
        unread=unread,
    )


def _spec(kind: Kind[SpecT, StatusT], raw: Any) -> SpecT:
    try:
        return kind.spec.model_validate(raw, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise InvalidObject(f"spec{path}", first["msg"].removeprefix("Value error, ")) from error


def parse_status(kind: Kind[SpecT, StatusT], raw: Mapping[str, Any]) -> tuple[StatusT, tuple[str, ...]]:
    """Read the status of an object, whatever its spec is like, without what of it does not validate; name those fields."""
    left = raw.get("status", {})
    unread: dict[str, None] = {}
    while True:
        try:
            return kind.status.model_validate(left, extra="ignore"), tuple(unread)
        except ValidationError as error:
            left = deepcopy(left)
            first = error.errors(include_url=False, include_input=False)[0]
            # Where something is missing, what lacks it is of no use.
            if not _drop(left, first["loc"][: -1 if first["type"] == "missing" else None]):
                return kind.status(), tuple(unread)
            unread[str(first["loc"][0])] = None


def _drop(status: Any, path: tuple[int | str, ...]) -> bool:
    """Take out what is at a path; if that is nowhere, what is closest to it. Say whether anything was there."""
    inner, place = None, None
    for part in path:
        inside = part in status if isinstance(status, dict) else isinstance(status, list) and part in range(len(status))
        if not inside:
            break
        inner, place, status = status, part, status[part]
    if inner is None:
        return False
    del inner[place]
    return True
