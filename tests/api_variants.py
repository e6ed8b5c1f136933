"""Objects right and wrong: ways to spoil an example, strategies from the models, and the models' verdict."""

from __future__ import annotations

import json
import types
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gpu_tenancy.api.common import DAY, DURATION, INSTANT
from gpu_tenancy.api.schema import ApiModel, ListType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Path = tuple[str | int, ...]

WRITTEN = {date: DAY, timedelta: DURATION, datetime: INSTANT}
"""How a value is written whose schema has no pattern."""

# 5.0 is left out: the API server reads it as 5, but not where a rule sees it.
_ANYTHING: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 1.5, 2**53, 10**30),
    *("", " ", "x", "Ä", "\u00a0", "a" * 64, "a" * 5000),
    *([], [None], [""], {}, {"surplus": 1}, {"surplus": None}),
)
_TEXTS = (
    *("DE", "None", "Enabled", "ServiceAccount", "kube-system", "system:masters", "eu-nl", "neura-serve"),
    *("0s", "00h", "1h30m", "99999h", "99999h1s", "999999h", "1d", "1.5h", "512", "4Ti", "1.5", "500m"),
    *("2026-02-30", "2028-02-29", "2026-02-30T00:00:00Z", "2026-12-02T21:00:00+02:00", "2026-12-02T20:00:00+24:00"),
    *("2099-12-31T23:59:59Z", "2099-12-31T23:59:59-00:01", "9999-12-31T23:59:59-01:00", "2000-01-01T00:00:00+00:01"),
    *("2026-12-01T24:00:00Z", "2026-12-01T23:59:60Z", "2026-12-01T20:00:00.5Z", "2026-12-01t20:00:00z"),
)


def model_refusal(model: type[ApiModel], raw: Any) -> str | None:
    """Ask the model for its verdict on a spec or a status: why it refuses it, or None."""
    try:
        model.model_validate(raw)
    except ValidationError as error:
        return str(error)
    return None


def left_to_the_model(value: Any, path: str = "") -> Iterator[str]:
    """Name the fields outside lists that had no value and got a default that is more than empty."""
    if isinstance(value, ApiModel):
        for name, info in type(value).model_fields.items():
            if name not in value.model_fields_set and info.default not in (None, "", [], {}):
                yield f"{path}.{name}"
            yield from left_to_the_model(getattr(value, name), f"{path}.{name}")


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """List the paths of everything in a JSON value, outer ones first."""
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from places(member, (*path, key))


def at(value: Any, path: Path) -> Any:
    """Look up what is at a path."""
    for key in path:
        value = value[key]
    return value


def changed(value: Any, path: Path, *replacement: Any) -> Any:
    """Give a JSON value with what is at a path replaced, or removed if there is no replacement; the rest is shared."""
    if not path:
        return replacement[0]
    key, *inner = path
    copied = value.copy()
    if inner:
        copied[key] = changed(value[key], tuple(inner), *replacement)
    elif replacement:
        copied[key] = replacement[0]
    else:
        del copied[key]
    return copied


def spoilt(value: Any) -> list[Any]:
    """List what a value could be replaced by to be wrong, or right at the border of what is."""
    match value:
        case bool():
            return [*_ANYTHING, not value, str(value)]
        case int():
            borders = (100, 101, 1024, 1025, 1_000_000, 1_000_001, 1_000_000_001, 2**53 - 1)
            return [*_ANYTHING, value + 1, str(value), *borders]
        case str():
            variants = (
                value + "\n",
                value + " ",
                value + "ä",
                value + "\x00",
                "-" + value,
                value.swapcase(),
                value * 20,
            )
            return [*_ANYTHING, *_TEXTS, *variants, [value], {"value": value}]
        case list():
            return [*_ANYTHING, value[1:], [*value, *value[:1]], value * 300, dict.fromkeys(map(str, value), "x")]
        case dict():
            surplus = {f"surplus-{number}": "1" for number in range(70)}
            keys = ("surplus", "surplus/key", "/", "a" * 254, "Ä", "", "requests.nvidia.com/gpu")
            return [
                *_ANYTHING,
                value | surplus,
                [value],
                *({**value, key: "1"} for key in keys),
                {**value, "nul": None},
            ]
        case _:
            return [*_ANYTHING]


def single_changes(examples: Iterable[Any]) -> Iterator[Any]:
    """Give every copy of an example with one thing removed or spoilt; of the items of a list, one of each type."""
    known = set()
    for example in examples:
        for path in places(example):
            old = at(example, path)
            place = (*(key if isinstance(key, str) else "item" for key in path), type(old))
            if place in known:
                continue
            known.add(place)
            if path:
                yield changed(example, path)
            for replacement in spoilt(old):
                yield changed(example, path, replacement)


@st.composite
def combined_changes(draw: st.DrawFn, model: type[ApiModel], examples: list[Any]) -> Any:
    """Change an example in up to four places: a field that fits its type, something removed, something spoilt."""
    value = draw(st.sampled_from(examples))
    for _ in range(draw(st.integers(1, 4))):
        change = draw(st.sampled_from(["fitting", "fitting", "removed", "spoilt"]))
        inner = list(places(value))[1:]
        if change == "fitting" or not inner:
            name = draw(st.sampled_from(sorted(model.model_fields)))
            value = {**value, name: draw(fields(model)[name])}
        else:
            path = draw(st.sampled_from(inner))
            value = changed(
                value, path, *([draw(st.sampled_from(spoilt(at(value, path))))] if change == "spoilt" else [])
            )
    return value


def values(annotation: Any, metadata: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Build JSON values that fit a type of the models, its rules across fields left aside."""
    while get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata = (*inner, *metadata)
    arguments = get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return objects(annotation)
    match get_origin(annotation):
        case origin if origin in (Union, types.UnionType):
            return st.one_of(values(argument) for argument in arguments if argument is not type(None))
        case origin if origin is Literal:
            return st.sampled_from(arguments)
        case origin if origin is list:
            return st.lists(values(arguments[0]), max_size=3, unique_by=_identity(metadata))
        case origin if origin is dict:
            return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    return _scalars(annotation, metadata)


def _identity(metadata: tuple[Any, ...]) -> Callable[[Any], Any]:
    keys = next(mark.keys for mark in metadata if isinstance(mark, ListType))
    return lambda item: json.dumps([item[key] for key in keys] or item)


def _scalars(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if annotation in WRITTEN:
        return st.from_regex(WRITTEN[annotation], fullmatch=True)
    schema = TypeAdapter(Annotated[annotation, *metadata] if metadata else annotation).json_schema()
    if schema["type"] == "boolean":
        return st.booleans()
    if schema["type"] == "integer":
        borders = st.sampled_from([schema["minimum"], schema["maximum"]])
        return borders | st.integers(schema["minimum"], min(schema["maximum"], schema["minimum"] + 100))
    if "pattern" in schema:
        short = st.from_regex(schema["pattern"], fullmatch=True, alphabet=st.characters(max_codepoint=0x17F))
        return short.filter(lambda text: len(text) <= schema["maxLength"])
    return st.text(min_size=schema.get("minLength", 0), max_size=min(schema["maxLength"], 20))


def objects(model: type[ApiModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Build objects whose fields fit the model each by itself."""
    required = {name: value for name, value in fields(model).items() if model.model_fields[name].is_required()}
    optional = {name: value for name, value in fields(model).items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


@cache
def fields(model: type[ApiModel]) -> dict[str, st.SearchStrategy[Any]]:
    """Build values for each field of a model."""
    return {name: values(info.annotation, tuple(info.metadata)) for name, info in model.model_fields.items()}
