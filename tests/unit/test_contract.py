"""A contract in time: nothing before it begins, a notice before it ends, and what was accepted is honoured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gpu_tenancy.api.reservation import GpuReservationStatus
from gpu_tenancy.api.tenant import ContractTerms
from gpu_tenancy.domain.contract import Stage, Standing, promised_until

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return NOW + timedelta(days=number)


TERMS = ContractTerms(validFrom=day(0), validUntil=day(100), notice=timedelta(days=30))


@pytest.mark.parametrize(
    ("at", "promised", "stage", "wake"),
    [
        (-1, None, Stage.AHEAD, 0),
        (0, None, Stage.RUNNING, 70),
        (70, None, Stage.ENDING, 100),
        (99, 90, Stage.ENDING, 100),
        (100, 105, Stage.HONOURED, 105),
        (105, 105, Stage.OVER, None),
        (100, None, Stage.OVER, None),
    ],
)
def test_a_contract_passes_through_its_stages_by_time_alone(at, promised, stage, wake) -> None:
    found = Standing.of(TERMS, None if promised is None else day(promised), day(at))

    assert found == Standing(stage, None if wake is None else day(wake))
    assert found.shut is (stage in {Stage.AHEAD, Stage.OVER})


def test_without_dates_it_runs_for_ever() -> None:
    for terms in (None, ContractTerms()):
        assert Standing.of(terms, day(9), day(1)) == Standing()


def test_an_extension_opens_the_tenant_again_at_once() -> None:
    longer = TERMS.model_copy(update={"validUntil": day(300)})

    assert Standing.of(longer, None, day(200)) == Standing(Stage.RUNNING, day(270))


def test_the_last_promise_is_that_of_any_window() -> None:
    recurring = GpuReservationStatus.model_validate(
        {
            "window": {"start": "2026-12-01T00:00:00Z", "end": "2026-12-01T01:00:00Z"},
            "gpus": 8,
            "occurrences": [
                {"start": "2026-12-08T00:00:00Z", "end": "2026-12-08T01:00:00Z", "gpus": 8},
                {"start": "2026-12-15T00:00:00Z", "end": "2026-12-15T01:00:00Z", "reason": "DoesNotFit"},
            ],
        }
    )

    assert promised_until(recurring) == day(7) + timedelta(hours=1)
    assert promised_until(GpuReservationStatus()) is None
