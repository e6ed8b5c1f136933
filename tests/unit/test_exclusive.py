"""From a decision to nodes: who is to have some, which may be had, who sits on them, and what is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpu_tenancy.api import GpuReservationSpec, GpuReservationStatus
from gpu_tenancy.api.common import Condition
from gpu_tenancy.api.reservation import AcceptedWindow, Occurrence, Recurrence
from gpu_tenancy.api.resource import Resource
from gpu_tenancy.domain.binding import Exclusive, Site
from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.capacity import NodeFacts
from gpu_tenancy.domain.promises import PoolFacts, Reason, State, decide
from gpu_tenancy.reconcile import exclusive as module
from gpu_tenancy.reconcile.exclusive import Claim, Occupant, claims, exclusive, named, occupant, sites, with_nodes
from promise_facts import NOW, accepted, booking, changed, grant, hour, pool, racks, rules, settled, spec

SPEC = pool(gpusPerNode=4, reservations=rules(cleaningGap="1h"))


def facts(*bookings: Any, capacity: Any = None, of: Any = SPEC) -> PoolFacts:
    return PoolFacts(of, racks(16, 12) if capacity is None else capacity, (grant("neura"),), bookings)


def asking(name: str, gpus: int, start: float, end: float, exclusivity: str = "Node", **fields: Any) -> Any:
    return booking(name, spec(gpus, start, end, exclusivity=exclusivity), **fields)


class TestPromises:
    @pytest.mark.parametrize("exclusivity", ["Node", "Clique"])
    def test_exclusive_nodes_are_booked_whole(self, exclusivity) -> None:
        found = decide(facts(asking("r", 6, 1, 2, exclusivity)), NOW).verdicts["r"]

        assert found.reason == Reason.NOT_WHOLE_NODES
        assert found.message == "exclusive nodes are booked in whole nodes of 4 GPUs: instead of 6 ask for 4 or 8"

    def test_only_a_clique_has_to_be_in_one_domain(self) -> None:
        assert decide(facts(asking("r", 20, 1, 2)), NOW).verdicts["r"].state is State.SCHEDULED
        assert decide(facts(asking("r", 20, 1, 2, "Clique")), NOW).verdicts["r"].reason == Reason.TOO_MANY_GPUS
        assert decide(facts(asking("r", 12, 1, 2, "Clique")), NOW).verdicts["r"].ledger.domain == "rack-1"

    def test_what_is_left_of_broken_nodes_is_nobodys_node(self) -> None:
        found = decide(facts(asking("r", 32, 1, 2), capacity=replace(racks(16, 12), capacity=40, usable=40)), NOW)

        assert found.verdicts["r"].reason == Reason.DOES_NOT_FIT
        assert "28 are free in whole nodes" in found.verdicts["r"].message

    def test_the_latest_goes_short_when_whole_nodes_are_lost(self) -> None:
        ones = [accepted(asking(name, 12, 1, 2), 1, 2, at=at) for name, at in (("a", -3), ("b", -2))]
        count = accepted(booking("c", spec(1, 1, 2)), 1, 2, at=-1)

        found = decide(facts(*ones, count, capacity=replace(racks(8, 12), usable=27, capacity=28)), NOW).verdicts

        assert {uid: bool(one.degraded) for uid, one in found.items()} == {"a": False, "b": True, "c": False}

    def test_the_pool_looks_again_when_nodes_are_to_be_bound(self) -> None:
        assert decide(facts(accepted(asking("r", 8, 1, 2), 1, 2)), NOW).wake == hour(1 - 1 / 12)

    def test_a_change_keeps_the_nodes(self) -> None:
        one = accepted(asking("r", 8, -1, 2), -1, 2)
        one = replace(one, ledger=one.ledger._replace(nodes=("n1", "n2")))
        longer = changed(one, spec(8, -1, 4, exclusivity="Node"))

        assert decide(facts(longer), NOW).verdicts["r"].ledger.nodes == ("n1", "n2")


def test_those_that_are_promised_nodes_come_by_age_with_the_time_to_clean_up() -> None:
    ones = [
        accepted(asking("young", 8, 1, 2), 1, 2, at=-1),
        accepted(asking("old", 12, 3, 4, "Clique"), 3, 4, at=-2),
        accepted(booking("shared", spec(8, 1, 2)), 1, 2),
        asking("refused", 32, 1, 2),
    ]
    one = facts(*ones)

    assert exclusive(one, decide(one, NOW)) == [
        Exclusive("old", 3, "rack-1", seconds(hour(3)), seconds(hour(5))),
        Exclusive("young", 2, "", seconds(hour(1)), seconds(hour(3))),
    ]


def test_bound_nodes_are_part_of_the_promise_and_missing_ones_are_told_once_it_has_begun() -> None:
    later, now_ = accepted(asking("later", 8, 1, 2), 1, 2), accepted(asking("now", 8, -1, 2), -1, 2)
    one = facts(later, now_)
    decision = decide(one, NOW)
    wanted = exclusive(one, decision)

    found = with_nodes(decision, wanted, {"later": (), "now": ("n1",)}).verdicts

    assert (found["later"].ledger.nodes, found["later"].degraded) == ((), "")
    assert found["now"].ledger.nodes == ("n1",)
    assert found["now"].degraded == "1 of 2 nodes are there: no other node can be used now"
    assert decide(settled(one, replace(decision, verdicts=found)), NOW).verdicts["now"].ledger == found["now"].ledger
    whole = with_nodes(decision, wanted, {"later": (), "now": ("n1", "n2")}).verdicts["now"]
    assert not whole.degraded
    within = [replace(each, domain="rack-1") for each in wanted]
    assert (
        "no other node of NVLink domain rack-1"
        in with_nodes(decision, within, {"later": (), "now": ()}).verdicts["now"].degraded
    )


def node(name: str, allocatable: int = 4, **labels: str) -> NodeFacts:
    gpus = {"nvidia.com/gpu": 4}
    return NodeFacts(name, labels, False, True, (), {}, gpus, {"nvidia.com/gpu": allocatable})


def test_sites_are_the_nodes_that_are_whole_with_who_is_on_them() -> None:
    clique = {"nvidia.com/gpu.clique": "rack-1"}
    nodes = [node("n1", **clique), node("n2"), node("n3", 3)]
    occupants = [Occupant("n1", "a", "", True), Occupant("n1", "b", "", False), Occupant("n1", "b", "", False)]

    assert sites(nodes, SPEC, occupants) == [Site("n1", "rack-1", 1, 2), Site("n2", "n2")]


POD: dict[str, Any] = {
    "metadata": {"namespace": "a", "labels": {"gpu-tenancy.dev/reservation": "night"}},
    "spec": {
        "nodeName": "n1",
        "priorityClassName": "gpu-b200-reserved",
        "containers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}],
    },
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, Occupant("n1", "a", "night", True)),
        ({"spec": POD["spec"] | {"priorityClassName": "gpu-b200-spot"}}, Occupant("n1", "a", "night", False)),
        ({"spec": POD["spec"] | {"priorityClassName": "other"}}, Occupant("n1", "a", "night", False)),
        ({"metadata": {"namespace": "a"}}, Occupant("n1", "a", "", True)),
        ({"spec": POD["spec"] | {"nodeName": ""}}, None),
        ({"spec": POD["spec"] | {"containers": [{}]}}, None),
        ({"status": {"phase": "Succeeded"}}, None),
    ],
)
def test_occupants_hold_gpus_of_a_node_by_right_or_not(changes, found) -> None:
    assert occupant(POD | changes, "nvidia.com/gpu") == found


def stored(
    name: str, start: float, *, exclusivity: str = "Node", reason: str = "Scheduled", promised: bool = True
) -> Any:
    window = AcceptedWindow(start=hour(start), end=hour(start + 1)) if promised else None
    ready = Condition(type="Ready", status="True", reason=reason, message="", lastTransitionTime=NOW)
    asked: GpuReservationSpec = spec(8, start, start + 1, exclusivity=exclusivity)
    status = GpuReservationStatus(window=window, conditions=[ready])
    return Resource(name, "a", name, 1, "1", NOW, deleting=False, spec=asked, status=status)


def test_a_namespace_names_those_that_are_promised_nodes_and_not_over(monkeypatch) -> None:
    ones = [
        stored("b", 2),
        stored("a", 3),
        stored("over", 0, reason="Completed"),
        stored("shared", 1, exclusivity="None"),
        stored("refused", 1, promised=False),
    ]

    assert named(ones) == ("a", "b")
    monkeypatch.setattr(module, "MOST_NAMED", 1)
    assert named(ones) == ("b",)


def test_a_status_says_which_nodes_belong_to_which_of_its_windows() -> None:
    once = stored("once", 2)
    bound = once.status.model_copy(update={"nodes": ["n1", "n2"], "acceptedTime": NOW})
    weekly = once.spec.model_copy(update={"recurrence": Recurrence(rule="FREQ=DAILY;COUNT=2", timeZone="UTC")})
    windows = [
        Occurrence(start=hour(at), end=hour(at + 1), gpus=8, acceptedTime=NOW, nodes=nodes)
        for at, nodes in ((2, ["n1"]), (26, []))
    ]
    refused = Occurrence(start=hour(50), end=hour(51), nodes=["n3"])
    often = bound.model_copy(update={"occurrences": [*windows, refused]})

    claim = Claim(NOW, "a", "once", hour(2))
    assert list(claims(replace(once, status=bound))) == [("n1", claim), ("n2", claim)]
    assert list(claims(replace(once, spec=weekly, status=often))) == [("n1", claim)]
    assert not list(claims(stored("refused", 2, promised=False)))
