"""A reservation: accepted, opened, closed on time, and who gives way to it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gpu_tenancy.api.common import parse_instant
from gpu_tenancy.demo import scenario
from gpu_tenancy.demo.observe import PATIENCE, NotObserved, NotYet, eventually, refusal
from gpu_tenancy.demo.tenancy import OVER_QUOTA, is_running, running
from gpu_tenancy.demo.world import POOL, RESERVATION
from gpu_tenancy.domain.naming import Tier, priority_class
from gpu_tenancy.kube.errors import ApiError
from gpu_tenancy.kube.resource import JOB, POD, RESOURCE_QUOTA

if TYPE_CHECKING:
    from gpu_tenancy.demo.world import Object, World

NAME, NAMESPACE, POOL_NAME = "evening-training", "robotics-train", "gb200"
JOB_NAME, JOB_PODS = "grasping-policy", 8
SPOT_NAMESPACE, SPOT_APP, SPOT_PODS = "university-research", "protein-folding", 18
LEAD_TIME = timedelta(seconds=15)
ON_TIME = timedelta(seconds=3)
"""How late an opening or a closing may be seen, on a machine that is busy with a whole control plane."""


async def fill_with_spot(world: World) -> str:
    """Let the university use what is idle: the whole rack."""
    [job] = scenario.objects("06-spot-job")
    manifest = scenario.as_users_write(job, world.control_plane.kubernetes)
    await world.create(manifest, by=world.person("university-researcher"))
    return await _spot_runs_everywhere(world)


async def _spot_runs_everywhere(world: World) -> str:
    await eventually("spot pods on every tray", lambda: running(world, SPOT_NAMESPACE, SPOT_APP, SPOT_PODS))
    return f"{SPOT_PODS} spot pods with 4 GPUs each run, one on each tray of the rack"


async def accept_reservation(world: World) -> str:
    """Reserve half a rack for three of the demo's hours."""
    await _reserve(world)
    ready = await eventually("Scheduled", lambda: _condition(world, "Ready", reason="Scheduled"))
    await eventually("not active before its start", lambda: _condition(world, "Active", status="False"))
    return str(ready["message"])


async def _reserve(world: World) -> None:
    manifest = scenario.reservation(await world.admin.get(POOL, POOL_NAME), datetime.now(UTC) + LEAD_TIME)
    try:
        await world.create(manifest, by=world.person("robotics-engineer"))
    except ApiError as error:
        raise NotObserved(f"the reservation was not stored: {error.message}") from error


async def _condition(world: World, kind: str, *, status: str = "True", reason: str = "") -> dict[str, str]:
    found = await world.condition(RESERVATION, NAME, kind, namespace=NAMESPACE, status=status, reason=reason)
    return dict(found)


async def _window(world: World) -> tuple[datetime, datetime]:
    window = (await world.admin.get(RESERVATION, NAME, NAMESPACE))["status"]["window"]
    return parse_instant(window["start"]), parse_instant(window["end"])


async def refuse_second_reservation(world: World) -> str:
    """Ask for more than is left beside the first one."""
    first = await world.admin.get(RESERVATION, NAME, NAMESPACE)
    _, end = await _window(world)
    metadata = {"name": "crash-test", "namespace": "automotive-train"}
    manifest = {**first, "metadata": metadata, "spec": {**first["spec"], "gpus": 48}}
    del manifest["status"]
    await world.create(manifest, by=world.person("automotive-engineer"))
    stalled = await eventually(
        "a second reservation refused",
        lambda: world.condition(RESERVATION, metadata["name"], "Stalled", namespace=metadata["namespace"]),
    )
    status = (await world.admin.get(RESERVATION, metadata["name"], metadata["namespace"]))["status"]
    offers = [parse_instant(offer["start"]) for offer in status.get("offers", ())]
    if not offers or min(offers) < end:
        raise NotObserved(f"the earliest fit is not after the first window: {status.get('offers')}")
    return str(stalled["message"])


async def hold_job_back(world: World) -> str:
    """Submit a suspended Job, and try to start a pod before the window opens."""
    [job] = scenario.objects("08-training-job")
    kubernetes, engineer = world.control_plane.kubernetes, world.person("robotics-engineer")
    await world.create(scenario.as_users_write(job, kubernetes), by=engineer)
    pod = scenario.as_users_write(scenario.bare_pod(job, "too-early", gpus=4), kubernetes)
    reason = await refusal(world.create(pod, by=engineer), "a pod before its window", OVER_QUOTA)
    if await world.list(POD, NAMESPACE, labels=f"app={JOB_NAME}"):
        raise NotObserved("the Job has pods before its window")
    start, _ = await _window(world)
    if datetime.now(UTC) >= start:
        raise NotObserved(
            "the window opened before the Job was submitted: this machine is too busy for the demo's pace"
        )
    return f"the Job waits; a pod of it is refused: {reason}"


async def open_window(world: World) -> str:
    """Watch the quota rise at the start."""
    start, _ = await _window(world)
    remaining = (start - datetime.now(UTC)).total_seconds()
    world.say(f"opens in {remaining:.0f} s")

    async def opened() -> datetime:
        hard = await _reserved_quota(world)
        if hard != 8 * 4:
            raise NotYet(f"the reserved quota is {hard}")
        return datetime.now(UTC)

    seen = await eventually("the window open", opened, within=remaining + PATIENCE)
    _require_on_time("opened", seen, start)
    await eventually("Active", lambda: _condition(world, "Active"))
    return f"quota {priority_class(POOL_NAME, Tier.RESERVED)} is 32, {_relative(seen, start)} the start at {start:%H:%M:%S}"


async def _reserved_quota(world: World) -> int:
    """Read how many reserved GPUs the namespace may use now; without a quota of its own the closing quota says none."""
    try:
        quota = await world.admin.get(RESOURCE_QUOTA, priority_class(POOL_NAME, Tier.RESERVED), NAMESPACE)
    except ApiError as error:
        if error.is_not_found:
            return 0
        raise
    return int(quota["spec"]["hard"]["requests.nvidia.com/gpu"])


def _require_on_time(what: str, seen: datetime, due: datetime) -> None:
    if not due <= seen <= due + ON_TIME:
        raise NotObserved(f"{what} {_relative(seen, due)} {due:%H:%M:%S}")


def _relative(seen: datetime, due: datetime) -> str:
    seconds = (seen - due).total_seconds()
    return f"{abs(seconds):.1f} s {'after' if seconds >= 0 else 'before'}"


async def preempt_spot(world: World) -> str:
    """Watch the Job resume and spot pods make room for it."""
    pods = await eventually("the Job's pods running", lambda: running(world, NAMESPACE, JOB_NAME, JOB_PODS))
    job = await world.admin.get(JOB, JOB_NAME, NAMESPACE)
    if job["spec"].get("suspend"):
        raise NotObserved("the Job has pods and is suspended")
    spot = await world.list(POD, SPOT_NAMESPACE, labels=f"app={SPOT_APP}")
    left = sum(is_running(pod) for pod in spot)  # the scheduler sometimes preempts one more than it needs
    trays = {pod["spec"]["nodeName"] for pod in pods}
    if left > SPOT_PODS - len(trays):
        raise NotObserved(f"{left} spot pods run beside those of the Job")
    return f"the Job was resumed and runs on {len(trays)} trays; {SPOT_PODS - left} spot pods were preempted, {left} still run"


async def give_notice(world: World) -> str:
    """Wait for the warning that the end is near."""
    _, end = await _window(world)
    within = (end - datetime.now(UTC)).total_seconds()
    world.say("waiting for the notice")
    notice = await eventually("notice before the end", lambda: _condition(world, "EndingSoon"), within=within)
    return f"{_relative(datetime.now(UTC), end)} the end: {notice['message']}"


async def close_window(world: World) -> str:
    """Watch the Job being suspended, its pods going, and the quota falling to zero by the end."""
    _, end = await _window(world)
    within = (end - datetime.now(UTC)).total_seconds() + PATIENCE
    world.say(f"closes at {end:%H:%M:%S} UTC")

    async def suspended() -> datetime:
        job: Object = await world.admin.get(JOB, JOB_NAME, NAMESPACE)
        if not job["spec"].get("suspend"):
            raise NotYet("the Job is not suspended")
        return datetime.now(UTC)

    async def gone() -> datetime:
        if pods := await world.list(POD, NAMESPACE, labels=f"app={JOB_NAME}"):
            raise NotYet(f"{len(pods)} pods of the Job are there")
        return datetime.now(UTC)

    async def closed() -> datetime:
        if hard := await _reserved_quota(world):
            raise NotYet(f"the reserved quota is {hard}")
        return datetime.now(UTC)

    seen = dict(
        zip(
            ("Job suspended", "pods gone", "quota 0"),
            await asyncio.gather(
                eventually("the Job suspended", suspended, within=within),
                eventually("the pods gone", gone, within=within),
                eventually("the quota closed", closed, within=within),
            ),
            strict=True,
        )
    )
    if late := [what for what, when in seen.items() if when > end + ON_TIME]:
        raise NotObserved(", ".join(f"{what} {_relative(seen[what], end)} the end" for what in late))
    await eventually("not active any more", lambda: _condition(world, "Active", status="False"))
    return ", ".join(f"{what} {_relative(when, end)}" for what, when in seen.items()) + f" the end at {end:%H:%M:%S}"


async def return_to_spot(world: World) -> str:
    """Watch the idle GPUs go back to the university, and after the cleaning gap be free to promise again."""
    await eventually("the reservation completed", lambda: _condition(world, "Ready", reason="Completed"))

    async def free() -> int:
        pool = await world.admin.get(POOL, POOL_NAME)
        status = pool["status"]
        unpromised = status["usable"] - status.get("guaranteed", 0) - pool["spec"]["headroom"]
        if status.get("free", 0) != unpromised:
            raise NotYet(f"{status.get('free', 0)} of {unpromised} GPUs of {POOL_NAME} are free")
        return int(unpromised)

    gpus = await eventually("the GPUs free", free)
    return f"{await _spot_runs_everywhere(world)}; {gpus} GPUs are free to promise"
