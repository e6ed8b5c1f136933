from __future__ import annotations

import threading

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gpu_tenancy.observability.metrics import Metrics, QuotaSeries, SumGauge


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def series(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """All series of a metric, by the values of their labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_tenants_and_their_namespaces_are_counted_by_state(metrics: Metrics):
    metrics.tenant("a", state="Ready", namespaces={"Ready": 2, "Refused": 1}, quotas={})
    metrics.tenant("b", state="Ready", namespaces={"Ready": 3}, quotas={})
    metrics.tenant("c", state="Stalled", namespaces={}, quotas={})
    assert series(metrics, "gpu_tenancy_tenants") == {("Ready",): 2, ("Stalled",): 1}
    assert series(metrics, "gpu_tenancy_namespaces") == {("Ready",): 5, ("Refused",): 1}


def test_quotas_are_told_by_tenant_pool_tier_and_kind(metrics: Metrics):
    quotas = {QuotaSeries("b200", "guaranteed", "limit"): 32, QuotaSeries("b200", "guaranteed", "used"): 8}
    metrics.tenant("a", state="Ready", namespaces={}, quotas=quotas)
    assert series(metrics, "gpu_tenancy_quota_gpus") == {
        ("a", "b200", "guaranteed", "limit"): 32,
        ("a", "b200", "guaranteed", "used"): 8,
    }


def test_what_a_tenant_no_longer_has_vanishes(metrics: Metrics):
    limit, other = QuotaSeries("b200", "spot", "limit"), QuotaSeries("rtx", "spot", "limit")
    metrics.tenant("a", state="Reconciling", namespaces={"Ready": 1}, quotas={limit: 8, other: 4})
    metrics.tenant("a", state="Ready", namespaces={"Ready": 1}, quotas={other: 4})
    assert series(metrics, "gpu_tenancy_tenants") == {("Ready",): 1}
    assert series(metrics, "gpu_tenancy_quota_gpus") == {("a", "rtx", "spot", "limit"): 4}


def test_nothing_stays_of_what_is_gone(metrics: Metrics):
    metrics.tenant("a", state="Ready", namespaces={"Ready": 1}, quotas={QuotaSeries("p", "spot", "limit"): 8})
    metrics.pool("p", model="NVIDIA-B200", region="eu-de", gpus={"capacity": 8})
    metrics.reservation("ns", "r", "Scheduled")
    metrics.tenant_gone("a")
    metrics.pool_gone("p")
    metrics.reservation_gone("ns", "r")
    metrics.peerings("ns", {"Established": 1})
    metrics.peerings("ns", {})
    metrics.tenant_gone("never seen")
    for name in ("tenants", "namespaces", "quota_gpus", "pool_gpus", "reservations", "peerings"):
        assert series(metrics, f"gpu_tenancy_{name}") == {}


def test_who_no_longer_leads_reports_no_objects(metrics: Metrics):
    metrics.tenant("a", state="Ready", namespaces={"Ready": 1}, quotas={QuotaSeries("p", "spot", "limit"): 8})
    metrics.pool("p", model="NVIDIA-B200", region="eu-de", gpus={"capacity": 8})
    metrics.peerings("ns", {"Established": 1})
    metrics.reservation("ns", "r", "Scheduled")
    metrics.queue_depth(lambda: 7)
    metrics.drift_repaired("Namespace")
    metrics.term_ended()
    for name in ("tenants", "namespaces", "quota_gpus", "pool_gpus", "reservations", "peerings"):
        assert series(metrics, f"gpu_tenancy_{name}") == {}
    assert series(metrics, "gpu_tenancy_queue_depth") == {(): 0}
    assert series(metrics, "gpu_tenancy_drift_repairs_total") == {("Namespace",): 1}


def test_pools_are_told_with_model_region_and_state(metrics: Metrics):
    metrics.pool("b200", model="NVIDIA-B200", region="eu-de", gpus={"capacity": 64, "usable": 56, "unhealthy": 8})
    assert series(metrics, "gpu_tenancy_pool_gpus") == {
        ("b200", "NVIDIA-B200", "eu-de", "capacity"): 64,
        ("b200", "NVIDIA-B200", "eu-de", "usable"): 56,
        ("b200", "NVIDIA-B200", "eu-de", "unhealthy"): 8,
    }


def test_reservations_of_one_name_in_two_namespaces_are_two(metrics: Metrics):
    metrics.reservation("x", "r", "Active")
    metrics.reservation("y", "r", "Active")
    metrics.reservation("y", "r", "Completed")
    assert series(metrics, "gpu_tenancy_reservations") == {("Active",): 1, ("Completed",): 1}


def test_peerings_are_counted_over_all_namespaces(metrics: Metrics):
    metrics.peerings("x", {"Established": 1, "AwaitingPeer": 2})
    metrics.peerings("y", {"Established": 1})
    assert series(metrics, "gpu_tenancy_peerings") == {("Established",): 2, ("AwaitingPeer",): 2}


def test_the_activation_lag_has_buckets_from_50_ms_to_a_minute(metrics: Metrics):
    metrics.activated(0.04)
    metrics.activated(12)
    buckets = series(metrics, "gpu_tenancy_reservation_activation_lag_seconds_bucket")
    assert (buckets["0.05",], buckets["10.0",], buckets["20.0",], buckets["60.0",]) == (1, 1, 2, 2)


def test_reconciliations_are_counted_and_timed(metrics: Metrics):
    metrics.reconciled("GpuPool", "success", 0.2)
    metrics.reconciled("GpuPool", "error", 0.3)
    assert series(metrics, "gpu_tenancy_reconciles_total") == {("GpuPool", "success"): 1, ("GpuPool", "error"): 1}
    assert series(metrics, "gpu_tenancy_reconcile_duration_seconds_sum") == {("GpuPool",): 0.5}


def test_every_request_is_counted_and_only_what_was_written_is_a_write(metrics: Metrics):
    metrics.request("list", "Namespace", 200, 0.1)
    metrics.request("create", "Namespace", 201, 0.1)
    metrics.request("create", "Namespace", 409, 0.1)
    metrics.request("patch", "Namespace", 0, 0.1)
    assert series(metrics, "gpu_tenancy_api_requests_total") == {
        ("Namespace", "list", "200"): 1,
        ("Namespace", "create", "201"): 1,
        ("Namespace", "create", "409"): 1,
        ("Namespace", "patch", "0"): 1,
    }
    assert series(metrics, "gpu_tenancy_api_writes_total") == {("Namespace", "create"): 1}
    assert series(metrics, "gpu_tenancy_api_request_duration_seconds_count")["create",] == 2


def test_repairs_and_lost_watches_are_counted_by_kind(metrics: Metrics):
    metrics.drift_repaired("ResourceQuota")
    metrics.watch_restarted("Node")
    assert series(metrics, "gpu_tenancy_drift_repairs_total") == {("ResourceQuota",): 1}
    assert series(metrics, "gpu_tenancy_watch_restarts_total") == {("Node",): 1}


def test_the_queue_is_asked_for_its_depth_at_each_scrape(metrics: Metrics):
    waiting: list[str] = []
    metrics.queue_depth(lambda: len(waiting))
    assert series(metrics, "gpu_tenancy_queue_depth") == {(): 0}
    waiting.append("a")
    assert series(metrics, "gpu_tenancy_queue_depth") == {(): 1}


def test_the_lease_is_told_with_its_changes(metrics: Metrics):
    assert series(metrics, "gpu_tenancy_lease_held") == {(): 0}
    metrics.lease_changed(True)
    metrics.lease_changed(False)
    metrics.lease_changed(True)
    assert series(metrics, "gpu_tenancy_lease_held") == {(): 1}
    assert series(metrics, "gpu_tenancy_lease_transitions_total") == {(): 3}


def test_two_operators_in_one_process_have_metrics_of_their_own(metrics: Metrics):
    Metrics().drift_repaired("Namespace")
    assert series(metrics, "gpu_tenancy_drift_repairs_total") == {}


def test_every_metric_has_the_operators_prefix_and_says_what_it_is(metrics: Metrics):
    for family in metrics.registry.collect():
        if not family.name.startswith("process_"):
            assert family.name.startswith("gpu_tenancy_")
            assert family.documentation.endswith(".")


def test_label_values_of_any_sort_survive_the_text_format(metrics: Metrics):
    odd = 'a"b\\c\nd'
    metrics.drift_repaired(odd)
    text = generate_latest(metrics.registry).decode()
    values = [
        sample.labels["kind"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "gpu_tenancy_drift_repairs_total"
    ]
    assert values == [odd]


def test_a_scrape_never_sees_a_contributor_in_between():
    registry = CollectorRegistry()
    gauge = SumGauge("g", "A gauge.", ("state",), registry)
    gauge.replace("a", {("x",): 1})
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            gauge.replace("a", {("y",): 1})
            for other in range(20):
                gauge.replace(f"other-{other}", {("z",): 1})
            gauge.replace("a", {("x",): 1})
            for other in range(20):
                gauge.drop(f"other-{other}")

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(2000):
            [family] = gauge.collect()
            assert sum(sample.value for sample in family.samples if sample.labels["state"] != "z") == 1
    finally:
        done.set()
        changing.join()
