"""Structural schemas from the pydantic models, or an error: nothing is guessed and nothing is left out.

What Kubernetes' structural schemas cannot say, and what would be accepted without a bound, a description or a merge
rule, is refused with the path and the reason.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic import AfterValidator, PlainValidator, TypeAdapter, WrapValidator

from gpu_tenancy.api.pattern import why_not_portable
from gpu_tenancy.api.schema import ApiModel, Immutable, ListType, Rule, Verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic.fields import FieldInfo

Schema = dict[str, Any]

# A text has none: the API server would take a list as well, and say no more of what it refuses than the format's name.
FORMATS = {"int64"}
RULES = "x-kubernetes-validations"
SCALAR_KEYWORDS = {"type", "enum", "format", "pattern", "minLength", "maxLength", "minimum", "maximum"}
_EMPTY: tuple[Any, ...] = (None, "", [], {})


class UnsupportedModelError(ValueError):
    """A model says something that its CustomResourceDefinition could not say, or leaves something open.

    Attributes:
        path: where, such as `GpuPool.spec.headroom`.
        reason: what is wrong there.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a kind the generator is: the path, the models around it, if in a list, and if an update can remove it."""

    path: str
    models: tuple[type[ApiModel], ...] = ()
    in_list: bool = False
    removable: bool = False

    def fail(self, reason: str) -> NoReturn:
        """Refuse what is here."""
        raise UnsupportedModelError(self.path, reason)

    def field(self, name: str) -> Place:
        """Go to a field."""
        return replace(self, path=f"{self.path}.{name}")

    def element(self, suffix: str) -> Place:
        """Go to the items of a list, or the keys or values of a map."""
        return replace(self, path=self.path + suffix, in_list=True, removable=True)

    def inside(self, model: type[ApiModel]) -> Place:
        """Go into a model."""
        if model in self.models:
            self.fail(f"{model.__name__} contains itself; a structural schema has no recursion")
        return replace(self, models=(*self.models, model))


def described(model: type[ApiModel], place: Place) -> Schema:
    """Build the schema of a model that no field describes: it is described by its docstring.

    Raises:
        UnsupportedModelError: when it cannot be said as a structural schema, or leaves something open.
    """
    if not model.__doc__:
        place.fail(f"{model.__name__} has no docstring")
    return {"description": _prose(model.__doc__), **_object(model, place)}


def _object(model: type[ApiModel], place: Place) -> Schema:
    inner = place.inside(model)
    fields = model.model_fields.items()
    required = [name for name, info in fields if info.is_required()]
    return {
        "type": "object",
        **({"required": required} if required else {}),
        "properties": {name: _field(name, info, inner) for name, info in fields},
        **({"x-kubernetes-map-type": "atomic"} if model.atomic else {}),
        **validations(model.rules, place),
    }


def _field(name: str, info: FieldInfo, parent: Place) -> Schema:
    annotation, optional = _without_none(info.annotation)
    place = parent.field(name)
    if not info.description:
        place.fail("has no description")
    if info.default_factory is not None:
        place.fail("has a default factory; a default is a value")
    if info.alias or info.validation_alias or info.serialization_alias:
        place.fail("has an alias; it is spelled as in Kubernetes")
    if optional and (info.is_required() or info.default is not None):
        place.fail("may be None without None as its default; absent is the only null")
    default = {} if info.is_required() else _default(annotation, info, place)
    if not info.is_required() and not default:
        place = replace(place, removable=True)
    schema = {"description": _prose(info.description), **_value(annotation, info.metadata, place), **default}
    for mark in info.metadata:
        if isinstance(mark, Immutable):
            schema.setdefault(RULES, []).extend(validations([_immutable(mark, place)], place)[RULES])
    return schema


def _immutable(mark: Immutable, place: Place) -> Rule:
    # The rule runs where both the old and the new object have the field, so it must be one that cannot be removed.
    if place.removable:
        place.fail("is immutable but could be removed, itself or with what is around it")
    return Rule("self == oldSelf", f"cannot be changed: {mark.hint}", None)


def _default(annotation: Any, info: FieldInfo, place: Place) -> Schema:
    """Give the default that the API server writes into the object.

    None is needed where absent and empty mean the same (lists, maps, texts). The default of an object is written
    out, though its fields have their own: the API server judges it by the object's rules before it fills those in.
    Items of lists get none: tools that apply what is in Git compare lists as a whole and would see them as drift.
    """
    if info.default is None or place.in_list:
        return {}
    adapter = _adapter(annotation, info.metadata)
    default = _without_empty(adapter.dump_python(info.default, mode="json"))
    if default in _EMPTY:
        return {}
    try:
        adapter.validate_python(default)
    except ValueError as error:
        place.fail(f"has a default that it refuses: {error}")
    return {"default": default}


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_empty(member) for name, member in value.items() if member not in _EMPTY}
    return value


def _value(annotation: Any, metadata: Sequence[Any], place: Place) -> Schema:
    while get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata = [*inner, *metadata]
        if any(isinstance(mark, Immutable) for mark in inner):
            place.fail("is marked immutable inside; mark the field")
    for mark in metadata:
        if isinstance(mark, Verbatim):
            return {**_bounded(dict(mark.schema), place), **validations(mark.rules, place)}
    if any(isinstance(mark, AfterValidator | PlainValidator | WrapValidator) for mark in metadata):
        place.fail("has a validator, of which the API server knows nothing; write a rule")
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        return _list(arguments[0], metadata, place, _keywords(annotation, metadata, {"minItems", "maxItems"}))
    if origin is dict:
        return _map(
            arguments[0], arguments[1], place, _keywords(annotation, metadata, {"minProperties", "maxProperties"})
        )
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return _object(annotation, place)
    if annotation in (str, int, bool) or origin is Literal:
        return _scalar(annotation, metadata, place)
    return place.fail(f"{annotation} has no structural schema")


def _list(element: Any, metadata: Sequence[Any], place: Place, bounds: Schema) -> Schema:
    if "maxItems" not in bounds:
        place.fail("is a list without a largest length")
    merge = [mark for mark in metadata if isinstance(mark, ListType)]
    if len(merge) != 1:
        place.fail("is a list with no list type, or with several")
    inner = place.element("[]")
    model = _model(element)
    items = described(model, inner) if model else _value(element, [], inner)
    if merge[0].kind == "set" and items["type"] in {"array", "object"}:
        place.fail("is a set of what is no scalar")
    if (merge[0].kind == "map") != bool(merge[0].keys):
        place.fail("names keys exactly if it is a list of type map")
    for key in merge[0].keys:
        if items.get("properties", {}).get(key, {}).get("type") not in {"string", "integer", "boolean"}:
            place.fail(f"has the key {key}, which is no scalar of its items")
        if key not in items.get("required", ()):
            place.fail(f"has the key {key}, which an item may lack")
    keys = {"x-kubernetes-list-map-keys": list(merge[0].keys)} if merge[0].keys else {}
    return {"type": "array", **bounds, "items": items, "x-kubernetes-list-type": merge[0].kind, **keys}


def _map(key: Any, element: Any, place: Place, bounds: Schema) -> Schema:
    """Build the schema of a map; what its keys must be has no keyword and becomes a rule."""
    if "maxProperties" not in bounds:
        place.fail("is a map without a largest size")
    key_schema = _value(key, [], place.element("{key}"))
    if set(key_schema) - {"minLength"} != {"type", "pattern", "maxLength"}:
        place.fail("is a map whose keys are not bounded by a pattern and a length")
    longest = key_schema["maxLength"]
    rule = Rule(
        f"self.all(key, key.size() <= {longest} && key.matches(r'{key_schema['pattern']}'))",
        f"a key is malformed or longer than {longest} characters",
        None,
    )
    inner = place.element("{}")
    model = _model(element)
    values = described(model, inner) if model else _value(element, [], inner)
    return {"type": "object", **bounds, "additionalProperties": values, **validations([rule], place)}


def _scalar(annotation: Any, metadata: Sequence[Any], place: Place) -> Schema:
    """Translate what pydantic says it enforces; it speaks JSON Schema 2020-12, Kubernetes draft 4."""
    schema = _adapter(annotation, metadata).json_schema()
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if schema.get("type") == "integer":
        schema["format"] = "int64"
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in schema:
            if limit in schema:
                place.fail(f"has both {exclusive} and {limit}")
            schema = {**schema, limit: schema[exclusive], exclusive: True}
    return _bounded(schema, place)


def _bounded(schema: Schema, place: Place) -> Schema:
    """Let a scalar's schema pass if every keyword is understood and every value is bounded."""
    unknown = set(schema) - SCALAR_KEYWORDS - {"exclusiveMinimum", "exclusiveMaximum"}
    if unknown:
        place.fail(f"needs {', '.join(sorted(unknown))}, which no structural schema has")
    if "format" in schema and schema["format"] not in FORMATS:
        place.fail(f"has the format {schema['format']}, which says nothing to users; write a rule")
    if "pattern" in schema and (reason := why_not_portable(schema["pattern"])):
        place.fail(f"has the pattern {schema['pattern']}, which {reason}")
    match schema.get("type"):
        case "string" if "enum" not in schema and "maxLength" not in schema:
            place.fail("is a text without a largest length")
        case "integer" if "enum" in schema:
            place.fail("is an enumeration of integers; name them")
        case "integer" if not {"minimum", "maximum"} <= set(schema):
            place.fail("is an integer without a least or a greatest value")
        case "string" | "integer" | "boolean":
            return schema
    return place.fail(f"has the type {schema.get('type')}, which is no scalar")


def validations(rules: Iterable[Rule], place: Place) -> Schema:
    """Write rules as the API server takes them; of none nothing is written.

    Raises:
        UnsupportedModelError: when a rule has no message of one line.
    """
    written = []
    for rule in rules:
        if not rule.message or "\n" in rule.message:
            place.fail(f"has the rule {rule.cel} without a message of one line")
        written.append({"rule": rule.cel, "message": rule.message})
    return {RULES: written} if written else {}


def _keywords(annotation: Any, metadata: Sequence[Any], names: set[str]) -> Schema:
    """Pick the bounds of a list or map from what pydantic says it enforces."""
    schema = _adapter(annotation, metadata).json_schema()
    return {name: schema[name] for name in sorted(names) if name in schema}


def _adapter(annotation: Any, metadata: Sequence[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[annotation, *metadata] if metadata else annotation)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Split `X | None` into X and whether None was there."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    rest = [argument for argument in get_args(annotation) if argument is not type(None)]
    return (rest[0], True) if len(rest) == 1 else (annotation, False)


def _model(annotation: Any) -> type[ApiModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, ApiModel) else None


def _prose(docstring: str) -> str:
    """Undo the line breaks of the source."""
    return " ".join(docstring.split())
