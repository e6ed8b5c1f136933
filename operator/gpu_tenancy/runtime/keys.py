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
    RESERVATIONS = 4
    NODE = 5
    PEERINGS = 6
    AUDIT = 7


class Key(NamedTuple):
    """One thing to reconcile.

    The names of WORKLOADS and PEERINGS are namespaces, those of RESERVATIONS pools, those of AUDIT what is looked at.
    """

    topic: Topic
    name: str

    @property
    def rank(self) -> Topic:
        """Which goes first; what is told of a pool's reservations waits for tenants in line, but not for the last one."""
        return Topic.TENANT if self.topic is Topic.RESERVATIONS else self.topic

    @property
    def kind(self) -> str:
        """The word that metrics and logs use."""
        return {
            Topic.REGION: "Region",
            Topic.POOL: "GpuPool",
            Topic.WORKLOADS: "Workloads",
            Topic.TENANT: "IndustrialTenant",
            Topic.RESERVATIONS: "GpuReservation",
            Topic.NODE: "Node",
            Topic.PEERINGS: "TenantPeerings",
            Topic.AUDIT: "Audit",
        }[self.topic]
