"""What clients can make the gateway keep in memory is bounded, and overload is answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.proxy.exchange import Timeouts
from gateway.sandbox.model import State

from .harness import eventually, gateway
from .upstream import ECHO, Leg
from .wire import ok

if TYPE_CHECKING:
    from .wire import Client

#: Answered by the gateway itself with a page, which is larger than the request.
NOWHERE = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n"


async def pour(client: Client, data: bytes, most: int, within: float = 2.0) -> int:
    """Send until the gateway takes no more; return how many bytes it took."""
    sent = 0
    try:
        async with asyncio.timeout(within):
            while sent < most:
                await client.send(data)
                sent += len(data)
    except (TimeoutError, ConnectionError):
        pass
    return sent


async def test_42_answers_of_the_gateways_own_wait_for_a_client_that_does_not_read() -> None:
    """(own rule) Whoever sends on and reads nothing is left in the network, then cut."""
    async with gateway(ECHO, timeouts=Timeouts(progress=0.6)) as (gw, _):
        client = await gw.client(buffer=8192)
        pouring = asyncio.create_task(pour(client, NOWHERE * 100, 2**30))
        await eventually(lambda: gw.number("client_buffered_bytes") > 0)
        most = 0.0

        def gone() -> bool:
            nonlocal most
            most = max(most, gw.number("client_buffered_bytes"))
            return gw.number("client_connections") == 0

        await eventually(gone)
        pouring.cancel()
        await asyncio.wait({pouring})
        assert most < 2**20


async def test_42_what_is_pipelined_behind_a_waiting_request_stays_bytes() -> None:
    """RFC 9112 §9.3.2: a server may put off what is pipelined; thousands are not all read."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, upstream):
        gw.sandboxes.boots = False
        client = await gw.client()
        (sending,) = [asyncio.create_task(client.send(gw.get("/first") + gw.get("/") * 2000))]
        await eventually(lambda: gw.waiting == 1)
        (connection,) = gw.plane.client_connections
        await eventually(lambda: gw.number("client_buffered_bytes") > 0)
        assert len(connection._messages) < 300
        gw.sandboxes.boot("box")
        for _ in range(2001):
            assert (await client.response()).status == 200
        await sending
        assert len(upstream.requests) == 2001
        await eventually(lambda: gw.number("client_buffered_bytes") == 0)


async def test_42_large_requests_behind_one_that_lasts_are_counted_and_left_in_the_network() -> (
    None
):
    """(own rule) What is queued is kept, too: it is bounded for each, and for all together."""
    field = "X-Filler: " + "x" * 50_000

    async def hang(leg: Leg) -> None:
        await leg.request()
        await leg.ended()

    async with gateway(hang, max_buffered=10 * 2**20) as (gw, _):
        clients = [await gw.client() for _ in range(5)]
        pouring = []
        for client in clients:
            await client.send(gw.get("/hang"))
            pouring.append(asyncio.create_task(pour(client, gw.get("/", field), 2**23, within=1.0)))
        await eventually(lambda: gw.number("client_buffered_bytes") > 5 * 100_000)
        await asyncio.wait(pouring)
        assert gw.number("client_buffered_bytes") < 5 * 600_000
        assert gw.number("client_connections") == 5
        for client in clients:
            client.reset()
        await eventually(lambda: gw.number("client_buffered_bytes") == 0)


@pytest.mark.parametrize("start", [b"GET /%b", b"GET / HTTP/1.1\r\nHost: a\r\nX: %b"])
async def test_42_unfinished_heads_of_all_together_are_bounded(start: bytes) -> None:
    """(own rule) Who finds no room is answered; the others go on, and so does he, later."""
    async with gateway(ECHO, max_buffered=30_000) as (gw, _):
        slow = [await gw.client() for _ in range(2)]
        for client in slow:
            await client.send(start % (b"a" * 10_000))
        await eventually(lambda: gw.number("client_buffered_bytes") > 20_000)
        assert (await gw.ask(gw.get("/"))).status == 200
        third = await gw.client()
        await third.send(start % (b"a" * 12_000))
        response = await third.response()
        assert (response.status, response.reason) == (503, "overloaded")
        assert response.one("retry-after")
        await third.ended()
        for client in slow:
            client.close()
        await eventually(lambda: gw.number("client_buffered_bytes") == 0)
        assert gw.number("client_connections_shed_total", cause="memory") == 1
        assert (await gw.ask(gw.get("/"))).status == 200


async def test_42_what_slow_readers_have_not_taken_is_bounded_for_all_together() -> None:
    """(own rule) One more reader that stands still is let go; who reads is not."""

    async def large(leg: Leg) -> None:
        while True:
            await leg.request()
            await leg.send(ok(b"x" * 2**22))

    async with gateway(large, max_buffered=2**20) as (gw, _):
        slow = [await gw.client(buffer=8192) for _ in range(20)]
        for client in slow:
            await client.send(gw.get("/large"))
        shed = "client_connections_shed_total"
        await eventually(lambda: gw.number(shed, cause="memory") > 0)
        assert gw.number("client_buffered_bytes") < 2**21
        reader = await gw.client()
        await reader.send(gw.get("/large"))
        for client in slow:
            client.close()
        assert len((await reader.response()).body) == 2**22


async def test_42_one_client_too_many_is_told_so() -> None:
    """(own rule) RFC 9110 §15.6.4: 503 with Retry-After, and the connections that stand go on."""
    async with gateway(ECHO, max_connections=3) as (gw, _):
        first = [await gw.client() for _ in range(3)]
        await eventually(lambda: gw.number("client_connections") == 3)
        response = await (await gw.client()).response()
        assert (response.status, response.reason) == (503, "overloaded")
        assert response.one("connection") == b"close"
        assert gw.number("client_connections_shed_total", cause="connections") == 1
        for client in first:
            await client.send(gw.get("/"))
            assert (await client.response()).status == 200
        first[0].close()
        await eventually(lambda: gw.number("client_connections") == 2)
        assert (await gw.ask(gw.get("/"))).status == 200


async def test_42_a_body_is_left_in_the_network_while_its_sandbox_wakes() -> None:
    """(own rule) What a waiting request keeps is counted when it begins to wait, and stays that."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        body = b"x" * 2**22
        client = await gw.client()
        await client.send(gw.head("POST", "/", f"Content-Length: {len(body)}"))
        await eventually(lambda: gw.waiting == 1)
        sending = asyncio.create_task(client.send(body))
        (connection,) = gw.plane.client_connections
        await asyncio.sleep(0.1)
        assert connection._parser.kept_bytes == 0
        gw.sandboxes.boot("box")
        assert (await client.response("POST")).body == b"POST / " + body
        await sending


@pytest.mark.parametrize("line", [b"X-T: %b\r\n" % (b"a" * 1000) * 60, b"a" * 60_000])
async def test_6_trailers_of_a_response_without_end_are_bounded(line: bytes) -> None:
    """RFC 9112 §7.1.2: a trailer section is bounded as a header section is."""
    sent = 0

    async def script(leg: Leg) -> None:
        nonlocal sent
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: ")
        while sent < 2**24:
            await leg.send(line)
            sent += len(line)

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/"))
        await client.ended()
        assert sent < 2**24


async def test_10_a_response_with_fields_without_end_is_502() -> None:
    """(own rule) Each field costs: thousands are no response."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"a:\r\n" * 1100 + b"\r\n")

    async with gateway(script) as (gw, _):
        response = await gw.ask(gw.get("/"))
        assert (response.status, response.reason) == (502, "upstream_protocol_error")


async def test_10_a_response_with_many_fields_and_a_long_body_is_fine() -> None:
    """(own rule) Lines of a body are no fields."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(ok(b"line\n" * 5000, *["A: b"] * 900))

    async with gateway(script) as (gw, _):
        assert (await gw.ask(gw.get("/"))).body == b"line\n" * 5000


@pytest.mark.parametrize("protocol", ["h2c", "websocket, other", "other"])
async def test_33_a_101_to_a_protocol_that_nobody_asked_for_is_502(protocol: str) -> None:
    """RFC 9110 §7.8: a server must not switch to a protocol that the client did not indicate."""

    async def script(leg: Leg) -> None:
        await leg.request()
        line = f"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        await leg.send(line.encode())

    async with gateway(script) as (gw, _):
        upgrade = gw.get("/", "Connection: Upgrade", "Upgrade: WebSocket")
        response = await gw.ask(upgrade)
        assert (response.status, response.reason) == (502, "upstream_protocol_error")


@pytest.mark.parametrize("phrase", [b"O\x01K", b"O\x7fK", b"\x1b[2J"])
async def test_10_a_reason_phrase_with_control_characters_is_502(phrase: bytes) -> None:
    """RFC 9112 §4: HTAB, SP, VCHAR and obs-text alone."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 200 %b\r\nContent-Length: 0\r\n\r\n" % phrase)

    async with gateway(script) as (gw, _):
        response = await gw.ask(gw.get("/"))
        assert (response.status, response.reason) == (502, "upstream_protocol_error")


@pytest.mark.parametrize("line", [b"DESCRIBE / RTSP/1.0", b"SOURCE / ICE/1.0", b"PLAY / RTSP/1.0"])
async def test_13_a_request_of_another_protocol_is_400(line: bytes) -> None:
    """RFC 9112 §2.3: the name of HTTP is HTTP."""
    async with gateway(ECHO) as (gw, upstream):
        response = await gw.ask(gw.get("/").replace(b"GET / HTTP/1.1", line))
        assert response.status == 400
        assert upstream.legs == []


async def test_18_repeated_fields_count_each_time() -> None:
    """(own rule) Fields that the gateway itself reads count as others do."""
    async with gateway(ECHO) as (gw, _):
        assert (await gw.ask(gw.get("/", *["Via: 1.1 x"] * 120))).status == 200
        assert (await gw.ask(gw.get("/", *["Via: 1.1 x"] * 130))).status == 431
