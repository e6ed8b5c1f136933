"""Simulated nodes look like those of a real cluster with NVIDIA's operator."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from gpu_tenancy.localcluster.hardware import MACHINES, Place, node

LABEL_VALUE = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
NOW = datetime(2026, 12, 1, 20, tzinfo=UTC)
GPU_MACHINES = [machine for machine in MACHINES.values() if machine.gpu]


def build(model: str, number: int = 1, *, region: str = "eu-de", zone: str = "", mig: str = ""):
    return node(MACHINES[model], Place(region, zone, mig), number, "1.36.3", NOW)


@pytest.mark.parametrize(
    ("model", "product", "gpus", "architecture", "compute"),
    [
        ("dgx-b200", "NVIDIA-B200", "8", "amd64", "10"),
        ("dgx-gb200", "NVIDIA-GB200", "4", "arm64", "10"),
        ("rtx-pro", "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "8", "amd64", "12"),
    ],
)
def test_a_gpu_node_has_the_labels_of_feature_discovery(model, product, gpus, architecture, compute):
    made = build(model)
    labels = made["metadata"]["labels"]
    assert labels["nvidia.com/gpu.product"] == product
    assert labels["nvidia.com/gpu.count"] == gpus
    assert labels["nvidia.com/gpu.family"] == "blackwell"
    assert labels["nvidia.com/gpu.compute.major"] == compute
    assert labels["nvidia.com/gpu.replicas"] == "1"
    assert labels["nvidia.com/gpu.present"] == "true"
    assert labels["nvidia.com/mig.strategy"] == "mixed"
    assert labels["kubernetes.io/arch"] == made["status"]["nodeInfo"]["architecture"] == architecture
    assert made["status"]["capacity"]["nvidia.com/gpu"] == gpus
    assert made["status"]["allocatable"]["nvidia.com/gpu"] == gpus


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.name)
def test_labels_are_valid_and_the_node_can_host_pods(machine):
    layouts = ["", *(f"all-{profile}" for profile in (machine.gpu.mig if machine.gpu else ())), "all-balanced"]
    for mig in layouts if machine.gpu else [""]:
        made = build(machine.name, 12345, region="eu-central-2-a-long-name", zone="eu-central-2-a", mig=mig)
        for key, value in made["metadata"]["labels"].items():
            assert LABEL_VALUE.match(value), (key, value)
            assert len(key.rpartition("/")[2]) <= 63
        status = made["status"]
        assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"
        assert int(status["allocatable"]["cpu"]) < int(status["capacity"]["cpu"])
        assert made["metadata"]["annotations"] == {"kwok.x-k8s.io/node": "fake"}


def test_a_node_says_where_it_is():
    labels = build("dgx-b200", region="eu-nl", zone="eu-nl-1")["metadata"]["labels"]
    assert labels["topology.kubernetes.io/region"] == "eu-nl"
    assert labels["topology.kubernetes.io/zone"] == "eu-nl-1"
    assert "topology.kubernetes.io/zone" not in build("dgx-b200")["metadata"]["labels"]


def test_names_tell_region_model_and_number_and_nothing_changes_from_run_to_run():
    assert build("dgx-gb200", 7)["metadata"]["name"] == "eu-de-dgx-gb200-0007"
    assert build("dgx-gb200", 7) == build("dgx-gb200", 7)


def test_a_node_without_gpus_names_none():
    made = build("cpu")
    assert not [key for key in made["metadata"]["labels"] if "nvidia" in key]
    assert not [key for key in made["status"]["capacity"] if "nvidia" in key]
    with pytest.raises(ValueError, match="no GPUs"):
        build("cpu", mig="all-balanced")


def test_18_trays_in_a_row_share_an_nvlink_domain():
    cliques = [build("dgx-gb200", number)["metadata"]["labels"]["nvidia.com/gpu.clique"] for number in range(1, 55)]
    assert [len(set(cliques[start : start + 18])) for start in (0, 18, 36)] == [1, 1, 1]
    assert len(set(cliques)) == 3
    elsewhere = build("dgx-gb200", 1, region="eu-nl")["metadata"]["labels"]["nvidia.com/gpu.clique"]
    assert elsewhere not in cliques
    assert re.match(r"^[0-9a-f-]{36}\.\d+$", cliques[0])


@pytest.mark.parametrize("model", ["dgx-b200", "rtx-pro"])
def test_other_machines_are_in_no_nvlink_domain_with_their_neighbours(model):
    assert "nvidia.com/gpu.clique" not in build(model)["metadata"]["labels"]


@pytest.mark.parametrize(
    ("model", "mig", "resources"),
    [
        ("dgx-b200", "all-1g.23gb", {"nvidia.com/mig-1g.23gb": "56"}),
        ("dgx-b200", "all-7g.180gb", {"nvidia.com/mig-7g.180gb": "8"}),
        ("dgx-gb200", "all-1g.47gb", {"nvidia.com/mig-1g.47gb": "16"}),
        ("rtx-pro", "all-1g.24gb.gfx", {"nvidia.com/mig-1g.24gb.gfx": "32"}),
        ("rtx-pro", "all-1g.24gb-me", {"nvidia.com/mig-1g.24gb-me": "32"}),
        (
            "dgx-b200",
            "all-balanced",
            {"nvidia.com/mig-1g.23gb": "16", "nvidia.com/mig-2g.45gb": "8", "nvidia.com/mig-3g.90gb": "8"},
        ),
    ],
)
def test_mig_profiles_replace_whole_gpus(model, mig, resources):
    made = build(model, mig=mig)
    for amounts in (made["status"]["capacity"], made["status"]["allocatable"]):
        assert {key: value for key, value in amounts.items() if "nvidia" in key} == resources
    labels = made["metadata"]["labels"]
    assert labels["nvidia.com/mig.config"] == mig
    assert labels["nvidia.com/mig.config.state"] == "success"
    assert labels["nvidia.com/gpu.replicas"] == "0"
    assert {f"{key}.count": value for key, value in resources.items()}.items() <= labels.items()


@pytest.mark.parametrize("mig", ["all-2g.48gb", "1g.23gb", "all-", "all", "all-1g.23gb+me"])
def test_a_layout_that_the_gpu_does_not_have_is_refused_with_those_that_it_has(mig):
    with pytest.raises(ValueError, match=r"choose from all-balanced, all-1g.23gb"):
        build("dgx-b200", mig=mig)


@pytest.mark.parametrize("machine", GPU_MACHINES, ids=lambda machine: machine.name)
def test_no_layout_cuts_more_slices_than_a_gpu_has(machine):
    slices = 4 if machine.name == "rtx-pro" else 7
    for layout in ("all-balanced", *(f"all-{profile}" for profile in machine.gpu.mig)):
        used = sum(int(profile[0]) * count for profile, count in machine.gpu.layout(layout).items())
        assert 0 < used <= slices
