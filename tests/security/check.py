"""The words of the checks: attempt, wall, check, and what came of one."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cluster.rest import Answer, Call

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from security.world import World

Attempt = Callable[["World"], list[Answer]]

HOLDS, OPEN, UNCLEAR = "holds", "open", "unclear"


class Wall(Protocol):
    """What stops an attack. Walls are equal if they are the same object of the API server."""

    @property
    def name(self) -> str:
        """What it is called in the table."""

    def refuses(self, message: str) -> bool:
        """Tell whether a message is this wall's refusal."""

    def down(self, world: World) -> AbstractContextManager[None]:
        """Take it away for the block."""


@dataclass(frozen=True)
class Check:
    """One thing that must not happen.

    Attributes:
        id: of the multi-tenancy benchmark, with the name of its folder there, or E01 to E34 with a letter.
        says: the attack in one sentence.
        walls: what stops it; if there are several, the first speaks, and the others would if that were not there.
        attack: what is tried; all of it must be refused.
        control: the same without what is wrong; all of it must be accepted.
        because: what the refusal says, besides being the wall's.
        since: the minor version of Kubernetes that knows what is tried; earlier ones drop it.
    """

    id: str
    says: str
    walls: tuple[Wall, ...]
    attack: Attempt
    control: Attempt
    because: str = ""
    since: str = "1.34"

    def __str__(self) -> str:
        return f"{self.id}: {self.says}"


@dataclass(frozen=True)
class Outcome:
    """HOLDS: refused by the wall, the control accepted. OPEN: all of the attack accepted. UNCLEAR: `why`."""

    word: str
    why: str = ""


def outcome(world: World, check: Check) -> Outcome:
    """Try it."""
    for answer in check.control(world):
        if not answer.accepted:
            return Outcome(UNCLEAR, f"the control was refused: {answer.message}")
    answers = check.attack(world)
    if all(answer.accepted for answer in answers):
        return Outcome(OPEN)
    for answer in answers:
        if answer.accepted:
            return Outcome(UNCLEAR, "only a part of the attack was refused")
        if not check.walls[0].refuses(answer.message) or check.because not in answer.message:
            return Outcome(UNCLEAR, f"something else refused it: {answer.message}")
    return Outcome(HOLDS)


# Attempts


def by(user: str, *calls: Call) -> Attempt:
    """Make calls in somebody's name, as dry runs; pods are written out as far as nothing fills them in."""
    return lambda world: [world.send(call, user) for call in calls]


def accepted() -> Answer:
    """Give the answer of an attempt that is no single request and succeeded."""
    return Answer(http.client.OK, {})


def refused(message: str) -> Answer:
    """Give the answer of an attempt that is no single request and failed."""
    return Answer(http.client.FORBIDDEN, {"message": message})
