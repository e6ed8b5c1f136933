"""What must hold of a pool after every single write, judged from a recording and from nothing that the operator says."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cluster.recording import Change

RESOURCE = "nvidia.com/gpu"
# So long a promise that was decided before a loss of capacity, or a raise before the end of its window, may still be
# on its way.
ON_ITS_WAY = 5.0


@dataclass
class PoolState:
    """One pool as it is after the writes so far.

    Attributes:
        headroom: GPUs that are never promised.
        quotas: what is out of the pool's hands, by quota.
        nodes: capacity and usable GPUs of each node.
        promises: of each reservation by uid the accepted window and GPUs, the generation that was judged, and where.
    """

    pool: str
    headroom: int
    quotas: dict[tuple[str, str], int] = field(default_factory=dict)
    nodes: dict[str, tuple[int, int]] = field(default_factory=dict)
    promises: dict[str, tuple[float, float, int, int, str]] = field(default_factory=dict)
    recent: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def committed(self) -> int:
        return sum(self.quotas.values())

    @property
    def promisable(self) -> int:
        total = sum(capacity for capacity, _ in self.nodes.values())
        return min(sum(usable for _, usable in self.nodes.values()), total - self.headroom)

    def lately_promisable(self, now: float) -> int:
        """Give the most that could be promised within the time in which a promise may be on its way."""
        self.recent.append((now, self.promisable))
        while self.recent[0][0] < now - ON_ITS_WAY and len(self.recent) > 1:
            self.recent.popleft()
        return max(level for _, level in self.recent)


def violations(changes: Iterable[Change], pool: str, headroom: int) -> Iterator[str]:
    """Tell of every write after which something does not hold.

    - Quotas with what pods hold never exceed what the pool can promise; after a loss of capacity nothing is raised.
    - No quota for reservations is above zero before a window in its namespace has begun.
    - What was accepted stays as it was accepted while its spec stays.
    - What is accepted newly fits into what the pool can promise together with everything that was accepted before.
    """
    state = PoolState(pool, headroom)
    for change in changes:
        before = state.committed
        told = _TAKE[change.kind](state, change) if change.kind in _TAKE else None
        if told:
            yield f"revision {change.revision}: {told}"
        most = state.lately_promisable(change.seen)
        if state.committed > max(before, most) and state.nodes:
            yield f"revision {change.revision}: {state.committed} GPUs are promised of {most}: {state.quotas}"


def _take_node(state: PoolState, change: Change) -> None:
    body = change.body
    if change.deleted or body["metadata"].get("labels", {}).get("nvidia.com/gpu.product") != "NVIDIA-B200":
        state.nodes.pop(change.key[1], None)
        return
    status = body["status"]
    healthy = not body["spec"].get("unschedulable") and any(
        one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", [])
    )
    capacity, allocatable = (int(status.get(key, {}).get(RESOURCE, 0)) for key in ("capacity", "allocatable"))
    state.nodes[change.key[1]] = (capacity, allocatable if healthy else 0)


def _take_quota(state: PoolState, change: Change) -> str | None:
    namespace, name = change.key
    tiers = [tier for tier in ("guaranteed", "reserved") if name == f"gpu-{state.pool}-{tier}"]
    if not tiers:
        return None
    if change.deleted:
        state.quotas.pop(change.key, None)
        return None
    key = f"requests.{RESOURCE}"
    status = change.body.get("status", {})
    hard, enforced, used = (
        int(amounts.get(key, 0))
        for amounts in (change.body["spec"]["hard"], status.get("hard", {}), status.get("used", {}))
    )
    before = state.quotas.get(change.key, 0)
    state.quotas[change.key] = max(hard, enforced, used)
    if tiers == ["reserved"] and hard > before:
        begun = [
            gpus
            for start, end, gpus, _, where in state.promises.values()
            if where == namespace and start <= change.seen < end + ON_ITS_WAY
        ]
        if hard > sum(begun):
            return f"quota {name} of {namespace} is {hard} and only {sum(begun)} GPUs' windows have begun"
    return None


def _take_reservation(state: PoolState, change: Change) -> str | None:
    body = change.body
    uid, status, spec = body["metadata"]["uid"], body.get("status", {}), body["spec"]
    if spec["pool"] != state.pool or "window" not in status or change.deleted:
        state.promises.pop(uid, None)
        return None
    start, end = (datetime.fromisoformat(status["window"][edge]).timestamp() for edge in ("start", "end"))
    # A change that waits is accepted later, while the spec stays.
    waits = any(one["type"] == "Stalled" for one in status["conditions"])
    judged = -1 if waits else status["observedGeneration"]
    promise = (start, end, status["gpus"], judged, change.key[0])
    before = state.promises.get(uid)
    state.promises[uid] = promise
    if before is not None and before[:3] != promise[:3] and before[3] == status["observedGeneration"]:
        return f"reservation {change.key} was {before} and is {promise}, though its spec is the same"
    if end > change.seen and (before is None or promise[:3] != before[:3]):
        # A window may be accepted when it has begun: what others held of its past is no matter.
        peak = _peak(state, max(start, change.seen), end)
        guaranteed = sum(level for (_, name), level in state.quotas.items() if name.endswith("-guaranteed"))
        most = state.lately_promisable(change.seen)
        if peak + guaranteed > most:
            return f"reservation {change.key} was accepted: {peak} + {guaranteed} GPUs of {most} at some instant"
    return None


def _peak(state: PoolState, start: float, end: float) -> int:
    """Give the most GPUs that accepted windows hold at an instant of [start, end)."""
    changes: Counter[float] = Counter()
    for one_start, one_end, gpus, *_ in state.promises.values():
        if one_start < end and start < one_end:
            changes[max(start, one_start)] += gpus
            changes[one_end] -= gpus
    level = peak = 0
    for at in sorted(changes):
        level += changes[at]
        peak = max(peak, level) if at < end else peak
    return peak


_TAKE: dict[str, Any] = {"Node": _take_node, "ResourceQuota": _take_quota, "GpuReservation": _take_reservation}
