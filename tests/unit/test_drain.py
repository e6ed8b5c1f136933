"""At the end of a window everyone leaves in time, gently first; Jobs wait for windows and survive them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gpu_tenancy.reconcile.drain import (
    CHECK_AGAIN,
    COUNT_AGAIN,
    STUCK_AFTER,
    DrainView,
    JobFacts,
    Limit,
    Phase,
    PodFacts,
    Remainder,
    late,
    overdue,
    plan_drain,
    plan_jobs,
    remainder,
)
from gpu_tenancy.reconcile.plan import Delete, Evict, Plan, Ref, Update

END = datetime(2026, 12, 1, 12, tzinfo=UTC)
DRAINING = Phase("draining", "uid/1", END - timedelta(seconds=5), END)
ACTIVE = replace(DRAINING, state="active")
BEFORE = replace(DRAINING, state="before")
OVER = replace(DRAINING, state="over")
JOB = JobFacts("lab", "train", "night", suspended=True, finished=False, resumed_for="")
POD = PodFacts(
    namespace="lab",
    name="p",
    uid="u",
    created="2026-12-01T10:00:00Z",
    reservation="night",
    priority_class="gpu-b200-reserved",
    gpus={"nvidia.com/gpu": 4},
    grace=30,
    of_job=False,
    finished=False,
    leaving=None,
)
JOB_REF = Ref("batch/v1", "Job", "lab", "train")


def view(phase: Phase | None, *, jobs: tuple = (), pods: tuple = (), limits: tuple = ()) -> DrainView:
    return DrainView({} if phase is None else {"night": phase}, jobs, pods, limits)


def test_a_suspended_job_is_resumed_in_its_window_and_says_for_which() -> None:
    (update,) = plan_jobs(view(ACTIVE, jobs=(JOB,))).operations

    assert update == Update(
        JOB_REF,
        {"metadata": {"annotations": {"gpu-tenancy.dev/resumed-for": "uid/1"}}, "spec": {"suspend": False}},
    )


@pytest.mark.parametrize(
    ("phase", "job"),
    [
        (ACTIVE, replace(JOB, resumed_for="uid/1")),
        (ACTIVE, replace(JOB, suspended=False)),
        (BEFORE, JOB),
        (BEFORE, replace(JOB, suspended=False)),
        (OVER, JOB),
        (OVER, replace(JOB, suspended=False, finished=True)),
        (ACTIVE, replace(JOB, finished=True)),
        (None, JOB),
    ],
    ids=[
        "suspended again by its owner",
        "runs",
        "waits",
        "started early by its owner",
        "sleeps",
        "finished after the end",
        "finished in the window",
        "sleeps without a reservation",
    ],
)
def test_a_job_is_left_alone(phase: Phase | None, job: JobFacts) -> None:
    assert plan_jobs(view(phase, jobs=(job,))) == Plan()


@pytest.mark.parametrize("phase", [DRAINING, OVER, None])
def test_a_job_that_outlives_its_window_is_suspended(phase: Phase | None) -> None:
    job = replace(JOB, suspended=False, resumed_for="uid/1")

    assert plan_jobs(view(phase, jobs=(job,))).operations == (Update(JOB_REF, {"spec": {"suspend": True}}),)


def test_pods_are_asked_to_go_with_as_much_grace_as_is_left() -> None:
    now = END - timedelta(seconds=20)

    plan = plan_drain(view(DRAINING, pods=(POD,)), now)

    assert plan.operations == (Evict(POD.ref, "u", 20),)
    assert plan.wake == now + CHECK_AGAIN


def test_pods_of_a_job_are_left_to_its_suspension_until_the_last_call() -> None:
    pod = replace(POD, of_job=True)

    assert plan_drain(view(DRAINING, pods=(pod,)), END - timedelta(seconds=20)).operations == ()
    assert plan_drain(view(DRAINING, pods=(pod,)), END - timedelta(seconds=5)).operations == (Delete(pod.ref, "u", 1),)


def test_a_pod_that_is_leaving_is_not_asked_twice_but_shortened_at_the_last_call() -> None:
    pod = replace(POD, leaving=END + timedelta(seconds=60))

    assert plan_drain(view(DRAINING, pods=(pod,)), END - timedelta(seconds=20)).operations == ()
    assert plan_drain(view(DRAINING, pods=(pod,)), END - timedelta(seconds=5)).operations == (Delete(pod.ref, "u", 1),)


def test_pods_of_a_deleted_reservation_go_at_once() -> None:
    plan = plan_drain(view(None, pods=(POD,)), END)

    assert plan.operations == (Delete(POD.ref, "u", 30),)
    leaving = replace(POD, leaving=END + timedelta(seconds=30))
    assert plan_drain(view(None, pods=(leaving,)), END).operations == ()
    assert plan_drain(view(None, pods=(leaving,)), END).wake == END + CHECK_AGAIN


def test_nobody_has_to_go_within_the_window_or_after_finishing() -> None:
    assert plan_drain(view(ACTIVE, pods=(POD,)), END) == Plan()
    assert plan_drain(view(OVER, pods=(replace(POD, finished=True),)), END) == Plan()


def test_the_youngest_pods_go_when_a_reservation_became_smaller() -> None:
    old, young = POD, replace(POD, name="q", uid="v", created="2026-12-01T11:00:00Z")
    limit = Limit("gpu-b200-reserved", "nvidia.com/gpu", 4)

    plan = plan_drain(view(ACTIVE, pods=(young, old), limits=(limit,)), END)

    assert plan.operations == (Delete(young.ref, "v", 30),)
    assert plan_drain(view(ACTIVE, pods=(old,), limits=(limit,)), END) == Plan()


def test_what_is_promised_on_own_nodes_is_not_used_up_on_those_of_others() -> None:
    old, young = POD, replace(POD, name="q", uid="v", created="2026-12-01T11:00:00Z")
    own = replace(POD, name="r", uid="w", reservation="solo", created="2026-12-01T11:30:00Z")
    in_all = Limit("gpu-b200-reserved", "nvidia.com/gpu", 8)
    phases = {"night": ACTIVE, "solo": ACTIVE}
    limits = (in_all, replace(in_all, hard=4, elsewhere=frozenset({"solo"})))

    assert plan_drain(DrainView(phases, (), (old, young), limits[:1]), END) == Plan()
    assert plan_drain(DrainView(phases, (), (old, own), limits), END) == Plan()
    for in_all_there_is in (8, 4):
        both = (replace(in_all, hard=in_all_there_is), limits[1])
        plan = plan_drain(DrainView(phases, (), (old, young), both), END)
        assert plan.operations == (Delete(young.ref, "v", 30),)


def test_a_job_is_read_by_the_label_of_its_pods() -> None:
    raw = {
        "metadata": {"namespace": "lab", "name": "train", "annotations": {"gpu-tenancy.dev/resumed-for": "uid/1"}},
        "spec": {"suspend": True, "template": {"metadata": {"labels": {"gpu-tenancy.dev/reservation": "night"}}}},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    }

    assert JobFacts.of_reservation(raw) == replace(JOB, finished=True, resumed_for="uid/1")
    assert JobFacts.of_reservation({"metadata": raw["metadata"], "spec": {"template": {}}}) is None


def test_a_pod_is_read_with_the_gpus_of_all_its_containers() -> None:
    container = {"resources": {"requests": {"nvidia.com/gpu": "2", "cpu": "1"}}}
    raw = {
        "metadata": {
            "namespace": "lab",
            "name": "p",
            "uid": "u",
            "creationTimestamp": "2026-12-01T10:00:00Z",
            "labels": {"gpu-tenancy.dev/reservation": "night"},
            "ownerReferences": [{"kind": "Job"}],
            "deletionTimestamp": "2026-12-01T12:00:00Z",
        },
        "spec": {"containers": [container, container], "priorityClassName": "gpu-b200-reserved"},
        "status": {"phase": "Failed"},
    }

    assert PodFacts.of(raw) == replace(POD, of_job=True, finished=True, leaving=END)


@pytest.mark.parametrize(
    ("inits", "held"),
    [
        ([{"amount": "8"}], 8),
        ([{"amount": "1"}], 2),
        ([{"amount": "1", "restartPolicy": "Always"}], 3),
        ([{"amount": "1", "restartPolicy": "Always"}, {"amount": "4"}], 5),
    ],
    ids=["a greater init", "a smaller init", "a sidecar", "an init beside a sidecar"],
)
def test_gpus_of_init_containers_are_counted_as_quotas_count_them(inits: list[dict], held: int) -> None:
    def container(amount: str, **fields: str) -> dict:
        return {"resources": {"requests": {"nvidia.com/gpu": amount}}, **fields}

    raw = {
        "metadata": {"namespace": "lab", "name": "p", "uid": "u", "creationTimestamp": "2026-12-01T10:00:00Z"},
        "spec": {"containers": [container("2")], "initContainers": [container(**one) for one in inits]},
    }

    assert PodFacts.of(raw).gpus == {"nvidia.com/gpu": held}


def test_nobody_waits_for_a_pod_that_something_else_holds() -> None:
    stuck = replace(POD, leaving=END - timedelta(hours=1))

    assert plan_drain(view(OVER, pods=(stuck,)), END).wake is None


def test_a_pod_that_does_not_go_is_deleted_by_force_once_and_reported() -> None:
    stuck, spared = (
        replace(POD, leaving=END),
        replace(POD, name="spared", priority_class="gpu-other-reserved", leaving=END),
    )
    overruns = {"gpu-b200-reserved": timedelta(minutes=10), "gpu-other-reserved": timedelta(0)}
    seen = DrainView({"night": OVER}, (), (stuck, spared), overruns=overruns)

    assert plan_drain(seen, END + timedelta(minutes=9)) == Plan(wake=END + timedelta(minutes=10))
    delete, emit = plan_drain(seen, END + timedelta(minutes=10)).operations
    assert delete == Delete(POD.ref, "u", 0)
    assert (emit.regarding, emit.reason, emit.note[:37]) == (
        POD.ref,
        "PodOverrun",
        "pod p did not go for 10m after it sho",
    )
    held = replace(seen, pods=(replace(stuck, forced=True), spared))
    assert plan_drain(held, END + timedelta(minutes=11)) == Plan(), "a finalizer holds it"
    gone = replace(seen, phases={})
    assert delete in plan_drain(gone, END + timedelta(minutes=10)).operations, "also when its reservation is gone"


LATE = replace(POD, leaving=END)


@pytest.mark.parametrize(
    ("pod", "after", "overrun", "held"),
    [
        (POD, 1, 60, 0),
        (LATE, -1, 60, 0),
        (LATE, 0, 60, 4),
        (LATE, 59, 60, 4),
        (LATE, 60, 60, 0),
        (replace(LATE, forced=True), 1, 60, 0),
        (replace(LATE, finished=True), 1, 60, 0),
        (LATE, 60, 0, 4),
        (LATE, 61, 0, 0),
        (LATE, 61, 120, 4),
    ],
    ids=[
        "asked to go now",
        "in time",
        "late",
        "late to the last",
        "deleted by force now",
        "deleted by force before",
        "finished",
        "never deleted by force",
        "not looked at again",
        "looked at again when it is deleted by force",
    ],
)
def test_what_late_pods_hold_is_theirs_as_long_as_they_are_looked_at(
    pod: PodFacts, after: int, overrun: int, held: int
) -> None:
    overruns = {POD.priority_class: timedelta(seconds=overrun)}
    seen = DrainView({"night": OVER}, (), (pod,), overruns=overruns)
    assert sum(overdue(seen, END + timedelta(seconds=after)).values()) == held
    assert not overdue(replace(seen, phases={"night": ACTIVE}), END + timedelta(seconds=after)), "nobody looks again"


def test_of_pods_of_which_nothing_else_is_known_the_late_ones_count() -> None:
    pods = [LATE, POD, replace(LATE, forced=True), replace(LATE, finished=True), replace(LATE, name="other")]
    assert sum(late(pods, END).values()) == 8
    assert not late(pods, END - timedelta(seconds=1))


def test_a_pod_that_was_deleted_by_force_says_so() -> None:
    raw = {
        "metadata": {
            "name": "p",
            "namespace": "lab",
            "uid": "u",
            "creationTimestamp": "2026-12-01T10:00:00Z",
            "deletionTimestamp": "2026-12-01T11:00:00Z",
            "deletionGracePeriodSeconds": 0,
        },
        "spec": {"containers": []},
    }

    assert PodFacts.of(raw).forced


def test_no_pod_is_taken_off_the_list_while_it_may_still_run() -> None:
    phase = replace(DRAINING, last_call=END)

    (evict,) = plan_drain(view(phase, pods=(POD,)), END - timedelta(milliseconds=500)).operations

    assert isinstance(evict, Evict)
    assert evict.grace_seconds == 1


def test_a_job_is_written_only_as_it_was_seen() -> None:
    (update,) = plan_jobs(view(ACTIVE, jobs=(replace(JOB, resource_version="9"),))).operations

    assert isinstance(update, Update)
    assert update.resource_version == "9"


SHUT = Phase("draining", "", last_call=END, end=END + timedelta(seconds=30), last_grace=30)
FREE = replace(POD, reservation="", priority_class="", gpus={})


def emptied(*pods: PodFacts, jobs: tuple = ()) -> DrainView:
    """A namespace of a tenant that is being drained, with an active reservation in it."""
    return DrainView({"night": ACTIVE}, jobs, pods, shut=SHUT)


def test_when_a_tenant_is_drained_everything_is_asked_to_go_whatever_it_carries() -> None:
    other = replace(FREE, name="q", uid="v")
    now = END - timedelta(minutes=5)

    plan = plan_drain(emptied(POD, other), now)

    assert plan.operations == (Evict(POD.ref, "u", 30), Evict(other.ref, "v", 30))
    assert plan.wake == now + COUNT_AGAIN
    assert plan_drain(view(ACTIVE, pods=(POD, other)), now).operations == ()


def test_when_a_tenant_is_drained_its_jobs_are_suspended_and_none_is_resumed() -> None:
    running = replace(JOB, reservation="", suspended=False)
    assert plan_jobs(emptied(jobs=(JOB,))).operations == ()
    assert plan_jobs(emptied(jobs=(running,))).operations == (Update(JOB_REF, {"spec": {"suspend": True}}),)
    assert plan_jobs(emptied(jobs=(replace(running, finished=True),))).operations == ()


def test_what_is_left_of_a_tenant_after_the_grace_period_is_deleted_with_time_to_stop() -> None:
    quick, of_job = replace(FREE, grace=0), replace(FREE, name="q", uid="v", of_job=True, grace=3600)
    assert plan_drain(emptied(quick, of_job), END - timedelta(seconds=1)).operations == (Evict(quick.ref, "u", 1),)
    plan = plan_drain(emptied(quick, of_job), END)
    assert plan.operations == (Delete(quick.ref, "u", 1), Delete(of_job.ref, "v", 30))


def test_the_drain_of_a_tenant_ends_when_nothing_is_left_and_looks_rarely_for_what_does_not_go() -> None:
    stuck = replace(FREE, leaving=END - timedelta(hours=1))
    assert plan_drain(emptied(replace(FREE, finished=True)), END) == Plan()
    assert plan_drain(emptied(stuck), END).wake == END + STUCK_AFTER


def test_what_is_left_is_counted_and_what_does_not_go_is_named() -> None:
    blocked = replace(FREE, name="kept")
    stuck = replace(FREE, name="stuck", leaving=END - timedelta(hours=1))
    found = remainder(emptied(POD, stuck, blocked, replace(POD, finished=True)), {blocked.ref}, END)
    assert found == Remainder(
        3,
        (
            "a disruption budget keeps pod lab/kept",
            "pod lab/stuck should be gone: look at its finalizers and its node",
        ),
    )
    many = [replace(stuck, name=f"p{number}") for number in range(1000)]
    assert len(remainder(emptied(*many), (), END).problems) == 5
