"""What the documentation says about the code is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import gpu_tenancy
from gpu_tenancy.api import API_VERSION, KINDS
from gpu_tenancy.api.common import format_duration
from gpu_tenancy.api.pool import ReservationRules
from gpu_tenancy.domain import peering
from gpu_tenancy.domain.criteria import CRITERIA
from gpu_tenancy.domain.naming import TIER_PRIORITY, priority_class
from gpu_tenancy.domain.promises import Reason
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.observability.metrics import Metrics
from gpu_tenancy.reconcile import peerings, reservations, tenant_status
from gpu_tenancy.reconcile.drain import OVERRUN
from gpu_tenancy.reconcile.ownership import REFUSALS
from gpu_tenancy.render.base_quota import OWN_KINDS, base_quota
from gpu_tenancy.runtime.settings import PREFIX, Settings
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
ONE_WORD = re.compile(r"`([A-Z][A-Za-z]+)`")


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def section(name: str, title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    _, found, rest = page(name).partition(f"\n## {title}\n")
    assert found, f"docs/{name}.md has no section {title}"
    return rest.partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables in a text, without their heads."""
    tables = re.findall(r"^\|(?:---\|)+\n((?:\|.*\n)+)", text + "\n", re.MULTILINE)
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for table in tables for row in table.splitlines()
    ]


def anchors(path: Path) -> set[str]:
    """The names by which headings of a page are linked to."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[Path, str]]:
    for path in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            if not target.startswith("https://"):
                yield path, target


@pytest.mark.parametrize(("path", "target"), [pytest.param(*link, id=f"{link[0].name}:{link[1]}") for link in links()])
def test_every_link_leads_somewhere(path: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    destination = (path.parent / name).resolve() if name else path
    assert destination.exists()
    assert not anchor or anchor in anchors(destination)


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            for document in yaml.safe_load_all(block):
                if document.get("apiVersion") == API_VERSION:
                    yield path.name, document


def test_the_models_accept_every_object_that_is_shown() -> None:
    kinds = {kind.kind: kind for kind in KINDS}
    shown = list(manifests())
    for _, document in shown:
        kinds[document["kind"]].spec.model_validate(document["spec"])
    assert shown


def spelled(value: object) -> str:
    """A default as it is written in an environment variable."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ",".join(f"{key}={text}" for key, text in value.items())
    return (
        ",".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def test_the_settings_are_listed_with_their_defaults() -> None:
    listed = {row[0].strip("`"): row[1].strip("`") for row in rows(section("operations", "Settings"))}
    defaults = Settings().model_dump()
    assert listed == {f"{PREFIX}{name.upper()}": spelled(value) for name, value in defaults.items()}


def test_the_metrics_are_listed_with_their_types() -> None:
    listed = {row[0].strip("`"): row[1] for row in rows(section("operations", "Metrics"))}
    families = [family for family in Metrics().registry.collect() if family.name.startswith("gpu_tenancy_")]
    assert listed == {family.name + ("_total" if family.type == "counter" else ""): family.type for family in families}


def test_the_labels_of_the_metrics_are_listed() -> None:
    listed = {row[0].strip("`").removesuffix("_total"): row[2] for row in rows(section("operations", "Metrics"))}
    metrics = Metrics()
    labels = {
        name: ", ".join(getattr(collector, "_labelnames", getattr(collector, "_labels", ())))
        for collector, names in metrics.registry._collector_to_names.items()
        for name in names
        if name in listed
    }
    assert listed == labels


def test_the_base_quota_is_listed() -> None:
    listed = {row[0].strip("`"): row[1].strip("`") for row in rows(section("tenants", "Base quota"))}
    assert listed == base_quota("any", {}, suspended=False, own={}, counted=OWN_KINDS)["spec"]["hard"]


def test_the_rules_for_reservations_are_listed_with_their_defaults() -> None:
    listed = {}
    for names, defaults, _ in rows(section("pools-and-regions", "Rules for reservations")):
        listed |= dict(zip(re.findall(r"`(\w+)`", names), re.findall(r"`(\w+)`", defaults), strict=True))
    rules = ReservationRules()
    assert listed == {
        name: str(value) if isinstance(value := getattr(rules, name), int) else format_duration(value)
        for name in ReservationRules.model_fields
    }


def test_the_priority_classes_are_listed() -> None:
    listed = {row[0].strip("`"): row[1] for row in rows(page("pools-and-regions")) if row[0].startswith("`gpu-<pool>")}
    assert listed == {priority_class("<pool>", tier): str(value) for tier, value in TIER_PRIORITY.items()}


def test_the_names_of_placements_are_those_that_are_shown() -> None:
    shown = {row[1].strip("`") for row in rows(section("tenants", "Residency"))}
    assert {
        Placement().name,
        Placement(("EU",)).name,
        Placement(("CH", "EU")).name,
        Placement((), ("eu-de", "eu-nl")).name,
        Placement(("EU",), ("eu-de",)).name,
    } <= shown


def test_every_reason_to_refuse_a_reservation_is_explained() -> None:
    explained = {
        word for row in rows(section("reservations", "What is refused, and why")) for word in ONE_WORD.findall(row[0])
    }
    assert {reason.value for reason in Reason} - explained == set()


def test_every_reason_to_refuse_a_peering_is_explained() -> None:
    explained = {word for row in rows(section("peering", "Status")) for word in ONE_WORD.findall(row[2])}
    assert {reason.value for reason in peering.Reason} | {"Established", "AwaitingPeer"} == explained
    assert f"{peering.MAX_PEERINGS} older ones" in section("peering", "Status")


def test_every_reason_to_refuse_a_namespace_is_explained() -> None:
    explained = set(ONE_WORD.findall(section("tenants", "What a refusal means")))
    assert {reason.value for reason in REFUSALS} - explained == set()


def test_every_event_is_listed() -> None:
    listed = {word for row in rows(section("operations", "Events")) for word in ONE_WORD.findall(row[0])}
    about_reservations = {reason for _, reason in reservations._TOLD.values()} | {reservations.UNREADABLE}
    about_tenants = set(re.findall(r'_event\(view, "\w+", "(\w+)"', inspect.getsource(tenant_status)))
    about_peerings = set(re.findall(r'Emit\(ref, resource.uid, "\w+", "(\w+)"', inspect.getsource(peerings)))
    assert about_reservations
    assert about_tenants
    assert about_peerings
    assert listed - {"ResidencyContradiction"} == about_reservations | about_tenants | about_peerings | {OVERRUN}


def test_the_criteria_of_each_control_are_listed() -> None:
    _, _, text = section("compliance", "What is enforced, and the evidence for it").partition("### Criteria\n")
    listed = {row[0].strip("`"): ", ".join(filter(None, row[1:])) for row in rows(text)}
    assert listed == {
        control: ", ".join(one.id + " (area)" * one.area for one in criteria) for control, criteria in CRITERIA.items()
    }


def test_every_package_has_its_line() -> None:
    tree = section("architecture", "Where things are")
    packages = {
        path.parent.name
        for path in Path(gpu_tenancy.__file__).parent.rglob("__init__.py")
        if path.parent.name != "gpu_tenancy"
    }
    assert packages - set(re.findall(r"^ +(\w+)/ ", tree, re.MULTILINE)) == set()


def test_every_file_that_the_architecture_names_is_there() -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", page("architecture"))
    assert named
    assert [name for name in named if not (ROOT / "operator" / "gpu_tenancy" / name).exists()] == []


def test_every_page_can_be_found_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"docs/{path.name}" not in readme] == []
