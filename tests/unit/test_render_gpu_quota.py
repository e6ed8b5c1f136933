from __future__ import annotations

from gpu_tenancy.render.gpu_quota import class_quota, closing_quota

ACCELERATORS = ("nvidia.com/gpu", "nvidia.com/mig-1g.23gb")


def test_a_class_quota_counts_its_class_and_closes_every_other_accelerator():
    assert class_quota("train", "gpu-b200-spot", ACCELERATORS, {"nvidia.com/gpu": 64})["spec"] == {
        "hard": {"requests.nvidia.com/gpu": "64", "requests.nvidia.com/mig-1g.23gb": "0"},
        "scopeSelector": {
            "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["gpu-b200-spot"]}]
        },
    }


def test_the_closing_quota_gives_nothing_to_any_other_class():
    assert closing_quota("train", ACCELERATORS, ["gpu-b200-spot", "gpu-b200-guaranteed"])["spec"] == {
        "hard": {"requests.nvidia.com/gpu": "0", "requests.nvidia.com/mig-1g.23gb": "0"},
        "scopeSelector": {
            "matchExpressions": [
                {
                    "scopeName": "PriorityClass",
                    "operator": "NotIn",
                    "values": ["gpu-b200-guaranteed", "gpu-b200-spot"],
                }
            ]
        },
    }


def test_the_closing_quota_of_a_namespace_without_classes_closes_them_all():
    (expression,) = closing_quota("train", ACCELERATORS, [])["spec"]["scopeSelector"]["matchExpressions"]
    assert expression["operator"] == "NotIn"
    assert expression["values"] == ["gpu-other"]
