"""A reservation's status is the ledger of its promise, and its conditions say where it stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gpu_tenancy.api import GPU_RESERVATION
from gpu_tenancy.api.common import Condition
from gpu_tenancy.api.resource import parse
from gpu_tenancy.domain.conditions import find
from gpu_tenancy.domain.promises import Ledger, Refusal, State, Verdict, Window
from gpu_tenancy.reconcile.plan import Emit, Plan, Ref, Update
from gpu_tenancy.reconcile.reservations import (
    Turn,
    booking,
    plan_reservation,
    plan_unreadable,
    plan_without_pool,
    turn,
)

NOW = datetime(2026, 12, 1, tzinfo=UTC)
WINDOW = Window(NOW + timedelta(hours=1), NOW + timedelta(hours=2))
LEDGER = Ledger(WINDOW, 8, NOW, forfeited=3600, domain="rack-1", kept=60, nodes=("n1", "n2"))
REFUSAL = Refusal(2, "DoesNotFit", "4 are free", (Window(NOW + timedelta(hours=5), NOW + timedelta(hours=6)),))
RAW = {
    "metadata": {
        "name": "night",
        "namespace": "lab",
        "uid": "u",
        "generation": 2,
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-30T00:00:00Z",
    },
    "spec": {"pool": "b200", "gpus": 8, "window": {"start": "2026-12-01T01:00:00Z", "duration": "1h"}},
}
SCHEDULED = Verdict(State.SCHEDULED, "Scheduled", "8 x NVIDIA-B200", LEDGER)


def reserve(status: dict | None = None):
    return parse(GPU_RESERVATION, RAW if status is None else {**RAW, "status": status})


def status_of(plan: Plan) -> dict:
    (update,) = (one for one in plan.operations if isinstance(one, Update))
    return update.patch["status"]


def conditions_of(plan: Plan) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status_of(plan)["conditions"]}


def told(plan: Plan) -> set[str]:
    return {one.reason for one in plan.operations if isinstance(one, Emit)}


@pytest.mark.parametrize(
    ("verdict", "is_open", "expected", "events"),
    [
        (
            SCHEDULED,
            False,
            {"Ready": ("True", "Scheduled"), "Active": ("False", "NotStarted")},
            {"ReservationAccepted"},
        ),
        (
            Verdict(State.ACTIVE, "Active", "", LEDGER, backed=8),
            False,
            {"Ready": ("True", "Active"), "Active": ("False", "Opening")},
            set(),
        ),
        (
            Verdict(State.ACTIVE, "Active", "", LEDGER, backed=8),
            True,
            {"Ready": ("True", "Active"), "Active": ("True", "Open")},
            {"ReservationActivated"},
        ),
        (
            Verdict(State.ACTIVE, "Active", "", LEDGER, backed=8, notice=True),
            True,
            {"Ready": ("True", "Active"), "Active": ("True", "Open"), "EndingSoon": ("True", "NoticeGiven")},
            {"ReservationActivated", "ReservationEndingSoon"},
        ),
        (
            Verdict(State.ACTIVE, "Active", "", LEDGER, notice=True, draining=True),
            False,
            {"Ready": ("True", "Active"), "Active": ("True", "Draining"), "EndingSoon": ("True", "Draining")},
            {"ReservationDraining"},
        ),
        (
            Verdict(State.COMPLETED, "Completed", "", LEDGER),
            False,
            {"Ready": ("True", "Completed"), "Active": ("False", "Ended")},
            {"ReservationCompleted"},
        ),
        (
            Verdict(State.COMPLETED, "Completed", "", LEDGER._replace(ended="NoShow")),
            False,
            {"Ready": ("True", "Completed"), "Active": ("False", "NoShow")},
            {"ReservationCompleted", "ReservationTakenBack"},
        ),
        (
            Verdict(State.REFUSED, "DoesNotFit", "4 are free", refusal=REFUSAL),
            False,
            {"Ready": ("False", "DoesNotFit"), "Active": ("False", "NotAccepted"), "Stalled": ("True", "DoesNotFit")},
            {"ReservationRefused"},
        ),
        (
            Verdict(State.WAITING, "DoesNotFit", "4 are free"),
            False,
            {
                "Ready": ("False", "DoesNotFit"),
                "Active": ("False", "NotAccepted"),
                "Reconciling": ("True", "DoesNotFit"),
            },
            {"ReservationWaiting"},
        ),
        (
            Verdict(State.ACTIVE, "Active", "", LEDGER, refusal=REFUSAL, backed=8),
            True,
            {"Ready": ("False", "DoesNotFit"), "Active": ("True", "Open"), "Stalled": ("True", "DoesNotFit")},
            {"ReservationActivated", "ReservationRefused"},
        ),
        (
            Verdict(State.ACTIVE, "Active", "", LEDGER, backed=4, degraded="4 of 8 are there"),
            True,
            {"Ready": ("True", "Active"), "Active": ("True", "Open"), "Degraded": ("True", "CapacityLost")},
            {"ReservationActivated", "ReservationDegraded"},
        ),
    ],
    ids=[
        "scheduled",
        "begun",
        "open",
        "notice",
        "draining",
        "completed",
        "taken back",
        "refused",
        "waiting",
        "change refused",
        "degraded",
    ],
)
def test_conditions_say_where_it_stands_and_each_turn_is_told_once(verdict, is_open, expected, events) -> None:
    plan = plan_reservation(reserve(), verdict, is_open=is_open, now=NOW)

    assert conditions_of(plan) == expected
    assert told(plan) == events
    again = reserve(status_of(plan))
    assert plan_reservation(again, verdict, is_open=is_open, now=NOW + timedelta(hours=9)) == Plan()


def test_the_ledger_survives_a_restart() -> None:
    plan = plan_reservation(reserve(), SCHEDULED, is_open=False, now=NOW)

    assert booking(reserve(status_of(plan)), "acme").ledger == LEDGER


def test_a_refusal_survives_a_restart_with_its_offers() -> None:
    verdict = Verdict(State.REFUSED, REFUSAL.reason, REFUSAL.message, refusal=REFUSAL)

    plan = plan_reservation(reserve(), verdict, is_open=False, now=NOW)

    found = booking(reserve(status_of(plan)), "acme")
    assert found.refusal == REFUSAL
    assert found.ledger is None


def test_a_place_in_the_line_survives_a_restart_until_the_spec_changes() -> None:
    verdict = Verdict(State.WAITING, "DoesNotFit", "4 are free", since=NOW, position=3)

    status = status_of(plan_reservation(reserve(), verdict, is_open=False, now=NOW))

    assert (status["queuePosition"], status["waitingSince"]) == (3, "2026-12-01T00:00:00Z")
    assert booking(reserve(status), "acme").since == NOW
    assert booking(reserve({**status, "observedGeneration": 1}), "acme").since is None
    accepted = plan_reservation(reserve(status), SCHEDULED, is_open=False, now=NOW)
    assert (status_of(accepted)["queuePosition"], status_of(accepted)["waitingSince"]) == (None, None)


def test_a_new_reservation_has_no_past() -> None:
    found = booking(reserve(), "acme")

    assert (found.ledger, found.refusal, found.tenant, found.generation) == (None, None, "acme", 2)


def test_one_that_is_open_does_not_close_while_its_quota_is_counted_anew() -> None:
    verdict = Verdict(State.ACTIVE, "Active", "", LEDGER, backed=8)
    opened = reserve(status_of(plan_reservation(reserve(), verdict, is_open=True, now=NOW)))

    assert plan_reservation(opened, verdict, is_open=False, now=NOW) == Plan()


def test_a_reservation_of_a_pool_that_does_not_exist_is_refused_and_keeps_what_it_had() -> None:
    accepted = reserve(status_of(plan_reservation(reserve(), SCHEDULED, is_open=False, now=NOW)))

    plan = plan_without_pool(accepted, NOW)

    assert conditions_of(plan)["Stalled"] == ("True", "UnknownPool")
    assert "window" not in status_of(plan), "the ledger is left as it is"
    assert told(plan_without_pool(reserve(), NOW)) == {"ReservationRefused"}


UNREADABLE = {
    "ref": Ref("gpu-tenancy.dev/v1alpha1", "GpuReservation", "lab", "night"),
    "uid": "u",
    "generation": 3,
    "resource_version": "7",
    "problem": "spec.gpus: not a number",
    "now": NOW,
}


@pytest.mark.parametrize(
    ("verdict", "is_open", "active"),
    [
        (None, False, ("False", "NotAccepted")),
        (SCHEDULED, False, ("False", "NotStarted")),
        (Verdict(State.ACTIVE, "Active", "", LEDGER, backed=8), True, ("True", "Open")),
        (Verdict(State.COMPLETED, "Completed", "", LEDGER), False, ("False", "Ended")),
    ],
    ids=["nothing", "scheduled", "open", "over"],
)
def test_one_whose_spec_cannot_be_read_says_so_once_and_nothing_else_of_its_status_changes(
    verdict: Verdict | None, is_open: bool, active: tuple[str, str]
) -> None:
    plan = plan_unreadable(**UNREADABLE, before=[], verdict=verdict, is_open=is_open)

    assert status_of(plan).keys() == {"conditions"}
    assert conditions_of(plan) == {
        "Ready": ("False", "InvalidSpec"),
        "Stalled": ("True", "InvalidSpec"),
        "Active": active,
    }
    said = [Condition.model_validate(one) for one in status_of(plan)["conditions"]]
    assert {one.observedGeneration for one in said} == {3}
    message = "the stored spec cannot be read: spec.gpus: not a number; apply a corrected one"
    assert find(said, "Stalled").message == message
    assert "ReservationRefused" in told(plan)
    assert not plan_unreadable(**UNREADABLE, before=said, verdict=verdict, is_open=is_open).operations


def test_one_that_can_be_read_again_is_asked_about_again_although_its_spec_is_the_same() -> None:
    plan = plan_unreadable(**UNREADABLE | {"generation": 2}, before=[], verdict=None, is_open=False)

    again = booking(reserve(status_of(plan)), "neura")

    assert again.refusal is not None
    assert not again.refusal.holds(again)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (LEDGER, Turn.OTHERS),
        (None, Turn.GIVES),
        (LEDGER._replace(gpus=4), Turn.GIVES),
        (LEDGER._replace(gpus=9), Turn.OTHERS),
        (LEDGER._replace(window=Window(WINDOW.start, WINDOW.end - timedelta(minutes=1))), Turn.GIVES),
        (LEDGER._replace(window=Window(WINDOW.start, WINDOW.end + timedelta(minutes=1))), Turn.OTHERS),
        (LEDGER._replace(window=Window(WINDOW.start - timedelta(minutes=1), WINDOW.end)), Turn.OTHERS),
        (LEDGER._replace(window=Window(WINDOW.start + timedelta(days=1), WINDOW.end + timedelta(days=1))), Turn.MOVES),
        (LEDGER._replace(gpus=9, window=Window(WINDOW.start, WINDOW.end - timedelta(minutes=1))), Turn.MOVES),
        (LEDGER._replace(domain="rack-2"), Turn.MOVES),
    ],
)
def test_what_gives_back_is_written_before_what_others_may_take_of_it(after: Ledger | None, expected: Turn) -> None:
    accepted = reserve(status_of(plan_reservation(reserve(), SCHEDULED, is_open=False, now=NOW)))

    assert turn(accepted, SCHEDULED._replace(ledger=after)) is expected
    assert turn(reserve(), SCHEDULED._replace(ledger=after)) is Turn.OTHERS


def test_a_window_is_not_open_while_none_of_its_gpus_are_there() -> None:
    """Else it would be taken back from who cannot use it."""
    verdict = Verdict(State.ACTIVE, "Active", "", LEDGER, backed=8)
    opened = reserve(status_of(plan_reservation(reserve(), verdict, is_open=True, now=NOW)))
    assert booking(opened, "neura").opened == NOW

    lost = plan_reservation(opened, verdict._replace(backed=0, degraded="none"), is_open=False, now=NOW)

    assert conditions_of(lost)["Active"] == ("False", "Opening")


def test_a_status_is_written_only_to_the_object_that_was_judged() -> None:
    (update,) = (
        one
        for one in plan_reservation(reserve(), SCHEDULED, is_open=False, now=NOW).operations
        if isinstance(one, Update)
    )

    assert update.resource_version == "7"


ACCEPTED = {
    "window": {"start": "2026-12-01T01:00:00Z", "end": "2026-12-01T02:00:00Z"},
    "gpus": 4,
    "acceptedTime": "2026-11-30T12:00:00Z",
}


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({"ended": "Preempted"}, Ledger(WINDOW, 4, NOW - timedelta(hours=12))),
        ({"nodes": ["n1", 7]}, Ledger(WINDOW, 4, NOW - timedelta(hours=12), nodes=("n1",))),
        ({"conditions": [{"type": "Ready"}]}, Ledger(WINDOW, 4, NOW - timedelta(hours=12))),
        ({"conditions": "all is well", "offers": 3}, Ledger(WINDOW, 4, NOW - timedelta(hours=12))),
        ({"window": {"from": 7}}, Ledger(WINDOW, 4, NOW - timedelta(hours=12))),
        ({"gpus": "four"}, Ledger(WINDOW, 8, NOW - timedelta(hours=12))),
        ({"acceptedTime": "yesterday"}, Ledger(WINDOW, 4, NOW - timedelta(days=1))),
        ({"window": None, "gpus": None, "acceptedTime": None}, None),
    ],
)
def test_a_status_that_can_be_read_in_part_only_still_says_what_was_promised(odd, expected) -> None:
    assert booking(reserve(ACCEPTED | odd), "neura").ledger == expected


def test_of_windows_that_recur_only_those_are_forgotten_that_cannot_be_read() -> None:
    window = {
        "start": "2026-12-01T01:00:00Z",
        "end": "2026-12-01T02:00:00Z",
        "gpus": 8,
        "acceptedTime": "2026-11-30T00:00:00Z",
    }

    status = reserve({"occurrences": [window, {"end": "2026-12-02T02:00:00Z"}, window | {"ended": "Preempted"}]}).status

    assert [(one.gpus, one.ended) for one in status.occurrences] == [(8, ""), (8, "")]


def test_a_status_that_says_nothing_readable_reads_as_an_empty_one() -> None:
    assert reserve([]).status == reserve().status  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("broken", "field"),
    [({"gpus": "many"}, "gpus"), ({"queuePosition": "first"}, "queuePosition"), ({"offers": [{"start": 1}]}, "offers")],
)
def test_what_of_a_status_cannot_be_read_is_said_once_and_written_anew(broken: dict, field: str) -> None:
    stored = status_of(plan_reservation(reserve(), SCHEDULED, is_open=False, now=NOW))
    damaged = reserve(stored | broken)
    assert damaged.unread == (field,)

    plan = plan_reservation(damaged, SCHEDULED, is_open=False, now=NOW)

    assert status_of(plan) == {field: stored.get(field, [] if field == "offers" else None)}
    assert told(plan) == {"StatusUnreadable"}
    (event,) = (one for one in plan.operations if isinstance(one, Emit))
    assert event.note.startswith(f"{field} of the stored status could not be read and was written anew")
    repaired = {key: value for key, value in (stored | status_of(plan)).items() if value is not None}
    assert not plan_reservation(reserve(repaired), SCHEDULED, is_open=False, now=NOW).operations
