"""`gpu-tenancy usage`: what tenants used, as a table that billing can read."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gpu_tenancy.api import GPU_POOL, GPU_RESERVATION, INDUSTRIAL_TENANT, REGION
from gpu_tenancy.api.common import CatalogueName
from gpu_tenancy.api.resource import InvalidObject, parse
from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.focus import COLUMNS, VERSION, Export, Party, Place, Prices, Use, with_those_gone
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.kube.auth import Credentials
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.errors import KubeError
from gpu_tenancy.runtime.term import api_resource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gpu_tenancy.api.schema import Kind
    from gpu_tenancy.domain.focus import Row, Value
    from gpu_tenancy.runtime.world import Pool, Region, Reservation, Tenant


class Output(StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSON = "json"


class Price(BaseModel):
    """The price of a GPU-hour of a pool and tier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: CatalogueName
    tier: Tier
    price: Annotated[Decimal, Field(ge=0, allow_inf_nan=False, max_digits=18, decimal_places=9)]


class PriceList(BaseModel):
    """A file of prices; each pool and tier once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    prices: list[Price]

    def read(self) -> Prices:
        """Give the prices by pool and tier.

        Raises:
            ValueError: if one is named twice.
        """
        per_hour = {(price.pool, price.tier): price.price for price in self.prices}
        if len(per_hour) < len(self.prices):
            raise ValueError("a pool and tier has two prices")
        return Prices(self.currency, per_hour)


def usage(
    kubeconfig: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A kubeconfig.")] = None,
    context: Annotated[str | None, typer.Option(help="The kubeconfig's context.")] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="Only these tenants.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="The first month, such as 2026-11.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The month after the last one.")] = None,
    prices: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A price list.")] = None,
    provider: Annotated[str, typer.Option(help="Who sends the bill.")] = "gpu-tenancy",
    output: Annotated[Output, typer.Option("-o", "--output", help="csv or json.")] = Output.CSV,
) -> None:
    """Write what tenants used of each pool and month, in the format of FOCUS 1.3.

    Without --prices everything costs 0.
    """
    months = [_month(text) for text in (begin, end)]
    found = asyncio.run(_read(kubeconfig, context))
    pools, regions, tenants, reservations = found
    chosen = [one for one in tenants if not tenant or one.name in tenant]
    if missing := sorted(set(tenant or ()) - {one.name for one in chosen}):
        typer.echo(f"There is no tenant {', '.join(missing)}", err=True)
        raise typer.Exit(1)
    export = Export(
        provider=provider,
        parties={one.name: Party(one.name, one.spec.organization) for one in chosen},
        places={**_places(pools, regions)},
        prices=_prices(prices),
        uses=tuple(uses(chosen, reservations, {pool.name for pool in pools})),
    )
    rows = export.rows(*months)
    unpriced = sorted({str(row["SkuId"]) for row in rows if prices is not None and not row["ListUnitPrice"]})
    if unpriced:
        typer.echo(f"No price, or a price of 0, for {', '.join(unpriced)}", err=True)
    typer.echo(as_csv(rows) if output is Output.CSV else as_json(rows), nl=False)


def uses(tenants: Iterable[Tenant], reservations: Iterable[Reservation], pools: set[str]) -> Iterator[Use]:
    """Read from the statuses what was used, once."""
    owners = {namespace.name: tenant.name for tenant in tenants for namespace in tenant.spec.namespaces}
    reserved = [
        Use(owner, one.spec.pool, seconds(month.month), Tier.RESERVED, (one.namespace, one.name, one.uid),
            month.used, month.booked, seconds(one.status.usage.until))
        for one in reservations
        if one.status.usage is not None and one.spec.pool in pools and (owner := owners.get(one.namespace))
        for month in one.status.usage.months
    ]  # fmt: skip
    totals = []
    for tenant in tenants:
        for grant in tenant.status.gpus:
            for month in grant.usage.months if grant.usage is not None and grant.pool in pools else ():
                until, at = seconds(grant.usage.until) if grant.usage else 0, seconds(month.month)
                for tier, amount in ((Tier.GUARANTEED, month.guaranteed), (Tier.SPOT, month.spot)):
                    if amount:
                        yield Use(tenant.name, grant.pool, at, tier, None, amount, 0, until)
                totals.append(
                    Use(tenant.name, grant.pool, at, Tier.RESERVED, ("", "", ""), month.used, month.booked, until)
                )
    yield from with_those_gone(reserved, totals)


def as_csv(rows: Iterable[Row]) -> str:
    """Write rows with a head; what is null is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_spelled(value) for value in row.values()] for row in rows)
    return text.getvalue()


def as_json(rows: Iterable[Row]) -> str:
    """Write rows as a list under the version of the format; numbers are exact."""
    exact = [
        {key: orjson.Fragment(_spelled(value)) if isinstance(value, Decimal) else value for key, value in row.items()}
        for row in rows
    ]
    document = {"FocusVersion": VERSION, "Rows": exact}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _spelled(value: Value) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value or ""


def _month(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        typer.echo(f"{text} is not a month like 2026-11", err=True)
        raise typer.Exit(2) from None


def _prices(path: Path | None) -> Prices:
    if path is None:
        return Prices()
    try:
        return PriceList.model_validate(yaml.load(path.read_text("utf-8"), yaml.BaseLoader)).read()  # noqa: S506  # text only
    except (yaml.YAMLError, ValidationError, ValueError) as error:
        typer.echo(f"{path} is no price list: {error}", err=True)
        raise typer.Exit(2) from None


def _places(pools: Iterable[Pool], regions: Iterable[Region]) -> Mapping[str, Place]:
    by_name = {region.name: region.spec for region in regions}
    places = {}
    for pool in pools:
        region = by_name.get(pool.spec.region)
        name = pool.spec.region if region is None else region.displayName or pool.spec.region
        operator = "" if region is None else region.dataCenterOperator
        places[pool.name] = Place(pool.spec.model, pool.spec.region, name, operator)
    return places


async def _read(
    kubeconfig: Path | None, context: str | None
) -> tuple[list[Pool], list[Region], list[Tenant], list[Reservation]]:
    try:
        async with Client(
            Credentials.from_kubeconfig(kubeconfig, context), field_manager="gpu-tenancy-usage"
        ) as client:
            return (
                await _list(client, GPU_POOL),
                await _list(client, REGION),
                await _list(client, INDUSTRIAL_TENANT),
                await _list(client, GPU_RESERVATION),
            )
    except KubeError as error:
        typer.echo(f"Cannot read the cluster: {error}", err=True)
        raise typer.Exit(1) from error


async def _list(client: Client, kind: Kind[Any, Any]) -> list[Any]:
    found = []
    async for page in client.list(api_resource(kind)):
        for raw in page.items:
            try:
                found.append(parse(kind, raw))
            except InvalidObject as error:
                typer.echo(f"{kind.kind} {raw['metadata']['name']} is left out: {error}", err=True)
    return found
