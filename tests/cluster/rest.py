"""A small synchronous client for tests: one call, in anyone's name, and the API server's verdict."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from gpu_tenancy.kube.resource import Resource

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from gpu_tenancy.localcluster import ControlPlane

ADMIN = ""
_CONTENT_TYPES = {dict: "application/merge-patch+json", list: "application/json-patch+json"}
_ALL_KINDS = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


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

    @property
    def is_of_quota(self) -> bool:
        """Whether it could not be counted, because the quota was just written by somebody else."""
        return self.status == http.client.CONFLICT and self.body.get("details", {}).get("kind") == "resourcequotas"


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
    """One connection to the API server, opened anew when the other side has closed it.

    A thread that ends drops its own, and whoever is done with a cluster drops all of them; that closes them.
    """

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self._connection = http.client.HTTPSConnection(urlsplit(url).netloc, context=tls, timeout=30)
        weakref.finalize(self, self._connection.close)

    def request(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        """Send JSON and read JSON; give the status and what was answered."""
        if self._dropped():
            self.close()
        try:
            # Unescaped: what is applied is read as YAML, which knows no surrogates.
            text = None if body is None else json.dumps(body, ensure_ascii=False).encode()
            self._connection.request(method, path, text, headers)
            response = self._connection.getresponse()
            return response.status, json.loads(response.read())
        except BaseException:
            self.close()  # else what was left half done would spoil all later requests
            raise

    def _dropped(self) -> bool:
        """Tell whether there is something to read though nothing was asked: that it is over."""
        socket = self._connection.sock
        return socket is not None and bool(select.select([socket], [], [], 0)[0])

    def close(self) -> None:
        """Close it; the next request opens it again."""
        self._connection.close()


class Api:
    """The API server of a control plane, reached by an administrator who may impersonate, over a connection a thread."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._url, self._tls = control_plane.url, control_plane.admin_tls()
        self._threads = threading.local()

    @property
    def _connection(self) -> Connection:
        if not hasattr(self._threads, "connection"):
            self._threads.connection = Connection(self._url, self._tls)
        return self._threads.connection

    def send(self, call: Call, user: str = ADMIN, *, dry_run: bool = False) -> Answer:
        """Make the call in the name of `user`; a dry run goes through admission and is not stored.

        What is deleted takes along what was made of it, as with kubectl: else a Job leaves its pods. What met another's
        count of a quota is sent again, as the API server asks for.
        """
        query = {"dryRun": "All"} if dry_run else {}
        if call.verb == "DELETE":
            query["propagationPolicy"] = "Background"
        path = f"{call.resource.path(call.namespace, call.name, call.subresource)}?{urlencode(query)}"
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if call.verb == "PATCH":
            headers["Content-Type"] = _CONTENT_TYPES[type(call.body)]
        if user != ADMIN:
            headers["Impersonate-User"] = user
        for pause in (0, 0.01, 0.1, 0.5, 1):
            time.sleep(pause)
            answer = Answer(*self._connection.request(call.verb, path, call.body, headers))
            if not answer.is_of_quota or call.resource.plural == "resourcequotas":
                break
        return answer

    def apply(self, resource: Resource, body: dict[str, Any], namespace: str = "") -> Answer:
        """Have an object be as said, whoever said otherwise."""
        path = resource.path(namespace, body["metadata"]["name"]) + "?fieldManager=tests&force=true"
        headers = {"Accept": "application/json", "Content-Type": "application/apply-patch+yaml"}
        return Answer(*self._connection.request("PATCH", path, body, headers))

    def list(self, resource: Resource, namespace: str, selector: str) -> Answer:
        path = f"{resource.path(namespace)}?labelSelector={quote(selector)}"
        return Answer(*self._connection.request("GET", path, None, {"Accept": "application/json"}))

    def kinds(self) -> dict[str, Resource]:
        """Give all that there are by each of their names, in lower case."""
        names: dict[str, Resource] = {}
        for path in ("/api", "/apis"):
            _, found = self._connection.request("GET", path, None, {"Accept": _ALL_KINDS})
            for group in found["items"]:
                for version in group["versions"]:
                    for one in version.get("resources", []):
                        resource = Resource(
                            group["metadata"].get("name", ""),
                            version["version"],
                            one["resource"],
                            one["responseKind"]["kind"],
                            namespaced=one["scope"] == "Namespaced",
                        )
                        kind, short = resource.kind, one.get("shortNames", [])
                        exact = f"{resource.api_version}/{kind}"
                        for name in (resource.plural, one["singularResource"], kind, exact, *short):
                            names.setdefault(name.lower(), resource)
        return names

    def serves(self, resource: Resource) -> bool:
        """Tell whether there is such a path, which comes a moment after its definition is established."""
        with contextlib.suppress(ValueError):  # of one that there is not, the answer is no object
            return self.send(get(resource, "")).accepted
        return False

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
