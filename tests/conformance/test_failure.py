"""What is sent again, and what a failing sandbox looks like (lines 36 to 39)."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from gateway.proxy.reach import ReachConfig
from gateway.sandbox.model import State

from .harness import Gateway, eventually, gateway
from .upstream import ECHO, Leg
from .wire import Message, ok

if TYPE_CHECKING:
    from collections.abc import Callable


async def closes_when_told(leg: Leg) -> None:
    """Answer once, and echo on every later connection."""
    if leg.number:
        await ECHO(leg)
    await leg.request()
    await leg.send(ok(b"first"))
    await asyncio.Event().wait()


async def race(gw: Gateway, legs: list[Leg], request: bytes, turns: int) -> Message:
    """Close the pooled connection so many turns of the loop after a request was sent."""
    client = await gw.client()
    await client.send(gw.get("/1"))
    assert (await client.response()).body == b"first"
    client.send_now(request)
    for _ in range(turns):
        await asyncio.sleep(0)
    legs[0].cut()
    return await client.response()


@pytest.mark.parametrize("turns", range(10))
async def test_36_a_get_on_a_connection_found_dead_is_answered(turns: int) -> None:
    """RFC 9112 §9.3.1: sent once more on a fresh connection, at whatever moment the old one died.

    On a machine under load its kernel may have taken the request before: that is a 502, so that
    this has more than one try.
    """
    for _ in range(5):
        async with gateway(closes_when_told) as (gw, upstream):
            response = await race(gw, upstream.legs, gw.get("/2"), turns)
            assert len(upstream.legs) <= 2
        if response.status == 200:
            assert response.body == b"GET /2 "
            return
    raise AssertionError(response)


@pytest.mark.parametrize("turns", range(10))
async def test_36_a_post_on_a_connection_found_dead_is_delivered_at_most_once(turns: int) -> None:
    """RFC 9110 §9.2.2: what is not idempotent is not repeated; 502 says that it may have been."""
    async with gateway(closes_when_told) as (gw, upstream):
        response = await race(gw, upstream.legs, gw.post("/2", b"once"), turns)
        assert response.status in (200, 502)
        delivered = sum(one.target == b"/2" for one in upstream.requests)
        assert delivered == (1 if response.status == 200 else 0)


async def test_36_a_connection_that_was_closed_while_idle_is_not_used() -> None:
    """RFC 9112 §9.5: its end is seen at once: even a POST goes out on a fresh one."""

    async def script(leg: Leg) -> None:
        await leg.send(ok(b"%d" % leg.number + (await leg.request()).body))

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        for n in range(3):
            await client.send(gw.post("/", b"x"))
            assert (await client.response()).body == b"%dx" % n
            await eventually(lambda: gw.pool.open_connections == 0)
        assert len(upstream.legs) == 3


@pytest.mark.parametrize("end", [Leg.close, Leg.reset])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("body", [b"", b"body"])
async def test_37_a_request_that_the_upstream_had_is_never_sent_again(
    body: bytes, method: str, end: Callable[[Leg], None]
) -> None:
    """RFC 9110 §9.2.2: not even an idempotent one, on a reused connection or a fresh one."""

    async def script(leg: Leg) -> None:
        while True:
            leg.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if (await leg.request()).target != b"/warm":
                return end(leg)
            await leg.send(ok())

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        for warm in (True, False):
            if warm:
                await client.send(gw.get("/warm"))
                await client.response()
            await client.send(gw.head(method, "/asked", f"Content-Length: {len(body)}") + body)
            response = await client.response()
            assert (response.status, response.reason) == (502, "upstream_reset")
        assert [one.target for one in upstream.requests] == [b"/warm", b"/asked", b"/asked"]
        assert len(upstream.legs) == 2


async def test_38_a_refused_dial_is_repeated_until_the_port_answers() -> None:
    """A sandbox that has just been woken may need a moment until its server listens."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, upstream):
        await upstream.close_listener()
        client = await gw.client()
        await client.send(gw.post("/", b"patient"))
        await eventually(lambda: gw.number("upstream_dial_failures_total", cause="refused") >= 3)
        await upstream.start(gw.port)
        response = await client.response()
        assert response.body == b"POST / patient"
        assert response.has("server-timing")


async def test_38_the_route_is_resolved_again_for_each_dial() -> None:
    """The sandbox may have moved meanwhile: its new address is what is dialled next."""
    async with gateway(ECHO, route={"address": "127.0.0.99"}) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.post("/", b"follow"))
        await eventually(lambda: gw.number("upstream_dial_failures_total", cause="refused") >= 1)
        gw.sandboxes.change("box", address="127.0.0.1", incarnation="uid-box/moved")
        assert (await client.response()).body == b"POST / follow"
        assert len(upstream.legs) == 1


async def test_38_at_the_dial_deadline_it_is_502() -> None:
    """Nothing listens: said so, and the connection to the client stands."""
    async with gateway(ECHO, reach=ReachConfig(dial_timeout=0.1)) as (gw, upstream):
        await upstream.close_listener()
        client = await gw.client()
        await client.send(gw.get("/1"))
        response = await client.response()
        assert (response.status, response.reason) == (502, "sandbox_unreachable")
        await upstream.start(gw.port)
        await client.send(gw.get("/2"))
        assert (await client.response()).body == b"GET /2 "


@pytest.mark.parametrize("end", [Leg.close, Leg.reset])
@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ],
)
async def test_39_an_upstream_that_dies_in_mid_body_is_an_abort_for_the_client(
    part: bytes, end: Callable[[Leg], None]
) -> None:
    """RFC 9112 §8: the client must not take half a response for a whole one."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(part)
        await relayed.wait()
        end(leg)

    async with gateway(script) as (gw, _):
        relayed = asyncio.Event()
        client = await gw.client()
        await client.send(gw.get("/"))
        await client.until(b"half")
        relayed.set()
        with pytest.raises((ConnectionResetError, EOFError)):
            await client.until(b"0\r\n\r\n")
        await eventually(lambda: gw.plane.in_flight == 0)
        assert gw.log()[0]["outcome"] == "broken"


async def test_39_a_reset_in_a_body_without_a_length_is_an_abort() -> None:
    """RFC 9112 §6.3 (8): only a clean close ends it."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await relayed.wait()
        leg.reset()

    async with gateway(script) as (gw, _):
        relayed = asyncio.Event()
        client = await gw.client()
        await client.send(gw.get("/").replace(b"HTTP/1.1", b"HTTP/1.0"))
        await client.until(b"half")
        relayed.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_39_an_upstream_that_dies_before_its_head_is_502() -> None:
    """RFC 9110 §15.6.3: the client got nothing yet: it is answered and keeps its connection."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nContent-Le")

    async with gateway(script) as (gw, _):
        client = await gw.client()
        for _ in range(2):
            await client.send(gw.get("/"))
            response = await client.response()
            assert (response.status, response.reason) == (502, "upstream_reset")
