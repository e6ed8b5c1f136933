"""What the demo shows: a moving line on a terminal, one line after the other elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.padding import Padding
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from gpu_tenancy.demo.story import Result

MARKS = {True: ("✓", "green"), False: ("✗", "bold red")}
INDENT = 13


class Screen:
    """Where the demo is told.

    Args:
        console: a terminal or not; rich leaves out colours and movement where there is none.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._progress: Progress | None = None

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show, on a terminal, that a step is under way and for how long."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            progress.add_task(escape(title), total=None, detail="")
            self._progress = progress
            yield
            self._progress = None

    def say(self, detail: str) -> None:
        """Show how far the step under way has come."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[-1], detail=escape(detail))

    def report(self, result: Result) -> None:
        """Print what became of a step, and when."""
        mark, style = MARKS[result.ok]
        elapsed = time.monotonic() - self._started
        self.console.print(Text.assemble((mark, style), f" {elapsed:6.1f} s   ", (result.step, "bold")), soft_wrap=True)
        observed = Text(result.observed, style="" if result.ok else "red")
        if self.console.is_terminal:
            self.console.print(Padding(observed, (0, 0, 0, INDENT)))
        else:
            self.console.print(Text(" " * INDENT).append_text(observed), soft_wrap=True)

    def summary(self, results: Sequence[Result]) -> None:
        """Print all steps as a table."""
        table = Table("", "step", "observed", title="What was observed", title_justify="left")
        table.add_column("seconds", justify="right", no_wrap=True)
        for result in results:
            mark, style = MARKS[result.ok]
            table.add_row(Text(mark, style), result.step, Text(result.observed), f"{result.seconds:.1f}")
        self.console.print(table)

    def print(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(Text(text), soft_wrap=True)
