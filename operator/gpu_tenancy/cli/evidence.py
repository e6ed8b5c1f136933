"""`gpu-tenancy evidence`: what holds for a tenant, for an auditor."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpu_tenancy.api import INDUSTRIAL_TENANT, REGION
from gpu_tenancy.api.resource import InvalidObject, parse
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
from gpu_tenancy.cli.documents import Format, text
from gpu_tenancy.domain.naming import CHART_SELECTOR, MANAGED_SELECTOR
from gpu_tenancy.kube import resource as kinds
from gpu_tenancy.kube.errors import ApiError
from gpu_tenancy.reconcile.evidence import Findings
from gpu_tenancy.reconcile.evidence import evidence as put_together
from gpu_tenancy.render.cluster_network_policy import policy_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Unpack

    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.kube.client import Client, Selection
    from gpu_tenancy.kube.resource import Resource

Object = dict[str, Any]

_CHILDREN = (kinds.RESOURCE_QUOTA, kinds.LIMIT_RANGE, kinds.NETWORK_POLICY, kinds.ROLE_BINDING)


def evidence(
    tenant: TenantArgument,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="The notation.")] = Format.YAML,
) -> None:
    """Write what is declared about a tenant, what is enforced, what was verified when, and where everything is.

    It is read from the cluster now, and compared with what the operator verified. Nothing is written, and an unchanged
    cluster gives the same bytes.
    """
    findings = read(kubeconfig, context, partial(_findings, name=tenant))
    typer.echo(text(put_together(findings, datetime.now(UTC).date()), output), nl=False)


async def _findings(client: Client, name: str) -> Findings:
    tenant = parse(INDUSTRIAL_TENANT, await find_tenant(client, name))
    namespaces = await namespaces_of(client, name)
    contents = await asyncio.gather(*(_contents(client, one["metadata"]["name"]) for one in namespaces))
    separations = await _if_served(client, kinds.CLUSTER_NETWORK_POLICY, label_selector=MANAGED_SELECTOR)
    chart = CHART_SELECTOR
    return Findings(
        tenant=tenant,
        regions=_readable(await every(client, resource_of(REGION))),
        namespaces=namespaces,
        children=[
            *(one for children, _, _ in contents for one in children),
            *(one for one in separations if one["metadata"]["name"] == policy_name(name)),
        ],
        nodes=await every(client, kinds.NODE),
        pods=[one for _, pods, _ in contents for one in pods],
        volumes=await every(client, kinds.PERSISTENT_VOLUME),
        snapshots=[one for _, _, snapshots in contents for one in snapshots],
        policies=[
            *await every(client, kinds.VALIDATING_POLICY, label_selector=chart),
            *await _if_served(client, kinds.MUTATING_POLICY, label_selector=chart),
        ],
        bindings=[
            *await every(client, kinds.VALIDATING_POLICY_BINDING, label_selector=chart),
            *await _if_served(client, kinds.MUTATING_POLICY_BINDING, label_selector=chart),
        ],
    )


async def _contents(client: Client, namespace: str) -> tuple[list[Object], list[Object], list[Object]]:
    """Read the operator's objects, the pods and the snapshots of a namespace."""
    children = [
        one for kind in _CHILDREN for one in await every(client, kind, namespace, label_selector=MANAGED_SELECTOR)
    ]
    return (
        children,
        await every(client, kinds.POD, namespace),
        await _if_served(client, kinds.VOLUME_SNAPSHOT, namespace),
    )


async def _if_served(
    client: Client, resource: Resource, namespace: str = "", **selection: Unpack[Selection]
) -> list[Object]:
    try:
        return await every(client, resource, namespace, **selection)
    except ApiError as error:
        if error.is_not_found:
            return []
        raise


def _readable(regions: Iterable[Object]) -> Mapping[str, RegionSpec]:
    """Read the catalogue as the operator does: a region that cannot be read admits nobody."""
    catalogue = {}
    for one in regions:
        try:
            catalogue[one["metadata"]["name"]] = parse(REGION, one).spec
        except InvalidObject:
            continue
    return catalogue
