"""`python -m cyclonus`: build it ahead of the tests, which have less time."""

from __future__ import annotations

from rich.console import Console

from cyclonus import why_not

if __name__ == "__main__":
    if problems := why_not():
        Console(stderr=True).print(
            f"Network policies will NOT be judged by cyclonus as well: {problems}", soft_wrap=True
        )
