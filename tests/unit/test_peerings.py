"""The status of peerings: Ready only while the policies of both sides stand, and the same words for all that is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpu_tenancy.api import TENANT_PEERING
from gpu_tenancy.api.resource import parse
from gpu_tenancy.domain.peering import Agreement, Port, Reason, Side
from gpu_tenancy.reconcile.observed import Observed
from gpu_tenancy.reconcile.peerings import PeeringsView, plan_peerings, wish
from gpu_tenancy.reconcile.plan import Emit, Plan, Ref, Update
from gpu_tenancy.render.cluster_network_policy import cluster_network_policy
from gpu_tenancy.render.network_policy import peering

NOW = datetime(2026, 12, 1, 8, tzinfo=UTC)
TRAIN, LAB = Side("neura", "train"), Side("rival", "lab")
HTTPS = Port("TCP", 443)


def stored(status: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    metadata = {
        "name": "joint",
        "namespace": "train",
        "uid": "0f6b",
        "generation": 2,
        "resourceVersion": "17",
        "creationTimestamp": "2026-11-22T09:00:00Z",
    }
    spec = {"peer": {"tenant": "rival", "namespace": "lab"}} | changes
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def observed(manifest: dict[str, Any], **metadata: Any) -> Observed:
    metadata = {**manifest["metadata"], "uid": "1", "resourceVersion": "1", **metadata}
    return Observed.of({**manifest, "metadata": metadata}, "networking.k8s.io/v1", "NetworkPolicy")


def view(
    raw: dict[str, Any],
    *policies: Observed,
    agreed: Agreement | None = None,
    tenant: str = "neura",
    allowed: bool = True,
) -> PeeringsView:
    resource = parse(TENANT_PEERING, raw)
    return PeeringsView(
        peerings=[resource],
        wishes=[wish(resource, tenant, allowed=allowed, suspended=False)],
        agreements={} if agreed is None else {resource.uid: agreed},
        policies={policy.ref: policy for policy in policies},
    )


def both(*ports: Port) -> list[Observed]:
    return [observed(peering("train", LAB, ports)), observed(peering("lab", TRAIN, ports))]


def status_of(plan: Plan) -> dict[str, Any]:
    (update,) = (one for one in plan.operations if isinstance(one, Update))
    assert (update.subresource, update.resource_version) == ("status", "17")
    return update.patch["status"]


def conditions(plan: Plan) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status_of(plan)["conditions"]}


def told(plan: Plan) -> set[str]:
    return {one.reason for one in plan.operations if isinstance(one, Emit)}


OPEN = Agreement("joint", "0f6b", TRAIN, LAB, frozenset(), new=False)
WAITING = {"Ready": ("False", "AwaitingPeer"), "Reconciling": ("True", "AwaitingPeer")}
ESTABLISHED = {"Ready": ("True", "Established")}


def test_it_waits_until_the_other_side_agrees():
    plan = plan_peerings(view(stored()), NOW)
    assert conditions(plan) == WAITING
    assert told(plan) == set()
    assert status_of(plan)["observedGeneration"] == 2


def test_it_is_established_when_the_policies_of_both_sides_stand():
    plan = plan_peerings(view(stored(), *both(), agreed=OPEN), NOW)
    assert conditions(plan) == ESTABLISHED
    assert told(plan) == {"PeeringEstablished"}
    [ready] = status_of(plan)["conditions"]
    assert ready["message"] == "train and lab of tenant rival reach each other on all ports"


@pytest.mark.parametrize(
    "policies",
    [
        [],
        both()[:1],
        both()[1:],
        [both()[0], observed(peering("lab", TRAIN, [HTTPS]))],
        [both()[0], observed(peering("lab", TRAIN, ()), deletionTimestamp="2026-12-01T08:00:00Z")],
    ],
    ids=["none", "ours", "theirs", "other ports", "going"],
)
def test_an_agreement_that_does_not_stand_yet_still_waits(policies):
    assert conditions(plan_peerings(view(stored(), *policies, agreed=OPEN), NOW)) == WAITING


def separation(tenant: str, *peers: str) -> Observed:
    policy = cluster_network_policy(tenant, peers, 100)
    policy["metadata"] |= {"uid": tenant, "resourceVersion": "1"}
    return Observed.of(policy, policy["apiVersion"], policy["kind"])


@pytest.mark.parametrize(
    ("separations", "said"),
    [
        ([separation("neura", "desk", "lab"), separation("rival", "train")], ESTABLISHED),
        ([separation("neura", "lab"), separation("rival")], WAITING),
        ([separation("neura", "desk"), separation("rival", "train")], WAITING),
        ([separation("neura", "lab")], WAITING),
    ],
    ids=["both leave it open", "theirs closes it", "ours closes it", "theirs is missing"],
)
def test_where_tenants_are_kept_apart_by_more_it_takes_that_as_well(separations, said):
    by_tenant = {one.ref.name.removeprefix("gpu-tenancy-"): one for one in separations}
    seen = replace(view(stored(), *both(), agreed=OPEN), separations=by_tenant)
    assert conditions(plan_peerings(seen, NOW)) == said


def test_it_says_which_ports_are_open():
    ports = (Port("UDP", 4791), HTTPS)
    agreed = Agreement("joint", "0f6b", TRAIN, LAB, frozenset(ports), new=True)
    plan = plan_peerings(view(stored(), *both(*ports), agreed=agreed), NOW)
    assert status_of(plan)["ports"] == [{"port": 443, "protocol": "TCP"}, {"port": 4791, "protocol": "UDP"}]
    assert status_of(plan)["conditions"][0]["message"].endswith("on TCP 443, UDP 4791")


def test_what_is_said_already_is_not_said_again():
    status = status_of(plan_peerings(view(stored(), *both(), agreed=OPEN), NOW))
    assert plan_peerings(view(stored(status), *both(), agreed=OPEN), NOW + timedelta(hours=1)) == Plan()


def test_one_that_is_closed_says_so_and_names_no_ports():
    agreed = Agreement("joint", "0f6b", TRAIN, LAB, frozenset({HTTPS}), new=True)
    status = status_of(plan_peerings(view(stored(), *both(HTTPS), agreed=agreed), NOW))
    plan = plan_peerings(view(stored(status)), NOW)
    assert conditions(plan) == WAITING
    assert status_of(plan)["ports"] == []
    assert told(plan) == {"PeeringClosed"}


def test_one_that_is_refused_is_stalled_with_what_to_do():
    plan = plan_peerings(view(stored(), allowed=False), NOW)
    assert conditions(plan) == {"Ready": ("False", "NotAllowed"), "Stalled": ("True", "NotAllowed")}
    assert told(plan) == {"PeeringRefused"}
    assert "ask the provider" in status_of(plan)["conditions"][0]["message"]


def test_a_namespace_of_nobody_has_no_peerings():
    assert conditions(plan_peerings(view(stored(), tenant=""), NOW))["Stalled"] == ("True", Reason.NOT_A_TENANT)


def test_the_status_is_read_back_as_what_stands():
    agreed = Agreement("joint", "0f6b", TRAIN, LAB, frozenset({HTTPS}), new=True)
    status = status_of(plan_peerings(view(stored(), *both(HTTPS), agreed=agreed), NOW))
    [asked] = view(stored(status)).wishes
    assert asked.standing == {HTTPS}
    assert view(stored()).wishes[0].standing is None


def test_policies_are_looked_up_by_their_full_reference():
    assert both()[0].ref == Ref("networking.k8s.io/v1", "NetworkPolicy", "train", "gpu-tenancy-peer-lab")
