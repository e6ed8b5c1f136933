"""Failures are told apart by what has to be done about them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gpu_tenancy.kube.errors import ApiError, ApiUnavailableError, Cause


def error(code: int, reason: str = "", *causes: str, **details: Any) -> ApiError:
    listed = [{"reason": cause, "message": "why", "field": "spec.x"} for cause in causes]
    status = {
        "kind": "Status",
        "code": code,
        "reason": reason,
        "message": "no",
        "details": {"causes": listed, **details},
    }
    return ApiError.of_response(code, {}, orjson.dumps(status))


def test_a_status_object_is_read_whole() -> None:
    one = error(422, "Invalid", "FieldValueInvalid")
    assert (one.status, one.reason, one.message) == (422, "Invalid", "no")
    assert one.causes == (Cause("FieldValueInvalid", "why", "spec.x"),)
    assert str(one) == "422 Invalid: no"


def test_a_body_that_is_no_status_object_is_quoted_in_part() -> None:
    one = ApiError.of_response(502, {}, b"<html>" + b"x" * 10_000 + b"\xff")
    assert one.message.startswith("<html>x")
    assert len(one.message) == 300
    assert ApiError.of_response(500, {}, b'["json"]').message == '["json"]'


def test_null_details_are_no_details() -> None:
    assert ApiError.of_status({"code": 410, "details": None, "reason": None, "message": None}).causes == ()


def test_retry_after_comes_from_the_header_else_from_the_details() -> None:
    assert error(429, retryAfterSeconds=3).retry_after == 3
    body = orjson.dumps({"kind": "Status", "details": {"retryAfterSeconds": 3}})
    assert ApiError.of_response(429, {"Retry-After": "7"}, body).retry_after == 7
    assert ApiError.of_response(429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"").retry_after is None


PROPERTIES = {
    "is_not_found": [error(404, "NotFound")],
    "is_already_exists": [error(409, "AlreadyExists")],
    "is_conflict": [error(409, "Conflict")],
    "is_expired": [error(410, "Expired"), error(410, "Gone")],
    "is_unauthorized": [error(401, "Unauthorized")],
    "is_throttled": [error(429, "TooManyRequests")],
    "is_disruption_refused": [error(429, "TooManyRequests", "DisruptionBudget")],
    "is_namespace_terminating": [error(403, "Forbidden", "NamespaceTerminating")],
}
ALL = [one for group in PROPERTIES.values() for one in group] + [error(403, "Forbidden"), error(500), error(400)]


@pytest.mark.parametrize("name", PROPERTIES)
def test_each_property_holds_for_its_errors_alone(name: str) -> None:
    assert [one for one in ALL if getattr(one, name)] == PROPERTIES[name]


@pytest.mark.parametrize("code", [401, 408, 409, 410, 429, 500, 502, 503, 504])
def test_these_may_pass(code: int) -> None:
    assert error(code).is_transient


@pytest.mark.parametrize("code", [400, 403, 404, 405, 413, 415, 422])
def test_these_do_not_pass_by_themselves(code: int) -> None:
    assert not error(code).is_transient


def test_nothing_can_be_created_in_a_dying_namespace_now_but_maybe_later() -> None:
    assert error(403, "Forbidden", "NamespaceTerminating").is_transient


def test_a_server_error_leaves_open_whether_the_write_was_done() -> None:
    assert error(500).maybe_written
    assert error(504).maybe_written
    assert not error(409, "Conflict").maybe_written
    assert not error(429).maybe_written


@pytest.mark.parametrize(
    ("sent", "write", "maybe"), [(True, True, True), (True, False, False), (False, True, False), (False, False, False)]
)
def test_only_a_write_that_was_sent_may_have_been_done(sent: bool, write: bool, maybe: bool) -> None:
    assert ApiUnavailableError("cut", sent=sent, write=write).maybe_written is maybe
