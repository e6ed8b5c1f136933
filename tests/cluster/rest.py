"""A small synchronous client for tests: one call, in anyone's name, and the API server's verdict."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from gpu_tenancy.kube.resource import Resource
    from gpu_tenancy.localcluster import ControlPlane

ADMIN = ""
# After 90 s without a request the API server closes a connection.
_IDLE = 30
_CONTENT_TYPES = {dict: "application/merge-patch+json", list: "application/json-patch+json"}


@dataclass(frozen=True)
class Call:
    """One request: a create has no name; a patch is a merge patch if `body` is a dict, a JSON patch if it is a list."""

    verb: str
    resource: Resource
    body: Any = None
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any

    @property
    def accepted(self) -> bool:
        return self.status < http.client.MULTIPLE_CHOICES

    @property
    def message(self) -> str:
        """What the API server says against it; empty if it was accepted."""
        return "" if self.accepted else self.body["message"]


def create(resource: Resource, body: dict[str, Any], namespace: str = "") -> Call:
    """Create an object, naming its kind after the resource."""
    return Call("POST", resource, {"apiVersion": resource.api_version, "kind": resource.kind, **body}, namespace)


def patch(resource: Resource, name: str, body: Any, namespace: str = "", subresource: str = "") -> Call:
    return Call("PATCH", resource, body, namespace, name, subresource)


def delete(resource: Resource, name: str, namespace: str = "") -> Call:
    return Call("DELETE", resource, None, namespace, name)


def get(resource: Resource, name: str, namespace: str = "") -> Call:
    return Call("GET", resource, None, namespace, name)


class Connection:
    """One connection to the API server, opened anew when it was idle for so long that the other side may have closed it."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self._connection = http.client.HTTPSConnection(urlsplit(url).netloc, context=tls, timeout=30)
        self._used = time.monotonic()

    def request(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        """Send JSON and read JSON; give the status and what was answered."""
        if time.monotonic() - self._used > _IDLE:
            self.close()
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = self._connection.getresponse()
            return response.status, json.loads(response.read())
        except BaseException:
            self.close()  # else what was left half done would spoil all later requests
            raise
        finally:
            self._used = time.monotonic()

    def close(self) -> None:
        """Close it; the next request opens it again."""
        self._connection.close()


class Api:
    """The API server of a control plane, reached over one connection as an administrator who may impersonate."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._connection = Connection(control_plane.url, control_plane.admin_tls())

    def send(self, call: Call, user: str = ADMIN, *, dry_run: bool = False) -> Answer:
        """Make the call in the name of `user`; a dry run goes through admission and is not stored."""
        path = call.resource.path(call.namespace, call.name, call.subresource) + ("?dryRun=All" if dry_run else "")
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if call.verb == "PATCH":
            headers["Content-Type"] = _CONTENT_TYPES[type(call.body)]
        if user != ADMIN:
            headers["Impersonate-User"] = user
        return Answer(*self._connection.request(call.verb, path, call.body, headers))

    def must(self, call: Call, user: str = ADMIN) -> dict[str, Any]:
        """Make the call for real and return the object; anything but success fails the test."""
        answer = self.send(call, user)
        assert answer.accepted, f"{call}: {answer.message}"
        return answer.body

    def close(self) -> None:
        self._connection.close()


def eventually(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until the condition holds, such as that a policy is in force: about a second after it is written."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
