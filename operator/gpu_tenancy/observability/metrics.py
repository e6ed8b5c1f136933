"""What Prometheus is told: one registry, and one method for each thing that happens or is so."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PoolState = Literal["capacity", "usable", "unhealthy", "guaranteed", "reserved", "free", "headroom"]

_WRITES = frozenset({"create", "patch", "delete", "evict"})
_LAG_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)


class QuotaSeries(NamedTuple):
    """Which figure of a tenant's GPU quotas: the pool's name, the tier's, and whether it is the limit or the use."""

    pool: str
    tier: str
    kind: Literal["limit", "used"]


class SumGauge(Collector):
    """A gauge whose series are the sums of what contributors say, and which vanish with them.

    A contributor (a tenant, a reservation) always says all that it contributes, and what it said before is forgotten.
    So nothing stays behind of one that is gone, and nobody has to know them all. A scrape, which comes from another
    thread, sees a contributor before or after a change, never in between.
    """

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._contributions: dict[str, Mapping[tuple[str, ...], float]] = {}
        registry.register(self)

    def replace(self, contributor: str, series: Mapping[tuple[str, ...], float]) -> None:
        """Take all that a contributor says: values by label values, which are in the order of the labels."""
        self._contributions[contributor] = series

    def drop(self, contributor: str) -> None:
        """Forget a contributor that is gone."""
        self._contributions.pop(contributor, None)

    def clear(self) -> None:
        """Forget all contributors."""
        self._contributions = {}

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Give the gauge without series, from which the registry learns its name."""
        return [GaugeMetricFamily(self._name, self._documentation, labels=self._labels)]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Sum up."""
        sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for series in list(self._contributions.values()):  # a copy, taken in one step: the main thread changes it
            for labels, value in series.items():
                sums[labels] += value
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in sorted(sums.items()):
            family.add_metric(labels, value)
        return [family]


class Metrics:
    """All metrics of one operator. Made once and handed to whoever has something to tell; safe to use from any thread.

    Attributes:
        registry: what `/metrics` serves.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._tenants = SumGauge(
            "gpu_tenancy_tenants", "Tenants, by the state that their status reports.", ("state",), registry
        )
        self._namespaces = SumGauge(
            "gpu_tenancy_namespaces",
            "Namespaces that tenants declare, by the state that is reported for them.",
            ("state",),
            registry,
        )
        self._quotas = SumGauge(
            "gpu_tenancy_quota_gpus",
            "GPUs in all of a tenant's quotas of a pool and tier: kind=limit is what they allow, kind=used what pods hold.",
            ("tenant", "pool", "tier", "kind"),
            registry,
        )
        self._pools = SumGauge(
            "gpu_tenancy_pool_gpus",
            "GPUs of a pool by state: capacity = usable + unhealthy; guaranteed, reserved and headroom are promised or"
            " kept back of the usable ones, free is what is left.",
            ("pool", "model", "region", "state"),
            registry,
        )
        self._reservations = SumGauge(
            "gpu_tenancy_reservations", "Reservations, by the state that their status reports.", ("state",), registry
        )
        self._peerings = SumGauge(
            "gpu_tenancy_peerings", "Peerings, by the state that their status reports.", ("state",), registry
        )
        self._usage = SumGauge(
            "gpu_tenancy_month_gpu_hours",
            "GPU-hours of a tenant in a pool in this calendar month: guaranteed and spot are what such pods held, booked is"
            " what reservations were promised, active what of that their quotas allowed, used what of that pods held.",
            ("tenant", "pool", "kind"),
            registry,
        )
        self._residency = SumGauge(
            "gpu_tenancy_residency_objects",
            "Pods, volumes and snapshots of a tenant, by whether they are where its residency admits them: inside,"
            " outside, or unknown if that cannot be told.",
            ("tenant", "kind", "state"),
            registry,
        )
        self._audited = Gauge(
            "gpu_tenancy_residency_audit_timestamp_seconds",
            "When the last look at all pods, volumes and snapshots of tenants began; 0 if there was none yet.",
            registry=registry,
        )
        self._activation_lag = Histogram(
            "gpu_tenancy_reservation_activation_lag_seconds",
            "Time from the start of a reservation's window until its quota was open.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self._reconciles = Counter(
            "gpu_tenancy_reconciles",
            "Reconciliations, by kind of the object and result.",
            ("kind", "result"),
            registry=registry,
        )
        self._reconcile_duration = Histogram(
            "gpu_tenancy_reconcile_duration_seconds",
            "Time that a reconciliation took, its writes included, by kind of the object.",
            ("kind",),
            registry=registry,
        )
        self._requests = Counter(
            "gpu_tenancy_api_requests",
            "Requests to the API server, by kind, verb and HTTP status code; code 0 means that no answer came.",
            ("kind", "verb", "code"),
            registry=registry,
        )
        self._request_series: dict[tuple[str, str, int], tuple[Counter, Histogram, Counter | None]] = {}
        self._request_duration = Histogram(
            "gpu_tenancy_api_request_duration_seconds",
            "Time until a request to the API server was answered, by verb; a watch counts until it ended.",
            ("verb",),
            registry=registry,
        )
        self._writes = Counter(
            "gpu_tenancy_api_writes",
            "Writes that the API server accepted, by kind and verb; steady while nothing changes.",
            ("kind", "verb"),
            registry=registry,
        )
        self._drift_repairs = Counter(
            "gpu_tenancy_drift_repairs",
            "Objects of the operator that somebody else had changed or deleted and that were put right, by kind.",
            ("kind",),
            registry=registry,
        )
        self._watch_restarts = Counter(
            "gpu_tenancy_watch_restarts",
            "Watches that were lost and begun again, by kind.",
            ("kind",),
            registry=registry,
        )
        self._queue_depth = Gauge("gpu_tenancy_queue_depth", "Objects that wait to be reconciled.", registry=registry)
        self._lease_held = Gauge(
            "gpu_tenancy_lease_held", "1 while this process holds the lease and may write, else 0.", registry=registry
        )
        self._lease_transitions = Counter(
            "gpu_tenancy_lease_transitions", "Times that this process got or lost the lease.", registry=registry
        )

    def tenant(
        self, name: str, *, state: str, namespaces: Mapping[str, int], quotas: Mapping[QuotaSeries, float]
    ) -> None:
        """Say how a tenant stands.

        Args:
            name: the tenant's.
            state: what its Ready condition says, as one word.
            namespaces: how many of its namespaces are in each state.
            quotas: GPUs in its quotas, summed over its namespaces.
        """
        self._tenants.replace(name, {(state,): 1})
        self._namespaces.replace(name, {(state,): count for state, count in namespaces.items()})
        self._quotas.replace(name, {(name, *series): gpus for series, gpus in quotas.items()})

    def tenant_gone(self, name: str) -> None:
        """Forget a tenant that was deleted."""
        for gauge in (self._tenants, self._namespaces, self._quotas, self._residency):
            gauge.drop(name)

    def residency(
        self, tenant: str, *, inside: Mapping[str, int], outside: Mapping[str, int], unknown: Mapping[str, int]
    ) -> None:
        """Say how many things of a tenant, by kind, are where its residency admits them, are not, or cannot be told."""
        states = {"inside": inside, "outside": outside, "unknown": unknown}
        self._residency.replace(
            tenant, {(tenant, kind, state): count for state, counts in states.items() for kind, count in counts.items()}
        )

    def audited(self, timestamp: float) -> None:
        """Say when the last look at everything began, in seconds since 1970."""
        self._audited.set(timestamp)

    def pool(self, name: str, *, model: str, region: str, gpus: Mapping[PoolState, int]) -> None:
        """Say how a pool stands, in GPUs by state."""
        self._pools.replace(name, {(name, model, region, state): count for state, count in gpus.items()})

    def pool_gone(self, name: str) -> None:
        """Forget a pool that was deleted."""
        self._pools.drop(name)
        self._usage.drop(name)

    def usage(self, pool: str, gpu_seconds: Mapping[str, Mapping[str, int]]) -> None:
        """Say what tenants used of a pool this month, by tenant and kind."""
        self._usage.replace(
            pool,
            {
                (tenant, pool, kind): amount / 3600
                for tenant, amounts in gpu_seconds.items()
                for kind, amount in amounts.items()
            },
        )

    def reservation(self, namespace: str, name: str, state: str) -> None:
        """Say how a reservation stands, as one word."""
        self._reservations.replace(f"{namespace}/{name}", {(state,): 1})

    def reservation_gone(self, namespace: str, name: str) -> None:
        """Forget a reservation that was deleted."""
        self._reservations.drop(f"{namespace}/{name}")

    def peerings(self, namespace: str, states: Mapping[str, int]) -> None:
        """Say how many of a namespace's peerings are in each state, as one word; none forgets it."""
        if states:
            self._peerings.replace(namespace, {(state,): count for state, count in states.items()})
        else:
            self._peerings.drop(namespace)

    def term_ended(self) -> None:
        """Forget every object and the queue: who does not lead knows nothing of them, and two must not report them."""
        for gauge in (
            *(self._tenants, self._namespaces, self._quotas, self._pools, self._usage, self._reservations),
            *(self._peerings, self._residency),
        ):
            gauge.clear()
        self._audited.set(0)
        self._queue_depth.set_function(lambda: 0)

    def activated(self, lag: float) -> None:
        """Count a reservation whose quota was opened `lag` seconds after its start."""
        self._activation_lag.observe(lag)

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """Count a reconciliation of an object of this kind."""
        self._reconciles.labels(kind, result).inc()
        self._reconcile_duration.labels(kind).observe(seconds)

    def request(self, verb: str, kind: str, status: int, seconds: float) -> None:
        """Count a request to the API server; `status` is 0 if no answer came."""
        series = self._request_series.get((verb, kind, status))
        if series is None:
            series = self._request_series[verb, kind, status] = self._series_of(verb, kind, status)
        requests, duration, writes = series
        requests.inc()
        duration.observe(seconds)
        if writes is not None:
            writes.inc()

    def _series_of(self, verb: str, kind: str, status: int) -> tuple[Counter, Histogram, Counter | None]:
        """Find the series that a request counts in; to do so for each takes longer than to count it."""
        is_write = verb in _WRITES and 200 <= status < 300  # noqa: PLR2004  # HTTP's success
        return (
            self._requests.labels(kind, verb, status),
            self._request_duration.labels(verb),
            self._writes.labels(kind, verb) if is_write else None,
        )

    def drift_repaired(self, kind: str) -> None:
        """Count an object that was put right."""
        self._drift_repairs.labels(kind).inc()

    def watch_restarted(self, kind: str) -> None:
        """Count a watch that was lost."""
        self._watch_restarts.labels(kind).inc()

    def queue_depth(self, depth: Callable[[], int]) -> None:
        """Say whom to ask, at each scrape and from its thread, how many objects wait."""
        self._queue_depth.set_function(depth)

    def lease_changed(self, held: bool) -> None:
        """Say that the lease was got or lost."""
        self._lease_held.set(held)
        self._lease_transitions.inc()
