"""Paths lead where they should, and nowhere else."""

from __future__ import annotations

import pytest

from gpu_tenancy.kube.resource import BUILT_IN, NODE, POD, ROLE_BINDING, Resource


def test_paths_of_core_and_named_groups() -> None:
    assert NODE.path() == "/api/v1/nodes"
    assert NODE.path(name="n1", subresource="status") == "/api/v1/nodes/n1/status"
    assert POD.path() == "/api/v1/pods"
    assert POD.path("ns") == "/api/v1/namespaces/ns/pods"
    binding = "/apis/rbac.authorization.k8s.io/v1/namespaces/ns/rolebindings/system%3Aone"
    assert ROLE_BINDING.path("ns", "system:one") == binding


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a/../../secrets/x"])
def test_a_name_cannot_lead_to_another_path(name: str) -> None:
    with pytest.raises(ValueError, match="not a path segment"):
        POD.path("ns", name)


def test_a_question_mark_in_a_name_is_no_query() -> None:
    assert POD.path("ns", "a?b=c#d%2f") == "/api/v1/namespaces/ns/pods/a%3Fb%3Dc%23d%252f"


def test_scope_must_fit() -> None:
    with pytest.raises(ValueError, match="cluster-scoped"):
        NODE.path("ns", "n1")
    with pytest.raises(ValueError, match="needs a namespace"):
        POD.path(name="p")


def test_resources_are_found_by_kind_and_extended_without_changing_the_original() -> None:
    widget = Resource("example.com", "v1", "widgets", "Widget")
    more = BUILT_IN.with_(widget)
    assert more.of("example.com/v1", "Widget") is widget
    assert more.of("v1", "Pod") is POD
    with pytest.raises(KeyError):
        BUILT_IN.of("example.com/v1", "Widget")
    assert len(list(more)) == len(list(BUILT_IN)) + 1
