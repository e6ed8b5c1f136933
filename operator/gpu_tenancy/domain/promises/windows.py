"""An accepted window: how it passes through time, and what of a changed spec is taken without asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from gpu_tenancy.domain.calendar import Booked, instant, seconds
from gpu_tenancy.domain.promises.facts import Ledger, State, Window

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any, Self

    from gpu_tenancy.api.pool import ReservationRules
    from gpu_tenancy.api.reservation import ReservationWindow
    from gpu_tenancy.domain.promises.facts import Booking


SHORTEST_STEP = 60
"""In seconds; each step is a write."""


class Rules(NamedTuple):
    """A pool's rules for windows, in seconds."""

    minimum: int
    maximum: int
    horizon: int
    lead: int
    step: int
    modifiable: int
    notice: int
    grace: int
    no_show: int
    gap: int

    @classmethod
    def of(cls, rules: ReservationRules) -> Rules:
        """Read them."""
        return cls(
            minimum=seconds(rules.minimumDuration),
            maximum=seconds(rules.maximumDuration),
            horizon=seconds(rules.horizon),
            lead=seconds(rules.leadTime),
            step=seconds(rules.step),
            modifiable=seconds(rules.modifiableUntil),
            notice=seconds(rules.noticeBeforeEnd),
            grace=seconds(rules.gracePeriod),
            no_show=seconds(rules.noShowAfter),
            gap=seconds(rules.cleaningGap),
        )


class Held(NamedTuple):
    """A booking with the window that it was promised; instants and spans in seconds.

    Attributes:
        gap: how long its GPUs stay unpromised after the end.
        forfeited: GPU-seconds that were given back too late and stay charged.
        domain: the NVLink domain that its GPUs are in, or empty.
        kept: how long it goes on beyond what was asked for.
        ended: why it ended early, if the pool took it back.
        nodes: the nodes that it has to itself now.
        written: what its status says already, if that is the same.
    """

    booking: Booking
    start: int
    end: int
    gpus: int
    accepted: int
    gap: int
    forfeited: int = 0
    domain: str = ""
    kept: int = 0
    ended: Literal["", "NoShow"] = ""
    nodes: tuple[str, ...] = ()
    written: Ledger | None = None

    @classmethod
    def of(cls, booking: Booking, ledger: Ledger, gap: int) -> Held:
        """Read what was promised."""
        start, end = ledger.window
        return cls(
            booking,
            seconds(start),
            seconds(end),
            ledger.gpus,
            seconds(ledger.accepted),
            gap,
            ledger.forfeited,
            ledger.domain,
            ledger.kept,
            ledger.ended,
            ledger.nodes,
            ledger,
        )

    def but(self, **changes: Any) -> Self:
        """Promise something else of it."""
        return self._replace(written=None, **changes)

    @property
    def exclusive(self) -> bool:
        """Whether it gets nodes of its own."""
        return self.booking.spec.exclusivity != "None"

    @property
    def in_domain(self) -> bool:
        """Whether its GPUs have to be in one NVLink domain."""
        return bool(self.domain) or self.booking.spec.exclusivity == "Clique"

    @property
    def rank(self) -> tuple[int, datetime, str, str]:
        """Whose promise is older comes first."""
        return self.accepted, self.booking.created, self.booking.namespace, self.booking.name

    @property
    def window(self) -> Booked:
        """What it uses."""
        return Booked(self.start, self.end, self.gpus)

    @property
    def occupied(self) -> Booked:
        """What it takes from the pool."""
        return Booked(self.start, self.end + self.gap, self.gpus)

    @property
    def ledger(self) -> Ledger:
        """What its status is to say."""
        if self.written is not None:
            return self.written
        window = Window(instant(self.start), instant(self.end))
        return Ledger(
            window,
            self.gpus,
            instant(self.accepted),
            forfeited=self.forfeited,
            domain=self.domain,
            kept=self.kept,
            ended=self.ended,
            nodes=self.nodes,
        )

    @property
    def asked_end(self) -> int:
        """When it was to end when it was accepted."""
        return self.end - self.kept

    @property
    def forfeit(self) -> Booked:
        """What stays charged beside the window, in the budget's period in which the window begins."""
        return Booked(self.start, self.start + 1, self.forfeited)

    def fixed_from(self, rules: Rules) -> int:
        """Say from when on its start stays, and what is given back stays charged."""
        return self.start - rules.modifiable

    def shrunk(self, start: int, end: int, gpus: int, *, late: bool) -> Held:
        """Keep a part of it; what is given back too late is forfeited."""
        given_back = (self.end - self.start) * self.gpus - (end - start) * gpus
        forfeited = self.forfeited + (given_back if late else 0)
        return self.but(start=start, end=end, gpus=gpus, forfeited=forfeited, kept=0)

    def taken_back(self, now: int) -> Held:
        """End it now, since nobody came."""
        return self.shrunk(self.start, now, self.gpus, late=True).but(ended="NoShow")

    def step(self, rules: Rules) -> int:
        """Say by how much it goes on at a time, if it is kept."""
        return max(SHORTEST_STEP, rules.grace)

    def state(self, now: int) -> State:
        """Say where it stands; the end is not part of the window."""
        if now < self.start:
            return State.SCHEDULED
        return State.ACTIVE if now < self.end else State.COMPLETED

    def next_turn(self, rules: Rules, now: int) -> int:
        """Say when it next moves on by time alone; until it is cleaned up, it does."""
        if now < self.start:
            return self.start
        renewal = self.renewal(rules) if self.booking.spec.onEnd == "Keep" else self.end
        turns = (self.notice(rules), renewal, self.drain(rules), self.end, self.end + self.gap)
        return min(at for at in turns if at > now)

    def notice(self, rules: Rules) -> int:
        """When its end is announced; not before its middle."""
        return self.end - min(rules.notice, (self.end - self.start) // 2)

    def drain(self, rules: Rules) -> int:
        """When its pods are asked to go; not before its last quarter."""
        return self.end - min(rules.grace, (self.end - self.start) // 4)

    def renewal(self, rules: Rules) -> int:
        """When it goes on for another step, if it is kept; before its end, also where its pods are asked to go at the end."""
        return self.end - min(self.step(rules), (self.end - self.start) // 4)


def beyond(window: Booked, held: Held | None) -> list[Booked]:
    """Give what a window takes on top of what is held already."""
    if held is None or held.end <= window.start or window.end <= held.start:
        return [window]
    start, end = max(window.start, held.start), min(window.end, held.end)
    parts = [
        window._replace(end=start),
        Booked(start, end, window.gpus - held.gpus),
        window._replace(start=end),
    ]
    return [part for part in parts if part.start < part.end and part.gpus > 0]


class Wanted(NamedTuple):
    """The window that a spec asks for: it begins anywhere from `first` to `last`, which are one if it is fixed."""

    first: int
    last: int
    duration: int

    @classmethod
    def of(cls, window: ReservationWindow) -> Wanted:
        """Read a window."""
        start, duration = window.start, window.duration
        if start is not None:
            first = seconds(start)
            if window.end is not None:
                return cls(first, first, seconds(window.end) - first)
            if duration is not None:
                return cls(first, first, seconds(duration))
        if window.notBefore is not None and window.notAfter is not None and duration is not None:
            return cls(seconds(window.notBefore), seconds(window.notAfter - duration), seconds(duration))
        raise AssertionError("the model's rules admit no other window")

    @property
    def fixed(self) -> bool:
        """Whether it may begin at one instant only."""
        return self.first == self.last

    def last_calls(self, rules: Rules) -> tuple[int, ...]:
        """Give the instants at which, by time alone, it may turn out that it cannot be had any more."""
        last = self.last if self.fixed else self.last - self.last % rules.step
        return last + 1 - rules.lead, last + 1, last + self.duration

    def nearest(self, start: int) -> int:
        """Give the start that is closest to another."""
        return min(max(start, self.first), self.last)


def follow(held: Held, rules: Rules, now: int) -> tuple[Held, bool]:
    """Take what the spec gives back, and say whether it asks for something else, which has to be decided.

    A window that is over stays as it was. One that is to end in the past ends now: what was used was used. What is given
    back is free for others at once, however late.
    """
    if held.end <= now:
        return held, False
    spec, wanted = held.booking.spec, Wanted.of(held.booking.spec.window)
    start = wanted.nearest(held.start)
    end = start + wanted.duration
    if (start, end, spec.gpus) == (held.start, held.asked_end, held.gpus):
        return held, False
    less = end <= held.asked_end and spec.gpus <= held.gpus
    fixed = held.fixed_from(rules) <= now
    may_start = start == held.start or (start > held.start and not fixed)
    if less and may_start:
        return held.shrunk(start, max(end, now, start + 1), spec.gpus, late=fixed), False
    return held, True
