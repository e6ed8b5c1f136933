"""What a pydantic model says to Kubernetes beyond its types: CEL rules, list types, printer columns.

A rule is written twice, side by side: in CEL for the API server and as a Python predicate for the model.
The property tests feed both the same objects and compare the verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Rule:
    """One validation within one object.

    Attributes:
        cel: the CEL expression; `self` is the value the rule is on.
        message: what is wrong and what to write instead, for both sides.
        holds: the same predicate in Python; `None` for a transition rule (one that reads `oldSelf`),
            which only the API server can judge.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None


@dataclass(frozen=True, slots=True)
class ListType:
    """`x-kubernetes-list-type` of a list field; `keys` name the fields that identify an item of a `map`."""

    kind: Literal["atomic", "set", "map"]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Immutable:
    """Marks a required field that never changes once it is set; `hint` says what to do instead."""

    hint: str


@dataclass(frozen=True, slots=True, eq=False)  # by identity: pydantic hashes annotations, and a mapping has no hash
class Verbatim:
    """Replaces the schema of a field by `schema`, for types whose JSON schema Kubernetes spells differently."""

    schema: Mapping[str, Any]


class ApiModel(BaseModel):
    """Base of every type in the API: frozen, camelCase as in Kubernetes, closed, judged by its rules."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules:
            if rule.holds is not None and not rule.holds(self):
                raise ValueError(rule.message)
        return self


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of `kubectl get`; `wide` hides it without `-o wide`."""

    name: str
    path: str
    type: Literal["string", "integer", "boolean", "date"] = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A custom resource: its names, scope, columns and models."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    namespaced: bool
    description: str
    spec: type[ApiModel]
    status: type[ApiModel]
    columns: tuple[Column, ...]
    name_rules: tuple[Rule, ...] = ()
    """Rules on `self.metadata.name`; their predicates take the name."""
