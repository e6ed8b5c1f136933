"""A month of use of two tenants, with everything that an export can have in it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gpu_tenancy.api.tenant import Organization
from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.focus import Export, Party, Place, Prices, Use
from gpu_tenancy.domain.naming import Tier

NOVEMBER = seconds(datetime(2026, 11, 1, tzinfo=UTC))
DECEMBER = seconds(datetime(2026, 12, 1, tzinfo=UTC))
UNTIL = seconds(datetime(2026, 12, 12, 8, 30, tzinfo=UTC))
PRICES = Prices(
    "EUR",
    {
        ("b200", Tier.RESERVED): Decimal("3.10"),
        ("b200", Tier.GUARANTEED): Decimal("2.5"),
        ("b200", Tier.SPOT): Decimal(1),
    },
)
USES = (
    Use("neura", "b200", NOVEMBER, Tier.GUARANTEED, None, 8 * 3600, 0, UNTIL),
    Use("neura", "b200", NOVEMBER, Tier.SPOT, None, 1, 0, UNTIL),
    Use("neura", "b200", NOVEMBER, Tier.RESERVED, ("neura-train", "evening", "0f"), 1000, 7201, UNTIL),
    Use("neura", "b200", DECEMBER, Tier.RESERVED, ("neura-train", "evening", "0f"), 3600, 3600, UNTIL),
    Use("neura", "b200", DECEMBER, Tier.RESERVED, ("", "", ""), 0, 36, UNTIL),
    Use("agile", "rtx", DECEMBER, Tier.GUARANTEED, None, 7, 0, UNTIL),
)


def export(**changed: Any) -> Export:
    fields: dict[str, Any] = {
        "provider": "Example Cloud GmbH",
        "parties": {
            "neura": Party("neura", Organization(legalName="Example Robotics, Ltd", costCenter="4711")),
            "agile": Party("agile", None),
        },
        "places": {
            "b200": Place("NVIDIA-B200", "eu-de", "Germany, Munich", "Example Rechenzentrum GmbH"),
            "rtx": Place("NVIDIA-RTX-PRO", "eu-nl", "eu-nl", ""),
        },
        "prices": PRICES,
        "uses": USES,
    }
    return Export(**(fields | changed))
