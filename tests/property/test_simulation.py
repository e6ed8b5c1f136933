"""Whatever comes, a site in virtual time keeps its promises; and the kept book promises what a fresh decision would."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_tenancy.simulation.run import simulate
from gpu_tenancy.simulation.scenario import Scenario

sizes = st.lists(st.integers(1, 24), min_size=1, max_size=4)


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    percent = st.integers(0, 100)
    workload = {
        "perDay": draw(st.integers(4, 60)),
        "gpus": draw(sizes),
        "duration": draw(st.sampled_from(["1h", "6h", "30h"])),
        "lead": draw(st.sampled_from(["1m", "6h", "48h"])),
        **{name: draw(percent) for name in ("flexible", "waiting", "cancelled", "earlierEnd")},
    }
    rules = {
        "step": draw(st.sampled_from(["1s", "15m", "1h"])),
        "cleaningGap": draw(st.sampled_from(["0s", "10m"])),
        "maximumShare": draw(st.sampled_from([40, 100])),
    }
    unit = draw(st.sampled_from(["GPU", "Clique"]))
    spec = {"headroom": draw(st.integers(0, 8)), "reservations": rules, "placementUnit": unit, "gpusPerNode": 4}
    grant = {"pool": "p", "guaranteed": draw(st.integers(0, 8)), "reservable": draw(st.integers(1, 32))}
    return {
        "duration": "72h",
        "seed": draw(st.integers(0, 1000)),
        "pools": [{"name": "p", "gpus": draw(st.integers(8, 96)), "spec": spec, "workload": workload}],
        "tenants": [{"name": "t", "count": draw(st.integers(1, 4)), "gpus": [grant]}],
        "failures": draw(st.sampled_from([None, {"perDay": 3, "repair": "5h"}])),
    }


@settings(max_examples=15, deadline=None)
@given(scenarios())
def test_no_promise_is_broken_and_nothing_is_left_to_chance(raw: dict[str, Any]) -> None:
    scenario = Scenario.model_validate(raw)
    result = simulate(scenario)
    assert result["pools"]["p"]["brokenPromises"] == []
    assert simulate(scenario) == result
