"""One stream over a real connection: what is written arrives, and how it ends is told as it was."""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from e2e.pki import Pki
from gateway.tls.stream import TlsStream, TruncatedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@dataclass
class Recorder(asyncio.Protocol):
    """Keeps what a transport tells."""

    received: bytearray = field(default_factory=bytearray)
    told: list[str] = field(default_factory=list)
    loss: Exception | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    transport: TlsStream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsStream)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.told.append("end")

    def pause_writing(self) -> None:
        self.told.append("full")

    def resume_writing(self) -> None:
        self.told.append("drained")

    def connection_lost(self, exc: Exception | None) -> None:
        self.loss = exc
        self.gone.set()


@dataclass
class Ends:
    """Both ends of a stream whose hands are shaken."""

    client: Recorder
    server: Recorder
    near: TlsStream
    far: TlsStream


@asynccontextmanager
async def stream(pki: Pki, server_name: str = "127.0.0.1") -> AsyncIterator[Ends]:
    loop = asyncio.get_running_loop()
    client, server = Recorder(), Recorder()
    taken: asyncio.Future[TlsStream] = loop.create_future()

    def take() -> TlsStream:
        taken.set_result(TlsStream(pki.for_servers(pki.server), lambda: server))
        return taken.result()

    listening = await loop.create_server(take, "127.0.0.1", 0)
    address = listening.sockets[0].getsockname()
    near = TlsStream(pki.for_clients(), lambda: client, server_name=server_name)
    await loop.create_connection(lambda: near, *address)
    far = await taken
    try:
        async with asyncio.timeout(10):
            await near.established
            await far.established
            # The tickets that follow the handshake must be read: a socket that is closed with
            # something unread resets its connection.
            far.write(b"hello")
            while client.received != b"hello":
                await asyncio.sleep(0.001)
            yield Ends(client, server, near, far)
    finally:
        for one in (near, far):
            one.give_up()
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0)


async def test_what_is_written_arrives_whole_and_in_order(pki: Pki) -> None:
    async with stream(pki) as ends:
        body = bytes(range(256)) * 4096
        ends.near.write(b"first ")
        ends.near.write(b"")
        ends.near.writelines([b"second ", memoryview(body)])
        while len(ends.server.received) < 13 + len(body):
            await asyncio.sleep(0.001)
        assert bytes(ends.server.received) == b"first second " + body
        assert ends.near.wire_bytes > 13 + len(body)


async def test_the_protocol_is_told_of_the_wire_and_of_the_handshake(pki: Pki) -> None:
    async with stream(pki) as ends:
        assert ends.near.get_extra_info("peername") == ends.far.get_extra_info("sockname")
        assert isinstance(ends.near.get_extra_info("sslcontext"), ssl.SSLContext)
        assert ends.near.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert ends.near.get_extra_info("nothing", "of it") == "of it"


async def test_a_close_is_a_farewell_that_no_answer_is_waited_for(pki: Pki) -> None:
    async with stream(pki) as ends:
        ends.near.write(b"last words")
        ends.near.close()
        ends.near.close()
        await ends.client.gone.wait()
        await ends.server.gone.wait()
        assert bytes(ends.server.received) == b"last words"
        assert (ends.server.told, ends.server.loss) == (["end"], None)
        assert ends.client.loss is None
        assert ends.near.is_closing()
        ends.near.write(b"nobody hears this")


async def test_an_abort_is_no_farewell(pki: Pki) -> None:
    async with stream(pki) as ends:
        ends.near.abort()
        await ends.server.gone.wait()
        assert ends.server.told == ["end"]
        assert isinstance(ends.server.loss, TruncatedError)


async def test_bytes_that_are_no_records_end_it(pki: Pki) -> None:
    async with stream(pki) as ends:
        os.write(ends.near.get_extra_info("socket").fileno(), b"GET / HTTP/1.1\r\n\r\n")
        await ends.server.gone.wait()
        assert isinstance(ends.server.loss, ssl.SSLError)
        assert ends.server.received == b""


async def test_who_does_not_read_is_not_written_to_without_end(pki: Pki) -> None:
    async with stream(pki) as ends:
        ends.far.pause_reading()
        written = 0
        while "full" not in ends.client.told:
            ends.near.write(b"x" * MIB)
            written += MIB
            await asyncio.sleep(0)
            assert written <= 64 * MIB
        assert ends.near.get_write_buffer_size() > 0
        await asyncio.sleep(0.05)
        held = len(ends.server.received)
        assert held <= MIB
        ends.far.resume_reading()
        while len(ends.server.received) < written:
            await asyncio.sleep(0.001)
        assert ends.client.told == ["full", "drained"]


async def test_what_came_before_the_end_is_delivered_to_who_had_paused(pki: Pki) -> None:
    async with stream(pki) as ends:
        ends.far.pause_reading()
        ends.near.write(b"x" * 100_000)
        ends.near.close()
        await ends.client.gone.wait()
        ends.far.resume_reading()
        await ends.server.gone.wait()
        assert len(ends.server.received) == 100_000
        assert (ends.server.told, ends.server.loss) == (["end"], None)


async def test_a_peer_that_is_another_is_not_shaken_hands_with(pki: Pki) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        async with stream(pki, "elsewhere.example"):
            pass
