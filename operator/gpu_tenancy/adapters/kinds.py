"""The edge through which changes of our own kinds arrive: kopf's event handlers, and a census beside them.

kopf watches. It never says when its first list is complete, and after a gap in a watch it lists anew without telling
what has gone meanwhile. So whenever kopf begins to watch a kind, a census lists that kind straight into the store,
which takes in whatever comes in any order: what went before is not in the census, what goes later kopf tells.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpu_tenancy.adapters.kopf_watch import watch_with_kopf
from gpu_tenancy.adapters.session import FIRST_PAUSE, LONGEST_PAUSE
from gpu_tenancy.api import GROUP, VERSION
from gpu_tenancy.kube.reflector import fill
from gpu_tenancy.kube.resource import Resource
from gpu_tenancy.kube.store import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpu_tenancy.api.schema import Kind
    from gpu_tenancy.kube.auth import Credentials
    from gpu_tenancy.kube.client import Client
    from gpu_tenancy.kube.store import Store

logger = logging.getLogger(__name__)

_OVERDUE_SECONDS = 600.0
"""No watch lasts as long: where none has begun meanwhile, kopf is stuck."""


class KindWatcher:
    """Feeds the stores of our kinds until it is cancelled.

    Args:
        credentials: makes credentials for kopf's event loop.
        client: lists for the census.
        stores: what to feed, by kind; they belong to the loop that runs this.
        on_restart: told the kind of each watch that failed or was begun again.
        silence: seconds without an event, even the bookmark of each minute, after which a watch counts as lost.

    Attributes:
        synced: set once every store has been complete.
    """

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        client: Client,
        stores: Mapping[Kind[Any, Any], Store[Any]],
        on_restart: Callable[[str], None],
        silence: float = 90.0,
    ) -> None:
        self.synced = asyncio.Event()
        self._credentials = credentials
        self._client = client
        self._on_restart = on_restart
        self._silence = silence
        self._stores = {
            Resource(GROUP, VERSION, kind.plural, kind.kind, kind.namespaced): store for kind, store in stores.items()
        }
        self._by_path = {resource.path(): resource for resource in self._stores}
        self._due = {resource: asyncio.Event() for resource in self._stores}
        self._uncounted = set(self._stores)
        self._failing: set[str] = set()
        self._life = asyncio.timeout(None)

    async def run(self) -> None:
        """Watch and count until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_watching())
            for resource in self._stores:
                tasks.create_task(self._keep_counting(resource))

    async def _keep_watching(self) -> None:
        clock = asyncio.get_running_loop().time
        pause = FIRST_PAUSE
        while True:
            began = clock()
            try:
                async with asyncio.timeout(None) as self._life:
                    problem = await watch_with_kopf(
                        self._credentials,
                        tuple(self._stores),
                        on_event=self._take,
                        on_answer=self._answered,
                        silence=self._silence,
                    )
            except TimeoutError:
                problem = "it was deaf"
            logger.warning("kopf ended and begins again: %s", problem)
            for resource in self._stores:
                self._on_restart(resource.kind)
            pause = FIRST_PAUSE if clock() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311  # spreads load, protects nothing

    async def _keep_counting(self, resource: Resource) -> None:
        store, due, what = self._stores[resource], self._due[resource], f"the census of {resource.kind}"
        pause = FIRST_PAUSE
        while True:
            due.clear()
            latest = store.latest
            try:
                version = await fill(self._client, resource, store)
            except Exception as error:  # noqa: BLE001  # a bug must not do what an outage may not
                self._note(what, f"{type(error).__name__}: {error}")
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311  # spreads load, protects nothing
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._note(what, "")
            self._uncounted.discard(resource)
            if not self._uncounted:
                self.synced.set()
            if int(version) < latest:
                # The server was restored from a backup, and kopf waits for what comes after a version long ahead.
                self._begin_again()
            try:
                async with asyncio.timeout(_OVERDUE_SECONDS):
                    await due.wait()
            except TimeoutError:
                self._begin_again()

    def _begin_again(self) -> None:
        with suppress(RuntimeError):  # it is about to as it is
            self._life.reschedule(0)

    def _take(self, resource: Resource, type_: str | None, raw: dict[str, Any]) -> None:
        store = self._stores[resource]
        if type_ == "DELETED":
            metadata = raw["metadata"]
            key = Key(metadata.get("namespace", ""), metadata["name"])
            store.forget(key, metadata["uid"], metadata["resourceVersion"])
        else:
            store.observe(raw)

    def _answered(self, path: str, watch: bool, problem: str) -> None:
        self._note(path, problem)
        resource = self._by_path.get(path)
        if resource is None:  # kopf asks what is served, too
            return
        if problem:
            self._on_restart(resource.kind)
        elif watch:
            self._due[resource].set()

    def _note(self, what: str, problem: str) -> None:
        """Say once that something fails, however much and often it does, and once that all is well again."""
        failed = bool(self._failing)
        (self._failing.add if problem else self._failing.discard)(what)
        if self._failing and not failed:
            logger.warning("Cannot watch our kinds, trying on; %s: %s", what, problem)
        elif failed and not self._failing:
            logger.info("Watching our kinds again")
