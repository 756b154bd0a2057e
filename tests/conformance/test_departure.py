"""Clients that leave (lines 40 and 41)."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING

import pytest

from gateway.proxy.reach import ReachConfig
from gateway.sandbox.model import State

from .harness import Gateway, eventually, gateway
from .upstream import ECHO, Leg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


MIB = 2**20


@pytest.mark.parametrize("leave", ["close", "reset", "half_close"])
@pytest.mark.parametrize("body", [b"", b"body", b"b" * 60_000, b"b" * 110_000])
async def test_40_a_client_that_leaves_while_it_waits_frees_its_place(
    leave: str, body: bytes
) -> None:
    """Within a second, logged as 499; a half-close counts as leaving. The episode goes on.

    The largest body is over what is kept: its connection is not read while it waits.
    """
    async with gateway(ECHO, state=State.PAUSED) as (gw, upstream):
        gw.sandboxes.boots = False
        client = await gw.client()
        await client.send(gw.post("/", body))
        await eventually(lambda: gw.waiting == 1)
        getattr(client, leave)()
        await eventually(lambda: gw.waiting == gw.plane.in_flight == 0, within=1.0)
        (line,) = gw.log()
        assert (line["status"], line["outcome"]) == (499, "gone")
        gw.sandboxes.boot("box")
        assert upstream.legs == []


async def test_40_an_end_that_cannot_be_seen_frees_its_place_at_the_next_deadline() -> None:
    """A FIN behind a full receive window is not to be seen; what waits is bounded all the same."""
    reach = ReachConfig(wait_timeout=2.0)
    async with gateway(ECHO, state=State.PAUSED, reach=reach, linger_timeout=0.2) as (gw, _):
        gw.sandboxes.boots = False
        client = await gw.client(buffer=65536)
        sending = asyncio.create_task(client.send(gw.post("/", bytes(SIZE))))
        await eventually(lambda: gw.waiting == 1)
        writable = select.poll()
        writable.register(client.sock, select.POLLOUT)
        await eventually(lambda: not writable.poll(0))
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        client.close()
        await eventually(lambda: gw.waiting == gw.plane.in_flight == 0)


async def test_40_a_client_that_leaves_while_its_port_is_dialled_is_gone() -> None:
    """The same in the moment between a wake and a server that listens."""
    async with gateway(ECHO) as (gw, upstream):
        await upstream.close_listener()
        client = await gw.client()
        await client.send(gw.get("/"))
        await eventually(lambda: gw.number("upstream_dial_failures_total", cause="refused") >= 1)
        client.close()
        await eventually(lambda: gw.plane.in_flight == 0, within=1.0)
        assert gw.log()[0]["status"] == 499


async def uploading(gw: Gateway) -> bytes:
    return gw.head("POST", "/", "Content-Length: 1000000") + b"half"


async def asking(gw: Gateway) -> bytes:
    return gw.get("/")


@pytest.mark.parametrize("leave", ["close", "reset", "half_close"])
@pytest.mark.parametrize("begin", [uploading, asking])
async def test_41_a_client_that_leaves_in_mid_transfer_ends_it_upstream(
    leave: str, begin: Callable[[Gateway], Awaitable[bytes]]
) -> None:
    """Within a second the sandbox sees the end of the connection, and all gauges are at zero."""
    gone = asyncio.Event()

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhalf")
        await leg.ended()
        gone.set()

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(await begin(gw))
        await client.until(b"half")
        getattr(client, leave)()
        await eventually(gone.is_set, within=1.0)
        await eventually(lambda: gw.plane.in_flight == gw.pool.open_connections == 0, within=1.0)
        assert gw.number("requests_in_flight") == 0
        assert gw.log()[0]["outcome"] == "gone"


async def test_41_a_client_that_leaves_with_the_upstream_stalled_is_seen() -> None:
    """The client's own side is read for as long as there is room for what it sends."""

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.ended()

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.post("/", b"all of it"))
        await eventually(lambda: gw.pool.open_connections == 1)
        client.close()
        await eventually(lambda: gw.plane.in_flight == gw.pool.open_connections == 0, within=1.0)


async def test_41_a_client_that_resets_in_an_upload_that_is_stalled_is_seen() -> None:
    """Its connection is not read, since the sandbox does not: a reset is noticed all the same."""

    async def script(leg: Leg) -> None:
        await leg.head()
        await asyncio.Event().wait()

    async with gateway(script, buffer=65536) as (gw, _):
        client = await gw.client()
        await client.send(gw.head("POST", "/", f"Content-Length: {SIZE}"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.send(b"u" * SIZE)
        client.reset()
        await eventually(lambda: gw.plane.in_flight == gw.pool.open_connections == 0, within=1.0)


SIZE = 64 * MIB
