"""Whatever the models: the generator refuses them, or every value that the schema admits is typed and bounded."""

from __future__ import annotations

import copy
import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, create_model

from api_examples import SPECS, STATUSES
from api_variants import combined_changes, left_to_the_model, model_refusal
from gpu_tenancy.api import KINDS
from gpu_tenancy.api.common import (
    DAY,
    DURATION,
    INSTANT,
    Day,
    Duration,
    Instant,
    format_duration,
    format_instant,
    parse_duration,
    parse_instant,
)
from gpu_tenancy.api.crd import custom_resource_definition, document
from gpu_tenancy.api.pattern import why_not_portable
from gpu_tenancy.api.schema import ApiModel, Kind, ListType
from gpu_tenancy.api.structural import UnsupportedModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

patient = settings(deadline=None)  # a model is compiled, or an example drawn, in a time that depends on the machine
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


class Nothing(ApiModel):
    """Nothing."""


Text = Annotated[str, StringConstraints(pattern="^[a-z]+$", max_length=9)]
CLOSED = [Text, Annotated[int, Field(ge=0, le=9)], bool, Literal["a"], Literal["a", "b"], Duration, Instant]
OPEN = [str, int, float, bytes, Any, timedelta, Literal[1], Text | bool, Text | None, tuple[Text, ...]]
MARKS = [
    *(ListType("atomic"), ListType("set"), ListType("map", ("name",)), ListType("map")),
    *(Field(ge=0), Field(gt=0, lt=9), Field(max_length=3), Field(multiple_of=2), StringConstraints(pattern="a")),
]


def annotations() -> st.SearchStrategy[Any]:
    """Draw types of fields, some of which no definition can hold."""
    scalars = st.sampled_from([*CLOSED, *CLOSED, *OPEN])

    def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        bounded_list = inner.map(lambda kind: Annotated[list[kind], Field(max_length=3), ListType("atomic")])
        bounded_map = inner.map(lambda kind: Annotated[dict[Text, kind], Field(max_length=3)])
        marked = st.tuples(inner, st.sampled_from(MARKS)).map(lambda pair: Annotated[pair[0], pair[1]])
        open_list, open_map = inner.map(lambda kind: list[kind]), inner.map(lambda kind: dict[Text, kind])
        made = st.dictionaries(st.sampled_from(["name", "size"]), inner, min_size=1).map(model)
        return bounded_list | bounded_map | made | marked | open_list | open_map

    return scalars | st.recursive(scalars, nested, max_leaves=4)


def model(fields: dict[str, Any]) -> type[ApiModel]:
    described = {name: (Annotated[kind, Field(description="It.")], ...) for name, kind in fields.items()}
    made: type[ApiModel] = create_model("Made", __base__=ApiModel, __doc__="Made up.", **described)  # type: ignore[call-overload]
    return made


def scalars_and_more(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """List every schema in a schema."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        assert field.get("description"), f"{path}.{name} is not described"
        yield from scalars_and_more(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from scalars_and_more(schema[key], f"{path}[]")


def assert_closed(schema: dict[str, Any]) -> None:
    for path, part in scalars_and_more(schema, ""):
        match part["type"]:
            case "string":
                assert "enum" in part or "maxLength" in part, path
                assert "pattern" not in part or why_not_portable(part["pattern"]) is None, path
            case "integer":
                assert {"minimum", "maximum", "format"} <= set(part), path
            case "array":
                assert {"items", "maxItems", "x-kubernetes-list-type"} <= set(part), path
                assert part["x-kubernetes-list-type"] == "atomic" or part["items"]["type"] != "array", path
            case "object":
                assert ("properties" in part) != ("additionalProperties" in part), path
                assert "properties" in part or "maxProperties" in part, path
            case other:
                assert other == "boolean", path
        assert not {"$ref", "anyOf", "oneOf", "allOf", "title", "const", "nullable", "propertyNames"} & set(part), path


@patient
@given(annotations())
@example(Annotated[list[Duration], Field(max_length=3), ListType("set")])
def test_a_model_is_refused_or_its_schema_is_closed(annotation: Any) -> None:
    try:
        made = model({"field": annotation})
    except (TypeError, RuntimeError):
        assume(False)  # pydantic itself finds no sense in it
    kind = Kind("Thing", "things", (), False, "Thing.", made, Nothing, ())
    with suppress(UnsupportedModelError):
        assert_closed(part_schema(kind, "spec"))
        assert document(kind) == document(kind)


def part_schema(kind: Kind[Any, Any], part: str) -> dict[str, Any]:
    root = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema: dict[str, Any] = root["properties"][part]
    return schema


OURS = {(kind.kind, part): part_schema(kind, part) for kind in KINDS for part in ("spec", "status")}


@each_kind
def test_our_own_kinds_are_closed(kind: Kind[Any, Any]) -> None:
    assert_closed(OURS[kind.kind, "spec"])
    assert_closed(OURS[kind.kind, "status"])


def defaulted(value: Any, schema: dict[str, Any]) -> Any:
    """Fill in defaults as the API server does: nulls go first, then absent members come, outer ones before inner."""
    if isinstance(value, dict) and "properties" in schema:
        fields = schema["properties"]
        known = {name: member for name, member in value.items() if member is not None or name not in fields}
        known |= {
            name: copy.deepcopy(fields[name]["default"])
            for name in fields
            if name not in known and "default" in fields[name]
        }
        return {name: defaulted(member, fields.get(name, {})) for name, member in known.items()}
    if isinstance(value, list) and "items" in schema:
        return [defaulted(item, schema["items"]) for item in value]
    return value


# tests/cluster/test_crds.py has the API server itself fill them in, and more often.
@each_kind
@settings(patient, max_examples=40)
@given(data=st.data())
def test_defaults_of_the_schema_are_those_of_the_model(kind: Kind[Any, Any], data: st.DataObject) -> None:
    part, spec_or_status, examples = data.draw(
        st.sampled_from([("spec", kind.spec, SPECS[kind.kind]), ("status", kind.status, STATUSES[kind.kind])])
    )
    sent = data.draw(combined_changes(spec_or_status, examples).filter(lambda raw: isinstance(raw, dict)))
    assume(model_refusal(spec_or_status, sent) is None)
    read = spec_or_status.model_validate(defaulted(sent, OURS[kind.kind, part]))
    assert read == spec_or_status.model_validate(sent)
    assert not list(left_to_the_model(read))


PATTERNS = sorted(
    {field["pattern"] for schema in OURS.values() for _, field in scalars_and_more(schema, "") if "pattern" in field}
)


@patient
@given(pattern=st.sampled_from(PATTERNS), data=st.data())
def test_python_and_pydantic_read_our_patterns_alike(pattern: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(pattern) | st.text("aA0.-/: \n\u0660é", max_size=6))
    try:
        TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)]).validate_python(text)
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted == (re.fullmatch(pattern, text) is not None)


def test_a_day_is_one_that_there_is() -> None:
    first, last = date(2000, 1, 1), date(2099, 12, 31)
    days = {(first + timedelta(number)).isoformat() for number in range((last - first).days + 1)}
    written = {f"{y}-{m:02}-{d:02}" for y in range(1999, 2102) for m in range(14) for d in range(33)}
    assert {text for text in written if re.fullmatch(DAY, text)} == days


@pytest.mark.parametrize("pattern", [DAY, DURATION, INSTANT])
def test_the_api_server_and_python_read_our_rules_on_texts_alike(pattern: str) -> None:
    assert why_not_portable(pattern) is None


@given(st.integers(0, 99_999 * 3600))
def test_a_duration_is_read_as_it_is_written(seconds: int) -> None:
    text = format_duration(timedelta(seconds=seconds))
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert TypeAdapter(Duration).validate_python(text) == timedelta(seconds=seconds)


@given(st.from_regex(DURATION, fullmatch=True) | st.text("0159hms. -+d", max_size=8))
def test_a_duration_is_a_sum_of_hours_minutes_and_seconds_or_an_error(text: str) -> None:
    parts = re.fullmatch(r"(?:(\d{1,5})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?", text)
    hours, minutes, seconds = (int(part or 0) for part in parts.groups()) if parts else (0, 0, 0)
    sum_ = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if text and parts and sum_ <= timedelta(hours=99_999):
        assert parse_duration(text) == sum_
        assert parse_duration(format_duration(sum_)) == sum_
    else:
        with pytest.raises(ValueError, match="a duration is in hours, minutes and seconds"):
            parse_duration(text)


@given(
    st.datetimes(datetime(1999, 12, 31), datetime(2100, 1, 1, 23), timezones=st.just(UTC)),  # noqa: DTZ001  # hypothesis wants naive bounds
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
@example(datetime(2000, 1, 1, tzinfo=UTC) - timedelta(minutes=1), 1)
@example(datetime(2000, 1, 1, tzinfo=UTC), 0)
@example(datetime(2000, 1, 1, tzinfo=UTC), -1)
@example(datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC), 0)
@example(datetime(2100, 1, 1, tzinfo=UTC), -1)
def test_an_instant_is_read_in_utc_from_any_zone(instant: datetime, offset: int) -> None:
    instant = instant.replace(microsecond=0)
    local = (instant + timedelta(minutes=offset)).replace(tzinfo=None).isoformat()
    sign = "-" if offset < 0 else "+"
    text = f"{local}{sign}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    if not all(2000 <= int(written[:4]) <= 2099 for written in (local, format_instant(instant))):
        with pytest.raises(ValueError, match="an instant is a day of the years 2000 to 2099"):
            parse_instant(text)
        return
    assert parse_instant(text) == instant
    assert parse_instant(format_instant(instant)) == instant
    assert TypeAdapter(Instant).validate_python(text) == instant


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_a_day_is_read_as_it_is_written(day: date) -> None:
    assert TypeAdapter(Day).validate_python(day.isoformat()) == day
    assert TypeAdapter(Day).dump_python(day, mode="json") == day.isoformat()


@pytest.mark.parametrize("text", ["2027-02-29", "1999-12-31", "2027-1-1", "2027-01-01T00:00:00Z", "", "2027-13-01"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Day).validate_python(text)


@pytest.mark.parametrize(
    "text", ["2027-02-29T00:00:00Z", "2027-01-01T00:00:00", "2027-01-01T00:00:00.5Z", "20270101T000000Z"]
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Instant).validate_python(text)
