"""`gpu-tenancy simulate`: a site's reservations in virtual time, without a cluster."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gpu_tenancy.simulation.run import simulate as run
from gpu_tenancy.simulation.scenario import Scenario, large_site

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_TOLD = 5
BROKEN = 1
"""The exit code of a simulation in which a promise was broken."""


class Output(StrEnum):
    """How the result is written to standard output."""

    TEXT = "text"
    JSON = "json"


class _Loader(yaml.SafeLoader):
    """Reads instants as text, as the API server does: the model judges them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def simulate(
    scenario: Annotated[
        Path | None, typer.Argument(help="A YAML or JSON file; without one, a year of a site of 10,000 GPUs.")
    ] = None,
    *,
    seed: Annotated[int | None, typer.Option(min=0, help="Draw other requests and failures by chance.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3660, help="Simulate so many days.")] = None,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="json writes everything that was counted.")
    ] = Output.TEXT,
) -> None:
    """Replay reservations against the planner in virtual time, and judge the promises.

    Says how many requests were accepted and how long they waited, how well the GPUs were used, and what was left to
    spot pods. Ends with 1 if a promise was broken. The same scenario and seed give the same result.
    """
    given = _read(scenario)
    changes = {"seed": seed, "duration": None if days is None else f"{days * 24}h"}
    told = given.model_dump(mode="json", exclude_unset=True) | {k: v for k, v in changes.items() if v is not None}
    given = Scenario.model_validate(told)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with progress:
        task = progress.add_task("simulating", total=1.0)
        result = run(given, lambda done: progress.update(task, completed=done))
    if output is Output.JSON:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(result, Console())
    if any(pool["brokenPromises"] for pool in result["pools"].values()):
        raise typer.Exit(BROKEN)


def _read(path: Path | None) -> Scenario:
    if path is None:
        return large_site()
    try:
        # Safe: the loader is SafeLoader, less one kind of scalar.
        return Scenario.model_validate(yaml.load(path.read_text(), _Loader))  # noqa: S506
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{path} is no YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors()[:5])
        raise typer.BadParameter(f"{path} is no scenario: {problems}") from error


def _print(result: Mapping[str, Any], console: Console) -> None:
    console.print(f"{result['start']} to {result['end']}, seed {result['seed']}")
    table = Table()
    table.add_column("")
    for name in result["pools"]:
        table.add_column(name, justify="right")
    for title, read in _ROWS:
        table.add_row(title, *(read(pool) for pool in result["pools"].values()))
    console.print(table)
    for name, pool in result["pools"].items():
        for broken in pool["brokenPromises"][:_MOST_TOLD]:
            console.print(f"{name}: broken promise: {broken}", style="bold red")
    console.print(f"promises {result['ledger'][:16]}")


def _hours(seconds: int | None) -> str:
    return "-" if seconds is None else f"{seconds / 3600:,.1f} h"


_ROWS: list[tuple[str, Any]] = [
    ("GPUs", lambda pool: f"{pool['gpus']:,}"),
    ("requests", lambda pool: f"{pool['requests']:,}"),
    ("accepted", lambda pool: f"{pool['accepted']:,} ({pool['acceptedPercent']} %)"),
    ("  after waiting", lambda pool: f"{pool['afterWaiting']:,}"),
    ("refused", lambda pool: f"{sum(pool['refused'].values()):,}"),
    ("  mostly", lambda pool: max(pool["refused"], key=pool["refused"].get, default="-")),
    ("cancelled", lambda pool: f"{pool['cancelled']:,}"),
    ("wait, median", lambda pool: _hours(pool["waitSeconds"].get("p50"))),
    ("wait, p99", lambda pool: _hours(pool["waitSeconds"].get("p99"))),
    ("shift, median", lambda pool: _hours(pool["shiftSeconds"].get("p50"))),
    ("GPU-hours usable", lambda pool: f"{pool['gpuHours']['usable']:,}"),
    ("  promised", lambda pool: f"{pool['promisedPercent']} %"),
    ("  in use", lambda pool: f"{pool['usedPercent']} %"),
    ("  left to spot", lambda pool: f"{pool['spotPercent']} %"),
    ("broken promises", lambda pool: f"{len(pool['brokenPromises'])}"),
]
