"""Three gateways over one real API: they share the work of a wake, and none is missed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from e2e.waiting import soon

from .api_proxy import Deed
from .ledger import Kind, Outcome
from .scene import Scene
from .traffic import Mix

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.programs import Programs
    from e2e.real_api import RealApi

GATEWAYS: Final = 3
SLEEPERS: Final = 20
#: Requests to each sleeper through each gateway.
STORM: Final = 10
#: What a rolling restart must not be noticed by, at the least.
PROBES: Final = 1000
SOCKETS: Final = 6


@pytest.fixture
async def scene(api: RealApi, programs: Programs, home: Path) -> AsyncIterator[Scene]:
    settings = {"drain_delay": "5s"}
    async with Scene.of(GATEWAYS, api.kubeconfig, programs, home, settings=settings) as made:
        yield made
        await made.comes_to_rest()


async def test_a_storm_over_all_gateways_wakes_each_sleeper_by_one_write(
    scene: Scene,
) -> None:
    platform, fleet, way = scene.platform, scene.fleet, scene.way
    sleepers = await scene.create(*_names("sleeper", SLEEPERS), paused=True)
    for box in platform.boxes.values():
        box.start_delay = 1.0
    traffic = scene.traffic(*sleepers)
    storm = [
        traffic.once(Kind.GET, sleeper, member)
        for _ in range(STORM)
        for sleeper in sleepers
        for member in fleet.members
    ]
    records = await asyncio.gather(*storm)

    assert {one.outcome for one in records} == {Outcome.RIGHT}
    assert platform.deliveries.count == len(storm)
    assert [box.wakes for box in platform.boxes.values()] == [1] * SLEEPERS
    assert [box.generation for box in platform.boxes.values()] == [2] * SLEEPERS
    assert way.done[Deed.PATCHED] == SLEEPERS

    def counted() -> bool:
        return fleet.total("cluster_writes_total", verb="wake", outcome="written") == SLEEPERS

    # News of what was written may be quicker than the answer to the writing.
    await soon(counted, "each write is counted")
    await soon(lambda: fleet.total("wake_episodes_active") == 0, "no wake is under way")


async def test_a_rolling_restart_is_noticed_by_none_but_websockets_which_are_told_to_come_again(
    scene: Scene,
) -> None:
    platform, fleet, way = scene.platform, scene.fleet, scene.way
    running = await scene.create(*_names("running", 10))
    (napper,) = await scene.create("napper", paused=True)
    traffic = scene.traffic(
        *running, mix=Mix(gets=8, echoes=4, streams=2, sockets=SOCKETS, messages=10_000)
    )
    restarted = asyncio.Event()

    async def doze() -> None:
        """Wake a sandbox again and again that nobody else uses."""
        while not restarted.is_set():
            await traffic.once(Kind.GET, napper, fleet.place())
            await platform.pause("napper")

    async with traffic.flowing() as ledger, asyncio.TaskGroup() as group:
        group.create_task(doze())
        for member in list(fleet.members):
            assert await fleet.restart(member) == 0
        await soon(lambda: ledger.right >= PROBES, "enough was asked")
        restarted.set()

    assert ledger.failed() == []
    assert ledger.cold >= 2 * GATEWAYS
    assert ledger.count(Outcome.RESTARTED) >= SOCKETS, "each was on one that went"
    assert platform.boxes["napper"].wakes == ledger.cold == way.done[Deed.PATCHED]


async def test_a_gateway_that_is_killed_takes_its_own_connections_with_it_and_no_sandbox(
    scene: Scene,
) -> None:
    platform, fleet, way = scene.platform, scene.fleet, scene.way
    running = await scene.create(*_names("running", 5))
    told = await scene.create(*_names("told", 5), paused=True)
    untold = await scene.create(*_names("untold", 5), paused=True)
    for box in platform.boxes.values():
        box.start_delay = 3600.0
    victim = fleet.members[0]
    traffic = scene.traffic(*running, mix=Mix(gets=6, echoes=3, streams=2, sockets=2))
    async with traffic.flowing() as ledger, asyncio.TaskGroup() as group:
        # These it has told to run, but they do not yet; those it could not tell.
        lost = [group.create_task(traffic.once(Kind.GET, one, victim)) for one in told]
        await soon(lambda: way.done[Deed.PATCHED] == len(told), "these are told to run")
        way.refuse = {503: 1.0}
        lost += [group.create_task(traffic.once(Kind.GET, one, victim)) for one in untold]
        await soon(lambda: fleet.total("wake_episodes_active") == 10, "those are waited for")
        await fleet.kill(victim)
        way.refuse = {}
        finished = [
            group.create_task(traffic.once(Kind.GET, one, member))
            for one in told + untold
            for member in fleet.members
        ]
        await soon(lambda: way.done[Deed.PATCHED] == 10, "all are told to run")
        for box in platform.boxes.values():
            box.hurried.set()

    assert {one.result().outcome for one in lost} == {Outcome.LOST}
    assert {one.result().outcome for one in finished} == {Outcome.RIGHT}
    assert {one.gateway for one in ledger.failed()} == {victim.data_port}
    kinds = {one.outcome for one in ledger.failed()}
    assert kinds <= {Outcome.LOST, Outcome.UNCONNECTED}
    wakes = {name: box.wakes for name, box in platform.boxes.items() if box.born_paused}
    assert set(wakes.values()) == {1}, wakes
    assert way.done[Deed.PATCHED] == len(wakes)
    await soon(lambda: fleet.total("wake_waiting_requests") == 0, "nobody waits")
    await soon(lambda: fleet.total("wake_episodes_active") == 0, "no wake is under way")


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(count)]
