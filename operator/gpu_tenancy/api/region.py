"""`Region`: a catalogue entry that says where a data centre is and whose law holds there."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gpu_tenancy.api.common import DNS_LABEL, Conditions, Day, Generation, Jurisdiction, LabelSelector
from gpu_tenancy.api.schema import ApiModel, Column, Kind, ListType, Rule, name_rule

EU = (
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU",
    "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
)  # fmt: skip
EEA = (*EU, "IS", "LI", "NO")

NAME_RULES = (
    name_rule(
        DNS_LABEL, 40, "the name becomes part of labels: at most 40 characters, lower case letters, digits and '-'"
    ),
)


class Certificate(ApiModel):
    """A certificate of the data centre, as declared by the provider."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """Its name, such as `BSI C5 Type 2`."""
    validUntil: Day
    """The last day on which it is valid."""
    evidenceURL: Annotated[str, StringConstraints(pattern=r"^https://[!-~]+$", max_length=1024)] | None = None
    """Where the evidence can be read."""


class RegionSpec(ApiModel):
    """What a region is. Regions are data: their ids say nothing about where they lie."""

    displayName: Annotated[str, StringConstraints(max_length=128)] = ""
    """The name for people."""
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$", max_length=2)]
    """The country as ISO 3166-1 alpha-2."""
    jurisdictions: Annotated[list[Jurisdiction], Field(min_length=1, max_length=16), ListType("set")]
    """Whose law holds there, such as DE, EU, EEA, CH. A tenant's residency is matched against it."""
    zones: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=63)]], Field(max_length=32), ListType("set")
    ] = []
    """The availability zones, for people."""
    dataCenterOperator: Annotated[str, StringConstraints(max_length=256)] = ""
    """The legal entity that runs the data centre."""
    nodeSelector: LabelSelector
    """Which nodes are in the region. A node that no region selects is nowhere, and no tenant's pod runs there."""
    certificates: Annotated[list[Certificate], Field(max_length=32), ListType("map", ("name",))] = []
    """Certificates of the site, declared and not verified."""

    # A tenant's residency goes by the jurisdictions alone.
    rules = (
        Rule(
            f"!('EU' in self.jurisdictions) || self.country in {list(EU)}",
            "the country is not in the EU: remove EU from jurisdictions, or correct country",
            lambda self: "EU" not in self.jurisdictions or self.country in EU,
        ),
        Rule(
            f"!('EEA' in self.jurisdictions) || self.country in {list(EEA)}",
            "the country is not in the EEA: remove EEA from jurisdictions, or correct country",
            lambda self: "EEA" not in self.jurisdictions or self.country in EEA,
        ),
        Rule(
            "self.jurisdictions.all(one, one.size() != 2 || one == 'EU' || one == self.country)",
            "a jurisdiction of two letters is a country, and a region lies in one: write that of country, or correct country",
            lambda self: all(len(one) != 2 or one in {"EU", self.country} for one in self.jurisdictions),  # noqa: PLR2004
        ),
    )


class RegionStatus(ApiModel):
    """What the operator observed."""

    observedGeneration: Generation = 0
    """The generation that was judged."""
    nodes: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Nodes in the region."""
    conditions: Conditions = []
    """Ready, CertificateExpired."""


REGION = Kind(
    kind="Region",
    plural="regions",
    short_names=("reg",),
    namespaced=False,
    description="Region is a place where GPUs stand, and whose law holds there.",
    spec=RegionSpec,
    status=RegionStatus,
    columns=(
        Column("Country", ".spec.country"),
        Column("Jurisdictions", ".spec.jurisdictions"),
        Column("Nodes", ".status.nodes", "integer"),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Operator", ".spec.dataCenterOperator", wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    name_rules=NAME_RULES,
)
