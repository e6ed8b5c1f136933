"""The committed definitions and the command that writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from gpu_tenancy.api import KINDS
from gpu_tenancy.api.crd import document, file_name
from gpu_tenancy.cli.main import app
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

COMMITTED = ROOT / "crds"


def crds(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["crds", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_committed_definitions_are_what_the_models_say() -> None:
    assert {path.name: path.read_text("utf-8") for path in COMMITTED.iterdir()} == {
        file_name(kind): document(kind) for kind in KINDS
    }


def test_writing_twice_writes_once(tmp_path: Path) -> None:
    code, output = crds("--output-dir", tmp_path / "new")
    assert (code, output.count("wrote")) == (0, len(KINDS))
    assert crds("--output-dir", tmp_path / "new") == (0, "")
    assert crds("--check", "--output-dir", tmp_path / "new") == (0, "")


def test_a_check_names_every_file_that_is_missing_changed_or_left_over_and_writes_nothing(tmp_path: Path) -> None:
    crds("--output-dir", tmp_path)
    first, second, *_ = sorted(tmp_path.iterdir())
    first.unlink()
    second.write_text("changed", "utf-8")
    left_over = tmp_path / "things.gpu-tenancy.dev.yaml"
    left_over.write_text("left over", "utf-8")
    code, output = crds("--check", "--output-dir", tmp_path)
    assert code == 1
    assert all(path.name in output for path in (first, second, left_over))
    assert len(output.splitlines()) == 3
    assert (first.exists(), second.read_text("utf-8"), left_over.exists()) == (False, "changed", True)


def test_writing_removes_the_definition_of_a_kind_that_is_gone_and_nothing_else(tmp_path: Path) -> None:
    left_over, foreign = tmp_path / "things.gpu-tenancy.dev.yaml", tmp_path / "values.yaml"
    for path in (left_over, foreign):
        path.write_text("x", "utf-8")
    assert "removed" in crds("--output-dir", tmp_path)[1]
    assert (left_over.exists(), foreign.exists()) == (False, True)
