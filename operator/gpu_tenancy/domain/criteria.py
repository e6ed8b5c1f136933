"""Which criteria of which catalogue each control contributes to.

A control never meets a criterion alone: most ask for processes and people too. Ids and titles were read in public
transcriptions of the catalogues, which `SOURCES` names, and are to be checked against the publishers' own texts. What
is only an area is said to be one: no criterion of it could be told to fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Catalogue = Literal["C5:2026", "C3A", "CIS Kubernetes"]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion of a catalogue, or with `area` a whole area of it."""

    catalogue: Catalogue
    id: str
    title: str
    area: bool = False


SOURCES: Mapping[Catalogue, str] = {
    "C5:2026": "BSI, Cloud Computing Compliance Criteria Catalogue C5:2026, version 1.0.1; ids and titles from a public"
    " transcription",
    "C3A": "BSI, Criteria enabling Cloud Computing Autonomy, 27 April 2026; ids and titles from a public transcription",
    "CIS Kubernetes": "CIS Kubernetes Benchmark 1.12, as numbered by kube-bench (cfg/cis-1.12/policies.yaml)",
}

_DATASETS = Criterion("C5:2026", "OPS-31", "Separation of Datasets - Implementation")
_CONTAINERS = Criterion("C5:2026", "OPS-35", "Container Management - Implementation")
_RESOURCES = Criterion("C5:2026", "OPS-03", "Capacity Management - Controlling of Resources")
_TRAFFIC = Criterion("C5:2026", "COS-06", "Separation of Data Traffic in Jointly Used Network Environments")
_POLICY_CONTROL = Criterion(
    "CIS Kubernetes", "5.2.1", "Ensure that the cluster has at least one active policy control mechanism in place"
)

CRITERIA: Mapping[str, tuple[Criterion, ...]] = {
    "namespace-isolation": (
        _DATASETS,
        _CONTAINERS,
        _POLICY_CONTROL,
        Criterion("CIS Kubernetes", "5.6.1", "Create administrative boundaries between resources using namespaces"),
    ),
    "base-quota": (_RESOURCES,),
    "default-requests": (_RESOURCES,),
    "gpu-quotas": (_RESOURCES, _DATASETS),
    "network-isolation": (
        _TRAFFIC,
        Criterion("CIS Kubernetes", "5.3.2", "Ensure that all Namespaces have NetworkPolicies defined"),
    ),
    "network-separation": (_TRAFFIC,),
    "access-bindings": (
        Criterion("C5:2026", "PSS-08", "Roles and Rights Framework"),
        Criterion("C5:2026", "PSS-09", "Authorisation Mechanisms"),
        Criterion("CIS Kubernetes", "5.1.1", "Ensure that the cluster-admin role is only used where required"),
        Criterion("CIS Kubernetes", "5.1.3", "Minimize wildcard use in Roles and ClusterRoles"),
    ),
    "residency": (
        Criterion("C5:2026", "PSS-12", "Region of Data Processing and Storage"),
        Criterion("C3A", "SOV-3-01-C1", "Data Residence: the customer can check where its data is"),
        Criterion("C3A", "SOV-3-01-C3", "Data Residence: customer data in the EU only"),
        Criterion("C3A", "SOV-3-01-C4", "Data Residence: customer data in Germany only"),
    ),
    "admission-policies": (
        Criterion("C5:2026", "OPS-34", "Container Management - Policies and Procedures"),
        _CONTAINERS,
        _POLICY_CONTROL,
        Criterion("CIS Kubernetes", "5.2", "Pod Security Standards", area=True),
    ),
}
"""By control. What is not named here is not contributed to: of C3A for instance everything but data residence."""
