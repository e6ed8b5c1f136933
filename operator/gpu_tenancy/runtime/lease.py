"""Leader election on a coordination.k8s.io/v1 Lease: of all the operators that run, at most one writes at a time.

What makes it safe, however long a request hangs and whatever the wall clocks say:

- The holder counts its lease as valid from the moment *before* it sent the last successful renewal, for the renew
  deadline. The others wait the lease duration, which is longer, from the moment *after* they saw the last change.
- Both measure by their own monotonic clock. The instants in the Lease are for people to read.
- Every write names the resourceVersion that it changes, so the API server lets one of two rivals win.
- A Lease that is gone says nothing about who held it a moment ago. Whoever finds it gone creates one that is held by
  nobody known, for which all wait, its creator too: so that nothing is concluded from an absence, which has no version.
- Nor does one that is empty: it was created or overwritten by somebody who holds nothing, and all wait for it as well.
  At once is only taken what its holder handed over: then it says that it is held by "".
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Protocol

from gpu_tenancy.kube.errors import ApiError
from gpu_tenancy.kube.resource import LEASE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from gpu_tenancy.kube.client import Client
    from gpu_tenancy.runtime.clock import Clock

Manifest = dict[str, Any]

logger = logging.getLogger(__name__)

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LeaseTimings:
    """How long a lease holds, in seconds.

    Attributes:
        duration: how long others wait for a holder that is silent.
        renew_deadline: how long the holder writes without a successful renewal.
        retry_period: how often it renews, and how long one attempt may take.

    Raises:
        ValueError: unless two attempts fit in the renew deadline, and the renew deadline is below the duration.
    """

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < 2 * self.retry_period <= self.renew_deadline < self.duration:
            raise ValueError(
                "a lease needs 0 < 2 * retry period <= renew deadline < duration, but these are "
                f"{self.retry_period:g}, {self.renew_deadline:g} and {self.duration:g} seconds"
            )

    @property
    def longest_write(self) -> float:
        """How many seconds a write that begins with a valid lease may take, so that it is over before others write."""
        return self.duration - self.renew_deadline


class LeaseStore(Protocol):
    """The one Lease. Whatever fails is raised; losing a race is no failure."""

    async def get(self) -> Manifest | None:
        """Read the Lease as it is now, from no cache; `None` if there is none."""
        ...

    async def create(self, spec: Manifest) -> Manifest | None:
        """Create the Lease and return it; `None` if there is one already."""
        ...

    async def update(self, spec: Manifest, resource_version: str) -> Manifest | None:
        """Change exactly this version of the Lease and return it; `None` if it has changed or is gone.

        Fields of the spec that are not given stay; those that are `None` are removed.
        """
        ...


class KubernetesLease:
    """The Lease in an API server."""

    def __init__(self, client: Client, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name

    async def get(self) -> Manifest | None:
        """Read the Lease."""
        try:
            return await self._client.get(LEASE, self._name, self._namespace)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    async def create(self, spec: Manifest) -> Manifest | None:
        """Create the Lease."""
        metadata = {"name": self._name, "namespace": self._namespace}
        try:
            return await self._client.create(
                LEASE, {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}
            )
        except ApiError as error:
            if error.is_already_exists:
                return None
            raise

    async def update(self, spec: Manifest, resource_version: str) -> Manifest | None:
        """Patch the Lease; the resourceVersion in the patch is the API server's compare-and-swap."""
        patch = {"metadata": {"resourceVersion": resource_version}, "spec": spec}
        try:
            return await self._client.merge_patch(LEASE, self._name, patch, self._namespace)
        except ApiError as error:
            if error.is_conflict or error.is_not_found:
                return None
            raise


def unique_identity() -> str:
    """Name this process in a Lease: no other process, not even this one restarted, may count as the holder."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


def exit_at_once() -> None:  # pragma: no cover  # no process survives it to report
    """End the process without any clean-up, which could take longer than there is."""
    os._exit(1)


class Elector:
    """One candidate for the Lease.

    It lives in a thread and event loop of its own, so that a main loop with much to do does not delay a renewal;
    `is_valid` may be called from any thread.

    Args:
        identity: unique to this process.
        clock: the time.
        on_change: called in the elector's thread with whether the lease is held, each time that changes.
        is_writing: tells, from any thread, whether a write is under way.
        timings: the durations.
        give_up: called if a write is still under way when others may begin to write; it ends the process.
    """

    def __init__(
        self,
        *,
        identity: str,
        clock: Clock,
        on_change: Callable[[bool], None],
        is_writing: Callable[[], bool],
        timings: LeaseTimings | None = None,
        give_up: Callable[[], None] = exit_at_once,
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._on_change = on_change
        self._is_writing = is_writing
        self._timings = timings or LeaseTimings()
        self._give_up = give_up

        self._lease: Manifest | None = None
        self._seen_at = math.inf
        """When this version of the Lease was first seen."""
        self._valid_until = -math.inf
        self._others_write_from = math.inf
        self._is_held = False

    def is_valid(self) -> bool:
        """Tell whether a write may begin now: nobody else writes for at least `LeaseTimings.longest_write` seconds."""
        return self._clock.monotonic() < self._valid_until

    @asynccontextmanager
    async def campaign(self, store: LeaseStore) -> AsyncIterator[None]:
        """Try to get the lease and to keep it, until the context is left; then hand it over.

        Leave it after the last write is over: with one under way the lease is not handed over but runs out.
        """
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(self._renew_for_ever(store))
            watching = tasks.create_task(self._watch_for_ever())
            try:
                yield
            finally:
                renewing.cancel()
                watching.cancel()
                self._step_down("this process stops")
        await self._release(store)

    async def _renew_for_ever(self, store: LeaseStore) -> None:
        while True:
            began = self._clock.monotonic()
            try:
                async with asyncio.timeout(self._timings.retry_period):
                    await self._attempt(store)
            except Exception as error:  # noqa: BLE001  # whatever it was: validity runs out by itself, and it is tried again
                logger.warning("An attempt to get or renew the lease failed: %s", _text(error))
            elapsed = self._clock.monotonic() - began
            await self._clock.sleep(max(0.0, self._timings.retry_period - elapsed))

    async def _watch_for_ever(self) -> None:
        """Step down in time, even while an attempt hangs, and see that writing has ended before others begin."""
        while True:
            now = self._clock.monotonic()
            if now >= self._valid_until:
                self._step_down("it could not be renewed in time")
            if now >= self._others_write_from and self._is_writing():
                logger.critical("A write is under way though others may hold the lease: giving up")
                self._give_up()
            ahead = [instant - now for instant in (self._valid_until, self._others_write_from) if instant > now]
            await self._clock.sleep(min([self._timings.retry_period, *ahead]))

    async def _attempt(self, store: LeaseStore) -> None:
        # The holder does not look first: that its own last version is replaced proves that nobody came between.
        if self._is_ours() and await self._write(store):
            return
        self._observe(await store.get())
        if self._lease is None:
            logger.info(
                "There is no Lease. As somebody may still be writing, it is taken in %g s", self._timings.duration
            )
            self._observe(await store.create({"holderIdentity": _UNKNOWN, "leaseDurationSeconds": self._seconds}))
        elif self._is_free():
            await self._write(store)

    def _observe(self, lease: Manifest | None) -> None:
        """Take note of the Lease, and of when it was first seen like this."""
        if _version(lease) != _version(self._lease):
            self._seen_at = self._clock.monotonic()
        if _holder(lease) not in {_holder(self._lease), _UNKNOWN}:
            logger.info("The lease is held by %s", _holder(lease) or "nobody")
        self._lease = lease
        if not self._is_ours():
            self._step_down("somebody else has written it")

    def _is_ours(self) -> bool:
        return _holder(self._lease) == self._identity

    def _is_free(self) -> bool:
        """Tell whether the lease is ours, or whoever held it last has been silent for as long as its Lease says."""
        spec = _spec(self._lease)
        silence = spec.get("leaseDurationSeconds")
        if silence is None:
            # Who hands it over says that nobody has it. One that says nothing was emptied by somebody who cannot know.
            silence = 0.0 if spec.get("holderIdentity") == "" else self._timings.duration
        return self._is_ours() or self._clock.monotonic() >= self._seen_at + silence

    async def _write(self, store: LeaseStore) -> bool:
        """Write the Lease with this process as its holder; tell whether that won."""
        began = self._clock.monotonic()
        written = await store.update(self._claim(), _version(self._lease))
        if written is None:
            return False
        self._lease = written
        self._valid_until = began + self._timings.renew_deadline
        self._others_write_from = began + self._timings.duration
        if not self._is_held:
            self._is_held = True
            logger.info("Got the lease")
            self._on_change(True)
        return True

    @property
    def _seconds(self) -> int:
        return math.ceil(self._timings.duration)

    def _claim(self) -> Manifest:
        """Say that this process holds the lease from now on, or still."""
        now = _micro_time(self._clock.now())
        claim: Manifest = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._seconds,
            "renewTime": now,
        }
        if not self._is_ours():
            claim["acquireTime"] = now
            claim["leaseTransitions"] = _spec(self._lease).get("leaseTransitions", -1) + 1
        return claim

    def _step_down(self, why: str) -> None:
        """Begin no more writes."""
        self._valid_until = -math.inf
        if self._is_held:
            self._is_held = False
            logger.info("No longer hold the lease: %s", why)
            self._on_change(False)

    async def _release(self, store: LeaseStore) -> None:
        """Let the next one begin at once, instead of waiting for the lease to run out."""
        if not self._is_ours():
            return
        if self._is_writing():
            logger.warning("A write is under way: the lease is not handed over, it runs out")
            return
        # Without a duration nobody waits for it.
        vacancy = {"holderIdentity": "", "leaseDurationSeconds": None, "renewTime": _micro_time(self._clock.now())}
        try:
            async with asyncio.timeout(self._timings.retry_period):
                if await store.update(vacancy, _version(self._lease)) is None:
                    # Most likely a renewal that was cut off was written after all.
                    self._observe(await store.get())
                    if self._is_ours():
                        await store.update(vacancy, _version(self._lease))
        except Exception as error:  # noqa: BLE001  # to fail to say goodbye is no reason to fail
            logger.warning("Could not hand over the lease, it runs out: %s", _text(error))


def _spec(lease: Manifest | None) -> Manifest:
    return (lease or {}).get("spec") or {}


def _holder(lease: Manifest | None) -> str:
    return _spec(lease).get("holderIdentity") or ""


def _version(lease: Manifest | None) -> str:
    return "" if lease is None else lease["metadata"]["resourceVersion"]


def _micro_time(instant: datetime) -> str:
    """Write an instant as Kubernetes' MicroTime."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
