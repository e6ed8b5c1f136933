from __future__ import annotations

from gpu_tenancy.domain.quantity import parse
from gpu_tenancy.render.base_quota import base_quota
from gpu_tenancy.render.limit_range import limit_range


def test_containers_that_say_nothing_get_all_that_the_base_quota_asks_for():
    (item,) = limit_range("train")["spec"]["limits"]
    asked = {key for key in base_quota("train", {}, suspended=False, own={})["spec"]["hard"] if "." in key}
    given = {f"requests.{name}" for name in item["defaultRequest"]} | {f"limits.{name}" for name in item["default"]}
    pod_resources = {
        f"{kind}.{name}" for kind in ("requests", "limits") for name in ("cpu", "memory", "ephemeral-storage")
    }
    assert given == asked & pod_resources


def test_a_default_request_fits_under_its_default_limit():
    (item,) = limit_range("train")["spec"]["limits"]
    for name, amount in item["defaultRequest"].items():
        assert parse(amount) <= parse(item["default"][name])


def test_nothing_is_said_of_gpus_and_nothing_has_a_maximum():
    (item,) = limit_range("train")["spec"]["limits"]
    assert item.keys() == {"type", "default", "defaultRequest"}
    assert not any("/" in name for name in (*item["default"], *item["defaultRequest"]))
