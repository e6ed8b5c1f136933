"""A shared guarantee through time: pods come and go, writes get lost, and the tenant never holds more than its grant."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gpu_tenancy.domain.grants import Share
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises import Asking, Decision, Grant, PoolFacts, QuotaKey, StandingQuota, decide
from gpu_tenancy.domain.promises.sharing import hand_out
from promise_facts import LONG_AGO, NOW, capacity, grant, pool, settled

POOL = 96  # more than is granted, so that nothing but the grant is in the way
NODE = 8
NAMESPACES = ["a", "b", "c"]

namespaces = st.sampled_from(NAMESPACES)
sizes = st.sampled_from([1, 1, 2, 4, 8])


def key(namespace: str) -> QuotaKey:
    return QuotaKey(namespace, Tier.GUARANTEED)


class Sharing(RuleBasedStateMachine):
    """The quotas of three namespaces that share a grant, next to another tenant's, and what pods use of them."""

    def __init__(self) -> None:
        super().__init__()
        self.grant = grant("t")
        self.quotas: dict[QuotaKey, list[int]] = {}
        self.most = 0  # what the tenant held beyond its grant when it was lowered

    @initialize(gpus=st.integers(0, 40), least=st.integers(0, 8))
    def sign(self, gpus, least) -> None:
        least = min(gpus, least)
        split = {name: Share(least if name == "a" else 0, 0, gpus - least) for name in NAMESPACES}
        self.grant = Grant("t", LONG_AGO, gpus, shares=split)

    def facts(self, *asking: Asking) -> PoolFacts:
        return PoolFacts(
            spec=pool(),
            capacity=capacity(POOL),
            grants=(replace(self.grant, asking=asking or self.grant.asking), grant("other", 24, age=1)),
            standing=tuple(StandingQuota(each, hard, used) for each, (hard, used) in self.quotas.items()),
        )

    def held(self) -> int:
        return sum(max(self.quotas.get(key(name), [0])) for name in NAMESPACES)

    @rule(gpus=st.integers(0, 40))
    def change_contract(self, gpus) -> None:
        least = min(gpus, self.grant.shares["a"].guaranteed)
        split = {name: Share(least if name == "a" else 0, 0, gpus - least) for name in NAMESPACES}
        self.grant = replace(self.grant, guaranteed=gpus, shares=split)

    @rule(namespace=namespaces, gpus=sizes)
    def start_a_pod(self, namespace, gpus) -> None:
        """A quota admits what fits."""
        hard, used = self.quotas.get(key(namespace), (0, 0))
        if used + gpus <= hard:
            self.quotas[key(namespace)][1] += gpus

    @rule(namespace=namespaces, gpus=st.integers(1, 16))
    def end_pods(self, namespace, gpus) -> None:
        if key(namespace) in self.quotas:
            self.quotas[key(namespace)][1] = max(0, self.quotas[key(namespace)][1] - gpus)

    @rule(asking=st.lists(st.builds(Asking, namespaces, sizes, st.integers(1, 5)), max_size=4))
    def miss_pods(self, asking) -> None:
        self.grant = replace(self.grant, asking=tuple(asking))

    @rule(data=st.data())
    def reconcile(self, data) -> None:
        decision = decide(self.facts(), NOW)
        before = self.held()
        for each in data.draw(st.permutations(sorted(decision.allotments))):
            if data.draw(st.integers(0, 4)):
                self.quotas.setdefault(each, [0, 0])[0] = decision.allotments[each]
            self.start_a_pod(data.draw(namespaces), data.draw(sizes))

            assert self.held() <= max(before, self.grant.guaranteed)
        self.grant = replace(self.grant, granted=decision.promises["t"].granted)

    def rest(self, *asking: Asking) -> tuple[PoolFacts, Decision]:
        """Write what is decided until nothing is left to write; no pod moves."""
        facts = self.facts(*asking)
        for _ in range(4):
            decision = decide(facts, NOW)
            after = settled(facts, decision)
            if {one.key: one.hard for one in after.standing} == {one.key: one.hard for one in facts.standing}:
                return facts, decision
            facts = after
        raise AssertionError("the quotas do not come to rest")

    @invariant()
    def it_comes_to_rest(self) -> None:
        facts, decision = self.rest()
        if self.held() <= self.grant.guaranteed:
            assert {one.key: one.hard for one in facts.standing} == decision.targets

    @precondition(lambda self: self.held() <= self.grant.guaranteed)
    @rule(namespace=namespaces, gpus=sizes)
    def a_pod_for_which_the_unused_gpus_suffice_gets_them(self, namespace, gpus) -> None:
        used = {name: self.quotas.get(key(name), (0, 0))[1] for name in NAMESPACES}
        own = max(0, self.grant.shares["a"].guaranteed - used["a"]) if namespace != "a" else 0
        unused = self.grant.guaranteed - sum(used.values()) - own

        facts, _ = self.rest(Asking(namespace, gpus, 1))

        hard = {one.key: one.hard for one in facts.standing}
        assert gpus > unused or hard[key(namespace)] - used[namespace] >= gpus


Sharing.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestSharing = Sharing.TestCase

uses = st.fixed_dictionaries({name: st.integers(0, 24) for name in NAMESPACES})


def handed(gpus: int, used: dict[str, int], *asking: Asking) -> Counter[str]:
    split = {name: Share(0, 0, gpus) for name in NAMESPACES}
    total: Counter[str] = Counter()
    for namespace, part in hand_out(Grant("t", LONG_AGO, gpus, shares=split, asking=asking), gpus, used, NODE):
        total[namespace] += part
    return total


@given(uses, st.integers(0, 80))
def test_any_pod_may_start_anywhere_while_enough_is_unused(used, spare) -> None:
    enough = sum(-(-held // NODE) * NODE + NODE for held in used.values())
    has = handed(enough + spare, used)

    assert has.total() == enough + spare
    assert all(has[name] - used[name] >= NODE for name in NAMESPACES)


@given(uses, st.integers(0, 24), namespaces, sizes)
def test_a_pod_gets_what_is_unused_wherever_it_was_before(used, unused, namespace, gpus) -> None:
    has = handed(sum(used.values()) + unused, used, Asking(namespace, gpus, 1))

    assert has.total() == sum(used.values()) + unused
    assert all(has[name] >= used[name] for name in NAMESPACES)
    assert gpus > unused or has[namespace] - used[namespace] >= gpus
