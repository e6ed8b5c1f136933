"""What the commands that read a cluster have in common: whom to ask, how to ask, and what to say if that fails."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gpu_tenancy.api import GROUP, INDUSTRIAL_TENANT, VERSION
from gpu_tenancy.api.resource import InvalidObject
from gpu_tenancy.domain.naming import OPERATOR, TENANT_LABEL
from gpu_tenancy.kube.auth import Credentials
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.errors import ApiError, KubeError
from gpu_tenancy.kube.resource import NAMESPACE, Resource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import Unpack

    from gpu_tenancy.api.schema import Kind
    from gpu_tenancy.kube.client import Selection

Object = dict[str, Any]
T = TypeVar("T")

TenantArgument = Annotated[str, typer.Argument(help="The name of an IndustrialTenant.", show_default=False)]
KubeconfigOption = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="By default $KUBECONFIG or ~/.kube/config.")
]
ContextOption = Annotated[str | None, typer.Option(help="The kubeconfig's context; by default its current one.")]


class UsageError(Exception):
    """What was asked for cannot be had; the message says why and what to do."""


def read(kubeconfig: Path | None, context: str | None, gather: Callable[[Client], Awaitable[T]]) -> T:
    """Have something read from a cluster; if that fails, say why, without a traceback, and end with exit code 1."""

    async def connected() -> T:
        credentials = Credentials.from_kubeconfig(kubeconfig, context)
        # A person waits longer for an answer than the operator.
        async with Client(credentials, field_manager=OPERATOR, read_timeout=60.0) as client:
            return await gather(client)

    with _reported():
        return asyncio.run(connected())


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        hint = ""
        if error.status == HTTPStatus.FORBIDDEN:
            hint = "; this command reads as the provider does: use a kubeconfig or --context that may"
        typer.echo(f"Error: {error.message or error}{hint}", err=True)
        raise typer.Exit(1) from error
    except (UsageError, InvalidObject, KubeError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error


def resource_of(kind: Kind[Any, Any]) -> Resource:
    """Say where the objects of one of our kinds live."""
    return Resource(GROUP, VERSION, kind.plural, kind.kind, kind.namespaced)


async def find_tenant(client: Client, name: str) -> Object:
    """Read a tenant as stored.

    Raises:
        UsageError: if there is none of this name.
    """
    try:
        found = await client.get(resource_of(INDUSTRIAL_TENANT), name)
    except ApiError as error:
        if error.is_not_found:
            raise UsageError(f"there is no IndustrialTenant {name}: kubectl get itn lists those that exist") from error
        raise
    return found


async def namespaces_of(client: Client, tenant: str) -> list[Object]:
    """List the namespaces that are the tenant's, those that it does not list any more included."""
    return await every(client, NAMESPACE, label_selector=f"{TENANT_LABEL}={tenant}")


async def every(
    client: Client, resource: Resource, namespace: str = "", **selection: Unpack[Selection]
) -> list[Object]:
    """List objects to the last page."""
    pages = client.list(resource, namespace, **selection)
    return [item async for page in pages for item in page.items]
