"""Failure, the pool and pressure (CONFORMANCE lines 36 to 43)."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING

import pytest

from gateway.proxy.exchange import Timeouts
from gateway.proxy.reach import ReachConfig
from gateway.sandbox.model import State

from .harness import Gateway, eventually, gateway
from .upstream import ECHO, Leg, always
from .wire import Message, chunked, ok

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MIB = 2**20


def reason(response: Message) -> str:
    return str(json.loads(response.body)["reason"])


# ---- 36, 37: sent again or not -----------------------------------------------------------------


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
    client.sock.send(request)
    for _ in range(turns):
        await asyncio.sleep(0)
    legs[0].close()
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
    """Its end is seen at once: even a POST goes out on a fresh one."""

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
async def test_37_a_request_that_the_upstream_had_is_never_sent_again(
    method: str, end: Callable[[Leg], None]
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
            await client.send(gw.head(method, "/asked", "Content-Length: 4") + b"body")
            response = await client.response()
            assert (response.status, reason(response)) == (502, "upstream_reset")
        assert [one.target for one in upstream.requests] == [b"/warm", b"/asked", b"/asked"]
        assert len(upstream.legs) == 2


# ---- 38 ----------------------------------------------------------------------------------------


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
        assert (response.status, reason(response)) == (502, "sandbox_unreachable")
        await upstream.start(gw.port)
        await client.send(gw.get("/2"))
        assert (await client.response()).body == b"GET /2 "


# ---- 39 ----------------------------------------------------------------------------------------


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
    """Nothing was sent to the client yet: it gets an answer, and keeps its connection."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nContent-Le")

    async with gateway(script) as (gw, _):
        client = await gw.client()
        for _ in range(2):
            await client.send(gw.get("/"))
            response = await client.response()
            assert (response.status, reason(response)) == (502, "upstream_reset")


# ---- 40, 41: the client leaves -----------------------------------------------------------------


@pytest.mark.parametrize("leave", ["close", "reset", "half_close"])
@pytest.mark.parametrize("body", [b"", b"body", b"b" * 60_000, b"b" * 300_000])
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
        async with asyncio.timeout(1.0):
            await gone.wait()
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


# ---- 42: pressure ------------------------------------------------------------------------------

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


async def test_42_a_tunnel_has_pressure_too() -> None:
    """Bytes after a 101 are bounded both ways as bodies are."""
    sent = 0

    async def script(leg: Leg) -> None:
        nonlocal sent
        await leg.head()
        await leg.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
        )
        for _ in range(SIZE // MIB):
            await leg.send(b"d" * MIB)
            sent += MIB
        await leg.ended()

    async with gateway(script, buffer=65536) as (gw, _):
        client = await gw.client(buffer=65536)
        await client.send(gw.get("/", "Connection: Upgrade", "Upgrade: raw"))
        assert (await client.response()).status == 101
        await settled(lambda: sent)
        assert sent < ON_THE_WAY
        assert len(await client.exactly(SIZE)) == SIZE


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


# ---- 43: deadlines -----------------------------------------------------------------------------


async def test_43_a_slow_head_is_408_at_its_deadline() -> None:
    """RFC 9110 §15.5.9: however steadily it drips."""
    async with gateway(ECHO, head_timeout=0.3) as (gw, _):
        client = await gw.client()
        dripping = asyncio.create_task(drip(client.send, gw.get("/")[:60]))
        response = await client.response()
        assert (response.status, response.one("connection")) == (408, b"close")
        await client.ended()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_43_a_slow_second_head_is_408_too() -> None:
    """The deadline is set anew for each request."""
    async with gateway(ECHO, head_timeout=0.3) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/1") + b"GET ")
        assert (await client.response()).body == b"GET /1 "
        assert (await client.response()).status == 408
        await client.ended()


async def test_43_a_silent_connection_is_cut_and_so_is_an_idle_one() -> None:
    """One that says nothing, and one that says nothing more."""
    async with gateway(ECHO, head_timeout=0.3, keep_alive_timeout=0.6) as (gw, _):
        silent = await gw.client()
        idle = await gw.client()
        await idle.send(gw.get("/"))
        await idle.response()
        await silent.ended()
        assert silent.received == b""
        await idle.send(gw.get("/again"))
        assert (await idle.response()).body == b"GET /again "
        await idle.ended()


async def test_43_a_stalled_upload_is_408_and_the_sandbox_sees_no_end() -> None:
    """Progress of the body is what counts, not its total time."""

    async def script(leg: Leg) -> None:
        await leg.request()
        raise AssertionError("half a body was taken for a whole one")

    timeouts = Timeouts(progress=0.4)
    async with gateway(script, timeouts=timeouts, linger_timeout=0.2) as (gw, _):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Content-Length: 100"))
        await drip(client.send, b"abcdef", 0.15)
        response = await client.response()
        assert response.status == 408
        await client.ended()


async def test_43_a_sandbox_that_does_not_answer_is_504() -> None:
    """RFC 9110 §15.6.5; a client's own wish can shorten it."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.ended()

    async with gateway(script, timeouts=Timeouts(response_head=0.3)) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/"))
        response = await client.response()
        assert (response.status, reason(response)) == (504, "upstream_timeout")
        await eventually(lambda: gw.pool.open_connections == 0)


async def test_43_a_reader_that_stalls_is_cut_at_its_deadline() -> None:
    """A response that is not taken off is broken off, and its sandbox is free again."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        await leg.send(b"d" * SIZE)

    async with gateway(script, timeouts=Timeouts(progress=0.4), buffer=65536) as (gw, _):
        client = await gw.client(buffer=65536)
        await client.send(gw.get("/"))
        await eventually(lambda: gw.plane.in_flight == 1)
        await eventually(lambda: gw.plane.in_flight == gw.pool.open_connections == 0)
        assert gw.log()[0]["outcome"] == "broken"


async def test_43_a_reader_that_stalls_at_the_end_is_cut_too() -> None:
    """What was handed over for sending does not keep a connection for ever."""
    async with gateway(always(ok(b"x" * 300_000)), keep_alive_timeout=0.4) as (gw, _):
        client = await gw.client(buffer=4096)
        await client.send(gw.get("/"))
        await eventually(lambda: gw.number("client_connections") == 1)
        await eventually(lambda: gw.number("client_connections") == 0)


async def test_43_others_are_unaffected_by_a_hundred_slow_ones() -> None:
    """Slow heads, slow bodies, slow readers, silence: each costs only itself."""
    async with gateway(ECHO, buffer=65536) as (gw, _):
        for n in range(100):
            client = await gw.client(buffer=8192)
            beginnings = [
                gw.get("/")[:30],
                gw.head("POST", "/", "Content-Length: 100") + b"half",
                gw.post("/", b"e" * 100),
                b"",
            ]
            await client.send(beginnings[n % 4])
        for n in range(50):
            assert (await gw.ask(gw.get(f"/{n}"))).body == b"GET /%d " % n


async def drip(send: Callable[[bytes], Awaitable[None]], data: bytes, pause: float = 0.05) -> None:
    for byte in data:
        await send(bytes([byte]))
        await asyncio.sleep(pause)
