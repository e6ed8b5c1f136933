"""`gpu-tenancy export`: what a tenant has in our API, to take elsewhere."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpu_tenancy.api import GPU_POOL, GPU_RESERVATION, INDUSTRIAL_TENANT, KINDS, REGION
from gpu_tenancy.api.resource import parse
from gpu_tenancy.cli.access import (
    ContextOption,
    KubeconfigOption,
    TenantArgument,
    every,
    find_tenant,
    namespaces_of,
    read,
    resource_of,
)
from gpu_tenancy.cli.documents import Format, manifests
from gpu_tenancy.domain.export import export as export_objects
from gpu_tenancy.domain.export import pools_of, regions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_tenancy.kube.client import Client

Object = dict[str, Any]


def export(
    tenant: TenantArgument,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="A YAML stream, or a List in JSON.")] = Format.YAML,
    *,
    with_catalogue: Annotated[
        bool, typer.Option("--with-catalogue", help="Also the Regions and GpuPools that it refers to.")
    ] = False,
) -> None:
    """Write a tenant, its reservations and its sides of peerings as manifests that make them again, here or elsewhere.

    Nothing in them comes from this cluster: no status, uid or version. What is in namespaces comes last, since these
    the operator makes for the tenant. What runs in the namespaces is not part of it.
    """
    objects = read(kubeconfig, context, partial(_objects, name=tenant, with_catalogue=with_catalogue))
    typer.echo(manifests(objects, output), nl=False)


async def _objects(client: Client, name: str, *, with_catalogue: bool) -> list[Object]:
    tenant = await find_tenant(client, name)
    objects = [tenant]
    for namespace in await namespaces_of(client, name):
        for kind in KINDS:
            if kind.namespaced:
                objects += await every(client, resource_of(kind), namespace["metadata"]["name"])
    if with_catalogue:
        reservations = [one for one in objects if one["kind"] == GPU_RESERVATION.kind]
        regions = await every(client, resource_of(REGION))
        pools = await every(client, resource_of(GPU_POOL))
        objects += _catalogue(tenant, reservations, regions, pools)
    return export_objects(objects)


def _catalogue(
    tenant: Object, reservations: list[Object], regions: list[Object], pools: list[Object]
) -> Iterator[Object]:
    """Pick what the tenant and its reservations refer to."""
    spec = parse(INDUSTRIAL_TENANT, tenant).spec
    wanted = pools_of(spec, (one["spec"]["pool"] for one in reservations))
    picked = [one for one in pools if one["metadata"]["name"] in wanted]
    catalogue = {one["metadata"]["name"]: parse(REGION, one).spec for one in regions}
    known = regions_of(spec, (parse(GPU_POOL, one).spec for one in picked), catalogue)
    yield from picked
    yield from (one for one in regions if one["metadata"]["name"] in known)
