"""`gpu-tenancy run`: the operator as a process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gpu_tenancy.kube.auth import Credentials
from gpu_tenancy.observability import logs
from gpu_tenancy.runtime.operator import Operator
from gpu_tenancy.runtime.settings import Settings, SettingsError


def run(
    kubeconfig: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Run outside the cluster, with this kubeconfig.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="The kubeconfig's context.")] = None,
    namespace: Annotated[str | None, typer.Option(help="The operator's own namespace, with its Lease.")] = None,
    http_host: Annotated[str | None, typer.Option(help="Where to serve /healthz, /readyz and /metrics.")] = None,
    http_port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one.")] = None,
    log_format: Annotated[str | None, typer.Option(help="json or text.")] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = None,
) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Every setting is also an environment variable GPU_TENANCY_<NAME>; docs/operations.md lists them.
    """
    try:
        settings = Settings.from_environment(
            os.environ,
            namespace=namespace,
            http_host=http_host,
            http_port=http_port,
            log_format=log_format,
            log_level=log_level,
        )
    except SettingsError as error:
        typer.echo(f"Wrong settings:\n{error}", err=True)
        raise typer.Exit(2) from error
    from gpu_tenancy.adapters import KindWatcher  # noqa: PLC0415  # kopf is slow to import, other commands need it not

    logs.configure(settings.log_format, settings.log_level)

    def credentials() -> Credentials:
        in_cluster = kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ
        return Credentials.in_cluster() if in_cluster else Credentials.from_kubeconfig(kubeconfig, context)

    _calm_the_collector()
    asyncio.run(_run(Operator(settings, credentials, partial(KindWatcher, credentials))))


def _calm_the_collector() -> None:
    """Have the garbage collector look less often and at less; else it takes a tenth of all time.

    What was imported is there for good, and nearly all that a plan is made of is freed without the collector.
    """
    gc.freeze()
    gc.set_threshold(10_000)


async def _run(operator: Operator) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await operator.run(stop)
