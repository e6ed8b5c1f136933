"""A tenant's objects leave a cluster as manifests that say what people said, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gpu_tenancy.api.tenant import IndustrialTenantSpec
from gpu_tenancy.cli.documents import Format, manifests, text
from gpu_tenancy.cli.main import app
from gpu_tenancy.domain.export import export, pools_of, regions_of
from tenant_world import POOLS, REGIONS

API = "gpu-tenancy.dev/v1alpha1"


def stored(kind: str, name: str, namespace: str = "", created: str = "2026-12-01T08:00:00Z", **metadata: Any) -> Any:
    """An object as an API server gives it out."""
    place = {"namespace": namespace} if namespace else {}
    said = {
        "name": name,
        **place,
        "uid": f"uid-{name}",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": created,
        "managedFields": [{"manager": "kubectl"}],
        **metadata,
    }
    return {"apiVersion": API, "kind": kind, "metadata": said, "spec": {"pool": "b200"}, "status": {"nodes": 1}}


def test_only_what_people_said_is_left() -> None:
    annotations = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "gpu-tenancy.dev/anything": "ours",
        "example.com/contact": "ada",
    }
    raw = stored(
        "GpuReservation",
        "night",
        "lab",
        labels={"team": "a"},
        annotations=annotations,
        finalizers=["example.com/x"],
        generateName="night-",
    )

    (manifest,) = export([raw])

    assert manifest == {
        "apiVersion": API,
        "kind": "GpuReservation",
        "metadata": {
            "name": "night",
            "namespace": "lab",
            "labels": {"team": "a"},
            "annotations": {"example.com/contact": "ada"},
        },
        "spec": {"pool": "b200"},
    }


def test_what_others_build_on_comes_first_and_reservations_in_the_order_in_which_they_were_made() -> None:
    objects = [
        stored("GpuReservation", "a", "lab", "2026-12-01T08:00:02Z"),
        stored("GpuReservation", "b", "lab", "2026-12-01T08:00:01Z"),
        stored("TenantPeering", "partner", "lab"),
        stored("IndustrialTenant", "neura"),
        stored("GpuPool", "b200"),
        stored("Region", "eu-nl", created="2026-12-01T07:00:00Z"),
        stored("Region", "eu-de"),
    ]
    names = [one["metadata"]["name"] for one in export(objects)]
    assert names == ["eu-de", "eu-nl", "b200", "neura", "partner", "b", "a"]


def test_what_another_object_of_ours_made_is_left_to_it() -> None:
    owner = {"apiVersion": API, "kind": "GpuReservation", "name": "weekly", "uid": "1", "controller": True}
    other = owner | {"apiVersion": "example.com/v1"}
    made = stored("GpuReservation", "weekly-1", "lab", ownerReferences=[owner])
    kept = stored("GpuReservation", "ci", "lab", ownerReferences=[other])
    assert [one["metadata"]["name"] for one in export([made, kept])] == ["ci"]


def tenant(**fields: Any) -> IndustrialTenantSpec:
    return IndustrialTenantSpec.model_validate(fields)


def test_a_tenant_refers_to_the_pools_that_it_and_its_reservations_name() -> None:
    spec = tenant(namespaces=[{"name": "lab", "defaultPool": "b200"}], gpus=[{"pool": "mig"}])
    assert pools_of(spec, ["swiss"]) == {"b200", "mig", "swiss"}


@pytest.mark.parametrize(
    ("residency", "regions"),
    [
        (None, {"eu-de"}),
        ({"jurisdictions": ["EU"]}, {"eu-de", "eu-nl"}),
        ({"regions": ["eu-ch2", "gone"]}, {"eu-de", "eu-ch2"}),
    ],
)
def test_a_tenant_refers_to_the_regions_of_its_pools_and_those_that_it_admits(residency: Any, regions: set) -> None:
    spec = tenant(**({"residency": residency} if residency else {}))
    assert regions_of(spec, [POOLS["b200"]], REGIONS) == regions


WORDS = ["no", "Off", "NULL", "1e3", "0o7", "1:30", "2026-12-01", "2026-12-01T08:00:00Z", ".5", "~", "", " x", "a: b"]


@pytest.mark.parametrize("word", WORDS)
def test_a_string_that_some_reader_takes_for_something_else_is_quoted(word: str) -> None:
    assert f'"{word}"' in text({"value": word}, Format.YAML)


def test_objects_are_a_stream_in_yaml_and_a_list_in_json() -> None:
    one = {"kind": "A", "same": {"x": 1}}
    assert list(yaml.safe_load_all(manifests([one, one], Format.YAML))) == [one, one]
    assert json.loads(manifests([one], Format.JSON)) == {"apiVersion": "v1", "kind": "List", "items": [one]}


def test_a_kubeconfig_that_cannot_be_used_is_said_without_a_traceback(tmp_path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text("apiVersion: v1\nkind: Config\n")
    result = CliRunner().invoke(app, ["export", "neura", "--kubeconfig", str(kubeconfig)])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
