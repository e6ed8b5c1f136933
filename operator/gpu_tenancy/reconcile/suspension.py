"""What the status says of a tenant that is suspended, or whose contract does not run: shut, being emptied, or empty."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.api.common import format_instant
from gpu_tenancy.api.tenant import DrainStatus
from gpu_tenancy.domain.conditions import find
from gpu_tenancy.domain.contract import Stage, Standing
from gpu_tenancy.domain.naming import SUSPENDED_LABEL
from gpu_tenancy.reconcile.drain import DEFAULT_GRACE, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from gpu_tenancy.api.tenant import IndustrialTenantSpec, IndustrialTenantStatus
    from gpu_tenancy.reconcile.views import TenantView

_SHOWN_PROBLEMS = 5
_OPEN = "set spec.suspended to false to open the tenant"


class Suspended(NamedTuple):
    """What is said of a suspended tenant: the reason and the message of its condition, and the drain if there is one."""

    reason: str
    message: str
    drain: DrainStatus | None = None


def drain_phase(
    spec: IndustrialTenantSpec, status: IndustrialTenantStatus, labels: Mapping[str, str], now: datetime
) -> Phase | None:
    """Say how a namespace of a tenant is being drained; None if it is not.

    It is once its status says since when, and the namespace's label keeps new pods out: else what goes would come back.
    """
    shut = spec.suspended or Standing.of(spec.contract, None, now).shut
    if not shut or spec.suspension.pods != "Drain":
        return None
    if status.drain is None or labels.get(SUSPENDED_LABEL) != "true":
        return None
    deadline = status.drain.since + spec.suspension.gracePeriod
    end = deadline + timedelta(seconds=DEFAULT_GRACE)
    return Phase("draining", "", last_call=deadline, end=end, last_grace=DEFAULT_GRACE)


def suspension(
    view: TenantView, spec: IndustrialTenantSpec, namespaces: Iterable[str], now: datetime
) -> Suspended | None:
    """Say how far the suspension is; None for a tenant that is open.

    Args:
        view: the tenant.
        spec: its spec.
        namespaces: those that are shut with it.
        now: begins a drain.
    """
    if not spec.suspended and not view.contract.shut:
        return None
    reason, opens = ("Cordoned", _OPEN) if spec.suspended else _by_contract(view, spec)
    if spec.suspension.pods != "Drain":
        return Suspended(reason, f"nothing new starts, what runs goes on; {opens}")
    before = None if view.status is None else view.status.drain
    counted = [view.remainders.get(name) for name in namespaces]
    known = [one for one in counted if one is not None]
    since = now.astimezone(UTC).replace(microsecond=0) if before is None else before.since
    if len(known) < len(counted):
        # Nobody has looked yet, at the start or since a restart: what was said before is still the best there is.
        said = None if view.status is None else find(view.status.conditions, "Suspended")
        if before is not None and said is not None and said.reason in {"Draining", "Drained"}:
            return Suspended(said.reason, said.message, before)
        return Suspended("Draining", f"its pods are being counted; {opens}", DrainStatus(since=since))
    pods = sum(one.pods for one in known)
    drain = DrainStatus(since=since, pods=pods)
    if not pods:
        return Suspended("Drained", f"nothing runs any more, its data stays; {opens}", drain)
    deadline = format_instant(since + spec.suspension.gracePeriod)
    problems = [problem for one in known for problem in one.problems][:_SHOWN_PROBLEMS]
    message = "; ".join([f"{pods} pods are left; those that run at {deadline} are deleted", *problems, opens])
    return Suspended("Draining", message, drain)


def _by_contract(view: TenantView, spec: IndustrialTenantSpec) -> tuple[str, str]:
    """Say as what a contract that does not run shuts the tenant, and what opens it."""
    begins = spec.contract.validFrom if spec.contract and view.contract.stage is Stage.AHEAD else None
    when = f"begins at {format_instant(begins)}" if begins else "is over: extend spec.contract.validUntil"
    return view.contract.stage.value, f"the contract {when}"
