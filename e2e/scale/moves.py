"""How soon a write to the API is seen by requests: a sandbox moves, and is asked all the time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from e2e.bench.model import rank
from e2e.scale.figures import Lag
from e2e.scale.objects import MOVING, PLACES, request
from e2e.scale.traffic import Connection
from e2e.waiting import DEADLINE

if TYPE_CHECKING:
    from e2e.scale.client import Client

#: Between two moves, and between two requests, in seconds.
_PAUSE: Final = 0.1
_ASK_EVERY: Final = 0.001


async def measure(client: Client, data_port: int, server_port: int, seconds: int) -> Lag:
    """Move the sandbox for so long; raise TimeoutError if the gateway does not follow."""
    connection = await Connection.open(data_port)
    message = request(MOVING, server_port)
    writes: list[float] = []
    lags: list[float] = []
    ends = time.monotonic() + seconds
    try:
        while time.monotonic() < ends:
            turn = len(lags)
            address = PLACES[turn % 2]
            seen = asyncio.create_task(_answered_by(connection, message, address))
            began = time.monotonic()
            pod = {"podIP": address, "podUID": f"life-{turn}"}
            await client.change_status(MOVING, {"status": pod})
            acknowledged = time.monotonic()
            writes.append(acknowledged - began)
            lags.append(max(0.0, await seen - acknowledged))
            await asyncio.sleep(_PAUSE)
    finally:
        connection.close()
    writes.sort()
    lags.sort()
    return Lag(
        moves=len(lags),
        write_p50=rank(writes, 0.5),
        write_p99=rank(writes, 0.99),
        p50=rank(lags, 0.5),
        p99=rank(lags, 0.99),
        worst=lags[-1],
    )


async def _answered_by(connection: Connection, message: bytes, address: str) -> float:
    """Ask until the server with this address answers; return when it did."""
    async with asyncio.timeout(DEADLINE):
        while await connection.ask(message) != address:
            await asyncio.sleep(_ASK_EVERY)
    return time.monotonic()
