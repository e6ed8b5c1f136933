"""A region's jurisdictions do not contradict its country."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gpu_tenancy.api.region import RegionSpec

SOMEWHERE = {"nodeSelector": {"matchLabels": {"zone": "a"}}}


@pytest.mark.parametrize(
    ("country", "jurisdictions"),
    [("DE", ["DE", "EU", "EEA"]), ("NO", ["NO", "EEA"]), ("CH", ["CH"]), ("CH", ["EFTA"]), ("DE", ["BAVARIA"])],
)
def test_a_country_lies_in_its_jurisdictions(country, jurisdictions):
    RegionSpec.model_validate(SOMEWHERE | {"country": country, "jurisdictions": jurisdictions})


@pytest.mark.parametrize(
    ("country", "jurisdictions", "says"),
    [
        ("CH", ["CH", "EU"], "remove EU from jurisdictions, or correct country"),
        ("NO", ["NO", "EU"], "not in the EU"),
        ("CH", ["EEA"], "remove EEA from jurisdictions, or correct country"),
        ("CH", ["CH", "DE"], "a region lies in one"),
    ],
)
def test_what_contradicts_its_country_is_refused(country, jurisdictions, says):
    with pytest.raises(ValidationError, match=says):
        RegionSpec.model_validate(SOMEWHERE | {"country": country, "jurisdictions": jurisdictions})
