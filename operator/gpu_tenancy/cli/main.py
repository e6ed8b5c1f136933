"""The `gpu-tenancy` command."""

from __future__ import annotations

import typer

from gpu_tenancy.cli import localcluster
from gpu_tenancy.cli.crds import crds
from gpu_tenancy.cli.demo import demo
from gpu_tenancy.cli.evidence import evidence
from gpu_tenancy.cli.export import export
from gpu_tenancy.cli.run import run
from gpu_tenancy.cli.simulate import simulate
from gpu_tenancy.cli.usage import usage

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)


@app.callback()
def gpu_tenancy() -> None:
    """Rent out the GPUs of a Kubernetes cluster."""


app.command()(run)
app.command()(crds)
app.command()(demo)
app.command()(evidence)
app.command()(export)
app.command()(simulate)
app.command()(usage)
app.add_typer(localcluster.app, name="localcluster")
