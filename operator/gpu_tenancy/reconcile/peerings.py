"""Peerings: the status of each, and the events that tell of it. The network policies are part of the tenants' plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gpu_tenancy.api import API_VERSION, TENANT_PEERING, TenantPeeringSpec, TenantPeeringStatus
from gpu_tenancy.api.peering import PeeringPort
from gpu_tenancy.domain.conditions import find, holds, set_condition
from gpu_tenancy.domain.peering import Port, Side, Wish, refusals
from gpu_tenancy.reconcile.diff import merge_patch
from gpu_tenancy.reconcile.plan import Emit, Plan, Ref, plan
from gpu_tenancy.reconcile.status import write_status
from gpu_tenancy.render.cluster_network_policy import peers_of
from gpu_tenancy.render.network_policy import peering

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from gpu_tenancy.api.common import Condition
    from gpu_tenancy.api.resource import Resource
    from gpu_tenancy.domain.peering import Agreement, Refusal
    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.reconcile.plan import Operation


@dataclass(frozen=True, slots=True)
class PeeringsView:
    """The peerings of one namespace, and what they depend on.

    Attributes:
        peerings: as stored; those that cannot be read are left out.
        wishes: the same, with whose namespace it is.
        agreements: what is in force, by the peering's uid.
        policies: the operator's network policies of this namespace and its peers.
        separations: by tenant, the operator's ClusterNetworkPolicy; None where there are no such policies.
    """

    peerings: Sequence[Resource[TenantPeeringSpec, TenantPeeringStatus]]
    wishes: Sequence[Wish]
    agreements: Mapping[str, Agreement]
    policies: Mapping[Ref, Observed]
    separations: Mapping[str, Observed] | None = None


def wish(
    resource: Resource[TenantPeeringSpec, TenantPeeringStatus], tenant: str, *, allowed: bool, suspended: bool
) -> Wish:
    """Read what a peering asks for, in a namespace of `tenant`, and what its status calls open."""
    spec, status = resource.spec, resource.status
    return Wish(
        name=resource.name,
        uid=resource.uid,
        created=resource.creation_timestamp,
        own=Side(tenant, resource.namespace),
        allowed=allowed,
        suspended=suspended,
        peer=Side(spec.peer.tenant, spec.peer.namespace),
        ports=_ports(spec.ports),
        standing=_ports(status.ports) if holds(status.conditions, "Ready") else None,
    )


def plan_peerings(view: PeeringsView, now: datetime) -> Plan:
    """Decide the statuses of a namespace's peerings and what to tell of them.

    Args:
        view: the peerings, judged.
        now: dates changes of conditions; nothing else depends on it.
    """
    refused = refusals(view.wishes)
    writes: list[Operation] = []
    events: list[Operation] = []
    for resource, asked in zip(view.peerings, view.wishes, strict=True):
        agreement = view.agreements.get(asked.uid)
        opened = agreement if agreement is not None and _stands(view, agreement) else None
        status = TenantPeeringStatus(
            observedGeneration=resource.generation,
            ports=[] if opened is None else [PeeringPort(port=p.port, protocol=p.protocol) for p in _listed(opened)],
            conditions=_conditions(resource, asked, refused.get(asked.uid), opened, now),
        )
        if written := write_status(TENANT_PEERING, resource, status):
            writes += written
            events += _events(resource, status.conditions)
    return plan(writes, events)


def _ports(ports: Iterable[PeeringPort]) -> frozenset[Port]:
    return frozenset(Port(one.protocol, one.port) for one in ports)


def _listed(agreement: Agreement) -> list[Port]:
    return sorted(agreement.ports)


def _stands(view: PeeringsView, agreement: Agreement) -> bool:
    """Say whether the network policies of both sides are observed to be as they should, and nothing else keeps them apart."""
    own, peer = agreement.own, agreement.peer
    for manifest in (
        peering(own.namespace, peer, agreement.ports),
        peering(peer.namespace, own, agreement.ports),
    ):
        observed = view.policies.get(Ref.of(manifest))
        if observed is None or observed.deleting or merge_patch(observed.manifest, manifest) is not None:
            return False
    return view.separations is None or (
        _leaves(view.separations.get(own.tenant), peer) and _leaves(view.separations.get(peer.tenant), own)
    )


def _leaves(separation: Observed | None, peer: Side) -> bool:
    return separation is not None and peer.namespace in peers_of(separation.manifest)


def _conditions(
    resource: Resource[TenantPeeringSpec, TenantPeeringStatus],
    asked: Wish,
    refusal: Refusal | None,
    opened: Agreement | None,
    now: datetime,
) -> list[Condition]:
    said: dict[str, Literal["True", "False"]]
    if refusal is not None:
        said, reason, message = {"Ready": "False", "Stalled": "True"}, str(refusal.reason), refusal.message
    elif opened is None:
        said, reason, message = {"Ready": "False", "Reconciling": "True"}, "AwaitingPeer", _awaiting(asked)
    else:
        said, reason, message = {"Ready": "True"}, "Established", _established(asked, opened)
    conditions = [one for one in resource.status.conditions if one.type in said]
    for type_, status in said.items():
        conditions = set_condition(conditions, type_, status, reason, message, resource.generation, now)
    return conditions


def _awaiting(asked: Wish) -> str:
    """Say what it takes, in the same words whether the other side is not there, not willing or not allowed to."""
    return (
        f"open while namespace {asked.peer.namespace} of tenant {asked.peer.tenant} has a TenantPeering that names "
        f"namespace {asked.own.namespace} of tenant {asked.own.tenant} and a port in common, and its contract allows it: "
        f"ask the other side"
    )


def _established(asked: Wish, opened: Agreement) -> str:
    ports = ", ".join(f"{one.protocol} {one.port}" for one in _listed(opened)) or "all ports"
    return f"{asked.own.namespace} and {asked.peer.namespace} of tenant {asked.peer.tenant} reach each other on {ports}"


def _events(
    resource: Resource[TenantPeeringSpec, TenantPeeringStatus], after: Sequence[Condition]
) -> Iterator[Operation]:
    """Tell of each turn once."""
    before = find(resource.status.conditions, "Ready")
    ready = find(after, "Ready")
    if ready is None or (before is not None and (before.status, before.reason) == (ready.status, ready.reason)):
        return
    ref = Ref(API_VERSION, TENANT_PEERING.kind, resource.namespace, resource.name)
    if ready.status == "True":
        yield Emit(ref, resource.uid, "Normal", "PeeringEstablished", ready.message)
    elif before is not None and before.status == "True":
        yield Emit(ref, resource.uid, "Warning", "PeeringClosed", ready.message)
    elif holds(after, "Stalled"):
        yield Emit(ref, resource.uid, "Warning", "PeeringRefused", ready.message)
