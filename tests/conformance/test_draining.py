"""A drain loses nothing (line 48)."""

from __future__ import annotations

import asyncio

import pytest

from gateway.proxy.websocket import SERVICE_RESTART
from gateway.sandbox.model import State

from .harness import gateway
from .upstream import ECHO, Leg, always
from .wire import ok


async def test_48_draining_lets_waiting_requests_finish_and_refuses_new_connections() -> None:
    """Announced: still served, told to come again elsewhere (RFC 9112 §9.6). Drained: refused."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        gw.sandboxes.add("awake", State.RUNNING)
        waiting = await gw.wait_with(gw.get("/1"), gw.post("/2", b"two"))
        idle = await gw.client()
        await idle.send(gw.get("/3", to="awake"))
        assert not (await idle.response()).has("connection")

        gw.plane.announce_drain()
        told = await gw.ask(gw.get("/4", to="awake"))
        assert (told.status, told.one("connection")) == (200, b"close")

        drained = asyncio.create_task(gw.plane.drain(10.0))
        assert await idle.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await gw.client()
        assert not drained.done()
        gw.sandboxes.boot("box")
        answers = [await client.response() for client in waiting]
        assert [one.body for one in answers] == [b"GET /1 ", b"POST /2 two"]
        assert [one.one("connection") for one in answers] == [b"close", b"close"]
        assert await drained


async def test_48_a_drain_says_when_its_time_was_not_enough() -> None:
    """What waits for longer than a drain may take is left to `close`: that is told (own rule)."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        await gw.wait_with(gw.get())
        gw.plane.announce_drain()
        assert not await gw.plane.drain(0.05)
        assert gw.plane.in_flight == 1


@pytest.mark.parametrize("turns", range(6))
async def test_48_a_request_that_was_read_is_not_lost_by_the_drain(turns: int) -> None:
    """Whatever step a request has got to when the drain begins: once it was read, it is answered.

    One that was not may be closed without an answer (RFC 9112 §9.6), but then no sandbox saw it.
    """
    async with gateway(ECHO) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.get("/1"))
        await client.response()
        client.send_now(gw.post("/2", b"x"))
        for _ in range(turns):
            await asyncio.sleep(0)
        gw.plane.announce_drain()
        assert await gw.plane.drain(10.0)
        try:
            assert (await client.response("POST")).body == b"POST /2 x"
        except (EOFError, ConnectionResetError):
            assert turns <= 1
            assert len(upstream.requests) == 1


async def test_48_the_end_of_a_response_that_is_still_on_its_way_is_not_cut_off() -> None:
    """RFC 9112 §9.6: a request is not over when the kernel has been given its last byte."""
    body = b"x" * 3_000_000
    async with gateway(always(ok(body))) as (gw, _):
        client = await gw.client(buffer=8192)
        await client.send(gw.get())
        await client.fill()
        gw.plane.announce_drain()
        drained = asyncio.create_task(gw.plane.drain(10.0))
        response = await client.response()
        assert response.body == body
        assert await drained


async def test_48_a_head_that_is_half_there_may_be_finished() -> None:
    """What a client has begun to send when the drain begins is taken to its end (own rule)."""
    async with gateway(ECHO) as (gw, _):
        client = await gw.client()
        request = gw.get("/slow")
        await client.send(request[:40])
        await asyncio.sleep(0.05)
        drained = asyncio.create_task(gw.plane.drain(10.0))
        await asyncio.sleep(0.05)
        await client.send(request[40:])
        assert (await client.response()).body == b"GET /slow "
        assert await client.rest() == b""
        assert await drained


async def test_48_a_tunnel_that_a_wake_opens_during_the_drain_is_ended_like_the_others() -> None:
    """RFC 6455 §7.4.1: 1012 tells the client to come again; nothing else would end the tunnel."""

    async def upgrade(leg: Leg) -> None:
        await leg.request()
        await leg.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        await leg.rest()

    async with gateway(upgrade, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        fields = ("Connection: Upgrade", "Upgrade: websocket")
        (client,) = await gw.wait_with(gw.get("/ws", *fields))
        draining = asyncio.create_task(gw.plane.drain(10.0))
        await asyncio.sleep(0)
        gw.sandboxes.boot("box")
        assert (await client.head()).status == 101
        assert await client.rest() == SERVICE_RESTART
        assert await draining
