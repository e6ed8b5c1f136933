from __future__ import annotations

from gpu_tenancy.api.tenant import GpuGrant, TenantNamespace
from gpu_tenancy.domain.grants import Share, shares, unassigned


def names(*entries: str | tuple[str, str]) -> list[TenantNamespace]:
    pairs = [(one, None) if isinstance(one, str) else one for one in entries]
    return [TenantNamespace(name=name, defaultPool=pool) for name, pool in pairs]


def grant(guaranteed: int = 0, spot: int = 0, **split: tuple[int, int | None]) -> GpuGrant:
    entries = [{"name": name, "guaranteed": one[0], "spot": one[1]} for name, one in split.items()]
    return GpuGrant.model_validate({"pool": "b200", "guaranteed": guaranteed, "spot": spot, "namespaces": entries})


def test_the_rest_goes_to_the_first_namespace_with_this_default_pool():
    split = shares(grant(32, 64), names("a", ("b", "b200"), ("c", "b200")))
    assert split == {"a": Share(), "b": Share(32, 64), "c": Share()}


def test_without_a_default_pool_the_rest_goes_to_the_first_namespace():
    assert shares(grant(32, 64), names("a", ("b", "other"))) == {"a": Share(32, 64), "b": Share()}


def test_what_is_said_holds_and_the_rest_goes_to_a_namespace_of_which_nothing_is_said():
    assert shares(grant(32, 64, a=(20, 4)), names(("a", "b200"), "b")) == {"a": Share(20, 4), "b": Share(12, 60)}


def test_a_share_that_says_nothing_of_spot_leaves_its_namespace_in_line_for_it():
    assert shares(grant(32, 64, a=(32, None)), names(("a", "b200"), "b")) == {"a": Share(32, 64), "b": Share()}


def test_what_is_said_of_every_namespace_may_leave_something_to_nobody():
    said = grant(32, 64, a=(20, 4), b=(2, 10))
    assert shares(said, names("a", "b")) == {"a": Share(20, 4), "b": Share(2, 10)}
    assert unassigned(said, names("a", "b")) == Share(10, 50)
    assert unassigned(grant(8, 1), []) == Share(8, 1)
    assert unassigned(grant(32, 64), names("a")) == Share()


def test_what_is_shared_is_everybodys_beyond_what_is_said():
    said = grant(32, 64, a=(8, None)).model_copy(update={"sharing": "Shared"})
    assert shares(said, names("a", "b")) == {"a": Share(8, 64, 24), "b": Share(0, 0, 24)}
    assert unassigned(said, names("a", "b")) == Share()
    assert unassigned(said, []) == Share(32, 64)
