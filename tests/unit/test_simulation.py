"""A site in virtual time: what is counted, how promises are judged, and what the command says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from gpu_tenancy.cli.main import app
from gpu_tenancy.simulation.report import Kept, above_ceiling, hours, levels, promised_twice, spread
from gpu_tenancy.simulation.run import simulate
from gpu_tenancy.simulation.scenario import Scenario, large_site

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3600
QUIET = {"guaranteedUse": 50, "reservedUse": 100, "spotDemand": 100}


def request(
    at: str, gpus: int, start: str, duration: str = "10h", tenant: str = "neura", **more: Any
) -> dict[str, Any]:
    spec = {"pool": "b200", "gpus": gpus, "window": {"start": day(start), "duration": duration}}
    on_conflict = {"onConflict": more.pop("onConflict")} if "onConflict" in more else {}
    return {"at": day(at), "tenant": tenant, "spec": spec | on_conflict, **more}


def day(clock: str) -> str:
    return f"2027-01-01T{clock}:00Z"


def site(*requests: dict[str, Any], **more: Any) -> Scenario:
    raw = {
        "duration": "48h",
        "pools": [{"name": "b200", "gpus": 16, "spec": {"reservations": {"gracePeriod": "1m"}}}],
        "tenants": [
            {"name": "neura", "gpus": [{"pool": "b200", "guaranteed": 4, "reservable": 12}]},
            {"name": "uni", "gpus": [{"pool": "b200", "reservable": 12}]},
        ],
        "requests": list(requests),
    }
    return Scenario.model_validate(raw | more)


def pool_of(scenario: Scenario) -> dict[str, Any]:
    return simulate(scenario)["pools"]["b200"]


def test_what_fits_is_accepted_and_what_does_not_is_refused_with_the_planners_reason():
    result = pool_of(site(request("00:00", 12, "02:00"), request("01:00", 1, "03:00", tenant="uni")))
    assert (result["requests"], result["accepted"], result["refused"]) == (2, 1, {"DoesNotFit": 1})


def test_who_waits_gets_what_a_cancellation_frees_and_the_wait_is_counted():
    first = request("00:00", 12, "02:00", cancelledAt=day("05:00"))
    result = pool_of(site(first, request("01:00", 12, "04:00", tenant="uni", onConflict="Wait")))
    assert (result["accepted"], result["afterWaiting"], result["cancelled"]) == (2, 1, 1)
    assert result["waitSeconds"]["max"] == 4 * HOUR
    assert result["gpuHours"]["reserved"] == 12 * 3 + 12 * 9  # three hours of the first, what is left of the second


def test_who_waits_in_vain_is_refused_when_the_window_is_over():
    result = pool_of(site(request("00:00", 12, "02:00"), request("01:00", 12, "03:00", "2h", "uni", onConflict="Wait")))
    assert (result["accepted"], result["refused"], result["stillWaiting"]) == (1, {"Missed": 1}, 0)


def test_hours_are_split_into_what_is_used_and_what_is_left_to_spot():
    result = pool_of(site(request("00:00", 8, "02:00"), guaranteedUse=50, reservedUse=75))
    assert result["gpuHours"] == {
        "usable": 16 * 48,
        "guaranteed": 4 * 48,
        "reserved": 80,
        "used": 2 * 48 + 60,
        "spot": 612,
    }


def test_the_same_scenario_gives_the_same_promises_and_another_seed_gives_others():
    def ledger(seed: int) -> str:
        pools = [{"name": "b200", "gpus": 64, "spec": {}, "workload": {"gpus": [8, 16], "perDay": 40}}]
        tenants = [{"name": "t", "count": 5, "gpus": [{"pool": "b200", "reservable": 32}]}]
        raw = {"duration": "96h", "seed": seed, "pools": pools, "tenants": tenants, "failures": {"perDay": 2}}
        result = simulate(Scenario.model_validate(raw))
        assert result["pools"]["b200"]["brokenPromises"] == []
        assert result["pools"]["b200"]["accepted"] > 30
        return result["ledger"]

    assert ledger(1) == ledger(1) != ledger(2)


def test_an_early_end_frees_the_rest_of_a_window():
    pools = [{"name": "b200", "gpus": 16, "spec": {}, "workload": {"earlierEnd": 100, "cancelled": 0, "flexible": 0}}]
    result = simulate(site(pools=pools))["pools"]["b200"]
    assert result["brokenPromises"] == []
    assert 0 < result["gpuHours"]["reserved"] < result["accepted"] * 256 * 48


def test_progress_is_told_up_to_the_end():
    told: list[float] = []
    pools = [{"name": "b200", "gpus": 16, "spec": {}, "workload": {"perDay": 100}}]
    simulate(site(pools=pools), told.append)
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] <= 1


def test_windows_that_overlap_above_the_pool_are_told():
    kept = [Kept(1, "a", 6, 0, 20, 20), Kept(2, "b", 6, 10, 30, 30)]
    spans = list(levels(0, 40, 16, [], kept))
    assert promised_twice(spans, most=12, guaranteed=0) == []
    assert promised_twice(spans, most=12, guaranteed=1) == [
        "12 reserved and 1 guaranteed GPUs of 12 from 1970-01-01T00:00:10Z"
    ]


def test_a_window_counts_until_it_was_given_back():
    spans = list(
        levels(0, 40, 16, [], [Kept(1, "a", 6, 0, 20, 10), Kept(2, "b", 12, 10, 30, 30), Kept(3, "c", 9, 5, 9, 5)])
    )
    assert promised_twice(spans, most=12, guaranteed=0) == []


def test_losses_lower_what_is_usable():
    spans = list(levels(0, 2 * HOUR, 16, [(HOUR, 9 * HOUR, 8)], []))
    assert hours(spans, guaranteed=0, scenario=QUIET)["usable"] == 16 + 8
    assert [one.lost for one in spans] == [0, 8]


def test_a_tenant_above_its_ceiling_is_told():
    kept = [Kept(1, "a", 6, 0, 20, 20), Kept(2, "a", 6, 19, 30, 30), Kept(3, "b", 6, 19, 30, 30)]
    assert above_ceiling(kept, {"a": 11, "b": 6}) == ["a held 12 GPUs of 11"]


def test_ranks_are_the_nearest_ones():
    assert spread([]) == {}
    assert spread(list(range(1, 101))) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    assert spread([7]) == {"p50": 7, "p90": 7, "p99": 7, "max": 7}


def test_the_large_site_has_ten_thousand_gpus_and_five_hundred_tenants():
    scenario = large_site()
    assert sum(pool.gpus for pool in scenario.pools) == 10_000
    assert len(set(scenario.tenant_names())) == 500


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        ({"tenants": [{"name": "a", "gpus": [{"pool": "h100"}]}]}, "pool h100, which is not listed"),
        ({"requests": [request("00:00", 1, "01:00", tenant="nobody")]}, "tenant nobody, which is not listed"),
        ({"duration": "1d"}, "a duration is in hours"),
        ({"pools": []}, "at least 1 item"),
        ({"typo": 1}, "typo"),
    ],
)
def test_a_scenario_that_refers_to_nothing_is_refused(spoiled: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        site(**spoiled)


def test_a_request_for_a_pool_that_is_not_listed_is_refused():
    wrong = request("00:00", 1, "01:00")
    wrong["spec"]["pool"] = "h100"
    with pytest.raises(ValidationError, match="pool h100, which is not listed"):
        site(wrong)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["simulate", *arguments])


SCENARIO = """
duration: 48h
pools: [{name: b200, gpus: 16, spec: {headroom: 0}}]
tenants: [{name: neura, gpus: [{pool: b200, reservable: 16}]}]
requests:
- {at: 2027-01-01T00:00:00Z, tenant: neura, spec: {pool: b200, gpus: 8, window: {start: 2027-01-01T02:00:00Z, duration: 4h}}}
"""


def test_the_command_reads_a_file_with_plain_instants_and_writes_json(tmp_path: Path):
    (tmp_path / "site.yaml").write_text(SCENARIO)
    result = invoke(str(tmp_path / "site.yaml"), "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["pools"]["b200"]["accepted"] == 1


def test_the_command_prints_a_table_and_simulates_fewer_days_if_asked(tmp_path: Path):
    (tmp_path / "site.yaml").write_text(SCENARIO)
    result = invoke(str(tmp_path / "site.yaml"), "--days", "1", "--seed", "7")
    assert result.exit_code == 0
    assert "2027-01-01T00:00:00Z to 2027-01-02T00:00:00Z, seed 7" in result.stdout
    assert "broken promises" in result.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read"), ("pools: [", "no YAML"), ("pools: 7", "no scenario"), ("", "no scenario")],
)
def test_the_command_says_what_is_wrong_with_a_file(tmp_path: Path, text: str | None, said: str):
    path = tmp_path / "site.yaml"
    if text is not None:
        path.write_text(text)
    result = invoke(str(path))
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
