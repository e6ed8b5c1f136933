"""Nodes for exclusive reservations: late, healthy, few disturbed, whole domains; kept, replaced, given back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpu_tenancy.domain.binding import LEAD, Exclusive, Site, bind, lacking

START, END = 10_000, 20_000
NOW = START - LEAD
ONE = Exclusive("one", 2, "", START, END)


def site(name: str, domain: str = "", *, firm: int = 0, loose: int = 0) -> Site:
    return Site(name, domain or name, firm, loose)


RACKS = [*(site(f"a{number}", "a") for number in range(4)), *(site(f"b{number}", "b") for number in range(2))]


@pytest.mark.parametrize(
    ("at", "bound"),
    [(NOW - 1, ()), (NOW, ("b0", "b1")), (START, ("b0", "b1")), (END - 1, ("b0", "b1")), (END, ())],
)
def test_nodes_are_bound_from_shortly_before_the_start_until_they_are_cleaned_up(at, bound) -> None:
    assert bind([ONE], RACKS, at) == {"one": bound}
    assert bind([replace(ONE, bound=("b0", "b1"))], RACKS, at) == {"one": bound}


def test_a_domain_that_is_broken_into_is_used_up_before_another() -> None:
    first, second = replace(ONE, nodes=1), replace(ONE, uid="two", nodes=1)

    assert bind([first, second], RACKS, NOW) == {"one": ("b0",), "two": ("b1",)}


def test_nodes_of_a_domain_come_from_that_domain() -> None:
    assert bind([replace(ONE, domain="a")], RACKS, NOW) == {"one": ("a0", "a1")}
    assert bind([replace(ONE, domain="b", nodes=3)], RACKS, NOW) == {"one": ("b0", "b1")}


def test_the_fewest_pods_are_disturbed() -> None:
    sites = [site("n1", loose=3), site("n2"), site("n3", loose=1)]

    assert bind([ONE], sites, NOW) == {"one": ("n2", "n3")}


def test_a_node_with_a_firm_pod_is_taken_only_if_there_is_no_other() -> None:
    sites = [site("n1", firm=1), site("n2", loose=9), site("n3")]

    assert bind([ONE], sites, NOW) == {"one": ("n2", "n3")}
    assert bind([ONE], sites[::2], NOW) == {"one": ("n1", "n3")}


def test_what_is_bound_stays_bound() -> None:
    bound = replace(ONE, bound=("a2", "a3"))
    busy = [replace(one, firm=2) for one in RACKS]

    assert bind([bound], busy, START) == {"one": ("a2", "a3")}
    assert bind([replace(ONE, uid="older", nodes=6), bound], RACKS, START)["one"] == ("a2", "a3")


def test_a_node_that_cannot_be_used_is_replaced_in_the_same_domain() -> None:
    bound = replace(ONE, domain="a", bound=("a2", "gone"))

    assert bind([bound], RACKS, START) == {"one": ("a0", "a2")}
    assert bind([bound], RACKS[2:3], START) == {"one": ("a2",)}


def test_one_that_became_smaller_gives_nodes_back() -> None:
    assert bind([replace(ONE, nodes=1, bound=("a1", "a2"))], RACKS, START) == {"one": ("a1",)}


def test_domains_that_others_have_booked_for_the_time_are_left_to_them() -> None:
    rack = Exclusive("rack", 2, "b", START + 1000, END)

    assert bind([ONE, rack], RACKS, NOW) == {"one": ("a0", "a1"), "rack": ()}
    assert bind([ONE, replace(rack, start=END, end=END + 1)], RACKS, NOW)["one"] == ("b0", "b1")
    assert bind([replace(ONE, nodes=5), rack], RACKS, NOW)["one"] == ("a0", "a1", "a2", "a3", "b0")


def test_the_older_promise_chooses_first() -> None:
    younger = replace(ONE, uid="younger")

    assert bind([ONE, younger], RACKS[:3], NOW) == {"one": ("a0", "a1"), "younger": ("a2",)}


@pytest.mark.parametrize(
    ("one", "is_lacking"),
    [
        (ONE, True),
        (replace(ONE, bound=("a0", "a1")), False),
        (replace(ONE, bound=("a0", "gone")), True),
        (replace(ONE, domain="c"), False),
        (replace(ONE, start=START + 1), False),
    ],
)
def test_pods_are_worth_a_look_only_if_nodes_are_to_be_chosen(one, is_lacking) -> None:
    assert lacking([one], RACKS, NOW) is is_lacking
    assert not lacking([one], [], NOW)
