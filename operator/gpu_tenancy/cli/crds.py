"""`gpu-tenancy crds`: write the CustomResourceDefinitions, or check that they are up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpu_tenancy.api import GROUP, KINDS
from gpu_tenancy.api.crd import document, file_name

# The chart ships copies: a link would not survive packaging.
DIRECTORIES = (Path("crds"), Path("charts/gpu-tenancy-crds/files"))


def crds(
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not up to date.")] = False,
    output_dir: Annotated[list[Path] | None, typer.Option(help="The folders of the files.")] = None,
) -> None:
    """Write the CustomResourceDefinitions of all kinds, one file each, and remove those of kinds that are gone."""
    wanted = {file_name(kind): document(kind) for kind in KINDS}
    stale = [path for directory in output_dir or DIRECTORIES for path in _stale(directory, wanted)]
    if check:
        for path in stale:
            typer.echo(f"{path} is not what the models say: run `make crds`", err=True)
        raise typer.Exit(code=1 if stale else 0)
    for path in stale:
        if path.name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path.name], "utf-8")
        else:
            path.unlink()
        typer.echo(f"{'wrote' if path.name in wanted else 'removed'} {path}")


def _stale(directory: Path, wanted: dict[str, str]) -> list[Path]:
    """List the files that are missing, outdated or no longer wanted."""
    present = {path.name: path.read_text("utf-8") for path in directory.glob(f"*.{GROUP}.yaml")}
    return [directory / name for name in sorted(wanted | present) if wanted.get(name) != present.get(name)]
