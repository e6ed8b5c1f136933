from __future__ import annotations

from gpu_tenancy.api.tenant import Owner
from gpu_tenancy.render.role_binding import of_tenants, role_bindings

RBAC = "rbac.authorization.k8s.io"


def test_each_role_that_somebody_has_gets_one_binding_to_the_charts_cluster_role():
    owners = [
        Owner(kind="User", name="eva", role="Editor"),
        Owner(kind="Group", name="admins", role="Owner"),
        Owner(kind="ServiceAccount", name="gitops", namespace="flux-system", role="Editor"),
    ]
    owner, editor = role_bindings("train", owners)
    assert owner["metadata"]["name"] == "gpu-tenancy-owner"
    assert owner["roleRef"] == {"apiGroup": RBAC, "kind": "ClusterRole", "name": "gpu-tenancy-owner"}
    assert owner["subjects"] == [{"kind": "Group", "name": "admins", "apiGroup": RBAC}]
    assert editor["metadata"]["name"] == "gpu-tenancy-editor"
    assert editor["subjects"] == [
        {"kind": "ServiceAccount", "name": "gitops", "namespace": "flux-system"},
        {"kind": "User", "name": "eva", "apiGroup": RBAC},
    ]


def test_a_role_of_two_words_is_named_as_the_chart_names_it():
    (binding,) = role_bindings("train", [Owner(kind="User", name="planner", role="ReservationUser")])
    assert binding["metadata"]["name"] == binding["roleRef"]["name"] == "gpu-tenancy-reservation-user"


def test_nobody_gets_no_binding():
    assert role_bindings("train", []) == []


def test_owners_hand_out_the_charts_roles_and_roles_of_the_namespace():
    assert of_tenants({"kind": "ClusterRole", "name": "gpu-tenancy-viewer"})
    assert of_tenants({"kind": "Role", "name": "mine"})
    assert not of_tenants({"kind": "ClusterRole", "name": "gpu-tenancy-operator"})
    assert not of_tenants({"kind": "ClusterRole", "name": "view"})


def test_the_same_name_in_two_namespaces_is_two_subjects():
    owners = [Owner(kind="ServiceAccount", name="owner", namespace=namespace) for namespace in ("b", "a")]
    (binding,) = role_bindings("train", owners)
    assert [subject["namespace"] for subject in binding["subjects"]] == ["a", "b"]


def test_the_order_of_owners_changes_nothing():
    owners = [Owner(kind="User", name=name) for name in ("c", "a", "b")]
    assert role_bindings("train", owners) == role_bindings("train", owners[::-1])


def test_somebody_with_namespaces_works_there_and_nowhere_else():
    owners = [
        Owner(kind="User", name="student-1", namespaces=["seat-1"]),
        Owner(kind="User", name="teacher"),
        Owner(kind="User", name="tutor", namespaces=["seat-1", "seat-2"]),
    ]
    named = {
        seat: [subject["name"] for binding in role_bindings(seat, owners) for subject in binding["subjects"]]
        for seat in ("seat-1", "seat-2", "seat-3")
    }
    assert named == {"seat-1": ["student-1", "teacher", "tutor"], "seat-2": ["teacher", "tutor"], "seat-3": ["teacher"]}
