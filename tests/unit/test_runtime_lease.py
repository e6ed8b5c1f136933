from __future__ import annotations

import asyncio
import itertools
import math
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gpu_tenancy.runtime.lease import Elector, LeaseTimings, unique_identity
from manual_clock import ManualClock, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Manifest = dict[str, Any]

# In the Lease, whole seconds: others wait two.
TIMINGS = LeaseTimings(duration=1.5, renew_deadline=1.0, retry_period=0.2)
PROMISED = math.ceil(TIMINGS.duration)


class Server:
    """The one Lease, with the API server's compare-and-swap."""

    def __init__(self) -> None:
        self.lease: Manifest | None = None
        self.history: list[Manifest] = []
        self._versions = itertools.count(1)

    @property
    def spec(self) -> Manifest:
        return (self.lease or {}).get("spec", {})

    def create(self, spec: Manifest) -> Manifest | None:
        return self._store(spec) if self.lease is None else None

    def update(self, spec: Manifest, resource_version: str) -> Manifest | None:
        if self.lease is None or self.lease["metadata"]["resourceVersion"] != resource_version:
            return None
        merged = {**self.spec, **spec}
        return self._store({key: value for key, value in merged.items() if value is not None})

    def touch(self) -> None:
        """Somebody writes an annotation."""
        self._store(self.spec)

    def overwrite(self, spec: Manifest) -> None:
        """Replace the spec, as somebody does who knows nothing of holders."""
        if self.lease is not None:
            self._store(spec)

    def _store(self, spec: Manifest) -> Manifest:
        self.lease = {"metadata": {"resourceVersion": str(next(self._versions))}, "spec": spec}
        self.history.append(self.lease)
        return self.lease


class Link:
    """One candidate's way to the server and back, which takes as long as a test wants.

    A request that takes too long is given up by the candidate, but reaches the server all the same.
    """

    def __init__(self, server: Server, clock: ManualClock) -> None:
        self.server = server
        self.there = 0.0
        self.back = 0.0
        self.is_cut = False
        self._clock = clock
        self._under_way: set[asyncio.Task[Manifest | None]] = set()

    async def get(self) -> Manifest | None:
        return await self._send(lambda: self.server.lease)

    async def create(self, spec: Manifest) -> Manifest | None:
        return await self._send(lambda: self.server.create(spec))

    async def update(self, spec: Manifest, resource_version: str) -> Manifest | None:
        return await self._send(lambda: self.server.update(spec, resource_version))

    async def _send(self, request: Callable[[], Manifest | None]) -> Manifest | None:
        if self.is_cut:
            await self._clock.sleep(TIMINGS.retry_period)
            raise TimeoutError
        arriving = asyncio.ensure_future(self._arrive(request))
        self._under_way.add(arriving)
        arriving.add_done_callback(self._under_way.discard)
        if self.there + self.back >= TIMINGS.retry_period:
            await self._clock.sleep(TIMINGS.retry_period)
            raise TimeoutError
        answer = await asyncio.shield(arriving)
        if self.back:
            await self._clock.sleep(self.back)
        return answer

    async def _arrive(self, request: Callable[[], Manifest | None]) -> Manifest | None:
        if self.there:
            await self._clock.sleep(self.there)
        return request()


class Candidate:
    """An elector, its link, and what it said."""

    def __init__(self, name: str, server: Server, clock: ManualClock) -> None:
        self.name = name
        self.link = Link(server, clock)
        self.is_writing = False
        self.changes: list[bool] = []
        self.gave_up_at: list[float] = []
        self.elector = Elector(
            identity=name,
            clock=clock,
            on_change=self.changes.append,
            is_writing=lambda: self.is_writing,
            timings=TIMINGS,
            give_up=lambda: self.gave_up_at.append(clock.monotonic()),
        )
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        self._stop.set()
        assert self._running is not None
        await self._running

    def kill(self) -> None:
        """End it as a power cut would: nothing is said to anyone."""
        self.link.is_cut = True
        assert self._running is not None
        self._running.cancel()

    @property
    def is_valid(self) -> bool:
        return self.elector.is_valid()

    @property
    def has_failed(self) -> bool:
        task = self._running
        return task is not None and task.done() and not task.cancelled() and task.exception() is not None

    async def _run(self) -> None:
        async with self.elector.campaign(self.link):
            await self._stop.wait()


class Arena:
    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.server = Server()
        self.candidates: list[Candidate] = []
        self._gone: list[Candidate] = []
        self._leaving: list[asyncio.Future[None]] = []

    def add(self, name: str) -> Candidate:
        candidate = Candidate(name, self.server, self.clock)
        self.candidates.append(candidate)
        candidate.start()
        return candidate

    def slow_down(self, number: int, there: float, back: float) -> None:
        self.candidates[number].link.there = there
        self.candidates[number].link.back = back

    def cut_holder(self) -> None:
        for candidate in self.candidates:
            if candidate.is_valid:
                candidate.link.is_cut = True

    def mend(self, number: int) -> None:
        self.candidates[number].link.is_cut = False

    def restart(self, number: int) -> None:
        """Let a candidate hand over if it can; one with another identity stands in its place."""
        self._leaving.append(asyncio.ensure_future(self.candidates[number].stop()))
        self._gone.append(self.candidates[number])
        self.candidates[number] = Candidate(f"{self.candidates[number].name}+", self.server, self.clock)
        self.candidates[number].start()

    def delete_lease(self) -> None:
        self.server.lease = None

    def empty_lease(self) -> None:
        self.server.overwrite({})

    def touch_lease(self) -> None:
        if self.server.lease is not None:
            self.server.touch()

    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps and see at each that no two may write."""
        steps = math.ceil(seconds / 0.05)
        for _ in range(steps):
            await self.clock.advance(seconds / steps)
            everyone = [*self.candidates, *self._gone]
            assert [candidate.name for candidate in everyone if candidate.is_valid][1:] == []
            assert [candidate.name for candidate in everyone if candidate.has_failed] == []


@asynccontextmanager
async def arena(spec: Manifest | None = None) -> AsyncIterator[Arena]:
    """Give an arena with a Lease that was handed over, if no other is given."""
    arena = Arena(ManualClock())
    arena.server.lease = {
        "metadata": {"resourceVersion": "0"},
        "spec": {"holderIdentity": ""} if spec is None else spec,
    }
    yield arena
    for candidate in arena.candidates:
        candidate.kill()
    await arena.clock.advance(10)


async def test_a_lease_that_is_handed_over_is_taken_at_once():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.1)
        assert one.is_valid
        assert one.changes == [True]
        assert a.server.spec["holderIdentity"] == "one"
        assert a.server.spec["leaseDurationSeconds"] == PROMISED
        assert a.server.spec["leaseTransitions"] == 0


async def test_a_lease_that_is_empty_is_taken_after_whoever_might_have_held_it_has_stopped():
    async with arena({}) as a:
        one = a.add("one")
        await a.pass_time(TIMINGS.duration - 0.05)
        assert not one.is_valid
        await a.pass_time(0.5 + TIMINGS.retry_period)
        assert one.is_valid


async def test_nobody_takes_the_lease_of_a_holder_who_lives_when_somebody_empties_it():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(1)
        two = a.add("two")
        await a.pass_time(TIMINGS.retry_period)
        a.empty_lease()
        await a.pass_time(3 * TIMINGS.duration)  # that never two may write is asserted at each step
        assert one.is_valid or two.is_valid


async def test_the_instants_are_micro_times_in_utc():
    async with arena() as a:
        a.add("one")
        await a.pass_time(0.1)
        for field in ("acquireTime", "renewTime"):
            assert re.fullmatch(r"2026-12-01T20:00:00\.\d{6}Z", a.server.spec[field])


async def test_a_missing_lease_is_created_and_taken_after_whoever_might_have_held_it_has_stopped():
    async with arena() as a:
        a.server.lease = None
        one = a.add("one")
        await a.pass_time(PROMISED - 0.05)
        assert a.server.spec == {"holderIdentity": "unknown", "leaseDurationSeconds": PROMISED}
        assert not one.is_valid
        await a.pass_time(0.5)
        assert one.is_valid
        assert a.server.spec["leaseTransitions"] == 0


async def test_the_holder_keeps_the_lease_by_one_request_per_retry_period():
    async with arena() as a:
        one, two = a.add("one"), a.add("two")
        await a.pass_time(60)
        assert (one.changes, two.changes) == ([True], [])
        assert len(a.server.history) == pytest.approx(60 / TIMINGS.retry_period, abs=2)
        assert a.server.spec["leaseTransitions"] == 0
        assert a.server.spec["acquireTime"] < a.server.spec["renewTime"]


async def test_a_silent_holder_is_replaced_after_the_whole_duration_that_it_promised():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(1)
        one.kill()
        two = a.add("two")
        await a.pass_time(PROMISED - 0.05)
        assert not two.is_valid
        await a.pass_time(0.5)
        assert two.is_valid
        assert a.server.spec["leaseTransitions"] == 1


async def test_a_candidate_that_begins_late_waits_from_when_it_looked_first_not_from_what_the_lease_says():
    spec = {"holderIdentity": "zero", "leaseDurationSeconds": 7, "renewTime": "2020-01-01T00:00:00.000000Z"}
    async with arena(spec) as a:
        one = a.add("one")
        await a.pass_time(6.95)
        assert not one.is_valid
        await a.pass_time(0.5)
        assert one.is_valid


async def test_a_holder_without_a_duration_is_waited_for_as_long_as_for_one_of_ours():
    async with arena({"holderIdentity": "zero"}) as a:
        one = a.add("one")
        await a.pass_time(TIMINGS.duration - 0.1)
        assert not one.is_valid
        await a.pass_time(0.5)
        assert one.is_valid


@pytest.mark.parametrize("hours", [-9, 9])
async def test_a_wall_clock_that_jumps_changes_nothing(hours: int):
    async with arena() as a:
        one, two = a.add("one"), a.add("two")
        await a.pass_time(1)
        a.clock.jump(hours * 3600)
        await a.pass_time(10)
        assert (one.changes, two.changes) == ([True], [])


async def test_a_holder_whose_requests_hang_steps_down_by_the_renew_deadline_and_says_so():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.05)
        one.link.is_cut = True
        await a.pass_time(0.9)
        assert one.is_valid
        await a.pass_time(0.1)
        assert not one.is_valid
        assert one.changes == [True, False]
        assert one.gave_up_at == []


async def test_validity_counts_from_before_the_renewal_was_sent():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.1)
        one.link.back = 0.15  # sent after 0.2 s, answered after 0.35 s
        await a.pass_time(0.27)
        one.link.is_cut = True
        await a.pass_time(0.78)
        assert one.is_valid
        await a.pass_time(0.1)
        assert not one.is_valid


async def test_a_holder_that_is_cut_off_and_comes_back_before_anyone_took_over_goes_on():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.5)
        one.link.is_cut = True
        await a.pass_time(1.5)
        one.link.is_cut = False
        await a.pass_time(0.5)
        assert one.changes == [True, False, True]
        assert a.server.spec["leaseTransitions"] == 0


async def test_a_renewal_that_arrived_though_its_answer_did_not_is_no_loss():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.1)
        one.link.back = 1.0
        await a.pass_time(0.3)
        one.link.back = 0.0
        await a.pass_time(3)
        assert one.changes == [True]


async def test_somebody_who_annotates_the_lease_does_not_take_it_away():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.1)
        a.server.touch()
        await a.pass_time(3)
        assert one.changes == [True]


async def test_a_write_that_is_under_way_when_others_may_write_ends_the_process():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.05)
        one.is_writing = True
        one.link.is_cut = True
        await a.pass_time(TIMINGS.duration - 0.1)
        assert one.gave_up_at == []
        await a.pass_time(0.1)
        assert one.gave_up_at[0] == pytest.approx(1000 + TIMINGS.duration)


async def test_a_long_silence_without_a_write_under_way_ends_nothing():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.1)
        one.link.is_cut = True
        await a.pass_time(60)
        one.link.is_cut = False
        await a.pass_time(1)
        assert one.gave_up_at == []
        assert one.is_valid


async def test_a_holder_that_stops_hands_the_lease_over_and_the_next_begins_at_once():
    async with arena() as a:
        one, two = a.add("one"), a.add("two")
        await a.pass_time(1)
        await one.stop()
        assert not one.is_valid
        assert one.changes == [True, False]
        assert a.server.spec["holderIdentity"] == ""
        assert "leaseDurationSeconds" not in a.server.spec
        await a.pass_time(TIMINGS.retry_period + 0.05)
        assert two.is_valid
        assert a.server.spec["leaseTransitions"] == 1


async def test_a_holder_that_stops_while_a_write_is_under_way_lets_the_lease_run_out():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.1)
        one.is_writing = True
        await one.stop()
        assert a.server.spec["holderIdentity"] == "one"
        assert not one.is_valid


async def test_a_renewal_that_was_cut_off_by_stopping_does_not_hinder_the_hand_over():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.1)
        one.link.there = 0.15
        await a.pass_time(0.15)
        stopping = asyncio.ensure_future(one.stop())
        await settle()
        one.link.there = 0.0
        await a.clock.advance(1)
        await stopping
        assert a.server.spec["holderIdentity"] == ""


async def test_a_holder_that_cannot_reach_the_server_stops_all_the_same():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.1)
        one.link.is_cut = True
        stopping = asyncio.ensure_future(one.stop())
        await a.clock.advance(1)
        await stopping
        assert not one.is_valid


async def test_one_that_never_held_the_lease_leaves_it_alone():
    async with arena() as a:
        one, two = a.add("one"), a.add("two")
        await a.pass_time(1)
        await two.stop()
        assert a.server.spec["holderIdentity"] == "one"
        assert one.is_valid
        assert two.changes == []


async def test_a_lease_that_is_deleted_under_its_holder_lets_nobody_else_write_too_early():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(1)
        one.link.is_cut = True
        a.server.lease = None
        two = a.add("two")
        await a.pass_time(1.4)
        assert not two.is_valid
        one.link.is_cut = False
        await a.pass_time(3)
        assert [one.is_valid, two.is_valid].count(True) == 1


async def test_a_lease_whose_holder_is_edited_away_lets_nobody_else_write_too_early():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(1)
        one.link.is_cut = True
        a.server.spec["holderIdentity"] = ""
        a.server.touch()
        two = a.add("two")
        await a.pass_time(PROMISED - 0.05)
        assert not two.is_valid
        await a.pass_time(0.5)
        assert two.is_valid


async def test_a_holder_steps_down_as_soon_as_it_sees_another_in_its_place():
    async with arena() as a:
        one = a.add("one")
        await a.pass_time(0.1)
        a.server.spec["holderIdentity"] = "intruder"
        a.server.touch()
        await a.pass_time(TIMINGS.retry_period)
        assert not one.is_valid
        assert one.changes == [True, False]


@pytest.mark.parametrize("wrong", [(15, 15, 2), (10, 15, 2), (15, 10, 6), (15, 10, 0), (math.nan, 10, 2)])
def test_timings_that_do_not_fit_together_are_refused(wrong: tuple[float, float, float]):
    with pytest.raises(ValueError, match="retry period <= renew deadline < duration"):
        LeaseTimings(*wrong)


def test_no_two_processes_have_the_same_identity():
    assert unique_identity() != unique_identity()
