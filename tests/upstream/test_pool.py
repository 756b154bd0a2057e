"""Who gets which connection: kept by incarnation and port, given back once, never leaked."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from gateway.sandbox.errors import SandboxUnreachable
from gateway.sandbox.model import Key, Route, State
from gateway.telemetry.instruments import Instruments
from gateway.tls.client import TlsClient
from gateway.tls.contexts import ClientFiles, Context
from gateway.upstream.addresses import AddressGuard
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.pool import WINDOW, DialRefused, Pool

from .doubles import RecordingSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

LOOPBACK = AddressGuard(allow=(ipaddress.ip_network("127.0.0.0/8"),))
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
ROUTE = Route(
    key=Key("native", "team", "box"),
    uid="uid-1",
    id="team--box",
    version=1,
    state=State.RUNNING,
    incarnation="uid-1/pod-1",
    address="127.0.0.1",
)
OTHER = replace(ROUTE, incarnation="uid-2/pod-2", uid="uid-2")


@dataclass
class Sandbox:
    """A server that answers every request, and the connections it has accepted."""

    port: int
    writers: list[asyncio.StreamWriter]

    def close_all(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@asynccontextmanager
async def sandbox() -> AsyncIterator[Sandbox]:
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await reader.read(1000):
            writer.write(RESPONSE)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Sandbox(server.sockets[0].getsockname()[1], writers)
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def make_pool(
    *,
    guard: AddressGuard = LOOPBACK,
    connect_timeout: float = 5.0,
    max_idle: int = 8,
    max_idle_of_all: int = 100,
) -> Pool:
    return Pool(
        guard,
        Instruments(),
        tls=TlsClient(Context(ClientFiles())),
        connect_timeout=connect_timeout,
        idle_timeout=60.0,
        max_idle_per_sandbox=max_idle,
        max_idle=max_idle_of_all,
        dead_after=30.0,
    )


@asynccontextmanager
async def closing(pool: Pool) -> AsyncIterator[Pool]:
    """Close the pool at the end, and wait until nothing is left of it."""
    try:
        yield pool
    finally:
        pool.close()
        await until(lambda: pool.open_connections == 0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


async def serve_one(connection: UpstreamConnection) -> None:
    """Have one request answered."""
    sink = RecordingSink()
    connection.begin(sink, to_head=False)
    connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: sink.ends == 1)
    connection.release()


def counted(pool: Pool, instruments_name: str) -> dict[tuple[str, ...], int]:
    counts: dict[tuple[str, ...], int] = getattr(pool, instruments_name).counts
    return counts


async def test_a_connection_serves_again_and_the_last_used_comes_first() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        assert pool.take(ROUTE, box.port) is None
        first, second = await pool.connect(ROUTE, box.port), await pool.connect(ROUTE, box.port)
        for connection in (first, second):
            await serve_one(connection)
            pool.give_back(connection, 0.0)
        assert pool.open_connections == 2
        assert pool.take(ROUTE, box.port) is second
        assert pool.take(ROUTE, box.port) is first
        assert pool.take(ROUTE, box.port) is None
        assert len(box.writers) == 2


async def test_a_connection_serves_only_its_incarnation_and_its_port() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        connection = await pool.connect(ROUTE, box.port)
        pool.give_back(connection, 0.0)
        assert pool.take(OTHER, box.port) is None
        assert pool.take(ROUTE, box.port + 1) is None
        assert pool.take(ROUTE, box.port) is connection


async def test_one_port_is_found_behind_another() -> None:
    async with sandbox() as one, sandbox() as two, closing(make_pool()) as pool:
        older, newer = await pool.connect(ROUTE, one.port), await pool.connect(ROUTE, two.port)
        pool.give_back(older, 0.0)
        pool.give_back(newer, 0.0)
        assert pool.take(ROUTE, one.port) is older
        assert pool.take(ROUTE, two.port) is newer


async def test_what_cannot_serve_again_is_closed_when_given_back() -> None:
    async with sandbox() as box, closing(make_pool(max_idle=1)) as pool:
        outdated = await pool.connect(ROUTE, box.port)
        pool.retire(ROUTE.incarnation)
        spoilt, kept, surplus = [await pool.connect(ROUTE, box.port) for _ in range(3)]
        spoilt.spoil()
        pool.give_back(spoilt, 0.0)
        pool.give_back(outdated, 0.0)
        pool.give_back(kept, 0.0)
        pool.give_back(surplus, 0.0)
        await until(lambda: pool.open_connections == 1)
        assert pool.take(ROUTE, box.port) is kept


async def test_a_connection_in_mid_exchange_is_closed_when_given_back() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        connection = await pool.connect(ROUTE, box.port)
        connection.begin(RecordingSink(), to_head=False)
        connection.release()
        pool.give_back(connection, 0.0)
        await until(lambda: pool.open_connections == 0)


async def test_a_connection_that_the_sandbox_closes_is_forgotten() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        first, second = await pool.connect(ROUTE, box.port), await pool.connect(ROUTE, box.port)
        await until(lambda: len(box.writers) == 2)
        for connection in (first, second):
            await serve_one(connection)
            pool.give_back(connection, 0.0)
        box.writers[0].close()
        await until(lambda: pool.open_connections == 1)
        assert pool.take(ROUTE, box.port) is second
        pool.give_back(second, 0.0)
        box.writers[1].close()
        await until(lambda: pool.open_connections == 0)
        assert pool.take(ROUTE, box.port) is None


@pytest.mark.parametrize("how", ["eof_received", "abort", "close"])
async def test_a_connection_that_is_on_its_way_out_is_not_handed_out(how: str) -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        connection = await pool.connect(ROUTE, box.port)
        pool.give_back(connection, 0.0)
        getattr(connection, how)()
        assert pool.take(ROUTE, box.port) is None
        connection.abort()


async def test_of_too_many_idle_connections_those_idle_for_longest_are_closed() -> None:
    async with sandbox() as box, closing(make_pool(max_idle_of_all=4)) as pool:
        routes = [replace(ROUTE, incarnation=f"life-{n}") for n in range(5)]
        connections = [await pool.connect(route, box.port) for route in routes]
        for idle_since, connection in zip([5.0, 1.0, 4.0, 2.0, 3.0], connections, strict=True):
            pool.give_back(connection, idle_since)
        await until(lambda: pool.open_connections == 4)
        assert [pool.take(route, box.port) is not None for route in routes] == [
            True, False, True, True, True,
        ]  # fmt: skip


async def test_the_bound_counts_what_is_idle_now_however_it_ended() -> None:
    async with sandbox() as box, closing(make_pool(max_idle_of_all=2)) as pool:
        ends: list[Callable[[], None]]
        ends = [lambda: pool.retire(ROUTE.incarnation), box.close_all, lambda: None]
        for end in ends * 3:
            one, other = await pool.connect(ROUTE, box.port), await pool.connect(ROUTE, box.port)
            pool.give_back(one, 1.0)
            pool.give_back(other, 2.0)
            assert one.is_open
            assert other.is_open
            end()
            while (taken := pool.take(ROUTE, box.port)) is not None:
                taken.abort()
            await until(lambda: pool.open_connections == 0)


async def test_a_machine_that_falls_silent_is_found_out() -> None:
    """Keep-alive probes and a bound on what is unacknowledged, by TCP itself (RFC 9293 §3.8.4)."""
    async with sandbox() as box, closing(make_pool()) as pool:
        connection = await pool.connect(ROUTE, box.port)
        transport = connection._transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        tcp = socket.IPPROTO_TCP
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        probing = [sock.getsockopt(tcp, one) for one in (socket.TCP_KEEPIDLE, socket.TCP_KEEPCNT)]
        assert probing[0] * (1 + probing[1]) <= 30
        assert sock.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 30_000


async def test_idle_connections_are_closed_after_their_time() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        old, young = await pool.connect(ROUTE, box.port), await pool.connect(ROUTE, box.port)
        other = await pool.connect(OTHER, box.port)
        pool.give_back(old, 100.0)
        pool.give_back(young, 130.0)
        pool.give_back(other, 100.0)
        pool.sweep(159.9)
        assert pool.open_connections == 3
        pool.sweep(160.0)
        await until(lambda: pool.open_connections == 1)
        assert pool.take(OTHER, box.port) is None
        assert pool.take(ROUTE, box.port) is young
        assert pool.take(ROUTE, box.port) is None


async def test_a_life_that_is_over_takes_its_idle_connections_with_it() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        idle, used = await pool.connect(ROUTE, box.port), await pool.connect(ROUTE, box.port)
        other = await pool.connect(OTHER, box.port)
        pool.give_back(idle, 0.0)
        pool.give_back(other, 0.0)
        pool.retire(ROUTE.incarnation)
        pool.retire("nobody")
        assert pool.take(ROUTE, box.port) is None
        await until(lambda: pool.open_connections == 2)
        assert used.is_open
        assert pool.take(OTHER, box.port) is other


async def test_a_connection_in_use_when_its_life_ends_serves_nobody_else() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        used = await pool.connect(ROUTE, box.port)
        pool.retire(ROUTE.incarnation)
        assert used.is_open
        again = await pool.connect(ROUTE, box.port)
        pool.give_back(used, 0.0)
        assert pool.take(ROUTE, box.port) is None
        pool.give_back(again, 0.0)
        assert pool.take(ROUTE, box.port) is again
        await until(lambda: pool.open_connections == 1)


async def test_closing_ends_connections_in_use_too() -> None:
    async with sandbox() as box:
        pool = make_pool()
        used, idle = await pool.connect(ROUTE, box.port), await pool.connect(ROUTE, box.port)
        pool.give_back(idle, 0.0)
        pool.close()
        await until(lambda: pool.open_connections == 0)
        assert not used.is_open
        assert not idle.is_open


@pytest.mark.parametrize("address", [None, "127.0.0.1", "169.254.169.254", "localhost"])
async def test_what_the_guard_refuses_is_not_dialled(address: str | None) -> None:
    async with sandbox() as box:
        pool = make_pool(guard=AddressGuard())
        with pytest.raises(SandboxUnreachable):
            await pool.connect(replace(ROUTE, address=address), box.port)
        assert box.writers == []
        assert pool.open_connections == 0
        assert counted(pool, "_refusals")[("address",)] == 1


async def test_a_port_where_nobody_listens_refuses() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        pool = make_pool()
        with pytest.raises(DialRefused):
            await pool.connect(ROUTE, unused.getsockname()[1])
        assert pool.open_connections == 0
        assert counted(pool, "_refusals")[("refused",)] == 1


@asynccontextmanager
async def full_listener() -> AsyncIterator[int]:
    """A port on which connecting neither succeeds nor fails: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        try:
            for _ in range(8):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
                waiting.append(one)
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


async def test_a_port_that_does_not_answer_times_out() -> None:
    async with full_listener() as port:
        pool = make_pool(connect_timeout=0.05)
        with pytest.raises(DialRefused):
            await pool.connect(ROUTE, port)
        assert pool.open_connections == 0
        assert counted(pool, "_refusals")[("timeout",)] == 1


async def test_a_dial_that_is_cancelled_leaks_nothing() -> None:
    async with full_listener() as port:
        pool = make_pool()
        dialling = asyncio.create_task(pool.connect(ROUTE, port))
        await asyncio.sleep(0)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        assert pool.open_connections == 0


@pytest.mark.parametrize("turns", range(8))
async def test_a_dial_cancelled_at_any_moment_leaks_nothing(turns: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with closing(make_pool()) as pool:
            dialling = asyncio.create_task(pool.connect(ROUTE, listener.getsockname()[1]))
            for _ in range(turns):
                await asyncio.sleep(0)
            dialling.cancel()
            try:
                connection = await dialling
            except asyncio.CancelledError:
                assert pool.open_connections == 0
            else:
                assert pool.open_connections == 1
                connection.abort()
        listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # cancelled before anything was dialled
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(5)
                assert accepted.recv(1) == b""


async def test_how_connections_were_got_is_counted() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        connection = await pool.connect(ROUTE, box.port)
        pool.give_back(connection, 0.0)
        pool.take(ROUTE, box.port)
        assert counted(pool, "_taken") == {("reused",): 1, ("dialled",): 1}


# ---- slow start ----------------------------------------------------------------------------------


async def ask(connection: UpstreamConnection) -> None:
    connection.begin(RecordingSink(), to_head=False)
    connection.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose accept queue is full: connections seem to stand, but nothing is taken."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(("127.0.0.1", port))
        yield port


async def test_only_a_few_connections_that_have_not_proved_alive_are_under_way() -> None:
    async with closing(make_pool(connect_timeout=0.3)) as pool:
        with full_backlog() as port:
            asking = [asyncio.create_task(pool.connect(ROUTE, port)) for _ in range(20)]
            done = await asyncio.gather(*asking, return_exceptions=True)
            stood = [one for one in done if isinstance(one, UpstreamConnection)]
            assert len(stood) <= WINDOW
            assert sum(isinstance(one, DialRefused) for one in done) == 20 - len(stood)


async def test_each_connection_that_proves_alive_lets_others_in() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        connections = await asyncio.gather(*(pool.connect(ROUTE, box.port) for _ in range(2)))
        asking = [asyncio.create_task(pool.connect(ROUTE, box.port)) for _ in range(40)]
        for connection in connections:
            await ask(connection)
        while asking:
            done, pending = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            asking = list(pending)
            for one in done:
                await ask(one.result())
        assert pool.open_connections == 42


async def test_who_waits_for_a_turn_gets_the_connection_that_comes_free() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        first = [await pool.connect(ROUTE, box.port) for _ in range(WINDOW)]
        waiting = asyncio.create_task(pool.connect(ROUTE, box.port))
        await asyncio.sleep(0)
        pool.give_back(first[1], 0.0)
        assert await waiting is first[1]
        assert pool.open_connections == WINDOW


async def test_a_connection_for_another_port_is_no_turn() -> None:
    async with sandbox() as one, sandbox() as two, closing(make_pool()) as pool:
        first = [await pool.connect(ROUTE, one.port) for _ in range(WINDOW)]
        waiting = asyncio.create_task(pool.connect(ROUTE, two.port))
        await asyncio.sleep(0)
        pool.give_back(first[0], 0.0)
        connection = await waiting
        assert (connection.port, pool.take(ROUTE, one.port)) == (two.port, first[0])


async def test_a_life_that_ends_ends_the_waiting_for_it() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        for _ in range(WINDOW):
            await pool.connect(ROUTE, box.port)
        waiting = asyncio.create_task(pool.connect(ROUTE, box.port))
        await asyncio.sleep(0)
        pool.retire(ROUTE.incarnation)
        with pytest.raises(DialRefused):
            await waiting


@pytest.mark.parametrize("given", [False, True])
async def test_who_leaves_gives_up_its_turn_or_what_it_got(given: bool) -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        first = [await pool.connect(ROUTE, box.port) for _ in range(WINDOW)]
        leaving, staying = (asyncio.create_task(pool.connect(ROUTE, box.port)) for _ in range(2))
        await asyncio.sleep(0)
        if given:
            pool.give_back(first[0], 0.0)  # it is the leaving one's now, which does not know yet
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        if not given:
            pool.give_back(first[0], 0.0)
        assert await staying is first[0]


async def test_a_connection_that_is_lost_on_its_way_to_who_waits_is_not_handed_out() -> None:
    async with sandbox() as box, closing(make_pool()) as pool:
        first = [await pool.connect(ROUTE, box.port) for _ in range(WINDOW)]
        waiting = asyncio.create_task(pool.connect(ROUTE, box.port))
        await asyncio.sleep(0)
        pool.give_back(first[0], 0.0)
        first[0].abort()
        with pytest.raises(DialRefused):
            await waiting
