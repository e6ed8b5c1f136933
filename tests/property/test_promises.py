"""Whatever the pool looks like: nothing is promised twice, what was promised is kept, and order is all that decides."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_tenancy.api.tenant import GpuHours
from gpu_tenancy.domain.budget import period_of
from gpu_tenancy.domain.calendar import instant, seconds
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises import (
    Booking,
    Decision,
    Ledger,
    PoolFacts,
    QuotaKey,
    Reason,
    StandingQuota,
    State,
    Verdict,
    decide,
    register,
)
from gpu_tenancy.domain.promises.quotas import Wish, allot, targets_of
from promise_facts import LONG_AGO, NOW, booking, capacity, grant, hour, pool, rules, settled, spec, window

if TYPE_CHECKING:
    from datetime import datetime

    from gpu_tenancy.api import GpuReservationSpec
    from gpu_tenancy.domain.capacity import PoolCapacity

SLOT = 1800  # every instant below is on half an hour
TENANTS = ["a", "b", "c"]
NAMESPACES = ["a", "a-2", "b", "c", "frozen", "gone"]

# A strategy is built once: to build it anew at each draw takes longer than all that is tested with what it draws.
half_hours = st.integers(-8, 24).map(lambda number: number / 2)
lengths = st.integers(1, 16).map(lambda number: number / 2)
rooms = st.integers(0, 12).map(lambda number: number / 2)
gpus = st.integers(1, 8)
amounts = st.integers(0, 12)
coins = st.booleans()
creations = st.integers(-12, 0)


@cache
@st.composite
def specs(draw: st.DrawFn, wait: bool | None = None) -> GpuReservationSpec:
    start, length = draw(half_hours), draw(lengths)
    wait = draw(coins) if wait is None else wait
    if draw(coins):
        return spec(draw(gpus), start, start + length, wait=wait)
    room = draw(rooms)
    late = draw(coins)
    return spec(draw(gpus), between=(start, start + length + room, length), late=late, wait=wait)


ledgers = st.builds(
    lambda start, length, number, at: Ledger(window(start, start + length), number, hour(at)),
    half_hours,
    lengths,
    gpus,
    creations,
)


def faithful(draw: st.DrawFn, asked: GpuReservationSpec) -> Ledger:
    """Promise what is asked for."""
    when, other = asked.window, draw(ledgers)
    if when.start is not None:
        return other._replace(window=other.window._replace(start=when.start, end=when.end), gpus=asked.gpus)
    slots = (when.notAfter - when.duration - when.notBefore) // timedelta(seconds=SLOT)
    start = when.notBefore + timedelta(seconds=SLOT * draw(st.integers(0, slots)))
    return other._replace(window=other.window._replace(start=start, end=start + when.duration), gpus=asked.gpus)


HOMES = {"a": "a", "a-2": "a", "b": "b", "c": "c"}
ANYWHERE = HOMES | {"frozen": "f", "nobody": ""}
at_home, anywhere = (st.sampled_from([*HOMES, *sorted(homes)]) for homes in (HOMES, ANYWHERE))
ANY = "none or faithful or other"
LEDGERS = {name: st.sampled_from(name.split(" or ")) for name in ("none", "faithful", ANY)}
generations = st.integers(1, 2)


@cache
@st.composite
def bookings(draw: st.DrawFn, uid: str, ledger: str = ANY, *, home: bool = False, wait: bool | None = None) -> Booking:
    asked = draw(specs(wait))
    namespace = draw(at_home if home else anywhere)
    promised = draw(LEDGERS[ledger])
    return booking(
        uid,
        asked,
        ANYWHERE[namespace],
        namespace=namespace,
        created=draw(creations),
        generation=draw(generations),
        ledger=None if promised == "none" else faithful(draw, asked) if promised == "faithful" else draw(ledgers),
    )


reservables = st.sampled_from([24, 24, 24, 8, 0])
ages = st.integers(0, 2)
granted_before = st.none() | amounts
budgets = st.none() | st.builds(GpuHours, limit=st.integers(0, 150), period=st.sampled_from(["Day", "Week", "Month"]))


@cache
@st.composite
def grants(draw: st.DrawFn, tenant: str) -> Any:
    number = draw(amounts)
    first = draw(st.integers(0, number))
    return grant(
        tenant,
        number,
        draw(reservables),
        age=draw(ages),
        shares={"a": first, "a-2": number - first} if tenant == "a" else {tenant: number},
        granted=draw(granted_before),
        hours=draw(budgets),
    )


pools = st.builds(
    pool,
    headroom=st.integers(0, 4),
    maintenance=st.lists(
        st.tuples(half_hours, lengths, gpus).map(lambda one: (one[0], one[0] + one[1], one[2])), max_size=2
    ),
    reservations=st.builds(
        rules,
        minimumDuration=st.sampled_from(["1s", "1s", "1h"]),
        maximumDuration=st.sampled_from(["100h", "100h", "4h"]),
        horizon=st.sampled_from(["60h", "60h", "6h"]),
        leadTime=st.sampled_from(["0s", "0s", "0s", "1h", "3h"]),
        step=st.sampled_from(["30m", "30m", "30m", "1h", "90m"]),
        modifiableUntil=st.sampled_from(["0s", "0s", "2h"]),
        noticeBeforeEnd=st.sampled_from(["0s", "2h"]),
        gracePeriod=st.sampled_from(["0s", "1h"]),
        cleaningGap=st.sampled_from(["0s", "30m", "1h"]),
        maximumShare=st.sampled_from([100, 100, 100, 50, 0]),
    ),
)
totals = st.sampled_from([48, 48, 32, 16, 0])


@st.composite
def _capacities(draw: st.DrawFn) -> PoolCapacity:
    total = draw(totals)
    return capacity(total, total if draw(coins) else draw(st.integers(0, total)))


capacities = _capacities()
standings = st.dictionaries(
    st.builds(QuotaKey, st.sampled_from(NAMESPACES), st.sampled_from([Tier.GUARANTEED, Tier.RESERVED])),
    st.tuples(amounts, amounts),
    max_size=8,
).map(lambda quotas: tuple(StandingQuota(key, *numbers) for key, numbers in quotas.items()))
parties = st.sampled_from([TENANTS, TENANTS, ["b"], []])
up_to_5, up_to_8, up_to_16 = (st.integers(0, most) for most in (5, 8, 16))


@cache
@st.composite
def facts(draw: st.DrawFn) -> PoolFacts:
    return PoolFacts(
        spec=draw(pools),
        capacity=draw(capacities),
        grants=tuple(draw(grants(tenant)) for tenant in draw(parties)),
        bookings=tuple(draw(bookings(f"r{number}")) for number in range(draw(up_to_8))),
        standing=draw(standings),
        frozen=frozenset({"frozen"}),
    )


@st.composite
def one_request(draw: st.DrawFn) -> PoolFacts:
    """Draw a pool in which one reservation asks, and all others are promised what they ask for."""
    asking = draw(bookings("new", "none", home=True, wait=False))
    others = [draw(bookings(f"r{number}", "faithful")) for number in range(draw(up_to_5))]
    return PoolFacts(
        spec=draw(pools),
        capacity=draw(capacities),
        grants=tuple(draw(grants(tenant)) for tenant in TENANTS),
        bookings=(asking, *others),
        frozen=frozenset({"frozen"}),
    )


def promisable(one: PoolFacts, at: int) -> int:
    """Say what may be promised at an instant, straight from the definition."""
    off = sum(gone.gpus for gone in one.spec.maintenance if seconds(gone.start) <= at < seconds(gone.end))
    return max(0, min(one.capacity.usable, one.capacity.capacity - one.spec.headroom - off))


def guaranteed(one: PoolFacts, decision: Decision) -> int:
    """Say what is promised as guaranteed: to tenants, and what stands in frozen namespaces."""
    frozen = sum(
        quota.hard for quota in one.standing if quota.key.namespace in one.frozen and quota.key.tier is Tier.GUARANTEED
    )
    return frozen + sum(promise.granted for promise in decision.promises.values())


def slots(found: Verdict, after: int = -(1 << 40)) -> range:
    """Give the half hours of a promised window that have not passed."""
    start, end = (seconds(at) for at in found.ledger.window)
    return range(max(start, after), end, SLOT)


def of_tenant(one: PoolFacts, decision: Decision, tenant: str) -> list[Verdict]:
    found = [decision.verdicts[each.uid] for each in one.bookings if each.tenant == tenant]
    return [verdict for verdict in found if verdict.ledger is not None]


def held_at(found: list[Verdict], at: int, gap: int = 0) -> int:
    return sum(
        one.ledger.gpus
        for one in found
        if seconds(one.ledger.window.start) <= at < seconds(one.ledger.window.end) + gap
    )


@given(facts(), st.data())
def test_any_of_the_writes_in_any_order_never_promise_a_gpu_twice(one, data) -> None:
    here, decision = promisable(one, seconds(NOW)), decide(one, NOW)
    quotas = {quota.key: (quota.hard, quota.used) for quota in one.standing}
    before = sum(max(numbers) for numbers in quotas.values())
    writes = data.draw(st.permutations(sorted(decision.allotments)))

    for key in writes[: data.draw(st.integers(0, len(writes)))]:
        hard, used = quotas.get(key, (0, 0))
        quotas[key] = (decision.allotments[key], used)
        if decision.allotments[key] > used and data.draw(st.booleans()):  # pods come at once
            quotas[key] = (decision.allotments[key], decision.allotments[key])

        assert sum(max(numbers) for numbers in quotas.values()) <= max(here, before), (key, hard, used)


wishes = st.lists(
    st.builds(Wish, st.builds(QuotaKey, st.sampled_from(NAMESPACES), st.sampled_from(list(Tier))), gpus), max_size=8
)


@given(standings, wishes, st.integers(0, 60), st.data())
def test_quotas_are_raised_by_what_nobody_holds_and_the_first_wishes_come_first(standing, wished, here, data) -> None:
    targets = targets_of(standing, wished)
    hard = allot(standing, wished, targets, here)
    quotas = {quota.key: (quota.hard, quota.used) for quota in standing}
    quotas_before = dict(quotas)
    before = sum(max(numbers) for numbers in quotas.values())
    left = max(0, here - before)

    assert targets == {key: sum(wish.gpus for wish in wished if wish.key == key) for key in targets}
    for key in sorted(hard):
        assert hard[key] <= targets[key]
        held = max(quotas.get(key, (0, 0)))
        assert hard[key] >= min(targets[key], held)
        left -= max(0, hard[key] - held)
    assert left >= 0
    assert left == 0 or hard == targets, "what is left over is left because nobody wants it"
    for key in data.draw(st.permutations(sorted(hard))):
        quotas[key] = (hard[key], quotas.get(key, (0, 0))[1])
        assert sum(max(numbers) for numbers in quotas.values()) <= max(here, before)
    reached: dict[QuotaKey, int] = {}
    short = False
    for key, number in wished:
        reached[key] = reached.get(key, 0) + number
        if short:
            assert hard[key] <= max(*quotas_before.get(key, (0, 0)), reached[key] - number), (
                "nothing is paid for after a wish that was not"
            )
        short = short or hard[key] < reached[key]


@given(facts(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(one, random) -> None:
    def shuffled(items: tuple) -> tuple:
        return tuple(random.sample(items, len(items)))

    other = replace(one, grants=shuffled(one.grants), bookings=shuffled(one.bookings), standing=shuffled(one.standing))

    assert decide(other, NOW) == decide(one, NOW)


mostly_new = st.sampled_from(["none", "none", ANY])
series = st.sampled_from(["", "", "", "", "s"])


@st.composite
def crowds(draw: st.DrawFn) -> PoolFacts:
    """Draw a pool in which many ask, most of them for a fixed window and some of them together."""
    asking = [
        replace(draw(bookings(f"r{number}", draw(mostly_new))), series=draw(series)) for number in range(draw(up_to_16))
    ]
    return replace(draw(facts()), bookings=tuple(asking))


def without_offers(decision: Decision) -> Decision:
    def told(text: str) -> str:
        return re.sub("; (earliest fit|nothing fits until) .*", "", text)

    def verdict(found: Verdict) -> Verdict:
        refusal = found.refusal and replace(found.refusal, offers=(), message=told(found.refusal.message))
        return found._replace(refusal=refusal, message=told(found.message))

    return replace(decision, verdicts={uid: verdict(found) for uid, found in decision.verdicts.items()})


@given(crowds())
def test_many_at_once_get_what_they_would_get_one_after_the_other(one) -> None:
    """Only that what is offered to those who are refused leaves out what others got at the same time."""
    with mock.patch.object(register, "MANY", 1):
        together = decide(one, NOW)

    assert without_offers(together) == without_offers(decide(one, NOW))


@given(facts())
def test_what_was_decided_is_decided_again_and_the_quotas_come_to_rest(one) -> None:
    first = decide(one, NOW)
    world = settled(one, first)
    second = decide(world, NOW)

    assert second.verdicts == first.verdicts
    assert second.promises == first.promises
    for _ in range(2):  # lowering is seen, then what it freed is handed out
        world = settled(world, decide(world, NOW))
    rested = decide(world, NOW)
    assert rested.targets == second.targets
    assert rested.allotments == {quota.key: quota.hard for quota in world.standing}
    assert rested.verdicts == first.verdicts


@given(facts(), st.data())
def test_until_it_wakes_time_alone_changes_nothing(one, data) -> None:
    world = settled(one, decide(one, NOW))
    first = decide(world, NOW)
    latest = (first.wake or hour(100)) - timedelta(seconds=1)
    later = decide(world, NOW + timedelta(seconds=data.draw(st.integers(0, (latest - NOW) // timedelta(seconds=1)))))

    assert later.targets == first.targets
    assert later.promises == first.promises
    assert later.figures == first.figures
    assert later.wake == first.wake
    for uid, verdict in first.verdicts.items():
        if verdict.state is State.WAITING:  # only which limit is named may differ
            assert later.verdicts[uid].state is State.WAITING
        else:
            assert later.verdicts[uid]._replace(refusal=None) == verdict._replace(refusal=None)


@given(facts())
def test_what_is_promised_stays_promised(one) -> None:
    decision = decide(one, NOW)

    for each in one.bookings:
        found = decision.verdicts[each.uid]
        if each.ledger is None:
            continue
        assert found.ledger is not None
        if found.ledger != each.ledger and found.ledger.accepted == each.ledger.accepted != NOW:
            assert found.ledger.gpus <= each.ledger.gpus, "what is taken without asking is less"
            assert found.ledger.window.start >= each.ledger.window.start
            assert found.ledger.window.end <= each.ledger.window.end
        if found.refusal is not None:
            assert found.ledger == each.ledger, "a refused change changes nothing"
        if each.ledger.window.end <= NOW:
            assert (found.state, found.ledger) == (State.COMPLETED, each.ledger)


@given(facts())
def test_what_is_not_degraded_fits_at_every_instant_beside_every_guarantee(one) -> None:
    decision, at = decide(one, NOW), seconds(NOW)
    sound = [found for found in decision.verdicts.values() if found.ledger is not None and not found.degraded]

    for instant_ in {slot for found in sound for slot in slots(found, at)}:
        assert held_at(sound, instant_) + guaranteed(one, decision) <= promisable(one, instant_)


@given(facts())
def test_what_is_backed_is_there_and_goes_to_the_oldest_promises(one) -> None:
    decision, here = decide(one, NOW), promisable(one, seconds(NOW))
    frozen = guaranteed(one, decision) - sum(promise.granted for promise in decision.promises.values())
    guarantees = sum(promise.backed for promise in decision.promises.values())
    active = sorted(
        (found.ledger.accepted, each.created, each.namespace, each.name, found)
        for each in one.bookings
        if (found := decision.verdicts[each.uid]).state is State.ACTIVE
    )

    assert frozen + guarantees + sum(found.backed for *_, found in active) <= max(here, frozen)
    assert sum(decision.targets.values()) <= max(here, frozen)
    for *_, older in active:
        if older.backed < older.ledger.gpus:
            assert older.degraded
            younger = [found for *_, found in active if found.ledger.accepted > older.ledger.accepted]
            assert not any(found.backed for found in younger)


def spent(hours: GpuHours, found: list[Verdict], at: int) -> int:
    period = period_of(at, hours.period)
    return sum(
        each.ledger.gpus * SLOT for each in found for slot in slots(each) if period_of(slot, hours.period) == period
    )


@given(facts())
def test_what_is_accepted_keeps_every_rule_and_limit(one) -> None:
    decision, at = decide(one, NOW), seconds(NOW)
    rules_, total = one.spec.reservations, one.capacity.capacity
    gap = seconds(rules_.cleaningGap)
    everyone = [found for found in decision.verdicts.values() if found.ledger is not None]
    granted = {each.tenant: each for each in one.grants}
    for each in one.bookings:
        found = decision.verdicts[each.uid]
        if found.ledger is None or (each.ledger is not None and found.ledger.accepted == each.ledger.accepted):
            continue
        length = found.ledger.window.end - found.ledger.window.start
        contract, mine = granted[each.tenant], of_tenant(one, decision, each.tenant)

        assert each.namespace not in one.frozen
        assert rules_.minimumDuration <= length <= rules_.maximumDuration
        assert found.ledger.window.end <= NOW + rules_.horizon
        assert found.ledger.gpus == each.spec.gpus
        assert found.ledger.window.end > NOW
        for slot in slots(found, at):
            assert held_at(mine, slot) <= contract.reservable
            assert held_at(everyone, slot, gap) <= total * rules_.maximumShare // 100
            assert held_at(everyone, slot, gap) + guaranteed(one, decision) <= promisable(one, slot)
        if contract.hours is not None:
            for slot in slots(found):
                assert spent(contract.hours, mine, slot) <= contract.hours.limit * 3600
        if each.ledger is None:
            assert seconds(found.ledger.window.start) % seconds(rules_.step) == 0
            assert seconds(found.ledger.window.end) % seconds(rules_.step) == 0
            asked_at = each.created if each.generation == 1 else NOW
            if rules_.leadTime:
                assert found.ledger.window.start >= asked_at + rules_.leadTime


def admissible(one: PoolFacts, decision: Decision, start: datetime) -> bool:
    """Say whether the request fits at a start: slot by slot, against everything else."""
    new = one.bookings[0]
    when, at = new.spec.window, seconds(NOW)
    length = when.duration or when.end - when.start
    rules_, step, gap = (
        one.spec.reservations,
        seconds(one.spec.reservations.step),
        seconds(one.spec.reservations.cleaningGap),
    )
    asked_at = new.created if new.generation == 1 else NOW
    me = Verdict(
        State.SCHEDULED,
        "",
        "",
        ledger=Ledger(window(0, 0)._replace(start=start, end=start + length), new.spec.gpus, NOW),
    )
    others = [found for uid, found in decision.verdicts.items() if uid != new.uid and found.ledger is not None]
    mine = [me, *(found for found in of_tenant(one, decision, new.tenant) if found is not decision.verdicts["new"])]
    contract = next(each for each in one.grants if each.tenant == new.tenant)
    taken = range(max(seconds(start), at), seconds(start + length) + gap, SLOT)
    return (
        seconds(start) % step == 0 == seconds(length) % step
        and rules_.minimumDuration <= length <= rules_.maximumDuration
        and (start >= asked_at + rules_.leadTime or not rules_.leadTime)
        and start + length > NOW
        and all(held_at(mine, slot) <= contract.reservable for slot in slots(me, at))
        and all(
            contract.hours is None or spent(contract.hours, mine, slot) <= contract.hours.limit * 3600
            for slot in slots(me)
        )
        and all(
            held_at([me, *others], slot, gap)
            <= min(
                promisable(one, slot) - guaranteed(one, decision),
                one.capacity.capacity * rules_.maximumShare // 100,
            )
            for slot in taken
        )
    )


@settings(max_examples=300)
@given(one_request())
def test_a_request_is_accepted_exactly_when_a_count_by_hand_says_so(one) -> None:
    new, decision = one.bookings[0], decide(one, NOW)
    found, horizon = decision.verdicts["new"], NOW + one.spec.reservations.horizon
    if found.reason in {Reason.NOT_GRANTED, Reason.TOO_MANY_GPUS}:
        return
    when = new.spec.window
    length = when.duration or when.end - when.start
    first, last = when.start or when.notBefore, when.start or when.notAfter - length
    if first == last:  # a fixed window may have begun already
        starts = [first] if first >= new.created else []
    else:
        first = max(first, NOW)
        starts = [first + timedelta(seconds=SLOT * n) for n in range((last - first) // timedelta(seconds=SLOT) + 1)]
    fitting = [start for start in starts if admissible(one, decision, start)]
    inside = [start for start in fitting if start + length <= horizon]
    choice = inside[-1:] if when.preference == "Latest" else fitting[:1]
    expected = choice[0] if choice and choice[0] + length <= horizon else None

    assert (found.ledger.window.start if found.ledger else None) == expected, found

    for offer in found.refusal.offers if found.refusal else ():
        assert admissible(one, decision, offer.start)
        assert offer.end - offer.start == length
        assert offer.end <= horizon
    if found.refusal and found.refusal.offers:
        after = max(starts[0] if starts else NOW, NOW)
        earlier = range(seconds(after), seconds(found.refusal.offers[0].start), SLOT)
        assert not any(admissible(one, decision, instant(at)) for at in earlier)


def test_instants_in_these_tests_are_on_slots() -> None:
    assert seconds(NOW) % SLOT == 0
    assert seconds(LONG_AGO) % SLOT == 0
