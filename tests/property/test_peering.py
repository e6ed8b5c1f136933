"""Peerings of any tenants in any order: both sides agree on the same, or neither has anything open."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_tenancy.domain.peering import Port, Side, Wish, agreements, refusals

OWNERS = {"train": "neura", "serve": "neura", "lab": "rival", "site": "third", "lost": ""}
PORTS = (Port("TCP", 443), Port("TCP", 8443), Port("UDP", 443))
sides = st.builds(Side, st.sampled_from(["neura", "rival", "third"]), st.sampled_from(sorted(OWNERS)))
right_sides = st.sampled_from([Side(tenant, namespace) for namespace, tenant in OWNERS.items() if tenant])


@st.composite
def wishes(draw: st.DrawFn) -> list[Wish]:
    made = []
    for number in range(draw(st.integers(0, 12))):
        namespace = draw(st.sampled_from(sorted(OWNERS)))
        made.append(
            Wish(
                name=f"p{draw(st.integers(0, 9))}",
                uid=str(number),
                created=datetime(2026, 12, 1, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 2))),
                own=Side(OWNERS[namespace], namespace),
                allowed=draw(st.sampled_from([True, True, True, False])),
                suspended=draw(st.sampled_from([False, False, False, True])),
                peer=draw(right_sides | sides),
                ports=frozenset(draw(st.lists(st.sampled_from(PORTS), max_size=2))),
            )
        )
    return made


def in_force(world: list[Wish]) -> dict[tuple[Side, Side], frozenset[Port]]:
    def of(namespace: str) -> list[Wish]:
        return [wish for wish in world if wish.own.namespace == namespace]

    return {(one.own, one.peer): one.ports for namespace in OWNERS for one in agreements(of(namespace), of).values()}


@settings(deadline=None)
@given(st.data())
def test_both_sides_have_the_same_open_or_nothing(data):
    world = data.draw(wishes())
    open_ = in_force(world)
    for (own, peer), ports in open_.items():
        assert open_[peer, own] == ports
        assert own.tenant
        assert own.tenant != peer.tenant
        for wish in world:
            if (
                (wish.own, wish.peer) == (own, peer)
                and wish.ports
                and wish.uid not in refusals([one for one in world if one.own.namespace == own.namespace])
            ):
                assert ports
                assert ports <= wish.ports
    assert in_force(data.draw(st.permutations(world))) == open_


@settings(deadline=None)
@given(st.data())
def test_whatever_one_side_takes_back_is_closed_on_both(data):
    world = data.draw(wishes())
    open_ = in_force(world)
    if not open_:
        return
    own, peer = data.draw(st.sampled_from(sorted(open_)))

    def revoked(wish: Wish) -> Wish | None:
        if (wish.own, wish.peer) != (own, peer):
            return wish
        return data.draw(
            st.sampled_from(
                [
                    None,
                    replace(wish, allowed=False),
                    replace(wish, suspended=True),
                    replace(wish, own=Side("", own.namespace)),
                    replace(wish, own=Side("fourth", own.namespace)),
                    replace(wish, peer=Side("fourth", peer.namespace)),
                ]
            )
        )

    after = in_force([one for wish in world if (one := revoked(wish)) is not None])
    assert (own, peer) not in after
    assert (peer, own) not in after
