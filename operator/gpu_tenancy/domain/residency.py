"""Residency: what a tenant declares, the placement that its pods carry, and the regions that it admits.

A placement is named after the declaration, not after the regions it resolves to: when a region is added or loses
a jurisdiction, nodes are relabelled and nothing else changes, so the promise holds without touching a tenant.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.api.region import RegionSpec
    from gpu_tenancy.api.tenant import Residency

ANYWHERE = "any_region"  # no region can be called so
_MAX_LABEL = 63


@dataclass(frozen=True, slots=True, order=True)
class Placement:
    """Where pods may run: regions that every non-empty list admits.

    Attributes:
        jurisdictions: at least one of these holds in the region.
        regions: the region is one of these.
    """

    jurisdictions: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    @classmethod
    def of(cls, residency: Residency | None) -> Placement:
        """Read a tenant's declaration; none means every region of the catalogue."""
        if residency is None:
            return cls()
        return cls(tuple(sorted(residency.jurisdictions)), tuple(sorted(residency.regions)))

    @property
    def name(self) -> str:
        """The name that labels carry, such as `DE`, `eu-de.eu-nl` or `EU.eu-de`, at most 63 characters.

        Jurisdictions are upper case and regions lower case, so two declarations never share a name;
        a long one is hashed behind `set_`, which no region can be called.
        """
        name = ".".join(self.jurisdictions + self.regions) or ANYWHERE
        return name if len(name) <= _MAX_LABEL else f"set_{sha256(name.encode()).hexdigest()[:40]}"

    def admits(self, name: str, region: RegionSpec) -> bool:
        """Say whether pods may run in the region."""
        return (not self.regions or name in self.regions) and (
            not self.jurisdictions or not set(self.jurisdictions).isdisjoint(region.jurisdictions)
        )

    def admitted(self, catalogue: Mapping[str, RegionSpec]) -> list[str]:
        """List the regions of the catalogue in which pods may run, by name."""
        return sorted(name for name, region in catalogue.items() if self.admits(name, region))

    def contradictions(self, catalogue: Mapping[str, RegionSpec]) -> Iterable[str]:
        """Say why the declaration cannot be kept: unknown regions, regions outside the jurisdictions, or none at all."""
        for name in self.regions:
            if name not in catalogue:
                yield f"region {name} is not in the catalogue: create it or correct spec.residency.regions"
            elif not self.admits(name, catalogue[name]):
                yield (
                    f"region {name} lies in {', '.join(catalogue[name].jurisdictions)}, not in "
                    f"{' or '.join(self.jurisdictions)}: remove it from spec.residency.regions or admit its jurisdiction"
                )
        if not self.regions and not self.admitted(catalogue):
            place = f"in {' or '.join(self.jurisdictions)}" if self.jurisdictions else "at all"
            yield f"the catalogue has no region {place}: create one or correct spec.residency"
