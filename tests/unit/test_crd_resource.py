"""Stored objects read into the models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from api_examples import SPECS, STATUSES
from gpu_tenancy.api import GPU_POOL, GPU_RESERVATION, KINDS
from gpu_tenancy.api.resource import InvalidObject, parse


def stored(kind: str, **changes: Any) -> dict[str, Any]:
    metadata = {
        "name": "b200",
        "uid": "0f6b",
        "generation": 3,
        "resourceVersion": "17",
        "creationTimestamp": "2026-11-22T09:00:00Z",
    }
    return {
        "metadata": metadata | changes.pop("metadata", {}),
        "spec": SPECS[kind][0],
        "status": STATUSES[kind][0],
    } | changes


def test_metadata_is_read_into_fields() -> None:
    pool = parse(GPU_POOL, stored("GpuPool"))
    assert (pool.name, pool.namespace, pool.uid, pool.generation, pool.resource_version, pool.deleting) == (
        *("b200", "", "0f6b", 3, "17"),
        False,
    )
    assert pool.creation_timestamp == datetime(2026, 11, 22, 9, tzinfo=UTC)
    assert (pool.spec.headroom, pool.status.usable) == (16, 9984)


def test_a_namespace_and_a_deletion_that_has_begun_are_read() -> None:
    metadata = {"namespace": "neura-train", "deletionTimestamp": "2026-11-22T10:00:00Z"}
    reservation = parse(GPU_RESERVATION, stored("GpuReservation", metadata=metadata))
    assert (reservation.namespace, reservation.deleting) == ("neura-train", True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_fields_of_a_newer_schema_are_passed_over(kind: Any) -> None:
    raw = stored(kind.kind)
    newer = raw | {"spec": raw["spec"] | {"newer": {"a": 1}}, "status": raw["status"] | {"newer": None}}
    newer["status"]["conditions"] = [condition | {"newer": 1} for condition in raw["status"]["conditions"]]
    assert parse(kind, newer) == parse(kind, raw)


def test_no_status_and_one_of_another_version_read_as_empty() -> None:
    empty = parse(GPU_POOL, stored("GpuPool", status={})).status
    without = stored("GpuPool")
    del without["status"]
    assert parse(GPU_POOL, without).status == empty
    assert parse(GPU_POOL, stored("GpuPool", status={"usable": "many"})).status == empty


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"gpus": 0}, "spec.gpus", "Input should be greater than or equal to 1"),
        ({"window": {}}, "spec.window", "a window has start with either end or duration, or else notBefore"),
        ({"window": {"start": 5}}, "spec.window.start", "Input should be a valid datetime"),
        ({"pool": None}, "spec.pool", "Field required"),
    ],
)
def test_a_spec_that_does_not_validate_is_an_error_with_path_and_message(
    spec: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(InvalidObject) as error:
        parse(GPU_RESERVATION, stored("GpuReservation", spec=SPECS["GpuReservation"][0] | spec))
    assert error.value.path == path
    assert error.value.message.startswith(message)
    assert str(error.value).startswith(f"{path}: {message}")


def test_the_path_of_an_error_counts_items_of_lists() -> None:
    spec = SPECS["GpuPool"][0]
    backwards = {"start": "2027-01-02T00:00:00Z", "end": "2027-01-01T00:00:00Z", "gpus": 1}
    raw = stored("GpuPool", spec=spec | {"maintenance": [*spec["maintenance"], backwards]})
    with pytest.raises(InvalidObject, match=r"^spec\.maintenance\[1\]: start is before end$"):
        parse(GPU_POOL, raw)


def test_no_spec_and_a_name_that_breaks_a_rule_are_errors() -> None:
    without = stored("GpuPool")
    del without["spec"]
    with pytest.raises(InvalidObject, match=r"^spec: "):
        parse(GPU_POOL, without)
    with pytest.raises(InvalidObject, match=r"^metadata\.name: the name becomes part of labels"):
        parse(GPU_POOL, stored("GpuPool", metadata={"name": "a.b"}))
