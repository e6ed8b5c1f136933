"""What can go wrong between this process and an API server, classified for the code that has to decide what to do."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

_SNIPPET = 300
"""Characters kept of a body that is no Status object: a proxy's HTML says enough with these."""


class NotLeadingError(Exception):
    """A write was stopped before it was sent: this process may not write (any more)."""


class KubeError(Exception):
    """Base of every failure of a request.

    Attributes:
        retry_after: seconds after which the server wants to be asked again, if it said so.
    """

    retry_after: float | None = None

    @property
    def maybe_written(self) -> bool:
        """Whether a write that failed so may have been, or may still be, committed."""
        return False

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later without anyone changing anything."""
        return True


class CredentialsError(KubeError):
    """No usable credentials: the kubeconfig, the service account's files or an exec plugin failed."""


class ApiUnavailableError(KubeError):
    """No answer, or none that can be understood: refused, reset, timed out, cut off, not JSON.

    Attributes:
        sent: whether the request may have left this process.
        write: whether it was to change anything.
    """

    def __init__(self, message: str, *, sent: bool, write: bool) -> None:
        """Say whether the request may have left this process, and whether it was to change anything."""
        super().__init__(message)
        self.sent = sent
        self.write = write

    @property
    def maybe_written(self) -> bool:
        """Whether this was a write that may have reached the server."""
        return self.sent and self.write


class ApiTimeoutError(ApiUnavailableError):
    """The server took too long to answer, or a watch fell silent."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of a Status object's `details.causes`."""

    reason: str
    message: str
    field: str


class ApiError(KubeError):
    """The API server answered with a failure: an HTTP status of 400 or above, or an ERROR event in a watch.

    Attributes:
        status: the HTTP status code.
        reason: the machine-readable reason, such as `AlreadyExists`; empty if the answer was no Status object.
        message: what the server said.
        causes: the details, such as the fields that are invalid.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        retry_after: float | None = None,
        causes: tuple[Cause, ...] = (),
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.causes = causes

    @classmethod
    def of_status(cls, status: Mapping[str, Any], *, code: int = 0, retry_after: float | None = None) -> ApiError:
        """Read a Status object; `code` and `retry_after` are what the HTTP headers said."""
        details = status.get("details") or {}
        return cls(
            code or int(status.get("code") or HTTPStatus.INTERNAL_SERVER_ERROR),
            status.get("reason") or "",
            status.get("message") or "",
            retry_after=retry_after if retry_after is not None else details.get("retryAfterSeconds"),
            causes=tuple(
                Cause(cause.get("reason") or "", cause.get("message") or "", cause.get("field") or "")
                for cause in details.get("causes") or ()
            ),
        )

    @classmethod
    def of_response(cls, code: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        """Read an HTTP response, whether its body is a Status object or, from something in between, anything else."""
        header = headers.get("Retry-After", "")
        retry_after = float(header) if header.isdecimal() else None
        try:
            status = orjson.loads(body)
        except orjson.JSONDecodeError:
            status = None
        if isinstance(status, dict) and status.get("kind") == "Status":
            return cls.of_status(status, code=code, retry_after=retry_after)
        return cls(code, "", body[:_SNIPPET].decode(errors="replace"), retry_after=retry_after)

    def _has_cause(self, reason: str) -> bool:
        return any(cause.reason == reason for cause in self.causes)

    @property
    def is_not_found(self) -> bool:
        """The object, its namespace or its kind does not exist."""
        return self.status == HTTPStatus.NOT_FOUND

    @property
    def is_already_exists(self) -> bool:
        """An object of that name exists."""
        return self.status == HTTPStatus.CONFLICT and self.reason == "AlreadyExists"

    @property
    def is_conflict(self) -> bool:
        """A precondition (resourceVersion, uid) does not hold, or the object is in a state that forbids this."""
        return self.status == HTTPStatus.CONFLICT and not self.is_already_exists

    @property
    def is_expired(self) -> bool:
        """The resourceVersion or the continue token is too old: list again."""
        return self.status == HTTPStatus.GONE

    @property
    def is_unauthorized(self) -> bool:
        """The credentials are not (or no longer) good."""
        return self.status == HTTPStatus.UNAUTHORIZED

    @property
    def is_throttled(self) -> bool:
        """The server is busy: nothing was done, ask later."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS and not self.is_disruption_refused

    @property
    def is_disruption_refused(self) -> bool:
        """An eviction would violate a disruption budget: not a matter of load, asking again at once is no use."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS and self._has_cause("DisruptionBudget")

    @property
    def is_namespace_terminating(self) -> bool:
        """Nothing can be created in a namespace that is being deleted."""
        return self.status == HTTPStatus.FORBIDDEN and self._has_cause("NamespaceTerminating")

    @property
    def maybe_written(self) -> bool:
        """A failure of the server or of something in front of it does not say what became of the write."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def is_transient(self) -> bool:
        """Everything but a refusal of the request as such."""
        return (
            self.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            or self.status
            in {
                HTTPStatus.UNAUTHORIZED,
                HTTPStatus.REQUEST_TIMEOUT,
                HTTPStatus.CONFLICT,
                HTTPStatus.GONE,
                HTTPStatus.TOO_MANY_REQUESTS,
            }
            or self.is_namespace_terminating
        )
