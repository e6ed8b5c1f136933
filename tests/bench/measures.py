"""The measurements that need a control plane; `bench` says how each is done."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from bench.raw import connect, delete_all, post
from bench.site import CONCURRENCY, NAMESPACES_PER_TENANT
from bench.witness import CHILDREN, Witness, watching
from gpu_tenancy.domain.naming import MANAGED_SELECTOR
from gpu_tenancy.reconcile.plan import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.raw import Manifest, Raw
    from bench.site import Site
    from cluster.operating import OperatorProcess

DELETE_CONCURRENCY = 64
_STEADY_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.05
_BY_ITSELF = frozenset({"Lease"})
"""What the operator writes for ever."""


@dataclass(frozen=True)
class Provisioned:
    """What came of provisioning.

    Attributes:
        seconds: until everything stood.
        cpu_seconds: how long the control plane and the operator computed meanwhile.
        own_seconds: the operator's part of it.
        objects: what the tenants got, by namespace, in the order in which it was written.
        writes: of the operator, by kind and verb.
        passes: how often it looked at an object of a kind, by kind and result.
    """

    seconds: float
    cpu_seconds: float
    own_seconds: float
    objects: Mapping[str, Sequence[Manifest]]
    writes: Mapping[tuple[str, str], float]
    passes: Mapping[tuple[str, str], float]


class Written(NamedTuple):
    """What came of plain POSTs: seconds, and those that the control plane and the client computed meanwhile."""

    seconds: float
    cpu_seconds: float


class Repaired(NamedTuple):
    """What came of children that were deleted: seconds from the first DELETE until the last answer, and until all are back."""

    deleted: float
    back: float


class Restarted(NamedTuple):
    """What came of a restart: seconds until steady, writes by then, and what has another version than before."""

    seconds: float
    writes: int
    changed: Sequence[str]


async def provision(site: Site, tenants: Sequence[Manifest]) -> Provisioned:
    """Create tenants and see their namespaces come, with all that is in them.

    Raises:
        RuntimeError: not every namespace has the same kinds of children.
    """
    async with watching(site.admin) as witness, connect(site.admin) as admin:
        before, computed = Readings.of(site.operator), site.cpu_seconds()
        began = time.perf_counter()
        await admin.send([[post(tenant)] for tenant in tenants], CONCURRENCY)
        await witness.until(lambda: len(witness.ready) == len(tenants), "every tenant Ready")
        seconds = witness.changed - began
        after, computed = Readings.of(site.operator), site.cpu_seconds() - computed
    return Provisioned(
        seconds=seconds,
        cpu_seconds=computed,
        own_seconds=after.cpu_seconds - before.cpu_seconds,
        objects=_by_namespace(witness, len(tenants)),
        writes=after.writes - before.writes,
        passes=after.passes - before.passes,
    )


async def write_plainly(site: Site, objects: Mapping[str, Sequence[Manifest]]) -> Written:
    """Create the same objects by plain POSTs."""
    groups = [[post(manifest) for manifest in group] for group in objects.values()]
    async with connect(site.account) as account:
        computed = site.cpu_seconds() + time.process_time()
        seconds = await account.send(groups, CONCURRENCY)
        return Written(seconds, site.cpu_seconds() + time.process_time() - computed)


def choose(objects: Mapping[str, Sequence[Manifest]], number: int) -> dict[str, list[Manifest]]:
    """Choose namespaces at random, the same in each run, that have at least so many children; give these."""
    kinds = {resource.kind for resource in CHILDREN}
    chosen: dict[str, list[Manifest]] = {}
    for namespace in random.Random(number).sample(sorted(objects), len(objects)):  # noqa: S311  # nothing secret
        if sum(map(len, chosen.values())) >= number:
            break
        chosen[namespace] = [one for one in objects[namespace] if one["kind"] in kinds]
    return chosen


async def _delete(admin: Raw, namespaces: Iterable[str]) -> float:
    """Have all deleted that the operator made in these, by one request for each and each kind; give the seconds."""
    requests = [[delete_all(resource, one, MANAGED_SELECTOR)] for resource in CHILDREN for one in namespaces]
    return await admin.send(requests, DELETE_CONCURRENCY)


async def see_repaired(site: Site, children: Mapping[str, Sequence[Manifest]], tenants: int) -> float:
    """Have namespaces' children gone at once for the operator, and see them come back; give the seconds.

    It is frozen while the API server deletes, and the clock runs from its thaw.
    """
    async with watching(site.admin) as witness, connect(site.admin) as admin:
        await witness.until(lambda: len(witness.ready) == tenants, "every tenant Ready")
        gone = [Ref.of(child) for child in chain.from_iterable(children.values())]
        with site.operator.frozen():
            await _delete(admin, children)
            await witness.until(lambda: not any(ref in witness.uids for ref in gone), "all are gone")
        began = time.perf_counter()
        await witness.until(lambda: all(ref in witness.uids for ref in gone), "all are back")
        back = witness.children_changed
        await witness.until(lambda: len(witness.ready) == tenants, "every tenant Ready again")
    return back - began


async def see_repaired_meanwhile(site: Site, children: Mapping[str, Sequence[Manifest]], tenants: int) -> Repaired:
    """Delete namespaces' children while the operator runs, and see them come back."""
    async with watching(site.admin) as witness, connect(site.admin) as admin:
        await witness.until(lambda: len(witness.ready) == tenants, "every tenant Ready")
        gone = {ref: witness.uids[ref] for ref in map(Ref.of, chain.from_iterable(children.values()))}
        began = time.perf_counter()
        deleted = await _delete(admin, children)
        await witness.until(lambda: all(witness.uids.get(ref, uid) != uid for ref, uid in gone.items()), "all are back")
        back = witness.children_changed
        await witness.until(lambda: len(witness.ready) == tenants, "every tenant Ready again")
    return Repaired(deleted, back - began)


async def repair_plainly(site: Site, children: Mapping[str, Sequence[Manifest]]) -> float:
    """Delete children that nobody repairs and create them by plain POSTs; give the seconds that the latter took."""
    gone = list(chain.from_iterable(children.values()))
    async with watching(site.admin) as witness, connect(site.admin) as admin, connect(site.account) as account:
        await _delete(admin, children)
        await witness.until(lambda: not any(Ref.of(child) in witness.uids for child in gone), "all are gone")
        return await account.send([[post(child)] for child in gone], CONCURRENCY)


def restart(site: Site) -> Restarted:
    """Stop the operator and start it, with everything in place."""
    operator = site.operator
    site.stop_operator()
    versions = _versions(site)
    began = time.perf_counter()
    operator.start()
    seconds = at_rest(operator) - began
    writes = sum(count for (kind, _), count in Readings.of(operator).writes.items() if kind not in {"Lease", "Event"})
    changed = sorted(name for name, version in _versions(site).items() if versions.get(name) != version)
    return Restarted(seconds, writes, changed)


@dataclass(frozen=True)
class Readings:
    """What the operator's metrics say at one moment.

    Attributes:
        cpu_seconds: how long it has computed.
        writes: how many writes of it the API server accepted, by kind and verb.
        passes: how many reconciliations there were, by kind and result.
        requests: how many requests it has made, without those that never end.
        waiting: how many keys wait in its queue.
    """

    cpu_seconds: float
    writes: Counter[tuple[str, str]]
    passes: Counter[tuple[str, str]]
    requests: float
    waiting: float

    @classmethod
    def of(cls, operator: OperatorProcess) -> Readings:
        """Ask the operator."""
        series = defaultdict(list)
        for family in text_string_to_metric_families(operator.get("/metrics")):
            for sample in family.samples:
                series[sample.name.removeprefix("gpu_tenancy_")].append((sample.labels, sample.value))
        writes, passes = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for labels, value in series["api_writes_total"]:
            writes[labels["kind"], labels["verb"]] += int(value)
        for labels, value in series["reconciles_total"]:
            passes[labels["kind"], labels["result"]] += int(value)
        return cls(
            cpu_seconds=sum(value for _, value in series["process_cpu_seconds_total"]),
            writes=writes,
            passes=passes,
            requests=sum(value for labels, value in series["api_requests_total"] if labels["kind"] not in _BY_ITSELF),
            waiting=sum(value for _, value in series["queue_depth"]),
        )


def at_rest(operator: OperatorProcess) -> float:
    """Wait until the operator is at rest, and give the instant since which it has been.

    Raises:
        TimeoutError: it does not come to rest.
    """
    since, last = time.perf_counter(), None
    deadline = since + _PATIENCE_SECONDS
    while time.perf_counter() < deadline:
        now = Readings.of(operator)
        if now.waiting or (now.requests, now.passes) != last:
            since, last = time.perf_counter(), (now.requests, now.passes)
        elif time.perf_counter() - since > _STEADY_SECONDS:
            return since
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"the operator is not at rest after {_PATIENCE_SECONDS:.0f} s")


def _versions(site: Site) -> dict[str, str]:
    """Read the version of everything that the operator writes, but for nodes, which report by themselves."""
    kinds = ("namespaces", *(one.plural for one in CHILDREN), "priorityclasses", "itn", "pool", "reg", "gres")
    return site.cluster.versions(*kinds)


def _by_namespace(witness: Witness, tenants: int) -> dict[str, list[Manifest]]:
    """Sort what stands by namespace, and make sure that nothing is missing anywhere."""
    groups: dict[str, list[Manifest]] = {}
    for ref in sorted(witness.uids, key=lambda ref: witness.order[ref]):
        groups.setdefault(ref.namespace or ref.name, []).append(witness.manifest(ref))
    shapes = {tuple(sorted(Counter(one["kind"] for one in group).items())) for group in groups.values()}
    expected = {"Namespace", *(resource.kind for resource in CHILDREN)}
    if (
        len(groups) != tenants * NAMESPACES_PER_TENANT
        or len(shapes) != 1
        or {kind for kind, _ in min(shapes)} != expected
    ):
        raise RuntimeError(f"{len(groups)} namespaces, and not the same in each: {shapes}")
    return groups
