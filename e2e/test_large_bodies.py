"""A gibibyte each way, and what it leaves in the gateway's memory."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import pytest

from .apis import Api
from .gateways import start_serve
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from .programs import Program, Programs

MIB: Final = 2**20
GIB: Final = 2**30
#: After this much everything has been allocated that a transfer needs.
WARM: Final = 64 * MIB
#: Pauses of the slow side: so many, and so long in seconds.
PAUSES: Final = 20
PAUSE: Final = 0.05

#: What a connection's memory may grow by.
GROWTH: Final = MIB
#: How often the memory is looked at, in seconds.
PERIOD: Final = 0.02


@pytest.fixture
async def world(programs: Programs, home: Path) -> AsyncIterator[World]:
    api = Api.not_yet_running(programs, home)
    api.start()
    gateway = start_serve(programs, home, api.kubeconfig)
    gateway.wait_ready()
    async with World.over(gateway) as made:
        yield made


async def connect(
    world: World, line: str, *fields: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect and send a request's head."""
    port = world.gateway.data_port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MIB)
    named = [f"{name}: {value}" for name, value in world.naming("box").items()]
    writer.write("\r\n".join([line, "Host: sandbox", *named, *fields, "", ""]).encode())
    return reader, writer


async def download(world: World, size: int) -> None:
    """Read so much, now and then slowly."""
    reader, writer = await connect(world, f"GET /large/{size} HTTP/1.1")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    got = rested = 0
    while got < size:
        piece = await reader.read(MIB)
        assert piece, "cut off"
        got += len(piece)
        if got * PAUSES // size > rested:
            rested += 1
            await asyncio.sleep(PAUSE)
    assert got == size
    writer.close()


async def upload(world: World, size: int) -> None:
    """Send so much; the sandbox counts it."""
    fields = (f"Content-Length: {size}", "Connection: close")
    reader, writer = await connect(world, "POST /count HTTP/1.1", *fields)
    piece = bytes(MIB)
    for _ in range(size // MIB):
        writer.write(piece)
        await writer.drain()
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert (head.split()[1], body) == (b"200", str(size).encode())
    writer.close()


class Height:
    """The most memory that a program had while this was watched."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.bytes = program.resident_bytes

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            self._look()

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(PERIOD)

    def _look(self) -> None:
        self.bytes = max(self.bytes, self._program.resident_bytes)


async def test_a_gibibyte_each_way_at_once_costs_less_than_a_mebibyte_a_connection(
    world: World,
) -> None:
    """Neither a slow reader nor a fast writer makes the gateway keep what it cannot pass on."""
    await world.create("box")
    warm = Height(world.gateway.program)
    with warm.watched():
        await asyncio.gather(download(world, WARM), upload(world, WARM))
    height = Height(world.gateway.program)
    with height.watched():
        await asyncio.gather(download(world, GIB), upload(world, GIB))
    assert height.bytes - warm.bytes < 2 * GROWTH
