"""Who gets what of a guarantee: split over the namespaces, or shared between them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gpu_tenancy.domain.grants import Share
from gpu_tenancy.domain.promises import Asking, Grant
from gpu_tenancy.domain.promises.sharing import hand_out
from promise_facts import LONG_AGO

NODE = 8


def shared(gpus: int, *asking: Asking, **least: int) -> Grant:
    split = {name: Share(own, 0, gpus - sum(least.values())) for name, own in least.items()}
    return Grant("t", LONG_AGO, gpus, shares=split, asking=asking)


def handed(grant: Grant, gpus: int | None = None, **used: int) -> dict[str, int]:
    parts = hand_out(grant, grant.guaranteed if gpus is None else gpus, used, NODE)
    total: Counter[str] = Counter()
    for namespace, part in parts:
        assert part > 0
        total[namespace] += part
    return dict(total)


def test_a_split_grant_fills_the_namespaces_in_their_order_whatever_they_use() -> None:
    split: dict[str, Any] = {"a": Share(20), "b": Share(0, 5), "c": Share(12)}
    grant = Grant("t", LONG_AGO, 32, shares=split, asking=(Asking("b", 8, 1),))
    assert handed(grant, b=3) == {"a": 20, "c": 12}
    assert handed(grant, 25) == {"a": 20, "c": 5}
    assert handed(grant, 3) == {"a": 3}


def test_with_enough_unused_every_namespace_has_room_for_a_pod_of_any_size() -> None:
    assert handed(shared(64, a=0, b=0, c=0)) == {"a": 48, "b": 8, "c": 8}
    assert handed(shared(64, a=0, b=0, c=0), b=1) == {"a": 40, "b": 16, "c": 8}


def test_small_pods_do_not_move_quotas_one_by_one() -> None:
    assert {tuple(handed(shared(64, a=0, b=0), b=used).items()) for used in range(1, 9)} == {(("b", 16), ("a", 48))}


def test_what_is_used_stays_and_what_is_left_goes_where_pods_are_missing() -> None:
    grant = shared(16, Asking("b", 8, 3), a=0, b=0)
    assert handed(grant, a=4) == {"a": 8, "b": 8}
    assert handed(grant, a=8) == {"a": 8, "b": 8}
    assert handed(grant, a=9) == {"a": 16}, "no pod of b fits into what is left"


def test_what_one_workload_has_no_use_for_is_left_to_others() -> None:
    assert handed(shared(16, Asking("b", 8, 1), Asking("c", 2, 1), a=0, b=0, c=0), a=12) == {"a": 14, "c": 2}


def test_the_namespace_that_uses_the_least_comes_first() -> None:
    asking = (Asking("a", 4, 1), Asking("b", 4, 1))
    assert handed(shared(12, *asking, a=0, b=0), a=6, b=2) == {"a": 6, "b": 6}
    assert handed(shared(12, *asking, a=0, b=0), a=2, b=6) == {"a": 6, "b": 6}


def test_several_workloads_of_a_namespace_add_up() -> None:
    asking = (Asking("b", 4, 2), Asking("b", 2, 1))
    assert handed(shared(16, *asking, a=0, b=0), a=6) == {"a": 6, "b": 10}


def test_what_a_namespace_has_at_least_is_its_own() -> None:
    grant = shared(16, Asking("b", 8, 9), a=8, b=0)
    assert handed(grant) == {"a": 8, "b": 8}
    assert handed(grant, b=16) == {"a": 8, "b": 8}, "it gets room again as pods of b end"
    assert handed(shared(16, Asking("a", 8, 1), a=8, b=0), b=8) == {"a": 8, "b": 8}, "its own room is used first"


def test_a_guarantee_that_is_not_backed_leaves_what_is_used() -> None:
    assert handed(shared(16, Asking("a", 4, 1), a=0, b=0), 4, b=6) == {"b": 4}
    assert handed(shared(16, a=0, b=0), 0) == {}
