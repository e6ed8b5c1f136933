"""Peerings: which of those that a namespace asks for are in force, and on which ports.

It takes both sides: each names the other, namespace and tenant, and both contracts allow it. Whatever ends that on one
side closes both. Nothing here tells one side whether the other exists: what is not agreed looks the same in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

MAX_PEERINGS = 32
"""How many peerings of a namespace count, the oldest first."""


class Side(NamedTuple):
    """A namespace, and the tenant that has it; an empty one if nobody does."""

    tenant: str
    namespace: str


class Port(NamedTuple):
    """A port of pods."""

    protocol: Literal["TCP", "UDP", "SCTP"]
    port: int


class Reason(StrEnum):
    """Why a peering is refused, whatever the other side says."""

    NOT_A_TENANT = "NotATenant"
    NOT_ALLOWED = "NotAllowed"
    TENANT_SUSPENDED = "TenantSuspended"
    OWN_TENANT = "OwnTenant"
    DUPLICATE_PEER = "DuplicatePeer"
    TOO_MANY_PEERINGS = "TooManyPeerings"


class Refusal(NamedTuple):
    """A reason, and for people what to do about it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What one TenantPeering asks for.

    Attributes:
        name, uid, created: the object.
        own: where it stands.
        allowed: whether the contract of its tenant allows peering.
        suspended: whether its tenant is suspended.
        peer: the other side.
        ports: the ports that it names; none stand for all.
        standing: the ports that its status calls open; None while it calls none open.
    """

    name: str
    uid: str
    created: datetime
    own: Side
    allowed: bool
    suspended: bool
    peer: Side
    ports: frozenset[Port] = frozenset()
    standing: frozenset[Port] | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """A peering that both sides want.

    Attributes:
        name, uid: the TenantPeering of this side.
        own, peer: the two sides, as this one sees them.
        ports: what both open; none stand for all.
        new: whether it was not open like that before, so that what is missing is not somebody's meddling.
    """

    name: str
    uid: str
    own: Side
    peer: Side
    ports: frozenset[Port]
    new: bool


def refusals(wishes: Iterable[Wish]) -> Mapping[str, Refusal]:
    """Judge the wishes of one namespace, older ones first; gives the refused ones by uid."""
    refused: dict[str, Refusal] = {}
    accepted: dict[Side, str] = {}
    for wish in sorted(wishes, key=lambda wish: (wish.created, wish.name)):
        problem = _problem(wish, accepted)
        if problem is None:
            accepted[wish.peer] = wish.name
        else:
            refused[wish.uid] = problem
    return refused


def agreements(wishes: Iterable[Wish], of: Callable[[str], Iterable[Wish]]) -> Mapping[str, Agreement]:
    """Find what is in force of the wishes of one namespace.

    Args:
        wishes: of the namespace, all there are.
        of: gives all wishes of another namespace.

    Returns:
        By the wish's uid.
    """
    agreed: dict[str, Agreement] = {}
    for wish in _accepted(wishes):
        answers = _accepted(of(wish.peer.namespace))
        answer = next((one for one in answers if (one.own, one.peer) == (wish.peer, wish.own)), None)
        ports = None if answer is None else _common(wish.ports, answer.ports)
        if ports is not None:
            agreed[wish.uid] = Agreement(wish.name, wish.uid, wish.own, wish.peer, ports, new=wish.standing != ports)
    return agreed


def _accepted(wishes: Iterable[Wish]) -> list[Wish]:
    wishes = list(wishes)
    refused = refusals(wishes)
    return [wish for wish in wishes if wish.uid not in refused]


def _common(one: frozenset[Port], other: frozenset[Port]) -> frozenset[Port] | None:
    """Intersect ports, of which none stand for all; None where they have none in common."""
    if not one or not other:
        return one | other
    return one & other or None


def _problem(wish: Wish, accepted: Mapping[Side, str]) -> Refusal | None:
    checks = (
        (
            not wish.own.tenant,
            Reason.NOT_A_TENANT,
            f"namespace {wish.own.namespace} is no tenant's now: create the peering in one that is",
        ),
        (
            not wish.allowed,
            Reason.NOT_ALLOWED,
            "the contract does not allow it: ask the provider to set spec.network.peering to Allowed",
        ),
        (
            wish.suspended,
            Reason.TENANT_SUSPENDED,
            "the tenant is suspended, and peers with nobody until the provider opens it again",
        ),
        (
            wish.peer.tenant == wish.own.tenant,
            Reason.OWN_TENANT,
            "namespaces of one tenant reach each other anyway: name another tenant in spec.peer, or delete this",
        ),
        (
            wish.peer in accepted,
            Reason.DUPLICATE_PEER,
            f"{accepted.get(wish.peer)} in this namespace names the same peer: change that one, and delete this",
        ),
        (
            len(accepted) >= MAX_PEERINGS,
            Reason.TOO_MANY_PEERINGS,
            f"only the {MAX_PEERINGS} oldest of a namespace's peerings count: delete some that are not needed",
        ),
    )
    return next((Refusal(reason, message) for applies, reason, message in checks if applies), None)
