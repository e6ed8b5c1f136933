"""The evaluator that judges network policies in the tests, as far as nothing else judges it: see cluster/test_network.py."""

from __future__ import annotations

from typing import Any

import pytest

from netpol import Network, Pod


def test_the_first_rule_of_the_admin_tier_that_matches_decides_or_passes_on() -> None:
    a, b = Pod("a", ip="10.0.0.1"), Pod("b", ip="10.0.0.2")
    namespaces = {"a": {"name": "a"}, "b": {"name": "b"}}
    closed = {"metadata": {"namespace": "b"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}

    def ruled(priority: int, *actions: str) -> dict[str, Any]:
        of_a = [{"namespaces": {"matchLabels": {"name": "a"}}}]
        subject = {"pods": {"namespaceSelector": {"matchLabels": {"name": "b"}}, "podSelector": {}}}
        rules = [{"action": action, "from": of_a} for action in actions]
        return {"spec": {"tier": "Admin", "priority": priority, "subject": subject, "ingress": rules}}

    def allows(*admin: dict[str, Any]) -> bool:
        return Network(namespaces, (closed,), admin).allows(a, b)

    assert not allows()
    assert allows(ruled(1, "Accept", "Deny"))
    assert not allows(ruled(1, "Deny", "Accept"))
    assert not allows(ruled(1, "Pass", "Accept"), ruled(2, "Accept"))
    assert allows(ruled(2, "Deny"), ruled(1, "Accept"))
    with pytest.raises(ValueError, match="up to the network plugin"):
        allows(ruled(1, "Accept"), ruled(1, "Deny"))
    assert Network(namespaces, (), (ruled(1, "Deny"),)).allows(b, a), "nothing is said of the other way"
