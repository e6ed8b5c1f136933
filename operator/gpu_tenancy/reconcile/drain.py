"""Who has to go, how, and by when, at the end of a window or with all of a tenant; and the Jobs that go or wait.

Pods are asked to go through the Eviction API from the start of the drain, with as much time as is left. Shortly
before the end what still runs is deleted, disruption budgets or not. Pods of a Job go by suspending the Job, which
keeps its progress and does not count as a failure. A reservation that is gone or over has no time left to give. What
does not go even so, since its node is dead or hangs, is at last deleted by force: it must not hold up whoever is next.

The drain of a suspended tenant is the same, for everything in its namespaces whatever it carries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from gpu_tenancy.api.common import format_duration
from gpu_tenancy.domain.naming import RESERVATION_LABEL, RESUMED_ANNOTATION
from gpu_tenancy.reconcile.demand import extended_resources
from gpu_tenancy.reconcile.plan import Delete, Emit, Evict, Operation, Plan, Ref, Update, plan

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

CHECK_AGAIN = timedelta(seconds=2)
DEFAULT_GRACE = 30
STUCK_AFTER = timedelta(seconds=60)
# All pods of a namespace are listed then, for minutes maybe.
COUNT_AGAIN = timedelta(seconds=5)
_SHOWN_PROBLEMS = 5
OVERRUN = "PodOverrun"


@dataclass(frozen=True, slots=True)
class Phase:
    """Where a reservation, or the drain of a tenant, stands in time.

    Attributes:
        state: before its window, in it, leaving it, or past it.
        token: names the reservation and its window, for Jobs resumed in it.
        last_call: when asking ends and deleting begins.
        end: when the window is over.
        last_grace: how many seconds a pod gets at most that is deleted after the last call.
    """

    state: Literal["before", "active", "draining", "over"]
    token: str
    last_call: datetime
    end: datetime
    last_grace: int = 1


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A Job; `reservation` is what its pods' label says, or empty."""

    namespace: str
    name: str
    reservation: str
    suspended: bool
    finished: bool
    resumed_for: str
    resource_version: str = field(default="", compare=False)

    @classmethod
    def of_reservation(cls, raw: Mapping[str, Any]) -> JobFacts | None:
        """Read a Job; None if its pods carry no reservation."""
        job = cls.of(raw)
        return job if job.reservation else None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> JobFacts:
        """Read a Job."""
        metadata, spec = raw["metadata"], raw["spec"]
        labels = spec["template"].get("metadata", {}).get("labels") or {}
        conditions = raw.get("status", {}).get("conditions", [])
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            reservation=labels.get(RESERVATION_LABEL, ""),
            suspended=spec.get("suspend", False),
            finished=any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in conditions),
            resumed_for=metadata.get("annotations", {}).get(RESUMED_ANNOTATION, ""),
            resource_version=metadata.get("resourceVersion", ""),
        )


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod; `reservation` is what its label says, or empty."""

    namespace: str
    name: str
    uid: str
    created: str
    reservation: str
    priority_class: str
    gpus: Mapping[str, int]
    grace: int
    of_job: bool
    finished: bool
    leaving: datetime | None
    forced: bool = False

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> PodFacts:
        """Read a pod."""
        metadata, spec = raw["metadata"], raw["spec"]
        deletion = metadata.get("deletionTimestamp")
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            created=metadata["creationTimestamp"],
            reservation=metadata.get("labels", {}).get(RESERVATION_LABEL, ""),
            priority_class=spec.get("priorityClassName", ""),
            gpus=extended_resources(spec),
            grace=spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE),
            of_job=any(owner["kind"] == "Job" for owner in metadata.get("ownerReferences", [])),
            finished=raw.get("status", {}).get("phase") in {"Succeeded", "Failed"},
            leaving=None if deletion is None else datetime.fromisoformat(deletion),
            forced=metadata.get("deletionGracePeriodSeconds") == 0,
        )

    @property
    def ref(self) -> Ref:
        """The pod."""
        return Ref("v1", "Pod", self.namespace, self.name)

    def is_late(self, now: datetime) -> bool:
        """Say whether it should be gone by now, and nobody has deleted it by force."""
        return self.leaving is not None and self.leaving <= now and not self.forced


@dataclass(frozen=True, slots=True)
class Limit:
    """What is promised to the namespace now: `hard` of `resource` for pods of `priority_class`.

    One quota counts all reservations of a pool. So those whose pods have nodes of their own are named in `elsewhere` where
    the limit is what is promised to the others: else these would use it up on nodes that are promised to somebody else.
    """

    priority_class: str
    resource: str
    hard: int
    elsewhere: frozenset[str] = frozenset()

    def counts(self, pod: PodFacts) -> bool:
        """Say whether a pod uses some of it."""
        fits = pod.priority_class == self.priority_class and self.resource in pod.gpus
        return fits and pod.reservation not in self.elsewhere


@dataclass(frozen=True, slots=True)
class DrainView:
    """What the drain of one namespace reads.

    Attributes:
        phases: the namespace's reservations by name; a name that is missing is a reservation that is gone.
        jobs: the Jobs whose pods carry a reservation's label.
        pods: the pods that do, or that count against a reserved quota.
        limits: what is promised of each pool now, in all and to those without nodes of their own.
        shut: the drain of the tenant, if it is being drained: then `jobs` and `pods` are all that there are, and all go.
        overruns: by priority class, how long after it should be gone a pod is deleted by force; zero for never.
    """

    phases: Mapping[str, Phase]
    jobs: Sequence[JobFacts]
    pods: Sequence[PodFacts] = ()
    limits: Sequence[Limit] = ()
    overruns: Mapping[str, timedelta] = field(default_factory=dict)
    shut: Phase | None = None

    def phase(self, one: JobFacts | PodFacts) -> Phase | None:
        """Give the phase that a Job or pod goes by; None if what it belongs to is gone."""
        return self.shut or self.phases.get(one.reservation)


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is left to go of a namespace that is being drained.

    Attributes:
        pods: how many have neither finished nor gone.
        problems: those that do not go by themselves, and why; a few of them.
    """

    pods: int
    problems: tuple[str, ...] = ()


def plan_jobs(view: DrainView) -> Plan:
    """Resume what waits for an active window, once per window; suspend what outlives one."""
    operations: list[Operation] = []
    for job in view.jobs:
        phase = view.phase(job)
        patch: dict[str, Any] | None = None
        if job.finished or (phase is not None and phase.state == "before"):
            continue
        if phase is not None and phase.state == "active":
            if job.suspended and job.resumed_for != phase.token:
                patch = {"metadata": {"annotations": {RESUMED_ANNOTATION: phase.token}}, "spec": {"suspend": False}}
        elif not job.suspended:
            patch = {"spec": {"suspend": True}}
        if patch is not None:
            ref = Ref("batch/v1", "Job", job.namespace, job.name)
            operations.append(Update(ref, patch, job.resource_version or None))
    return plan(operations)


def plan_drain(view: DrainView, now: datetime) -> Plan:
    """Decide which pods go now and how; wakes again until nobody is left who has to go."""
    operations: list[Operation] = []
    wakes: list[datetime] = []
    going = _going(view)
    for pod, phase in going:
        overrun = view.overruns.get(pod.priority_class, timedelta(0))
        forced = _force(pod, overrun, now)
        operations += forced or _dismiss(pod, phase, now)
        wakes += [] if forced else _look_again(pod, overrun, now)
    if view.shut is not None:
        waiting = any(not _is_stuck(pod, now) for pod, _ in going)
        wake = now + (COUNT_AGAIN if waiting else STUCK_AFTER) if remainder(view, {}, now).pods else None
        return plan(operations, wake=wake)
    return plan(operations, wake=min(wakes, default=None))


def overdue(view: DrainView, now: datetime) -> Mapping[tuple[str, str], int]:
    """Count what is held by pods that should be gone by now, by priority class and resource.

    Kubernetes counts a pod no longer in a quota when it is late by its grace period, and on its node until it is gone.
    What is deleted by force holds up nobody any more, nor does what is not looked at again.
    """
    return _held(pod for pod, _ in _going(view) if pod.is_late(now) and _holds_up(pod, view, now))


def late(pods: Iterable[PodFacts], now: datetime) -> Mapping[tuple[str, str], int]:
    """Count the same of pods of which nothing else is known yet."""
    return _held(pod for pod in pods if pod.is_late(now) and not pod.finished)


def _holds_up(pod: PodFacts, view: DrainView, now: datetime) -> bool:
    overrun = view.overruns.get(pod.priority_class, timedelta(0))
    return not _force(pod, overrun, now) and bool(_look_again(pod, overrun, now))


def _held(pods: Iterable[PodFacts]) -> Mapping[tuple[str, str], int]:
    held: Counter[tuple[str, str]] = Counter()
    for pod in pods:
        held.update({(pod.priority_class, resource): amount for resource, amount in pod.gpus.items()})
    return held


def _going(view: DrainView) -> list[tuple[PodFacts, Phase | None]]:
    """Pick the pods that have to go, the oldest first, and then those that are too many."""
    staying: list[PodFacts] = []
    going: list[tuple[PodFacts, Phase | None]] = []
    for pod in sorted(view.pods, key=lambda pod: (pod.created, pod.name)):
        if pod.finished:
            continue
        phase = view.phase(pod)
        if view.shut or (pod.reservation and (phase is None or phase.state in {"draining", "over"})):
            going.append((pod, phase))
        else:
            staying.append(pod)
    return going + [(pod, None) for pod in _excess(staying, view.limits)]


def remainder(view: DrainView, blocked: Collection[Ref], now: datetime) -> Remainder:
    """Say what is left in a namespace that is being drained.

    Args:
        view: the drain.
        blocked: pods whose eviction a disruption budget forbids.
        now: the time.
    """
    left = sorted((pod for pod in view.pods if not pod.finished), key=lambda pod: pod.name)
    problems = []
    for pod in left:
        if pod.ref in blocked:
            problems.append(f"a disruption budget keeps pod {pod.namespace}/{pod.name}")
        elif _is_stuck(pod, now):
            problems.append(f"pod {pod.namespace}/{pod.name} should be gone: look at its finalizers and its node")
    return Remainder(len(left), tuple(problems[:_SHOWN_PROBLEMS]))


def _is_stuck(pod: PodFacts, now: datetime) -> bool:
    """Say whether a pod should long be gone: a finalizer or a dead node holds it, and looking again does not help."""
    return pod.leaving is not None and now > pod.leaving + STUCK_AFTER


def _look_again(pod: PodFacts, overrun: timedelta, now: datetime) -> list[datetime]:
    """Say when to look again; often only while that helps: a finalizer or a dead node holds what should long be gone."""
    if not _is_stuck(pod, now) or pod.leaving is None:
        return [now + CHECK_AGAIN]
    return [pod.leaving + overrun] if overrun and not pod.forced else []


def _force(pod: PodFacts, overrun: timedelta, now: datetime) -> list[Operation]:
    """Delete by force what should have been gone for long, once; a finalizer may hold it even then."""
    if pod.leaving is None or pod.forced or not overrun or now < pod.leaving + overrun:
        return []
    note = (
        f"pod {pod.name} did not go for {format_duration(overrun)} after it should have: it is deleted by force; "
        f"see to its node, where its containers may still run, and to its finalizers"
    )
    return [Delete(pod.ref, pod.uid, 0), Emit(pod.ref, pod.uid, "Warning", OVERRUN, note)]


def _dismiss(pod: PodFacts, phase: Phase | None, now: datetime) -> list[Operation]:
    """Ask while there is time, order when there is none; a pod that is already going in time is left alone."""
    if phase is not None and now < phase.last_call:
        if pod.of_job or pod.leaving is not None:
            return []
        # Never zero: that would take the pod from the API server's list while it still runs.
        grace = max(1, min(pod.grace, int((phase.end - now).total_seconds())))
        return [Evict(pod.ref, pod.uid, grace)]
    grace = max(1, min(pod.grace, DEFAULT_GRACE if phase is None else phase.last_grace))
    if pod.leaving is not None and pod.leaving <= now + timedelta(seconds=grace):
        return []
    return [Delete(pod.ref, pod.uid, grace)]


def _excess(pods: Sequence[PodFacts], limits: Sequence[Limit]) -> list[PodFacts]:
    """Pick the youngest pods beyond what is promised: those of a reservation that became smaller, or has other nodes."""
    excess: list[PodFacts] = []
    for limit in limits:
        counted = [pod for pod in pods if limit.counts(pod) and pod not in excess]
        used = sum(pod.gpus[limit.resource] for pod in counted)
        for pod in reversed(counted):
            if used <= limit.hard:
                break
            used -= pod.gpus[limit.resource]
            excess.append(pod)
    return excess
