"""Sees through the API server, with watches of its own, what comes, goes and is Ready, and when."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench.raw import TENANT, Manifest
from gpu_tenancy.domain.naming import MANAGED_SELECTOR, TENANT_LABEL
from gpu_tenancy.kube.auth import Credentials
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.reflector import Reflector
from gpu_tenancy.kube.resource import LIMIT_RANGE, NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, ROLE_BINDING
from gpu_tenancy.kube.store import Store
from gpu_tenancy.reconcile.plan import Ref

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gpu_tenancy.kube.resource import Resource
    from gpu_tenancy.kube.store import Entry, Key

CHILDREN = (RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY, ROLE_BINDING)
QUIET_SECONDS = 1.5
"""For so long nothing may change before a state counts as the end."""
PATIENCE_SECONDS = 300.0
_SERVER_FIELDS = {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"}
_NAME_LABEL = "kubernetes.io/metadata.name"


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

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait until something is reached and stays so.

        Raises:
            TimeoutError: it was not.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # What is waited for is that nothing happens.
                while not reached() or time.perf_counter() < self.changed + QUIET_SECONDS:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise TimeoutError(f"not within {PATIENCE_SECONDS:.0f} s: {what}") from error

    @property
    def changed(self) -> float:
        """When anything last changed."""
        return max(self.children_changed, self.tenants_changed)

    def manifest(self, ref: Ref) -> Manifest:
        """Give a namespace or child as somebody would create it: without what the server adds."""
        raw = self.seen[ref]
        metadata = {key: value for key, value in raw["metadata"].items() if key not in _SERVER_FIELDS}
        metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key != _NAME_LABEL}
        left_out = {"metadata", "status"} | ({"spec"} if ref.kind == NAMESPACE.kind else set())
        body = {key: value for key, value in raw.items() if key not in left_out}
        return {**body, "apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata}

    def child_changed(self, resource: Resource, key: Key, new: Entry[Manifest] | None) -> None:
        """Take in a namespace or child."""
        ref = Ref(resource.api_version, resource.kind, key.namespace, key.name)
        before = self.uids.pop(ref, "")
        if new is not None:
            self.uids[ref], self.seen[ref] = new.uid, new.value
            self.order.setdefault(ref, int(new.resource_version))
        if self.uids.get(ref, "") != before:
            self.children_changed = time.perf_counter()

    def tenant_changed(self, key: Key, new: Entry[bool] | None) -> None:
        """Take in whether a tenant is Ready."""
        (self.ready.add if new is not None and new.value else self.ready.discard)(key.name)
        self.tenants_changed = time.perf_counter()


@asynccontextmanager
async def watching(admin: Path) -> AsyncIterator[Witness]:
    """Watch within the block; at its beginning all that was there is known."""
    witness = Witness()
    async with Client(Credentials.from_kubeconfig(admin), field_manager="witness") as client:
        reflectors = [
            _reflect_children(client, witness, resource, MANAGED_SELECTOR if resource in CHILDREN else TENANT_LABEL)
            for resource in (NAMESPACE, *CHILDREN)
        ]
        tenants: Store[bool] = Store(_is_ready)
        tenants.subscribe(lambda key, _old, new: witness.tenant_changed(key, new))
        reflectors.append(Reflector(client, TENANT, tenants))
        tasks = [asyncio.create_task(reflector.run()) for reflector in reflectors]
        try:
            for reflector in reflectors:
                await reflector.synced.wait()
            yield witness
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _reflect_children(client: Client, witness: Witness, resource: Resource, selector: str) -> Reflector:
    store: Store[Manifest] = Store(lambda raw: raw)
    store.subscribe(lambda key, _old, new: witness.child_changed(resource, key, new))
    return Reflector(client, resource, store, label_selector=selector)


def _is_ready(raw: Manifest) -> bool:
    status: dict[str, Any] = raw.get("status", {})
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ()))
    return ready and status.get("observedGeneration") == raw["metadata"]["generation"]
