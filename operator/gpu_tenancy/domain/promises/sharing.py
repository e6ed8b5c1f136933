"""A guarantee handed out to the tenant's namespaces: split as the contract says, or shared by what they use and ask for.

Kubernetes leaves no trace of a pod that a quota refuses, so from quotas alone nobody can tell a namespace that wants
more from one that is content. Therefore:

- As long as enough is unused, every namespace has room for one more pod of any size, since no pod is larger than a
  node. Whatever it starts, it can start at once, and room is made anew.
- When less is unused, it goes where pods of a workload are missing; a workload tells that in its status. So a pod for
  which the unused GPUs suffice gets them, wherever they were before, in the namespace that uses the least first.

What each namespace is to have depends on what is used and asked for, and on nothing else: while neither changes,
nothing is written, and idle namespaces are left alone.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpu_tenancy.domain.promises.facts import Grant


def hand_out(grant: Grant, gpus: int, used: Mapping[str, int], node: int) -> list[tuple[str, int]]:
    """Say which namespace gets how many of a tenant's guaranteed GPUs, the most important part first.

    Args:
        grant: the tenant's.
        gpus: how many there are; parts beyond that are left out.
        used: what pods of each namespace hold.
        node: the most that a single pod can ask for.
    """
    parts: list[tuple[str, int]] = []
    has: Counter[str] = Counter()
    for namespace, level in _levels(grant, gpus, used, node, has):
        more = min(gpus - has.total(), level - has[namespace])
        if more > 0:
            has[namespace] += more
            parts.append((namespace, more))
    return parts


def _levels(
    grant: Grant, gpus: int, used: Mapping[str, int], node: int, has: Counter[str]
) -> Iterator[tuple[str, int]]:
    """Give the namespaces one after the other, each with the level to fill it up to; `has` is what each has by then."""
    for namespace, share in grant.shares.items():
        yield namespace, share.guaranteed
    sharing = {namespace: used.get(namespace, 0) for namespace, share in grant.shares.items() if share.shared}
    yield from sharing.items()
    needed = Counter(sharing)
    for asking in sorted(grant.asking, key=lambda one: (sharing.get(one.namespace, 0), one)):
        if asking.namespace in sharing:
            # What no pod of it fits into is of no use to it, and may be to others.
            left = gpus - has.total() + has[asking.namespace] - needed[asking.namespace]
            needed[asking.namespace] += min(asking.pods, max(0, left) // asking.gpus) * asking.gpus
            yield asking.namespace, needed[asking.namespace]
    for namespace, held in sharing.items():
        # In whole nodes, so that not every small pod moves a quota.
        yield namespace, (-(-held // node) + 1) * node
    for namespace in list(sharing)[:1]:
        yield namespace, gpus
