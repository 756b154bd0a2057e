"""What fails where sandboxes run, under load: only who is concerned sees it, and sees the truth.

Each test prints what clients saw (`pytest -rP`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio

from e2e.clusters import fresh_name
from e2e.waiting import soon

from .ledger import Kind, Outcome
from .scene import Scene
from .traffic import Mix, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.programs import Programs
    from e2e.real_api import RealApi

    from .ledger import Ledger, Record
pytestmark = pytest.mark.asyncio(loop_scope="module")

#: How long a refusing port is tried, and after how much silence a machine counts as lost (s).
DIAL: Final = 5
DEAD: Final = 3
#: How many times a fault is injected that is over at once.
TIMES: Final = 10
#: How long the end of a pod is not told, in seconds.
LATE: Final = 3
#: Requests in which not one may reach a sandbox that it was not for.
MANY: Final = 10_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    api: RealApi, shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """Gateways for all of these tests; each has sandboxes of its own."""
    settings = {
        "upstream_dead_after": f"{DEAD}s",
        "upstream_connect_timeout": "1s",
        "upstream_dial_timeout": f"{DIAL}s",
    }
    home = tmp_path_factory.mktemp("faults")
    async with Scene.of(2, api.kubeconfig, shared_programs, home, settings=settings) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def scene(shared: Scene) -> AsyncIterator[Scene]:
    yield shared
    await shared.comes_to_rest()


async def sandboxes(scene: Scene) -> list[Target]:
    """Create two that run: one for a fault, and its neighbour."""
    return await scene.create(fresh_name("victim"), fresh_name("neighbour"))


def tell(seen: dict[str, int]) -> None:
    print("clients saw:", seen)


def bystanders(ledger: Ledger, concerned: Target) -> list[Record]:
    """Return what other sandboxes' clients saw amiss."""
    return [one for one in ledger.odd if one.sandbox != concerned.sandbox]


async def goes_on(ledger: Ledger, count: int = 100) -> None:
    """Return once so many more requests were answered right."""
    right = ledger.right
    await soon(lambda: ledger.right >= right + count, "it goes on")


async def test_a_pod_that_is_killed_costs_what_it_had_begun_and_nothing_more(scene: Scene) -> None:
    platform = scene.platform
    victim, neighbour = await sandboxes(scene)
    async with scene.traffic(victim, neighbour).flowing() as ledger:
        for _ in range(TIMES):
            await goes_on(ledger)
            await platform.kill_pod(victim.name)
            await platform.runs(victim.name)
        await goes_on(ledger)
    tell(ledger.summary())
    assert scene.unexcused(ledger) == []
    assert bystanders(ledger, victim) == []
    assert {one.outcome for one in ledger.odd} <= {Outcome.REFUSED, Outcome.LOST}
    assert {one.reason for one in ledger.odd if one.status} <= {"upstream_reset", "WebSocket cut"}


async def test_an_address_that_goes_to_another_tenants_pod_gets_nothing_that_was_for_the_first(
    scene: Scene,
) -> None:
    platform = scene.platform
    victim, neighbour = await sandboxes(scene)
    mix = Mix(gets=12, echoes=6, streams=2, sockets=2, pause=0.005)
    handed = 0
    async with scene.traffic(victim, neighbour, mix=mix).flowing() as ledger:
        loser, heir = victim.name, neighbour.name
        while ledger.count() < MANY or handed < 2 * TIMES:
            await goes_on(ledger)
            address = await scene.give_away(loser, heir)
            assert (await platform.runs(heir)).ip == address
            await platform.runs(loser)
            loser, heir, handed = heir, loser, handed + 1
    tell(ledger.summary() | {"addresses handed on": handed})
    assert ledger.count(Outcome.WRONG) == 0
    assert scene.unexcused(ledger) == []


async def test_the_end_of_the_first_may_be_told_late(scene: Scene) -> None:
    """For a while the API itself has both sandboxes at that address."""
    platform = scene.platform
    victim, heir = await sandboxes(scene)
    platform.boxes[victim.name].notice_delay = LATE
    async with scene.traffic(victim, heir, mix=Mix(gets=8, echoes=4)).flowing() as ledger:
        for _ in range(3):
            await goes_on(ledger)
            opens = platform.boxes[heir.name].opens
            opens.clear()
            handed = await platform.give_away(victim.name, heir.name, told=False)
            await all_know(scene, heir, handed)
            opens.set()
            await platform.runs(victim.name)
        await goes_on(ledger)
    tell(ledger.summary())
    assert ledger.count(Outcome.WRONG) == 0
    assert scene.unexcused(ledger) == []


async def all_know(scene: Scene, sandbox: Target, address: str) -> None:
    """Return once each gateway forwards to this address."""
    gateways = [one.gateway for one in scene.fleet.members]
    said = f"is forwarded to {address}"
    await soon(
        lambda: all(said in str(one.told(sandbox.namespace, sandbox.name)) for one in gateways),
        f"all know that {sandbox.name} {said}",
    )


async def test_connections_to_a_lost_node_are_given_up_and_the_pod_is_found_where_it_is_now(
    scene: Scene,
) -> None:
    platform = scene.platform
    victim, neighbour = await sandboxes(scene)
    # It takes the control plane longer than gateways to find out that a node is lost.
    platform.boxes[victim.name].notice_delay = 2 * DEAD
    async with scene.traffic(victim, neighbour, mix=Mix(gets=8)).flowing() as ledger:
        await goes_on(ledger)
        await platform.lose_node(victim.name)
        await soon(lambda: ledger.odd, "somebody sees it")
        await platform.runs(victim.name)
        await goes_on(ledger)
    tell(ledger.summary())
    assert scene.unexcused(ledger) == []
    assert bystanders(ledger, victim) == []
    refusals = {one.reason for one in ledger.odd if one.outcome is Outcome.REFUSED}
    assert refusals <= {"upstream_reset", "sandbox_unreachable"}
    # A connection is probed until it is dead, at worst just after that was last found alive.
    patience = DEAD + DIAL + 10
    assert not [one for one in ledger.odd if one.seconds > patience]


async def test_a_port_that_is_closed_for_a_moment_is_waited_for(scene: Scene) -> None:
    platform = scene.platform
    victim, neighbour = await sandboxes(scene)
    async with scene.traffic(victim, neighbour, mix=Mix(gets=8, sockets=0)).flowing() as ledger:
        for _ in range(TIMES):
            await goes_on(ledger)
            async with platform.closed_port(victim.name):
                await goes_on(ledger, 20)
    tell(ledger.summary())
    assert ledger.failed() == []


async def test_a_port_that_stays_closed_is_told_so_and_is_found_open_again(scene: Scene) -> None:
    platform = scene.platform
    victim, neighbour = await sandboxes(scene)
    traffic = scene.traffic(victim, neighbour, mix=Mix(gets=2, streams=0, sockets=0))
    # They last for longer than a dial may: no connection comes free for who has to dial.
    streams = scene.traffic(victim, neighbour, mix=Mix(events=2, pause=3 * DIAL))
    async with traffic.flowing() as ledger:
        await goes_on(ledger)
        async with platform.closed_port(victim.name):
            # More at once than connections are kept: these must dial.
            more = [streams.once(Kind.EVENTS, victim, scene.fleet.place()) for _ in range(20)]
            told = {one.reason for one in await asyncio.gather(*more)}
        await goes_on(ledger)
        again = await traffic.once(Kind.GET, victim, scene.fleet.place())
    tell(ledger.summary())
    assert "sandbox_unreachable" in told
    assert again.outcome is Outcome.RIGHT
    assert scene.unexcused(ledger) == []
    assert bystanders(ledger, victim) == []


async def test_a_pod_that_accepts_nothing_for_a_while_makes_requests_wait(scene: Scene) -> None:
    platform = scene.platform
    victim, neighbour = await sandboxes(scene)
    before = dials_that_timed_out(scene)
    traffic = scene.traffic(victim, neighbour, mix=Mix(gets=4))
    async with traffic.flowing() as ledger:
        await goes_on(ledger)
        async with asyncio.TaskGroup() as group, platform.accepting_nothing(victim.name):
            begun = [
                group.create_task(traffic.once(Kind.EVENTS, victim, scene.fleet.place()))
                for _ in range(20)
            ]
            await soon(lambda: dials_that_timed_out(scene) >= before + 2, "it is dialled in vain")
        await goes_on(ledger)
    tell(ledger.summary())
    assert {one.result().outcome for one in begun} == {Outcome.RIGHT}
    assert ledger.failed() == []


def dials_that_timed_out(scene: Scene) -> float:
    return scene.fleet.total("upstream_dial_failures_total", cause="timeout")


async def test_a_sandbox_paused_by_somebody_else_in_mid_request_is_woken_by_the_next_one(
    scene: Scene,
) -> None:
    platform = scene.platform
    victim, neighbour = await sandboxes(scene)
    async with scene.traffic(victim, neighbour).flowing() as ledger:
        for _ in range(TIMES):
            await goes_on(ledger)
            await platform.pause(victim.name)
            await platform.runs(victim.name)
    tell(ledger.summary())
    assert scene.unexcused(ledger) == []
    assert bystanders(ledger, victim) == []
    assert {one.outcome for one in ledger.odd} <= {Outcome.REFUSED, Outcome.LOST}
    assert platform.boxes[victim.name].wakes == TIMES
    assert ledger.cold >= TIMES
