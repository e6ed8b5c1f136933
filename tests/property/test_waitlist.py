"""The line for GPUs: whoever comes later, with whatever, the wait of the first in line does not get longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from gpu_tenancy.domain.promises import Booking, PoolFacts, State, decide
from promise_facts import NOW, booking, capacity, changed, grant, pool, promised, settled, spec

TOTAL = 16
HALF_HOUR = timedelta(minutes=30)
GRANTS = (grant("first", 0, TOTAL), grant("others", 0, TOTAL))

gpus = st.integers(1, TOTAL)
starts = st.integers(1, 20).map(lambda number: number / 2)
lengths = st.integers(1, 8).map(lambda number: number / 2)


@st.composite
def specs(draw: st.DrawFn, *, wait: bool | None = None):
    start, length, number = draw(starts), draw(lengths), draw(gpus)
    wait = draw(st.booleans()) if wait is None else wait
    if draw(st.booleans()):
        return spec(number, start, start + length, wait=wait)
    room, late = draw(st.integers(0, 12)) / 2, draw(st.booleans())
    return spec(number, between=(start, start + length + room, length), wait=wait, late=late)


kept = st.lists(st.tuples(gpus, starts, lengths), min_size=1, max_size=6).map(
    lambda them: [
        promised(f"kept-{number}", size, start, start + length, "others", created=-9, at=-9)
        for number, (size, start, length) in enumerate(them)
    ]
)


def free(bookings: list[Booking], at: int) -> int:
    """Count the GPUs that are free in a half hour from now."""
    instant = NOW + at * HALF_HOUR
    windows = [(one.ledger.window, one.ledger.gpus) for one in bookings]
    return TOTAL - sum(number for (start, end), number in windows if start <= instant < end)


def candidates(one: Booking) -> list[range]:
    """Give the half hours of each window that a request could have."""
    when = one.spec.window
    length = (when.duration or when.end - when.start) // HALF_HOUR
    first = ((when.start or when.notBefore) - NOW) // HALF_HOUR
    last = first if when.start else (when.notAfter - NOW) // HALF_HOUR - length
    return [range(start, start + length) for start in range(first, last + 1)]


def claimed(one: Booking, bookings: list[Booking]) -> range:
    """Find the window that lacks the fewest GPUs, the latest of those."""
    return max(
        candidates(one),
        key=lambda slots: (max(-1, min(*(free(bookings, at) for at in slots), one.spec.gpus)), slots.start),
    )


@given(
    asked=specs(wait=True), bookings=kept, arrivals=st.lists(st.lists(specs(), max_size=4), max_size=3), data=st.data()
)
def test_whoever_comes_later_the_first_in_line_gets_what_it_claims_as_soon_as_that_is_free(
    *, asked, bookings, arrivals, data
) -> None:
    first = booking("first", asked, "first", created=-5)
    alone = PoolFacts(spec=pool(), capacity=capacity(TOTAL), grants=GRANTS, bookings=(first, *bookings))
    found = decide(alone, NOW).verdicts["first"]
    assume(found.state is State.WAITING)
    window = claimed(first, bookings)
    assert found.position == 1

    world = settled(alone, decide(alone, NOW))
    for batch, requests in enumerate(arrivals):
        new = [
            booking(f"later-{batch}-{number}", one, "others", created=-4 + batch) for number, one in enumerate(requests)
        ]
        grown = data.draw(st.sampled_from(sorted(one.uid for one in world.bookings if one.uid.startswith("kept"))))
        size = data.draw(gpus)
        world = replace(
            world,
            bookings=tuple(
                changed(one, one.spec.model_copy(update={"gpus": max(size, one.spec.gpus)}))
                if one.uid == grown
                else one
                for one in (*world.bookings, *new)
            ),
        )
        decision = decide(world, NOW)
        world = settled(world, decision)
        assert decision.verdicts["first"].state is State.WAITING or decision.verdicts["first"].ledger is not None

    gone = data.draw(st.sets(st.sampled_from(sorted(one.uid for one in bookings))))
    left = [one for one in bookings if one.uid not in gone]
    world = replace(world, bookings=tuple(one for one in world.bookings if one.uid not in gone))
    verdict = decide(world, NOW).verdicts["first"]

    fits = min(free(left, at) for at in window) >= first.spec.gpus
    if fits:
        assert verdict.ledger is not None, "what it claims is its own as soon as it is free"
    if first.spec.window.start is not None:
        assert (verdict.ledger is not None) is fits, "neither longer nor shorter than alone"


@given(asked=st.lists(specs(wait=True), min_size=1, max_size=6), bookings=kept)
def test_those_who_wait_for_the_pool_stand_in_one_line_first_come_first_served(asked, bookings) -> None:
    line = [booking(f"w{number}", one, "first", created=-8 + number) for number, one in enumerate(asked)]
    grants = (grant("first", 0, 1000), grant("others", 0, TOTAL))

    decision = decide(
        PoolFacts(spec=pool(), capacity=capacity(TOTAL), grants=grants, bookings=(*reversed(line), *bookings)), NOW
    )

    places = [decision.verdicts[one.uid].position for one in line if decision.verdicts[one.uid].ledger is None]
    assert places == list(range(1, len(places) + 1))
