"""Reservations that get nodes of their own: from a pool's decision to nodes, and what their namespaces say of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gpu_tenancy.api.resource import Resource
from gpu_tenancy.domain.binding import Exclusive, Site
from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.capacity import CLIQUE_LABEL, usable
from gpu_tenancy.domain.naming import RESERVATION_LABEL, Tier, quota_of
from gpu_tenancy.domain.promises import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from typing import Any

    from gpu_tenancy.api import GpuPoolSpec, GpuReservationStatus
    from gpu_tenancy.domain.capacity import NodeFacts
    from gpu_tenancy.domain.promises import Decision, PoolFacts

MOST_NAMED = 1000
"""How many reservations an annotation names at most: those that begin first."""


class Occupant(NamedTuple):
    """A pod on a node: whose it is, and whether it is there by right."""

    node: str
    namespace: str
    reservation: str
    firm: bool


def occupant(raw: Mapping[str, Any], resource: str) -> Occupant | None:
    """Read a pod as the API server sends it; None if it is on no node, is over, or asks for no GPUs of the pool."""
    spec, metadata = raw["spec"], raw["metadata"]
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    asks = any(resource in one.get("resources", {}).get("requests", {}) for one in containers)
    if not asks or not spec.get("nodeName") or raw.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
        return None
    named = quota_of(spec.get("priorityClassName", ""))
    labels = metadata.get("labels") or {}
    firm = named is not None and named[1] is not Tier.SPOT
    return Occupant(spec["nodeName"], metadata["namespace"], labels.get(RESERVATION_LABEL, ""), firm)


def sites(nodes: Iterable[NodeFacts], pool: GpuPoolSpec, occupants: Iterable[Occupant] = ()) -> list[Site]:
    """List the nodes of a pool that are usable as a whole."""
    firm, loose = Counter[str](), Counter[str]()
    for one in occupants:
        (firm if one.firm else loose)[one.node] += 1
    return [
        Site(node.name, node.labels.get(CLIQUE_LABEL, node.name), firm[node.name], loose[node.name])
        for node in nodes
        if usable(node, pool).usable >= pool.gpusPerNode
    ]


def exclusive(facts: PoolFacts, decision: Decision) -> list[Exclusive]:
    """List the reservations that are promised nodes of their own, the oldest promise first."""
    gap = seconds(facts.spec.reservations.cleaningGap)
    ranked = []
    for booking in facts.bookings:
        ledger = decision.verdicts[booking.uid].ledger
        if booking.spec.exclusivity != "None" and ledger is not None:
            one = Exclusive(
                uid=booking.uid,
                nodes=-(-ledger.gpus // facts.spec.gpusPerNode),
                domain=ledger.domain,
                start=seconds(ledger.window.start),
                end=seconds(ledger.window.end) + gap,
                bound=ledger.nodes,
            )
            ranked.append(((ledger.accepted, booking.created, booking.namespace, booking.name, one.start), one))
    return [one for _, one in sorted(ranked, key=lambda item: item[0])]


def with_nodes(decision: Decision, wanted: Iterable[Exclusive], bound: Mapping[str, tuple[str, ...]]) -> Decision:
    """Enter the nodes that were bound into the decision; a window that has begun without all of them is degraded."""
    verdicts = dict(decision.verdicts)
    for one in wanted:
        verdict, nodes = verdicts[one.uid], bound[one.uid]
        degraded = verdict.degraded
        if verdict.state is State.ACTIVE and len(nodes) < one.nodes and not degraded:
            where = f" of NVLink domain {one.domain}" if one.domain else ""
            degraded = f"{len(nodes)} of {one.nodes} nodes are there: no other node{where} can be used now"
        ledger = None if verdict.ledger is None else verdict.ledger._replace(nodes=nodes)
        verdicts[one.uid] = verdict._replace(ledger=ledger, degraded=degraded)
    return replace(decision, verdicts=verdicts)


class Claim(NamedTuple):
    """That a reservation has a node from an instant on, as its status says; earlier acceptance comes first."""

    accepted: datetime
    namespace: str
    name: str
    start: datetime


class Stored(Protocol):
    """A reservation, whether its spec can be read or not."""

    @property
    def namespace(self) -> str:
        """Where it is."""

    @property
    def name(self) -> str:
        """What it is called there."""

    @property
    def status(self) -> GpuReservationStatus:
        """What was promised to it."""


def claims(reservation: Stored) -> Iterator[tuple[str, Claim]]:
    """List the nodes that a reservation has, for whichever of its windows."""
    status = reservation.status
    windows = [(one.nodes, one.acceptedTime, one.start) for one in status.occurrences]
    if not windows:
        windows = [(status.nodes, status.acceptedTime, status.window.start)] if status.window is not None else []
    for nodes, accepted, start in windows:
        if accepted is not None:
            for name in nodes:
                yield name, Claim(accepted, reservation.namespace, reservation.name, start)


def apart(reservation: Stored) -> bool:
    """Say whether a reservation has nodes of its own, or will have."""
    return reservation.spec.exclusivity != "None" if isinstance(reservation, Resource) else any(claims(reservation))


def named(reservations: Iterable[Stored]) -> tuple[str, ...]:
    """Name those of a namespace's reservations whose pods run on nodes of their own, and nowhere else."""
    begins = []
    for one in reservations:
        over = any(each.type == "Ready" and each.reason == State.COMPLETED for each in one.status.conditions)
        if apart(one) and one.status.window is not None and not over:
            begins.append((one.status.window.start, one.name))
    return tuple(sorted(name for _, name in sorted(begins)[:MOST_NAMED]))
