"""Reservations on a real control plane where something comes in between: contracts, neighbours, failures, a kill."""

from __future__ import annotations

import copy
import json
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cluster.operating import Cluster, OperatorProcess, eventually
from cluster.site import (
    B200,
    QUICK,
    RTX_PRO,
    a_site,
    hard,
    pod,
    pool,
    ready,
    renting,
    reservation,
    running,
    soon,
    text,
    used,
)
from gpu_tenancy.localcluster import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

GB200, HANGING = "NVIDIA-GB200", "NVIDIA-H200"
LABEL, TAINT = "reservation.gpu-tenancy.node-restriction.kubernetes.io/", "gpu-tenancy.dev/reservation"
OVERRUN = 4


@pytest.fixture(scope="module")
def cluster(premises: Cluster, operator: OperatorProcess) -> Iterator[Cluster]:
    """A site with 32 B200, 16 RTX PRO and 8 GB200 GPUs, and a node on which pods do not go."""
    offer = (
        pool("b200", B200),
        pool("rtx-pro", RTX_PRO),
        pool("gb200", GB200, gpusPerNode=4, reservations=QUICK | {"modifiableUntil": "1h"}),
        pool("hanging", HANGING, reservations=QUICK | {"maximumOverrun": f"{OVERRUN}s"}),
    )
    with a_site(premises, operator, *offer, dgx_b200=4, rtx_pro=2, dgx_gb200=2) as cluster:
        hang(cluster)
        yield cluster


def hang(cluster: Cluster) -> None:
    """Add a node like one of the RTX PRO nodes whose kubelet does nothing: what is on it stays there."""
    node = copy.deepcopy(cluster.get("node", "eu-de-rtx-pro-0001"))
    labels = {key: value for key, value in node["metadata"]["labels"].items() if "gpu-tenancy" not in key}
    labels |= {"nvidia.com/gpu.product": HANGING, "kubernetes.io/hostname": "hanging"}
    now = text(datetime.now(UTC))
    conditions = [one | {"lastHeartbeatTime": now} for one in node["status"]["conditions"]]
    metadata = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "hanging", "labels": labels}}
    cluster.create(metadata)
    status = {key: node["status"][key] for key in ("capacity", "allocatable")} | {"conditions": conditions}
    cluster.kubectl(
        "patch", "node", "hanging", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status})
    )


def patch(cluster: Cluster, kind: str, name: str, body: dict[str, Any], namespace: str = "") -> None:
    scope = ["-n", namespace] if namespace else []
    cluster.kubectl("patch", kind, name, *scope, "--type=merge", "-p", json.dumps(body))


def status(cluster: Cluster, name: str, namespace: str) -> dict[str, Any]:
    return cluster.get("gres", name, namespace).get("status", {})


def pinned(name: str, namespace: str, node: str, gpus: int, **labels: str) -> dict[str, Any]:
    one = pod(name, namespace, gpus, **labels)
    one["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    return one


def alive(cluster: Cluster, name: str, namespace: str) -> bool:
    found = cluster.get("pod", name, namespace)
    return found is not None and "deletionTimestamp" not in found["metadata"]


def mark(cluster: Cluster, node: str, namespace: str) -> tuple[str | None, list[str]]:
    """What the label of a namespace's reservation says on a node, and the effects of its taint."""
    found = cluster.get("node", node)
    taints = [one for one in found["spec"].get("taints", []) if (one["key"], one.get("value")) == (TAINT, namespace)]
    return found["metadata"]["labels"].get(LABEL + namespace), [one["effect"] for one in taints]


def leave(cluster: Cluster, *names: str) -> None:
    """Delete tenants, and wait until nothing of them is in anybody's way."""
    cluster.kubectl("delete", "itn", *names, "--wait=false")
    eventually(lambda: not [one for one in cluster.list("gres") if one["metadata"]["namespace"] in names])


# The contract


def test_a_contract_is_announced_honoured_and_over_and_a_change_of_it_holds_at_once(cluster: Cluster) -> None:
    cluster.apply(renting("firm", guaranteed=2))
    ready(cluster, "firm")
    start = soon(2)
    end = start + timedelta(seconds=20)
    cluster.apply(reservation("accepted", "firm", 8, start, 20))
    cluster.until("gres", "accepted", "Active", "True", "firm")

    until = soon(3)
    cluster.apply(renting("firm", contract={"validUntil": text(until), "notice": "2s"}, guaranteed=2))
    announced = cluster.until("itn", "firm", "ContractEnding", "True")["lastTransitionTime"]
    assert datetime.fromisoformat(announced) >= until - timedelta(seconds=2), "not before"
    later = until + timedelta(seconds=600)
    cluster.apply(reservation("later", "firm", 8, later, 60))
    refused = cluster.until("gres", "later", "Stalled", "True", "firm")
    assert (refused["reason"], text(until) in refused["message"]) == ("ContractEnds", True)

    eventually(lambda: hard(cluster, "firm", "gpu-b200-guaranteed") in {"0", None})
    assert datetime.now(UTC) >= until
    assert hard(cluster, "firm", "gpu-b200-reserved") == "8", "what was accepted is honoured"
    cluster.create(pod("honoured", "firm", 8, **{"gpu-tenancy.dev/reservation": "accepted"}))
    assert cluster.condition("itn", "firm", "Suspended") is None

    over = cluster.until("itn", "firm", "Suspended", "True")
    assert over["reason"] == "ContractOver"
    assert datetime.now(UTC) >= end
    eventually(lambda: cluster.get("resourcequota", "gpu-tenancy-base", "firm")["status"]["hard"]["pods"] == "0")
    with pytest.raises(LocalClusterError, match=r"suspended|exceeded quota"):
        cluster.create(pod("late", "firm"))

    cluster.apply(renting("firm", contract={"validUntil": text(later + timedelta(hours=1))}, guaranteed=2))
    cluster.until("gres", "later", "Ready", "True", "firm")
    eventually(lambda: hard(cluster, "firm", "gpu-b200-guaranteed") == "2")
    eventually(lambda: cluster.condition("itn", "firm", "Suspended") is None)
    leave(cluster, "firm")


# The line, changes, the end


def test_who_waits_stands_in_line_and_nobody_overtakes(cluster: Cluster) -> None:
    # By name the last one came first.
    names = ("holds", "z-first", "a-second", "overtakes")
    cluster.apply(*(renting(name, "rtx-pro") for name in names))
    for name in names:
        ready(cluster, name)

    def ask(namespace: str, gpus: int, on_conflict: str) -> None:
        more = {"pool": "rtx-pro", "onConflict": on_conflict}
        cluster.apply(reservation("seat", namespace, gpus, soon(2), 600, **more))

    ask("holds", 16, "Reject")
    cluster.until("gres", "seat", "Ready", "True", "holds")
    for name, gpus in (("z-first", 12), ("a-second", 8)):
        ask(name, gpus, "Wait")
        cluster.until("gres", "seat", "Reconciling", "True", name)
        time.sleep(1)  # creation is told in whole seconds
    positions = {name: status(cluster, "seat", name).get("queuePosition") for name in names[1:3]}
    assert positions == {"z-first": 1, "a-second": 2}

    cluster.kubectl("delete", "gres", "seat", "-n", "holds")
    cluster.until("gres", "seat", "Active", "True", "z-first")
    eventually(lambda: status(cluster, "seat", "a-second").get("queuePosition") == 1)
    # Four are left, and of those all are claimed.
    ask("overtakes", 4, "Reject")
    refused = cluster.until("gres", "seat", "Stalled", "True", "overtakes")
    assert refused["reason"] == "DoesNotFit"
    assert not [name for name in names[:3] if name in refused["message"]]

    cluster.kubectl("delete", "gres", "seat", "-n", "z-first")
    cluster.until("gres", "seat", "Active", "True", "a-second")
    assert "queuePosition" not in status(cluster, "seat", "a-second")
    leave(cluster, *names)


def test_a_change_is_taken_until_the_window_is_fixed_and_then_only_what_harms_nobody(cluster: Cluster) -> None:
    hours = {"limit": 1000, "period": "Year"}
    cluster.apply(renting("changes", "gb200", gpuHours=hours))
    ready(cluster, "changes")
    far, near = soon(2 * 3600), soon(1200)
    for name, start in (("far", far), ("near", near)):
        cluster.apply(reservation(name, "changes", 4, start, 3600, pool="gb200"))
        cluster.until("gres", name, "Ready", "True", "changes")

    def change(name: str, start: datetime, seconds: int, gpus: int) -> None:
        patch(cluster, "gres", name, {"spec": {"gpus": gpus, "window": window(start, seconds)}}, "changes")

    def window(start: datetime, seconds: int) -> dict[str, str]:
        return {"start": text(start), "duration": f"{seconds}s"}

    def stands(name: str, start: datetime, seconds: int, gpus: int) -> None:
        wanted = {"start": text(start), "end": text(start + timedelta(seconds=seconds))}
        eventually(lambda: {"window": wanted, "gpus": gpus}.items() <= status(cluster, name, "changes").items())

    # Moved, extended, shortened and made smaller; what does not fit leaves everything as it was.
    for start, seconds, gpus in (
        (far + timedelta(hours=1), 3600, 4), (far, 7200, 4), (far, 7200, 8), (far, 1800, 2)
    ):  # fmt: skip
        change("far", start, seconds, gpus)
        stands("far", start, seconds, gpus)
    change("far", far, 1800, 12)
    assert cluster.until("gres", "far", "Stalled", "True", "changes")["reason"] == "TooManyGpus"
    stands("far", far, 1800, 2)
    change("far", far, 1800, 2)
    eventually(lambda: cluster.condition("gres", "far", "Stalled", "changes") is None)

    change("near", near + timedelta(minutes=1), 3600, 4)
    refused = cluster.until("gres", "near", "Stalled", "True", "changes")
    assert refused["reason"] == "StartImmutable"
    assert text(near) in refused["message"]
    stands("near", near, 3600, 4)
    change("near", near, 1800, 6)
    eventually(lambda: (cluster.condition("gres", "near", "Stalled", "changes") or {}).get("reason") == "TwoChanges")
    change("near", near, 7200, 4)
    stands("near", near, 7200, 4)
    change("near", near, 3600, 4)
    stands("near", near, 3600, 4)
    assert status(cluster, "near", "changes")["forfeitedGpuSeconds"] == 3600 * 4
    with pytest.raises(LocalClusterError, match="create another reservation for another pool"):
        patch(cluster, "gres", "near", {"spec": {"pool": "b200"}}, "changes")

    # Who cancels in time gets everything back, who does so late nothing.
    cluster.kubectl("delete", "gres", "far", "near", "-n", "changes")

    def charged() -> tuple[int, int]:
        found = charges(cluster, "changes")
        return found.get("gone", 0), found.get("present", 0)

    eventually(lambda: charged() == (7200 * 4, 0), lambda: str(charged()))
    leave(cluster, "changes")


def test_one_whose_spec_was_stored_under_a_newer_schema_says_so_and_what_was_promised_stands(cluster: Cluster) -> None:
    cluster.apply(renting("newer", gpuHours={"limit": 1000, "period": "Year"}))
    ready(cluster, "newer")
    cluster.apply(reservation("night", "newer", 8, soon(1), 600))
    opened = cluster.until("gres", "night", "Active", "True", "newer")
    before = status(cluster, "night", "newer")
    charged = eventually(lambda: charges(cluster, "newer"))

    with more_gpus_in_the_schema(cluster):
        eventually(lambda: asks(cluster, "night", 2_000_000))
    told = eventually(lambda: stalled(cluster, "night") == "InvalidSpec" and status(cluster, "night", "newer"))
    conditions = {one["type"]: one for one in told["conditions"]}
    assert conditions["Ready"]["message"].startswith("the stored spec cannot be read: spec.gpus: ")
    assert conditions["Ready"]["message"].endswith("; apply a corrected one")
    assert conditions["Active"]["lastTransitionTime"] == opened["lastTransitionTime"]
    assert told | {"conditions": 0} == before | {"conditions": 0}
    assert hard(cluster, "newer", "gpu-b200-reserved") == "8"
    assert charges(cluster, "newer") == charged

    patch(cluster, "gres", "night", {"spec": {"gpus": 8}}, "newer")
    ready_again = cluster.until("gres", "night", "Ready", "True", "newer")
    assert ready_again["reason"] == "Active"
    assert cluster.condition("gres", "night", "Stalled", "newer") is None
    leave(cluster, "newer")


def stalled(cluster: Cluster, name: str) -> str | None:
    return next(
        (one["reason"] for one in status(cluster, name, "newer")["conditions"] if one["type"] == "Stalled"), None
    )


def asks(cluster: Cluster, name: str, gpus: int) -> bool:
    """Ask for so many GPUs; the API server knows of another schema a moment later."""
    with suppress(LocalClusterError):
        patch(cluster, "gres", name, {"spec": {"gpus": gpus}}, "newer")
        return True
    return False


@contextmanager
def more_gpus_in_the_schema(cluster: Cluster) -> Iterator[None]:
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/gpus/maximum"

    def at_most(gpus: int) -> None:
        change = json.dumps([{"op": "replace", "path": path, "value": gpus}])
        cluster.kubectl("patch", "crd", "gpureservations.gpu-tenancy.dev", "--type=json", "-p", change)

    at_most(10_000_000)
    try:
        yield
    finally:
        at_most(1_000_000)


def charges(cluster: Cluster, tenant: str) -> dict[str, int]:
    """What is charged to a tenant this year; none of these tests runs at the turn of one."""
    (grant,) = cluster.get("itn", tenant)["status"]["gpus"]
    return next(iter(grant.get("charged", {}).get("periods", [])), {})


@pytest.fixture(scope="module")
def end(cluster: Cluster, operator: OperatorProcess) -> datetime:
    """When windows end, each in its own way: one may go on, one has a successor, and in one a pod does not go.

    They are long enough for a busy machine to have its pods in them before they are drained.
    """
    assert operator.running
    pools = {"goes-on": "b200", "makes-way": "rtx-pro", "comes-next": "rtx-pro", "stays": "hanging", "waits": "hanging"}
    cluster.apply(*(renting(name, pool) for name, pool in pools.items()))
    for name in pools:
        ready(cluster, name)
    start = soon(3)
    end = start + timedelta(seconds=16)
    windows = (
        ("goes-on", 8, start, 16, "Keep"),
        ("makes-way", 16, start, 16, "Keep"),
        ("comes-next", 16, end, 300, "Drain"),
        ("stays", 8, start, 16, "Drain"),
        ("waits", 8, end, 300, "Drain"),
    )
    cluster.apply(
        *(
            reservation("window", name, gpus, begin, seconds, pool=pools[name], onEnd=on_end)
            for name, gpus, begin, seconds, on_end in windows
        )
    )
    for name in pools:
        cluster.until("gres", "window", "Ready", "True", name)
    for name in ("makes-way", "stays", "goes-on"):
        cluster.until("gres", "window", "Active", "True", name)
        cluster.create(pod("worker", name, 8, **{"gpu-tenancy.dev/reservation": "window"}))
    # A quota is counted anew whenever a pod goes, and leaves out those that should be gone.
    cluster.create(pod("passer-by", "stays"))
    eventually(lambda: datetime.now(UTC) >= end)
    cluster.kubectl("delete", "pod", "passer-by", "-n", "stays", "--force", "--grace-period=0")
    return end


def test_a_window_goes_on_where_gpus_are_free_and_not_where_they_are_promised(cluster: Cluster, end: datetime) -> None:
    opened = cluster.until("gres", "window", "Active", "True", "comes-next")["lastTransitionTime"]
    assert datetime.fromisoformat(opened) >= end
    assert status(cluster, "window", "makes-way")["window"]["end"] == text(end)
    eventually(lambda: cluster.condition("gres", "window", "Ready", "makes-way")["reason"] == "Completed")
    assert not alive(cluster, "worker", "makes-way")

    kept = eventually(lambda: (one := status(cluster, "window", "goes-on")).get("keptSeconds") and one)
    assert kept["keptSeconds"] == 60, "a step is a minute at least"
    assert kept["window"]["end"] == text(end + timedelta(seconds=60))
    assert cluster.condition("gres", "window", "Active", "goes-on")["reason"] == "Open"
    assert alive(cluster, "worker", "goes-on")
    leave(cluster, "goes-on", "makes-way", "comes-next")


def test_a_pod_that_does_not_go_is_reported_and_holds_up_the_next_one_for_so_long_at_most(
    cluster: Cluster, end: datetime
) -> None:
    told = eventually(lambda: [one for one in cluster.list("events", "stays") if one["reason"] == "PodOverrun"])
    assert f"did not go for {OVERRUN}s" in told[0]["message"]
    opened = datetime.fromisoformat(cluster.until("gres", "window", "Active", "True", "waits")["lastTransitionTime"])

    assert cluster.get("pod", "worker", "stays") is None
    assert opened >= datetime.fromisoformat(told[0]["eventTime"]).replace(microsecond=0), "not promised twice"
    assert timedelta(0) < opened - end < timedelta(seconds=OVERRUN + 30), "some of it for a busy machine"
    leave(cluster, "stays", "waits")


def test_a_series_keeps_its_hour_when_the_clocks_change(cluster: Cluster) -> None:
    cluster.apply(renting("teaches", "rtx-pro"))
    ready(cluster, "teaches")
    change = next(day for day in october(datetime.now(UTC).year + 1) if day.weekday() == 6)
    saturday = (change - timedelta(days=1)).replace(hour=8)
    daily = {"rule": "FREQ=DAILY;COUNT=3", "timeZone": "Europe/Berlin"}
    lesson = reservation("lesson", "teaches", 8, saturday, 3600, pool="rtx-pro", recurrence=daily)
    patch(cluster, "pool", "rtx-pro", {"spec": {"reservations": {"horizon": "17520h"}}})
    cluster.until("pool", "rtx-pro", "Ready", "True")  # with that horizon: what was refused by another one stays so
    cluster.apply(lesson)
    cluster.until("gres", "lesson", "Ready", "True", "teaches")

    starts = [one["start"][11:] for one in status(cluster, "lesson", "teaches")["occurrences"]]
    assert starts == ["08:00:00Z", "09:00:00Z", "09:00:00Z"], "ten o'clock in Berlin"
    leave(cluster, "teaches")


def october(year: int) -> Iterator[datetime]:
    """The last week of October; on its Sunday Europe's clocks go back."""
    return (datetime(year, 10, day, tzinfo=UTC) for day in range(25, 32))


# Nodes of one's own


def test_spot_leaves_an_exclusive_node_at_the_start_and_a_guaranteed_pod_never_does(cluster: Cluster) -> None:
    nodes = [f"eu-de-dgx-b200-000{number}" for number in range(1, 5)]
    cluster.apply(renting("alone"), renting("nearby", guaranteed=8, spot=16))
    ready(cluster, "alone")
    ready(cluster, "nearby")
    spot = {"gpu-tenancy.dev/tier": "spot"}
    cluster.create(
        *(pinned(f"firm-{number}", "nearby", nodes[number], 1) for number in range(3)),
        *(pinned(f"spot-{number}", "nearby", nodes[number], 2, **spot) for number in (2, 3)),
    )
    for name in ("firm-0", "firm-1", "firm-2", "spot-2", "spot-3"):
        running(cluster, name, "nearby")
    start = soon(9)
    cluster.apply(reservation("own", "alone", 16, start, 600, exclusivity="Node"))

    chosen = eventually(lambda: len(found := status(cluster, "own", "alone").get("nodes", [])) == 2 and found)
    assert nodes[3] in chosen, "there is nobody firm"
    assert nodes[2] not in chosen, "there are more to disturb"
    eventually(lambda: mark(cluster, nodes[3], "alone") == ("own", ["NoSchedule"]))
    assert alive(cluster, "spot-3", "nearby"), "not before the start"
    eventually(lambda: not alive(cluster, "spot-3", "nearby"))
    late = datetime.now(UTC) - start
    assert timedelta(0) <= late < timedelta(seconds=30), "seconds, on a machine that does many other things"
    assert mark(cluster, nodes[3], "alone") == ("own", ["NoExecute"])
    (shared,) = set(chosen) - {nodes[3]}
    cluster.until("gres", "own", "Active", "True", "alone")
    assert mark(cluster, shared, "alone") == ("own", ["NoSchedule"])
    assert all(alive(cluster, name, "nearby") for name in ("firm-0", "firm-1", "firm-2", "spot-2"))
    leave(cluster, "alone", "nearby")
    for node in nodes:
        eventually(lambda node=node: mark(cluster, node, "alone") == (None, []))


def test_what_is_promised_on_own_nodes_is_not_taken_on_those_of_others(cluster: Cluster) -> None:
    cluster.apply(renting("twofold"))
    ready(cluster, "twofold")
    cluster.apply(
        reservation("own", "twofold", 8, soon(1), 600, exclusivity="Node"),
        reservation("any", "twofold", 4, soon(1), 600),
    )
    for name in ("own", "any"):
        cluster.until("gres", name, "Active", "True", "twofold")

    def of(name: str, reservation: str, gpus: int) -> dict[str, Any]:
        return pod(name, "twofold", gpus, **{"gpu-tenancy.dev/reservation": reservation})

    # One quota counts all reservations of a pool, so it lets them in.
    eventually(lambda: hard(cluster, "twofold", "gpu-b200-reserved") == "12")
    cluster.create(of("right", "any", 4))
    running(cluster, "right", "twofold")
    cluster.create(of("too-many", "any", 4), of("unheard-of", "nowhere", 4))

    eventually(lambda: not alive(cluster, "too-many", "twofold") and not alive(cluster, "unheard-of", "twofold"))
    assert alive(cluster, "right", "twofold")
    eventually(lambda: used(cluster, "twofold", "gpu-b200-reserved") == "4", lambda: "they are still leaving")
    cluster.create(of("at-home", "own", 8))
    running(cluster, "at-home", "twofold")
    time.sleep(3)
    assert alive(cluster, "at-home", "twofold")
    assert alive(cluster, "right", "twofold")
    leave(cluster, "twofold")


def test_a_node_of_its_own_that_fails_is_replaced_and_cleaned_up(cluster: Cluster) -> None:
    cluster.apply(renting("replaced"))
    ready(cluster, "replaced")
    cluster.apply(reservation("own", "replaced", 8, soon(1), 600, exclusivity="Node"))
    cluster.until("gres", "own", "Active", "True", "replaced")
    (failing,) = eventually(lambda: status(cluster, "own", "replaced").get("nodes"))
    eventually(lambda: mark(cluster, failing, "replaced") == ("own", ["NoExecute"]))

    cluster.kubectl("cordon", failing)
    try:
        (other,) = eventually(lambda: (found := status(cluster, "own", "replaced")["nodes"]) != [failing] and found)
        eventually(lambda: mark(cluster, other, "replaced") == ("own", ["NoExecute"]))
        eventually(lambda: mark(cluster, failing, "replaced") == (None, []))
        assert cluster.condition("gres", "own", "Degraded", "replaced") is None
    finally:
        cluster.kubectl("uncordon", failing)
    cluster.kubectl("delete", "gres", "own", "-n", "replaced")
    eventually(lambda: mark(cluster, other, "replaced") == (None, []))
    leave(cluster, "replaced")


def test_a_binding_that_a_kill_left_half_written_and_one_left_behind_come_right(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.apply(renting("halved", reservable=24), renting("ended"))
    ready(cluster, "halved")
    ready(cluster, "ended")
    start = soon(2)
    end = start + timedelta(seconds=22)
    cluster.apply(
        reservation("own", "halved", 24, start, 600, exclusivity="Node"),
        reservation("own", "ended", 8, start, 22, exclusivity="Node"),
    )
    for name in ("halved", "ended"):
        cluster.until("gres", "own", "Active", "True", name)
    bound, (left,) = (status(cluster, "own", name)["nodes"] for name in ("halved", "ended"))
    eventually(lambda: mark(cluster, left, "ended") == ("own", ["NoExecute"]))

    operator.kill()
    # As after a kill between the status and the node; and as somebody may leave it, who knows no better.
    for node, label, taint in zip(bound, (None, "own", None), (False, False, True), strict=True):
        taints = [one for one in cluster.get("node", node)["spec"]["taints"] if taint or one["key"] != TAINT]
        labels = {LABEL + "halved": label}
        patch(cluster, "node", node, {"metadata": {"labels": labels}, "spec": {"taints": taints}})
    eventually(lambda: datetime.now(UTC) > end)
    assert mark(cluster, left, "ended") == ("own", ["NoExecute"])
    operator.start()

    for node in bound:
        eventually(lambda node=node: mark(cluster, node, "halved") == ("own", ["NoExecute"]))
    eventually(lambda: mark(cluster, left, "ended") == (None, []))
    assert status(cluster, "own", "halved")["nodes"] == bound
    leave(cluster, "halved", "ended")
    for node in bound:
        eventually(lambda node=node: mark(cluster, node, "halved") == (None, []))
