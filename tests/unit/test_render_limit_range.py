from __future__ import annotations

from gpu_tenancy.render.base_quota import base_quota
from gpu_tenancy.render.limit_range import limit_range


def test_containers_that_say_nothing_get_all_that_the_base_quota_asks_for():
    (item,) = limit_range("train")["spec"]["limits"]
    asked = base_quota("train", {}, suspended=False, own={})["spec"]["hard"].keys()
    of_pods = {f"requests.{name}" for name in ("cpu", "memory", "ephemeral-storage")}
    assert {f"requests.{name}" for name in item["defaultRequest"]} == asked & of_pods


def test_nothing_is_said_of_gpus_and_nothing_is_limited():
    (item,) = limit_range("train")["spec"]["limits"]
    assert item.keys() == {"type", "defaultRequest"}
    assert not any("/" in name for name in item["defaultRequest"])
