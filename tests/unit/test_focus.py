"""The export by FOCUS: columns, values, sums, and that it depends on nothing but what was used."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from focus_examples import DECEMBER, NOVEMBER, PRICES, UNTIL, USES, export
from gpu_tenancy.cli.main import app
from gpu_tenancy.cli.usage import _prices, as_csv, as_json
from gpu_tenancy.domain.focus import COLUMNS, Prices, Use, with_those_gone
from gpu_tenancy.domain.naming import Tier

if TYPE_CHECKING:
    from pathlib import Path

# FOCUS 1.3: feature level Mandatory; the first group may not be null.
NEVER_NULL = (
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory"),
    *("ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost"),
    *("HostProviderName", "ServiceCategory", "ServiceName", "ServiceProviderName"),
    # Not null in charges of the category Usage, which all of these are.
    *("ConsumedQuantity", "ConsumedUnit", "PricingCategory", "PricingQuantity", "PricingUnit", "SkuId", "SkuPriceId"),
)
MAY_BE_NULL = ("BillingAccountName", "ChargeClass", "ChargeDescription")
INSTANT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def rows(**changed: Any) -> list[dict[str, Any]]:
    return export(**changed).rows()


def test_every_mandatory_column_is_there_and_has_a_value_where_it_must() -> None:
    assert {*NEVER_NULL, *MAY_BE_NULL} <= set(COLUMNS)
    assert list(COLUMNS) == sorted(COLUMNS)
    for row in rows():
        assert tuple(row) == COLUMNS
        assert [name for name in NEVER_NULL if row[name] in {None, ""}] == []


def test_other_columns_are_either_of_the_format_or_named_as_own_ones() -> None:
    assert all(re.fullmatch(r"x_[A-Z][A-Za-z]+|[A-Z][A-Za-z]+", name) for name in COLUMNS)


def test_values_have_their_types_and_come_from_their_lists() -> None:
    for row in rows():
        assert row["ChargeCategory"] == "Usage"
        assert row["PricingCategory"] in {"Standard", "Dynamic"}
        assert row["ServiceCategory"] == "Compute"
        for name, value in row.items():
            if name.endswith(("PeriodStart", "PeriodEnd")):
                assert INSTANT.fullmatch(value), name
            if name.endswith(("Cost", "Price", "Quantity")):
                assert isinstance(value, Decimal), name
                assert value >= 0
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]


def test_used_and_unused_add_up_to_what_was_reserved() -> None:
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows():
        assert (row["CapacityReservationId"] is None) == (row["CapacityReservationStatus"] is None)
        if row["CapacityReservationId"] is not None:
            assert row["CapacityReservationStatus"] in {"Used", "Unused"}
            sums[row["CapacityReservationId"], row["BillingPeriodStart"][:7]] += row["ConsumedQuantity"]
    assert sums == {
        ("neura-train/evening/0f", "2026-11"): Decimal("2.000278"),
        ("neura-train/evening/0f", "2026-12"): Decimal(1),
        ("neura/b200/deleted-reservations", "2026-12"): Decimal("0.01"),
    }


def test_costs_are_quantities_times_the_prices_of_the_list_and_nothing_without_one() -> None:
    for row in rows():
        price = PRICES.per_hour.get((row["x_Pool"], Tier(row["x_Tier"])), Decimal(0))
        assert row["BilledCost"] == row["ListCost"] == row["ConsumedQuantity"] * price
    free = rows(prices=Prices())
    assert {row["BilledCost"] for row in free} == {Decimal(0)}
    assert {row["BillingCurrency"] for row in free} == {"XXX"}


def test_the_order_of_what_was_used_does_not_matter() -> None:
    assert as_csv(rows(uses=tuple(reversed(USES)))) == as_csv(rows())
    assert as_json(rows(uses=tuple(reversed(USES)))) == as_json(rows())


def test_months_can_be_chosen() -> None:
    november, december = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    months = [
        {row["BillingPeriodStart"][:7] for row in export().rows(*chosen)}
        for chosen in ((None, december), (december, None), (november, november))
    ]
    assert months == [{"2026-11"}, {"2026-12"}, set()]


def test_both_forms_say_the_same() -> None:
    table = list(csv.DictReader(io.StringIO(as_csv(rows()))))
    document = json.loads(as_json(rows()), parse_float=Decimal, parse_int=Decimal)

    assert document["FocusVersion"] == "1.3"
    assert len(table) == len(document["Rows"]) == 7
    for line, row in zip(table, document["Rows"], strict=True):
        assert {name: value or None for name, value in line.items()} == {
            name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in row.items()
        }


def test_what_reservations_used_that_are_gone_is_what_the_totals_have_beyond_the_others() -> None:
    there = Use("t", "b200", NOVEMBER, Tier.RESERVED, ("n", "r", "u"), 10, 100, UNTIL)
    total = Use("t", "b200", NOVEMBER, Tier.RESERVED, ("", "", ""), 60, 250, UNTIL)

    found = with_those_gone([there], [total, total._replace(month=DECEMBER, booked=0, amount=0)])

    assert found == [there, total._replace(amount=50, booked=150)]
    assert with_those_gone([there], [total._replace(booked=99)]) == [there]


def test_a_price_list_is_read_exactly(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("currency: EUR\nprices:\n  - {pool: b200, tier: reserved, price: 3.10}\n")
    assert _prices(file) == Prices("EUR", {("b200", Tier.RESERVED): Decimal("3.10")})


@pytest.mark.parametrize(
    "text",
    [
        "currency: euro\nprices: []",
        "prices: []",
        "currency: EUR\nprices: [{pool: b200, tier: gold, price: 1}]",
        "currency: EUR\nprices: [{pool: b200, tier: spot, price: -1}]",
        "currency: EUR\nprices: [{pool: b200, tier: spot, price: .inf}]",
        "currency: EUR\nprices: [{pool: b200, tier: spot, price: 1}, {pool: b200, tier: spot, price: 2}]",
        "{",
    ],
)
def test_a_wrong_price_list_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(typer.Exit) as caught:
        _prices(file)
    assert caught.value.exit_code == 2


def test_a_month_that_is_none_is_refused() -> None:
    assert CliRunner().invoke(app, ["usage", "--from", "2026-13"]).exit_code == 2
