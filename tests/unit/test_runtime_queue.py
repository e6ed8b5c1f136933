from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_tenancy.runtime.queue import Backoff, QueueShutDownError, WorkQueue
from manual_clock import settle, skip_waits


@pytest.fixture(autouse=True)
async def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_waits(monkeypatch)


def longest_jitter() -> float:
    return 1.0


async def take(queue: WorkQueue[str]) -> str | None:
    """Get a key, or None if none is to be had now."""
    getting = asyncio.ensure_future(queue.get())
    await settle()
    if getting.done():
        return getting.result()
    getting.cancel()
    return None


async def test_a_key_added_many_times_is_handed_out_once():
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(5):
        queue.add("a")
    assert queue.depth == 1
    assert [await take(queue), await take(queue)] == ["a", None]


async def test_a_key_is_with_one_worker_at_a_time_and_comes_again_if_added_meanwhile():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    queue.add("a")
    assert await take(queue) is None
    queue.done("a")
    assert await take(queue) == "a"
    queue.done("a")
    assert await take(queue) is None


async def test_a_key_rests_after_a_worker_was_done_with_it_and_what_comes_meanwhile_comes_together():
    queue: WorkQueue[str] = WorkQueue(rest=lambda key: 0.05 if key == "a" else 0.0)
    clock = asyncio.get_running_loop().time
    queue.add("a")
    assert await take(queue) == "a", "the first does not wait"
    queue.add("a")
    queue.done("a")
    done = clock()
    for _ in range(3):
        queue.add("a")
    queue.add("b")
    assert [await take(queue), await take(queue)] == ["b", None], "others are not held up"
    assert queue.depth == 1
    assert await queue.get() == "a"
    assert clock() - done == pytest.approx(0.05)
    queue.done("a")
    assert await take(queue) is None
    await asyncio.sleep(0.06)
    queue.add("a")
    assert await take(queue) == "a", "one that has rested goes at once"


async def test_a_key_that_rests_does_not_hold_up_the_end():
    queue: WorkQueue[str] = WorkQueue(rest=lambda _: 0.02)
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    queue.done("a")
    await queue.shut_down()
    await asyncio.sleep(0.03)
    with pytest.raises(QueueShutDownError):
        await queue.get()


async def test_a_worker_that_waits_gets_the_key_that_comes():
    queue: WorkQueue[str] = WorkQueue()
    waiting = asyncio.ensure_future(queue.get())
    await settle()
    queue.add("a")
    assert await waiting == "a"


async def test_a_worker_that_gives_up_waiting_takes_no_key_with_it():
    queue: WorkQueue[str] = WorkQueue()
    waiting = asyncio.ensure_future(queue.get())
    await settle()
    queue.add("a")
    waiting.cancel()
    assert await take(queue) == "a"


async def test_lower_priorities_go_first_and_equals_in_order_of_arrival():
    queue: WorkQueue[str] = WorkQueue(priority=lambda key: 0 if key.startswith("pool") else 1)
    for key in ("tenant-b", "pool-z", "tenant-a", "pool-y"):
        queue.add(key)
    assert [await take(queue) for _ in range(4)] == ["pool-z", "pool-y", "tenant-b", "tenant-a"]


async def test_a_delayed_key_comes_after_its_time_and_the_earliest_wish_counts():
    queue: WorkQueue[str] = WorkQueue()
    began = asyncio.get_running_loop().time()
    queue.add_after("a", 30)
    queue.add_after("a", 0.05)
    queue.add_after("a", 60)
    assert queue.depth == 0
    assert await queue.get() == "a"
    assert asyncio.get_running_loop().time() - began == pytest.approx(0.05)
    queue.done("a")
    assert await take(queue) is None


async def test_a_rush_puts_a_key_off_until_it_is_over_or_patience_ends():
    queue: WorkQueue[str] = WorkQueue()
    began = asyncio.get_running_loop().time()
    for _ in range(6):
        queue.add_in_calm("short", 0.3, 60)
        queue.add_in_calm("long", 0.3, 0.1)
        await asyncio.sleep(0.03)
    assert [await take(queue), await take(queue)] == ["long", None]
    assert await queue.get() == "short"
    assert asyncio.get_running_loop().time() - began == pytest.approx(0.45)
    assert await take(queue) is None


async def test_a_key_that_is_looked_at_in_a_rush_is_not_looked_at_after_it_again():
    queue: WorkQueue[str] = WorkQueue()
    queue.add_in_calm("a", 0.02, 60)
    queue.add("a")
    assert await take(queue) == "a"
    queue.done("a")
    await asyncio.sleep(0.04)
    assert await take(queue) is None
    queue.add_in_calm("a", 0.02, 60)
    await queue.shut_down()
    await asyncio.sleep(0.04)
    with pytest.raises(QueueShutDownError):
        await queue.get()


async def test_a_key_that_fails_waits_longer_each_time_up_to_the_cap_until_it_is_forgotten():
    queue: WorkQueue[str] = WorkQueue(backoff=Backoff(base=1, cap=6), jitter=longest_jitter)
    assert [queue.retry("a") for _ in range(5)] == [1, 2, 4, 6, 6]
    assert queue.retry("b") == 1
    queue.forget("a")
    assert queue.retry("a") == 1


async def test_what_the_api_server_asks_for_wins_over_the_backoff():
    queue: WorkQueue[str] = WorkQueue(backoff=Backoff(base=1000), jitter=longest_jitter)
    assert queue.retry("a", retry_after=0.01) == 0.01
    assert await queue.get() == "a"


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_any_backoff_is_between_zero_and_its_bound(failures: int, jitter: float):
    backoff = Backoff(base=0.5, cap=60)
    assert 0 <= backoff.delay(failures, lambda: jitter) <= min(60, 0.5 * 2 ** min(failures, 10))


async def test_shutting_down_waits_for_busy_workers_and_hands_out_nothing_more():
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b"):
        queue.add(key)
    queue.add_after("c", 0.01)
    assert await take(queue) == "a"
    idle_worker = asyncio.ensure_future(queue.get())
    assert await idle_worker == "b"
    waiting_worker = asyncio.ensure_future(queue.get())
    await settle()

    closing = asyncio.ensure_future(queue.shut_down())
    queue.add("d")
    await asyncio.sleep(0.03)
    assert not closing.done()
    queue.done("a")
    queue.add("a")
    queue.done("b")
    await closing

    assert queue.depth == 0
    for worker in (waiting_worker, asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())):
        with pytest.raises(QueueShutDownError):
            await worker


async def test_shutting_down_drops_what_waits():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.shut_down()
    with pytest.raises(QueueShutDownError):
        await queue.get()


@given(st.lists(st.sampled_from(["add a", "add b", "get", "done"]), max_size=60))
def test_no_change_goes_unseen_and_no_key_is_with_two_workers(steps: list[str]):
    async def play() -> None:
        queue: WorkQueue[str] = WorkQueue()
        changed: set[str] = set()
        held: list[str] = []
        for step in [*steps, *["get", "done"] * 4]:
            if step == "get":
                key = await take(queue)
                if key is not None:
                    assert key not in held
                    held.append(key)
                    changed.discard(key)
            elif step == "done":
                if held:
                    queue.done(held.pop(0))
            else:
                key = step.removeprefix("add ")
                queue.add(key)
                changed.add(key)
        assert not changed

    asyncio.run(play())
