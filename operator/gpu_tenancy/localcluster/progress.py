"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

LINE_INTERVAL = 15.0


@contextmanager
def counted(console: Console, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how much of `total` is done; the block is given a function that is told each further amount."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            task = progress.add_task(title, total=total)
            yield lambda amount: progress.advance(task, amount)
        return
    done, last = 0, time.monotonic()

    def advance(amount: int) -> None:
        nonlocal done, last
        done += amount
        if time.monotonic() - last > LINE_INTERVAL:
            last = time.monotonic()
            console.print(f"{title}: {done} of {total} {unit}", highlight=False, soft_wrap=True)

    console.print(f"{title}: {total} {unit}", highlight=False, soft_wrap=True)
    yield advance
