"""What is said about a reservation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.domain.promises.facts import OPEN, Reason, Refusal, State, Verdict

if TYPE_CHECKING:
    from gpu_tenancy.domain.promises.facts import Booking
    from gpu_tenancy.domain.promises.rules import NotAccepted
    from gpu_tenancy.domain.promises.windows import Held, Rules
    from gpu_tenancy.domain.promises.wording import Wording

# The others are reasons to refuse a reservation, and what was accepted stays.
_SAID_OF_CHANGES = OPEN | {Reason.START_IMMUTABLE, Reason.TWO_CHANGES}
_TAKEN_BACK = "; it was taken back, since no pod used it"


def refusal_of(booking: Booking, outcome: NotAccepted, *, change: bool) -> Refusal:
    """Write down why a request is not accepted; one for a change says that what was accepted stays."""
    if not change:
        return Refusal(booking.generation, outcome.reason, outcome.message, outcome.offers)
    if outcome.waits:
        reason, what = Reason.CHANGE_WAITS, "waits"
    else:
        reason, what = outcome.reason if outcome.reason in _SAID_OF_CHANGES else Reason.CHANGE_REFUSED, "is refused"
    message = f"the change {what} and what was accepted stays: {outcome.message}"
    return Refusal(booking.generation, reason, message, outcome.offers)


def refused(refusal: Refusal) -> Verdict:
    """Give the verdict on a reservation that holds nothing and gets nothing."""
    return Verdict(State.REFUSED, refusal.reason, refusal.message, refusal=refusal)


def waiting(outcome: NotAccepted) -> Verdict:
    """Give the verdict on a reservation that is asked about again."""
    return Verdict(State.WAITING, outcome.reason, outcome.message)


class Lacks(NamedTuple):
    """What the pool cannot keep of a promise: all of its GPUs, or its GPUs in one domain."""

    gpus: bool
    domain: bool


def promised(
    held: Held,
    rules: Rules,
    wording: Wording,
    now: int,
    *,
    backed: int,
    lacks: Lacks,
    refusal: Refusal | None,
) -> Verdict:
    """Give the verdict on a reservation that was accepted.

    Args:
        held: what is promised.
        rules: the pool's.
        wording: how its GPUs are spoken of.
        now: in seconds.
        backed: GPUs that are there for it now.
        lacks: what of it the pool cannot keep.
        refusal: why a change of it is not accepted.
    """
    state = held.state(now)
    active, over = state is State.ACTIVE, state is State.COMPLETED
    return Verdict(
        state,
        reason=state,
        message=wording.fixed(held.gpus, held.start, held.end) + (_TAKEN_BACK if held.ended else ""),
        ledger=held.ledger,
        refusal=refusal,
        backed=backed if active else 0,
        notice=active and held.notice(rules) <= now,
        draining=active and held.drain(rules) <= now,
        degraded="" if over else _shortage(held, backed, lacks, begun=active),
    )


def _shortage(held: Held, backed: int, lacks: Lacks, *, begun: bool) -> str:
    gpus = held.gpus
    if lacks.gpus and begun and backed < gpus:
        return f"{backed} of {gpus} GPUs are there: the pool has lost capacity or is under maintenance"
    if lacks.gpus:
        return f"fewer than {gpus} GPUs will be there for some of the time: the pool has lost capacity or will be under maintenance"
    if not lacks.domain:
        return ""
    lost = f"NVLink domain {held.domain} has lost nodes, and " if held.domain else ""
    return f"{lost}{gpus} GPUs are free in no {'other' if lost else 'NVLink domain'}"
