"""Who gets how many GPUs of one pool, when: guarantees, reservations, and the quotas that make them true.

Order decides, never chance. Guarantees that stand come first, then accepted reservations, then more guarantees, then
new reservations; within each, who was there first. What was promised is kept while the pool can keep it, and quotas
are raised only by what no other quota or pod still holds.
"""

from gpu_tenancy.domain.promises.book import Book
from gpu_tenancy.domain.promises.decide import decide
from gpu_tenancy.domain.promises.facts import (
    Asking,
    Booking,
    Decision,
    Figures,
    Grant,
    Ledger,
    Occurrence,
    PoolFacts,
    Promise,
    QuotaKey,
    Reason,
    Refusal,
    StandingQuota,
    State,
    Verdict,
    Window,
)
from gpu_tenancy.domain.promises.rules import NotAccepted
from gpu_tenancy.domain.promises.series import Series
from gpu_tenancy.domain.promises.windows import Held

__all__ = [
    "Asking",
    "Book",
    "Booking",
    "Decision",
    "Figures",
    "Grant",
    "Held",
    "Ledger",
    "NotAccepted",
    "Occurrence",
    "PoolFacts",
    "Promise",
    "QuotaKey",
    "Reason",
    "Refusal",
    "Series",
    "StandingQuota",
    "State",
    "Verdict",
    "Window",
    "decide",
]
