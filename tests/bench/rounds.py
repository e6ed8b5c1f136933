"""The rounds of a run: an operator and a floor in turn, and what is done to the operator in the last one."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.measures import (
    Provisioned,
    Repaired,
    Restarted,
    Written,
    at_rest,
    choose,
    provision,
    repair_plainly,
    restart,
    see_repaired,
    see_repaired_meanwhile,
    write_plainly,
)
from bench.pods import Created, create_pods, declare_tenant
from bench.report import Figure
from bench.site import NAMESPACES_PER_TENANT, add_nodes, fresh_site, tenants
from bench.windows import open_windows, p99, raise_plainly
from bench.witness import CHILDREN

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.raw import Manifest
    from bench.site import Site

PROVISION_RATIO = 1.5
REPAIR_RATIO = 2.0
POLICY_RATIO = 1.2
LAG_SECONDS = 1.0
PEAK_MIB = 150.0
RESTART_SECONDS = 5.0


@dataclass(frozen=True)
class Size:
    """How much is measured, and how often.

    Attributes:
        tenants: how many are provisioned.
        deleted: how many children, at least, are deleted at once.
        rounds: how often tenants are provisioned.
        repeats: how often children are deleted, and the operator is restarted.
        batches: how many batches of pods are created with the policies, and how many without.
        pods: how many are in a batch.
        reservations: how many one pool has when the planner alone is measured.
    """

    tenants: int
    deleted: int
    rounds: int
    repeats: int
    batches: int
    pods: int
    reservations: int

    def to_json(self) -> dict[str, int]:
        """Give it all."""
        return asdict(self) | {"namespaces": self.tenants * NAMESPACES_PER_TENANT}


FULL = Size(tenants=200, deleted=500, rounds=2, repeats=3, batches=12, pods=40, reservations=10_000)
QUICK = Size(tenants=20, deleted=50, rounds=1, repeats=1, batches=1, pods=10, reservations=1_000)


@dataclass
class Results:
    """What was measured on control planes; `peaks` in MiB, other bare numbers in seconds."""

    kubernetes: str = ""
    provisioned: list[Provisioned] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    deleted: str = ""
    repaired: list[float] = field(default_factory=list)
    rewritten: list[float] = field(default_factory=list)
    repaired_meanwhile: list[Repaired] = field(default_factory=list)
    restarted: list[Restarted] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    plain_lags: list[float] = field(default_factory=list)
    pods: Created = field(default_factory=lambda: Created([], []))

    def figures(self, size: Size) -> list[Figure]:
        """Put them beside their floors and targets."""
        namespaces = size.tenants * NAMESPACES_PER_TENANT
        objects = sum(map(len, self.provisioned[-1].objects.values()))
        windows = f"activation, {len(self.lags)} windows at once"
        pods = size.batches * size.pods
        seconds = [one.seconds for one in self.provisioned]
        what = f"{size.tenants} tenants, {namespaces} namespaces, {objects:,} objects"
        again = [one.seconds for one in self.restarted]
        meanwhile = self.repaired_meanwhile
        return [
            Figure(f"provision {what}", seconds, "s", [one.seconds for one in self.written], PROVISION_RATIO),
            Figure(
                "CPU time meanwhile, control plane and client",
                [one.cpu_seconds for one in self.provisioned],
                "s",
                [one.cpu_seconds for one in self.written],
            ),
            Figure("the operator's part of it", [one.own_seconds for one in self.provisioned], "s"),
            Figure("peak memory", [max(self.peaks)], "MiB", target=PEAK_MIB, below=True),
            Figure("restart, nothing changed: writes", [one.writes for one in self.restarted], "", target=0),
            Figure(
                "restart, nothing changed: new versions", [len(one.changed) for one in self.restarted], "", target=0
            ),
            Figure("restart, nothing changed: steady", again, "s", target=RESTART_SECONDS, below=True),
            Figure(f"drift, {self.deleted} at once: all back", self.repaired, "s", self.rewritten, REPAIR_RATIO),
            Figure("drift: while the operator sees it, all back", [one.back for one in meanwhile], "s"),
            Figure("drift: while the operator sees it, the deletions", [one.deleted for one in meanwhile], "s"),
            Figure(f"{windows}: lag, p99", [p99(self.lags)], "s", target=LAG_SECONDS, below=True),
            Figure(f"{windows}: against plain PATCHes", [p99(self.lags)], "s", [p99(self.plain_lags)]),
            Figure(f"{windows}: early", [sum(lag < 0 for lag in self.lags)], "", target=0),
            Figure(f"{pods} pods created, p50", self.pods.fenced, "ms", self.pods.unfenced, POLICY_RATIO),
        ]

    def details(self, size: Size) -> dict[str, Any]:
        """Say how much the operator did for each tenant and namespace."""
        last = self.provisioned[-1]
        namespaces = size.tenants * NAMESPACES_PER_TENANT
        kinds = Counter(one["kind"] for one in chain.from_iterable(last.objects.values()))
        return {
            "objects_per_namespace": {kind: number / namespaces for kind, number in kinds.items()},
            "writes": {f"{verb} {kind}": number for (kind, verb), number in sorted(last.writes.items())},
            "writes_per_namespace": sum(last.writes[kind, verb] for kind, verb in last.writes if kind in kinds)
            / namespaces,
            "status_writes_per_tenant": last.writes["IndustrialTenant", "patch"] / size.tenants,
            "passes": {f"{kind} {result}": number for (kind, result), number in sorted(last.passes.items())},
            "passes_per_tenant": sum(n for (kind, _), n in last.passes.items() if kind == "IndustrialTenant")
            / size.tenants,
            "changed_by_restart": [list(one.changed) for one in self.restarted],
        }

    def quota(self) -> Manifest:
        """Give one of the GPU quotas that were written."""
        objects = chain.from_iterable(self.provisioned[-1].objects.values())
        return next(one for one in objects if one["metadata"]["name"].endswith("-spot"))


def run(size: Size, say: Callable[[str], None]) -> Results:
    """Measure everything that needs a control plane."""
    results = Results()
    for number in range(1, size.rounds + 1):
        with tempfile.TemporaryDirectory(prefix="gpu-tenancy-bench-") as folder:
            say(f"round {number} of {size.rounds}: a new control plane")
            with fresh_site(Path(folder) / "operated", size.tenants) as site:
                results.kubernetes = site.control_plane.version
                say("the operator provisions")
                provisioned = asyncio.run(provision(site, tenants(size.tenants)))
                results.provisioned.append(provisioned)
                if number == size.rounds:
                    _disturb(site, provisioned, size, results, say)
                results.peaks.append(site.peak_mib())
            say("a new control plane for the floor")
            with fresh_site(Path(folder) / "plain", size.tenants) as site:
                site.stop_operator()
                say("plain POSTs")
                results.written.append(asyncio.run(write_plainly(site, provisioned.objects)))
    return results


def _disturb(site: Site, provisioned: Provisioned, size: Size, results: Results, say: Callable[[str], None]) -> None:
    children = choose(provisioned.objects, size.deleted)
    number, requests = sum(map(len, children.values())), len(CHILDREN) * len(children)
    results.deleted = f"{number} children deleted"
    for _ in range(size.repeats):
        at_rest(site.operator)
        say(f"{results.deleted} at once")
        results.repaired.append(asyncio.run(see_repaired(site, children, size.tenants)))
        at_rest(site.operator)
        say(f"the same by {requests} requests, while the operator sees it")
        results.repaired_meanwhile.append(asyncio.run(see_repaired_meanwhile(site, children, size.tenants)))
        site.stop_operator()
        say("plain POSTs of the same")
        results.rewritten.append(asyncio.run(repair_plainly(site, children)))
        site.operator.start()
    for _ in range(size.repeats):
        at_rest(site.operator)
        say("the operator is restarted")
        results.restarted.append(restart(site))
    say(f"{size.tenants} windows start at the same second")
    add_nodes(site, size.tenants)
    results.lags = asyncio.run(open_windows(site, tenants(size.tenants)))
    declare_tenant(site)
    at_rest(site.operator)
    site.stop_operator()
    say("plain PATCHes of the same quotas")
    results.plain_lags = asyncio.run(raise_plainly(site, tenants(size.tenants)))
    say("pods are created with the policies and without")
    results.pods = asyncio.run(create_pods(site, size.batches, size.pods))
    site.operator.start()
