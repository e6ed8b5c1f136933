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
DURATION = r"^([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?$"
DAY = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
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
        ValueError: for anything else; fractions and units below a second are not accepted.
    """
    if not text or not re.fullmatch(DURATION, text):
        msg = f"{text!r} is not a duration like 30m, 1h30m or 45s"
        raise ValueError(msg)
    amounts = {unit: int(number) for number, unit in re.findall(r"([0-9]+)([hms])", text)}
    return timedelta(hours=amounts.get("h", 0), minutes=amounts.get("m", 0), seconds=amounts.get("s", 0))


def format_duration(value: timedelta) -> str:
    """Write a duration of whole seconds in Go's notation, largest unit first: `1h30m`, `45s`, `0s`."""
    seconds = int(value.total_seconds())
    parts = [(seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    return "".join(f"{amount}{unit}" for amount, unit in parts if amount) or "0s"


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant with a zone, to the second, as UTC.

    Raises:
        ValueError: when the text has no zone, a fraction, an impossible date or a year outside 2000 to 2099.
    """
    if not re.fullmatch(INSTANT, text):
        msg = f"{text!r} is not an instant with a zone like 2026-12-01T20:00:00Z"
        raise ValueError(msg)
    return datetime.fromisoformat(text).astimezone(UTC)


def format_instant(value: datetime) -> str:
    """Write an instant as RFC 3339 in UTC, to the second."""
    return f"{value.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"


def parse_day(text: str) -> date:
    """Read a calendar day of the years 2000 to 2099, such as `2027-06-30`.

    Raises:
        ValueError: for anything else.
    """
    if not re.fullmatch(DAY, text):
        msg = f"{text!r} is not a day like 2027-06-30"
        raise ValueError(msg)
    return date.fromisoformat(text)


def without_nulls(members: Any) -> Any:
    """Drop the null values of a map, as the API server does."""
    return {key: value for key, value in members.items() if value is not None} if isinstance(members, dict) else members


Day = Annotated[
    date,
    BeforeValidator(lambda value: parse_day(value) if isinstance(value, str) else value),
    PlainSerializer(date.isoformat, return_type=str),
    Verbatim({"type": "string", "format": "date", "pattern": DAY, "minLength": 10, "maxLength": 10}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(lambda value: parse_duration(value) if isinstance(value, str) else value),
    PlainSerializer(format_duration, return_type=str),
    Verbatim({"type": "string", "format": "duration", "pattern": DURATION, "minLength": 2, "maxLength": 24}),
]
Instant = Annotated[
    datetime,
    BeforeValidator(lambda value: parse_instant(value) if isinstance(value, str) else value),
    PlainSerializer(format_instant, return_type=str),
    Verbatim({"type": "string", "format": "date-time", "pattern": INSTANT, "minLength": 20, "maxLength": 25}),
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
