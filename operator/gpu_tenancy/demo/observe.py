"""Seeing at the API server that something is so: in time, or else saying what was seen instead."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from gpu_tenancy.kube.errors import ApiError, KubeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which what is waited for will not come, however busy the machine is."""


class NotYet(Exception):  # noqa: N818  # a state of affairs, not an error
    """What is waited for is not so yet; the message says what is."""


class NotObserved(Exception):  # noqa: N818  # as above
    """What the demo claims did not happen."""


async def eventually(what: str, probe: Callable[[], Awaitable[T]], *, within: float = PATIENCE) -> T:
    """Ask again and again until the probe has an answer.

    Args:
        what: what is waited for, for the error.
        probe: raises `NotYet` while it is not so, and `NotObserved` if it never will be.
        within: seconds.

    Raises:
        NotObserved: it was not so in time.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            return await probe()
        except (NotYet, KubeError) as error:
            if time.monotonic() > deadline:
                raise NotObserved(f"{what}: not within {within:.0f} s; last seen: {error}") from error
        await asyncio.sleep(0.1)


def condition(stored: Mapping[str, Any], kind: str, *, status: str = "True", reason: str = "") -> Mapping[str, Any]:
    """Give a condition of an object that was judged in its present generation.

    Raises:
        NotYet: it is not there, is of an older generation, or says something else.
    """
    name = f"{stored['kind']} {stored['metadata']['name']}"
    found: Mapping[str, Any]
    for found in stored.get("status", {}).get("conditions", ()):
        if found["type"] == kind and found.get("observedGeneration") == stored["metadata"]["generation"]:
            if found["status"] == status and reason in {"", found["reason"]}:
                return found
            raise NotYet(f"{name} is {kind}={found['status']}/{found['reason']}: {found['message']}")
    raise NotYet(f"{name} has no condition {kind} of its present generation")


async def refusal(attempt: Awaitable[object], what: str, because: str) -> str:
    """Try what must be refused, and give the reason that the API server names.

    Raises:
        NotObserved: it was accepted, or refused for another reason.
    """
    try:
        await attempt
    except ApiError as error:
        if because not in error.message:
            raise NotObserved(f"{what} was refused, but not because of {because!r}: {error.message}") from error
        return _reason(error.message)
    raise NotObserved(f"{what} was accepted")


def _reason(message: str) -> str:
    """Leave out which object and which policy it was: the demo has just said so."""
    for introduction in ("denied request: ", " is forbidden: "):
        if introduction in message:
            return message.partition(introduction)[2]
    return message
