"""The `gpu-tenancy` command."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

_COMMANDS = ("run", "crds", "demo", "evidence", "export", "simulate", "usage", "localcluster")


class _Commands(TyperGroup):
    """Each command is a module of its own name, and imported when it is called: the operator has to start fast."""

    def list_commands(self, _ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"gpu_tenancy.cli.{cmd_name}")
        if (several := getattr(module, "app", None)) is not None:
            command = get_command(several)
            command.name = cmd_name
            return command
        one = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
        one.command(cmd_name)(getattr(module, cmd_name))
        return get_command(one)


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)


@app.callback()
def gpu_tenancy() -> None:
    """Rent out the GPUs of a Kubernetes cluster."""
