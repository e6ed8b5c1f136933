"""kopf, kept to what it is good at: it discovers, lists and watches, and hands over what it hears.

When kopf ends it cancels every task in its event loop, so it has a loop and a thread of its own. It ends on many
failures of the API server, so it does not get to see them: its session tries on until there is a good answer. It
neither writes to the objects nor believes anything that they say about kopf: their owners could have written that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import kopf

from gpu_tenancy.adapters.session import PatientSession
from gpu_tenancy.kube.transport import JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from gpu_tenancy.kube.auth import Credentials
    from gpu_tenancy.kube.resource import Resource

logger = logging.getLogger(__name__)

_HEADERS = {"Accept": JSON, "Accept-Encoding": "identity"}
_CHUNK = 500
_STOP_SECONDS = 10.0


async def watch_with_kopf(
    credentials: Callable[[], Credentials],
    resources: Sequence[Resource],
    *,
    on_event: Callable[[Resource, str | None, dict[str, Any]], None],
    on_answer: Callable[[str, bool, str], None],
    silence: float,
) -> str:
    """Run kopf until it ends, which it never should, and say why it did; or until cancelled.

    Args:
        credentials: makes credentials for kopf's event loop.
        resources: what to watch, as soon as all of it is served.
        on_event: told of each event: whose, its type (None for an object that was listed), and the object.
        on_answer: told of each answer, as `PatientSession` does.
        silence: seconds without an event, not even the bookmark of each minute, after which a watch counts as lost.

    Both functions are called in the caller's event loop.
    """
    here = asyncio.get_running_loop()

    def hand_over(function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            here.call_soon_threadsafe(function, *arguments)

    async def live() -> None:
        registry = kopf.OperatorRegistry()
        for resource in resources:
            handler = _handler(resource, lambda *event: hand_over(on_event, *event))
            kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)(handler)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=_HEADERS) as http:
            session = PatientSession(http, credentials(), resources, lambda *answer: hand_over(on_answer, *answer))
            # Without a server: so kopf asks for mere paths, and the session knows where the server is at the time.
            login = kopf.AiohttpSession(server="", aiohttp_session=cast("aiohttp.ClientSession", session))
            kopf.on.login(registry=registry)(_login(login))
            kopf.on.cleanup(registry=registry)(_end_watches)
            await kopf.operator(registry=registry, settings=_settings(silence), clusterwide=True, standalone=True)

    # What it has to say of an outage at each attempt, the session says in a better way.
    logging.getLogger("kopf").setLevel(logging.CRITICAL)
    return await _in_thread(live())


def _handler(resource: Resource, on_event: Callable[..., None]) -> Callable[..., Any]:
    async def take(event: kopf.RawEvent, **_: object) -> None:
        on_event(resource, event["type"], event["object"])

    return take


def _login(session: kopf.AiohttpSession) -> Callable[..., Any]:
    async def log_in(**_: object) -> kopf.AiohttpSession:
        return session

    return log_in


async def _end_watches(**_: object) -> None:
    """End what kopf would leave running when one of its watches fails, and then hang on.

    A watch that is cancelled together with the task that would pause it goes on.
    """
    watches = {task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for ")}
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*watches, return_exceptions=True)


async def _in_thread(coroutine: Coroutine[Any, Any, None]) -> str:
    """Run a coroutine in a thread and a loop of its own; say what ended it."""
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()
    # What else fails when kopf ends, and is looked after by nobody, is of no account: how it ended is told.
    loop.set_exception_handler(lambda _loop, context: logger.debug("In kopf's loop: %s", context["message"]))
    task = loop.create_task(coroutine)
    ended: Future[str] = Future()

    def run() -> None:
        problem = "no reason given"
        try:
            with runner:
                loop.run_until_complete(task)
        except BaseException as error:  # noqa: BLE001  # whatever it was, whoever waits is to know
            problem = f"{type(error).__name__}: {error}"
        finally:
            ended.set_result(problem)

    # A daemon: if kopf does not end when it is told to, the process ends without it.
    threading.Thread(target=run, name="kopf", daemon=True).start()
    outcome = asyncio.wrap_future(ended)
    try:
        return await asyncio.shield(outcome)
    finally:
        with suppress(RuntimeError):  # it has ended, and its loop is closed
            loop.call_soon_threadsafe(task.cancel)
        await asyncio.wait({outcome}, timeout=_STOP_SECONDS)
        if not outcome.done():
            logger.error("kopf does not end; its thread is left behind")


class _NoMemory(kopf.DiffBaseStorage):
    """Keeps kopf from comparing objects with what their annotations say they were."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return {}

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        pass


def _settings(silence: float) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoMemory()
    # kopf takes its finalizer off whatever carries it. The API server lets nothing carry this one.
    settings.persistence.finalizer = "-"
    settings.process.ultimate_exiting_timeout = None  # it would kill the whole process
    settings.queueing.idle_timeout = 0.5
    settings.watching.chunk_size = _CHUNK
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = silence
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    return settings
