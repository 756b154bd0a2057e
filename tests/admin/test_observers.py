"""Where observers connect: who is let in, and what ends a conversation."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from gateway import __version__
from gateway.standby.flow_messages import MAX_MESSAGE, PATH
from tests.agents.replica import TOKEN, Replica, sandbox, serving

from .serving import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Socket = aiohttp.ClientWebSocketResponse

HELLO = {"type": "hello", "node": "node-1", "version": __version__}


@asynccontextmanager
async def connected(url: str, token: str | None = TOKEN, **headers: str) -> AsyncIterator[Socket]:
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url + PATH, headers=headers) as socket,
    ):
        yield socket


async def say(socket: Socket, **message: Any) -> None:
    await socket.send_str(json.dumps(message))


async def heard(socket: Socket) -> Any:
    async with asyncio.timeout(10):
        return json.loads(await socket.receive_str())


async def closed(socket: Socket) -> int | None:
    """Return the code with which the gateway closes; what it says before that is passed over."""
    async with asyncio.timeout(10):
        async for _ in socket:
            pass
    return socket.close_code


async def introduced(socket: Socket) -> None:
    """Say who it is, and that all is told."""
    await say(socket, **HELLO)
    while (said := await heard(socket))["type"] != "sync":
        pass
    await say(socket, type="synced", number=said["number"])


async def test_an_observer_is_asked_for_addresses_and_its_counts_are_taken() -> None:
    replica = Replica()
    route = replica.add(sandbox())
    async with serving(replica) as url, connected(url) as socket:
        await say(socket, **HELLO)
        assert await heard(socket) == {"type": "watch", "add": ["10.2.0.2"], "drop": []}
        assert await heard(socket) == {"type": "sync", "number": 1}
        await say(socket, type="counts", counts=[["10.2.0.2", "10.1.0.2", 80, 3]])
        await say(socket, type="synced", number=1)
        await until(lambda: replica.observers.active(route).connected)
        assert replica.observers.active(route).count == 3
        assert replica.usage().count == 1


async def test_when_an_observer_leaves_nothing_of_it_is_left() -> None:
    replica = Replica()
    route = replica.add(sandbox())
    async with serving(replica) as url:
        async with connected(url) as socket:
            await introduced(socket)
            await say(socket, type="counts", counts=[["10.2.0.2", "10.1.0.2", 80, 3]])
            await until(lambda: replica.usage().count == 1)
        await until(lambda: replica.usage().count == 0)
        assert not replica.observers.active(route).connected


async def test_the_listener_ends_while_observers_are_connected() -> None:
    replica = Replica()
    route = replica.add(sandbox())
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(replica))
        listener = stack.pop_all()
        socket = await stack.enter_async_context(connected(url))
        await introduced(socket)
        await until(lambda: replica.observers.active(route).connected)
        async with asyncio.timeout(10):
            await listener.aclose()
        assert await closed(socket) is not None
        assert not replica.observers.active(route).connected


@pytest.mark.parametrize(
    ("token", "admin", "shown", "status"),
    [
        (TOKEN, "admin", TOKEN, 101),
        (TOKEN, "admin", "admin", 101),
        (TOKEN, "admin", "other", 401),
        (TOKEN, "admin", None, 401),
        (TOKEN, None, TOKEN, 101),
        (TOKEN, None, None, 101),  # from loopback, as all of the admin API then
        (None, "admin", "admin", 101),
        (None, "admin", TOKEN, 401),
    ],
)
async def test_the_observers_token_or_the_admins_lets_in(
    token: str | None, admin: str | None, shown: str | None, status: int
) -> None:
    replica = Replica(token=token, admin_token=admin)
    async with serving(replica) as url:
        if status == 101:
            async with connected(url, shown) as socket:
                await introduced(socket)
            return
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connected(url, shown):
                pass
        assert refused.value.status == status


async def test_it_is_a_part_of_the_admin_listener() -> None:
    replica = Replica(admin_token=None)
    async with AsyncExitStack() as stack:
        async with listening(replica.registry, replica.routes, token="admin") as url:
            socket = await stack.enter_async_context(connected(url))
            await introduced(socket)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            others = {"Authorization": f"Bearer {TOKEN}"}
            async with session.get(url + "/api/v1/sandboxes", headers=others) as answer:
                assert answer.status == 401, "the observers' token opens nothing else"
            async with session.get(url + PATH, headers=others) as answer:
                assert answer.status == 400, "it is no WebSocket"
        assert await closed(socket) is not None


async def test_a_page_of_elsewhere_is_not_let_in_without_a_token() -> None:
    async with serving(Replica(admin_token=None)) as url:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connected(url, None, Origin="http://evil.example"):
                pass
        assert refused.value.status == 403


async def test_a_token_that_was_replaced_lets_nobody_in() -> None:
    replica = Replica()
    replica.routes.replace_token("new")
    async with serving(replica) as url:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with connected(url):
                pass
        async with connected(url, "new") as socket:
            await introduced(socket)


@pytest.mark.parametrize(
    "first",
    [
        "",
        "{",
        '{"type": "sync", "number": 1}',
        '{"type": "synced", "number": 1}',
        '{"type": "hello", "node": "", "version": "1"}',
        '{"type": "hello", "node": "' + 300 * "x" + '", "version": "1"}',
    ],
)
async def test_who_does_not_say_who_it_is_is_left(first: str) -> None:
    async with serving(Replica()) as url, connected(url) as socket:
        await socket.send_str(first)
        assert await closed(socket) == aiohttp.WSCloseCode.POLICY_VIOLATION


@pytest.mark.parametrize(
    "improper",
    [
        "[]",
        '{"type": "counts", "counts": [["10.2.0.2", "10.1.0.2", 80]]}',
        '{"type": "counts", "counts": [["10.2.0.2", "10.1.0.2", 80, -1]]}',
        '{"type": "counts", "counts": [["10.2.0.2", "10.1.0.2", 70000, 1]]}',
        '{"type": "counts", "counts": [["10.2.0.2", "client.example", 80, 1]]}',
    ],
)
async def test_who_says_what_no_observer_does_is_left_and_not_connected(improper: str) -> None:
    replica = Replica()
    route = replica.add(sandbox())
    async with serving(replica) as url, connected(url) as socket:
        await introduced(socket)
        await until(lambda: replica.observers.active(route).connected)
        await socket.send_str(improper)
        assert await closed(socket) == aiohttp.WSCloseCode.POLICY_VIOLATION
        assert not replica.observers.active(route).connected
        assert replica.usage().count == 0


async def test_bytes_and_very_long_texts_are_refused() -> None:
    async with serving(Replica()) as url:
        async with connected(url) as socket:
            await introduced(socket)
            await socket.send_bytes(b"{}")
            assert await closed(socket) == aiohttp.WSCloseCode.POLICY_VIOLATION
        async with connected(url) as socket:
            await introduced(socket)
            await socket.send_str(" " * (MAX_MESSAGE + 1))
            assert await closed(socket) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_another_observer_of_the_same_node_ends_the_first() -> None:
    replica = Replica()
    route = replica.add(sandbox())
    async with serving(replica) as url, connected(url) as first, connected(url) as second:
        await introduced(first)
        await until(lambda: replica.observers.active(route).connected)
        await introduced(second)
        assert await closed(first) == aiohttp.WSCloseCode.TRY_AGAIN_LATER
        await until(lambda: replica.observers.active(route).connected)


async def until(check: Any) -> None:
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.01)
