from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gpu_tenancy.api.tenant import IndustrialTenantStatus
from gpu_tenancy.domain.conditions import find, holds, set_condition, without

NOW = datetime(2026, 12, 1, 8, 0, 0, 999_000, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def test_a_new_condition_is_dated_to_the_second():
    (condition,) = set_condition([], "Ready", "True", "Reconciled", "all well", 3, NOW)
    assert condition.lastTransitionTime == NOW.replace(microsecond=0)
    assert (condition.type, condition.status, condition.observedGeneration) == ("Ready", "True", 3)


def test_the_date_moves_only_when_the_status_does():
    first = set_condition([], "Ready", "False", "Progressing", "busy", 3, NOW)
    same = set_condition(first, "Ready", "False", "NameTaken", "taken", 4, LATER)
    assert same[0].lastTransitionTime == NOW.replace(microsecond=0)
    assert (same[0].reason, same[0].observedGeneration) == ("NameTaken", 4)
    assert set_condition(same, "Ready", "True", "x", "", 4, LATER)[0].lastTransitionTime == LATER.replace(microsecond=0)


def test_saying_the_same_again_changes_nothing_even_after_a_round_trip():
    first = set_condition([], "Ready", "True", "Reconciled", "all well", 3, NOW)
    stored = IndustrialTenantStatus.model_validate(IndustrialTenantStatus(conditions=first).model_dump(mode="json"))
    assert set_condition(stored.conditions, "Ready", "True", "Reconciled", "all well", 3, LATER) == first


def test_a_condition_keeps_its_place_and_the_others_are_left_alone():
    conditions = set_condition([], "Ready", "True", "Reconciled", "", 1, NOW)
    conditions = set_condition(conditions, "Suspended", "True", "Suspended", "", 1, NOW)
    changed = set_condition(conditions, "Ready", "False", "Progressing", "", 2, LATER)
    assert [one.type for one in changed] == ["Ready", "Suspended"]
    assert changed[1] == conditions[1]
    assert [one.type for one in without(changed, "Ready")] == ["Suspended"]


def test_a_condition_holds_only_while_it_is_there_and_true():
    conditions = set_condition([], "Ready", "False", "Progressing", "", 1, NOW)
    assert not holds(conditions, "Ready")
    assert not holds(conditions, "Stalled")
    assert find(conditions, "Stalled") is None
    assert holds(set_condition(conditions, "Ready", "True", "x", "", 1, NOW), "Ready")


def test_a_message_that_is_too_long_for_the_api_is_cut():
    (condition,) = set_condition([], "Ready", "False", "x", "m" * 5000, 1, NOW)
    assert len(condition.message) == 4096
    assert condition.message.endswith("…")
