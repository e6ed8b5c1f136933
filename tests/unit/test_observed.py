"""What is kept of an object, and which differences between two versions of it mean something."""

from __future__ import annotations

from typing import Any

from gpu_tenancy.reconcile.observed import Observed


def observed(name: str, version: int, used: str = "0", **metadata: Any) -> Observed:
    hard = {"requests.nvidia.com/gpu": "8"}
    metadata |= {"name": name, "namespace": "train", "uid": "u1", "resourceVersion": str(version)}
    raw = {
        "metadata": {**metadata, "managedFields": [{"manager": "somebody", "time": str(version)}]},
        "spec": {"hard": hard},
        "status": {"hard": hard, "used": dict.fromkeys(hard, used)},
    }
    return Observed.of(raw, "v1", "ResourceQuota")


def test_an_object_is_kept_without_what_others_say_of_it() -> None:
    one = observed("gpu-tenancy-base", 1, labels={"a": "b"})

    assert one.manifest == {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "gpu-tenancy-base", "namespace": "train", "uid": "u1", "labels": {"a": "b"}},
        "spec": {"hard": {"requests.nvidia.com/gpu": "8"}},
    }
    assert (one.resource_version, one.labels, one.counted) == ("1", {"a": "b"}, True)


def test_another_version_of_the_same_is_no_difference() -> None:
    assert observed("gpu-tenancy-base", 1) == observed("gpu-tenancy-base", 2)
    assert observed("gpu-tenancy-base", 1) != observed("gpu-tenancy-base", 2, labels={"a": "b"})


def test_use_makes_a_difference_only_where_gpus_of_a_class_are_counted() -> None:
    assert observed("gpu-tenancy-base", 1) == observed("gpu-tenancy-base", 2, used="3")
    assert observed("gpu-b200-guaranteed", 1) != observed("gpu-b200-guaranteed", 2, used="3")


def test_a_quota_counts_once_its_limits_are_counted_and_at_once_if_it_has_none() -> None:
    def counted(hard: dict, status: dict) -> bool:
        metadata = {"name": "gpu-other", "namespace": "lab", "uid": "u", "resourceVersion": "1"}
        raw = {"metadata": metadata, "spec": {"hard": hard} if hard else {}, "status": status}
        return Observed.of(raw, "v1", "ResourceQuota").counted

    assert not counted({"pods": "1"}, {})
    assert not counted({"pods": "1"}, {"hard": {"pods": "2"}})
    assert counted({"pods": "1"}, {"hard": {"pods": "1"}})
    assert counted({}, {})
