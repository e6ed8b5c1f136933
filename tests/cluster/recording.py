"""What a watch of the API server told, kept in the order of its revisions: the state after every single write."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from gpu_tenancy.kube.resource import Resource
    from gpu_tenancy.localcluster import ControlPlane


@dataclass(frozen=True, order=True)
class Change:
    """An object as it was after a write, or before it was deleted.

    Attributes:
        revision: the resourceVersion; all kinds share one count, that of etcd.
        seen: when it arrived, in seconds since 1970.
    """

    revision: int
    seen: float = field(compare=False)
    kind: str = field(compare=False)
    key: tuple[str, str] = field(compare=False)
    body: dict[str, Any] = field(compare=False)
    deleted: bool = field(compare=False)


class Recording:
    """Watches kinds from when it is entered, each in a thread of its own, until it is closed."""

    def __init__(self, control_plane: ControlPlane, resources: Iterable[Resource]) -> None:
        self._control_plane = control_plane
        self._changes: list[Change] = []
        self._closed = threading.Event()
        self._problems: list[Exception] = []
        self._connections: list[http.client.HTTPSConnection] = []
        begun = {one: threading.Event() for one in resources}
        self._begun = begun.values()
        self._threads = [threading.Thread(target=self._watch, args=each, daemon=True) for each in begun.items()]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        for one in self._begun:
            one.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed.set()
        for connection in self._connections:
            if connection.sock is not None:
                with suppress(OSError):  # the API server may have closed it
                    connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connection in self._connections:
            connection.close()

    def changes(self) -> list[Change]:
        """Give everything so far, in the order in which it was written.

        Raises:
            AssertionError: when a watch was lost, so that something may be missing.
        """
        assert not self._problems, self._problems
        return sorted(self._changes)

    def _connect(self) -> http.client.HTTPSConnection:
        address = urlsplit(self._control_plane.url).netloc
        connection = http.client.HTTPSConnection(address, context=self._control_plane.admin_tls())
        self._connections.append(connection)
        return connection

    def _watch(self, resource: Resource, begun: threading.Event) -> None:
        connection = self._connect()
        try:
            connection.request("GET", resource.path())
            listed = json.loads(connection.getresponse().read())
            for body in listed["items"]:
                self._keep(resource.kind, "ADDED", body)
            version = listed["metadata"]["resourceVersion"]
            begun.set()
            path = f"{resource.path()}?watch=true&timeoutSeconds=86400&resourceVersion={version}"
            connection.request("GET", path)
            response = connection.getresponse()
            while line := response.readline():
                event = json.loads(line)
                assert event["type"] != "ERROR", event
                self._keep(resource.kind, event["type"], event["object"])
        except Exception as error:  # noqa: BLE001  # told by `changes`
            if not self._closed.is_set():
                self._problems.append(error)
        else:
            if not self._closed.is_set():
                self._problems.append(EOFError(f"the watch of {resource.kind} ended"))
        finally:
            begun.set()

    def _keep(self, kind: str, type_: str, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        metadata.pop("managedFields", None)
        change = Change(
            revision=int(metadata["resourceVersion"]),
            seen=time.time(),
            kind=kind,
            key=(metadata.get("namespace", ""), metadata["name"]),
            body=body,
            deleted=type_ == "DELETED",
        )
        self._changes.append(change)
