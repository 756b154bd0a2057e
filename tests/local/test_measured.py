"""What is said for a sandbox by who measures its control group, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.local.measured import Measured
from gateway.resize.guest.sources import ControlGroup
from gateway.resize.informant_client import LinkFailed
from gateway.resize.link_state import EndReason, LinkEnd, Running, UpscaleWanted
from gateway.resize.scrape import Scraped
from gateway.sandbox.scaling import Size
from tests.agents.informant.tree import MIB, ContainerTree
from tests.wake.virtual import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.resize.link_state import LinkEvent


class Talk:
    """A conversation that runs, and what was heard in it."""

    def __init__(self, root: Path) -> None:
        self.heard: list[LinkEvent] = []
        self.measured = Measured(ControlGroup(root), self.heard.append)
        self.task: asyncio.Task[LinkEnd] = asyncio.create_task(self.measured.run())


@asynccontextmanager
async def talking(root: Path) -> AsyncIterator[Talk]:
    talk = Talk(root)
    try:
        await asyncio.sleep(0.1)
        yield talk
    finally:
        talk.task.cancel()
        await asyncio.gather(talk.task, return_exceptions=True)


@in_virtual_time
async def test_nobody_is_asked_whether_he_listens(tmp_path: Path) -> None:
    ContainerTree(tmp_path)
    async with talking(tmp_path) as talk:
        await asyncio.sleep(30)
        assert talk.heard == [Running()]


@in_virtual_time
async def test_the_load_is_what_was_used_between_two_looks(tmp_path: Path) -> None:
    tree = ContainerTree(tmp_path)
    async with talking(tmp_path) as talk:
        with pytest.raises(LinkFailed, match="not known yet"):
            await talk.measured.metrics()
        tree.set_cpu(busy=1.0 + 2.5)
        await asyncio.sleep(5)
        assert await talk.measured.metrics() == Scraped(0.5, 0.5, 512 * MIB, 312 * MIB)


@in_virtual_time
async def test_memory_that_is_short_is_asked_for(tmp_path: Path) -> None:
    tree = ContainerTree(tmp_path)
    async with talking(tmp_path) as talk:
        tree.set_memory(current=500, limit=512)
        await asyncio.sleep(0.3)
        assert talk.heard == [Running(), UpscaleWanted(cpu=False, memory=True)]


@in_virtual_time
async def test_cpu_that_is_held_at_its_limit_is_asked_for_and_anew_once_there_is_more(
    tmp_path: Path,
) -> None:
    tree = ContainerTree(tmp_path)
    asked = UpscaleWanted(cpu=True, memory=False)
    async with talking(tmp_path) as talk:
        await _hold_at_limit(tree, range(30))
        assert talk.heard == [Running(), asked]
        await talk.measured.upscale(Size(500, 512 * MIB))
        await _hold_at_limit(tree, range(30, 60))
        assert talk.heard == [Running(), asked, asked]


async def _hold_at_limit(tree: ContainerTree, periods: range) -> None:
    for count in periods:
        tree.set_cpu(busy=1.0, periods=count, throttled=count)
        await asyncio.sleep(0.1)


@in_virtual_time
async def test_less_is_agreed_to_where_what_is_in_use_has_room(tmp_path: Path) -> None:
    ContainerTree(tmp_path)
    async with talking(tmp_path) as talk:
        enough = await talk.measured.downscale(Size(250, 256 * MIB))
        assert enough.ok
        too_little = await talk.measured.downscale(Size(250, 201 * MIB))
        assert not too_little.ok
        assert too_little.status == f"{200 * MIB} bytes of memory are in use"


@in_virtual_time
async def test_who_is_short_of_memory_gives_cpu_back_all_the_same(tmp_path: Path) -> None:
    ContainerTree(tmp_path).set_memory(current=500, limit=512)
    async with talking(tmp_path) as talk:
        assert (await talk.measured.downscale(Size(250, 512 * MIB))).ok
        assert not (await talk.measured.downscale(Size(250, 511 * MIB))).ok


@in_virtual_time
async def test_a_group_that_is_gone_ends_it(tmp_path: Path) -> None:
    ContainerTree(tmp_path)
    async with talking(tmp_path) as talk:
        (tmp_path / "sys/fs/cgroup/memory.current").unlink()
        end = await talk.task
        assert end.reason is EndReason.UNREACHABLE
        assert "memory.current cannot be read" in end.why
        with pytest.raises(LinkFailed, match="cannot be read"):
            await talk.measured.downscale(Size(250, 256 * MIB))
