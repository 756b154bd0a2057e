"""Leadership over a store of Leases, in virtual time."""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field, replace

import pytest

from gateway.cluster.lease import UNKNOWN, Lease
from gateway.replicas.election import REFUSED_PAUSE, ElectionConfig
from gateway.replicas.leadership import Leadership, Sole, boot_clock, unique_identity
from gateway.sandbox.errors import AccessDenied, ApiUnavailable, ClusterError, Conflict, ObjectGone
from gateway.telemetry.instruments import Instruments
from tests.wake.virtual import in_virtual_time

CONFIG = ElectionConfig(15.0)


@dataclass
class Leases:
    """The one Lease, as an API has it that answers after a while, or does not."""

    lease: Lease | None = field(default_factory=lambda: Lease("0"))
    latency: float = 0.01
    hangs: bool = False
    faults: deque[Exception] = field(default_factory=deque)
    fault: type[ClusterError] | None = None
    asked: int = 0
    version: int = 0

    async def read(self) -> Lease | None:
        await self._arrive()
        return self.lease

    async def create(self, duration: float) -> Lease:
        await self._arrive()
        return self._write(None, Lease(""), holder=UNKNOWN, duration=round(duration))

    async def acquire(self, over: Lease, identity: str, duration: float) -> Lease:
        await self._arrive()
        return self._write(over, over, holder=identity, duration=round(duration))

    async def renew(self, over: Lease, duration: float) -> Lease:
        await self._arrive()
        return self._write(over, over)

    async def release(self, over: Lease) -> Lease:
        await self._arrive()
        return self._write(over, over, holder="")

    async def _arrive(self) -> None:
        self.asked += 1
        await asyncio.sleep(1e9 if self.hangs else self.latency)
        if self.faults:
            raise self.faults.popleft()
        if self.fault is not None:
            raise self.fault(f"request {self.asked}")

    def _write(self, over: Lease | None, lease: Lease, **changes: object) -> Lease:
        if over != self.lease:
            raise Conflict("") if self.lease else ObjectGone("")
        self.version += 1
        self.lease = replace(lease, version=str(self.version), **changes)  # type: ignore[arg-type]
        return self.lease


@dataclass
class Replica:
    """One candidate; its clock is the loop's, and what the loop slept through besides."""

    leases: Leases
    identity: str = "me"
    suspended: float = 0.0

    def __post_init__(self) -> None:
        self.instruments = Instruments()
        self.leadership = Leadership(
            self.leases,
            self.identity,
            CONFIG,
            self.instruments,
            clock=lambda: asyncio.get_running_loop().time() + self.suspended,
            chance=lambda: 0.5,
        )

    def metric(self, name: str, **labels: str) -> float:
        samples = [one for family in self.instruments.collect() for one in family.samples]
        wanted = f"sandbox_gateway_{name}"
        return next(one.value for one in samples if one.name == wanted and one.labels == labels)


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
async def test_one_of_two_leads_and_hands_over_at_once_when_it_leaves() -> None:
    leases = Leases()
    first, second = Replica(leases, "first"), Replica(leases, "second")
    async with second.leadership:
        async with first.leadership:
            async with asyncio.timeout(1.0):
                winner, loser = await leading(first, second)
            await asyncio.sleep(100.0)
            assert winner.leadership.acting
            assert not loser.leadership.acting
            assert (winner.metric("leader"), loser.metric("leader")) == (1.0, 0.0)
            assert winner is second, "it came first"
        assert leases.lease is not None
        assert leases.lease.holder == "second"
    assert leases.lease.holder == ""
    assert not second.leadership.acting
    await second.leadership.wait_lost()
    third = Replica(leases, "third")
    async with third.leadership, asyncio.timeout(0.1):
        await third.leadership.wait_won()


async def leading(*replicas: Replica) -> tuple[Replica, ...]:
    """Return all, the first to lead before the others."""
    waits = [asyncio.create_task(one.leadership.wait_won()) for one in replicas]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return tuple(sorted(replicas, key=lambda one: not one.leadership.acting))


@in_virtual_time
async def test_a_follower_leads_a_pause_after_the_leader_gave_up() -> None:
    leases = Leases()
    leader, follower = Replica(leases, "leader"), Replica(leases, "follower")
    async with leader.leadership:
        await leader.leadership.wait_won()
        async with follower.leadership:
            await asyncio.sleep(50.0)
            await leader.leadership.__aexit__(None, None, None)
            left = now()
            await follower.leadership.wait_won()
            assert now() - left < 1.25 * CONFIG.pause + 0.1


@in_virtual_time
async def test_a_leader_without_answers_stops_acting_in_time_and_leads_again() -> None:
    leases = Leases()
    replica = Replica(leases)
    async with replica.leadership as leadership:
        await leadership.wait_won()
        await asyncio.sleep(30.0)
        leases.hangs, began = True, now()
        await leadership.wait_lost()
        assert not leadership.acting
        assert CONFIG.right - 1.25 * CONFIG.pause <= now() - began <= CONFIG.right
        assert replica.metric("lease_renew_failures_total") >= 1
        assert replica.metric("leader") == 0.0
        leases.hangs = False
        await leadership.wait_won()
        assert replica.metric("leader_transitions_total", change="lead") == 2.0
        assert replica.metric("leader_transitions_total", change="step_down") == 1.0


@in_virtual_time
async def test_a_machine_that_was_suspended_finds_its_right_ended_before_anything_runs() -> None:
    replica = Replica(Leases())
    async with replica.leadership as leadership:
        await leadership.wait_won()
        replica.suspended += CONFIG.right
        assert not leadership.acting, "though nobody was told yet"


@in_virtual_time
async def test_a_refusal_is_told_once_and_asked_about_seldom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    leases = Leases(fault=AccessDenied)
    replica = Replica(leases)
    with caplog.at_level(logging.INFO, "gateway.replicas"):
        async with replica.leadership as leadership:
            await asyncio.sleep(10 * REFUSED_PAUSE)
            assert leases.asked <= 11
            assert [one.getMessage() for one in caplog.records] == [
                "the lease cannot be had: AccessDenied: request 1"
            ]
            leases.fault = None
            await leadership.wait_won()
            await asyncio.sleep(20.0)
            leases.fault = AccessDenied
            await leadership.wait_lost()
    told = [one.getMessage() for one in caplog.records]
    assert sum(one.startswith("the lease cannot be had") for one in told) == 2
    assert told.count("this replica leads no more") == 1


@in_virtual_time
async def test_leaving_does_not_wait_for_an_api_that_does_not_answer() -> None:
    leases = Leases()
    replica = Replica(leases)
    async with replica.leadership as leadership:
        await leadership.wait_won()
        leases.hangs = True
        await asyncio.sleep(1.25 * CONFIG.pause)
        left = now()
    assert now() - left <= 2 * CONFIG.patience
    assert not leadership.acting


@in_virtual_time
async def test_the_error_of_the_body_leaves_as_it_came_and_the_lease_is_given_up() -> None:
    leases = Leases()
    replica = Replica(leases)

    async def fail() -> None:
        async with replica.leadership as leadership:
            await leadership.wait_won()
            raise LookupError("of the body")

    with pytest.raises(LookupError, match="of the body"):
        await fail()
    assert leases.lease is not None
    assert leases.lease.holder == ""


@in_virtual_time
async def test_a_cancelled_body_gives_up_the_lease() -> None:
    leases = Leases()

    async def stand() -> None:
        async with Replica(leases).leadership:
            await asyncio.sleep(1e6)

    task = asyncio.create_task(stand())
    await asyncio.sleep(20.0)
    assert leases.lease is not None
    assert leases.lease.holder == "me"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leases.lease.holder == ""


@in_virtual_time
async def test_a_mistake_in_the_code_ends_the_body() -> None:
    leases = Leases(faults=deque([ApiUnavailable("no mistake"), ZeroDivisionError("a mistake")]))
    with pytest.raises(BaseExceptionGroup) as raised:
        async with Replica(leases).leadership:
            await asyncio.sleep(1e6)
    assert raised.group_contains(ZeroDivisionError, match="a mistake")


def test_the_clock_goes_on_while_the_machine_is_suspended() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= boot_clock() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_no_two_processes_have_one_identity() -> None:
    assert unique_identity("pod-1") != unique_identity("pod-1")
    assert unique_identity("pod-1").startswith("pod-1_")
    assert unique_identity().rpartition("_")[0]


@in_virtual_time
async def test_an_only_replica_leads_from_the_first_to_the_last() -> None:
    async with Sole() as sole:
        await sole.wait_won()
        assert sole.acting
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10**6):
                await sole.wait_lost()
    assert sole.acting
