"""What was measured: figures with floor and target, as a table for people and as JSON."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence


_PLAIN_WIDTH = 140
_QUIET = 0.05


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: what was measured.
        runs: what each run gave; their median is the value.
        unit: of the value and the floor.
        floors: what the floor of each run was, if there is one.
        target: the highest ratio that is wanted or, without a floor, the highest value; None if it is just told.
        below: whether the target itself is too high.
    """

    name: str
    runs: Sequence[float]
    unit: str
    floors: Sequence[float] = ()
    target: float | None = None
    below: bool = False

    @property
    def value(self) -> float:
        """What it comes to."""
        return statistics.median(self.runs)

    @property
    def floor(self) -> float | None:
        """What it is compared with."""
        return statistics.median(self.floors) if self.floors else None

    @property
    def ratio(self) -> float | None:
        """How many times the floor it is."""
        return self.value / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether it is within the target; None if there is none."""
        if self.target is None:
            return None
        judged = self.value if self.ratio is None else self.ratio
        return judged < self.target if self.below else judged <= self.target

    def to_json(self) -> dict[str, Any]:
        """Give everything that is known of it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "floor": self.floor,
            "ratio": self.ratio,
            "target": self.target,
            "met": self.met,
            "runs": list(self.runs),
            "floors": list(self.floors),
        }


class Neighbours:
    """Other processes on the machine, watched from the moment this is made."""

    def __init__(self) -> None:
        self._began, self._busy = time.monotonic(), _others_seconds()

    def share(self) -> float:
        """Say what part of the machine they have taken, from 0 to 1; call it when all child processes have ended."""
        spent = time.monotonic() - self._began
        return max(0.0, _others_seconds() - self._busy) / (spent * (os.cpu_count() or 1))


def _others_seconds() -> float:
    user, nice, system, _, _, *interrupts = Path("/proc/stat").read_text().partition("\n")[0].split()[1:8]
    busy = sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return busy - time.process_time() - children.ru_utime - children.ru_stime


def machine(kubernetes: str) -> dict[str, Any]:
    """Say where and of what it was measured."""
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "kubernetes": kubernetes,
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", "operator", "charts")),
    }


def show(title: str, figures: Sequence[Figure], others: float) -> None:
    """Print the table; without frames and colours where nobody looks at it.

    Args:
        title: what was measured.
        figures: what came of it.
        others: what part of the machine others took meanwhile.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    table = Table(title=title, box=box.ROUNDED if console.is_terminal else None, title_justify="left")
    if others > _QUIET:
        table.caption = f"Others took {others:.0%} of the machine meanwhile: wall times mean little, repeat it."
    table.add_column("figure")
    for column in ("value", "floor", "ratio", "target"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for figure in figures:
        table.add_row(
            figure.name,
            _number(figure.value, figure.unit),
            "" if figure.floor is None else _number(figure.floor, figure.unit),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            _target(figure),
            {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[figure.met],
        )
    console.print(table)


def _number(value: float, unit: str) -> str:
    digits = 0 if value == round(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    sign = "<" if figure.below else "<="
    return f"{sign} {figure.target:g}x" if figure.floors else f"{sign} {_number(figure.target, figure.unit)}"


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
