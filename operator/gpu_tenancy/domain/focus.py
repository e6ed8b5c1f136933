"""Use of GPUs as rows of a cost and usage dataset by FOCUS 1.3 (https://focus.finops.org).

One row for each tenant, pool, calendar month and tier; for reservations two: what was used, and what was reserved and
not used, which add up to what was reserved. Prices come from a list that somebody gives; without it everything costs 0.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.api.common import format_instant
from gpu_tenancy.domain.budget import period_of
from gpu_tenancy.domain.calendar import instant, seconds
from gpu_tenancy.domain.naming import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from gpu_tenancy.api.tenant import Organization

VERSION = "1.3"
NO_CURRENCY = "XXX"  # ISO 4217's code for it
UNIT = "GPU-Hours"

COLUMNS = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "CapacityReservationId", "CapacityReservationStatus", "ChargeCategory",
    "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "CommitmentDiscountStatus", "ConsumedQuantity",
    "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "HostProviderName",
    "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingCurrency",
    "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice",
    "PricingQuantity", "PricingUnit", "ProviderName",
    "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory",
    "ServiceName", "ServiceProviderName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId",
    "SubAccountId", "SubAccountName", "SubAccountType", "Tags", "x_CostCenter", "x_GpuModel", "x_Pool", "x_Tenant",
    "x_Tier",
)  # fmt: skip
"""In the order of the alphabet; ProviderName and PublisherName are there for readers of older versions."""

Value = str | Decimal | None
Row = dict[str, Value]


class Place(NamedTuple):
    """A pool and where it is."""

    model: str
    region: str
    region_name: str
    operator: str


class Party(NamedTuple):
    """A tenant as it is billed."""

    name: str
    organization: Organization | None


class Use(NamedTuple):
    """GPU-seconds of a month that nobody else's row has.

    Attributes:
        reservation: namespace, name and uid; None for what is not reserved. All are empty for those that are gone.
        amount: what pods held.
        booked: for reservations, what was promised.
        until: up to when it was counted.
    """

    tenant: str
    pool: str
    month: int
    tier: Tier
    reservation: tuple[str, str, str] | None
    amount: int
    booked: int
    until: int


@dataclass(frozen=True, slots=True)
class Prices:
    """What a GPU-hour costs, by pool and tier; a reserved one costs that whether it is used or not."""

    currency: str = NO_CURRENCY
    per_hour: Mapping[tuple[str, Tier], Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Export:
    """What rows are made of.

    Attributes:
        provider: whose name stands on the bill.
        uses: in any order.
    """

    provider: str
    parties: Mapping[str, Party]
    places: Mapping[str, Place]
    prices: Prices
    uses: tuple[Use, ...]

    def rows(self, begin: datetime | None = None, end: datetime | None = None) -> list[Row]:
        """Make the rows of the months that lie in [begin, end), in an order that depends on nothing else."""
        first = 0 if begin is None else seconds(begin)
        last = None if end is None else seconds(end)
        chosen = [
            use
            for use in self.uses
            if use.month >= first and (last is None or period_of(use.month, "Month")[1] <= last)
        ]
        ordered = sorted(
            chosen, key=lambda use: (use.tenant, use.pool, use.month, use.tier, use.reservation or ("", "", ""))
        )
        return [row for use in ordered for row in self._rows(use)]

    def _rows(self, use: Use) -> Iterator[Row]:
        used = _hours(use.amount)
        if use.reservation is None:
            yield self._row(use, used, None)
            return
        # Of two rounded numbers the second is what the first leaves, so that they always add up.
        unused = _hours(use.booked) - used
        for quantity, status in ((used, "Used"), (unused, "Unused")):
            if quantity:
                yield self._row(use, quantity, status)

    def _row(self, use: Use, quantity: Decimal, status: str | None) -> Row:
        place, party = self.places[use.pool], self.parties[use.tenant]
        month = period_of(use.month, "Month")
        price = self.prices.per_hour.get((use.pool, use.tier), Decimal(0))
        cost, host = quantity * price, place.operator or self.provider
        resource, resource_id = _resource(use)
        namespace = None if use.reservation is None else use.reservation[0] or None
        sku = f"{use.pool}/{use.tier.value}"
        organization = party.organization
        values: Row = {
            "BilledCost": cost,
            "BillingAccountId": party.name,
            "BillingAccountName": party.name if organization is None else organization.legalName,
            "BillingAccountType": "Tenant",
            "BillingCurrency": self.prices.currency,
            "BillingPeriodEnd": _at(month[1]),
            "BillingPeriodStart": _at(month[0]),
            "CapacityReservationId": None if status is None else resource_id,
            "CapacityReservationStatus": status,
            "ChargeCategory": "Usage",
            "ChargeDescription": f"{use.tier.value} GPU-hours of {place.model} in {place.region}"
            + ("" if status is None else f", {status.lower()}"),
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodEnd": _at(max(month[0] + 1, min(month[1], use.until))),
            "ChargePeriodStart": _at(month[0]),
            "ConsumedQuantity": quantity,
            "ConsumedUnit": UNIT,
            "ContractedCost": cost,
            "ContractedUnitPrice": price,
            "EffectiveCost": cost,
            "HostProviderName": host,
            "InvoiceIssuerName": self.provider,
            "ListCost": cost,
            "ListUnitPrice": price,
            "PricingCategory": "Dynamic" if use.tier is Tier.SPOT else "Standard",
            "PricingCurrency": self.prices.currency,
            "PricingCurrencyContractedUnitPrice": price,
            "PricingCurrencyEffectiveCost": cost,
            "PricingCurrencyListUnitPrice": price,
            "PricingQuantity": quantity,
            "PricingUnit": UNIT,
            "ProviderName": self.provider,
            "PublisherName": self.provider,
            "RegionId": place.region,
            "RegionName": place.region_name,
            "ResourceId": resource_id,
            "ResourceName": resource,
            "ResourceType": "GPU reservation" if use.reservation else "GPU grant",
            "ServiceCategory": "Compute",
            "ServiceName": "GPU capacity",
            "ServiceProviderName": self.provider,
            "ServiceSubcategory": "Other (Compute)",
            "SkuId": sku,
            "SkuMeter": "GPU time",
            "SkuPriceId": sku,
            "SubAccountId": namespace,
            "SubAccountName": namespace,
            "SubAccountType": namespace and "Namespace",
            "x_CostCenter": (organization.costCenter or None) if organization else None,
            "x_GpuModel": place.model,
            "x_Pool": use.pool,
            "x_Tenant": party.name,
            "x_Tier": use.tier.value,
        }
        return {column: values.get(column) for column in COLUMNS}  # what is left out is null


def with_those_gone(uses: Iterable[Use], booked: Iterable[Use]) -> list[Use]:
    """Add what reservations used that are gone: what the tenants' own totals have beyond those that are there.

    Args:
        uses: of the reservations that are there.
        booked: the totals, one for each tenant, pool and month.
    """
    there: defaultdict[tuple[str, str, int], list[Use]] = defaultdict(list)
    for use in uses:
        there[use[:3]].append(use)
    all_uses = [use for group in there.values() for use in group]
    for total in booked:
        known = there[total[:3]]
        missing = max(0, total.booked - sum(use.booked for use in known))
        held = max(0, total.amount - sum(use.amount for use in known))
        if missing:
            all_uses.append(total._replace(reservation=("", "", ""), booked=missing, amount=min(held, missing)))
    return all_uses


def _resource(use: Use) -> tuple[str, str]:
    """Give its name, and an identifier that no other has: a reservation made anew under the same name is another one."""
    match use.reservation:
        case None:
            name = f"{use.tenant}/{use.pool}/{use.tier.value}"
        case ("", _, _):
            name = f"{use.tenant}/{use.pool}/deleted-reservations"
        case (namespace, short, uid):
            return f"{namespace}/{short}", f"{namespace}/{short}/{uid}"
    return name, name


def _hours(gpu_seconds: int) -> Decimal:
    return (Decimal(gpu_seconds) / 3600).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)


def _at(value: int) -> str:
    return format_instant(instant(value))
