"""What the generator refuses, with the path and the reason, and what it makes of the rest."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import AfterValidator, Field, StringConstraints, create_model

from gpu_tenancy.api import KINDS, RegionStatus
from gpu_tenancy.api.common import Day, Duration, Instant
from gpu_tenancy.api.crd import UNSEEN, custom_resource_definition, document
from gpu_tenancy.api.schema import ApiModel, Column, Immutable, Kind, ListType, Rule, Verbatim, name_rule
from gpu_tenancy.api.structural import UnsupportedModelError

Text = Annotated[str, StringConstraints(max_length=8)]
Count = Annotated[int, Field(ge=0, le=9)]
Key = Annotated[str, StringConstraints(pattern="^[a-z]+$", max_length=8)]


class Status(ApiModel):
    """What is."""

    ready: bool = False
    """Whether it is."""


class Item(ApiModel):
    """A thing."""

    name: Text
    """Its name."""
    weight: Count = 1
    """Its weight."""
    note: Text = ""
    """A note."""


def kind_of(spec: type[ApiModel], **changes: Any) -> Kind[Any, Any]:
    names: dict[str, Any] = {
        "kind": "Thing",
        "plural": "things",
        "short_names": ("th",),
        "namespaced": False,
        "description": "Thing is a thing.",
        "spec": spec,
        "status": Status,
        "columns": (),
    }
    return Kind(**(names | changes))


def spec_with(annotation: Any, default: Any = ...) -> type[ApiModel]:
    """Make a model with the one field `field`, described."""
    namespace = {
        "__annotations__": {"field": Annotated[annotation, Field(description="A field.")]},
        "__doc__": "A spec.",
    }
    return type("Spec", (ApiModel,), namespace | ({} if default is ... else {"field": default}))


def root_schema(spec: type[ApiModel], **changes: Any) -> dict[str, Any]:
    crd = custom_resource_definition(kind_of(spec, **changes))
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def field_schema(annotation: Any, default: Any = ...) -> dict[str, Any]:
    schema: dict[str, Any] = root_schema(spec_with(annotation, default))["properties"]["spec"]["properties"]["field"]
    assert schema.pop("description") == "A field."
    return schema


class Heavy(Item):
    """A thing that weighs something."""

    atomic = True
    rules = (Rule("self.weight > 0", "weigh it", lambda self: self.weight > 0),)


class Recursive(ApiModel):
    """A thing of things."""

    inner: Optional[Recursive] = None  # noqa: UP045  # the name is not defined yet when `|` would be evaluated
    """The thing inside."""


class Open(ApiModel):
    """A thing that keeps quiet."""

    quiet: Count


class Bare(ApiModel):
    name: Text
    """Its name."""


class Renamed(ApiModel):
    """A thing with two names."""

    name: Text = Field(alias="title")
    """Its name."""


REFUSED = [
    (int, "is an integer without a least or a greatest value"),
    (Annotated[int, Field(ge=0)], "is an integer without a least or a greatest value"),
    (Annotated[int, Field(ge=0, le=9, multiple_of=2)], "needs multipleOf"),
    (Annotated[int, Field(ge=0, gt=1, le=9)], "has both exclusiveMinimum and minimum"),
    (Literal[1, 2], "is an enumeration of integers"),
    (Literal["a", 1], "has the type None, which is no scalar"),
    (str, "is a text without a largest length"),
    (Annotated[str, StringConstraints(max_length=8, pattern="[a-z]")], "is not anchored"),
    (Annotated[str, Verbatim({"type": "string", "maxLength": 8, "format": "date"})], "has the format date"),
    (Annotated[str, Verbatim({"type": "string", "maxLength": 8, "nullable": True})], "needs nullable"),
    (Annotated[str, Verbatim({"type": "object"})], "has the type object, which is no scalar"),
    (float, "has no structural schema"),
    (bytes, "has no structural schema"),
    (timedelta, "has no structural schema"),
    (Any, "has no structural schema"),
    (tuple[Text, Text], "has no structural schema"),
    (set[Text], "has no structural schema"),
    (Text | Count, "has no structural schema"),
    (Text | None, "may be None without None as its default"),
    (list[Text], "is a list without a largest length"),
    (Annotated[list[Text], Field(max_length=3)], "is a list with no list type"),
    (Annotated[list[Item], Field(max_length=3)], "is a list with no list type"),
    (Annotated[list[Item], Field(max_length=3), ListType("set")], "is a set of what is no scalar"),
    (Annotated[list[Item], Field(max_length=3), ListType("map")], "names keys exactly if"),
    (Annotated[list[Text], Field(max_length=3), ListType("set", ("name",))], "names keys exactly if"),
    (Annotated[list[Text], Field(max_length=3), ListType("map", ("name",))], "which is no scalar of its items"),
    (Annotated[list[Item], Field(max_length=3), ListType("map", ("height",))], "which is no scalar of its items"),
    (Annotated[list[Item], Field(max_length=3), ListType("map", ("weight",))], "which an item may lack"),
    (Annotated[list[Bare], Field(max_length=3), ListType("atomic")], "Bare has no docstring"),
    (dict[Key, Text], "is a map without a largest size"),
    (Annotated[dict[Text, Text], Field(max_length=3)], "is a map whose keys are not bounded"),
    (Annotated[dict[Key, str], Field(max_length=3)], "is a text without a largest length"),
    (Annotated[Text, AfterValidator(str.upper)], "has a validator"),
    (
        Annotated[list[Annotated[Text, Immutable("no")]], Field(max_length=3), ListType("set")],
        "is marked immutable inside",
    ),
    (Open, "has no description"),
    (Renamed, "has an alias"),
    (Recursive, "Recursive contains itself"),
]


@pytest.mark.parametrize(("annotation", "reason"), REFUSED, ids=[str(reason) for _, reason in REFUSED])
def test_what_cannot_be_said_or_is_left_open_is_refused(annotation: Any, reason: str) -> None:
    with pytest.raises(UnsupportedModelError) as refusal:
        root_schema(spec_with(annotation))
    assert refusal.value.path.startswith("Thing.spec.field")
    assert reason in refusal.value.reason


def test_a_refusal_names_the_path_through_lists_and_maps() -> None:
    items = Annotated[list[Annotated[dict[Key, int], Field(max_length=2)]], Field(max_length=2), ListType("atomic")]
    with pytest.raises(UnsupportedModelError, match=r"^Thing\.spec\.field\[\]\{\}: is an integer"):
        root_schema(spec_with(items))


def test_a_default_must_be_a_value_that_the_model_itself_accepts() -> None:
    with pytest.raises(UnsupportedModelError, match="has a default that it refuses"):
        root_schema(spec_with(Count, 10))
    with pytest.raises(UnsupportedModelError, match="has a default factory"):
        root_schema(spec_with(Count, Field(default_factory=lambda: 1)))


def test_a_field_is_immutable_only_where_no_update_can_remove_it() -> None:
    mark = Immutable("make another")
    assert field_schema(Annotated[Count, mark])["x-kubernetes-validations"] == [
        {"rule": "self == oldSelf", "message": "cannot be changed: make another"}
    ]
    assert field_schema(Annotated[Count, mark], 1)["default"] == 1
    for removable in (spec_with(Annotated[Text, mark], ""), spec_with(Annotated[Count | None, mark], None)):
        with pytest.raises(UnsupportedModelError, match="is immutable but could be removed"):
            root_schema(removable)
    inner = spec_with(Annotated[Count, mark])
    with pytest.raises(UnsupportedModelError, match="is immutable but could be removed"):
        root_schema(spec_with(inner | None, None))
    with pytest.raises(UnsupportedModelError, match="is immutable but could be removed"):
        root_schema(Item, status=inner)


def test_an_immutable_duration_keeps_both_of_its_rules() -> None:
    rules = field_schema(Annotated[Duration, Immutable("no")])["x-kubernetes-validations"]
    assert [rule["message"] for rule in rules] == [
        "a duration is in hours, minutes and seconds, at most 99999h in all, as in 3h, 1h30m or 45s",
        "cannot be changed: no",
    ]


def test_a_rule_has_a_message_of_one_line() -> None:
    for message in ("", "two\nlines"):
        spec = spec_with(Count)
        spec.rules = (Rule("self.field > 1", message, None),)
        with pytest.raises(UnsupportedModelError, match="without a message of one line"):
            root_schema(spec)


def test_a_kind_has_a_description_and_columns_that_exist() -> None:
    with pytest.raises(UnsupportedModelError, match=r"^Thing: has no description"):
        root_schema(Item, description=" ")
    with pytest.raises(UnsupportedModelError, match=r"column Size shows \.spec\.size, which does not exist"):
        root_schema(Item, columns=(Column("Size", ".spec.size"),))


def test_numbers_and_texts_keep_their_bounds() -> None:
    assert field_schema(Annotated[int, Field(gt=0, lt=9)]) == {
        "type": "integer",
        "format": "int64",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 9,
        "exclusiveMaximum": True,
    }
    assert field_schema(Key) == {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8}
    assert field_schema(Literal["a"]) == {"type": "string", "enum": ["a"]}
    assert field_schema(Literal["a", "b"], "b") == {"type": "string", "enum": ["a", "b"], "default": "b"}


def test_an_optional_field_is_the_same_without_null() -> None:
    assert field_schema(Count | None, None) == field_schema(Count)
    assert "required" not in root_schema(spec_with(Count | None, None))["properties"]["spec"]


@pytest.mark.parametrize(
    ("annotation", "value", "written"),
    [
        (Duration, timedelta(minutes=90), "1h30m"),
        (Day, date(2027, 6, 30), "2027-06-30"),
        (Instant, datetime(2027, 1, 11, 18, tzinfo=UTC), "2027-01-11T18:00:00Z"),
    ],
)
def test_of_a_time_the_schema_says_only_that_it_is_a_text_and_a_rule_the_rest_in_words(
    annotation: Any, value: Any, written: str
) -> None:
    schema = field_schema(annotation, value)
    (rule,) = schema.pop("x-kubernetes-validations")
    assert schema == {"type": "string", "maxLength": 32, "default": written}
    assert "as in" in rule["message"]


def test_keys_of_a_map_are_bound_by_a_rule() -> None:
    schema = field_schema(Annotated[dict[Key, Count], Field(max_length=3)], {})
    assert schema == {
        "type": "object",
        "maxProperties": 3,
        "additionalProperties": field_schema(Count),
        "x-kubernetes-validations": [
            {
                "rule": "self.all(key, key.size() <= 8 && key.matches(r'^[a-z]+$'))",
                "message": "a key is malformed or longer than 8 characters",
            }
        ],
    }


def test_an_object_carries_its_rules_and_what_applying_replaces_whole() -> None:
    schema = field_schema(Heavy)
    assert schema["x-kubernetes-map-type"] == "atomic"
    assert schema["x-kubernetes-validations"] == [{"rule": "self.weight > 0", "message": "weigh it"}]
    assert not {"x-kubernetes-map-type", "x-kubernetes-validations"} & set(field_schema(Item))


def test_items_of_a_list_are_described_and_have_no_defaults() -> None:
    schema = field_schema(Annotated[list[Item], Field(min_length=1, max_length=3), ListType("map", ("name",))])
    items = schema.pop("items")
    assert schema == {
        "type": "array",
        "minItems": 1,
        "maxItems": 3,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    assert items["description"] == "A thing."
    assert items["required"] == ["name"]
    assert "default" not in items["properties"]["weight"]


def test_the_default_of_an_object_is_written_out_but_for_what_is_empty() -> None:
    schema = field_schema(Item, Item(name="n"))
    assert schema["default"] == {"name": "n", "weight": 1}
    assert schema["properties"]["weight"]["default"] == 1
    assert "default" not in schema["properties"]["note"]


def test_a_definition_names_the_kind_its_columns_and_its_status() -> None:
    rule = name_rule("^[a-z]+$", 5, "five letters")
    columns = (
        Column("Name", ".spec.name"),
        Column("Ready", ".status.ready", "boolean", wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    crd = custom_resource_definition(kind_of(Item, columns=columns, name_rules=(rule,), namespaced=True))
    assert crd["metadata"] == {"name": "things.gpu-tenancy.dev"}
    assert crd["spec"]["scope"] == "Namespaced"
    assert crd["spec"]["names"] == {
        "kind": "Thing",
        "listKind": "ThingList",
        "plural": "things",
        "singular": "thing",
        "shortNames": ["th"],
        "categories": ["gputenancy"],
    }
    version = crd["spec"]["versions"][0]
    assert version["subresources"] == {"status": {}}
    assert version["additionalPrinterColumns"] == [
        {"name": "Name", "type": "string", "jsonPath": ".spec.name"},
        {"name": "Ready", "type": "boolean", "jsonPath": ".status.ready", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    assert version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] == [
        {
            "rule": "self.metadata.name.size() <= 5 && self.metadata.name.matches(r'^[a-z]+$')",
            "message": "five letters",
        }
    ]


def test_a_status_that_has_conditions_says_that_nothing_was_judged_until_somebody_does() -> None:
    status = root_schema(Item, status=RegionStatus)["properties"]["status"]
    (ready,) = status["default"]["conditions"]
    assert status["default"]["observedGeneration"] == 0, "no object has this generation, so it is in progress"
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "Unknown", "Pending")
    assert "default" not in root_schema(Item)["properties"]["status"]


def test_a_status_must_accept_what_it_says_at_first() -> None:
    generation = Annotated[int, Field(ge=1, le=9, description="Which.")]
    positive = create_model("Positive", __base__=RegionStatus, __doc__="What is.", observedGeneration=(generation, 1))
    with pytest.raises(UnsupportedModelError, match=r"Thing\.status: has a default that it refuses"):
        root_schema(Item, status=positive)


def test_each_of_our_kinds_says_so() -> None:
    for kind in KINDS:
        schema = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert schema["properties"]["status"]["default"] == UNSEEN


def test_a_document_says_not_to_edit_it_and_has_no_references() -> None:
    text = document(kind_of(spec_with(Annotated[list[Duration], Field(max_length=2), ListType("atomic")])))
    assert text.startswith("# generated by make crds; do not edit\napiVersion: apiextensions.k8s.io/v1\n")
    assert "&id" not in text
