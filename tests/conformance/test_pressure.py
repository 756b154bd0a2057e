"""Readers that stall (line 42): what is taken from the other side is bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.sandbox.model import State

from .harness import Gateway, eventually, gateway
from .upstream import ECHO, Leg
from .wire import Wire, chunked, ok

if TYPE_CHECKING:
    from collections.abc import Callable


MIB = 2**20


async def uploading(gw: Gateway) -> bytes:
    return gw.head("POST", "/", "Content-Length: 1000000") + b"half"


SIZE = 64 * MIB


#: What may lie in buffers on the way: ours, and the kernel's on both sides.
ON_THE_WAY = 16 * MIB


async def test_42_a_client_that_does_not_read_stalls_the_sandbox() -> None:
    """What is taken from the sandbox stays bounded; then all of it arrives."""
    sent = 0

    async def script(leg: Leg) -> None:
        nonlocal sent
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // MIB):
            await leg.send(b"d" * MIB)
            sent += MIB

    async with gateway(script, buffer=65536) as (gw, _):
        client = await gw.client(buffer=65536)
        await client.send(gw.get("/"))
        await client.head()
        await settled(lambda: sent)
        assert sent < ON_THE_WAY
        assert len(await client.exactly(SIZE)) == SIZE


async def test_42_a_sandbox_that_does_not_read_stalls_the_client() -> None:
    """The same the other way round."""
    go_on = asyncio.Event()

    async def script(leg: Leg) -> None:
        await leg.head()
        await go_on.wait()
        await leg.exactly(SIZE)
        await leg.send(ok(b"done"))

    sent = 0
    async with gateway(script, buffer=65536) as (gw, _):
        client = await gw.client(buffer=65536)

        async def upload() -> None:
            nonlocal sent
            await client.send(gw.head("POST", "/", f"Content-Length: {SIZE}"))
            for _ in range(SIZE // MIB):
                await client.send(b"u" * MIB)
                sent += MIB

        uploading = asyncio.create_task(upload())
        await settled(lambda: sent)
        assert sent < ON_THE_WAY
        go_on.set()
        await uploading
        assert (await client.response()).body == b"done"


async def test_42_a_body_that_waits_for_its_sandbox_is_left_in_the_network() -> None:
    """While it waits, about 64 KiB of it are kept, and the client is stalled."""
    sent = 0
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        client = await gw.client(buffer=65536)

        async def upload() -> None:
            nonlocal sent
            await client.send(gw.head("POST", "/", f"Content-Length: {16 * MIB}"))
            for _ in range(16):
                await client.send(b"u" * MIB)
                sent += MIB

        uploading = asyncio.create_task(upload())
        await eventually(lambda: gw.waiting == 1)
        await settled(lambda: sent)
        assert sent < ON_THE_WAY
        gw.sandboxes.boot("box")
        response = await client.response()
        await uploading
        assert len(response.body) == len(b"POST / ") + 16 * MIB


@pytest.mark.parametrize("downwards", [True, False])
async def test_42_a_tunnel_has_pressure_too(downwards: bool) -> None:
    """Bytes after a 101 are bounded both ways as bodies are."""
    sent = 0
    go_on = asyncio.Event()

    async def pour(end: Wire) -> None:
        nonlocal sent
        for _ in range(SIZE // MIB):
            await end.send(b"d" * MIB)
            sent += MIB

    async def drain(end: Wire) -> None:
        await go_on.wait()
        await end.exactly(SIZE)

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
        )
        await (pour if downwards else drain)(leg)
        await leg.send(b"end")
        await leg.ended()

    async with gateway(script, buffer=65536) as (gw, _):
        client = await gw.client(buffer=65536)
        await client.send(gw.get("/", "Connection: Upgrade", "Upgrade: raw"))
        assert (await client.response()).status == 101
        mine = asyncio.create_task((drain if downwards else pour)(client))
        await settled(lambda: sent)
        assert sent < ON_THE_WAY
        go_on.set()
        await mine
        assert await client.until(b"end") == b"end"


async def test_42_large_bodies_are_whole_both_ways() -> None:
    """64 MiB up, the same down, chunked and with a length."""
    body = bytes(range(256)) * (SIZE // 1024)

    async def script(leg: Leg) -> None:
        while True:
            request = await leg.request()
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            await leg.send(head + chunked(request.body[:MIB], request.body[MIB:]))

    async with gateway(script) as (gw, _):
        client = await gw.client()
        head = gw.head("POST", "/", "Transfer-Encoding: chunked")
        for request in (gw.post("/", body), head + chunked(body[: 3 * MIB], body[3 * MIB :])):
            sending = asyncio.create_task(client.send(request))
            assert (await client.response()).body == body
            await sending


async def settled(read: Callable[[], int]) -> None:
    """Wait until a number has not moved for a while."""
    last, since = -1, 0.0
    loop = asyncio.get_running_loop()
    while last != read() or loop.time() - since < 0.3:
        if last != read():
            last, since = read(), loop.time()
        await asyncio.sleep(0.01)
