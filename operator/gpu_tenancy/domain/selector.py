"""Label selectors, matched as Kubernetes matches them."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpu_tenancy.api.common import LabelRequirement, LabelSelector


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Say whether an object with these labels is selected."""
    return all(labels.get(key) == value for key, value in selector.matchLabels.items()) and all(
        _meets(requirement, labels) for requirement in selector.matchExpressions
    )


def _meets(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":  # as in Kubernetes, an object without the label is selected
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    assert_never(requirement.operator)
