"""The judge of the storm: it has to see what it is there to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.invariants import ON_ITS_WAY, violations
from cluster.recording import Change

if TYPE_CHECKING:
    from collections.abc import Iterable

POOL, HEADROOM = "b200", 4


def node(revision: int, *, usable: bool = True, name: str = "a", seen: float = 0) -> Change:
    amounts = {"nvidia.com/gpu": "8"}
    body = {
        "metadata": {"labels": {"nvidia.com/gpu.product": "NVIDIA-B200"}},
        "spec": {"unschedulable": not usable},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]},
    }
    return Change(revision, seen, "Node", ("", name), body, deleted=False)


def quota(
    revision: int, hard: int, used: int = 0, *, tier: str = "guaranteed", namespace: str = "x", seen: float = 0
) -> Change:
    key = "requests.nvidia.com/gpu"
    status = {"hard": {key: str(hard)}, "used": {key: str(used)}}
    body = {"spec": {"hard": {key: str(hard)}}, "status": status}
    return Change(revision, seen, "ResourceQuota", (namespace, f"gpu-b200-{tier}"), body, deleted=False)


def reservation(
    revision: int, gpus: int, start: int, end: int, *, uid: str = "u", judged: int = 1, seen: float = 0
) -> Change:
    def at(second: int) -> str:
        return f"1970-01-01T00:{second // 60:02}:{second % 60:02}Z"

    status: dict[str, Any] = {"observedGeneration": judged, "gpus": gpus, "conditions": []}
    status["window"] = {"start": at(start), "end": at(end)}
    body = {"metadata": {"uid": uid, "generation": judged}, "spec": {"pool": POOL}, "status": status}
    return Change(revision, seen, "GpuReservation", ("x", uid), body, deleted=False)


def told(*changes: Change) -> list[str]:
    return list(violations(sorted(changes), POOL, HEADROOM))


def some(found: Iterable[str], what: str) -> bool:
    return any(what in one for one in found)


def test_what_fits_is_no_violation() -> None:
    assert told(node(1), node(2, name="b"), quota(3, 8), quota(4, 4, namespace="y")) == []


def test_quotas_above_what_is_promisable_are_told_with_the_revision() -> None:
    assert told(node(1), quota(2, 2), quota(3, 3, namespace="y"))[0].startswith("revision 3: 5 GPUs are promised of 4")


def test_what_pods_hold_counts_after_the_quota_was_lowered() -> None:
    assert some(told(node(1), quota(2, 0, used=4), quota(3, 1, namespace="y")), "5 GPUs are promised of 4")


def test_a_loss_of_capacity_is_no_violation_but_a_raise_after_it_is() -> None:
    lost = [node(1), node(2, name="b"), quota(3, 12), node(4, usable=False)]
    later = 2 * ON_ITS_WAY
    assert told(*lost, quota(5, 8, seen=later)) == []
    assert some(told(*lost, quota(5, 8, seen=later), quota(6, 9, seen=later)), "9 GPUs are promised of 8")


def test_a_quota_that_opens_before_its_window_is_told() -> None:
    early = [node(1), reservation(2, 4, 10, 20), quota(3, 4, tier="reserved", seen=9)]
    assert some(told(*early), "only 0 GPUs' windows have begun")
    assert told(node(1), reservation(2, 4, 10, 20), quota(3, 4, tier="reserved", seen=10)) == []


def test_a_quota_that_opens_long_after_its_window_is_told() -> None:
    def opened(seen: float) -> list[str]:
        return told(node(1), reservation(2, 4, 10, 20), quota(3, 4, tier="reserved", seen=seen))

    assert opened(20 + ON_ITS_WAY / 2) == []
    assert some(opened(20 + ON_ITS_WAY), "only 0 GPUs' windows have begun")


def test_a_promise_that_moves_by_itself_is_told_and_one_that_was_asked_to_is_not() -> None:
    assert some(told(node(1), reservation(2, 4, 10, 20), reservation(3, 4, 11, 21)), "though its spec is the same")
    assert told(node(1), reservation(2, 4, 10, 20), reservation(3, 4, 11, 21, judged=2)) == []


def test_windows_that_were_accepted_and_do_not_fit_together_are_told() -> None:
    assert some(
        told(node(1), reservation(2, 3, 10, 20), reservation(3, 2, 19, 30, uid="v")), "was accepted: 5 + 0 GPUs of 4"
    )
    assert told(node(1), reservation(2, 3, 10, 20), reservation(3, 2, 20, 30, uid="v")) == []
