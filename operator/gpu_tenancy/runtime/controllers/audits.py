"""Audits: where tenants' pods, volumes and snapshots are, and which admission policies are in force.

None of these is watched. Everything is listed now and then, the pods of a node when it moves, and what was found where
it may not be again soon, until it is gone.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from gpu_tenancy.domain.naming import CHART_SELECTOR
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.domain.whereabouts import Atlas, Item, Residence, judge, residence
from gpu_tenancy.kube.errors import ApiError
from gpu_tenancy.kube.resource import (
    MUTATING_POLICY,
    MUTATING_POLICY_BINDING,
    PERSISTENT_VOLUME,
    POD,
    RESOURCE_QUOTA,
    VALIDATING_POLICY,
    VALIDATING_POLICY_BINDING,
    VOLUME_SNAPSHOT,
)
from gpu_tenancy.reconcile.audit import CHART_POLICIES, Audit, Policies
from gpu_tenancy.runtime.keys import Key, Topic
from gpu_tenancy.runtime.world import readable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from datetime import datetime
    from typing import Any, Unpack

    from gpu_tenancy.kube.client import Selection
    from gpu_tenancy.kube.resource import Resource
    from gpu_tenancy.runtime.controllers.tools import Tools
    from gpu_tenancy.runtime.fleet import Fleet

# No node can be called so.
EVERYTHING = "*"
FINDINGS = "*findings"
LOOK_AGAIN = timedelta(seconds=60)
BUSY = 1.0
_MOST_SINGLE_LOOKS = 32


class Audits:
    """What the audits of this term found, by tenant; of a tenant that is younger than the last one nothing is known."""

    def __init__(self) -> None:
        self._residences: Mapping[str, Residence] = {}
        self._policies = Policies()
        self._counted: frozenset[str] = frozenset()
        self._at: datetime | None = None

    @property
    def complete(self) -> bool:
        """Whether everything was looked at once."""
        return self._at is not None

    def of(self, tenant: str) -> Audit | None:
        """Give what is known of a tenant."""
        found = self._residences.get(tenant)
        return None if found is None or self._at is None else Audit(found, self._policies, self._at, self._counted)

    def all(self) -> Mapping[str, Residence]:
        """Give what was found of every tenant."""
        return self._residences

    def outside(self) -> list[Item]:
        """List what is where it may not be, of all tenants."""
        return [item for one in self._residences.values() for item in one.outside]

    def replace(
        self, residences: Mapping[str, Residence], policies: Policies, counted: frozenset[str], at: datetime
    ) -> set[str]:
        """Take a full audit; name the tenants of which it says something new."""
        news = {name for name, found in residences.items() if self._residences.get(name) != found}
        if (self._policies, self._counted) != (policies, counted):
            news |= residences.keys()
        self._residences, self._policies, self._counted, self._at = residences, policies, counted, at
        return news

    def forget(self, tenant: str) -> None:
        """Take in that a tenant is gone."""
        if tenant in self._residences:
            self._residences = {name: found for name, found in self._residences.items() if name != tenant}

    def correct(self, looked_at: Iterable[Item], outside: Mapping[str, Iterable[Item]], node: str = "") -> set[str]:
        """Take a look at single things; name the tenants of which it says something new.

        Args:
            looked_at: what was found outside before and was looked at again.
            outside: what is outside now, by tenant.
            node: whose pods were all looked at.
        """
        again, news, residences = set(looked_at), set(), dict(self._residences)
        for name, before in self._residences.items():
            kept = {item for item in before.outside if item not in again and not (node and item.node == node)}
            after = replace(before, outside=tuple(sorted(kept.union(outside.get(name, ())))))
            if after != before:
                news.add(name)
                residences[name] = after
        self._residences = residences
        return news


class AuditController:
    """Looks at everything, at the pods of a node, or at what was found before."""

    def __init__(self, tools: Tools, fleet: Fleet, audits: Audits) -> None:
        self._world = tools.world
        self._engine = tools.engine
        self._client = tools.client
        self._clock = tools.clock
        self._metrics = tools.metrics
        self._interval = tools.audit_interval
        self._namespace = tools.platform.operator_namespace
        self._fleet = fleet
        self._audits = audits
        self._busy = False

    def begin(self) -> None:
        """Plan the first look: not at once, for a restart has more urgent things to do, unless something was outside."""
        # Spread, so that neither replicas nor restarts all look at the same time.
        share = random.uniform(0.1, 1.0)  # noqa: S311  # spreads load, protects nothing
        delay = self._interval * share
        if any(
            one.type == "ResidencyViolated"
            for tenant in readable(self._world.tenants)
            for one in tenant.status.conditions
        ):
            delay = min(delay, LOOK_AGAIN)
        self._engine.alarms.set(Key(Topic.AUDIT, EVERYTHING), self._clock.now() + delay)

    async def reconcile(self, name: str) -> None:
        """Look, and have the tenants reconciled of which there is something new to say."""
        if self._busy:
            # What is being found may be old already; and a worker must not wait for another.
            self._engine.queue.add_after(Key(Topic.AUDIT, name), BUSY)
            return
        self._busy = True
        try:
            await self._look(name)
        finally:
            self._busy = False

    async def _look(self, name: str) -> None:
        if name == EVERYTHING or not self._audits.complete:
            news = await self._look_at_everything()
        elif name == FINDINGS:
            news = await self._look_at_findings()
        else:
            news = await self._look_at_node(name)
        for tenant in news:
            self._engine.queue.add(Key(Topic.TENANT, tenant))
        again = min(LOOK_AGAIN, self._interval)
        self._engine.alarms.set(
            Key(Topic.AUDIT, FINDINGS), self._clock.now() + again if self._audits.outside() else None
        )
        for tenant, found in self._audits.all().items():
            outside = Counter[str](item.kind for item in found.outside)
            self._metrics.residency(tenant, inside=dict(found.inside), unknown=dict(found.unknown), outside=outside)

    async def _look_at_everything(self) -> set[str]:
        began = self._clock.now()
        placements, atlas = self._placements(), self._atlas()
        items: defaultdict[str, list[Item]] = defaultdict(list)
        strays: dict[tuple[str, str], Item] = {}
        async for raw in self._list(POD):
            if (pod := atlas.pod(raw)) is not None:
                items[self._world.owner(pod.namespace)].append(pod)
        async for raw in self._list(PERSISTENT_VOLUME):
            if (volume := atlas.volume(raw)) is not None:
                owner = self._world.owner(volume.namespace)
                items[owner].append(volume)
                if owner in placements and judge(volume, placements[owner], self._world.catalogue()) == "outside":
                    strays[volume.namespace, raw["spec"]["claimRef"]["name"]] = volume
        async for raw in self._list(VOLUME_SNAPSHOT, optional=True):
            snapshot = atlas.snapshot(raw, strays)
            items[self._world.owner(snapshot.namespace)].append(snapshot)
        catalogue = self._world.catalogue()
        residences = {
            tenant: residence(items[tenant], placement, catalogue) for tenant, placement in placements.items()
        }
        news = self._audits.replace(residences, await self._policies(), await self._counted(), began)
        self._metrics.audited(began.timestamp())
        spread = random.uniform(0.9, 1.1)  # noqa: S311  # as above
        self._engine.alarms.set(Key(Topic.AUDIT, EVERYTHING), self._clock.now() + self._interval * spread)
        return news

    async def _look_at_node(self, node: str) -> set[str]:
        atlas = self._atlas()
        pods = [atlas.pod(raw) async for raw in self._list(POD, field_selector=f"spec.nodeName={node}")]
        return self._audits.correct((), self._outside(pods), node)

    async def _look_at_findings(self) -> set[str]:
        """Look again at what was outside, each by itself unless that would be too many."""
        found = self._audits.outside()
        nodes = {item.node for item in found if item.kind == "Pod"}
        volumes = [item for item in found if item.kind == "PersistentVolume"]
        if len(nodes) + len(volumes) > _MOST_SINGLE_LOOKS or any(item.kind == "VolumeSnapshot" for item in found):
            return await self._look_at_everything()
        news: set[str] = set()
        for node in sorted(nodes):
            news |= await self._look_at_node(node)
        atlas = self._atlas()
        again = [await self._volume(item.name, atlas) for item in volumes]
        return news | self._audits.correct(volumes, self._outside(again))

    async def _volume(self, name: str, atlas: Atlas) -> Item | None:
        try:
            return atlas.volume(await self._client.get(PERSISTENT_VOLUME, name))
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    def _outside(self, items: Iterable[Item | None]) -> Mapping[str, list[Item]]:
        """Pick what is where it may not be, by tenant."""
        placements, catalogue = self._placements(), self._world.catalogue()
        outside: defaultdict[str, list[Item]] = defaultdict(list)
        for item in items:
            tenant = "" if item is None else self._world.owner(item.namespace)
            if item is not None and tenant in placements and judge(item, placements[tenant], catalogue) == "outside":
                outside[tenant].append(item)
        return outside

    async def _policies(self) -> Policies:
        chart = CHART_SELECTOR
        policies = [raw async for raw in self._list(VALIDATING_POLICY, label_selector=chart)]
        policies += [raw async for raw in self._list(MUTATING_POLICY, optional=True, label_selector=chart)]
        bindings = [raw async for raw in self._list(VALIDATING_POLICY_BINDING, label_selector=chart)]
        bindings += [raw async for raw in self._list(MUTATING_POLICY_BINDING, optional=True, label_selector=chart)]
        return Policies.of(policies, bindings, CHART_POLICIES)

    async def _counted(self) -> frozenset[str]:
        """Read off the chart's quota which of its names Kubernetes counts by now: those that have a use, be it zero."""
        return frozenset(
            [
                name
                async for raw in self._list(RESOURCE_QUOTA, self._namespace, label_selector=CHART_SELECTOR)
                for name in raw.get("status", {}).get("used", {})
            ]
        )

    async def _list(
        self, resource: Resource, namespace: str = "", *, optional: bool = False, **selection: Unpack[Selection]
    ) -> AsyncIterator[dict[str, Any]]:
        """List in chunks; none of a kind that may not be served here."""
        try:
            async for page in self._client.list(resource, namespace, **selection):
                for raw in page.items:
                    yield raw
        except ApiError as error:
            if not (optional and error.is_not_found):
                raise

    def _placements(self) -> Mapping[str, Placement]:
        return {tenant.name: Placement.of(tenant.spec.residency) for tenant in readable(self._world.tenants)}

    def _atlas(self) -> Atlas:
        nodes = {entry.key.name: entry.value.facts for entry in self._world.nodes.snapshot().values()}
        return Atlas(nodes, lambda node: self._fleet.home(node).region, self._world.catalogue())
