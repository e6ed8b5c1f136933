"""NVLink domains through time: whatever happens to nodes, reservations and clocks, no domain is promised twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gpu_tenancy.domain.promises import Booking, Decision, PoolFacts, Reason, State, decide
from promise_facts import NOW, accepted, booking, changed, grant, hour, pool, racks, rules, settled, spec

SIZES = (12, 8, 8, 4)
GAP = timedelta(minutes=30)
SPEC = pool(gpusPerNode=4, placementUnit="Clique", reservations=rules(cleaningGap="30m", step="30m"))
TENANTS = ["a", "b"]

tenants = st.sampled_from(TENANTS)
gpus = st.sampled_from([4, 8, 8, 12])
starts = st.integers(0, 12).map(lambda number: number / 2)
lengths = st.integers(1, 8).map(lambda number: number / 2)
exclusivities = st.sampled_from(["None", "None", "Node", "Clique"])
sizes = st.tuples(*(st.integers(0, size // 4).map(lambda nodes: nodes * 4) for size in SIZES))


def facts(capacity, bookings) -> PoolFacts:
    return PoolFacts(spec=SPEC, capacity=capacity, grants=tuple(map(grant, TENANTS)), bookings=tuple(bookings))


def check(capacity, decision: Decision, now) -> None:
    """Count, half hour by half hour, what is promised in each domain to those that are not told to go short."""
    kept = [
        one.ledger
        for one in decision.verdicts.values()
        if one.ledger is not None and not one.degraded and one.state is not State.COMPLETED
    ]
    for each in kept:
        at = max(each.window.start, now)
        while at < each.window.end:
            taken = sum(
                one.gpus for one in kept if one.domain == each.domain and one.window.start <= at < one.window.end + GAP
            )

            assert taken <= capacity.domains.get(each.domain, 0)
            at += timedelta(minutes=30)


class Racks(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.capacity = racks(*SIZES)
        self.bookings: dict[str, Booking] = {}
        self.number = 0
        self.undisturbed = True

    def hours(self) -> float:
        return (self.now - NOW) / timedelta(hours=1)

    @rule(
        tenant=tenants,
        number=gpus,
        start=starts,
        length=lengths,
        room=st.none() | starts,
        wait=st.booleans(),
        exclusivity=exclusivities,
    )
    def reserve(self, *, tenant, number, start, length, room, wait, exclusivity) -> None:
        first = self.hours() + start
        asked = (
            spec(number, first, first + length, wait=wait, exclusivity=exclusivity)
            if room is None
            else spec(number, between=(first, first + length + room, length), wait=wait, exclusivity=exclusivity)
        )
        self.number += 1
        one = booking(f"r{self.number}", asked, tenant)
        self.bookings[one.uid] = replace(one, created=self.now)

    @precondition(lambda self: self.bookings)
    @rule(data=st.data(), number=gpus, start=starts, length=lengths)
    def change(self, *, data, number, start, length) -> None:
        one = self.bookings[data.draw(st.sampled_from(sorted(self.bookings)))]
        first = self.hours() + start
        self.bookings[one.uid] = changed(one, spec(number, first, first + length, exclusivity=one.spec.exclusivity))

    @precondition(lambda self: self.bookings)
    @rule(data=st.data())
    def cancel(self, data) -> None:
        del self.bookings[data.draw(st.sampled_from(sorted(self.bookings)))]

    @rule(minutes=st.sampled_from([30, 60, 90, 240]))
    def time_passes(self, minutes) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(left=sizes)
    def nodes_fail(self, left) -> None:
        self.capacity = racks(*left, total=sum(SIZES))
        self.undisturbed = False

    @rule()
    def nodes_return(self) -> None:
        self.capacity = racks(*SIZES)

    @rule(data=st.data())
    def reconcile(self, data) -> None:
        """Any of the writes may get lost; the next decision is made from what is stored."""
        before = facts(self.capacity, self.bookings.values())
        decision = decide(before, self.now)
        check(self.capacity, decision, self.now)
        for uid, one in self.bookings.items():
            found = decision.verdicts[uid]
            if one.ledger is not None:
                assert found.ledger is not None
                if self.undisturbed:
                    assert found.degraded == "", "nobody loses anything to anybody else"
                    if found.ledger == one.ledger._replace(domain=found.ledger.domain):
                        assert found.ledger.domain == one.ledger.domain
                if one.ledger.window.start <= self.now:
                    assert found.ledger.domain == one.ledger.domain
        again = decide(settled(before, decision), self.now)
        assert again.verdicts == decision.verdicts
        for uid, verdict in decision.verdicts.items():
            if data.draw(st.integers(0, 4)):
                self.bookings[uid] = replace(
                    self.bookings[uid], ledger=verdict.ledger, refusal=verdict.refusal, since=verdict.since
                )


Racks.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestRacks = Racks.TestCase


@settings(max_examples=150)
@given(
    others=st.lists(st.tuples(gpus, starts, lengths, st.integers(0, 3)), max_size=10),
    asked=st.tuples(gpus, starts, lengths),
    left=sizes,
)
def test_a_request_is_accepted_exactly_when_some_domain_holds_it_all_the_time(others, asked, left) -> None:
    held = []
    for number, (count, start, length, rack) in enumerate(others):
        one = accepted(booking(f"r{number}", spec(count, start, start + length), "b"), start, start + length)
        held.append(replace(one, ledger=one.ledger._replace(domain=f"rack-{rack}")))
    count, start, length = asked
    one, capacity = booking("new", spec(count, start, start + length), "a"), racks(*left, total=sum(SIZES))

    decision = decide(facts(capacity, [*held, one]), NOW)

    found, ledgers = decision.verdicts["new"], [decision.verdicts[each.uid].ledger for each in held]
    if found.reason == Reason.TOO_MANY_GPUS:
        assert count > max(left)
        return
    half_hours = [hour(start + number / 2) for number in range(int(length * 2) + 1)]  # with the time to clean up

    def free(rack: int, at) -> int:
        taken = sum(
            each.gpus
            for each in ledgers
            if each.domain == f"rack-{rack}" and each.window.start <= at < each.window.end + GAP
        )
        return left[rack] - taken

    def total(at) -> int:
        return sum(left) - sum(each.gpus for each in ledgers if each.window.start <= at < each.window.end + GAP)

    fits = any(all(free(rack, at) >= count for at in half_hours) for rack in range(4))
    assert (found.state in {State.SCHEDULED, State.ACTIVE}) == (
        fits and all(total(at) >= count for at in half_hours)
    ), found
