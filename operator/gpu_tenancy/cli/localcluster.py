"""`gpu-tenancy localcluster`: a real control plane on this machine, with simulated GPU nodes."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import time
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gpu_tenancy.localcluster import ControlPlane, LocalClusterError, nodes
from gpu_tenancy.localcluster.binaries import ensure
from gpu_tenancy.localcluster.controlplane import default_data_dir
from gpu_tenancy.localcluster.progress import counted
from gpu_tenancy.localcluster.state import Plan
from gpu_tenancy.localcluster.versions import DEFAULT_KUBERNETES, KUBERNETES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_tenancy.localcluster.state import State

NOT_RUNNING = 3
"""The exit code of `status` where nothing runs, as of a stopped system service."""

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="A real control plane on this machine, with simulated GPU nodes."
)
nodes_app = typer.Typer(no_args_is_help=True, help="Simulated GPU nodes.")
app.add_typer(nodes_app, name="nodes")

output = Console()
progress = Console(stderr=True)


class Version(StrEnum):
    """The Kubernetes versions that can be started."""

    V1_34 = "1.34"
    V1_35 = "1.35"
    V1_36 = "1.36"


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


class Role(StrEnum):
    """Whose kubeconfig is wanted."""

    ADMIN = "admin"
    OPERATOR = "operator"
    TENANT = "tenant"


class Model(StrEnum):
    """The machines that can be simulated."""

    DGX_B200 = "dgx-b200"
    DGX_GB200 = "dgx-gb200"
    RTX_PRO = "rtx-pro"
    CPU = "cpu"


KubernetesOption = Annotated[Version, typer.Option("--kubernetes", help="The minor version of Kubernetes.")]
DataDirOption = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        help="The folder of the control plane; one folder, one control plane.",
        default_factory=default_data_dir,
        file_okay=False,
        show_default="in the user's state folder",
    ),
]
OutputOption = Annotated[Format, typer.Option("--output", "-o", help="For people or for programs.")]
LATEST = Version(DEFAULT_KUBERNETES)


@contextmanager
def reported() -> Iterator[None]:
    """Print what went wrong, without a traceback, and end with exit code 1."""
    try:
        yield
    except (LocalClusterError, OSError) as error:
        progress.print(f"[bold red]Error:[/] {_escape(error)}", highlight=False, soft_wrap=True)
        raise typer.Exit(code=1) from error


@app.command()
def up(data_dir: DataDirOption, *, kubernetes: KubernetesOption = LATEST) -> None:
    """Start the control plane and return when it is ready; it runs until `down`."""
    with reported():
        control_plane = ControlPlane(data_dir, kubernetes=kubernetes.value, detached=True, console=progress)
        state = control_plane.state
        if state is not None and state.phase == "ready" and state.kubernetes == KUBERNETES[kubernetes.value]:
            output.print(f"Kubernetes {state.kubernetes} is already running at {state.url}.")
        else:
            began = time.monotonic()
            with progress.status(f"Starting Kubernetes {kubernetes.value} in {data_dir}"):
                control_plane.start()
            took = time.monotonic() - began
            output.print(f"Kubernetes {control_plane.version} is ready at {control_plane.url} after {took:.1f} s.")
        kubectl = control_plane.program("kubectl")
        output.print(f"  export KUBECONFIG={shlex.quote(str(control_plane.kubeconfig_for('admin')))}", soft_wrap=True)
        if shutil.which("kubectl") != str(kubectl):
            output.print(f"  export PATH={shlex.quote(str(kubectl.parent))}:$PATH", soft_wrap=True)


@app.command()
def down(
    data_dir: DataDirOption,
    *,
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Delete the folder with all objects too.")] = False,
) -> None:
    """Stop the control plane; its objects stay for the next `up` unless they are deleted too."""
    with reported():
        control_plane = ControlPlane(data_dir)
        running = control_plane.state is not None
        control_plane.stop()
        output.print(f"Stopped the control plane in {data_dir}." if running else f"None was running in {data_dir}.")
        if delete_data:
            control_plane.delete()


@app.command()
def status(data_dir: DataDirOption, *, output_format: OutputOption = Format.TEXT) -> None:
    """Show what runs and where the logs are; exit code 3 if nothing does."""
    with reported():
        control_plane = ControlPlane(data_dir)
        state = control_plane.state
        if output_format is Format.JSON:
            output.print_json(json.dumps(_described(control_plane, state)))
        elif state is None:
            output.print(f"No control plane is running in {data_dir}.", soft_wrap=True)
        else:
            _print_status(control_plane, state)
    if state is None:
        raise typer.Exit(code=NOT_RUNNING)


@app.command()
def build(*, kubernetes: KubernetesOption = LATEST, output_format: OutputOption = Format.TEXT) -> None:
    """Find all programs that the control plane needs, and fetch or build those that are missing."""
    with reported():
        binaries = ensure(kubernetes.value, progress)
    if output_format is Format.JSON:
        output.print_json(json.dumps({name: str(path) for name, path in binaries.items()}))
    else:
        for name, path in binaries.items():
            output.print(f"{name:24} {path}", soft_wrap=True, highlight=False)


@app.command()
def kubeconfig(
    data_dir: DataDirOption,
    *,
    role: Annotated[Role, typer.Option(help="Everything, what the chart grants the operator, or a tenant's user.")],
    user: Annotated[str, typer.Option(help="With --role tenant: the user's name.")] = "",
    group: Annotated[list[str] | None, typer.Option(help="With --role tenant: a group; can be repeated.")] = None,
    namespace: Annotated[
        str, typer.Option(help="With --role tenant: the namespace that is meant when none is named.")
    ] = "",
    write: Annotated[Path | None, typer.Option(help="Write it to this file instead of printing it.")] = None,
) -> None:
    """Print a kubeconfig for a role, or write it to a file."""
    tenant = role is Role.TENANT
    if tenant and not user:
        raise typer.BadParameter("--role tenant needs --user")
    if not tenant and (user or group or namespace):
        raise typer.BadParameter("--user, --group and --namespace go with --role tenant")
    with reported():
        control_plane = ControlPlane(data_dir)
        if tenant:
            path = control_plane.kubeconfig(user, group or (), namespace=namespace)
        else:
            path = control_plane.kubeconfig_for(role.value)
        if write is None:
            typer.echo(path.read_text(), nl=False)
        else:
            write.touch(mode=0o600)
            write.write_bytes(path.read_bytes())


@nodes_app.command("add")
def add_nodes(
    data_dir: DataDirOption,
    *,
    model: Annotated[Model, typer.Option(help="The machine; `cpu` has no GPUs.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")],
    region: Annotated[str, typer.Option(help="The value of topology.kubernetes.io/region, such as eu-de.")],
    zone: Annotated[str, typer.Option(help="The value of topology.kubernetes.io/zone.")] = "",
    mig: Annotated[
        str, typer.Option(help="A MIG layout of the GPU Operator, such as all-1g.23gb or all-balanced.")
    ] = "",
    output_format: OutputOption = Format.TEXT,
) -> None:
    """Add simulated GPU nodes; 18 of dgx-gb200 in a row form an NVLink domain."""
    began = time.monotonic()
    with reported(), counted(progress, f"Adding {model.value} in {region}", count, "nodes") as advance:
        names = asyncio.run(
            nodes.add(
                ControlPlane(data_dir),
                model=model.value,
                count=count,
                region=region,
                zone=zone,
                mig=mig,
                progress=advance,
            )
        )
    if output_format is Format.JSON:
        output.print_json(json.dumps({"nodes": names}))
    else:
        span = names[0] if count == 1 else f"{names[0]} to {names[-1]}"
        output.print(f"Added {span} in {time.monotonic() - began:.1f} s.", soft_wrap=True)


def _described(control_plane: ControlPlane, state: State | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "running": state is not None,
        "dataDir": str(control_plane.data_dir),
        "logsDir": str(control_plane.logs_dir),
    }
    if state is not None:
        described |= {
            "phase": state.phase,
            "url": state.url,
            "kubernetes": state.kubernetes,
            "supervisor": {"pid": state.supervisor.pid},
            "components": {
                name: {"pid": child.process.pid, "alive": child.process.alive, "restarts": child.restarts}
                for name, child in state.components.items()
            },
            "programs": Plan.load(control_plane.data_dir).binaries,
        }
    return described


def _print_status(control_plane: ControlPlane, state: State) -> None:
    output.print(f"Kubernetes {state.kubernetes} is {state.phase} at {state.url}", soft_wrap=True)
    programs = Plan.load(control_plane.data_dir).binaries
    width = max(map(len, state.components))
    # Not a rich table: it would break the paths of programs at the edge of the screen, or at 80 columns in a pipe.
    output.print(f"{'COMPONENT':{width}}  PID      STATE    RESTARTS  PROGRAM", soft_wrap=True)
    for name, child in state.components.items():
        alive = "running" if child.process.alive else "[red]ended[/]  "
        row = f"{name:{width}}  {child.process.pid:<7}  {alive}  {child.restarts:<8}  {programs[name]}"
        output.print(row, soft_wrap=True, highlight=False)
    output.print(f"supervisor: pid {state.supervisor.pid}", soft_wrap=True)
    output.print(f"data:       {control_plane.data_dir}", soft_wrap=True)
    output.print(f"logs:       {control_plane.logs_dir}", soft_wrap=True)
    output.print(f"kubeconfig: {control_plane.kubeconfig_for('admin')}", soft_wrap=True)


def _escape(error: Exception) -> str:
    return str(error).replace("[", "\\[")
