"""What a failed plan means for the one who decides when to try again."""

from __future__ import annotations

import pytest

from gpu_tenancy.kube.errors import ApiError, ApiUnavailableError, KubeError
from gpu_tenancy.reconcile.plan import Ref
from gpu_tenancy.runtime.executor import ExecutionError, Failure

REF = Ref("v1", "ResourceQuota", "acme", "gpu")
OTHER = Ref("v1", "LimitRange", "acme", "defaults")

CONFLICTS = [ApiError(409, "Conflict", ""), ApiError(409, "AlreadyExists", ""), ApiError(404, "NotFound", "")]
TRANSIENT = [ApiError(429, "", ""), ApiError(500, "", ""), ApiUnavailableError("cut", sent=True, write=True)]
PERMANENT = [ApiError(422, "Invalid", ""), ApiError(403, "Forbidden", ""), ApiError(400, "BadRequest", "")]


@pytest.mark.parametrize("error", CONFLICTS)
def test_a_world_that_changed_is_a_conflict_and_heals(error: KubeError) -> None:
    one = ExecutionError((Failure(REF, error),))
    assert one.conflict
    assert one.transient


def test_a_kind_that_the_cluster_does_not_have_is_no_conflict_but_takes_somebody_to_change_it() -> None:
    missing = ExecutionError((Failure(REF, ApiError(404, "", "404 page not found"), unserved=True),))
    assert not missing.conflict
    assert not missing.transient


@pytest.mark.parametrize("error", TRANSIENT)
def test_what_heals_by_itself_is_transient(error: KubeError) -> None:
    one = ExecutionError((Failure(REF, error),))
    assert not one.conflict
    assert one.transient
    assert one.permanent == ()


@pytest.mark.parametrize("error", PERMANENT)
def test_a_refusal_is_permanent_beside_whatever_else(error: KubeError) -> None:
    refused = Failure(REF, error)
    one = ExecutionError((refused, Failure(OTHER, TRANSIENT[0])))
    assert one.permanent == (refused,)
    assert not one.transient


def test_the_longest_wait_that_was_asked_for_counts() -> None:
    waits = [ApiError(429, "", "", retry_after=3), ApiError(503, "", "", retry_after=7), ApiError(500, "", "")]
    assert ExecutionError(tuple(Failure(REF, error) for error in waits)).retry_after == 7
    assert ExecutionError((Failure(REF, TRANSIENT[0]),)).retry_after is None


def test_uncertain_objects_are_listed_and_the_message_names_all() -> None:
    one = ExecutionError((Failure(REF, TRANSIENT[2], uncertain=True), Failure(OTHER, PERMANENT[0])))
    assert one.uncertain == (REF,)
    assert str(one) == "ResourceQuota acme/gpu: cut; LimitRange acme/defaults: 422 Invalid: "
