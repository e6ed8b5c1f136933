"""What a pydantic model says to Kubernetes beyond its types: CEL rules, list types, printer columns.

A rule is written twice, side by side: in CEL for the API server and as a Python predicate for the model.
The property tests feed both the same objects and compare the verdicts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import core_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import GetCoreSchemaHandler


@dataclass(frozen=True, slots=True)
class Rule:
    """One validation within one object.

    Attributes:
        cel: the CEL expression; `self` is the value the rule is on.
        message: what is wrong and what to write instead, for both sides.
        holds: the same predicate in Python; `None` for a transition rule (one that reads `oldSelf`),
            which only the API server can judge, and for one that the type itself obeys.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None


def name_rule(pattern: str, longest: int, message: str) -> Rule:
    """Bind `metadata.name` to a pattern and a length; the predicate takes the name."""
    return Rule(
        f"self.metadata.name.size() <= {longest} && self.metadata.name.matches(r'{pattern}')",
        message,
        lambda name: len(name) <= longest and re.fullmatch(pattern, name) is not None,
    )


@dataclass(frozen=True, slots=True)
class ListType:
    """`x-kubernetes-list-type` of a list field; `keys` name the fields that identify an item of a `map`.

    Items of a `set` and keys of a `map` occur once; the API server sees to it by itself, the model here.
    """

    kind: Literal["atomic", "set", "map"]
    keys: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Have pydantic judge the list by this type as well."""
        return core_schema.no_info_after_validator_function(self._without_duplicates, handler(source))

    def _without_duplicates(self, items: list[Any]) -> list[Any]:
        if self.kind != "atomic":
            identities = [tuple(getattr(item, key) for key in self.keys) or item for item in items]
            if len(set(identities)) < len(items):
                raise ValueError("an entry is named twice")
        return items


@dataclass(frozen=True, slots=True)
class Immutable:
    """Marks a required field that never changes once it is set; `hint` says what to do instead."""

    hint: str


@dataclass(frozen=True, slots=True, eq=False)  # by identity: pydantic hashes annotations, and a mapping has no hash
class Verbatim:
    """Replaces the schema of a field by `schema` and `rules`, for types whose JSON schema Kubernetes spells differently."""

    schema: Mapping[str, Any]
    rules: tuple[Rule, ...] = ()


class ApiModel(BaseModel):
    """Base of every type in the API: frozen, camelCase as in Kubernetes, closed, judged by its rules.

    It accepts what the API server accepts: types are not converted, and a null member is an absent one.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)

    rules: ClassVar[tuple[Rule, ...]] = ()
    atomic: ClassVar[bool] = False
    """Whether server-side apply replaces it as a whole instead of merging its fields."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, members: Any) -> Any:
        if not isinstance(members, dict):
            return members
        return {name: value for name, value in members.items() if value is not None or name not in cls.model_fields}

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules:
            if rule.holds is not None and not rule.holds(self):
                raise ValueError(rule.message)
        return self


SpecT = TypeVar("SpecT", bound=ApiModel)
StatusT = TypeVar("StatusT", bound=ApiModel)


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of `kubectl get`; `wide` hides it without `-o wide`."""

    name: str
    path: str
    type: Literal["string", "integer", "boolean", "date"] = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind(Generic[SpecT, StatusT]):
    """A custom resource: its names, scope, columns and models."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    namespaced: bool
    description: str
    spec: type[SpecT]
    status: type[StatusT]
    columns: tuple[Column, ...]
    name_rules: tuple[Rule, ...] = ()
    """Rules on `self.metadata.name`; their predicates take the name."""
