"""Which windows a pool takes, whatever else is booked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.calendar import align, seconds
from gpu_tenancy.domain.promises.facts import Reason, Window
from gpu_tenancy.domain.promises.windows import Wanted
from gpu_tenancy.domain.promises.wording import at, span

if TYPE_CHECKING:
    from gpu_tenancy.domain.calendar import Booked
    from gpu_tenancy.domain.promises.facts import Booking
    from gpu_tenancy.domain.promises.windows import Held, Rules

# A start so many seconds before the creation is taken as meant: clocks differ, and commands take time to type.
_TOLERANCE = 60


class NotAccepted(Exception):  # noqa: N818  # an outcome, not a failure
    """A request that is refused, or that waits.

    Attributes:
        reason, message, offers: as in `Refusal`.
        waits: whether it is to be asked again.
        wake: for one that waits, when time alone changes the answer.
        claim: for one that waits for the pool, what it keeps from those behind it.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        offers: tuple[Window, ...] = (),
        waits: bool = False,
        wake: tuple[int, ...] = (),
        claim: Booked | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.offers = offers
        self.waits = waits
        self.wake = wake
        self.claim = claim


def admit(booking: Booking, held: Held | None, rules: Rules, now: int) -> Wanted:
    """Narrow the window that is asked for to what the rules allow.

    A request is judged as of its creation, since the operator may have been away: a window that has begun since then
    is taken for the rest of it. When a spec was changed is not known, so the lead time of a changed one counts from now.

    Args:
        booking: the request.
        held: what it holds already. Its start stays where it is if that is asked for too, and is not judged again.
        rules: the pool's.
        now: in seconds.

    Raises:
        NotAccepted: when they allow none of it.
    """
    wanted, step = Wanted.of(booking.spec.window), rules.step
    _check_duration(wanted.duration, rules)
    if held is not None and wanted.nearest(held.start) == held.start:
        wanted = Wanted(held.start, held.start, wanted.duration)
    elif held is not None and held.fixed_from(rules) <= now:
        raise NotAccepted(
            Reason.START_IMMUTABLE,
            f"{_fixed(held, rules, now)}, its start stays {at(held.start)}: change the end, or create another reservation",
        )
    if held is not None and held.fixed_from(rules) <= now:
        _check_only_more(booking, held, wanted)
    lead, changed = rules.lead, held is not None or booking.generation > 1
    soonest = (now if changed else seconds(booking.created)) + lead if lead else 0
    if not wanted.fixed:
        return _narrow(wanted, now, soonest, step)
    if step > 1:
        known = {held.start, held.end} if held else set()
        _check_aligned({wanted.first, wanted.first + wanted.duration} - known, step)
    if wanted.first + wanted.duration <= now:
        raise NotAccepted(
            Reason.MISSED, f"the window was over at {at(wanted.first + wanted.duration)} before it could be accepted"
        )
    if held is None or wanted.first != held.start:
        _check_start(wanted.first, seconds(booking.created), soonest)
    return wanted


def _fixed(held: Held, rules: Rules, now: int) -> str:
    if held.start <= now:
        return "the window has begun"
    return f"the window begins in less than {span(rules.modifiable)}"


def _check_only_more(booking: Booking, held: Held, wanted: Wanted) -> None:
    """Have what is given back late said apart from what is asked for, for it stays charged."""
    if booking.spec.gpus < held.gpus or wanted.duration < held.asked_end - held.start:
        raise NotAccepted(
            Reason.TWO_CHANGES,
            "it gives something back and asks for something else: first give back, and ask for more when that is taken",
        )


def _check_duration(duration: int, rules: Rules) -> None:
    shortest, longest = rules.minimum, rules.maximum
    if duration < shortest:
        raise NotAccepted(
            Reason.TOO_SHORT, f"the window of {span(duration)} is shorter than the pool's minimum of {span(shortest)}"
        )
    if duration > longest:
        raise NotAccepted(
            Reason.TOO_LONG, f"the window of {span(duration)} is longer than the pool's maximum of {span(longest)}"
        )


def _check_aligned(instants: set[int], step: int) -> None:
    for instant in sorted(instants):
        if instant % step:
            raise NotAccepted(
                Reason.NOT_ALIGNED,
                f"windows in this pool begin and end on multiples of {span(step)}: "
                f"instead of {at(instant)} write {at(align(instant, step) - step)} or {at(align(instant, step))}",
            )


def _check_start(start: int, created: int, soonest: int) -> None:
    if start < created - _TOLERANCE:
        raise NotAccepted(
            Reason.IN_THE_PAST, f"the window begins at {at(start)}, before the reservation was created: begin later"
        )
    if start < soonest:
        raise NotAccepted(
            Reason.TOO_SOON,
            f"the window begins at {at(start)}; the pool has to be asked earlier: begin at {at(soonest)} or later",
        )


def _narrow(wanted: Wanted, now: int, soonest: int, step: int) -> Wanted:
    """Leave of a flexible window the starts that can still be had."""
    if wanted.duration % step or align(wanted.first, step) > wanted.last:
        raise NotAccepted(
            Reason.NOT_ALIGNED,
            f"windows in this pool begin and end on multiples of {span(step)}: choose such a duration and a wider range",
        )
    first = align(max(wanted.first, soonest), step)
    if first > wanted.last:
        raise NotAccepted(
            Reason.TOO_SOON,
            f"the pool has to be asked earlier: let the range reach {at(first + wanted.duration)} or later",
        )
    first = align(max(first, now), step)
    if first > wanted.last:
        raise NotAccepted(
            Reason.MISSED, f"the last start, {at(wanted.last)}, has passed before the window could be accepted"
        )
    return wanted._replace(first=first)
