"""Every check with the operator dead; with it running, and with the wall down, one check for each wall.

`make security` tries every check in all three ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from security.__main__ import CHECKS
from security.benchmark import BENCHMARK
from security.check import HOLDS, OPEN, outcome
from security.escapes import ELSEWHERE, ESCAPES
from security.trial import groups, with_walls_down

if TYPE_CHECKING:
    from collections.abc import Iterator

    from security.check import Check, Wall
    from security.world import World


BY_WALLS = [pytest.param(walls, same[0], id=f"{walls[0].name}-{same[0].id}") for walls, same in groups(CHECKS)]


@pytest.fixture(scope="class")
def _dead_operator(world: World) -> Iterator[None]:
    world.operator.kill()
    yield
    world.operator.start()


@pytest.mark.parametrize(("_walls", "check"), BY_WALLS)
def test_it_holds_while_the_operator_runs(world: World, _walls: tuple[Wall, ...], check: Check) -> None:
    found = outcome(world, check)
    assert (found.word, found.why) == (HOLDS, "")


@pytest.mark.usefixtures("_dead_operator")
class TestWithTheOperatorDead:
    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_it_holds(self, world: World, check: Check) -> None:
        found = outcome(world, check)
        assert (found.word, found.why) == (HOLDS, "")

    @pytest.mark.parametrize(("walls", "check"), BY_WALLS)
    def test_without_the_wall_the_attack_succeeds(self, world: World, walls: tuple[Wall, ...], check: Check) -> None:
        found = with_walls_down(world, walls, [check])
        assert {check: (one.word, one.why) for check, one in found.items() if one.word != OPEN} == {}


def test_the_whole_benchmark_and_every_known_escape_is_tried_or_said_to_be_decided_elsewhere() -> None:
    assert len({check.id for check in BENCHMARK}) == 19
    tried = {check.id.rstrip("abcdefghijklmnopqrstuvwxyz") for check in ESCAPES}
    assert tried | ELSEWHERE.keys() == {f"E{number:02d}" for number in range(1, 35)}
