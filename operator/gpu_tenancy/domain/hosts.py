"""Host names: which of those that can be granted stand for which others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def names_for(host: str) -> Iterator[str]:
    """Name everything that can be granted and stands for a host: itself, and each `*.` with an end of it."""
    yield host
    _, *above = host.removeprefix("*.").split(".")
    yield from ("*." + ".".join(above[index:]) for index in range(len(above)))
