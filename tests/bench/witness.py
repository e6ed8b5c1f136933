"""Sees through the API server, with watches of its own, what comes, goes and is Ready, and when.

It notes when each piece of an answer came, and reads it when nothing comes any more: what it does meanwhile, whoever is
measured could not do.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from bench.raw import TENANT, Manifest, connect
from gpu_tenancy.domain.naming import MANAGED_SELECTOR, TENANT_LABEL
from gpu_tenancy.kube.resource import LIMIT_RANGE, NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, ROLE_BINDING
from gpu_tenancy.reconcile.plan import Ref

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bench.raw import Raw
    from gpu_tenancy.kube.resource import Resource

CHILDREN = (RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY, ROLE_BINDING)
QUIET_SECONDS = 1.5
"""For so long nothing may change before a state counts as the end."""
UNREAD_SECONDS = 0.5
"""For so long nothing may come before what came is read."""
PATIENCE_SECONDS = 300.0
_SERVER_FIELDS = {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"}
_NAME_LABEL = "kubernetes.io/metadata.name"


class Piece(NamedTuple):
    """A part of what a watch said, and when it came, by `time.perf_counter`."""

    resource: Resource
    data: bytes
    came: float


class Witness:
    """What stands.

    Attributes:
        seen: every namespace and child that ever was, as last seen.
        uids: which incarnation there is of each that stands.
        order: the version in which each was first seen; a smaller one was created earlier.
        ready: the tenants that are Ready in their present generation.
        children_changed: when a namespace or child last came, was replaced or went, by `time.perf_counter`.
        tenants_changed: when a tenant last became Ready or ceased to be.
    """

    def __init__(self) -> None:
        self.seen: dict[Ref, Manifest] = {}
        self.uids: dict[Ref, str] = {}
        self.order: dict[Ref, int] = {}
        self.ready: set[str] = set()
        self.children_changed = self.tenants_changed = time.perf_counter()
        self._unread: list[Piece] = []
        self._begun: dict[Resource, bytes] = {}

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait until something is reached and stays so.

        Raises:
            TimeoutError: it was not.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # What is waited for is that nothing happens.
                while not self._is_quiet() or not reached():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise TimeoutError(f"not within {PATIENCE_SECONDS:.0f} s: {what}") from error

    @property
    def changed(self) -> float:
        """When anything last changed."""
        return max(self.children_changed, self.tenants_changed)

    def _is_quiet(self) -> bool:
        now = time.perf_counter()
        if self._unread and now > self._unread[-1].came + UNREAD_SECONDS:
            pieces, self._unread = self._unread, []
            for piece in pieces:
                self._read(piece)
        return not self._unread and now > self.changed + QUIET_SECONDS

    def hear(self, resource: Resource, data: bytes) -> None:
        """Note a part of what the watch of a kind says."""
        self._unread.append(Piece(resource, data, time.perf_counter()))

    def _read(self, piece: Piece) -> None:
        *lines, rest = (self._begun.get(piece.resource, b"") + piece.data).split(b"\n")
        self._begun[piece.resource] = rest
        for line in lines:
            event = orjson.loads(line)
            if event["type"] == "ERROR":
                raise RuntimeError(f"{piece.resource.kind}: {event['object']['message']}")
            self.take(piece.resource, event["object"], piece.came, gone=event["type"] == "DELETED")

    def take(self, resource: Resource, raw: Manifest, came: float, *, gone: bool = False) -> None:
        """Take in an object."""
        metadata = raw["metadata"]
        if resource is TENANT:
            was_ready, is_ready = metadata["name"] in self.ready, not gone and _is_ready(raw)
            (self.ready.add if is_ready else self.ready.discard)(metadata["name"])
            if is_ready != was_ready:
                self.tenants_changed = came
            return
        ref = Ref(resource.api_version, resource.kind, metadata.get("namespace", ""), metadata["name"])
        before = self.uids.pop(ref, "")
        if not gone:
            self.uids[ref], self.seen[ref] = metadata["uid"], raw
            self.order.setdefault(ref, int(metadata["resourceVersion"]))
        if self.uids.get(ref, "") != before:
            self.children_changed = came

    def manifest(self, ref: Ref) -> Manifest:
        """Give a namespace or child as somebody would create it: without what the server adds."""
        raw = self.seen[ref]
        metadata = {key: value for key, value in raw["metadata"].items() if key not in _SERVER_FIELDS}
        metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key != _NAME_LABEL}
        left_out = {"metadata", "status"} | ({"spec"} if ref.kind == NAMESPACE.kind else set())
        body = {key: value for key, value in raw.items() if key not in left_out}
        return {**body, "apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata}


@asynccontextmanager
async def watching(admin: Path) -> AsyncIterator[Witness]:
    """Watch within the block; at its beginning all that was there is known."""
    witness = Witness()
    selectors = {TENANT: "", NAMESPACE: TENANT_LABEL, **dict.fromkeys(CHILDREN, MANAGED_SELECTOR)}
    async with connect(admin) as server:
        listed = {resource: await server.list(resource, selector) for resource, selector in selectors.items()}
        for resource, answer in listed.items():
            for raw in answer["items"]:
                witness.take(resource, raw, time.perf_counter())
        async with asyncio.TaskGroup() as watches:
            tasks = [
                watches.create_task(_watch(server, witness, resource, selectors[resource], answer["metadata"]))
                for resource, answer in listed.items()
            ]
            yield witness
            for task in tasks:
                task.cancel()


async def _watch(server: Raw, witness: Witness, resource: Resource, selector: str, metadata: dict[str, Any]) -> None:
    async for data in server.watch(resource, selector, metadata["resourceVersion"]):
        witness.hear(resource, data)
    raise RuntimeError(f"{resource.kind}: the API server ended the watch")


def _is_ready(raw: Manifest) -> bool:
    status: dict[str, Any] = raw.get("status", {})
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ()))
    return ready and status.get("observedGeneration") == raw["metadata"]["generation"]
