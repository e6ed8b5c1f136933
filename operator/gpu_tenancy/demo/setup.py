"""From nothing to tenants: control plane, charts, nodes, operator, pools, tenants."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_tenancy.demo import scenario
from gpu_tenancy.demo.observe import NotObserved, NotYet, eventually
from gpu_tenancy.demo.world import (
    ADMISSION_POLICY,
    CUSTOM_RESOURCE,
    OPERATOR_NAMESPACE,
    OURS,
    POOL,
    TENANT,
)
from gpu_tenancy.domain.naming import MANAGED_SELECTOR, TENANT_LABEL
from gpu_tenancy.kube.resource import LEASE, NAMESPACE, NETWORK_POLICY, NODE, RESOURCE_QUOTA, ROLE_BINDING
from gpu_tenancy.localcluster import nodes

if TYPE_CHECKING:
    from gpu_tenancy.demo.world import Object, World
    from gpu_tenancy.kube.resource import Resource

CHARTS = Path(__file__).parents[3] / "charts"
COUNT_SECONDS = 2.0
"""A quota that was just written Kubernetes may count once more, overlooking pods that were admitted meanwhile."""
POOL_OF_MODEL = {"dgx-b200": "b200", "dgx-gb200": "gb200", "rtx-pro": "rtx-pro"}


async def start_control_plane(world: World) -> str:
    """Start the processes of a Kubernetes control plane."""
    await asyncio.to_thread(world.control_plane.start)
    version = json.loads(await asyncio.to_thread(world.control_plane.kubectl, "get", "--raw=/version"))["gitVersion"]
    return f"kube-apiserver {version} answers at {world.control_plane.url}"


async def install_charts(world: World) -> str:
    """Install the kinds, the roles and the admission policies; the operator runs outside."""
    install = ("install", "--namespace", OPERATOR_NAMESPACE, "--create-namespace")
    helm = world.control_plane.helm
    await asyncio.to_thread(helm, *install, "gpu-tenancy-crds", str(CHARTS / "gpu-tenancy-crds"))
    await asyncio.to_thread(
        helm, *install, "gpu-tenancy", str(CHARTS / "gpu-tenancy"), "--set", "operator.enabled=false"
    )
    for kind in OURS.values():
        await eventually(f"{kind.kind} served", partial(_established, world, kind))
    policies = await world.list(ADMISSION_POLICY)
    return f"{', '.join(OURS)} are served; {len(policies)} validating admission policies stand"


async def _established(world: World, kind: Resource) -> None:
    stored = await world.admin.get(CUSTOM_RESOURCE, f"{kind.plural}.{kind.group}")
    if not any(c["type"] == "Established" and c["status"] == "True" for c in stored["status"].get("conditions", ())):
        raise NotYet(f"{kind.plural} is not established")


async def simulate_nodes(world: World) -> str:
    """Add the nodes of two data centres."""
    wanted = sum(batch.count for batch in world.batches)
    added = 0

    def progress(more: int) -> None:
        nonlocal added
        added += more
        world.say(f"{added} of {wanted}")

    for batch in world.batches:
        await nodes.add(
            world.control_plane,
            model=batch.model,
            count=batch.count,
            region=batch.region,
            zone=batch.zone,
            progress=progress,
        )
    stored = await world.list(NODE)
    if len(stored) != wanted or not all(map(_is_ready, stored)):
        raise NotObserved(f"{sum(map(_is_ready, stored))} of {wanted} nodes are Ready")
    gpus = sum(int(node["status"]["allocatable"].get("nvidia.com/gpu", 0)) for node in stored)
    by_model = ", ".join(f"{batch.count} {batch.model}" for batch in world.batches if batch.gpus)
    return f"{wanted} nodes are Ready with {gpus:,} GPUs: {by_model}, the others without GPUs"


def _is_ready(node: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", ()))


async def start_operator(world: World) -> str:
    """Start the operator with the rights of its service account."""
    world.operator.start()
    await eventually("the operator leading", world.operator.leads)
    lease = await world.admin.get(LEASE, "gpu-tenancy", OPERATOR_NAMESPACE)
    return f"{lease['spec']['holderIdentity']} holds the Lease, and its caches are complete"


async def offer_pools(world: World) -> str:
    """Describe the regions and what stands in them."""
    for manifest in [*scenario.objects("01-regions"), *scenario.quickened_pools()]:
        await world.create(manifest)
    standing = {POOL_OF_MODEL[batch.model]: batch.gpus for batch in world.batches if batch.model in POOL_OF_MODEL}

    async def usable() -> None:
        for name, gpus in standing.items():
            await world.condition(POOL, name, "Ready")
            seen = (await world.admin.get(POOL, name))["status"].get("usable", 0)
            if seen != gpus:
                raise NotYet(f"{seen} of {gpus} GPUs of {name} are usable")

    await eventually("all pools usable", usable)
    return "usable GPUs: " + ", ".join(f"{name} {gpus:,}" for name, gpus in standing.items())


async def admit_tenants(world: World) -> str:
    """Create the tenants and wait for all that each of them gets."""
    tenants = scenario.objects("03-tenants")
    for manifest in tenants:
        await world.create(manifest)
    names = [tenant["metadata"]["name"] for tenant in tenants]
    for name in names:
        await eventually(f"{name} Ready", partial(world.condition, TENANT, name, "Ready"))
    await eventually("all quotas counted", partial(_counted, world))
    await asyncio.sleep(COUNT_SECONDS)
    namespaces = [namespace["name"] for tenant in tenants for namespace in tenant["spec"]["namespaces"]]
    stored = {namespace["metadata"]["name"] for namespace in await world.list(NAMESPACE, labels=TENANT_LABEL)}
    if missing := set(namespaces) - stored:
        raise NotObserved(f"tenants are Ready without their namespaces {', '.join(sorted(missing))}")
    amounts = {
        kind: sum([len(await world.list(resource, namespace)) for namespace in namespaces])
        for kind, resource in {
            "quotas": RESOURCE_QUOTA,
            "network policies": NETWORK_POLICY,
            "role bindings": ROLE_BINDING,
        }.items()
    }
    return f"{', '.join(names)}: {len(namespaces)} namespaces with " + ", ".join(
        f"{amount} {kind}" for kind, amount in amounts.items()
    )


async def _counted(world: World) -> None:
    for quota in await world.list(RESOURCE_QUOTA, labels=MANAGED_SELECTOR):
        if quota.get("status", {}).get("hard") != quota["spec"]["hard"]:
            raise NotYet(f"{quota['metadata']['namespace']}/{quota['metadata']['name']} is not")


async def refuse_residency(world: World) -> str:
    """Create the tenant whose data may not leave the EU, with a region that is not in it."""
    [manifest] = scenario.objects("04-tenant-refused")
    await world.create(manifest)
    name = manifest["metadata"]["name"]
    stalled = await eventually(f"{name} refused", lambda: world.condition(TENANT, name, "Stalled"))
    if await world.list(NAMESPACE, labels=f"{TENANT_LABEL}={name}"):
        raise NotObserved(f"{name} was refused and has a namespace all the same")
    return f"{name}: {stalled['message']}"
