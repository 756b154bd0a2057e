"""A guest is asked over a real socket whether it may sleep."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.sandbox.standby import StandbyCheck
from gateway.standby.check import GuestCheck
from gateway.telemetry.instruments import Instruments
from gateway.tls.client import TlsClient
from gateway.tls.contexts import ClientFiles, Context
from gateway.upstream.addresses import AddressGuard
from gateway.upstream.pool import Pool
from tests.conformance.upstream import Upstream
from tests.standby.world import sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conformance.upstream import Leg

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def checking(pool: Pool, timeout: float = 5.0) -> GuestCheck:
    return GuestCheck(pool, timeout)


@asynccontextmanager
async def guest(
    answer: bytes | None, *, stays: bool = False
) -> AsyncIterator[tuple[StandbyCheck, list[bytes]]]:
    """Run a guest that answers this (None: never), and give what it was asked.

    `stays`: it leaves the connection open.
    """
    asked: list[bytes] = []

    async def serve(leg: Leg) -> None:
        asked.append(await leg.until(b"\r\n\r\n"))
        if answer is not None:
            await leg.send(answer)
        if answer is None or stays:
            await leg.ended()

    listening = Upstream(serve)
    await listening.start()
    try:
        yield StandbyCheck(listening.port, "/may-sleep?now=1"), asked
    finally:
        await listening.stop()


@pytest.fixture
def pool() -> Pool:
    return Pool(
        AddressGuard(allow=(LOOPBACK,)),
        Instruments(),
        tls=TlsClient(Context(ClientFiles())),
        connect_timeout=5.0,
        dead_after=60.0,
        idle_timeout=60.0,
        max_idle_per_sandbox=1,
        max_idle=1,
    )


@pytest.mark.parametrize(
    ("answer", "agrees"),
    [
        (NO_CONTENT, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nand so on", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + NO_CONTENT, True),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", False),
        (b"", False),
        (b"SSH-2.0-OpenSSH_9.6\r\n", False),
        (b"HTTP/1.1 20", False),
    ],
)
async def test_only_an_answer_of_2xx_is_a_yes(pool: Pool, answer: bytes, agrees: bool) -> None:
    async with guest(answer) as (check, asked):
        route = sandbox(address="127.0.0.1")
        assert await checking(pool).may_sleep(route, check) is agrees
        (head,) = asked
        lines = head.split(b"\r\n")
        assert lines[0] == b"GET /may-sleep?now=1 HTTP/1.1"
        assert f"Host: 127.0.0.1:{check.port}".encode() in lines


async def test_no_answer_in_time_is_a_no(pool: Pool) -> None:
    async with guest(None) as (check, asked):
        route = sandbox(address="127.0.0.1")
        assert not await checking(pool, timeout=1.0).may_sleep(route, check)
        assert len(asked) == 1


async def test_a_port_that_nobody_serves_is_a_no(pool: Pool) -> None:
    async with guest(NO_CONTENT) as (check, _):
        pass
    assert not await checking(pool).may_sleep(sandbox(address="127.0.0.1"), check)


async def test_an_address_that_may_not_be_dialled_is_not_asked(pool: Pool) -> None:
    async with guest(NO_CONTENT) as (check, asked):
        assert not await checking(pool).may_sleep(sandbox(address="169.254.169.254"), check)
        assert asked == []


async def test_no_connection_is_left(pool: Pool) -> None:
    async with guest(NO_CONTENT, stays=True) as (check, _):
        assert await checking(pool).may_sleep(sandbox(address="127.0.0.1"), check)
        async with asyncio.timeout(5):
            while pool.open_connections:
                await asyncio.sleep(0.001)
