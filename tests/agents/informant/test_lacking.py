"""What is lacking is asked for, on the wire."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.agents.informant.informant import Informant, InformantConfig
from gateway.resize.guest.sources import Unmeasurable
from tests.agents.informant.fake_agent import FakeAgent, serving
from tests.agents.informant.informing import Asker, informing
from tests.agents.informant.tree import MIB, ContainerTree, MachineTree
from tests.conformance.harness import eventually
from tests.wake.virtual import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> ContainerTree:
    return ContainerTree(tmp_path)


@pytest.fixture
async def asker(tree: ContainerTree) -> AsyncIterator[Asker]:
    async with informing(tree) as running:
        yield running


@pytest.fixture
async def agent(asker: Asker) -> AsyncIterator[FakeAgent]:
    async with serving() as served:
        assert (await asker.register(served)).status == 200
        await eventually(lambda: "/resume" in served.paths)
        yield served


def asked(agent: FakeAgent) -> list[Any]:
    return [body for path, body in agent.told if path == "/try-upscale"]


async def test_memory_that_runs_short_is_asked_for(
    tree: ContainerTree, asker: Asker, agent: FakeAgent
) -> None:
    tree.set_memory(current=480, limit=512)
    await eventually(lambda: asked(agent))
    assert asked(agent) == [{"cpu": False, "memory": True, "expectedID": str(agent.id)}]
    assert (await asker.metrics())["informant_upscale_requests_total"] == 1


async def test_still_too_little_after_a_growth_is_asked_for_anew(
    tree: ContainerTree, asker: Asker, agent: FakeAgent
) -> None:
    tree.set_memory(current=480, limit=512)
    await eventually(lambda: asked(agent))
    await asker.upscale(agent)
    await eventually(lambda: len(asked(agent)) == 2, within=3.0)


async def test_a_cpu_limit_that_holds_it_up_is_told(tree: ContainerTree, agent: FakeAgent) -> None:
    periods = 0

    def throttle() -> bool:
        nonlocal periods
        periods += 1
        tree.set_cpu(busy=1.0, periods=periods, throttled=periods)
        return bool(asked(agent))

    await eventually(throttle, within=10.0)
    assert asked(agent) == [{"cpu": True, "memory": False, "expectedID": str(agent.id)}]


async def test_a_machine_whose_tasks_wait_for_memory_asks_for_it(tmp_path: Path) -> None:
    tree = MachineTree(tmp_path)
    async with informing(tree) as asker, serving() as agent:
        await asker.register(agent)
        clock = asyncio.get_running_loop().time
        began = clock()

        def wait() -> bool:
            # By the clock: however slow the machine is, they waited all the time.
            tree.set_memory_pressure(clock() - began)
            return bool(asked(agent))

        await eventually(wait, within=10.0)
        assert asked(agent)[0]["memory"] is True


async def test_an_agent_that_fails_to_take_it_is_asked_again(
    tree: ContainerTree, agent: FakeAgent
) -> None:
    answers = iter([web.Response(status=500), web.Response(status=400)])

    async def answer(_: web.Request) -> web.Response:
        return next(answers, None) or web.json_response(agent.identification())

    agent.answers["/try-upscale"] = answer
    tree.set_memory(current=480, limit=512)
    # Each failure costs a second; where one did not, the third would come after six: by then
    # there have been more looks than these.
    await eventually(lambda: len(asked(agent)) == 3, within=4.5)


async def test_only_who_is_current_is_asked(
    tree: ContainerTree, asker: Asker, agent: FakeAgent
) -> None:
    async with serving() as newer:
        await asker.register(newer)
        tree.set_memory(current=480, limit=512)
        await eventually(lambda: asked(newer))
        assert asked(agent) == []
        await asker.unregister(newer)
        await eventually(lambda: asked(agent), within=3.0)


async def test_an_agent_that_comes_late_is_asked_once_it_is_resumed(tree: ContainerTree) -> None:
    tree.set_memory(current=480, limit=512)
    async with informing(tree) as asker, serving() as agent:
        refusals = iter([web.Response(status=400) for _ in range(5)])

        async def resume(_: web.Request) -> web.Response:
            return next(refusals, None) or web.json_response(agent.identification())

        agent.answers["/resume"] = resume
        await asker.register(agent)
        await eventually(lambda: asked(agent), within=3.0)
        assert agent.paths == ["/resume"] * 6 + ["/try-upscale"]


async def test_the_number_of_its_answer_counts(
    tree: ContainerTree, asker: Asker, agent: FakeAgent
) -> None:
    number, agent.sequence = 1000, 1_000_000
    tree.set_memory(current=480, limit=512)
    await eventually(lambda: asked(agent))
    async with asyncio.timeout(5.0):
        # They grow: it is the answer's that a late one is refused for.
        while (reply := await asker.upscale(agent, number)).status == 200:
            number += 1
    assert "wanted more than 1000001" in reply.text


async def test_what_cannot_be_read_is_not_told_and_ends_nothing(
    tree: ContainerTree, asker: Asker, agent: FakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    (tree.root / "sys/fs/cgroup/memory.current").unlink()
    told = await asker.metrics()
    assert told["informant_agents"] == 1
    assert not any(name.startswith("host_memory") for name in told)
    reply = await asker.downscale(agent, "512Mi")
    assert reply.json == {
        "Ok": False,
        "Status": "how much memory is in use cannot be measured",
    }
    failed = "the memory cannot be measured any more"
    assert [failed in one.getMessage() for one in caplog.records].count(True) == 1
    # It looks again, and finds what is lacking.
    tree.set_memory(current=480, limit=512)
    await eventually(lambda: asked(agent), within=3.0)
    assert (await asker.metrics())["host_memory_total_bytes"] == 512 * MIB


@in_virtual_time
async def test_a_load_that_cannot_be_read_is_unknown_until_it_can(tree: ContainerTree) -> None:
    informant = Informant(InformantConfig("127.0.0.1", 0, root=tree.root))
    running = asyncio.create_task(informant.run())
    file = tree.root / "sys/fs/cgroup/cpu.stat"

    def is_known() -> bool:
        return informant._averages.load is not None

    await asyncio.sleep(6.0)
    assert is_known()
    said = file.read_text()
    file.unlink()
    await asyncio.sleep(5.0)
    assert not is_known()
    file.write_text(said)
    await asyncio.sleep(10.0)
    assert is_known()
    assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def test_where_nothing_can_be_measured_it_does_not_begin(tree: ContainerTree) -> None:
    (tree.root / "sys/fs/cgroup/cpu.stat").unlink()
    with pytest.raises(Unmeasurable, match=r"cpu\.stat cannot be read"):
        Informant(InformantConfig("127.0.0.1", 0, root=tree.root))
