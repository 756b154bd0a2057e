"""Upgrades and what follows a 101 (lines 32 to 34)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.proxy.exchange import Timeouts
from gateway.sandbox.model import State

from .harness import Gateway, eventually, gateway
from .upstream import ECHO, Leg, always
from .wire import Client, ok

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@asynccontextmanager
async def websocket_server(
    handler: Callable[[ServerConnection], Awaitable[None]],
) -> AsyncIterator[int]:
    async with serve(handler, "127.0.0.1", 0, max_size=None) as server:
        yield next(iter(server.sockets)).getsockname()[1]


def url(gw: Gateway) -> str:
    return f"ws://127.0.0.1:{gw.address[1]}/kruise/box/{gw.port}/socket?x=1"


async def test_32_a_websocket_through_the_gateway_is_a_websocket() -> None:
    """RFC 6455: text, binary, large messages, pings and the close code, on a woken sandbox."""
    seen: list[str] = []

    async def echo(socket: ServerConnection) -> None:
        assert socket.request is not None
        seen.append(socket.request.path)
        async for message in socket:
            await socket.send(message)
            if message == "bye":
                await socket.close(4321, "as you say")
                return

    async with websocket_server(echo) as port, gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.port = port
        async with connect(url(gw), proxy=None, compression=None, max_size=None) as socket:
            large = bytes(range(256)) * 8192
            for message in ("text \u00fc", b"\x00\xff", large, ""):
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping())
            await socket.send("bye")
            assert await socket.recv() == "bye"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "as you say")
        assert seen == ["/socket?x=1"]
        await eventually(lambda: gw.plane.in_flight == 0)
        (line,) = gw.log()
        assert line["status"] == 101


async def test_32_the_clients_close_reaches_the_sandbox_with_its_code() -> None:
    """RFC 6455 §7.1.5."""
    codes: list[int | None] = []

    async def wait(socket: ServerConnection) -> None:
        await socket.wait_closed()
        codes.append(socket.close_code)

    async with websocket_server(wait) as port, gateway(ECHO) as (gw, _):
        gw.port = port
        async with connect(url(gw), proxy=None) as socket:
            await socket.close(4001, "enough")
        await eventually(lambda: codes == [4001])


async def test_32_no_101_before_the_upstreams_and_early_bytes_are_kept() -> None:
    """RFC 9110 §7.8: both sides may send with their last byte of HTTP."""
    go_on = asyncio.Event()

    async def script(leg: Leg) -> None:
        head = await leg.head()
        assert head.one("upgrade") == b"websocket"
        assert head.one("connection") == b"Upgrade"
        await go_on.wait()
        await leg.send(SWITCHING + b"early from sandbox")
        assert await leg.exactly(17) == b"early from client"
        await leg.send(b"!")
        await leg.ended()

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/", *UPGRADE) + b"early from client")
        await client.assert_silent()
        go_on.set()
        switched = await client.response()
        assert switched.status == 101
        assert switched.one("upgrade") == b"websocket"
        assert await client.exactly(19) == b"early from sandbox!"


async def test_32_any_other_protocol_is_tunnelled_the_same() -> None:
    """RFC 9110 §7.8: the token is the sandbox's business."""

    async def script(leg: Leg) -> None:
        assert (await leg.head()).one("upgrade") == b"raw/1"
        await leg.send(SWITCHING.replace(b"websocket", b"raw/1"))
        while await leg.fill():
            await leg.send(await leg.exactly(1))

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/", "Connection: upgrade", "Upgrade: raw/1"))
        assert (await client.response()).one("upgrade") == b"raw/1"
        for byte in (b"a", b"\n", b"\x00"):
            await client.send(byte)
            assert await client.exactly(1) == byte


async def test_32_a_refused_upgrade_is_relayed_and_the_connection_goes_on() -> None:
    """RFC 9110 §7.8: a server may ignore it; what was sent early is then the next request."""

    async def script(leg: Leg) -> None:
        while True:
            target = (await leg.request()).target
            await leg.send(ok(b"no") if target == b"/1" else ok(target))

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/1", *UPGRADE) + gw.get("/2"))
        assert (await client.response()).body == b"no"
        assert (await client.response()).body == b"/2"
        await client.send(gw.get("/3"))
        assert (await client.response()).body == b"/3"


async def test_32_a_websocket_library_sees_a_refusal_as_such() -> None:
    """RFC 6455 §4.1: the status and the body are the sandbox's."""
    async with gateway(always(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")) as (gw, _):
        with pytest.raises(InvalidStatus) as refusal:
            async with connect(url(gw), proxy=None):
                pass
        assert refusal.value.response.status_code == 403
        assert refusal.value.response.body == b"no"


async def test_32_an_upgrade_with_a_body_is_400() -> None:
    """Parsers differ on where such a body ends: it is not guessed at (own rule)."""
    async with gateway(ECHO) as (gw, upstream):
        request = gw.head("POST", "/", *UPGRADE, "Content-Length: 5") + b"hello"
        assert (await gw.ask(request)).status == 400
        assert upstream.received == b""


async def test_33_upgrade_to_h2c_is_removed() -> None:
    """RFC 9113 §3.1 has taken it away; passed on it would tunnel past every rule."""
    fields = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    async with gateway(ECHO) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.get("/1", *fields) + gw.get("/2"))
        assert (await client.response()).body == b"GET /1 "
        assert (await client.response()).body == b"GET /2 "
        (first, _) = upstream.requests
        for name in ("upgrade", "connection", "http2-settings"):
            assert not first.has(name)


@pytest.mark.parametrize("fields", [b"", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"])
async def test_33_an_unsolicited_101_is_502(fields: bytes) -> None:
    """RFC 9110 §15.2.2: a switch that nobody asked for."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\nhello" % fields)
        await leg.ended()

    async with gateway(script) as (gw, _):
        response = await gw.ask(gw.get("/"))
        assert response.status == 502
        assert response.reason == "upstream_protocol_error"
        await eventually(lambda: gw.pool.open_connections == 0)


async def tunnel_echo(leg: Leg) -> None:
    await leg.head()
    await leg.send(SWITCHING)
    while await leg.fill():
        await leg.send(await leg.exactly(1))


async def open_tunnel(gw: Gateway) -> Client:
    client = await gw.client()
    await client.send(gw.get("/", *UPGRADE))
    assert (await client.response()).status == 101
    return client


async def test_34_a_tunnel_outlives_the_timeouts_of_requests() -> None:
    """Only silence ends it: its own idle limit (own rule)."""
    timeouts = Timeouts(progress=0.5, response_head=0.5, tunnel_idle=30.0)
    async with gateway(
        tunnel_echo, timeouts=timeouts, head_timeout=0.5, keep_alive_timeout=0.5
    ) as (gw, _):
        client = await open_tunnel(gw)
        await client.assert_silent(0.8)
        await client.send(b"x")
        assert await client.exactly(1) == b"x"


async def test_34_a_silent_tunnel_ends_on_its_idle_limit() -> None:
    """Both sides are closed, and the request is over (own rule)."""
    async with gateway(tunnel_echo, timeouts=Timeouts(tunnel_idle=0.2)) as (gw, _):
        client = await open_tunnel(gw)
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        assert await client.rest() == b""
        await eventually(lambda: gw.pool.open_connections == gw.plane.in_flight == 0)


async def test_34_a_drain_closes_websockets_with_1012() -> None:
    """RFC 6455 §7.4 (IANA: 1012, Service Restart): clients come again, elsewhere."""

    async def echo(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in socket:
                await socket.send(message)

    async with websocket_server(echo) as port, gateway(ECHO) as (gw, _):
        gw.port = port
        async with connect(url(gw), proxy=None) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
            gw.plane.announce_drain()
            drained = asyncio.create_task(gw.plane.drain(10.0))
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert await drained


async def test_34_in_the_middle_of_a_frame_a_drain_just_closes() -> None:
    """RFC 6455 §5.1: a close frame inside another frame would be taken for its content."""

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.send(SWITCHING + b"\x82\x7e\x10\x00half")
        await leg.ended()

    async with gateway(script) as (gw, _):
        client = await open_tunnel(gw)
        assert await client.exactly(8) == b"\x82\x7e\x10\x00half"
        gw.plane.announce_drain()
        assert await gw.plane.drain(10.0)
        assert await client.rest() == b""


async def test_34_a_tunnel_ends_with_either_side() -> None:
    """The other side learns of it at once (own rule)."""
    for leaving in ("client", "sandbox"):
        async with gateway(tunnel_echo) as (gw, upstream):
            client = await open_tunnel(gw)
            if leaving == "client":
                client.close()
                await upstream.legs[0].ended()
            else:
                upstream.legs[0].half_close()
                assert await client.rest() == b""
            await eventually(lambda: gw.plane.in_flight == 0)
