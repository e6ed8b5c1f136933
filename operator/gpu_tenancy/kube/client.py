"""The Kubernetes API: the few verbs that an operator needs, plain dictionaries in and out."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import orjson

from gpu_tenancy.kube.errors import ApiError, ApiUnavailableError
from gpu_tenancy.kube.resource import POD
from gpu_tenancy.kube.transport import MERGE_PATCH, Object, Request, Transport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType
    from typing import Self, Unpack

    from gpu_tenancy.kube.auth import Credentials
    from gpu_tenancy.kube.resource import Resource
    from gpu_tenancy.kube.transport import OnRequest

_WATCH_SECONDS = (240, 360)
"""A range, so that the watches of many kinds and replicas do not all end at once."""


class Selection(TypedDict, total=False):
    """Which objects of a kind are meant, in the API server's own notation."""

    label_selector: str
    field_selector: str


class Page(NamedTuple):
    """A chunk of a list; all chunks of one list have the same resource version."""

    items: list[Object]
    resource_version: str


class WatchEvent(NamedTuple):
    """ADDED, MODIFIED, DELETED or BOOKMARK, and the object, of which a BOOKMARK has only the resource version."""

    type: str
    object: Object


class Client:
    """One API server, seen through one set of credentials; belongs to one event loop.

    Every method raises `ApiError` for what the server refused, `ApiUnavailableError` if there was no proper answer,
    and `CredentialsError` if there never were any credentials; a write raises `NotLeadingError` too.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        field_manager: str,
        may_write: Callable[[], bool] = lambda: True,
        on_request: OnRequest = lambda _verb, _kind, _status, _seconds: None,
        concurrency: int = 16,
        read_timeout: float = 15.0,
        write_timeout: float = 5.0,
    ) -> None:
        """Set up a client; nothing is sent yet.

        Args:
            credentials: whom to talk to, as whom.
            field_manager: under which name the server records what is written; also the User-Agent.
            may_write: asked immediately before each write is sent, again before it is sent again.
            on_request: told of every request.
            concurrency: how many requests, watches apart, may be under way at once.
            read_timeout: seconds that a get or a page of a list may take.
            write_timeout: seconds that a write may take each time it is sent. The server is told to give up earlier,
                so that nothing is committed after this client has stopped to wait for it.
        """
        self.write_timeout = write_timeout
        self._transport = Transport(
            credentials,
            user_agent=field_manager,
            may_write=may_write,
            on_request=on_request,
            concurrency=concurrency,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
        )
        self._write_params = {"timeout": f"{write_timeout * 0.8:.3f}s"}
        self._field_params = self._write_params | {"fieldManager": field_manager}

    @property
    def idle(self) -> asyncio.Event:
        """Set while no request is under way or waits for its turn; watches do not count."""
        return self._transport.idle

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """Read one object."""
        return await self._transport.send(Request("get", resource.kind, resource.path(namespace, name)))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        chunk: int = 500,
        **selection: Unpack[Selection],
    ) -> AsyncGenerator[Page]:
        """List objects in chunks, consistent as of one resource version.

        An `ApiError` with `is_expired` in between means that the rest cannot be had any more: begin again.
        """
        params = _selection_params(selection) | {"limit": str(chunk)}
        more: str | None = ""
        while more is not None:
            request = Request(
                "list", resource.kind, resource.path(namespace), params | ({"continue": more} if more else {})
            )
            answer = await self._transport.send(request)
            items = answer.get("items") or []
            for item in items:
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
            yield Page(items, answer["metadata"]["resourceVersion"])
            more = answer["metadata"].get("continue") or None

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        silence: float = 90.0,
        **selection: Unpack[Selection],
    ) -> AsyncGenerator[WatchEvent]:
        """Follow the changes after a resource version until the server ends the watch, every few minutes.

        An ERROR event is raised as `ApiError`.

        Args:
            resource: what to watch.
            namespace: empty for all.
            resource_version: of a list or of the last event seen.
            silence: seconds without a byte after which the watch is given up with an `ApiTimeoutError`. The server
                sends a bookmark each minute, but of a kind that has not changed since it started it may send none.
            selection: restricts the objects.
        """
        params = _selection_params(selection) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),  # noqa: S311  # spreads load, protects nothing
        }
        request = Request("watch", resource.kind, resource.path(namespace), params)
        async with aclosing(self._transport.stream(request, silence)) as lines:
            async for line in lines:
                yield _watch_event(line)

    async def create(self, resource: Resource, manifest: Object) -> Object:
        """Create an object and return it as stored."""
        path = resource.path(manifest["metadata"].get("namespace", ""))
        return await self._transport.send(Request("create", resource.kind, path, self._field_params, manifest))

    async def merge_patch(
        self, resource: Resource, name: str, patch: Object, namespace: str = "", *, subresource: str = ""
    ) -> Object:
        """Send a JSON merge patch and return the object as stored.

        A `metadata.resourceVersion` in the patch makes it fail with a conflict if the object has another.
        """
        path = resource.path(namespace, name, subresource)
        request = Request("patch", resource.kind, path, self._field_params, patch, MERGE_PATCH)
        return await self._transport.send(request)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> Object:
        """Delete an object, its dependants following in the background.

        Returns:
            The object if it goes on to exist for a while (a grace period, finalizers), else a Status.
        """
        path = resource.path(namespace, name)
        options = _delete_options(uid, resource_version, grace_seconds) | {"propagationPolicy": "Background"}
        return await self._transport.send(Request("delete", resource.kind, path, self._write_params, options))

    async def evict(
        self, name: str, namespace: str, *, uid: str | None = None, grace_seconds: int | None = None
    ) -> None:
        """Ask for a pod's eviction.

        Raises:
            ApiError: with `is_disruption_refused` if a disruption budget forbids it now.
        """
        body: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": _delete_options(uid, None, grace_seconds),
        }
        path = POD.path(namespace, name, "eviction")
        await self._transport.send(Request("evict", POD.kind, path, self._write_params, body))


def _selection_params(selection: Selection) -> dict[str, str]:
    params = {
        "labelSelector": selection.get("label_selector", ""),
        "fieldSelector": selection.get("field_selector", ""),
    }
    return {key: value for key, value in params.items() if value}


def _delete_options(uid: str | None, resource_version: str | None, grace_seconds: int | None) -> Object:
    preconditions = {"uid": uid, "resourceVersion": resource_version}
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    if uid or resource_version:
        options["preconditions"] = {key: value for key, value in preconditions.items() if value}
    return options


def _watch_event(line: bytes) -> WatchEvent:
    try:
        event = orjson.loads(line)
        kind, body = event["type"], event["object"]
        if kind == "ERROR":
            raise ApiError.of_status(body)
        return WatchEvent(kind, body)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ApiUnavailableError(f"not a watch event: {line[:100]!r}", sent=True, write=False) from error
