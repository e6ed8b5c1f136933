"""Reservations come, change and go, the operator is killed at any moment: a budget forgets nothing that was charged."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gpu_tenancy.domain.budget import period_of
from gpu_tenancy.domain.charges import Charge, Record, account, fixed_before

HOUR = 3600
DAY = 24 * HOUR
FIRST = 20_000 * DAY


def period(at: int) -> tuple[int, int]:
    return period_of(at, "Day")


class Charges(RuleBasedStateMachine):
    """Windows of one tenant, the record in its status, and what a scrupulous clerk would have written down."""

    def __init__(self) -> None:
        super().__init__()
        self.now = FIRST
        self.present: dict[str, Charge] = {}
        self.record = Record()
        self.written = Record()
        self.before: dict[str, Charge] | None = None
        self.due: dict[int, int] = {}  # what is charged for those that are gone, at least
        self.most: dict[int, int] = {}  # the same, at most
        self.unwritten: list[Charge] = []  # due as soon as it is written
        self.number = 0

    @rule(start=st.integers(0, 40), hours=st.integers(1, 30), gpus=st.integers(1, 4))
    def accept(self, start, hours, gpus) -> None:
        self.number += 1
        begin = self.now + start * HOUR
        self.present[f"r{self.number}"] = Charge(max(begin, self.now), begin, begin + hours * HOUR, gpus)

    @precondition(lambda self: self.present)
    @rule(data=st.data(), hours=st.integers(1, 30), gpus=st.integers(1, 4))
    def change(self, data, hours, gpus) -> None:
        """Accept it anew, as of now."""
        uid = data.draw(st.sampled_from(sorted(self.present)))
        one = self.present[uid]
        self._owe(self.most, one)  # by whoever does not know what was before
        self.present[uid] = Charge(max(one.start, self.now), one.start, one.start + hours * HOUR, gpus)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def delete(self, data) -> None:
        uid = data.draw(st.sampled_from(sorted(self.present)))
        one = self.present.pop(uid)
        if one.fixed < self.record.until:
            self._owe(self.due, one)
        elif self.before is not None and uid in self.before:
            self.unwritten.append(self.before[uid])
        self._owe(self.most, one)

    def _owe(self, due, one) -> None:
        for day in range(FIRST, one.end + DAY, DAY):
            if amount := one.within(*period(day)):
                due[day] = due.get(day, 0) + amount

    @rule(minutes=st.sampled_from([1, 30, 240, 1440]))
    def time_passes(self, minutes) -> None:
        self.now += minutes * 60

    @rule(written=st.booleans())
    def reconcile(self, *, written) -> None:
        self.record = account(self.record, self.before, self.present, "Day", self.now)
        self.before = fixed_before(self.present, self.now + 1)
        if written:
            self.written = self.record
            for one in self.unwritten:
                self._owe(self.due, one)
            self.unwritten = []
        else:
            self.crash()

    @rule()
    def crash(self) -> None:
        """What was not written is lost; what was deleted meanwhile was deleted while nobody looked."""
        self.record, self.before, self.unwritten = self.written, None, []

    @invariant()
    def nothing_is_forgotten(self) -> None:
        seen = account(self.record, self.before, self.present, "Day", self.now)
        gone = {span.start: span.gone for span in seen.spans}
        for day, amount in self.due.items():
            assert period(day)[1] <= self.now or gone.get(period(day)[0], 0) >= amount

    @invariant()
    def nothing_is_charged_to_nobody(self) -> None:
        seen = account(self.record, self.before, self.present, "Day", self.now)
        for span in seen.spans:
            assert span.gone <= self.most.get(span.start, 0)

    @invariant()
    def what_is_written_is_not_written_again(self) -> None:
        seen = account(self.record, self.before, self.present, "Day", self.now)
        again = account(seen, fixed_before(self.present, self.now + 1), self.present, "Day", self.now)
        assert again is seen
        restarted = account(seen, None, self.present, "Day", self.now)
        assert restarted is seen


Charges.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestCharges = Charges.TestCase
