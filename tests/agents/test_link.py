"""An observer's conversation with one replica, over a real WebSocket."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import asynccontextmanager
from socket import SO_SNDBUF, SOL_SOCKET
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from gateway.agents.observe.flows import FlowTable
from gateway.agents.observe.link import Left, Link
from gateway.agents.observe.netlink import Flow
from gateway.standby.flow_messages import PATH, Counts, Hello, Synced, read_observer

from .replica import TOKEN, Replica, sandbox, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Script = Callable[[web.WebSocketResponse], Awaitable[None]]

HELLO = Hello("node-1", "1.2.3")
POD, OTHER = "10.2.0.2", "10.2.0.3"


def flow(number: int, to: str = POD, is_open: bool = True) -> Flow:
    source = ipaddress.ip_address(0x0A010000 + number).packed
    return Flow(b"%d" % number, source, ((ipaddress.ip_address(to).packed, 80),), is_open)


@asynccontextmanager
async def linked(url: str, link: Link, send_buffer: int = 0) -> AsyncIterator[asyncio.Task[None]]:
    """Let a link converse with a replica; `send_buffer`: bytes that its socket takes ahead."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url + PATH, headers=headers) as socket,
    ):
        if send_buffer:
            bare = socket.get_extra_info("socket")
            bare.setsockopt(SOL_SOCKET, SO_SNDBUF, send_buffer)
        task = asyncio.create_task(link.converse(socket))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """Serve one that says what a replica never would."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await script(socket)
        return socket

    application = web.Application()
    application.router.add_get(PATH, handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def left(task: asyncio.Task[None]) -> str:
    """Return why a link was left."""
    async with asyncio.timeout(10):
        with pytest.raises(Left) as why:
            await asyncio.shield(task)
    return str(why.value)


async def test_a_replica_hears_of_its_sandboxes_from_the_first_and_whenever_they_change() -> None:
    replica, table = Replica(), FlowTable()
    route = replica.add(sandbox(POD))
    table.apply(flow(1))
    link = Link(HELLO, table, lambda: None)
    async with serving(replica) as url, linked(url, link):
        await replica.become(route, 1)
        table.apply(flow(2))
        await replica.become(route, 2)
        table.apply(flow(1, is_open=False))
        table.apply(flow(2, is_open=False))
        await replica.become(route, 0)


async def test_a_sandbox_that_comes_later_is_told_as_a_whole() -> None:
    replica, table = Replica(), FlowTable()
    first = replica.add(sandbox(POD))
    table.apply(flow(1, OTHER))
    table.apply(flow(2, OTHER))
    async with serving(replica) as url, linked(url, Link(HELLO, table, lambda: None)):
        await replica.become(first, 0)
        await replica.become(replica.add(sandbox(OTHER, "u2")), 2)


async def test_what_the_kernel_told_before_a_question_is_told_before_its_answer() -> None:
    replica, table = Replica(), FlowTable()
    route = replica.add(sandbox(POD))
    news: list[Flow] = []

    def catch_up() -> None:
        while news:
            table.apply(news.pop())

    async with serving(replica) as url, linked(url, Link(HELLO, table, catch_up)):
        await replica.become(route, 0)
        news.extend(flow(number) for number in range(1, 1201))
        assert (await replica.flows(route)).count == 1200


async def test_a_connection_that_began_and_ended_before_it_was_told_is_told_of() -> None:
    replica, table = Replica(), FlowTable()
    route = replica.add(sandbox(POD))
    async with serving(replica) as url, linked(url, Link(HELLO, table, lambda: None)):
        await replica.become(route, 0)
        assert replica.observers.active(route).last_seen is None
        table.apply(flow(1))
        table.apply(flow(1, is_open=False))
        assert (await replica.flows(route)).last_seen is not None


async def test_addresses_that_nobody_asked_for_are_not_told() -> None:
    heard: list[str] = []

    async def script(socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"type": "watch", "add": ["10.2.0.2", "10.2.0.3"], "drop": []}')
        await socket.send_str('{"type": "watch", "add": [], "drop": ["10.2.0.3"]}')
        await socket.send_str('{"type": "sync", "number": 1}')
        async for message in socket:
            heard.append(message.data)

    table = FlowTable()
    for number, address in enumerate((POD, OTHER, "10.2.0.4"), 1):
        table.apply(flow(number, address))
    async with scripted(script) as url, linked(url, Link(HELLO, table, lambda: None)):
        async with asyncio.timeout(10):
            while not any("synced" in one for one in heard):
                await asyncio.sleep(0.01)
        table.apply(flow(9, OTHER))
        table.apply(flow(10))
        async with asyncio.timeout(10):
            while "10.1.0.10" not in heard[-1]:
                await asyncio.sleep(0.01)
    first, *rest = (read_observer(one) for one in heard)
    assert first == HELLO
    told = {one.address for said in rest if isinstance(said, Counts) for one in said.counts}
    assert told == {POD}
    assert any(isinstance(said, Synced) for said in rest)


async def test_a_replica_that_takes_nothing_is_left_before_memory_is_full() -> None:
    async def script(socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"type": "watch", "add": ["10.2.0.2"], "drop": []}')
        await asyncio.Event().wait()

    table = FlowTable()
    link = Link(HELLO, table, lambda: None, max_pending=1000)
    async with scripted(script) as url, linked(url, link, send_buffer=4096) as task:
        for number in range(1, 2_000_000):
            table.apply(flow(number))
            table.apply(flow(number, is_open=False))
            if number % 100 == 0:
                await asyncio.sleep(0)
            if task.done():
                break
        assert await left(task) == "the gateway takes less than there is to tell"


@pytest.mark.parametrize(
    "said",
    ["{", '{"type": "hello"}', '{"type": "watch", "add": ["pod.example"], "drop": []}'],
)
async def test_what_no_replica_says_ends_the_conversation(said: str) -> None:
    async def script(socket: web.WebSocketResponse) -> None:
        await socket.send_str(said)
        await socket.receive()

    table = FlowTable()
    async with scripted(script) as url, linked(url, Link(HELLO, table, lambda: None)) as one:
        assert "gateway" in await left(one)


async def test_a_replica_that_closes_is_left() -> None:
    async def script(socket: web.WebSocketResponse) -> None:
        await socket.close()

    table = FlowTable()
    async with scripted(script) as url, linked(url, Link(HELLO, table, lambda: None)) as one:
        await left(one)


async def test_what_the_tables_source_loses_ends_the_conversation_as_it_is() -> None:
    class Broken(Exception):
        pass

    def catch_up() -> None:
        raise Broken

    async def script(socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"type": "sync", "number": 1}')
        await socket.receive()
        await socket.receive()

    table = FlowTable()
    async with scripted(script) as url, linked(url, Link(HELLO, table, catch_up)) as task:
        with pytest.raises(Broken):
            async with asyncio.timeout(10):
                await asyncio.shield(task)
