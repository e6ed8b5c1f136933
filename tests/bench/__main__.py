"""`python -m bench`: measure, print a table, write build/bench.json."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import orjson
from rich.console import Console

from bench.pure import pure
from bench.report import Neighbours, machine, show
from bench.rounds import FULL, QUICK, run
from bench.site import CONCURRENCY
from places import ROOT


def main() -> None:
    """Measure the operator against the raw floor."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="a small size, to see that the bench itself works")
    parser.add_argument("--output", type=Path, default=ROOT / "build/bench.json", help="where the figures are written")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    console, began, neighbours = Console(stderr=True), time.monotonic(), Neighbours()

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - began:5.0f} s  {text}", highlight=False, markup=False)

    results = run(size, say)
    say("the pure parts")
    others = neighbours.share()
    figures = [*results.figures(size), *pure(results.quota(), size.reservations)]
    facts = {
        "machine": machine(results.kubernetes) | {"others": others},
        "size": size.to_json() | {"concurrency": CONCURRENCY},
        "figures": [figure.to_json() for figure in figures],
        "details": results.details(size),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    show(f"{size.tenants} tenants, {os.cpu_count()} cores, Kubernetes {results.kubernetes}", figures, others)
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
