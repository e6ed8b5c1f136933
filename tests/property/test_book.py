"""A book that is kept says what one made anew from the same promises would say."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gpu_tenancy.api.tenant import GpuHours
from gpu_tenancy.domain.calendar import seconds
from gpu_tenancy.domain.promises import Book, Held, NotAccepted, PoolFacts
from promise_facts import NOW, booking, capacity, changed, grant, hour, pool, rules, spec

TENANTS = ["a", "b"]
SLOT = 1800
FACTS = PoolFacts(
    spec=pool(
        headroom=2,
        maintenance=[(6, 8, 10)],
        reservations=rules(cleaningGap="30m", step="30m", horizon="60h", maximumShare=75),
    ),
    capacity=capacity(24),
    grants=(grant("a", 0, 12), grant("b", 0, 16, hours=GpuHours(limit=150, period="Day"))),
)

tenants = st.sampled_from(TENANTS)
gpus = st.integers(1, 10)
starts = st.integers(0, 24).map(lambda number: number / 2)
lengths = st.integers(1, 12).map(lambda number: number / 2)


def answer(book, one, how) -> Held | tuple[object, ...]:
    try:
        return how(book, one)
    except NotAccepted as outcome:
        return outcome.reason, outcome.message, outcome.offers


class Kept(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.guaranteed = 0
        self.number = 0
        self.held: dict[str, Held] = {}
        self.book = Book(FACTS, seconds(NOW))

    def anew(self) -> Book:
        return Book(FACTS, seconds(hour(self.now)), self.held.values(), self.guaranteed)

    @rule(tenant=tenants, number=gpus, start=starts, length=lengths, room=st.none() | starts)
    def accept(self, tenant, number, start, length, room) -> None:
        first = self.now + start
        asked = (
            spec(number, first, first + length)
            if room is None
            else spec(number, between=(first, first + length + room, length))
        )
        self.number += 1
        one = booking(f"r{self.number}", asked, tenant, created=self.now)
        self.ask(one, Book.accept)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), number=gpus, start=starts, length=lengths)
    def change(self, data, number, start, length) -> None:
        one = self.held[data.draw(st.sampled_from(sorted(self.held)))].booking
        self.ask(changed(one, spec(number, self.now + start, self.now + start + length)), Book.change)

    def ask(self, one, how) -> None:
        expected, found = answer(self.anew(), one, how), answer(self.book, one, how)
        if isinstance(found, Held):
            self.held[one.uid] = found

        assert found == expected

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data) -> None:
        uid = data.draw(st.sampled_from(sorted(self.held)))
        del self.held[uid]
        self.book.release(uid)

    @rule(number=st.integers(1, 3))
    def guarantee(self, number) -> None:
        if self.book.room() >= number:
            self.guaranteed += number
            self.book.guarantee(number)

    @rule(half_hours=st.integers(1, 8))
    def advance(self, half_hours) -> None:
        self.now += half_hours / 2
        self.book.advance(seconds(hour(self.now)))

    @invariant()
    def it_says_what_one_made_anew_says(self) -> None:
        other, now = self.anew(), seconds(hour(self.now))
        instants = range(now, now + 48 * SLOT, SLOT)

        assert [self.book.free.free_at(at) for at in instants] == [other.free.free_at(at) for at in instants]
        assert self.book.room() == other.room()

    @invariant()
    def nothing_is_promised_twice(self) -> None:
        now = seconds(hour(self.now))
        for one in self.held.values():
            window = one.window
            if window.end > now:
                assert self.book.free.free_over(max(now, window.start), window.end) >= 0


Kept.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestBook = Kept.TestCase
