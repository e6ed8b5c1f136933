"""Which of the windows that a request would take is promised to it; or why none is, and which it could have instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpu_tenancy.domain.calendar import FOREVER, UNLIMITED, Booked, agreed, instant, offers, seconds
from gpu_tenancy.domain.promises.facts import Reason, Window
from gpu_tenancy.domain.promises.rules import NotAccepted
from gpu_tenancy.domain.promises.windows import Wanted
from gpu_tenancy.domain.promises.wording import at, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpu_tenancy.domain.calendar import Question
    from gpu_tenancy.domain.promises.facts import Booking, Grant
    from gpu_tenancy.domain.promises.limits import Limit
    from gpu_tenancy.domain.promises.windows import Rules
    from gpu_tenancy.domain.promises.wording import Wording

_OF_THE_POOL = frozenset({Reason.DOES_NOT_FIT, Reason.NO_DOMAIN_FITS})
_VERBS = {
    Reason.NO_DOMAIN_FITS: "do not fit into one NVLink domain",
    Reason.CEILING_EXCEEDED: "exceed the tenant's ceiling",
    Reason.BUDGET_EXCEEDED: "exceed the tenant's budget",
    Reason.DOES_NOT_FIT: "do not fit",
}


def within_contract(grant: Grant, wanted: Wanted) -> Wanted:
    """Leave of a window what the tenant's contract covers.

    Raises:
        NotAccepted: when that is nothing.
    """
    first, last = wanted.first, wanted.last
    if grant.begins is not None:
        first = max(first, seconds(grant.begins))
        if first > last:
            text = f"the contract begins at {at(seconds(grant.begins))}: begin then or later"
            raise NotAccepted(Reason.CONTRACT_BEGINS, text)
    if grant.ends is not None:
        last = min(last, seconds(grant.ends) - wanted.duration)
        if first > last:
            text = f"the contract ends at {at(seconds(grant.ends))}: end by then, or ask the provider to extend it"
            raise NotAccepted(Reason.CONTRACT_ENDS, text)
    return wanted._replace(first=first, last=last)


class Choice(NamedTuple):
    """A request before what it has to fit in.

    Attributes:
        booking: the request.
        wanted: the windows that it would take, of those that the pool's rules and the contract allow.
        limits: its tenant's and the pool's, with everything in them that is booked or claimed by others.
        grant: what its tenant may have.
        rules: the pool's.
        wording: how the pool's GPUs are spoken of.
        now: in seconds.
    """

    booking: Booking
    wanted: Wanted
    limits: Sequence[Limit]
    grant: Grant
    rules: Rules
    wording: Wording
    now: int

    def window(self) -> tuple[int, int]:
        """Give start and end of the window to promise.

        Raises:
            NotAccepted: when there is none, or it would be promised too far ahead.
        """
        start = self._fixed() if self.wanted.fixed else self._flexible()
        end, horizon = start + self.wanted.duration, self.rules.horizon
        if end > self.now + horizon:
            raise NotAccepted(
                Reason.BEYOND_HORIZON,
                f"the window would end at {at(end)}, and the pool is booked at most {span(horizon)} ahead: "
                f"ask from {at(end - horizon)} on",
                waits=self.booking.spec.onConflict == "Wait",
                wake=(end - horizon, start + 1, *self.wanted.last_calls(self.rules)),
                claim=Booked(start, end, self.booking.spec.gpus),
            )
        return start, end

    def _fixed(self) -> int:
        window = Booked(self.wanted.first, self.wanted.first + self.wanted.duration, self.booking.spec.gpus)
        for limit in self.limits:
            left = limit.objection(window)
            if left is not None:
                what = self.wording.fixed(window.gpus, window.start, window.end)
                raise self._conflict(limit.reason, f"{what} {_VERBS[limit.reason]}: {left}")
        return self.wanted.first

    def _flexible(self) -> int:
        wanted = self.wanted
        questions = self._questions(wanted.last + wanted.duration)
        start = self._latest() if self.booking.spec.window.preference == "Latest" else None
        start = agreed(questions, wanted.first) if start is None else start
        if start is not None:
            return start
        alone = [
            limit.reason
            for limit, question in zip(self.limits, questions, strict=True)
            if question(wanted.first) is None
        ]
        reason = next(iter(alone), Reason.DOES_NOT_FIT)
        whole = Wanted.of(self.booking.spec.window)
        what = self.wording.flexible(self.booking.spec.gpus, whole.duration, whole.first, whole.last + whole.duration)
        raise self._conflict(reason, f"{what} {_VERBS[reason]}")

    def _latest(self) -> int | None:
        """Find the latest start within the horizon; what lies beyond it has to wait anyway."""
        first, last, duration = self.wanted
        last = min(last, self.now + self.rules.horizon - duration)
        gpus = self.booking.spec.gpus
        questions = [limit.late_starts(gpus, duration, first, self.rules.step) for limit in self.limits]
        return agreed(questions, last) if last >= first else None

    def _conflict(self, reason: Reason, message: str) -> NotAccepted:
        """Refuse what cannot be had now, and say when it could be; or let it wait."""
        wanted = self.wanted
        if self.booking.spec.onConflict == "Wait":
            claim, wake = self._claim(), wanted.last_calls(self.rules)
            if claim is not None:
                wake = (claim.start + 1, *wake)  # then it claims another window, if it can
            text = f"{message}; it waits until it can be had"
            return NotAccepted(reason, text, waits=True, wake=wake, claim=claim)
        ends = self.grant.ends
        horizon = min(self.now + self.rules.horizon, FOREVER if ends is None else seconds(ends))
        questions = self._questions(horizon)
        starts = offers(lambda start: agreed(questions, start), wanted.duration, max(wanted.first, self.now))
        hint = f"earliest fit {at(starts[0])}" if starts else f"nothing fits until {at(horizon)}"
        windows = tuple(Window(instant(start), instant(start + wanted.duration)) for start in starts)
        return NotAccepted(reason, f"{message}; {hint}", offers=windows)

    def _claim(self) -> Booked | None:
        """Find the window that is closest to being free: where the pool lacks the fewest GPUs, the latest of those.

        The latest does not move as time passes, and leaves what is free soon to others. A request that exceeds the
        tenant's own limits waits for the tenant, not for the pool, and claims nothing.
        """
        wanted, gpus = self.wanted, self.booking.spec.gpus
        step = 1 if wanted.fixed else self.rules.step

        def with_free(free: int) -> int | None:
            asked = [free if limit.reason in _OF_THE_POOL else gpus for limit in self.limits]
            questions = [
                limit.late_starts(number, wanted.duration, wanted.first, step)
                for limit, number in zip(self.limits, asked, strict=True)
            ]
            return agreed(questions, wanted.last)

        # Where less than nothing is free, the pool has lost capacity, and any window is as good as another.
        start = with_free(-UNLIMITED)
        least, most = -1, gpus
        while start is not None and least < most - 1:
            middle = (least + most) // 2
            found = with_free(middle)
            least, most, start = (least, middle, start) if found is None else (middle, most, found)
        return None if start is None else Booked(start, start + wanted.duration, gpus)

    def _questions(self, until: int) -> list[Question]:
        gpus, duration = self.booking.spec.gpus, self.wanted.duration
        return [limit.starts(gpus, duration, until, self.rules.step) for limit in self.limits]
