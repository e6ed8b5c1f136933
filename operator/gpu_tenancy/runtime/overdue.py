"""What pods hold that should be gone: a quota's count forgets them before they are, and nobody may have it sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import quota_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class Overdue:
    """Amounts by namespace, priority class and resource, as they were when pods were last looked at.

    Attributes:
        known: whether pods were looked at everywhere once, without which nobody may be promised anything more.
    """

    def __init__(self) -> None:
        self.known = False
        self._held: dict[str, Mapping[tuple[str, str], int]] = {}

    def of(self, namespace: str, priority_class: str, resource: str) -> int:
        """Say how much of a resource overdue pods of a class hold."""
        return self._held.get(namespace, {}).get((priority_class, resource), 0)

    def replace(self, namespace: str, held: Mapping[tuple[str, str], int]) -> set[str]:
        """Take what was seen in a namespace; name the pools in which that is something else than before."""
        before = self._held.pop(namespace, {})
        if held:
            self._held[namespace] = held
        changed = {key[0] for key in before.keys() | held.keys() if before.get(key) != held.get(key)}
        return {named[0] for name in changed if (named := quota_of(name)) is not None}
