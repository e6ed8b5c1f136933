"""`gpu-tenancy crds`: write the CustomResourceDefinitions, or check that they are up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpu_tenancy.api import GROUP, KINDS
from gpu_tenancy.api.crd import document, file_name


def crds(
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not up to date.")] = False,
    output_dir: Annotated[Path, typer.Option(help="The folder of the files.")] = Path("crds"),
) -> None:
    """Write the CustomResourceDefinitions of all kinds, one file each, and remove those of kinds that are gone."""
    wanted = {file_name(kind): document(kind) for kind in KINDS}
    present = {path.name: path.read_text("utf-8") for path in output_dir.glob(f"*.{GROUP}.yaml")}
    stale = sorted(name for name in wanted | present if wanted.get(name) != present.get(name))
    if check:
        for name in stale:
            typer.echo(f"{output_dir / name} is not what the models say: run `make crds`", err=True)
        raise typer.Exit(code=1 if stale else 0)
    output_dir.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in wanted:
            (output_dir / name).write_text(wanted[name], "utf-8")
        else:
            (output_dir / name).unlink()
        typer.echo(f"{'wrote' if name in wanted else 'removed'} {output_dir / name}")
