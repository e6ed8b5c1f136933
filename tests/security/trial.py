"""Trying the checks: as things are, and with their walls down."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING

from cluster.operating import PATIENCE
from security.check import HOLDS, OPEN, Outcome, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from security.check import Check, Wall
    from security.world import World


def groups(checks: Sequence[Check]) -> list[tuple[tuple[Wall, ...], list[Check]]]:
    """Put together what the same walls stop, so that each comes down once."""
    by_walls = itertools.groupby(sorted(checks, key=lambda check: repr(check.walls)), key=lambda check: check.walls)
    return [(walls, list(same)) for walls, same in by_walls]


def as_things_are(world: World, checks: Sequence[Check]) -> dict[str, Outcome]:
    """Try the checks."""
    return {check.id: outcome(world, check) for check in checks}


def with_walls_down(world: World, walls: Sequence[Wall], checks: Sequence[Check]) -> dict[str, Outcome]:
    """Try the checks that these walls stop, without the walls; they stand again afterwards."""
    with down(world, walls):
        _until(world, checks[0], OPEN)
        found = as_things_are(world, checks)
    _until(world, checks[0], HOLDS)
    return found


@contextlib.contextmanager
def down(world: World, walls: Sequence[Wall]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for wall in walls:
            stack.enter_context(wall.down(world))
        yield


def _until(world: World, check: Check, word: str) -> None:
    """Wait until a wall's removal or return has taken effect; if it never does, the trial itself will tell."""
    deadline = time.monotonic() + PATIENCE
    while outcome(world, check).word != word and time.monotonic() < deadline:
        time.sleep(0.1)
