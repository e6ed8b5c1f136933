"""Does what a plan says: stage by stage, each write gated, each answer taken into the stores, each failure classified."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

from gpu_tenancy.kube.errors import ApiError, KubeError
from gpu_tenancy.kube.events import Regarding
from gpu_tenancy.kube.resource import NAMESPACE
from gpu_tenancy.kube.store import Key
from gpu_tenancy.reconcile.diff import merge_patch
from gpu_tenancy.reconcile.plan import Create, Delete, Emit, Evict, Ref, Update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gpu_tenancy.kube.client import Client
    from gpu_tenancy.kube.events import EventRecorder
    from gpu_tenancy.kube.resource import Resource, Resources
    from gpu_tenancy.kube.store import Store
    from gpu_tenancy.kube.transport import Object
    from gpu_tenancy.reconcile.plan import Operation, Plan


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a plan that was done.

    Attributes:
        writes: how many writes were sent that were to change something.
        blocked: pods whose eviction a disruption budget forbids now, and what the API server said.
    """

    writes: int
    blocked: Mapping[Ref, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """One operation that failed.

    Attributes:
        ref: the object.
        error: why.
        uncertain: whether the write may yet be done, up to the client's write timeout after it was sent. Until it is
            known, count with the worse of before and after.
        unserved: whether it was to create an object of a kind that the cluster does not have.
    """

    ref: Ref
    error: KubeError
    uncertain: bool = False
    unserved: bool = False

    @property
    def is_conflict(self) -> bool:
        """The world is not as the plan saw it: plan anew."""
        error = self.error
        if not isinstance(error, ApiError):
            return False
        return error.is_conflict or error.is_already_exists or (error.is_not_found and not self.unserved)

    @property
    def is_permanent(self) -> bool:
        """The request as such was refused: it will be again until someone changes something."""
        return not self.is_conflict and not self.error.is_transient


class ExecutionError(Exception):
    """Operations of a plan failed, and what builds on them was not begun."""

    def __init__(self, failures: tuple[Failure, ...]) -> None:
        super().__init__("; ".join(f"{f.ref.kind} {f.ref.namespace}/{f.ref.name}: {f.error}" for f in failures))
        self.failures = failures

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server wants to be asked again, if it said so."""
        return max((f.error.retry_after for f in self.failures if f.error.retry_after is not None), default=None)

    @property
    def conflict(self) -> bool:
        """Whether the world was not as the plan saw it, so that another plan may succeed at once."""
        return any(failure.is_conflict for failure in self.failures)

    @property
    def permanent(self) -> tuple[Failure, ...]:
        """The failures that no retry heals."""
        return tuple(failure for failure in self.failures if failure.is_permanent)

    @property
    def transient(self) -> bool:
        """Whether a retry may heal all of it."""
        return not self.permanent

    @property
    def uncertain(self) -> tuple[Ref, ...]:
        """Objects of which it is not known whether the write was or will be done."""
        return tuple(failure.ref for failure in self.failures if failure.uncertain)


@dataclass(slots=True)
class _Run:
    """What came of a plan so far."""

    writes: int = 0
    blocked: dict[Ref, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


class Executor:
    """Executes plans; all share the client's bound on concurrent requests and its gate on writes."""

    def __init__(
        self,
        client: Client,
        resources: Resources,
        stores: Mapping[Resource, Store[Any]],
        recorder: EventRecorder,
        *,
        on_repair: Callable[[str], None] = lambda _kind: None,
    ) -> None:
        """Take what is needed.

        Args:
            client: writes, unless its `may_write` says no.
            resources: every kind that plans name.
            stores: take in what the API server answers, so that the next plan sees it before the watch tells.
            recorder: posts the events.
            on_repair: told the kind of each object in which something was undone that someone else did.
        """
        self._client = client
        self._resources = resources
        self._stores = stores
        self._recorder = recorder
        self._on_repair = on_repair

    async def execute(self, plan: Plan) -> Result:
        """Do a plan's stages in order, the operations of one at the same time.

        A pod whose eviction a disruption budget forbids is no failure; it is in the result.

        Raises:
            ExecutionError: if operations failed; everything else in their stage was done, but later stages were not,
                unless the plan goes on in other namespaces.
            NotLeadingError: if this process may not write; earlier operations may have been done.
        """
        run = _Run()
        for stage in plan.stages:
            if run.failures and not plan.by_namespace:
                break
            begun = _unhindered(stage, run.failures)
            outcomes = await asyncio.gather(*(self._attempt(one, run) for one in begun), return_exceptions=True)
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome
        if run.failures:
            raise ExecutionError(tuple(run.failures))
        return Result(run.writes, run.blocked)

    async def _attempt(self, operation: Operation, run: _Run) -> None:
        try:
            match operation:
                case Create():
                    await self._create(operation, run)
                case Update():
                    await self._update(operation, run)
                case Delete():
                    await self._delete(operation, run)
                case Evict():
                    await self._evict(operation, run)
                case Emit(regarding, uid, kind, reason, note, action):
                    self._recorder.record(Regarding(*regarding, uid), kind, reason, note, action)
                case _:
                    assert_never(operation)
        except KubeError as error:
            uncertain = error.maybe_written and not await self._is_settled(operation)
            run.failures.append(Failure(_ref(operation), error, uncertain, _is_unserved(operation, error)))

    async def _create(self, operation: Create, run: _Run) -> None:
        resource = self._resource(operation.ref)
        try:
            self._observe(resource, await self._client.create(resource, operation.manifest))
        except ApiError as error:
            if not (operation.adopt and error.is_already_exists):
                raise
            await self._adopt(operation, error, run)
        else:
            self._count(operation, run)

    async def _adopt(self, operation: Create, exists: ApiError, run: _Run) -> None:
        live = await self._read(operation.ref)
        if "deletionTimestamp" in live["metadata"]:
            raise exists
        patch = merge_patch(live, operation.manifest)
        if patch is not None:
            version = live["metadata"]["resourceVersion"]
            await self._update(Update(operation.ref, patch, version, repair=operation.repair), run)

    async def _update(self, operation: Update, run: _Run) -> None:
        resource, patch = self._resource(operation.ref), operation.patch
        if operation.resource_version is not None:
            patch = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": operation.resource_version}}
        _, _, namespace, name = operation.ref
        answer = await self._client.merge_patch(resource, name, patch, namespace, subresource=operation.subresource)
        self._observe(resource, answer)
        self._count(operation, run)

    async def _delete(self, operation: Delete, run: _Run) -> None:
        resource = self._resource(operation.ref)
        _, _, namespace, name = operation.ref
        try:
            answer = await self._client.delete(
                resource, name, namespace, uid=operation.uid, grace_seconds=operation.grace_seconds
            )
        except ApiError as error:
            if not await self._is_going(operation, error):
                raise
            return
        self._count(operation, run)
        if answer["kind"] == "Status":
            self._forget(operation)
        else:
            self._observe(resource, answer)

    async def _evict(self, operation: Evict, run: _Run) -> None:
        _, _, namespace, name = operation.ref
        try:
            await self._client.evict(name, namespace, uid=operation.uid, grace_seconds=operation.grace_seconds)
        except ApiError as error:
            if error.is_disruption_refused:
                run.blocked[operation.ref] = error.message
            elif not await self._is_going(operation, error):
                raise
        else:
            run.writes += 1

    async def _is_going(self, operation: Delete | Evict, error: ApiError) -> bool:
        """Say whether an object that could not be deleted is gone, replaced by another or being deleted already."""
        if error.is_not_found:
            self._forget(operation)
            return True
        return error.is_conflict and await self._is_deleted(operation)

    async def _is_deleted(self, operation: Delete | Evict) -> bool:
        try:
            metadata = (await self._read(operation.ref))["metadata"]
        except ApiError as error:
            if not error.is_not_found:
                raise
            self._forget(operation)
            return True
        return metadata["uid"] != operation.uid or "deletionTimestamp" in metadata

    async def _is_settled(self, operation: Operation) -> bool:
        """Look, after a write of unknown outcome, whether it was done or cannot be done any more.

        A request that was cut off may still be on its way inside the API server: that the object is as before proves
        nothing, unless its version has left the write's precondition behind.
        """
        try:
            match operation:
                case Create():
                    return merge_patch(await self._read(operation.ref), operation.manifest) is None
                case Update():
                    version = (await self._read(operation.ref))["metadata"]["resourceVersion"]
                    return operation.resource_version is not None and version != operation.resource_version
                case Delete():
                    return await self._is_deleted(operation)
                case Evict() | Emit():
                    return True
        except KubeError:
            return False

    def _count(self, operation: Create | Update | Delete, run: _Run) -> None:
        run.writes += 1
        if operation.repair:
            self._on_repair(operation.ref.kind)

    def _resource(self, ref: Ref) -> Resource:
        return self._resources.of(ref.api_version, ref.kind)

    async def _read(self, ref: Ref) -> Object:
        resource = self._resource(ref)
        live = await self._client.get(resource, ref.name, ref.namespace)
        self._observe(resource, live)
        return live

    def _observe(self, resource: Resource, answer: Object) -> None:
        if (store := self._stores.get(resource)) is not None:
            store.observe(answer)

    def _forget(self, operation: Delete | Evict) -> None:
        if (store := self._stores.get(self._resource(operation.ref))) is not None:
            store.forget(Key(operation.ref.namespace, operation.ref.name), operation.uid)


def _unhindered(stage: Iterable[Operation], failures: Iterable[Failure]) -> list[Operation]:
    """Leave out what is in a namespace where something failed, or in none."""
    failed = {_namespace(failure.ref) for failure in failures}
    return [one for one in stage if not failed or _namespace(_ref(one)) not in failed | {""}]


def _namespace(ref: Ref) -> str:
    return ref.name if ref.kind == NAMESPACE.kind else ref.namespace


def _is_unserved(operation: Operation, error: KubeError) -> bool:
    """Say whether a kind was not found: there is no namespace that could be missing instead."""
    at_large = isinstance(operation, Create) and not operation.ref.namespace
    return at_large and isinstance(error, ApiError) and error.is_not_found


def _ref(operation: Operation) -> Ref:
    return operation.regarding if isinstance(operation, Emit) else operation.ref
