"""The command line says what is wrong and what to do, and programs can read its results."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from gpu_tenancy.cli.main import app


def run(*args: str):
    return CliRunner().invoke(app, ["localcluster", *args])


@pytest.mark.parametrize(
    "command", [[], ["up"], ["down"], ["status"], ["build"], ["kubeconfig"], ["nodes"], ["nodes", "add"]], ids=" ".join
)
def test_every_command_explains_itself(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_status_tells_programs_that_nothing_runs(tmp_path):
    result = run("status", "--data-dir", str(tmp_path), "--output", "json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "running": False,
        "dataDir": str(tmp_path),
        "logsDir": str(tmp_path / "logs"),
    }


def test_stopping_what_does_not_run_is_no_error(tmp_path):
    result = run("down", "--data-dir", str(tmp_path))
    assert result.exit_code == 0
    assert "None was running" in result.stdout


def test_a_folder_that_is_not_a_control_plane_is_not_deleted(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    result = run("down", "--delete-data", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert (tmp_path / "thesis.txt").exists()


def test_no_control_plane_is_put_among_other_files_with_which_it_would_be_deleted(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    result = run("up", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "name a folder that is new or empty" in " ".join(result.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("command", [["up"], ["down"], ["status"], ["kubeconfig", "--role", "admin"]], ids=" ".join)
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"components": {"etcd": 1}}'])
def test_a_damaged_state_is_named(tmp_path, command, content):
    (tmp_path / "lock").touch()
    (tmp_path / "state.json").write_text(content)
    result = run(*command, "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "state.json is damaged" in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", [["up"], ["down"], ["status"], ["kubeconfig", "--role", "admin"]], ids=" ".join)
def test_a_file_is_no_folder(tmp_path, command):
    (tmp_path / "file").touch()
    result = run(*command, "--data-dir", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert "is a file" in " ".join(result.stderr.replace("│", "").split())
    below = run(*command, "--data-dir", str(tmp_path / "file" / "folder"))
    assert below.exit_code == 1
    assert "Not a directory" in " ".join(below.stderr.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["kubeconfig", "--role", "admin"], "no control plane is running"),
        (["kubeconfig", "--role", "operator"], "no control plane is running"),
        (["kubeconfig", "--role", "tenant", "--user", "anna"], "no control plane is running"),
        (["nodes", "add", "--model", "dgx-b200", "--count", "1", "--region", "eu-de"], "no control plane is running"),
        (["nodes", "add", "--model", "dgx-b200", "--count", "1", "--region", "EU DE"], "is not a region"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(tmp_path, args, message):
    result = run(*args, "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["up", "--kubernetes", "1.20"], "1.36"),
        (["kubeconfig", "--role", "tenant"], "needs --user"),
        (["kubeconfig", "--role", "admin", "--user", "anna"], "go with --role tenant"),
        (["nodes", "add", "--model", "abacus", "--count", "1", "--region", "eu-de"], "dgx-b200"),
        (["nodes", "add", "--model", "cpu", "--count", "0", "--region", "eu-de"], "greater than or equal to 1"),
    ],
)
def test_wrong_arguments_are_refused_with_what_would_be_right(args, message):
    result = run(*args)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_the_command_line_loads_without_what_only_the_control_plane_needs():
    source = "import sys; sys.modules['cryptography'] = None; import gpu_tenancy.cli.main"
    subprocess.run([sys.executable, "-c", source], check=True)


def test_the_operator_starts_without_what_only_other_commands_need():
    source = (
        "import sys; from gpu_tenancy.cli.main import app; app(['run', '--help'], standalone_mode=False); "
        "sys.exit(any(one in sys.modules for one in ('gpu_tenancy.localcluster', 'gpu_tenancy.simulation')))"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False, capture_output=True).returncode == 0
