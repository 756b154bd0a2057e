"""Every sandbox API, through every awkward phase that its controllers produce: one write wakes.

Whatever is between two phases, a request waits for it or is refused; it never reaches a pod that is
not the sandbox's present one.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from .conftest import serve
from .kube_api import ConflictError
from .platforms import (
    AGENT_SANDBOXES,
    PLATFORMS,
    AgentSandboxPlatform,
    KruisePlatform,
    NativePlatform,
    Sleep,
    Stage,
)
from .test_kruise import assert_wake_failed
from .waiting import soon
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    import httpx

    from .conftest import Serving
    from .gateways import Gateway
    from .platforms import Platform
    from .programs import Programs

FEW = 10
#: Seconds between two writes of somebody who writes often.
HEARTBEAT = 0.1
HELD = "example.com/held"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with each platform; agent-sandbox's versions are served one at a time."""
    older = [one for one in AGENT_SANDBOXES if one.of == "v1alpha1"]
    newer = [one for one in PLATFORMS if one not in older]
    stands: dict[str, Sequence[Platform]] = {"v1beta1": newer, "v1alpha1": older}
    cases = [
        pytest.param(version, one, id=one.label)
        for version, platforms in stands.items()
        for one in platforms
    ]
    metafunc.parametrize(("gateway", "platform"), cases, indirect=["gateway"], scope="module")


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest,
    serving: Serving,
    shared_programs: Programs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    """A gateway of all sandboxes, which gives up soon where nobody listens."""
    agent_sandbox = AgentSandboxPlatform(request.param, Sleep.ALWAYS_TOLD)
    home = tmp_path_factory.mktemp("gateway")
    settings = {"upstream_connect_timeout": "1s", "upstream_dial_timeout": "1s"}
    with (
        serving(NativePlatform(), KruisePlatform(), agent_sandbox) as kubeconfig,
        serve(shared_programs, home, kubeconfig, **settings) as made,
    ):
        yield made


@pytest.fixture
async def world(gateway: Gateway, platform: Platform) -> AsyncIterator[World]:
    async with World.over(gateway, platform=platform) as made:
        yield made


def asking(world: World, count: int = 1) -> list[asyncio.Task[httpx.Response]]:
    """Send so many requests at once."""
    return [asyncio.create_task(world.ask()) for _ in range(count)]


async def answered_by_the_present_pod(
    world: World, asked: list[asyncio.Task[httpx.Response]]
) -> None:
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["pod"] for answer in answers} == {world.pod().uid}
    assert world.pods.trespasses == 0


# ---- on the way to sleep ------------------------------------------------------------------------


async def test_many_requests_wake_a_sandbox_by_one_write(world: World) -> None:
    generation = await world.create_paused()
    before = world.pod()
    asked = asking(world, FEW)
    await answered_by_the_present_pod(world, asked)
    assert world.pod().uid != before.uid
    woken = await world.api.get("box")
    assert woken["spec"] == woken["spec"] | world.platform.wanting(sleep=False)
    assert woken["metadata"]["generation"] == generation + 1
    assert {task.result().headers["X-Sandbox-Cold-Start"] for task in asked} == {"true"}


@pytest.mark.parametrize("held_at", ["observes", "pauses", "settles"])
async def test_a_pause_under_way_is_waited_out_and_then_undone(held_at: str, world: World) -> None:
    await world.create_paused()
    # Its first sleep is over, and may be told of still.
    assert (await world.ask()).json()["pod"] == world.pod().uid
    before = world.pod()
    gate: asyncio.Event = getattr(world.gates(), held_at)
    gate.clear()
    await world.pause()
    # Until its controller has seen the wish, its status says that it is ready, as it was.
    await world.reaches("box", "pausing")
    generation = await world.generation()
    asked = asking(world, FEW)
    await world.waited_for("box", FEW)
    assert await world.generation() == generation
    gate.set()
    await answered_by_the_present_pod(world, asked)
    assert await world.generation() == generation + 1
    assert len(before.requests) == 1


async def test_the_address_of_its_last_life_may_be_another_sandboxs_by_now(world: World) -> None:
    await world.create_paused()
    world.gates().resumes.clear()
    stale = world.pod().ip
    other = world.pods.make(f"{world.namespace}/other", stale)
    await world.pods.take_over(other)
    world.gates("other").resumes.clear()
    await world.api.create(world.platform.manifest("other"))
    await world.reaches("other", "resuming" if world.platform in AGENT_SANDBOXES else "creating")
    await world.controller.tell("other", Stage.READY, other)
    await world.reaches("other", "running")

    asked = asking(world, FEW)
    await world.waited_for("box", FEW)
    assert (await world.ask("other")).json()["pod"] == other.uid
    world.gates().resumes.set()
    await answered_by_the_present_pod(world, asked)
    assert world.pod().ip != stale
    assert len(other.requests) == 1


# ---- on the way up ------------------------------------------------------------------------------


@pytest.mark.parametrize("held_at", ["observes", "resumes", "readies"])
async def test_a_sandbox_that_is_not_ready_yet_is_waited_for(held_at: str, world: World) -> None:
    generation = await world.create_paused()
    gate: asyncio.Event = getattr(world.gates(), held_at)
    gate.clear()
    asked = asking(world, FEW)
    await world.is_written(generation)
    await world.waited_for("box", FEW)
    if held_at == "readies":
        await soon(
            lambda: world.controller.life("box").stage is Stage.STARTED, "its pod has started"
        )
    assert await world.generation() == generation + 1
    assert world.gateway.state_of(world.namespace, "box") == "resuming"
    gate.set()
    await answered_by_the_present_pod(world, asked)
    assert await world.generation() == generation + 1


async def test_ready_may_be_told_before_the_port_listens(world: World) -> None:
    await world.create_paused()
    world.gates().opens.clear()
    asked = asking(world, FEW)
    await world.reaches("box", "running")
    assert not any(task.done() for task in asked)
    world.gates().opens.set()
    await answered_by_the_present_pod(world, asked)
    assert len(world.pod().requests) == FEW


async def test_it_sleeps_and_wakes_again_and_again(world: World) -> None:
    generation = await world.create_paused()
    lives = set()
    for _ in range(3):
        await answered_by_the_present_pod(world, asking(world, 2))
        lives.add(world.pod().uid)
        await world.pause()
        await world.reaches("box", "paused")
    assert len(lives) == 3
    assert await world.generation() == generation + 6


# ---- while it runs ------------------------------------------------------------------------------


async def test_a_pod_that_was_replaced_gets_nothing_more(world: World) -> None:
    await world.create()
    # It leaves a connection that could be used again.
    assert (await world.ask()).json()["pod"] == world.pod().uid
    generation = await world.generation()
    before = await world.controller.replace("box")
    now = world.pod()
    await soon(lambda: world.explains(f"is forwarded to {now.ip}"), "the new address is known")
    await answered_by_the_present_pod(world, asking(world, FEW))
    assert (len(before.requests), len(now.requests)) == (1, FEW)
    assert await world.generation() == generation


async def test_a_sandbox_whose_node_is_lost_is_unreachable_until_it_is_elsewhere(
    world: World,
) -> None:
    await world.create()
    before = world.pod()
    await world.pods.shut(before)
    lost = await world.ask()
    assert (lost.status_code, lost.json()["reason"]) == (502, "sandbox_unreachable")

    generation = await world.generation()
    world.gates().readies.clear()
    await world.controller.tell("box", Stage.STARTED)
    await world.reaches("box", "resuming")
    asked = asking(world, FEW)
    await world.waited_for("box", FEW)
    await world.controller.replace("box")
    await answered_by_the_present_pod(world, asked)
    world.gates().readies.set()
    assert await world.generation() == generation
    assert before.requests == []


async def test_a_sandbox_that_flaps_serves_all_and_is_not_woken(world: World) -> None:
    await world.create()
    generation, pod = await world.generation(), world.pod()
    world.gates().readies.clear()
    asked = []
    for _ in range(5):
        await world.controller.tell("box", Stage.STARTED, pod)
        asked += asking(world, 4)
        await world.controller.tell("box", Stage.READY, pod)
        asked += asking(world, 4)
    await answered_by_the_present_pod(world, asked)
    assert len(pod.requests) == len(asked)
    assert await world.generation() == generation


async def test_a_wake_is_written_however_often_others_write_meanwhile(world: World) -> None:
    generation = await world.create_paused()
    version = (await world.api.get("box"))["metadata"]["resourceVersion"]
    world.gates().observes.clear()
    busy = asyncio.create_task(keep_annotating(world))
    try:
        asked = asking(world, FEW)
        await world.is_written(generation)
    finally:
        busy.cancel()
    # A controller that writes what it read before all this finds out, and reads again.
    life = world.controller.life("box")
    status = world.platform.status(life.obj, Stage.ASLEEP, None)
    with pytest.raises(ConflictError):
        await world.api.report("box", life.uid, status, version)
    world.gates().observes.set()
    await answered_by_the_present_pod(world, asked)
    assert await world.generation() == generation + 1


async def keep_annotating(world: World) -> None:
    """Write to a sandbox again and again, as whoever writes heartbeats into it.

    Not without a pause: who does, on a busy machine, leaves nobody time to read and write.
    """
    for beat in itertools.count():
        annotations = {"example.com/beat": str(beat)}
        await world.api.change("box", {"metadata": {"annotations": annotations}})
        await asyncio.sleep(HEARTBEAT)


# ---- its end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["running", "paused"])
async def test_what_is_deleted_takes_no_request_however_long_that_takes(
    state: str, world: World
) -> None:
    create = world.create if state == "running" else world.create_paused
    await create(finalizers=[HELD])
    generation = await world.generation()
    await world.api.delete("box")
    await world.reaches("box", "dead")
    answers = await asyncio.gather(*asking(world, FEW))
    assert {(one.status_code, one.json()["reason"]) for one in answers} == {(502, "sandbox_dead")}
    obj = await world.api.get("box")
    assert obj["metadata"]["deletionTimestamp"]
    # Its deletion is what the API counts, and nothing else.
    assert obj["metadata"]["generation"] <= generation + 1
    assert world.pod().requests == []

    await world.api.change("box", {"metadata": {"finalizers": None}})
    await soon(
        lambda: world.gateway.told(world.namespace, "box") is None, "it is gone for the gateway"
    )
    assert (await world.ask()).json()["reason"] == "sandbox_not_found"


async def test_a_new_sandbox_of_the_same_name_gets_no_request_that_waited(world: World) -> None:
    generation = await world.create_paused()
    world.gates().resumes.clear()
    asked = asking(world, FEW)
    await world.is_written(generation)
    await world.waited_for("box", FEW)
    await world.api.delete("box")
    world.gates().resumes.set()
    await world.create()
    for answer in await asyncio.gather(*asked):
        assert_wake_failed(answer)
    assert world.pod().requests == []
    assert (await world.ask()).json()["requests"] == 1
