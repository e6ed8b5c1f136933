"""`gpu-tenancy demo`: a GPU cloud rented out on this machine."""

# The embedded control plane is imported when the command runs: the operator's image has the other commands without it.
# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_tenancy.demo.screen import Screen
    from gpu_tenancy.demo.story import Result
    from gpu_tenancy.demo.world import World

INTERRUPTED = 128 + signal.SIGINT


class Output(StrEnum):
    """How the result is written to standard output."""

    TEXT = "text"
    JSON = "json"


def demo(
    *,
    nodes: Annotated[int, typer.Option(help="How many GPU nodes are simulated; 1250 for nearly 10,000 GPUs.")] = 64,
    kubernetes: Annotated[str, typer.Option(help="The Kubernetes version, such as 1.36; by default the newest.")] = "",
    once: Annotated[bool, typer.Option("--once", help="End when everything was seen, instead of staying up.")] = False,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep data and logs at the end.")] = False,
    output: Annotated[Output, typer.Option(help="json writes the result to standard output.")] = Output.TEXT,
) -> None:
    """Show a GPU cloud being rented out, on a real control plane with simulated nodes.

    Ends with 0 only if everything was observed, else with 1 and the logs kept.
    """
    from rich.console import Console

    from gpu_tenancy.demo.fleet import fleet
    from gpu_tenancy.demo.screen import Screen
    from gpu_tenancy.demo.world import World
    from gpu_tenancy.localcluster import LocalClusterError
    from gpu_tenancy.localcluster.binaries import ensure
    from gpu_tenancy.localcluster.versions import DEFAULT_KUBERNETES

    screen = Screen(Console(stderr=output is Output.JSON, highlight=False))
    data_dir = Path(tempfile.mkdtemp(prefix="gpu-tenancy-demo-"))
    try:
        world = World(data_dir, fleet(nodes), kubernetes or DEFAULT_KUBERNETES, screen.say)
    except (ValueError, LocalClusterError) as error:
        data_dir.rmdir()
        raise typer.BadParameter(str(error)) from error
    keep = True
    try:
        kubectl = ensure(world.control_plane.kubernetes, screen.console)["kubectl"]
        complete = asyncio.run(_show(world, screen, output, once=once, kubectl=kubectl))
        keep = keep_data or not complete
    except LocalClusterError as error:
        screen.print(f"Error: {error}")
        raise typer.Exit(1) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        keep = keep_data
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if keep:
            screen.print(f"Data and logs are kept in {data_dir}")
        else:
            shutil.rmtree(data_dir)
    if not complete:
        raise typer.Exit(1)


async def _show(world: World, screen: Screen, output: Output, *, once: bool, kubectl: Path) -> bool:
    """Tell the story, and stay until interrupted unless once is enough; say whether all of it was observed."""
    from gpu_tenancy.demo.story import tell

    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # a coroutine runs in a task
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    async with world:
        results = await tell(world, screen)
        complete = all(result.ok for result in results)
        screen.summary(results)
        if output is Output.JSON:
            typer.echo(_json(world, results))
        if not complete:
            screen.print(f"Not observed: {results[-1].step}: {results[-1].observed}")
            screen.print(f"See {world.operator_log} and {world.control_plane.logs_dir}")
        elif not once:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, interrupted.set)
            screen.print(_what_next(world, kubectl))
            await interrupted.wait()
    return complete


def _json(world: World, results: Sequence[Result]) -> str:
    document = {
        "kubernetes": world.control_plane.kubernetes,
        "gpuNodes": sum(batch.count for batch in world.batches if batch.gpus),
        "gpus": sum(batch.gpus for batch in world.batches),
        "ok": all(result.ok for result in results),
        "seconds": round(sum(result.seconds for result in results), 1),
        "steps": results,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _what_next(world: World, kubectl: Path) -> str:
    return f"""
It stays up until you press Ctrl-C.

  administrator      {world.control_plane.kubeconfig_for("admin")}
  robotics engineer  {world.kubeconfig("robotics-engineer")}
  operator           {world.operator.url}/metrics   /healthz   /readyz
  operator's log     {world.operator_log}
  other logs         {world.control_plane.logs_dir}

Try, in another terminal:

  export KUBECONFIG={world.control_plane.kubeconfig_for("admin")}
  alias kubectl={kubectl}
  kubectl get regions,gpupools,industrialtenants
  kubectl get gpureservations --all-namespaces -o wide
  kubectl get resourcequotas --namespace robotics-train
  kubectl get pods --all-namespaces -o wide
  kubectl get events --all-namespaces
  kubectl --kubeconfig {world.kubeconfig("robotics-engineer")} get pods --namespace university-research

Everything that reservations can do, one idea after another: examples/reservations/README.md
"""
