"""`python -m security`: try all checks, print a table, write build/security.json."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from places import ROOT
from security import roles
from security.benchmark import BENCHMARK
from security.check import HOLDS, OPEN
from security.escapes import ELSEWHERE, ESCAPES
from security.trial import as_things_are, groups, with_walls_down
from security.world import a_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from security.check import Check, Outcome
    from security.world import World

CHECKS = [*BENCHMARK, *ESCAPES]
_PLAIN_WIDTH = 180


@dataclass(frozen=True)
class Row:
    """What came of a check in its three runs."""

    check: Check
    running: Outcome
    stopped: Outcome
    removed: Outcome

    @property
    def green(self) -> bool:
        """Whether it held, and only because of its wall."""
        return (self.running.word, self.stopped.word, self.removed.word) == (HOLDS, HOLDS, OPEN)

    def to_json(self) -> dict[str, str]:
        mechanism = self.check.walls[0].name
        words = {"running": self.running.word, "stopped": self.stopped.word, "removed": self.removed.word}
        return {"id": self.check.id, "mechanism": mechanism, **words}


def try_all(world: World, checks: Sequence[Check]) -> list[Row]:
    """Try every check while the operator runs, after it was killed, and with its walls down."""
    running = as_things_are(world, checks)
    world.operator.kill()
    stopped = as_things_are(world, checks)
    removed: dict[str, Outcome] = {}
    for walls, same in groups(checks):
        removed |= with_walls_down(world, walls, same)
    return [Row(check, running[check.id], stopped[check.id], removed[check.id]) for check in checks]


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the table, then why what is not green is not; without frames and colours where nobody looks at it."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    table = Table(title=title, box=box.ROUNDED if console.is_terminal else None, title_justify="left")
    for column in ("check", "an adversary ...", "mechanism", "running", "stopped", "removed"):
        table.add_column(column)
    for row in rows:
        words = [
            f"[{'green' if found.word == wanted else 'red'}]{found.word}[/]"
            for found, wanted in ((row.running, HOLDS), (row.stopped, HOLDS), (row.removed, OPEN))
        ]
        table.add_row(row.check.id, row.check.says, row.check.walls[0].name, *words)
    console.print(table)
    for number, reason in ELSEWHERE.items():
        console.print(f"{number}: not decided here: {reason}", highlight=False)
    for row in rows:
        for phase in ("running", "stopped", "removed"):
            if why := getattr(row, phase).why:
                console.print(f"{row.check}, {phase}: {why}", highlight=False, markup=False)
    console.print(f"{sum(row.green for row in rows)} of {len(rows)} checks are green.", highlight=False)


def main() -> None:
    """Try on a real control plane whether a tenant can get out."""
    parser = argparse.ArgumentParser(prog="python -m security", description=main.__doc__)
    parser.add_argument("--kubernetes", default="1.36", help="1.34, 1.35 or 1.36")
    parser.add_argument("--no-mutation", action="store_true", help="as on 1.34 and 1.35: pods write their fields")
    parser.add_argument("--output", type=Path, default=ROOT / "build/security.json", help="where the words are written")
    parser.add_argument("--only", default="", help="checks whose id begins like this")
    options = parser.parse_args()
    began, chosen = time.monotonic(), [check for check in CHECKS if check.id.startswith(options.only)]
    checks = [check for check in chosen if check.since <= options.kubernetes]
    with (
        tempfile.TemporaryDirectory(prefix="gpu-tenancy-security-") as folder,
        a_world(Path(folder), kubernetes=options.kubernetes, mutation=not options.no_mutation) as world,
    ):
        rights = roles.changed(world.api, options.output.parent)
        rows = try_all(world, checks)
        title = f"Kubernetes {world.control_plane.version}, {'with' if world.mutation else 'without'} the mutation"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps([row.to_json() for row in rows], indent=2) + "\n")
    show(f"{title}, {time.monotonic() - began:.0f} s", rows)
    for check in chosen:
        if check not in checks:
            print(f"{check}: not tried here, since Kubernetes {check.since} is the first that knows of it")  # noqa: T201  # as below
    print(rights or "What each role may do is what is written down.")  # noqa: T201  # it is a program
    sys.exit(bool(rights) or not all(row.green for row in rows))


if __name__ == "__main__":
    main()
