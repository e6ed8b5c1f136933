"""Building the programs from Go modules whose versions and checksums are pinned under `modules/`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_tenancy.localcluster.progress import counted
from gpu_tenancy.localcluster.versions import cache_root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from gpu_tenancy.localcluster.versions import Program

GO_NEEDED = "1.21"
"""From this version on Go fetches the newer one that a module asks for by itself."""
MODULES = Path(__file__).with_name("modules")
LAST_LINES = 15
TEMPORARY = ".build-"


def build(wanted: Sequence[Program], console: Console, modules: Path = MODULES) -> list[str]:
    """Build programs into the cache.

    Args:
        wanted: what to build.
        console: where progress is shown.
        modules: the folder with the modules that pin them.

    Returns:
        Why those that could not be built could not.
    """
    go = shutil.which("go")
    if go is None:
        return ["build: Go is not installed"]
    refused = []
    for module, programs in groupby(wanted, key=lambda program: program.module):
        try:
            _build(go, modules / module, list(programs), console)
        except BuildError as error:
            refused.append(f"build: {error}")
    return refused


class BuildError(Exception):
    """Go refused; the message is the end of what it printed."""


def _build(go: str, module: Path, wanted: Sequence[Program], console: Console) -> None:
    flags = ("-trimpath", f"-ldflags={_linker_flags(wanted[0])}")
    packages = [program.package for program in wanted]
    names = ", ".join(program.name for program in wanted)
    console.print(f"Preparing to build {names} with {go}", soft_wrap=True)
    # What Go has built before is in its own cache and not built again.
    stale = _run([go, "list", *flags, "-deps", "-f={{if .Stale}}{{.ImportPath}}{{end}}", *packages], module)
    total = sum(1 for line in stale if line)
    with (
        tempfile.TemporaryDirectory(dir=cache_root(), prefix=TEMPORARY) as temporary,
        counted(console, f"Building {names} (takes minutes)", total, "packages") as advance,
    ):
        for program in wanted:
            target = Path(temporary) / program.name
            _run([go, "build", "-v", *flags, f"-o={target}", program.package], module, advance)
            program.cached.parent.mkdir(parents=True, exist_ok=True)
            target.replace(program.cached)


def _run(command: list[str], module: Path, advance: Callable[[int], None] | None = None) -> list[str]:
    """Run Go in a module; with `advance`, tell it of every line of the report of what is built."""
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"}
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            command, cwd=module, env=environment, stdout=printed, stderr=subprocess.PIPE, text=True
        )
        report = []
        for line in process.stderr or ():
            report.append(line.rstrip())
            if advance is not None and not line.startswith(("go: ", "#", "\t")):
                advance(1)
        if process.wait():
            raise BuildError("\n    ".join([f"go {command[1]} failed in {module}", *report[-LAST_LINES:]]))
        printed.seek(0)
        return printed.read().splitlines()


def _linker_flags(program: Program) -> str:
    """Tell a Kubernetes program its version, which its own build script would; the others know theirs."""
    if program.distribution != "kubernetes":
        return "-s -w"
    major, minor, _ = program.version.split(".")
    values = {"gitVersion": f"v{program.version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())])
