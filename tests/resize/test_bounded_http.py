"""What a guest answers costs no more than a bound allows, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web

from gateway.resize.bounded_http import Answer, BrokenOff, Excessive, exchange
from gateway.resize.messages import MAX_MESSAGE
from gateway.resize.scrape import MAX_METRICS
from tests.conformance.harness import eventually

from .linked import on_the_wire, owner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Script = Callable[[asyncio.StreamWriter], Awaitable[None]]

#: A guest that answers without end ends after so many bytes after all, lest a test never does.
FLOOD: Final = 32 * 2**20
#: What a guest can be rid of at most: the bound, one read, and what sockets hold by then.
TAKEN: Final = 2 * 2**20

CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS: Final = {
    "interim answers": (b"", b"HTTP/1.1 102 P\r\n\r\n"),
    "early hints": (b"", b"HTTP/1.1 103 E\r\nLink: </a>\r\n\r\n"),
    "empty lines": (b"", b"\r\n"),
    "a status line": (b"HTTP/1.1 200 ", b"O"),
    "fields": (b"HTTP/1.1 200 OK\r\n", b"a:\r\n"),
    "long fields": (b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * 4000 + b"\r\n"),
    "one field": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "a body": (b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
    "a long body": (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", b"a"),
    "an endless error": (b"HTTP/1.1 500 No\r\n\r\n", b"a"),
    "tiny chunks": (CHUNKED, b"1\r\na\r\n"),
    "chunk extensions": (CHUNKED, b"1;" + b"a" * 4000 + b"\r\na\r\n"),
    "one chunk extension": (CHUNKED + b"1;", b"a"),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n"),
    "one trailer": (CHUNKED + b"0\r\na: ", b"b"),
    "no HTTP": (b"", b"SSH-2.0-guest\r\n"),
}


class Guest:
    """Answers each connection by a script, once it was asked. `sent`: bytes of a flood."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[bytes] = []
        self.sent = self.begun = self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.begun += 1
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            await self._script(writer)
            await reader.read()
        except OSError:
            pass
        finally:
            self.ended += 1
            writer.transport.abort()

    async def flood(
        self, writer: asyncio.StreamWriter, begin: bytes, again: bytes, piece: int = 65536
    ) -> None:
        """Send something again and again, by so many bytes, as fast as they are taken."""
        writer.transport.set_write_buffer_limits(0)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.write(begin)
        many = again * max(1, piece // len(again))
        while self.sent < FLOOD:
            writer.write(many)
            self.sent += len(many)
            await writer.drain()
            await asyncio.sleep(0)


@asynccontextmanager
async def served(script: Script, host: str = "127.0.0.1") -> AsyncIterator[tuple[Guest, int]]:
    guest = Guest(script)
    server = await asyncio.start_server(guest.serve, host, 0)
    async with server:
        try:
            yield guest, server.sockets[0].getsockname()[1]
        finally:
            await eventually(lambda: guest.ended == guest.begun, "a connection is left")


def says(*pieces: bytes, stays: bool = False) -> Script:
    """Send these pieces, each by itself; then end, unless it `stays`."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        if not stays:
            writer.write_eof()

    return script


async def answer(script: Script, most: int = 100) -> Answer:
    async with served(script) as (_, port), asyncio.timeout(60):
        return await exchange("127.0.0.1", port, ("GET", "/"), b"", most)


# ---- what is no answer costs little -------------------------------------------------------------


@pytest.mark.parametrize("piece", [1000, 65536])
@pytest.mark.parametrize("most", [MAX_MESSAGE, MAX_METRICS])
@pytest.mark.parametrize("kind", FLOODS)
@on_the_wire
async def test_who_answers_without_end_is_dropped_at_the_bound(
    kind: str, most: int, piece: int
) -> None:
    began = asyncio.get_running_loop().time()
    flooding = served(lambda writer: guest.flood(writer, *FLOODS[kind], piece))
    async with flooding as (guest, port):
        with pytest.raises(Excessive):
            await exchange("127.0.0.1", port, ("GET", "/"), b"", most)
    assert guest.sent < TAKEN
    assert asyncio.get_running_loop().time() - began < 1


@pytest.mark.parametrize("kind", FLOODS)
@on_the_wire
async def test_who_answers_a_registration_without_end_is_left_for_long(kind: str) -> None:
    flooding = served(lambda writer: guest.flood(writer, *FLOODS[kind]))
    async with flooding as (guest, port), owner() as own:
        end = await own.begin(("127.0.0.1", port)).end()
        assert end.retry_after == 300
    assert guest.sent < 2 * TAKEN
    assert [one.split()[1] for one in guest.asked] == [b"/register", b"/unregister"]


@on_the_wire
async def test_an_answer_in_tiny_pieces_is_dropped_too() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    with pytest.raises(Excessive, match="pieces"):
        await answer(says(head, *[b"a"] * 999, stays=True), 2000)


@on_the_wire
async def test_a_head_may_not_be_as_long_as_a_body() -> None:
    pieces = [b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"a" * 1000 + b"\r\n"] * 20, b"\r\n"]
    with pytest.raises(Excessive, match="head is longer"):
        await answer(says(*pieces), MAX_METRICS)


@on_the_wire
async def test_the_longest_body_is_taken_and_one_byte_more_is_not() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    assert (await answer(says(head, b"a" * 100))).body == b"a" * 100
    with pytest.raises(Excessive, match="longer than 100 bytes"):
        await answer(says(head, b"a" * 101))


# ---- what is an answer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"{", b"}"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n",),
        (CHUNKED, b"1\r\n{\r\n1;a=b\r\n}\r\n", b"0\r\n\r\n"),
        (CHUNKED + b"2\r\n{}\r\n0\r\na: b\r\n\r\n",),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",),
        tuple(bytes((one,)) for one in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ],
)
@on_the_wire
async def test_an_answer_ends_where_it_says_so(pieces: tuple[bytes, ...]) -> None:
    assert await answer(says(*pieces, stays=True)) == Answer(200, b"{}")


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@on_the_wire
async def test_an_answer_may_end_with_the_connection(version: bytes) -> None:
    found = await answer(says(b"HTTP/" + version + b" 404 No\r\n\r\n", b"what", b" is it"))
    assert found == Answer(404, b"what is it")


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"HTTP/1.1 200 OK\r\n",),
        (b"HTTP/1.1 103 Early\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{",),
        (CHUNKED + b"2\r\n{}\r\n",),
    ],
)
@on_the_wire
async def test_half_an_answer_is_none(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(BrokenOff):
        await answer(says(*pieces))


# ---- what is asked -------------------------------------------------------------------------------


async def test_a_server_is_asked_by_what_it_understands_and_told_nothing_else() -> None:
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, request.path, dict(request.headers), await request.read()))
        return web.Response(body=request.content_type.encode(), headers={"Set-Cookie": "a=b"})

    for host, shown in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        site = web.TCPSite(runner, host, 0)
        await site.start()
        port = runner.addresses[0][1]
        plain = {
            "Host": f"{shown}:{port}",
            "Connection": "close",
            "Accept-Encoding": "identity",
        }
        with_body = plain | {"Content-Type": "application/json", "Content-Length": "2"}
        found = await exchange(host, port, ("PUT", "/upscale"), b"{}", 100)
        assert found == Answer(200, b"application/json")
        assert (await exchange(host, port, ("GET", "/metrics"), b"", 100)).status == 200
        assert seen[-2:] == [
            ("PUT", "/upscale", with_body, b"{}"),
            ("GET", "/metrics", plain, b""),
        ]
        await runner.cleanup()


@pytest.mark.parametrize("host", ["localhost", "example.invalid", ""])
async def test_names_are_not_looked_up(host: str) -> None:
    async with served(says(b"HTTP/1.1 200 OK\r\n\r\n")) as (guest, port):
        with pytest.raises(socket.gaierror):
            await exchange(host, port, ("GET", "/"), b"", 100)
        assert guest.asked == []
