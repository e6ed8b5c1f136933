"""One decision about one pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_tenancy.domain.binding import LEAD
from gpu_tenancy.domain.calendar import BEGINNING, FOREVER, Booked, Calendar, instant, seconds
from gpu_tenancy.domain.capacity import promisable, promisable_over_time
from gpu_tenancy.domain.naming import Tier
from gpu_tenancy.domain.promises.book import Book
from gpu_tenancy.domain.promises.facts import Decision, Figures, QuotaKey
from gpu_tenancy.domain.promises.guarantees import Guarantees
from gpu_tenancy.domain.promises.quotas import Wish, allot, targets_of
from gpu_tenancy.domain.promises.register import Register
from gpu_tenancy.domain.promises.windows import Rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from gpu_tenancy.domain.promises.facts import PoolFacts, StandingQuota
    from gpu_tenancy.domain.promises.windows import Held


def decide(facts: PoolFacts, now: datetime) -> Decision:
    """Decide who gets how many GPUs of a pool, and when.

    Guarantees that stand come first, then accepted reservations by acceptance, then more guarantees, then new
    reservations and changes, first come first served. Each takes what those before it leave, and windows that are to go
    on what nobody else wants.

    Args:
        facts: the pool as it is.
        now: an aware instant.
    """
    at, here = seconds(now), promisable(facts.capacity, facts.spec, now)
    guarantees, register = Guarantees(facts, here, now), Register(facts, at)
    book = Book(facts, at, register.held.values(), guarantees.promised)
    register.held.update(book.held)

    # A change that is accepted may free what others wait for, so everyone is asked until nobody gets anything more.
    asking = True
    while asking:
        book.guarantee(guarantees.extend(book.room))
        asking = register.take_turns(book, keeping=not guarantees.short)

    lasting = register.lasting()
    begun = sorted((one for one in lasting if one.start <= at), key=lambda one: one.rank)
    short = _short(facts, guarantees.promised, lasting, book, at)
    backed = _back(begun, guarantees.unbacked)
    wishes = [
        *guarantees.standing_wishes(),
        *_reserved(begun, backed, Rules.of(facts.spec.reservations), at),
        *guarantees.further_wishes(),
    ]
    targets = targets_of(facts.standing, wishes)
    allotments = allot(facts.standing, wishes, targets, here, guarantees.ceilings())
    return Decision(
        allotments=allotments,
        targets=targets,
        verdicts=register.verdicts(backed, short, book.homeless),
        promises=guarantees.promises(),
        figures=_figures(allotments, facts.standing, book.free, at),
        overcommitted=sum(quota.committed for quota in facts.standing) > here,
        wake=_wake(facts, lasting, register.wakes(), at),
    )


def _short(facts: PoolFacts, guaranteed: int, lasting: Sequence[Held], book: Book, now: int) -> frozenset[str]:
    """Find those that the pool cannot keep in full: where too much is promised, the latest promise gives way.

    Args:
        facts: the pool.
        guaranteed: what comes before all of them.
        lasting: all of them.
        book: what they leave.
        now: in seconds.
    """
    levels = promisable_over_time(facts.capacity, facts.spec)
    whole = [(BEGINNING, sum(facts.capacity.domains.values()))]
    always = Booked(BEGINNING, FOREVER, guaranteed)
    return frozenset(
        {
            *_late(Calendar(levels, [always], now), book.free, lasting, now),
            *_late(Calendar(whole, (), now), book.whole, [one for one in lasting if one.exclusive], now),
        }
    )


def _late(left: Calendar, free: Calendar, lasting: Iterable[Held], now: int) -> Iterator[str]:
    """Find, by uid, who does not fit beside those before it, where all together are too many.

    Args:
        left: what there is for all of them.
        free: what they leave of it; below zero where too much is promised.
        lasting: all of them.
        now: in seconds.
    """
    if free.free_over(now, FOREVER) >= 0:
        return
    for one in sorted(lasting, key=lambda one: one.rank):
        if free.free_over(one.occupied.start, one.occupied.end) < 0:
            if not left.fits(one.window):
                yield one.booking.uid
            left.book(one.occupied)


def _back(begun: Iterable[Held], left: int) -> dict[str, int]:
    """Give those that have begun the GPUs that are there now, the oldest promise first."""
    backed: dict[str, int] = {}
    for one in begun:
        backed[one.booking.uid] = min(one.gpus, max(0, left))
        left -= backed[one.booking.uid]
    return backed


def _reserved(begun: Iterable[Held], backed: Mapping[str, int], rules: Rules, now: int) -> Iterator[Wish]:
    """Give what quotas should allow for windows that are open; from the drain on nothing new starts in them.

    A quota follows the ledger, never runs ahead of it: what is promised in this decision opens with the next one, when
    it is written down. So a crash in between leaves no quota behind that nobody remembers having promised.
    """
    for one in begun:
        written = one.booking.ledger
        open_ = now < one.drain(rules)
        if open_ and written is not None and seconds(written.window.start) <= now:
            yield Wish(QuotaKey(one.booking.namespace, Tier.RESERVED), min(backed[one.booking.uid], written.gpus))


def _figures(
    allotments: Mapping[QuotaKey, int], standing: Iterable[StandingQuota], free: Calendar, now: int
) -> Figures:
    left = max(0, free.free_at(now))
    next_free = None if left else free.earliest(1, 1, now)
    # What is lowered counts until it is seen to be: so what only moves between namespaces changes no figure.
    hard = {quota.key: quota.hard for quota in standing}
    promised = {key: max(gpus, hard.get(key, 0)) for key, gpus in allotments.items()}
    return Figures(
        guaranteed=sum(gpus for key, gpus in promised.items() if key.tier is Tier.GUARANTEED),
        reserved=sum(gpus for key, gpus in promised.items() if key.tier is Tier.RESERVED),
        free=left,
        next_free=None if next_free is None else instant(next_free),
    )


def _wake(facts: PoolFacts, lasting: Iterable[Held], others: Iterable[int], now: int) -> datetime | None:
    """Find the next instant at which time alone changes something."""
    rules = Rules.of(facts.spec.reservations)
    instants = [
        *(one.next_turn(rules, now) for one in lasting),
        *(seconds(at) for window in facts.spec.maintenance for at in (window.start, window.end)),
        *(seconds(at) for grant in facts.grants for at in (grant.begins, grant.ends) if at is not None),
        *(one.start - LEAD for one in lasting if one.exclusive),
        *others,
    ]
    coming = min((at for at in instants if at > now), default=None)
    return None if coming is None else instant(coming)
