"""Types that several kinds share: names, durations, instants, quantities, selectors, conditions."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints

from gpu_tenancy.api.schema import ApiModel, ListType, Rule, Verbatim

GROUP = "gpu-tenancy.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DURATION = r"^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$"
# Exactly the days that there are in the years 2000 to 2099.
DAY = (
    r"^(20[0-9]{2}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
    r"|20([02468][048]|[13579][26])-02-29)$"
)
INSTANT = DAY.removesuffix("$") + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
TIME_ZONE = r"^(UTC|[A-Z][A-Za-z_]+(/[A-Z][A-Za-z0-9_+-]+){1,2})$"
QUANTITY = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
QUALIFIED_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"

# The name of a Region or a GpuPool becomes part of label keys and values (63 characters) and of quota names.
CatalogueName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=40)]
NamespaceName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
Jurisdiction = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]{1,15}$", max_length=16)]
ResourceName = Annotated[str, StringConstraints(pattern=f"^{SUBDOMAIN}/{QUALIFIED_NAME}$", max_length=128)]
LabelKey = Annotated[str, StringConstraints(pattern=f"^({SUBDOMAIN}/)?{QUALIFIED_NAME}$", max_length=253)]
LabelValue = Annotated[str, StringConstraints(pattern=f"^({QUALIFIED_NAME})?$", max_length=63)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY, min_length=1, max_length=32)]


def parse_duration(text: str) -> timedelta:
    """Read Go's notation of a duration in whole hours, minutes and seconds, such as `1h30m`.

    Raises:
        ValueError: for anything else, such as fractions and units below a second, and for more than 99999h.
    """
    if text and re.fullmatch(DURATION, text):
        amounts = {unit: int(number) for number, unit in re.findall(r"([0-9]+)([hms])", text)}
        duration = timedelta(hours=amounts.get("h", 0), minutes=amounts.get("m", 0), seconds=amounts.get("s", 0))
        if duration <= _LONGEST:
            return duration
    msg = f"{text!r} is not one: {_A_DURATION.message}"
    raise ValueError(msg)


def format_duration(value: timedelta) -> str:
    """Write a duration of whole seconds in Go's notation, largest unit first: `1h30m`, `45s`, `0s`."""
    seconds = int(value.total_seconds())
    parts = [(seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    return "".join(f"{amount}{unit}" for amount, unit in parts if amount) or "0s"


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant with a zone, to the second, as UTC.

    Raises:
        ValueError: when the text has no zone, a fraction, an impossible date or time, or a year outside 2000 to 2099,
            as it is written or in UTC.
    """
    if re.fullmatch(INSTANT, text):
        instant = datetime.fromisoformat(text).astimezone(UTC)
        if _FIRST <= instant < _AFTER_LAST:
            return instant
    msg = f"{text!r} is not one: {_AN_INSTANT.message}"
    raise ValueError(msg)


def format_instant(value: datetime) -> str:
    """Write an instant as RFC 3339 in UTC, to the second."""
    return f"{value.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"


def parse_day(text: str) -> date:
    """Read a calendar day of the years 2000 to 2099, such as `2027-06-30`.

    Raises:
        ValueError: for anything else.
    """
    if re.fullmatch(DAY, text):
        return date.fromisoformat(text)
    msg = f"{text!r} is not one: {_A_DAY.message}"
    raise ValueError(msg)


_LONGEST = timedelta(hours=99_999)
_FIRST, _AFTER_LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Of what a pattern or a format in a schema refuses, users would read no more than the pattern, or the format's name.
_A_DURATION = Rule(
    f"self != '' && self.matches('{DURATION}') && duration(self) <= duration('99999h')",
    "a duration is in hours, minutes and seconds, at most 99999h in all, as in 3h, 1h30m or 45s",
    None,
)
_A_DAY = Rule(
    f"self.matches('{DAY}')",
    "a day is one of the years 2000 to 2099, as in 2027-06-30",
    None,
)
_AN_INSTANT = Rule(
    f"self.matches('{INSTANT}') && timestamp(self).getFullYear() / 100 == 20",
    "an instant is a day of the years 2000 to 2099, a time to the second and a time zone, as in 2027-01-11T18:00:00Z or "
    "2027-01-11T19:00:00+01:00",
    None,
)


def malformed(*, instants: tuple[str, ...] = (), durations: tuple[str, ...] = ()) -> str:
    """Say in CEL that one of these fields cannot be read; a rule that reads them lets that pass.

    The field itself is refused. Without this the rule would be as well, in words on the conversion of types.
    """
    return " || ".join(
        [f"format.datetime().validate(self.{field}).hasValue()" for field in instants]
        + [f"!self.{field}.matches('{DURATION}')" for field in durations]
    )


def in_order(first: str, last: str) -> Rule:
    """Have one instant of an object before another, if it has both."""

    def holds(one: Any) -> bool:
        begin, end = getattr(one, first), getattr(one, last)
        return begin is None or end is None or begin < end

    return Rule(
        f"!(has(self.{first}) && has(self.{last})) || timestamp(self.{first}) < timestamp(self.{last}) || "
        + malformed(instants=(first, last)),
        f"{first} is before {last}",
        holds,
    )


def above_zero(field: str) -> Rule:
    """Have a duration of an object above zero, if it has it."""
    return Rule(
        f"!has(self.{field}) || !self.{field}.matches('^[0hms]+$')",
        f"{field} is above zero",
        lambda one: getattr(one, field) != timedelta(0),
    )


def without_nulls(members: Any) -> Any:
    """Drop the null values of a map, as the API server does."""
    return {key: value for key, value in members.items() if value is not None} if isinstance(members, dict) else members


Day = Annotated[
    date,
    BeforeValidator(lambda value: parse_day(value) if isinstance(value, str) else value),
    PlainSerializer(date.isoformat, return_type=str),
    Verbatim({"type": "string", "maxLength": 32}, (_A_DAY,)),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(lambda value: parse_duration(value) if isinstance(value, str) else value),
    PlainSerializer(format_duration, return_type=str),
    Verbatim({"type": "string", "maxLength": 32}, (_A_DURATION,)),
]
Instant = Annotated[
    datetime,
    BeforeValidator(lambda value: parse_instant(value) if isinstance(value, str) else value),
    PlainSerializer(format_instant, return_type=str),
    Verbatim({"type": "string", "maxLength": 32}, (_AN_INSTANT,)),
]

# The largest integer that JSON readers of every language keep exactly.
Generation = Annotated[int, Field(ge=0, le=2**53 - 1)]
GpuSeconds = Annotated[int, Field(ge=0, le=2**53 - 1)]


class LabelRequirement(ApiModel):
    """One requirement of a label selector."""

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label's value relates to `values`."""
    values: Annotated[list[LabelValue], Field(max_length=32), ListType("atomic")] = []
    """The values; for `In` and `NotIn` at least one, for `Exists` and `DoesNotExist` none."""

    rules = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            "In and NotIn need values; Exists and DoesNotExist have none",
            lambda self: (self.operator in {"In", "NotIn"}) == bool(self.values),
        ),
    )


class LabelSelector(ApiModel):
    """A label selector as in Kubernetes, never empty: an empty one would select everything."""

    atomic = True

    matchLabels: Annotated[dict[LabelKey, LabelValue], Field(max_length=16), BeforeValidator(without_nulls)] = {}
    """Labels that must be there with exactly these values."""
    matchExpressions: Annotated[list[LabelRequirement], Field(max_length=16), ListType("atomic")] = []
    """Further requirements; all must hold."""

    rules = (
        Rule(
            "(has(self.matchLabels) && self.matchLabels.size() > 0) || "
            "(has(self.matchExpressions) && self.matchExpressions.size() > 0)",
            "an empty selector would select everything: name at least one label",
            lambda self: bool(self.matchLabels or self.matchExpressions),
        ),
    )


class Condition(ApiModel):
    """A condition as in `metav1.Condition`, read by kstatus."""

    type: Annotated[str, StringConstraints(max_length=64)]
    """What the condition is about, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observedGeneration: Generation = 0
    """The generation of the spec that was judged."""
    lastTransitionTime: Instant
    """When the status last changed."""
    reason: Annotated[str, StringConstraints(max_length=128)]
    """One CamelCase word for programs."""
    message: Annotated[str, StringConstraints(max_length=4096)]
    """A sentence for people: what, why, what next."""


Conditions = Annotated[list[Condition], Field(max_length=16), ListType("map", ("type",))]
