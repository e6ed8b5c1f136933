"""`TenantPeering`: one side of an agreement by which namespaces of two tenants reach each other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gpu_tenancy.api.common import DNS_LABEL, SUBDOMAIN, Conditions, Generation, NamespaceName
from gpu_tenancy.api.schema import ApiModel, Column, Kind, ListType, Rule, name_rule


class PeerNamespace(ApiModel):
    """The other side: a namespace, and whose it has to be."""

    tenant: Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
    """The IndustrialTenant; a namespace that passes to another one is not the peer any more."""
    namespace: NamespaceName
    """Its namespace."""

    rules = (
        Rule(
            "!self.namespace.startsWith('kube-') && !self.namespace.startsWith('openshift-') && self.namespace != 'default'",
            "kube-*, openshift-* and default belong to the platform: name a namespace of a tenant",
            lambda self: not self.namespace.startswith(("kube-", "openshift-")) and self.namespace != "default",
        ),
    )


class PeeringPort(ApiModel):
    """A port of pods on either side."""

    port: Annotated[int, Field(ge=1, le=65_535)]
    """Its number."""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    """Its protocol."""


Ports = Annotated[list[PeeringPort], Field(max_length=32), ListType("atomic")]


class TenantPeeringSpec(ApiModel):
    """What this side agrees to."""

    peer: PeerNamespace
    """With whom; it is in force while a TenantPeering over there names this namespace and its tenant."""
    ports: Ports = []
    """The ports that both sides open to each other; without any, all. Only what both sides name is open."""


class TenantPeeringStatus(ApiModel):
    """What stands."""

    observedGeneration: Generation = 0
    """The generation that was judged."""
    ports: Ports = []
    """The ports that are open while Ready is True; without any, all."""
    conditions: Conditions = []
    """Ready, Reconciling, Stalled."""


TENANT_PEERING = Kind(
    kind="TenantPeering",
    plural="tenantpeerings",
    short_names=("tpeer",),
    namespaced=True,
    description="TenantPeering opens the network between its namespace and one of another tenant, while both ask for it.",
    spec=TenantPeeringSpec,
    status=TenantPeeringStatus,
    columns=(
        Column("Tenant", ".spec.peer.tenant"),
        Column("Namespace", ".spec.peer.namespace"),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message", wide=True),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    name_rules=(name_rule(f"^{SUBDOMAIN}$", 63, "messages about another one name it: at most 63 characters"),),
)
