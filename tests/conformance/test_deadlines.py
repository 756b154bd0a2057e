"""What is slow or silent is cut, and costs nobody else anything (line 43)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.proxy.exchange import Timeouts

from .harness import eventually, gateway
from .upstream import ECHO, Leg, always
from .wire import ok

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


MIB = 2**20


SIZE = 64 * MIB


async def test_43_a_slow_head_is_408_at_its_deadline() -> None:
    """RFC 9110 §15.5.9: however steadily it drips."""
    async with gateway(ECHO, head_timeout=0.3) as (gw, _):
        client = await gw.client()
        dripping = asyncio.create_task(drip(client.send, gw.get("/")[:60]))
        response = await client.response()
        assert (response.status, response.one("connection")) == (408, b"close")
        await client.ended()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_43_a_slow_second_head_is_408_too() -> None:
    """RFC 9110 §15.5.9: the deadline is set anew for each request."""
    async with gateway(ECHO, head_timeout=0.3) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/1") + b"GET ")
        assert (await client.response()).body == b"GET /1 "
        assert (await client.response()).status == 408
        await client.ended()


async def test_43_a_silent_connection_is_cut_and_so_is_an_idle_one() -> None:
    """RFC 9112 §9.5: one that says nothing, and one that says nothing more."""
    async with gateway(ECHO, head_timeout=0.3, keep_alive_timeout=1.5) as (gw, _):
        silent = await gw.client()
        idle = await gw.client()
        await idle.send(gw.get("/"))
        await idle.response()
        await silent.ended()
        assert silent.received == b""
        await idle.send(gw.get("/again"))
        assert (await idle.response()).body == b"GET /again "
        await idle.ended()


async def test_43_a_stalled_upload_is_408_and_the_sandbox_sees_no_end() -> None:
    """RFC 9110 §15.5.9: progress of the body is what counts, not its total time."""

    async def script(leg: Leg) -> None:
        await leg.request()
        raise AssertionError("half a body was taken for a whole one")

    timeouts = Timeouts(progress=2.5)
    async with gateway(script, timeouts=timeouts, linger_timeout=0.2) as (gw, _):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Content-Length: 100"))
        await drip(client.send, b"a" * 26, pause=0.1)
        response = await client.response()
        assert response.status == 408
        await client.ended()


async def test_43_a_sandbox_that_does_not_answer_is_504() -> None:
    """RFC 9110 §15.6.5; a client's own wish can shorten it."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.ended()

    async with gateway(script, timeouts=Timeouts(response_head=0.3)) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/"))
        response = await client.response()
        assert (response.status, response.reason) == (504, "upstream_timeout")
        await eventually(lambda: gw.pool.open_connections == 0)


async def test_43_a_reader_that_stalls_is_cut_at_its_deadline() -> None:
    """A response that is not taken off is broken off, and its sandbox is free again (own rule)."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        await leg.send(b"d" * SIZE)

    async with gateway(script, timeouts=Timeouts(progress=0.4), buffer=65536) as (gw, _):
        client = await gw.client(buffer=65536)
        await client.send(gw.get("/"))
        await eventually(lambda: gw.plane.in_flight == 1)
        await eventually(lambda: gw.plane.in_flight == gw.pool.open_connections == 0)
        assert gw.log()[0]["outcome"] == "broken"


async def test_43_a_reader_that_stalls_at_the_end_is_cut_too() -> None:
    """What was handed over for sending does not keep a connection for ever (own rule)."""
    async with gateway(always(ok(b"x" * 300_000)), keep_alive_timeout=0.4) as (gw, _):
        client = await gw.client(buffer=4096)
        await client.send(gw.get("/"))
        await eventually(lambda: gw.number("client_connections") == 1)
        await eventually(lambda: gw.number("client_connections") == 0)


async def test_43_others_are_unaffected_by_a_hundred_slow_ones() -> None:
    """Slow heads, slow bodies, slow readers, silence: each costs only itself (own rule)."""
    async with gateway(ECHO, buffer=65536) as (gw, _):
        for n in range(100):
            client = await gw.client(buffer=8192)
            beginnings = [
                gw.get("/")[:30],
                gw.head("POST", "/", "Content-Length: 100") + b"half",
                gw.post("/", b"e" * 100),
                b"",
            ]
            await client.send(beginnings[n % 4])
        for n in range(50):
            assert (await gw.ask(gw.get(f"/{n}"))).body == b"GET /%d " % n


async def drip(send: Callable[[bytes], Awaitable[None]], data: bytes, pause: float = 0.05) -> None:
    for byte in data:
        await send(bytes([byte]))
        await asyncio.sleep(pause)
