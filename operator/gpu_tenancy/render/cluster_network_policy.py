"""A tenant's ClusterNetworkPolicy: it keeps other tenants out, whatever NetworkPolicies let in.

All it has is one denial each way, in the Admin tier, which is judged before any NetworkPolicy. So it can open nothing,
and what it does not deny goes on to the provider's other policies of that tier and then to the NetworkPolicies; a Pass
would leave out the former. It selects no pod that another tenant's selects, so all of them can have one priority.

Fields, their limits and what they mean are those of sigs.k8s.io/network-policy-api v0.3.0, apis/v1alpha2: 25 rules with
25 peers each, and any number of values in a selector. Of v1beta1, which it serves too, the fields are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_tenancy.domain.naming import MANAGED_BY_LABEL, NAMESPACE_NAME_LABEL, OPERATOR, TENANT_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpu_tenancy.render.manifest import Manifest

KIND = "ClusterNetworkPolicy"
_PREFIX = f"{OPERATOR}-"


def cluster_network_policy(tenant: str, peers: Iterable[str], priority: int) -> Manifest:
    """Render the policy.

    Args:
        tenant: in whose namespaces it holds, by the label that only the operator writes.
        peers: namespaces of other tenants that it leaves to NetworkPolicies.
        priority: within the Admin tier, where the lowest comes first; 0 to 1000.
    """
    others = [{"namespaces": {"matchExpressions": _others(tenant, sorted(set(peers)))}}]
    denied = {"name": "other-tenants", "action": "Deny"}
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": KIND,
        "metadata": {"name": policy_name(tenant), "labels": {MANAGED_BY_LABEL: OPERATOR}},
        "spec": {
            "tier": "Admin",
            "priority": priority,
            "subject": {"namespaces": {"matchLabels": {TENANT_LABEL: tenant}}},
            "ingress": [{**denied, "from": others}],
            "egress": [{**denied, "to": others}],
        },
    }


def policy_name(tenant: str) -> str:
    """Name a tenant's policy."""
    return _PREFIX + tenant


def tenant_of(name: str) -> str:
    """Read the tenant from the name of a policy; empty if it is no such name."""
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else ""


def peers_of(policy: Mapping[str, Any]) -> frozenset[str]:
    """Read which namespaces a policy leaves to NetworkPolicies, both ways."""
    rules = [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]
    selectors = [peer.get("namespaces", {}) for rule in rules for peer in rule.get("from", rule.get("to", []))]
    left = [frozenset(_names(selector)) for selector in selectors]
    return frozenset.intersection(*left) if left else frozenset()


def _others(tenant: str, peers: list[str]) -> list[dict[str, Any]]:
    return [
        {"key": TENANT_LABEL, "operator": "Exists"},
        {"key": TENANT_LABEL, "operator": "NotIn", "values": [tenant]},
        *([{"key": NAMESPACE_NAME_LABEL, "operator": "NotIn", "values": peers}] if peers else []),
    ]


def _names(selector: Mapping[str, Any]) -> list[str]:
    return [
        name
        for one in selector.get("matchExpressions", [])
        if (one["key"], one["operator"]) == (NAMESPACE_NAME_LABEL, "NotIn")
        for name in one.get("values", [])
    ]
