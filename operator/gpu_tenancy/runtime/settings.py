"""The operator's settings, from environment variables and from the command line, which wins."""

from __future__ import annotations

import difflib
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    StringConstraints,
    ValidationError,
    model_validator,
)

from gpu_tenancy.api.common import LabelKey, LabelValue, NamespaceName
from gpu_tenancy.reconcile.views import Platform
from gpu_tenancy.runtime.lease import LeaseTimings

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "GPU_TENANCY_"


class SettingsError(ValueError):
    """Some settings are wrong; the message has one line for each, naming its environment variable."""


def _words(value: object) -> object:
    """Split `a,b` as an environment variable has it; what is a list already stays."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


def _pairs(value: object) -> object:
    """Split `a=b,c=d`; what is a mapping already stays.

    Raises:
        ValueError: if an equals sign is missing.
    """
    if not isinstance(value, str):
        return value
    pairs = [word.partition("=") for word in value.split(",")]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError("labels are written as key=value, several joined by commas")
    return {key.strip(): label.strip() for key, _, label in pairs}


Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_words)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(min_length=1), BeforeValidator(_pairs)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Settings(BaseModel):
    """What can be set. The environment variable of `workers` is GPU_TENANCY_WORKERS, and so on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    namespace: NamespaceName = "gpu-tenancy-system"
    """The namespace that the operator itself lives in, with its Lease."""

    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """How many objects are reconciled at the same time."""
    max_concurrent_writes: Annotated[int, Field(ge=1, le=256)] = 16
    """How many requests to the API server are under way at the same time, watches apart."""

    lease_enabled: bool = True
    """Whether the operator writes only while it holds the Lease. Switch it off only where no second one can start."""
    lease_name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)] = (
        "gpu-tenancy"
    )
    """The name of the Lease."""
    lease_duration: Seconds = 15.0
    """Seconds after which another replica takes over from one that is silent."""
    lease_renew_deadline: Seconds = 10.0
    """Seconds for which the holder goes on writing without a successful renewal."""
    lease_retry_period: Seconds = 2.0
    """Seconds between two renewals, and the longest that one may take."""

    http_host: str = "127.0.0.1"
    """The address that /healthz, /readyz and /metrics are served at; in a pod 0.0.0.0, or :: where there is IPv6."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """The port; 0 takes a free one, which is logged."""

    log_format: Literal["json", "text"] = "text"
    """One JSON object per line for machines, or text for people."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe messages that are logged."""

    residency_audit_interval: Seconds = 900.0
    """Seconds between two looks at where all pods, volumes and snapshots of tenants are."""
    control_verification_interval: Annotated[float, Field(ge=1, le=31 * 86400, allow_inf_nan=False)] = 86400.0
    """Seconds after which the status of a tenant says anew that a control stands, if nothing has changed."""

    closed_networks: Networks = ()
    """Networks that internet egress does not reach, such as the cluster's pods, services and nodes, if they are not
    in the private, link-local and other special ranges, which it never reaches. Joined by commas."""
    dns_namespace_labels: Labels = {"kubernetes.io/metadata.name": "kube-system"}
    """Labels of the namespace that the cluster's DNS servers are in, as key=value joined by commas."""
    dns_pod_labels: Labels = {"k8s-app": "kube-dns"}
    """Labels of the DNS servers' pods, likewise."""
    dns_addresses: Networks = ()
    """Addresses of node-local DNS caches, if there are any: often 169.254.20.10. Joined by commas."""

    cluster_network_policy_priority: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Where the cluster has ClusterNetworkPolicies: that of each tenant's in the Admin tier, the lowest first. Without it
    there are none."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        _ = self.lease_timings
        return self

    @property
    def lease_timings(self) -> LeaseTimings:
        """The lease's durations."""
        return LeaseTimings(self.lease_duration, self.lease_renew_deadline, self.lease_retry_period)

    @property
    def platform(self) -> Platform:
        """What the reconciliation of tenants reads of the settings."""
        return Platform(
            operator_namespace=self.namespace,
            closed_networks=tuple(map(str, self.closed_networks)),
            dns_namespace_labels=tuple(self.dns_namespace_labels.items()),
            dns_pod_labels=tuple(self.dns_pod_labels.items()),
            dns_addresses=tuple(map(str, self.dns_addresses)),
            separation_priority=self.cluster_network_policy_priority,
            verification=timedelta(seconds=self.control_verification_interval),
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **options: Any) -> Self:
        """Read the settings.

        Args:
            environment: such as `os.environ`. A variable that is empty counts as not set.
            options: from the command line, by field name; `None` means that the option was not given.

        Raises:
            SettingsError: if anything is wrong, all of it at once.
        """
        # Kubernetes adds variables for the Services of a namespace, GPU_TENANCY_PORT for one named gpu-tenancy. So an
        # unknown name is no error in itself; one that is nearly a setting's is a slip of the pen.
        named = {
            name.removeprefix(PREFIX).lower(): text for name, text in environment.items() if name.startswith(PREFIX)
        }
        slips = [
            f"{_variable(name)}: there is no such setting; did you mean {_variable(close[0])}?"
            for name in sorted(named.keys() - cls.model_fields.keys())
            if (close := difflib.get_close_matches(name, cls.model_fields, n=1, cutoff=0.85))
        ]
        values: dict[str, Any] = {name: text for name, text in named.items() if name in cls.model_fields and text}
        values |= {name: value for name, value in options.items() if value is not None}
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            problems = [f"{_variable(*problem['loc'])}: {problem['msg']}" for problem in error.errors()]
            raise SettingsError("\n".join(slips + problems)) from error
        if slips:
            raise SettingsError("\n".join(slips))
        return settings


def _variable(field: object = "", *_: object) -> str:
    """Name the environment variable of a field; of none, for what concerns several, all of them."""
    return f"{PREFIX}{str(field).upper() or '*'}"
