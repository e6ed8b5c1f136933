"""A pool through time: people, pods, nodes and clocks do what they like, writes get lost, and every promise is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gpu_tenancy.domain.capacity import promisable
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises import Booking, Decision, Grant, PoolFacts, QuotaKey, StandingQuota, State, decide
from promise_facts import NOW, booking, capacity, changed, grant, pool, rules, settled, spec

TOTAL = 24
TENANTS = ["a", "b", "c"]
GAP = timedelta(minutes=30)
KEYS = [QuotaKey(tenant, tier) for tenant in TENANTS for tier in (Tier.GUARANTEED, Tier.RESERVED)]

tenants = st.sampled_from(TENANTS)
gpus = st.integers(1, 16)
soon = st.integers(0, 16).map(lambda number: number / 2)
lengths = st.integers(1, 8).map(lambda number: number / 2)


class Pool(RuleBasedStateMachine):
    """What the cluster would hold: contracts, reservations with their statuses, quotas with what pods use of them.

    The decision is made from what is stored; each of the writes that follow may get lost, and pods come and go between
    any two of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.spec = pool(
            reservations=rules(cleaningGap="30m", gracePeriod="30m", noticeBeforeEnd="1h", modifiableUntil="1h")
        )
        self.usable = TOTAL
        self.grants: dict[str, Grant] = {}
        self.bookings: dict[str, Booking] = {}
        self.quotas: dict[QuotaKey, list[int]] = {}
        self.number = 0
        self.undisturbed = True  # as long as no capacity was lost and no clock went backwards

    @initialize(asked=st.lists(st.integers(0, 10), min_size=3, max_size=3))
    def sign_contracts(self, asked) -> None:
        for age, (tenant, number) in enumerate(zip(TENANTS, asked, strict=True)):
            self.grants[tenant] = grant(tenant, number, 16, age=age)

    def facts(self) -> PoolFacts:
        return PoolFacts(
            spec=self.spec,
            capacity=capacity(TOTAL, self.usable),
            grants=tuple(self.grants.values()),
            bookings=tuple(self.bookings.values()),
            standing=tuple(StandingQuota(key, hard, used) for key, (hard, used) in self.quotas.items()),
        )

    def committed(self) -> int:
        return sum(max(numbers) for numbers in self.quotas.values())

    # What people do.

    @rule(
        tenant=tenants,
        number=gpus,
        start=soon,
        length=lengths,
        wait=st.booleans(),
        keep=st.booleans(),
        late=st.booleans(),
    )
    def reserve(self, *, tenant, number, start, length, wait, keep, late) -> None:
        begin = (self.now - NOW) / timedelta(hours=1) + start - (2 if late else 0)
        self.number += 1
        one = booking(f"r{self.number}", spec(number, begin, begin + length, wait=wait, keep=keep), tenant)
        self.bookings[one.uid] = replace(one, created=self.now - timedelta(hours=3))

    @rule(tenant=tenants, number=gpus, start=soon, length=lengths, room=soon, wait=st.booleans(), late=st.booleans())
    def reserve_flexibly(self, *, tenant, number, start, length, room, wait, late) -> None:
        first = (self.now - NOW) / timedelta(hours=1) + start
        self.number += 1
        one = booking(
            f"r{self.number}",
            spec(number, between=(first, first + length + room, length), wait=wait, late=late),
            tenant,
        )
        self.bookings[one.uid] = replace(one, created=self.now)

    @precondition(lambda self: self.bookings)
    @rule(data=st.data(), number=gpus, earlier=st.integers(-4, 4), later=st.integers(-4, 4), wait=st.booleans())
    def change(self, *, data, number, earlier, later, wait) -> None:
        one = self.bookings[data.draw(st.sampled_from(sorted(self.bookings)))]
        when = one.spec.window
        start = when.start or when.notBefore
        begin = (start - NOW) / timedelta(hours=1) + earlier / 2
        length = (when.duration or when.end - when.start) / timedelta(hours=1) + later / 2
        self.bookings[one.uid] = changed(one, spec(number, begin, begin + max(length, 0.5), wait=wait))

    @precondition(lambda self: self.bookings)
    @rule(data=st.data())
    def cancel(self, data) -> None:
        del self.bookings[data.draw(st.sampled_from(sorted(self.bookings)))]

    @rule(tenant=tenants, number=st.integers(0, 16))
    def change_contract(self, tenant, number) -> None:
        old = self.grants[tenant]
        self.grants[tenant] = replace(grant(tenant, number, 16), created=old.created, granted=old.granted)

    # What the world does.

    @rule(minutes=st.sampled_from([1, 15, 30, 60, 90, 240]))
    def time_passes(self, minutes) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(minutes=st.sampled_from([15, 60, 240]))
    def the_clock_is_set_back(self, minutes) -> None:
        self.now -= timedelta(minutes=minutes)
        self.undisturbed = False

    @rule(number=st.integers(0, TOTAL))
    def nodes_fail(self, number) -> None:
        self.undisturbed = self.undisturbed and number >= self.usable
        self.usable = number

    @rule()
    def nodes_return(self) -> None:
        self.usable = TOTAL

    @rule(key=st.sampled_from(KEYS), number=st.integers(0, 16))
    def pods_come_or_go(self, key, number) -> None:
        """A quota admits pods up to what it allows; those that are there stay until they go."""
        if key in self.quotas:
            hard, used = self.quotas[key]
            self.quotas[key][1] = min(number, max(hard, used))

    # What the operator does.

    @rule(data=st.data())
    def reconcile(self, data) -> None:
        decision = decide(self.facts(), self.now)
        self.check(decision)
        self.write_statuses(decision, data)
        self.write_quotas(decision, data)

    def write_statuses(self, decision: Decision, data: st.DataObject) -> None:
        """Any of the answers may get lost, but a tenant whose guarantee shrank is told before it may grow again."""
        for tenant, promise in decision.promises.items():
            self.grants[tenant] = replace(self.grants[tenant], granted=promise.granted)
        for uid, verdict in decision.verdicts.items():
            if data.draw(st.integers(0, 4)):
                self.bookings[uid] = replace(
                    self.bookings[uid],
                    ledger=verdict.ledger,
                    refusal=verdict.refusal,
                    since=verdict.since,
                    draining=verdict.draining,
                )

    def write_quotas(self, decision: Decision, data: st.DataObject) -> None:
        here, before = promisable(capacity(TOTAL, self.usable), self.spec, self.now), self.committed()
        for key in data.draw(st.permutations(sorted(decision.allotments))):
            if data.draw(st.integers(0, 4)):
                self.quotas.setdefault(key, [0, 0])[0] = decision.allotments[key]
            self.pods_come_or_go(data.draw(st.sampled_from(KEYS)), data.draw(st.integers(0, 16)))

            assert self.committed() <= max(here, before)

    def check(self, decision: Decision) -> None:
        here = promisable(capacity(TOTAL, self.usable), self.spec, self.now)
        for uid, one in self.bookings.items():
            found = decision.verdicts[uid]
            if one.ledger is not None:
                assert found.ledger is not None, "what was accepted is never lost"
                if found.refusal is not None:
                    assert found.ledger == one.ledger
            if found.state is State.ACTIVE and not found.degraded:
                assert found.backed == found.ledger.gpus
            if self.undisturbed:
                assert found.degraded == "", "nobody loses anything to anybody else"
        assert (
            sum(promise.backed for promise in decision.promises.values())
            + sum(found.backed for found in decision.verdicts.values())
            <= here
        )
        for promise in decision.promises.values():
            assert promise.backed <= promise.granted <= promise.asked
            if self.undisturbed:
                assert promise.backed == promise.granted
        self.check_calendar(decision)

    def check_calendar(self, decision: Decision) -> None:
        guaranteed = sum(promise.granted for promise in decision.promises.values())
        windows = [
            found.ledger
            for found in decision.verdicts.values()
            if found.ledger is not None and not found.degraded and found.state is not State.COMPLETED
        ]
        for at in {max(self.now, each.window.start) for each in windows}:
            held = sum(each.gpus for each in windows if each.window.start <= at < each.window.end)

            assert held == 0 or held + guaranteed <= self.usable

    @invariant()
    def quotas_come_to_rest_when_pods_obey(self) -> None:
        """Without further events, as pods go where quotas were lowered, everyone gets what is theirs."""
        facts = self.facts()
        for _ in range(4):  # promises are written down, lowering is seen, what it freed is handed out, all is as it was
            gone = replace(
                facts, standing=tuple(replace(quota, used=min(quota.hard, quota.used)) for quota in facts.standing)
            )
            decision = decide(gone, self.now)
            facts = settled(gone, decision)
            if facts == gone:
                break
        assert {quota.key: quota.hard for quota in gone.standing} == decision.targets
        for verdict in decision.verdicts.values():
            assert verdict.state is not State.ACTIVE or verdict.backed == verdict.ledger.gpus or verdict.degraded


Pool.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestPool = Pool.TestCase
