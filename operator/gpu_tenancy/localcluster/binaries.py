"""Finding the programs of the control plane: on this machine, as release files, or by building them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_tenancy.localcluster import gobuild, releases
from gpu_tenancy.localcluster.errors import LocalClusterError
from gpu_tenancy.localcluster.versions import cache_root, programs, released_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

    from gpu_tenancy.localcluster.versions import Program

ASSETS = "KUBEBUILDER_ASSETS"
PROBE_TIMEOUT = 10.0


def ensure(kubernetes: str, console: Console) -> dict[str, Path]:
    """Find every program of a control plane, and fetch or build those that are nowhere.

    Each may come from another place. The places, in order: the folder that KUBEBUILDER_ASSETS names, PATH, the user's
    cache, the official release files, a build with Go.

    Args:
        kubernetes: The minor version, such as 1.36.
        console: Where progress is shown.

    Raises:
        LocalClusterError: Some cannot be had; the message lists every way that was tried.
    """
    wanted = programs(kubernetes)
    found, tried = find(wanted, os.environ)
    if len(found) < len(wanted):
        with _locked(console):
            for obtain in (releases.download, gobuild.build):
                # Another process may have put them there while this one waited for the lock.
                found |= {program.name: program.cached for program in wanted if _cached(program)} | found
                missing = [program for program in wanted if program.name not in found]
                if missing:
                    tried += obtain(missing, console)
            found |= {program.name: program.cached for program in wanted if _cached(program)} | found
    missing_names = [program.name for program in wanted if program.name not in found]
    if missing_names:
        raise LocalClusterError(_explain(kubernetes, missing_names, tried))
    return found


def build_once(program: Program, modules: Path, console: Console) -> list[str]:
    """Build a program that is no part of a control plane, unless the cache has it.

    Returns:
        Why it cannot be had; nothing if it can.
    """
    if _cached(program):
        return []
    with _locked(console):
        return [] if _cached(program) else gobuild.build([program], console, modules)


def find(wanted: Sequence[Program], environment: Mapping[str, str]) -> tuple[dict[str, Path], list[str]]:
    """Look for programs on this machine.

    Returns:
        Where each that was found is, and for the others why each place did not do.
    """
    assets = environment.get(ASSETS)
    path = [Path(folder) for folder in environment.get("PATH", os.defpath).split(os.pathsep) if folder]
    found: dict[str, Path] = {}
    refused: list[str] = []
    for program in wanted:
        for place, folders in ((ASSETS, [Path(assets)] if assets else []), ("PATH", path)):
            if program.name not in found:
                fitting, reasons = _first_that_fits(program, folders)
                refused += [f"{place}: {reason}" for reason in reasons]
                if fitting is not None:
                    found[program.name] = fitting
        if program.name not in found and _cached(program):
            found[program.name] = program.cached
    missing = [program for program in wanted if program.name not in found]
    tried = [line for line in refused if any(f": {program.name} " in line for program in missing)]
    if missing:
        names = ", ".join(program.name for program in missing)
        if not assets:
            tried.append(f"{ASSETS}: not set")
        tried += [f"PATH: no fitting {names}", f"cache: {names} not in {cache_root()}"]
    return found, tried


def _first_that_fits(program: Program, folders: Iterable[Path]) -> tuple[Path | None, list[str]]:
    reasons: list[str] = []
    for folder in folders:
        candidate = folder / program.name
        if not _executable(candidate):
            continue
        printed = _ask_version(program, candidate)
        version = released_version(printed)
        if version and program.accepts(version):
            return candidate.absolute(), reasons
        wanted = " or ".join(program.fits)
        reasons.append(f"{program.name} in {folder} says {printed or 'nothing'}, wanted is {wanted}")
    return None, reasons


def _ask_version(program: Program, path: Path) -> str:
    """Run a program to learn its version; return the first line that it prints, empty if it fails."""
    try:
        done = subprocess.run(
            [path, *program.version_command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""


def _cached(program: Program) -> bool:
    return _executable(program.cached)


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _explain(kubernetes: str, missing: Sequence[str], tried: Sequence[str]) -> str:
    lines = "\n".join(f"  {line}" for line in dict.fromkeys(tried))
    return (
        f"Kubernetes {kubernetes} cannot be started, because these programs cannot be had: {', '.join(missing)}.\n"
        f"Tried, in this order:\n{lines}\n"
        f"Any one way is enough: set {ASSETS} to a folder that has them, put them on PATH, give this machine access "
        f"to the release files, or install Go ({gobuild.GO_NEEDED} or newer)."
    )


@contextmanager
def _locked(console: Console) -> Iterator[None]:
    """Let one process at a time fetch and build; the others wait and find what it made."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("Another process is fetching or building the control plane; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Only who holds the lock makes such folders, so these were left by somebody who was stopped.
        for pattern in (releases.TEMPORARY, gobuild.TEMPORARY):
            for leftover in cache_root().glob(f"{pattern}*"):
                shutil.rmtree(leftover)
        yield
