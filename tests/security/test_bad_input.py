"""What makes no sense is refused, with a sentence about it, and everybody else goes on; and equal names mean nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cluster.operating import eventually
from cluster.policy_scenarios import create, gpu_pod
from cluster.rest import delete, get, patch
from cluster.site import text
from gpu_tenancy.domain.naming import RESERVATION_LABEL
from gpu_tenancy.kube.resource import NAMESPACE, NETWORK_POLICY, POD, RESOURCE_QUOTA, ROLE_BINDING, Resource
from security.world import (
    MALLORY,
    OWN,
    PEERING,
    RESERVATION,
    RITA,
    RIVALS,
    SECOND,
    TENANT,
    complete,
    peering,
    pool,
    region,
    reservation,
    tenant,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from security.world import World

REGION = Resource("gpu-tenancy.dev", "v1alpha1", "regions", "Region", namespaced=False)
POOL = Resource("gpu-tenancy.dev", "v1alpha1", "gpupools", "GpuPool", namespaced=False)
SECRET = Resource("", "v1", "secrets", "Secret")

A_DAY = "a day is one of the years 2000 to 2099, as in 2027-06-30"
A_DURATION = "a duration is in hours, minutes and seconds, at most 99999h in all, as in 3h, 1h30m or 45s"
AN_INSTANT = (
    "an instant is a day of the years 2000 to 2099, a time to the second and a time zone, as in 2027-01-11T18:00:00Z"
)


@pytest.fixture(autouse=True)
def _others_go_on(world: World) -> Iterator[None]:
    """Whatever a test does, the tenants of the world keep what they have."""
    yield
    for name in ("acme", "rival"):
        assert world.cluster.condition("itn", name, "Ready")["status"] == "True"
    for namespace in (OWN, RIVALS):
        quota = world.api.must(get(RESOURCE_QUOTA, "gpu-b200-guaranteed", namespace))
        assert quota["status"]["hard"]["requests.nvidia.com/gpu"] == "4"
        assert world.cluster.condition("gres", "nightly", "Active", namespace)["status"] == "True"


def refusal(world: World, manifest: dict[str, Any]) -> str:
    """Write an object as the provider; return why it is refused, by the API server or by the operator."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    resource = {"IndustrialTenant": TENANT, "Region": REGION, "GpuPool": POOL}[kind]
    answer = world.api.send(create(resource, manifest))
    if not answer.accepted:
        return answer.message
    try:
        return world.cluster.until(resource.plural, name, "Stalled", "True")["message"]
    finally:
        world.api.must(delete(resource, name))


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (tenant("lost", residency={"regions": ["atlantis"]}), "region atlantis is not in the catalogue"),
        (tenant("lost", residency={"jurisdictions": ["EU"], "regions": ["eu-ch2"]}), "region eu-ch2 lies in CH"),
        (tenant("lost", residency={"jurisdictions": ["XX"]}), "the catalogue has no region in XX"),
        (pool("lost", "NVIDIA-B200", 8, mig="x", region="atlantis"), "atlantis"),
        (region("lost", "DE", "DE", certificates=[{"name": "C5", "validUntil": "2026-02-30"}]), A_DAY),
        (region("lost", "DE", "DE", certificates=[{"name": "C5", "validUntil": "soon"}]), A_DAY),
        (region("lost", "DE", "DE", certificates=[{"name": "C5", "validUntil": "2020-01-01"}] * 2), "Duplicate value"),
        (tenant("lost", contract={"validUntil": "2100-01-01T00:00:00Z"}), AN_INSTANT),
        (tenant("lost", contract={"validFrom": "2027-01-01T00:00:00Z", "validUntil": "2027-01-01"}), AN_INSTANT),
        (tenant("lost", contract={"notice": "30d"}), A_DURATION),
        (pool("lost", "NVIDIA-B200", 8, mig="x", reservations={"minimumDuration": "1d"}), A_DURATION),
        (pool("lost", "NVIDIA-B200", 8, mig="x", reservations={"step": "0s"}), "step is above zero"),
        (pool("lost", "NVIDIA-B200", 8, mig="x", perGpu={"cpu": "0.0"}), "what perGpu says is above zero"),
        (pool("lost", "NVIDIA-B200", 8, mig="x", perGpu={"nvidia.com/gpu": "1"}), "cpu, memory and ephemeral-storage"),
        (region("Ünïcödé", "DE", "DE"), "invalid"),
        (region("l" * 41, "DE", "DE"), "at most 40 characters"),
        (region("lost", "CH", "CH", "EU"), "remove EU from jurisdictions, or correct country"),
        (tenant("l" * 64), "at most 63 characters"),
        (tenant("lost", namespaces=[{"name": f"lost-{number}"} for number in range(1000)]), "at most 256 items"),
        (tenant("lost", namespaces=[{"name": "l" * 64}]), "63"),
        (tenant("lost", namespaces=[{"name": RIVALS}]), "belongs to another tenant: choose another name"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_makes_no_sense_is_refused_with_what_to_do(world: World, manifest: dict[str, Any], says: str) -> None:
    message = refusal(world, manifest)
    assert says in message
    assert "rival" not in message.replace(RIVALS, "")


def test_a_region_whose_certificate_has_expired_says_so_and_stays(world: World) -> None:
    certificates = [{"name": "C5", "validUntil": "2020-01-01"}, {"name": "TISAX", "validUntil": "2099-01-01"}]
    world.api.must(create(REGION, region("old", "DE", "DE", certificates=certificates)))
    message = world.cluster.until("regions", "old", "CertificateExpired", "True")["message"]
    assert message.startswith("C5: no longer valid; renew spec.certificates")
    assert world.cluster.condition("regions", "old", "Ready")["status"] == "True"
    world.api.must(delete(REGION, "old"))


@pytest.mark.parametrize(
    ("tenant", "namespace"), [("acme", OWN), ("acme", SECOND), ("nobody", "nowhere"), ("rival", OWN), ("acme", RIVALS)]
)
def test_a_peering_with_oneself_or_nobody_opens_nothing(world: World, tenant: str, namespace: str) -> None:
    before = world.api.must(get(NETWORK_POLICY, "", OWN))["items"]
    answer = world.api.send(create(PEERING, peering("odd", tenant, namespace), OWN), MALLORY)
    if answer.accepted:
        ready = world.cluster.until("tenantpeerings", "odd", "Ready", "False", OWN)
        assert ready["message"]
        if tenant == "acme" and namespace != RIVALS:
            assert world.cluster.condition("tenantpeerings", "odd", "Stalled", OWN)["status"] == "True"
        world.api.must(delete(PEERING, "odd", OWN), MALLORY)
    assert _specs(world.api.must(get(NETWORK_POLICY, "", OWN))["items"]) == _specs(before)


def _specs(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["metadata"]["name"]: item["spec"] for item in items}


def test_the_longest_names_are_names(world: World) -> None:
    name, namespace = "l" * 63, "n" * 63
    world.cluster.apply(tenant(name, namespaces=[{"name": namespace}], owners=[{"kind": "User", "name": "u" * 253}]))
    world.cluster.until("itn", name, "Ready", "True")

    bindings = world.api.must(get(ROLE_BINDING, "", namespace))["items"]
    assert [subject["name"] for one in bindings for subject in one["subjects"]] == ["u" * 253]

    world.api.must(delete(TENANT, name))
    eventually(lambda: world.api.send(get(NAMESPACE, namespace)).status == 404)


def test_names_that_would_be_equal_if_they_were_joined_stay_apart(world: World) -> None:
    # Regions a and b-c, or a-b and c; pools of which one is called like the tier of the other.
    for name in ("a", "b-c", "a-b", "c"):
        world.api.must(create(REGION, region(name, "DE", "DE")))
    world.cluster.apply(
        tenant("one", namespaces=[{"name": "one-a"}], residency={"regions": ["a", "b-c"]}),
        tenant("two", namespaces=[{"name": "two-a"}], residency={"regions": ["a-b", "c"]}),
        tenant("one-a", namespaces=[{"name": "one-a-b"}]),
    )
    placements = []
    for name in ("one", "two", "one-a"):
        world.cluster.until("itn", name, "Ready", "True")
        placements.append(world.api.must(get(TENANT, name))["status"]["placement"])
    assert len(set(placements)) == 3
    labels = [world.api.must(get(NAMESPACE, name))["metadata"]["labels"] for name in ("one-a", "one-a-b")]
    assert [one["gpu-tenancy.dev/tenant"] for one in labels] == ["one", "one-a"]

    for name in ("one", "two", "one-a"):
        world.api.must(delete(TENANT, name))
    for name in ("a", "b-c", "a-b", "c"):
        world.api.must(delete(REGION, name))
    for name in ("one-a", "two-a", "one-a-b"):
        eventually(lambda name=name: world.api.send(get(NAMESPACE, name)).status == 404)


def test_a_company_may_be_called_what_it_is_called(world: World) -> None:
    names = {"legalName": "Müller & 山田 GmbH «Robotik» \u202e🤖", "costCenter": "Ω"}
    world.cluster.apply(
        tenant(
            "unicode",
            organization=names,
            owners=[{"kind": "User", "name": "jürgen@müller.example"}],
            namespaces=[{"name": "unicode-a"}],
        )
    )
    world.cluster.until("itn", "unicode", "Ready", "True")
    world.api.must(delete(TENANT, "unicode"))
    eventually(lambda: world.api.send(get(NAMESPACE, "unicode-a")).status == 404)


# What a tenant may not ask for


def asking(**spec: Any) -> dict[str, Any]:
    """Ask for something of which a part makes no sense; what is not said is sensible."""
    sensible = {"pool": "b200", "gpus": 1, "window": {"start": written(DAYS), "duration": "1h"}}
    return {"metadata": {"name": "odd"}, "spec": sensible | spec}


def written(ahead: timedelta) -> str:
    return text(datetime.now(UTC) + ahead)


DAYS = timedelta(days=2)


def window(start: str | timedelta, **more: str) -> dict[str, str]:
    return {"start": start if isinstance(start, str) else written(start), **more}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"window": window(DAYS, end="2026-01-01T00:00:00Z")}, ["start is before end"]),
        ({"window": window("2027-01-01T00:00:00Z", end="2027-01-01T00:00:00Z")}, ["start is before end"]),
        ({"window": window(DAYS, duration="0s")}, ["duration is above zero"]),
        ({"window": window(DAYS, duration="-1h")}, ["spec.window.duration", A_DURATION]),
        ({"window": window(DAYS, duration="999999h")}, ["spec.window.duration", A_DURATION]),
        ({"window": window(DAYS, duration="99999h")}, ["longer than the pool's maximum of 8760h"]),
        ({"window": window(DAYS)}, ["a window has start with either end or duration, or else notBefore"]),
        ({"window": window("9999-12-31T00:00:00Z", duration="1h")}, ["spec.window.start", AN_INSTANT]),
        ({"window": window("2099-12-31T23:30:00-01:00", duration="1h")}, ["spec.window.start", AN_INSTANT]),
        ({"window": window("2099-12-31T00:00:00Z", duration="1h")}, ["booked at most 8760h ahead", "ask from 2098-"]),
        ({"window": window("2027-01-11T18:00:00", end="2027-01-11T19:00:00")}, ["spec.window.start", "spec.window.end", AN_INSTANT]),
        ({"window": window("2027-02-30T18:00:00Z", duration="1h")}, ["spec.window.start", AN_INSTANT]),
        ({"window": window(-DAYS, duration="72h")}, ["before the reservation was created", "begin later"]),
        ({"window": window(-DAYS, duration="1h")}, ["was over at", "before it could be accepted"]),
        (
            {"window": {"notBefore": "2027-01-01T00:00:00Z", "notAfter": "2027-01-01T01:00:00Z", "duration": "2h"}},
            ["the duration does not fit between notBefore and notAfter"],
        ),
        (
            {"window": {"notBefore": "today", "notAfter": "tomorrow", "duration": "1 hour"}},
            ["spec.window.notBefore", "spec.window.notAfter", AN_INSTANT, "spec.window.duration", A_DURATION],
        ),
        ({"gpus": 0}, ["spec.gpus", "greater than or equal to 1"]),
        ({"gpus": 17}, ["17 x NVIDIA-B200 in eu-de are more than the tenant's ceiling, 16", "ask for fewer"]),
        ({"gpus": 1_000_000}, ["are more than the tenant's ceiling, 16", "ask for fewer"]),
        ({"gpus": 10**9}, ["spec.gpus", "less than or equal to 1000000"]),
        ({"pool": "mig"}, ["the tenant may not reserve in pool mig", "ask the provider for it"]),
        ({"pool": "atlantis"}, ["there is no pool atlantis", "ask the provider for it"]),
        ({"pool": "Atlantis"}, ["spec.pool", "should match"]),
        ({"recurrence": {"rule": "FREQ=HOURLY;COUNT=2"}}, ["spec.recurrence.rule", "should match"]),
        (
            {"recurrence": {"rule": "FREQ=DAILY;COUNT=400"}},
            ["at most 366 occurrences"],
        ),
        (
            {"recurrence": {"rule": "FREQ=DAILY;COUNT=2", "timeZone": "Europe/Atlantis"}},
            ["Europe/Atlantis"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)  # fmt: skip
def test_a_reservation_that_makes_no_sense_is_refused_with_what_to_do(
    world: World, spec: dict[str, Any], says: list[str]
) -> None:
    answer = world.api.send(create(RESERVATION, asking(**spec), OWN), MALLORY)
    message = answer.message
    if answer.accepted:
        message = world.cluster.until("gres", "odd", "Stalled", "True", OWN)["message"]
        world.api.must(delete(RESERVATION, "odd", OWN), MALLORY)
    assert [text for text in says if text not in message] == [], message
    assert "conversion" not in message, "that would be another rule's, which reads what is refused already"
    assert "rival" not in message
    assert RIVALS not in message


def test_what_does_not_fit_is_refused_with_three_windows_that_would_and_no_word_about_others(world: World) -> None:
    # Of 32 GPUs, 12 are guaranteed; both have a reservation for the day, and the rival now takes what is left.
    world.api.must(create(RESERVATION, reservation("busy", 4, datetime.now(UTC)), RIVALS), RITA)
    world.cluster.until("gres", "busy", "Ready", "True", RIVALS)
    start, day = datetime.now(UTC) + timedelta(minutes=5), timedelta(hours=24)
    spec = {"gpus": 8, "window": {"start": text(start), "duration": "1h"}}
    world.api.must(create(RESERVATION, asking(**spec), OWN), MALLORY)

    refused = world.cluster.until("gres", "odd", "Stalled", "True", OWN)
    assert refused["reason"] == "DoesNotFit"
    offers = world.api.must(get(RESERVATION, "odd", OWN))["status"]["offers"]
    assert len(offers) == 3
    assert f"earliest fit {offers[0]['start']}" in refused["message"]
    assert start < datetime.fromisoformat(offers[0]["start"]) < datetime.now(UTC) + day
    assert not [word for word in ("rival", RIVALS, "busy", "nightly") if word in str(refused)]

    # The earliest of them is one.
    world.api.must(delete(RESERVATION, "odd", OWN), MALLORY)
    world.api.must(create(RESERVATION, asking(gpus=8, window=offers[0]), OWN), MALLORY)
    world.cluster.until("gres", "odd", "Ready", "True", OWN)
    for namespace, name, user in ((OWN, "odd", MALLORY), (RIVALS, "busy", RITA)):
        world.api.must(delete(RESERVATION, name, namespace), user)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pool": "rtx-pro"}, "create another reservation for another pool"),
        ({"exclusivity": "Node"}, "create another reservation for nodes of another kind"),
        ({"recurrence": None}, "create another reservation for other times"),
        ({"recurrence": {"timeZone": "Europe/Paris"}}, "create another reservation for other times"),
        ({"recurrence": {"rule": "FREQ=WEEKLY;COUNT=3"}}, "create another reservation for other times"),
    ],
    ids=str,
)
def test_what_may_not_be_changed_is_not_and_what_may_is(world: World, change: dict[str, Any], says: str) -> None:
    daily = {"rule": "FREQ=DAILY;COUNT=3", "timeZone": "Europe/Berlin"}
    world.api.must(create(RESERVATION, asking(recurrence=daily), OWN), MALLORY)
    answer = world.api.send(patch(RESERVATION, "odd", {"spec": change}, OWN), MALLORY)
    assert says in answer.message
    world.api.must(patch(RESERVATION, "odd", {"spec": {"recurrence": {"rule": "FREQ=DAILY;COUNT=2"}}}, OWN), MALLORY)
    world.api.must(delete(RESERVATION, "odd", OWN), MALLORY)


# Two tenants with equal names for everything


def test_what_one_tenant_does_to_its_own_leaves_what_is_called_the_same_elsewhere(world: World) -> None:
    for user, namespace in ((MALLORY, OWN), (RITA, RIVALS)):
        world.api.must(create(RESERVATION, reservation("twin", 2, datetime.now(UTC)), namespace), user)
        world.cluster.until("gres", "twin", "Active", "True", namespace)
        body = complete(gpu_pod({RESERVATION_LABEL: "twin"}).body, namespace, fill=not world.mutation)
        body["metadata"]["name"] = "twin"
        eventually(
            lambda body=body, namespace=namespace, user=user: (
                world.api.send(create(POD, body, namespace), user).accepted
            )
        )

    world.api.must(delete(RESERVATION, "twin", OWN), MALLORY)
    world.api.must(patch(SECRET, "token", {"stringData": {"of": "changed"}}, OWN), MALLORY)
    eventually(lambda: world.api.send(get(POD, "twin", OWN)).status == 404)

    assert world.cluster.condition("gres", "twin", "Active", RIVALS)["status"] == "True"
    assert "deletionTimestamp" not in world.api.must(get(POD, "twin", RIVALS))["metadata"]

    def counted() -> list[tuple[str, str]]:
        quotas = [world.api.must(get(RESOURCE_QUOTA, "gpu-b200-reserved", one)) for one in (OWN, RIVALS)]
        return [
            tuple(quota["status"][part]["requests.nvidia.com/gpu"] for part in ("hard", "used")) for quota in quotas
        ]

    eventually(lambda: counted() == [("8", "1"), ("6", "2")], lambda: str(counted()))
    for kind, name in ((RESERVATION, "twin"), (POD, "twin")):
        world.api.must(delete(kind, name, RIVALS), RITA)
    eventually(lambda: counted() == [("8", "1"), ("4", "1")], lambda: str(counted()))
