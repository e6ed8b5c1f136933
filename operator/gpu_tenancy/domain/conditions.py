"""Conditions of a status: replaced by type, dated by when the status of each last changed."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Literal

from gpu_tenancy.api.common import Condition

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_MAX_MESSAGE = 4096


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """Give the condition of a type, if there is one."""
    return next((condition for condition in conditions if condition.type == type_), None)


def holds(conditions: Iterable[Condition], type_: str) -> bool:
    """Say whether the condition of a type is there and True."""
    condition = find(conditions, type_)
    return condition is not None and condition.status == "True"


def set_condition(  # noqa: PLR0917  # the fields of a condition in their usual order
    conditions: Iterable[Condition],
    type_: str,
    status: Literal["True", "False", "Unknown"],
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> list[Condition]:
    """Replace the condition of a type where it stands, or append it.

    Args:
        conditions: what the status has.
        type_: the condition's type.
        status: what to say of it now.
        reason: why, as one CamelCase word for programs.
        message: why and what next, for people; one too long for the API is cut.
        generation: the generation of the spec that was judged.
        now: becomes lastTransitionTime, to the second, if the status changes.

    Returns:
        A new list; equal to the old one if there is nothing new to say.
    """
    conditions, message = list(conditions), clip_text(message, _MAX_MESSAGE)
    previous = find(conditions, type_)
    said = (status, reason, message, generation)
    if previous is not None and said == (
        previous.status,
        previous.reason,
        previous.message,
        previous.observedGeneration,
    ):
        return conditions
    if previous is not None and previous.status == status:
        since = previous.lastTransitionTime
    else:
        since = now.astimezone(UTC).replace(microsecond=0)
    condition = Condition(
        type=type_,
        status=status,
        observedGeneration=generation,
        lastTransitionTime=since,
        reason=reason,
        message=message,
    )
    if previous is None:
        return [*conditions, condition]
    return [condition if one is previous else one for one in conditions]


def without(conditions: Iterable[Condition], *types: str) -> list[Condition]:
    """Leave out the conditions of these types: one that is abnormal when True is absent while all is well."""
    return [condition for condition in conditions if condition.type not in types]


def clip_text(text: str, length: int) -> str:
    """Cut a text to at most `length` characters, showing that something is missing."""
    return text if len(text) <= length else text[: length - 1] + "…"
