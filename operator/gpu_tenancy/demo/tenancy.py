"""What tenants run, where it lands, and what they are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.demo import scenario
from gpu_tenancy.demo.observe import NotObserved, NotYet, eventually, refusal
from gpu_tenancy.domain.naming import NODE_POOL_LABEL, NODE_REGION_LABEL
from gpu_tenancy.kube.resource import NODE, POD

if TYPE_CHECKING:
    from gpu_tenancy.demo.world import Object, World

OVER_QUOTA = "exceeded quota: gpu-"


async def place_pods(world: World) -> str:
    """Run a service that names no more than its pool (before Kubernetes 1.36: that writes out every field)."""
    [deployment] = scenario.objects("05-inference")
    manifest = scenario.as_users_write(deployment, world.control_plane.kubernetes)
    await world.create(manifest, by=world.person("robotics-engineer"))
    namespace, replicas = deployment["metadata"]["namespace"], deployment["spec"]["replicas"]
    pods = await eventually("the service running", lambda: running(world, namespace, "perception", replicas))
    for pod in pods:
        labels = (await world.admin.get(NODE, pod["spec"]["nodeName"]))["metadata"]["labels"]
        if (labels.get(NODE_REGION_LABEL), labels.get(NODE_POOL_LABEL)) != ("eu-de", "rtx-pro"):
            raise NotObserved(f"{pod['metadata']['name']} runs on {pod['spec']['nodeName']}, outside its pool")
    written = "it said: pool rtx-pro" if manifest is deployment else "before 1.36 it has to say where"
    first = pods[0]
    return (
        f"{first['metadata']['name']} runs on {first['spec']['nodeName']}, in region eu-de and pool rtx-pro; {written}"
    )


async def running(world: World, namespace: str, app: str, amount: int) -> list[Object]:
    """List the running pods of an app.

    Raises:
        NotYet: there are not exactly so many.
    """
    pods = await world.list(POD, namespace, labels=f"app={app}")
    alive = [pod for pod in pods if is_running(pod)]
    if len(alive) != amount:
        raise NotYet(f"{len(alive)} of {amount} pods of {app} run")
    return alive


def is_running(pod: Object) -> bool:
    """Say whether a pod runs and stays."""
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


async def refuse_over_quota(world: World) -> str:
    """Ask for one GPU more than the tenant was granted."""
    [deployment] = scenario.objects("05-inference")
    pod = scenario.bare_pod(deployment, "one-too-many", gpus=7)
    attempt = world.create(
        scenario.as_users_write(pod, world.control_plane.kubernetes), by=world.person("robotics-engineer")
    )
    return await refusal(attempt, "a pod over its quota", OVER_QUOTA)


async def refuse_foreign_nodes(world: World) -> str:
    """Try to get round the scheduler, and past the taint of somebody else's pool."""
    [deployment] = scenario.objects("05-inference")
    pod = scenario.as_users_write(scenario.bare_pod(deployment, "intruder", gpus=1), world.control_plane.kubernetes)
    intruders: dict[str, Object] = {
        "nodeName": {"nodeName": "eu-de-dgx-b200-0001"},
        "a toleration": {"tolerations": [{"operator": "Exists"}, *pod["spec"].get("tolerations", [])]},
    }
    because = {"nodeName": "spec.nodeName", "a toleration": "tolerate"}
    reasons = [
        await refusal(
            world.create({**pod, "spec": {**pod["spec"], **field}}, by=world.person("robotics-engineer")),
            f"a pod with {name}",
            because[name],
        )
        for name, field in intruders.items()
    ]
    return "; ".join(reasons)
