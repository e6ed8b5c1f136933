"""What holds without the operator, and what the operator does when it comes back."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gpu_tenancy.demo.observe import NotObserved, NotYet, eventually, refusal
from gpu_tenancy.demo.tenancy import refuse_over_quota
from gpu_tenancy.demo.world import OPERATOR_NAMESPACE, OURS
from gpu_tenancy.domain.naming import BASE_QUOTA, CHART_SELECTOR, MANAGED_BY_LABEL, OPERATOR
from gpu_tenancy.kube.resource import (
    LEASE,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    NODE,
    POD,
    PRIORITY_CLASS,
    RESOURCE_QUOTA,
    ROLE_BINDING,
)

if TYPE_CHECKING:
    from gpu_tenancy.demo.world import Object, World

TENANT_NAMESPACE, FOREIGN_NAMESPACE = "robotics-serve", "university-research"
MANAGED = f"{MANAGED_BY_LABEL}={OPERATOR}"
WRITTEN_BY_THE_OPERATOR = (
    *OURS.values(),
    NAMESPACE,
    RESOURCE_QUOTA,
    LIMIT_RANGE,
    NETWORK_POLICY,
    ROLE_BINDING,
    PRIORITY_CLASS,
    NODE,
)
QUIET_SECONDS = 3


async def kill_operator(world: World) -> str:
    """Kill the operator, once it has nothing left to do, and try what it forbids."""
    await eventually("all quotas as Kubernetes can count them", partial(_quotas_name_what_is_counted, world))
    world.operator.kill()
    over_quota = await refuse_over_quota(world)
    owner = world.person("robotics-owner")
    [binding, *_] = await world.list(ROLE_BINDING, TENANT_NAMESPACE, labels=MANAGED, by=owner)
    await refusal(
        owner.delete(ROLE_BINDING, binding["metadata"]["name"], TENANT_NAMESPACE),
        "a tenant deleting the operator's RoleBinding",
        "belongs to the operator",
    )
    await refusal(
        world.list(POD, FOREIGN_NAMESPACE, by=owner), "reading another tenant's pods", 'cannot list resource "pods"'
    )
    if world.operator.running:
        raise NotObserved("the operator is running")
    return f"killed; still refused: {over_quota}; deleting its RoleBinding; reading another tenant's pods"


async def _quotas_name_what_is_counted(world: World) -> None:
    """Make sure that the tenants' quotas limit our own kinds if Kubernetes counts them, which it begins to do sometime."""
    [chart] = await world.list(RESOURCE_QUOTA, OPERATOR_NAMESPACE, labels=CHART_SELECTOR)
    counted = chart.get("status", {}).get("used", {}).keys()
    for quota in await world.list(RESOURCE_QUOTA, labels=MANAGED):
        if quota["metadata"]["name"] == BASE_QUOTA and (missing := counted - quota["spec"]["hard"].keys()):
            raise NotYet(f"the quota of {quota['metadata']['namespace']} does not name {', '.join(sorted(missing))}")


async def restart_operator(world: World) -> str:
    """Start it again, and compare every object that it could have written."""
    before = await _states(world)
    holder = (await world.admin.get(LEASE, "gpu-tenancy", OPERATOR_NAMESPACE))["spec"]["holderIdentity"]
    world.operator.start()
    await eventually("the operator leading again", world.operator.leads)
    lease: Object = await world.admin.get(LEASE, "gpu-tenancy", OPERATOR_NAMESPACE)
    if lease["spec"]["holderIdentity"] == holder:
        raise NotObserved("the operator says that it is ready and does not hold the Lease")
    await asyncio.sleep(QUIET_SECONDS)
    after = await _states(world)
    writes = await eventually("its metrics", world.operator.writes)
    if before != after or writes:
        changed = sorted(name for name in before | after if before.get(name) != after.get(name))
        raise NotObserved(f"the restarted operator wrote {writes} times; changed: {', '.join(changed) or 'nothing'}")
    return f"0 writes, and none of {len(after):,} objects that it looks after has changed"


async def _states(world: World) -> dict[str, object]:
    """Read the version of everything that only the operator writes, and of the rest all but what others report of it."""
    return {
        f"{resource.kind} {stored['metadata'].get('namespace', '')}/{stored['metadata']['name']}": _state(stored)
        for resource in WRITTEN_BY_THE_OPERATOR
        for stored in await world.list(resource)
    }


def _state(stored: Object) -> object:
    metadata = stored["metadata"]
    if stored["kind"] in {NODE.kind, RESOURCE_QUOTA.kind}:  # which kubelets and Kubernetes' counting write as well
        return metadata.get("labels"), metadata.get("annotations"), stored["spec"]
    return metadata["resourceVersion"]


async def repair_drift(world: World) -> str:
    """Delete a network policy as the administrator."""
    [policy, *_] = await world.list(NETWORK_POLICY, TENANT_NAMESPACE, labels=MANAGED)
    name = policy["metadata"]["name"]
    await world.admin.delete(NETWORK_POLICY, name, TENANT_NAMESPACE)

    async def back() -> None:
        again = await world.admin.get(NETWORK_POLICY, name, TENANT_NAMESPACE)
        if again["metadata"]["uid"] == policy["metadata"]["uid"]:
            raise NotYet("it is not deleted")
        if again["spec"] != policy["spec"]:
            raise NotYet("it differs from what it was")

    await eventually(f"NetworkPolicy {name} back", back)
    return f"NetworkPolicy {name} was deleted by the administrator and is back as it was"
