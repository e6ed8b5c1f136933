"""Which peerings are in force: what one side cannot do alone, and what of it is nobody else's business."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gpu_tenancy.domain.peering import MAX_PEERINGS, Agreement, Port, Reason, Side, Wish, agreements, refusals

NOW = datetime(2026, 12, 1, tzinfo=UTC)
TRAIN, LAB = Side("neura", "train"), Side("rival", "lab")
HTTPS, GRPC, ROCE = Port("TCP", 443), Port("TCP", 8443), Port("UDP", 4791)


def asks(own: Side = TRAIN, peer: Side = LAB, *ports: Port, name: str = "joint", **fields: object) -> Wish:
    uid = f"{own.namespace}/{name}"
    wish = Wish(name, uid, NOW, own, allowed=True, suspended=False, peer=peer, ports=frozenset(ports))
    return replace(wish, **fields)


def answers(*ports: Port, own: Side = LAB, peer: Side = TRAIN, **fields: object) -> Wish:
    return asks(own, peer, *ports, **fields)


def agreed(wish: Wish, *others: Wish) -> Agreement | None:
    return agreements([wish], lambda namespace: [one for one in others if one.own.namespace == namespace]).get(wish.uid)


def reason(wish: Wish, *older: Wish) -> Reason | None:
    refusal = refusals([wish, *older]).get(wish.uid)
    return None if refusal is None else refusal.reason


def test_what_both_sides_ask_for_is_in_force():
    assert agreed(asks(), answers()) == Agreement("joint", "train/joint", TRAIN, LAB, frozenset(), new=True)


def test_one_side_alone_opens_nothing():
    assert agreed(asks()) is None


@pytest.mark.parametrize(
    "answer",
    [
        answers(peer=Side("neura", "serve")),
        answers(peer=Side("other", "train")),
        answers(own=Side("other", "lab")),
        answers(own=Side("", "lab")),
        answers(allowed=False),
        answers(suspended=True),
    ],
    ids=["another namespace", "another tenant", "handed over", "nobody's", "not allowed", "suspended"],
)
def test_an_answer_counts_only_from_and_to_exactly_these_two(answer):
    assert agreed(asks(), answers())
    assert agreed(asks(), answer) is None
    assert agreements([answer], lambda _: [asks()]) == {}, "nor is it open on the other side"


def test_a_refused_wish_is_no_answer():
    late = answers(name="late", created=NOW + timedelta(seconds=1))
    crowd = [answers(name=str(number), peer=Side("x", f"n{number}")) for number in range(MAX_PEERINGS)]
    assert agreed(asks(), late)
    assert agreed(asks(), late, *crowd) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "open_"),
    [
        ((), (), ()),
        ((HTTPS,), (), (HTTPS,)),
        ((), (HTTPS, ROCE), (HTTPS, ROCE)),
        ((HTTPS, GRPC), (GRPC, ROCE), (GRPC,)),
        ((HTTPS, HTTPS), (HTTPS,), (HTTPS,)),
    ],
)
def test_only_ports_that_both_name_are_open_and_all_without_any(ours, theirs, open_):
    agreement = agreed(asks(TRAIN, LAB, *ours), answers(*theirs))
    assert agreement is not None
    assert agreement.ports == set(open_)


@pytest.mark.parametrize(("ours", "theirs"), [(HTTPS, GRPC), (Port("TCP", 443), Port("UDP", 443))])
def test_no_port_in_common_is_no_agreement_and_not_all_ports(ours, theirs):
    assert agreed(asks(TRAIN, LAB, ours), answers(theirs)) is None


@pytest.mark.parametrize(
    ("standing", "new"),
    [(None, True), (frozenset(), True), (frozenset({GRPC}), True), (frozenset({HTTPS}), False)],
)
def test_it_is_new_unless_exactly_that_was_open(standing, new):
    agreement = agreed(asks(TRAIN, LAB, HTTPS, standing=standing), answers())
    assert agreement is not None
    assert agreement.new is new


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (asks(), None),
        (asks(own=Side("", "train")), Reason.NOT_A_TENANT),
        (asks(allowed=False), Reason.NOT_ALLOWED),
        (asks(suspended=True), Reason.TENANT_SUSPENDED),
        (asks(peer=Side("neura", "serve")), Reason.OWN_TENANT),
        (asks(peer=TRAIN), Reason.OWN_TENANT),
    ],
)
def test_what_one_side_cannot_have_is_refused(wish, expected):
    assert reason(wish) == expected


def test_of_two_with_one_peer_the_older_counts_and_the_younger_is_told_which():
    older, younger = asks(name="b"), asks(name="a", created=NOW + timedelta(seconds=1))
    refused = refusals([younger, older])
    assert refused.keys() == {younger.uid}
    assert refused[younger.uid].reason == Reason.DUPLICATE_PEER
    assert "b in this namespace" in refused[younger.uid].message


def test_of_two_of_one_second_the_first_by_name_counts():
    assert refusals([asks(name="b"), asks(name="a")]).keys() == {"train/b"}


def test_one_namespace_with_two_owners_is_two_peers():
    assert reason(asks(peer=Side("other", "lab"), name="z"), asks()) is None


def test_only_so_many_count_and_refused_ones_take_no_place():
    def crowd(count: int) -> list[Wish]:
        return [asks(name=f"a{number}", peer=Side("x", f"n{number}")) for number in range(count)]

    useless = asks(name="0", peer=Side("neura", "serve"))
    assert reason(asks(name="z"), *crowd(MAX_PEERINGS - 1), useless) is None
    assert reason(asks(name="z"), *crowd(MAX_PEERINGS)) == Reason.TOO_MANY_PEERINGS


def test_no_refusal_depends_on_the_other_side():
    wish = asks()
    assert refusals([wish]) == {}
    assert agreements([wish], lambda _: [answers(allowed=False)]) == agreements([wish], lambda _: []) == {}
