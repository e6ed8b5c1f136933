"""A merge patch brings an object in line in one step, and touches nothing that is not ours."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpu_tenancy.reconcile.diff import OWNED, merge_patch

Raw = dict[str, Any]


def apply(target: Any, patch: Any) -> Any:
    """RFC 7386, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = apply(target.get(key), value)
    return target


KEYS = st.sampled_from(["a", "b", "c", "gpu-tenancy.dev/x", "pod-security.kubernetes.io/enforce", "other/x"])
SCALARS = st.integers(0, 2) | st.sampled_from(["1", "1000m", "2", "text"])


# With a name, since hypothesis parses a lambda to tell of it, which CPython 3.11 sometimes fails at this deep
# (SystemError: AST constructor recursion depth mismatch; python/cpython#106905).
def maps(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Raw]:
    return st.dictionaries(KEYS, inner, max_size=3)


VALUES = st.recursive(SCALARS | st.lists(SCALARS, max_size=2), maps, max_leaves=6)
LABELS = st.dictionaries(KEYS, st.sampled_from(["v", "w"]), max_size=4)
MAPS = maps(VALUES)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Raw, Raw]:
    """An observed object and a desired one of the same kind."""
    kind = draw(st.sampled_from([*OWNED, "Namespace", "PriorityClass"]))
    both = []
    for _ in range(2):
        spec = {"hard": draw(MAPS)} if kind == "ResourceQuota" else draw(MAPS)
        metadata = {"name": "n", "labels": draw(LABELS), "annotations": draw(LABELS)}
        body = {"kind": kind, "metadata": metadata, "spec": spec, "subjects": draw(st.lists(SCALARS, max_size=2))}
        for key in draw(st.sets(st.sampled_from(["spec", "subjects"]))):
            del body[key]
        both.append(body)
    return both[0], both[1]


@given(pairs())
@example(
    ({"kind": "ResourceQuota", "spec": {"hard": {"a": {}}}}, {"kind": "ResourceQuota", "spec": {"hard": {"a": []}}})
)
def test_one_patch_is_enough(pair: tuple[Raw, Raw]) -> None:
    observed, desired = pair
    patch = merge_patch(observed, desired)
    if patch is not None:
        assert patch
        assert merge_patch(apply(observed, patch), desired) is None


@given(pairs())
def test_an_object_that_is_as_desired_needs_no_patch(pair: tuple[Raw, Raw]) -> None:
    _, desired = pair
    assert merge_patch(copy.deepcopy(desired), desired) is None
    more = copy.deepcopy(desired) | {"status": {"used": {}}}
    more["metadata"] |= {"uid": "u", "resourceVersion": "1", "managedFields": []}
    assert merge_patch(more, desired) is None


@given(pairs())
def test_neither_side_is_changed_by_comparing(pair: tuple[Raw, Raw]) -> None:
    before = copy.deepcopy(pair)
    merge_patch(*pair)
    assert pair == before


@given(pairs())
def test_foreign_labels_stay_and_ours_are_exactly_as_desired(pair: tuple[Raw, Raw]) -> None:
    observed, desired = pair
    after = apply(observed, merge_patch(observed, desired) or {})
    for field in ("labels", "annotations"):
        ours = {k: v for k, v in after["metadata"][field].items() if not k.startswith(("a", "b", "c", "other/"))}
        want = {k: v for k, v in desired["metadata"][field].items() if not k.startswith(("a", "b", "c", "other/"))}
        assert ours == want
        foreign = {k: v for k, v in observed["metadata"][field].items() if k.startswith("other/")}
        assert foreign.items() <= (after["metadata"][field] | foreign).items()
        assert foreign.keys() <= after["metadata"][field].keys()


def namespaced(kind: str, **fields: Any) -> Raw:
    return {"kind": kind, "metadata": {"name": "n"}} | fields


def test_a_key_that_was_added_to_a_quota_goes() -> None:
    observed = namespaced("ResourceQuota", spec={"hard": {"cpu": "8", "nvidia.com/gpu": "99"}})
    desired = namespaced("ResourceQuota", spec={"hard": {"cpu": "8"}})
    assert merge_patch(observed, desired) == {"spec": {"hard": {"nvidia.com/gpu": None}}}


def test_a_scope_that_was_added_to_a_quota_goes() -> None:
    observed = namespaced("ResourceQuota", spec={"hard": {"cpu": "8"}, "scopes": ["Terminating"]})
    assert merge_patch(observed, namespaced("ResourceQuota", spec={"hard": {"cpu": "8"}})) == {"spec": {"scopes": None}}


def test_an_empty_selector_that_was_narrowed_is_widened_again() -> None:
    observed = namespaced("NetworkPolicy", spec={"podSelector": {"matchLabels": {"app": "x"}}})
    desired = namespaced("NetworkPolicy", spec={"podSelector": {}})
    assert merge_patch(observed, desired) == {"spec": {"podSelector": {"matchLabels": None}}}


def test_a_peer_that_was_widened_is_replaced() -> None:
    observed = namespaced("NetworkPolicy", spec={"ingress": [{"from": [{"podSelector": {}, "namespaceSelector": {}}]}]})
    ingress = [{"from": [{"podSelector": {}}]}]
    assert merge_patch(observed, namespaced("NetworkPolicy", spec={"ingress": ingress})) == {
        "spec": {"ingress": ingress}
    }


def test_subjects_that_nobody_wants_go() -> None:
    assert merge_patch(namespaced("RoleBinding", subjects=[{"name": "eve"}]), namespaced("RoleBinding")) == {
        "subjects": None
    }
    assert merge_patch(namespaced("RoleBinding"), namespaced("RoleBinding", subjects=[])) is None


def test_the_spec_of_other_kinds_is_shared() -> None:
    assert (
        merge_patch(namespaced("Namespace", spec={"finalizers": ["kubernetes"]}), namespaced("Namespace", spec={}))
        is None
    )


@pytest.mark.parametrize(
    ("observed", "desired"),
    [
        (
            namespaced("ResourceQuota", spec={"hard": {"cpu": "1"}}),
            namespaced("ResourceQuota", spec={"hard": {"cpu": "1000m"}}),
        ),
        (
            namespaced("LimitRange", spec={"limits": [{"type": "Container", "default": {"memory": "1Gi"}}]}),
            namespaced("LimitRange", spec={"limits": [{"type": "Container", "default": {"memory": "1024Mi"}}]}),
        ),
    ],
)
def test_quantities_are_compared_as_numbers(observed: Raw, desired: Raw) -> None:
    assert merge_patch(observed, desired) is None


def test_only_quantities_are_compared_as_numbers() -> None:
    observed = namespaced("ConfigMap", data={"cpu": "1"})
    assert merge_patch(observed, namespaced("ConfigMap", data={"cpu": "1000m"})) == {"data": {"cpu": "1000m"}}


def test_a_limit_that_differs_replaces_the_list() -> None:
    observed = namespaced("LimitRange", spec={"limits": [{"type": "Container", "max": {"cpu": "1"}}]})
    limits = [{"type": "Pod", "max": {"cpu": "1"}}]
    assert merge_patch(observed, namespaced("LimitRange", spec={"limits": limits})) == {"spec": {"limits": limits}}


def test_a_key_that_is_desired_to_be_absent_goes_if_it_is_there() -> None:
    desired = namespaced("Job", spec={"suspend": None, "parallelism": 2})
    assert merge_patch(namespaced("Job", spec={"suspend": True, "parallelism": 2}), desired) == {
        "spec": {"suspend": None}
    }
    assert merge_patch(namespaced("Job", spec={"parallelism": 2}), desired) is None
