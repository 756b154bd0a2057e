"""Interim responses and framing towards the client (lines 27 to 31, and 35)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.sandbox.model import State

from .harness import eventually, gateway
from .upstream import ECHO, Leg, always
from .wire import chunked, ok

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def test_27_expect_100_continue_gets_no_100_before_there_is_a_route() -> None:
    """RFC 9110 §10.1.1: 100 comes from the sandbox, so not while it sleeps."""

    async def script(leg: Leg) -> None:
        head = await leg.head()
        assert head.one("expect") == b"100-continue"
        await leg.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await leg.exactly(5) == b"hello"
        await leg.send(ok(b"done"))

    async with gateway(script, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Content-Length: 5", "Expect: 100-continue"))
        await eventually(lambda: gw.waiting == 1)
        await client.assert_silent()
        gw.sandboxes.boot("box")
        assert (await client.head()).status == 100
        await client.send(b"hello")
        assert (await client.response()).body == b"done"


async def test_27_a_refusal_comes_in_the_place_of_100() -> None:
    """RFC 9110 §10.1.1: a final status, and the body is never sent."""

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        await leg.ended()

    async with gateway(script, linger_timeout=0.2) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Content-Length: 5", "Expect: 100-continue"))
        response = await client.response()
        assert (response.status, response.one("connection")) == (417, b"close")
        assert response.interims == []
        await client.ended()
        assert b"hello" not in upstream.received


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x\r\nX: 1\r\n\r\n"


async def test_28_103_is_relayed_as_it_comes_to_a_1_1_client() -> None:
    """RFC 8297 and 9110 §15.2: any number, each at once, less what is the connection's."""
    go_on = asyncio.Event()

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(HINTS)
        await go_on.wait()
        await leg.send(b"HTTP/1.1 102 Processing\r\n\r\n" + ok())

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/"))
        hints = await client.head()
        assert hints.status == 103
        assert hints.fields == [(b"Link", b"</a.css>; rel=preload")]
        go_on.set()
        response = await client.response()
        assert [one.status for one in response.interims] == [102]
        assert response.body == b"ok"
        assert not response.has("link")


async def test_28_a_1_0_client_gets_no_interim_response() -> None:
    """RFC 9110 §15.2: it would take it for the response."""
    async with gateway(always(HINTS + ok())) as (gw, _):
        response = await gw.ask(gw.get("/").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert response.status == 200
        assert response.interims == []


async def test_28_interim_responses_without_end_are_502() -> None:
    """A bound on what may come before a response (own rule)."""
    async with gateway(always(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)) as (gw, _):
        assert (await gw.ask(gw.get("/"))).status == 502


@pytest.mark.parametrize("status", [413, 401])
async def test_29_an_early_refusal_stops_an_upload(status: int) -> None:
    """RFC 9112 §9.5: relayed at once; the rest of the body goes nowhere; the connection closes."""

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.until(b"first")
        await leg.send(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status)
        await leg.ended()
        assert len(leg.received) < 2**20

    async with gateway(script, linger_timeout=0.5) as (gw, _):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Content-Length: 100000000") + b"first")
        response = await client.response()
        assert (response.status, response.body) == (status, b"no")
        assert response.one("connection") == b"close"
        sent = 0
        try:
            while sent < 100_000_000:
                await client.send(b"a" * 65536)
                sent += 65536
                await asyncio.sleep(0)
        except (ConnectionError, TimeoutError):
            pass
        await eventually(lambda: gw.pool.open_connections == 0)


async def test_29_an_early_answer_is_whole_though_the_client_goes_on_sending() -> None:
    """RFC 9112 §9.6: closing at once would reset the answer away; what still comes is dropped."""
    body = b"n" * 200_000

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.send(b"HTTP/1.1 413 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await leg.ended()

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Content-Length: 3000000"))
        await client.send(b"a" * 3_000_000)
        response = await client.response()
        assert (response.status, response.body) == (413, body)


async def test_30_trailers_are_forwarded_and_never_become_headers() -> None:
    """RFC 9110 §6.5: both ways; those that frame or route are dropped (§6.5.1)."""

    async def script(leg: Leg) -> None:
        while True:
            await leg.request()
            trailers = b"X-Sum: 2\r\nKeep-Alive: 3\r\n"
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            await leg.send(head + chunked(b"ok", trailers=trailers))

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        head = gw.head("POST", "/1", "Transfer-Encoding: chunked", "Trailer: X-T")
        trailers = b"X-T: 1\r\nHost: evil\r\nE2b-Sandbox-Id: evil\r\nX-T: 2\r\n"
        await client.send(head + chunked(b"hi", trailers=trailers) + gw.get("/2"))
        for _ in range(2):
            response = await client.response()
            assert response.body == b"ok"
            assert response.trailers == [(b"X-Sum", b"2")]
            assert not response.has("x-sum")
        first, second = upstream.requests
        assert first.trailers == [(b"X-T", b"1"), (b"X-T", b"2")]
        assert not first.has("x-t")
        assert not second.has("x-t")
        assert second.one("host") == b"box.example"


async def test_31_responses_without_a_body_keep_the_connection_in_step() -> None:
    """RFC 9112 §6.3: HEAD, 204 and 304 end at their head, whatever length they state."""
    answers = {
        b"/length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"/204": b"HTTP/1.1 204 No Content\r\n\r\n",
        b"/304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n",
        b"/304-chunked": b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"/plain": ok(b"plain"),
    }

    async def script(leg: Leg) -> None:
        while True:
            await leg.send(answers[(await leg.request()).target])

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        order = [("HEAD", "/length"), ("GET", "/204"), ("HEAD", "/chunked"), ("GET", "/304"),
                 ("HEAD", "/304"), ("GET", "/304-chunked"), ("GET", "/plain")]  # fmt: skip
        await client.send(b"".join(gw.head(method, target) for method, target in order))
        responses = [await client.response(method) for method, _ in order]
        assert [one.status for one in responses] == [200, 204, 200, 304, 304, 304, 200]
        assert responses[0].one("content-length") == b"5"
        assert responses[3].one("content-length") == b"7"
        assert not responses[1].has("content-length")
        assert not responses[1].has("transfer-encoding")
        assert responses[-1].body == b"plain"
        await client.assert_silent()
        assert len(upstream.legs) == 1


async def test_31_a_204_with_a_length_of_zero_loses_it() -> None:
    """RFC 9110 §8.6: a 204 has no Content-Length; a zero is harmless and is not passed on."""
    async with gateway(always(b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n")) as (gw, _):
        response = await gw.ask(gw.get("/"))
        assert (response.status, response.fields) == (204, [])


async def test_31_a_body_that_ends_with_the_connection_is_chunked_for_1_1() -> None:
    """RFC 9112 §6.3 (8): so that the client can tell its end from a break, and stay."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000)

    async with gateway(script) as (gw, _):
        client = await gw.client()
        for _ in range(2):
            await client.send(gw.get("/"))
            response = await client.response()
            assert response.one("transfer-encoding") == b"chunked"
            assert response.body == b"x" * 100_000
            assert not response.has("connection")


@pytest.mark.parametrize("keep", [False, True])
async def test_31_a_1_0_client_gets_no_chunks_and_a_connection_as_it_asked(keep: bool) -> None:
    """RFC 9112 §9.3 and C.2.2: a length keeps the connection, without one it closes."""

    async def script(leg: Leg) -> None:
        while True:
            if (await leg.request()).target == b"/length":
                await leg.send(ok(b"length"))
            else:
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                await leg.send(head + chunked(b"chu", b"nked"))

    async with gateway(script) as (gw, _):
        client = await gw.client()
        fields = ["Connection: keep-alive"] if keep else []
        await client.send(gw.get("/length", *fields).replace(b"HTTP/1.1", b"HTTP/1.0"))
        response = await client.response()
        assert response.body == b"length"
        assert response.one("connection") == (b"keep-alive" if keep else b"close")
        if not keep:
            assert await client.rest() == b""
            client = await gw.client()
        await client.send(gw.get("/chunked", *fields).replace(b"HTTP/1.1", b"HTTP/1.0"))
        response = await client.response()
        assert not response.has("transfer-encoding")
        assert response.one("connection") == b"close"
        assert response.body == b"chunked"


async def test_31_httpx_and_its_connection_pool_are_at_home() -> None:
    """An everyday client: bodies both ways, streaming, HEAD, keep-alive (own rule)."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, upstream):
        headers = {"e2b-sandbox-id": "box", "e2b-sandbox-port": str(gw.port)}
        base = f"http://127.0.0.1:{gw.address[1]}"
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False) as client:
            first = await client.get("/a", params={"q": "ü"})
            assert first.headers["x-sandbox-cold-start"] == "true"
            assert first.text == "GET /a?q=%C3%BC "

            async def pieces() -> AsyncIterator[bytes]:
                for n in range(3):
                    yield b"piece%d" % n

            echoed = await client.post("/b", content=pieces())
            assert echoed.text == "POST /b piece0piece1piece2"
            assert "x-sandbox-cold-start" not in echoed.headers
            assert (await client.put("/c", json={"a": 1})).text == 'PUT /c {"a":1}'
        assert len(upstream.legs) == 1


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n", b""])
async def test_35_server_sent_events_arrive_one_by_one_at_once(framing: bytes) -> None:
    """The next event is only sent once the one before has arrived."""
    arrived: asyncio.Queue[int] = asyncio.Queue()

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n" % framing)
        for n in range(5):
            event = b"data: %d\n\n" % n
            await leg.send(b"%x\r\n%b\r\n" % (len(event), event) if framing else event)
            assert await arrived.get() == n
        await leg.send(b"0\r\n\r\n" if framing else b"")

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/events", "Accept: text/event-stream"))
        assert (await client.head()).one("content-type") == b"text/event-stream"
        for n in range(5):
            await client.until(b"data: %d\n\n" % n)
            await arrived.put(n)
        await client.until(b"0\r\n\r\n")


async def test_35_a_response_that_begins_before_the_request_ended_flows_both_ways() -> None:
    """A dialogue in one exchange: each side goes on as it gets the other's bytes."""

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(3):
            await leg.until(b"ping%d" % n)
            await leg.send(b"5\r\npong%d\r\n" % n)
        await leg.until(b"0\r\n\r\n")
        await leg.send(b"0\r\n\r\n")

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Transfer-Encoding: chunked"))
        await client.head()
        for n in range(3):
            await client.send(b"5\r\nping%d\r\n" % n)
            await client.until(b"pong%d" % n)
        await client.send(b"0\r\n\r\n")
        await client.until(b"0\r\n\r\n")
