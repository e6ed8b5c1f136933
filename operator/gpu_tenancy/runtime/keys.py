"""The keys of the work queue: what is reconciled on its own."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Topic(IntEnum):
    """What a key is about; the lower ones go first, since those after them build on their decisions."""

    REGION = 0
    POOL = 1
    WORKLOADS = 2
    TENANT = 3
    NODE = 4
    PEERINGS = 5
    AUDIT = 6


class Key(NamedTuple):
    """One thing to reconcile; the names of WORKLOADS and PEERINGS are namespaces, those of AUDIT what is looked at."""

    topic: Topic
    name: str

    @property
    def kind(self) -> str:
        """The word that metrics and logs use."""
        return {
            Topic.REGION: "Region",
            Topic.POOL: "GpuPool",
            Topic.WORKLOADS: "Workloads",
            Topic.TENANT: "IndustrialTenant",
            Topic.NODE: "Node",
            Topic.PEERINGS: "TenantPeerings",
            Topic.AUDIT: "Audit",
        }[self.topic]
