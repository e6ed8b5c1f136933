from __future__ import annotations

from gpu_tenancy.render.namespace import namespace, owner_reference, refers_to_tenant


def rendered(**changed):
    fields = {
        "tenant": "neura",
        "placement": "EU",
        "default_pool": None,
        "suspended": False,
        "pod_security": "Restricted",
        "allowed": {"gpu-tenancy.dev/accelerators": {"nvidia.com/mig-1g.23gb", "nvidia.com/gpu"}},
    }
    return namespace("train", **(fields | changed))["metadata"]


def test_a_namespace_says_whose_it_is_where_its_pods_run_and_what_they_may_be():
    assert rendered() == {
        "name": "train",
        "labels": {
            "app.kubernetes.io/managed-by": "gpu-tenancy",
            "gpu-tenancy.dev/tenant": "neura",
            "gpu-tenancy.dev/placement": "EU",
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "v1.34",
            "pod-security.kubernetes.io/warn": "restricted",
            "pod-security.kubernetes.io/warn-version": "v1.34",
            "pod-security.kubernetes.io/audit": "restricted",
            "pod-security.kubernetes.io/audit-version": "v1.34",
        },
        "annotations": {"gpu-tenancy.dev/accelerators": "nvidia.com/gpu,nvidia.com/mig-1g.23gb"},
    }


def test_labels_that_say_something_special_are_there_only_then():
    labels = rendered(default_pool="b200", suspended=True, pod_security="Baseline")["labels"]
    assert labels["gpu-tenancy.dev/default-pool"] == "b200"
    assert labels["gpu-tenancy.dev/suspended"] == "true"
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"


def test_only_references_to_tenants_are_ours():
    assert refers_to_tenant(owner_reference("neura", "1"))
    assert not refers_to_tenant({"apiVersion": "gpu-tenancy.dev/v1alpha1", "kind": "GpuPool", "name": "x", "uid": "2"})
    assert not refers_to_tenant({"apiVersion": "example.com/v1", "kind": "IndustrialTenant", "name": "x", "uid": "2"})
