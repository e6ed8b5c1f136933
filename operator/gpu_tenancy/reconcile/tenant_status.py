"""What a tenant's status says, and the few events about it.

Conditions: Ready is always there, the others only while they hold. A tenant says Reconciling once and then nothing until
all is observed to stand, so a new one costs two writes however many passes it takes. A plan writes the status last: when
it puts something right in a tenant that stood, all stands again by then, and what does not is for the next pass to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gpu_tenancy.api.common import API_VERSION, Condition, format_instant
from gpu_tenancy.api.tenant import MAX_NAMESPACES, GrantStatus, IndustrialTenantStatus, NamespaceStatus
from gpu_tenancy.domain.conditions import clip_text, find, holds, set_condition, without
from gpu_tenancy.domain.contract import Stage
from gpu_tenancy.domain.grants import unassigned
from gpu_tenancy.domain.residency import Placement
from gpu_tenancy.reconcile.audit import violation
from gpu_tenancy.reconcile.controls import controls
from gpu_tenancy.reconcile.ownership import REFUSALS, Kept, Left, Reason, Removed, Retained, previous_reasons
from gpu_tenancy.reconcile.plan import Create, Delete, Emit, Ref, Update
from gpu_tenancy.reconcile.separation import taken
from gpu_tenancy.reconcile.suspension import suspension
from gpu_tenancy.render.namespace import OWNER_KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from gpu_tenancy.api.tenant import GpuGrant, IndustrialTenantSpec
    from gpu_tenancy.reconcile.children import Work
    from gpu_tenancy.reconcile.observed import Observed
    from gpu_tenancy.reconcile.ownership import Claim
    from gpu_tenancy.reconcile.plan import Operation
    from gpu_tenancy.reconcile.views import TenantView

_MAX_NOTE = 1000
_ENDING = {
    Stage.ENDING: "the contract ends at {}: nothing is promised beyond it; extend spec.contract.validUntil to go on",
    Stage.HONOURED: "the contract ended at {}: nothing new is promised, and what was accepted is honoured",
    Stage.OVER: "the contract ended at {}: the tenant is shut; extend spec.contract.validUntil to go on",
}
_MAX_REGIONS = 256
_EVER_STOOD = frozenset({Reason.READY, Reason.PROGRESSING})
_WRITING = "objects in the namespaces are being written, and their quotas counted by the controller-manager"


class State(NamedTuple):
    """What is said of the tenant as a whole.

    Attributes:
        ready: whether all stands.
        stalled: whether somebody has to do something first.
        busy: whether there is something left to do without that.
    """

    ready: bool
    stalled: bool
    busy: bool
    reason: str
    message: str


def is_steady(view: TenantView) -> bool:
    """Say whether the tenant was Ready at this generation when it was last looked at."""
    status = view.status
    return status is not None and status.observedGeneration == view.generation and holds(status.conditions, "Ready")


def report(
    view: TenantView,
    spec: IndustrialTenantSpec,
    work: Sequence[tuple[Claim, Work]],
    children: Mapping[str, Mapping[Ref, Observed]],
    now: datetime,
    *,
    separation: Work,
) -> list[Operation]:
    """Write the status if it has something new to say, and the events that go with it."""
    previous = view.status or IndustrialTenantStatus()
    everything = [separation, *(one for _, one in work)]
    events = [*_adoptions(view, work), *_repairs(view, everything)]
    if any(one.operations for one in everything) and (is_steady(view) or _says_so(previous, view.generation)):
        return events
    writing = any(not one.settled for one in everything)
    entries = [_entry(previous, claim, one) for claim, one in work]
    listed = [entry for (claim, _), entry in zip(work, entries, strict=True) if _is_listed(claim)]
    state = _state(view, spec, listed, writing=writing)
    conditions = _conditions(previous.conditions, state, view.generation, now)
    names = [claim.name for claim, _ in work if isinstance(claim, Kept | Retained)]
    suspended = suspension(view, spec, names, now)
    said = None if suspended is None else (suspended.reason, suspended.message)
    conditions = _flag(conditions, "Suspended", said, view.generation, now)
    conditions = _flag(conditions, "ContractEnding", _ending(view, spec), view.generation, now)
    conditions = _flag(conditions, "GuaranteeShort", _shortage(view), view.generation, now)
    conditions = _flag(conditions, "HostContested", _contested(view), view.generation, now)
    placement = Placement.of(spec.residency)
    conditions = _flag(conditions, "ResidencyViolated", violation(view, placement), view.generation, now)
    status = IndustrialTenantStatus(
        observedGeneration=view.generation,
        placement=placement.name,
        regions=placement.admitted(view.regions)[:_MAX_REGIONS],
        readyNamespaces=_ratio(listed),
        namespaces=entries[: 2 * MAX_NAMESPACES],
        gpus=[_grant(view, previous, one) for one in spec.gpus],
        drain=None if suspended is None else suspended.drain,
        controls=previous.controls if writing else controls(view, _objects(view, names, children), now),
        conditions=conditions,
    )
    return [*_write(view, previous, status), *events, *_transitions(view, previous, status)]


def _objects(
    view: TenantView, names: Iterable[str], children: Mapping[str, Mapping[Ref, Observed]]
) -> Iterator[Observed]:
    """Give the operator's objects in the tenant's namespaces, these, and what keeps other tenants out."""
    if view.separation is not None:
        yield view.separation
    for name in names:
        yield view.namespaces[name]
        yield from children.get(name, {}).values()


def report_refusal(view: TenantView, reason: str, message: str, now: datetime) -> list[Operation]:
    """Say that the spec as a whole is refused; what stood is left as it is."""
    previous = view.status or IndustrialTenantStatus()
    entries = {entry.name: entry for entry in previous.namespaces}
    listed = [] if view.spec is None else [one.name for one in view.spec.namespaces]
    for name in listed:
        text = "nothing is written while the tenant is refused"
        entries.setdefault(name, NamespaceStatus(name=name, ready=False, reason=reason, message=text))
    state = State(ready=False, stalled=True, busy=False, reason=reason, message=message)
    fields: dict[str, Any] = {
        "observedGeneration": view.generation,
        "namespaces": list(entries.values())[: 2 * MAX_NAMESPACES],
        "conditions": _conditions(previous.conditions, state, view.generation, now),
    }
    if view.spec is not None:
        fields["readyNamespaces"] = _ratio([entries[name] for name in listed])
    status = previous.model_copy(update=fields)
    operations = _write(view, previous, status)
    before = find(previous.conditions, "Ready")
    if reason == "ResidencyContradiction" and (before is None or before.reason != reason):
        operations.append(_event(view, "Warning", reason, message))
    return operations


def report_failure(view: TenantView, message: str, now: datetime, *, permanent: bool) -> list[Operation]:
    """Say that writing failed and is tried again; `permanent` if that is of no use before somebody does something."""
    previous = view.status or IndustrialTenantStatus()
    reason = "WriteRefused" if permanent else "RetryableError"
    state = State(ready=False, stalled=permanent, busy=not permanent, reason=reason, message=message)
    conditions = _conditions(previous.conditions, state, view.generation, now)
    status = previous.model_copy(update={"observedGeneration": view.generation, "conditions": conditions})
    return _write(view, previous, status)


def _says_so(previous: IndustrialTenantStatus, generation: int) -> bool:
    return previous.observedGeneration == generation and holds(previous.conditions, "Reconciling")


def _is_listed(claim: Claim) -> bool:
    return isinstance(claim, Kept) or (isinstance(claim, Left) and claim.listed)


def _ratio(entries: Sequence[NamespaceStatus]) -> str:
    return f"{sum(entry.ready for entry in entries)}/{len(entries)}"


def _entry(previous: IndustrialTenantStatus, claim: Claim, work: Work) -> NamespaceStatus:
    match claim:
        case Left():
            return NamespaceStatus(name=claim.name, ready=False, reason=claim.reason, message=claim.message)
        case Removed():
            message = f"{claim.name} is not listed any more and is being deleted"
            return NamespaceStatus(name=claim.name, ready=False, reason=Reason.TERMINATING, message=message)
        case Kept() if work.settled:
            return NamespaceStatus(name=claim.name, ready=True, reason=Reason.READY)
        case Kept():
            stood = previous_reasons(previous).get(claim.name) in _EVER_STOOD
            reason = Reason.PROGRESSING if stood else Reason.PROVISIONING
            return NamespaceStatus(name=claim.name, ready=False, reason=reason)
        case _:
            message = (
                f"{claim.name} is not listed any more: nobody has access, its data stays; list it again or delete it"
            )
            return NamespaceStatus(name=claim.name, ready=False, reason=Reason.RETAINED, message=message)


def _state(view: TenantView, spec: IndustrialTenantSpec, listed: Sequence[NamespaceStatus], *, writing: bool) -> State:
    refused = [entry for entry in listed if entry.reason in REFUSALS]
    going = [entry.message for entry in listed if entry.reason == Reason.TERMINATING]
    undecided = [grant.pool for grant in spec.gpus if grant.guaranteed and grant.pool not in view.grants]
    busy = writing or bool(undecided)
    if refused:
        message = "; ".join(entry.message for entry in refused)
        return State(ready=False, stalled=True, busy=busy, reason=refused[0].reason, message=message)
    if name_taken := taken(view):
        return State(ready=False, stalled=True, busy=False, reason="PolicyNameTaken", message=name_taken)
    if going:
        return State(ready=False, stalled=False, busy=True, reason=Reason.TERMINATING, message="; ".join(going))
    if undecided:
        message = f"pool {', '.join(undecided)} has not decided on the guaranteed GPUs yet"
        return State(ready=False, stalled=False, busy=True, reason="AwaitingPool", message=message)
    if writing:
        reason = Reason.PROVISIONING if _never_stood(view.status) else Reason.PROGRESSING
        return State(ready=False, stalled=False, busy=True, reason=reason, message=_WRITING)
    message = "; ".join(
        [f"{len(listed)} namespaces stand as declared", *_leftovers(spec), *_closed_classes(view, spec)]
    )
    return State(ready=True, stalled=False, busy=False, reason="Reconciled", message=message)


def _never_stood(status: IndustrialTenantStatus | None) -> bool:
    return _EVER_STOOD.isdisjoint(previous_reasons(status).values())


def _leftovers(spec: IndustrialTenantSpec) -> Iterator[str]:
    for grant in spec.gpus:
        rest = unassigned(grant, spec.namespaces)
        parts = [(rest.guaranteed, "guaranteed"), (rest.spot, "spot")]
        if texts := [f"{amount} {tier}" for amount, tier in parts if amount]:
            yield (
                f"{' and '.join(texts)} GPUs of pool {grant.pool} belong to no namespace: "
                f"raise a share in spec.gpus or add a namespace"
            )


def _closed_classes(view: TenantView, spec: IndustrialTenantSpec) -> Iterator[str]:
    if missing := sorted(set(spec.storageClasses) - view.storage_classes):
        yield (
            f"storage class {', '.join(missing)} is not in the cluster, or keeps deleted volumes: "
            f"create it with reclaimPolicy Delete, or remove it from spec.storageClasses"
        )


def _ending(view: TenantView, spec: IndustrialTenantSpec) -> tuple[str, str] | None:
    stage, until = view.contract.stage, None if spec.contract is None else spec.contract.validUntil
    if until is None or stage not in _ENDING:
        return None
    return stage.value, _ENDING[stage].format(format_instant(until))


def _grant(view: TenantView, previous: IndustrialTenantStatus, grant: GpuGrant) -> GrantStatus:
    """Say what the pool decided; while it has not, what was said before, for that is the ledger of the guarantee."""
    before = next((one for one in previous.gpus if one.pool == grant.pool), None)
    return view.grants.get(grant.pool) or before or GrantStatus(pool=grant.pool, guaranteed=grant.guaranteed)


def _shortage(view: TenantView) -> tuple[str, str] | None:
    spec = view.spec
    grants = [] if spec is None else [view.grants[one.pool] for one in spec.gpus if one.pool in view.grants]
    texts = [
        f"{one.backed} of {one.guaranteed} guaranteed GPUs of pool {one.pool} are backed"
        for one in grants
        if one.backed < one.guaranteed
    ]
    if not texts:
        return None
    return "CapacityShort", "; ".join(texts) + "; the others follow when the pool has capacity, or lower the grant"


def _contested(view: TenantView) -> tuple[str, str] | None:
    if not view.contested:
        return None
    hosts = ", ".join(sorted(view.contested))
    message = (
        f"{hosts}: granted to somebody else as well, so neither serves it anew, and what serves it stays; "
        f"leave it in spec.network.hosts of one tenant only"
    )
    return "GrantedTwice", message


def _conditions(previous: Iterable[Condition], state: State, generation: int, now: datetime) -> list[Condition]:
    status: Literal["True", "False"] = "True" if state.ready else "False"
    conditions = set_condition(previous, "Ready", status, state.reason, state.message, generation, now)
    said = (state.reason, state.message)
    conditions = _flag(conditions, "Reconciling", said if state.busy else None, generation, now)
    return _flag(conditions, "Stalled", said if state.stalled else None, generation, now)


def _flag(
    conditions: list[Condition], type_: str, said: tuple[str, str] | None, generation: int, now: datetime
) -> list[Condition]:
    """Set a condition that is there only while it holds."""
    if said is None:
        return without(conditions, type_)
    return set_condition(conditions, type_, "True", *said, generation, now)


def _write(view: TenantView, previous: IndustrialTenantStatus, status: IndustrialTenantStatus) -> list[Operation]:
    if status == previous:
        return []
    fields = status.model_dump(mode="json")
    patch = {key: value for key, value in fields.items() if getattr(status, key) != getattr(previous, key)}
    # The version makes sure that it is the tenant that was judged, and not another of the same name.
    return [Update(_ref(view), {"status": patch}, view.resource_version, subresource="status")]


def _transitions(
    view: TenantView, previous: IndustrialTenantStatus, status: IndustrialTenantStatus
) -> Iterator[Operation]:
    if holds(status.conditions, "Ready") and not holds(previous.conditions, "Ready") and _never_stood(previous):
        yield _event(view, "Normal", "TenantProvisioned", f"{len(status.namespaces)} namespaces stand as declared")
    before = previous_reasons(previous)
    refused = [one for one in status.namespaces if one.reason in REFUSALS and before.get(one.name) != one.reason]
    if refused:
        yield _event(view, "Warning", "NamespaceRefused", "; ".join(f"{one.reason}: {one.message}" for one in refused))
    ending, before_it = (find(one.conditions, "ContractEnding") for one in (status, previous))
    if ending is not None and (before_it is None or before_it.reason != ending.reason):
        yield _event(view, "Warning", "ContractEnding", ending.message)
    short = find(status.conditions, "GuaranteeShort")
    if short is not None and not holds(previous.conditions, "GuaranteeShort"):
        yield _event(view, "Warning", "GuaranteeShort", short.message)
    outside = find(status.conditions, "ResidencyViolated")
    if outside is not None and not holds(previous.conditions, "ResidencyViolated"):
        yield _event(view, "Warning", "RegionViolation", outside.message)
    suspended, stood = find(status.conditions, "Suspended"), find(previous.conditions, "Suspended")
    if suspended is not None and (stood is None or stood.reason != suspended.reason):
        if suspended.reason == "Draining":
            yield _event(view, "Warning", "TenantDraining", suspended.message)
        elif suspended.reason == "Drained":
            yield _event(view, "Normal", "TenantDrained", suspended.message)


def _adoptions(view: TenantView, work: Sequence[tuple[Claim, Work]]) -> Iterator[Operation]:
    for claim, _ in work:
        if isinstance(claim, Kept) and claim.adopted:
            yield _event(view, "Normal", "NamespaceAdopted", f"namespace {claim.name} was adopted by its opt-in label")


def _repairs(view: TenantView, work: Iterable[Work]) -> Iterator[Operation]:
    repaired = [
        " ".join((operation.ref.kind, "/".join(filter(None, operation.ref[2:]))))
        for one in work
        for _, operation in one.operations
        if isinstance(operation, Create | Update | Delete) and operation.repair
    ]
    if repaired:
        yield _event(view, "Warning", "IsolationDriftCorrected", f"put right: {', '.join(dict.fromkeys(repaired))}")


def _event(view: TenantView, type_: Literal["Normal", "Warning"], reason: str, note: str) -> Emit:
    return Emit(_ref(view), view.uid, type_, reason, clip_text(note, _MAX_NOTE))


def _ref(view: TenantView) -> Ref:
    return Ref(API_VERSION, OWNER_KIND, "", view.name)
