"""Whatever pools, pods and reservations look like: no node belongs to two, what is bound and usable stays."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gpu_tenancy.domain.binding import Exclusive, Site, bind, lacking

DOMAINS = ["a", "b", "c"]
NAMES = [f"{domain}{number}" for domain in DOMAINS for number in range(4)]

sites = st.lists(
    st.builds(
        lambda name, firm, loose: Site(name, name[0], firm, loose),
        st.sampled_from(NAMES),
        st.sampled_from([0, 0, 1]),
        st.integers(0, 3),
    ),
    unique_by=lambda site: site.name,
)
promises = st.lists(
    st.builds(
        lambda nodes, domain, start, length, bound: Exclusive("", nodes, domain, start, start + length, tuple(bound)),
        st.integers(1, 5),
        st.sampled_from(["", *DOMAINS]),
        st.integers(0, 900),
        st.integers(1, 900),
        st.lists(st.sampled_from(NAMES), max_size=5, unique=True),
    ),
    max_size=5,
).map(lambda found: [replace(one, uid=str(number)) for number, one in enumerate(found)])


def apart(found: list[Exclusive]) -> list[Exclusive]:
    """Take from each what an older one has, as it is wherever the last binding was written."""
    taken: set[str] = set()
    kept = []
    for one in found:
        kept.append(replace(one, bound=tuple(name for name in one.bound if name not in taken)))
        taken |= {*one.bound}
    return kept


@given(promises.map(apart), sites, st.integers(0, 1800))
def test_no_node_belongs_to_two_and_what_is_bound_and_usable_stays(found, here, now) -> None:
    bound, usable = bind(found, here, now), {site.name: site for site in here}
    everyone = [name for names in bound.values() for name in names]

    assert len(everyone) == len({*everyone})
    for one in found:
        mine = bound[one.uid]
        kept = [name for name in one.bound if name in usable and one.domain in {"", usable[name].domain}]
        assert mine == () if not one.is_due(now) else {*kept[: one.nodes]} <= {*mine}
        assert len(mine) <= one.nodes
        assert all(name in usable and one.domain in {"", usable[name].domain} for name in mine)
        idle = [name for name in usable.keys() - {*everyone} if one.domain in {"", usable[name].domain}]
        if one.is_due(now) and len(mine) < one.nodes:
            assert not idle, "what can be had is had"
        if one.is_due(now) and any(usable[name].firm for name in {*mine} - {*one.bound}):
            assert all(usable[name].firm for name in idle), "nobody is disturbed who need not be"


@given(promises.map(apart), sites, st.integers(0, 1800), st.randoms(use_true_random=False))
def test_binding_comes_to_rest_and_does_not_depend_on_the_order_of_the_nodes(found, here, now, random) -> None:
    bound = bind(found, here, now)
    written = [replace(one, bound=bound[one.uid]) for one in found]

    assert bind(found, random.sample(here, len(here)), now) == bound
    assert bind(written, here, now) == bound
    assert not lacking(written, here, now)


@given(promises, sites, st.integers(0, 1800))
def test_also_where_two_claim_a_node_it_ends_with_one(found, here, now) -> None:
    bound = bind(found, here, now)
    everyone = [name for names in bound.values() for name in names]

    assert len(everyone) == len({*everyone})
