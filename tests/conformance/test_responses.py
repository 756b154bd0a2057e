"""The framing of a sandbox's responses (lines 10 and 11)."""

from __future__ import annotations

import asyncio

import pytest

from .harness import eventually, gateway
from .upstream import ECHO, Leg
from .wire import ok


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        b"HTTP/1.1 200 OK" + b"\r\nTransfer-Encoding: chunked" * 2 + b"\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 304 No\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Go on\r\nContent-Length: 2\r\n\r\nok" + ok(),
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\rX: y\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 000 None\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 2000 Many\r\nContent-Length: 2\r\n\r\nok",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"ok",
        b"\x00" * 100,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
    ],
)
async def test_10_an_illegal_response_is_502_and_ends_its_connection(response: bytes) -> None:
    """RFC 9112 §6.3: a gateway answers 502 and closes the connection to the server."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(response)
        await leg.ended()

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.get("/1"))
        answer = await client.response()
        assert answer.status == 502
        assert answer.reason == "upstream_protocol_error"
        await eventually(lambda: gw.pool.open_connections == 0)
        upstream.script = ECHO
        await client.send(gw.get("/2"))
        assert (await client.response()).body == b"GET /2 "


@pytest.mark.parametrize("pause", [False, True])
async def test_11_surplus_bytes_after_a_response_never_answer_the_next_request(
    pause: bool,
) -> None:
    """RFC 9112 §9.2: whatever follows a response belongs to no request."""

    async def script(leg: Leg) -> None:
        if leg.number:
            await ECHO(leg)
        await leg.request()
        await leg.send(ok(b"first") + (b"" if pause else ok(b"poison")))
        if pause:
            await asyncio.sleep(0.02)
            await leg.send(ok(b"poison"))
        await leg.ended()

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.get("/1"))
        assert (await client.response()).body == b"first"
        await eventually(lambda: gw.pool.open_connections == 0)
        await client.send(gw.get("/2"))
        assert (await client.response()).body == b"GET /2 "
        assert len(upstream.legs) == 2


async def test_11_a_body_after_the_answer_to_head_costs_the_connection() -> None:
    """RFC 9112 §6.3: the response to HEAD ends with its head, chunked or not."""

    async def script(leg: Leg) -> None:
        if leg.number:
            await ECHO(leg)
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        await leg.ended()

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.head("HEAD", "/1"))
        assert (await client.response("HEAD")).status == 200
        await client.send(gw.get("/2"))
        assert (await client.response()).body == b"GET /2 "
        assert len(upstream.legs) == 2


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ],
)
async def test_11_surplus_after_any_framing_costs_the_connection(first: bytes) -> None:
    """RFC 9112 §9.2: the same for chunked and bodyless responses."""

    async def script(leg: Leg) -> None:
        if leg.number:
            await ECHO(leg)
        await leg.request()
        await leg.send(first + ok(b"poison"))
        await leg.ended()

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/1") + gw.get("/2"))
        await client.response()
        assert (await client.response()).body == b"GET /2 "
        assert b"poison" not in client.received
