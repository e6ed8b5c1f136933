"""FinOps' own validator finds nothing wrong with an export, and finds what was made wrong.

It brings the rules of FOCUS 1.2 along; those of 1.3 it would fetch from the internet each time, so what 1.3 adds is
checked by tests/unit/test_focus.py. All that 1.3 has from 1.2 is checked here.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import platformdirs
import pytest

from focus_examples import export
from gpu_tenancy.cli.usage import as_csv
from places import ROOT

pytestmark = pytest.mark.timeout(1800)  # the first time it installs 300 MB
LOCK = ROOT / "requirements" / "focus.lock"
APPLICABLE = (
    "ACCOUNT_NAMING", "AVAILABILITY_ZONE", "BILLING_BASED_ON_PROVISIONED_RESOURCES", "CAPACITY_RESERVATION",
    "MULTIPLE_BILLING_ACCOUNT_TYPES", "MULTIPLE_PRICING_CATEGORIES", "MULTIPLE_SUB_ACCOUNT_TYPES", "NEGOTIATED_PRICING",
    "PUBLIC_PRICE_LIST", "REGION", "RESOURCE_TYPE_ASSIGNMENT", "SUB_ACCOUNT", "TAGGING", "UNIT_PRICING",
    "USAGE_MEASUREMENT",
)  # fmt: skip
KNOWN = (
    # Its two rules "null without a reservation" and "not null with one" spell their conditions so that this version
    # reads none, and so contradict each other. tests/unit/test_focus.py holds both.
    "CapacityReservationStatus-C-000-C", "CapacityReservationStatus-C-002-C", "CapacityReservationStatus-C-003-C",
    "CapacityReservationStatus-C-004-C",
    # A column that is recommended: who writes invoices knows their numbers.
    "CostAndUsage-D-033-O", "InvoiceId-",
)  # fmt: skip


PYENV = Path.home() / ".pyenv" / "versions"


def runs(python: str | Path | None) -> bool:
    """Say whether it is there and no shim of a version that is not."""
    return python is not None and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def validator() -> Path:
    """Install it, once for each lock file; a test that cannot is skipped and says why."""
    home = platformdirs.user_cache_path("gpu-tenancy") / f"focus-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    program = home / "bin" / "focus-validator"
    if (home / "complete").exists():
        return program
    python = next(filter(runs, [shutil.which("python3.12"), *PYENV.glob("3.12.*/bin/python3.12")]), None)
    if python is None:
        pytest.skip("FinOps' validator needs python3.12, and there is none on the PATH or with pyenv")
    shutil.rmtree(home, ignore_errors=True)
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", LOCK]
    for command in ([python, "-m", "venv", home], pip):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"FinOps' validator could not be installed: {done.stderr[-500:]}")
    (home / "complete").touch()
    return program


def failures(validator: Path, table: str, tmp_path: Path) -> tuple[int, list[str]]:
    """How many rules hold, and which do not."""
    file = tmp_path / "usage.csv"
    file.write_text(table)
    (packages,) = validator.parents[1].glob("lib/python*/site-packages")
    command = [
        validator, "--data-file", file, "--validate-version", "1.2.0.1", "--block-download", "--output-type", "console",
        "--applicability-criteria", ",".join(f"{name}_SUPPORTED" for name in APPLICABLE),
    ]  # fmt: skip
    # It looks for its list of currencies from here.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=packages)
    total = re.search(r"Pass: (\d+)", done.stdout)
    assert total is not None, done.stderr[-2000:]
    return int(total[1]), re.findall(r"(\S+): FAIL", done.stdout)


def test_the_validator_finds_nothing_wrong_with_an_export(validator: Path, tmp_path: Path) -> None:
    passed, failed = failures(validator, as_csv(export().rows()), tmp_path)

    assert [rule for rule in failed if not rule.startswith(KNOWN)] == []
    assert passed > 290


def test_the_validator_finds_what_was_made_wrong(validator: Path, tmp_path: Path) -> None:
    wrong = (
        as_csv(export().rows()).replace(",EUR,", ",Taler,").replace(",Usage,", ",Renting,").replace("T00:00:00Z", "")
    )

    _, failed = failures(validator, wrong, tmp_path)

    assert {rule.partition("-")[0] for rule in failed} >= {"BillingCurrency", "ChargeCategory", "BillingPeriodStart"}
