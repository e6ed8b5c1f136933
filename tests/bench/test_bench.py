"""The bench at its smallest: what it measures here means nothing, that it measures does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = {"name", "unit", "value", "floor", "ratio", "target", "met", "runs", "floors"}


@pytest.mark.timeout(900)
def test_the_bench_measures_everything_there_is_a_target_for(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"

    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--output", str(output)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    facts = json.loads(output.read_text())
    assert facts["machine"]["kubernetes"].startswith("1.")
    assert facts["machine"]["cores"] == os.cpu_count()
    assert facts["size"]["namespaces"] == 3 * facts["size"]["tenants"]
    figures = {figure["name"].split()[0]: figure for figure in facts["figures"]}
    assert {
        "provision",
        "peak",
        "restart,",
        "drift,",
        "drift:",
        "activation,",
        "10",
        "decide:",
        "plan_tenant:",
        "reflector:",
    } <= figures.keys()
    for figure in facts["figures"]:
        assert figure.keys() == FIELDS
        assert figure["name"] in done.stdout
    for name in ("provision", "drift,", "10"):
        assert figures[name]["ratio"] == figures[name]["value"] / figures[name]["floor"] > 0
    assert all(figure["value"] > 0 for name, figure in figures.items() if name not in {"restart,", "activation,"})
