"""Framing (lines 1 to 9, and 12): where one message ends is never a matter of opinion."""

from __future__ import annotations

import asyncio

import pytest

from gateway.auth.access import AccessTokens
from gateway.proxy.limits import RequestLimits
from gateway.sandbox.model import Credential

from .harness import Gateway, eventually, gateway
from .upstream import ECHO, Leg, Upstream, answering
from .wire import Message, chunked, ok

BODY = b"hello"


async def refused(gw: Gateway, upstream: Upstream, request: bytes, *statuses: int) -> Message:
    """Send what is illegal: it is answered with one of the statuses, then the connection ends.

    A legal request right behind it is never parsed, and nothing goes upstream.
    """
    client = await gw.client()
    await client.send(request + gw.get("/smuggled"))
    response = await client.response()
    assert response.status in statuses, (request, response)
    assert response.one("connection") == b"close"
    await client.ended()
    assert client.received.count(b"HTTP/1.1 ") == 1
    assert upstream.received == b""
    client.close()
    return response


@pytest.mark.parametrize("swapped", [False, True])
async def test_1_both_lengths_are_400_and_nothing_goes_upstream(swapped: bool) -> None:
    """RFC 9112 §6.1: Content-Length beside Transfer-Encoding is a smuggling attempt."""
    fields = ["Content-Length: 5", "Transfer-Encoding: chunked"]
    async with gateway(ECHO) as (gw, upstream):
        head = gw.head("POST", "/", *(reversed(fields) if swapped else fields))
        await refused(gw, upstream, head + chunked(BODY), 400)


@pytest.mark.parametrize(
    "lengths",
    [
        ["Content-Length: 5", "Content-Length: 5"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "content-LENGTH: 5"],
        ["Content-Length: 5, 5"],
        ["Content-Length: 5\x0b"],
        ["Content-Length: \x0c5"],
        ["Content-Length : 5"],
        ["Content-Length\t: 5"],
        ["Content-Length: +5"],
        ["Content-Length: 0x5"],
        ["Content-Length: -5"],
        ["Content-Length: 5_0"],
        ["Content-Length: 5 0"],
        ["Content-Length: 5.0"],
        ["Content-Length: \u0665".encode().decode("latin-1")],
        ["Content-Length:"],
        ["Content-Length: 18446744073709551616"],
        ["Content-Length: 99999999999999999999999999"],
    ],
)
async def test_2_a_length_that_is_not_one_plain_number_is_400(lengths: list[str]) -> None:
    """RFC 9112 §6.3 (5) and 9110 §8.6: 1*DIGIT, once."""
    async with gateway(ECHO) as (gw, upstream):
        await refused(gw, upstream, gw.head("POST", "/", *lengths) + BODY, 400)


@pytest.mark.parametrize(
    ("codings", "status"),
    [
        (["Transfer-Encoding: xchunked"], 400),
        (["Transfer-Encoding: chunked, identity"], 400),
        (["Transfer-Encoding: identity, chunked"], 400),
        (["Transfer-Encoding: chunked, chunked"], 400),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], 400),
        (["Transfer-Encoding: chunked,"], 400),
        (["Transfer-Encoding: \x0bchunked"], 400),
        (["Transfer-Encoding: chunked\x0c"], 400),
        (["Transfer-Encoding: \xa0chunked"], 400),
        (['Transfer-Encoding: "chunked"'], 400),
        (["Transfer-Encoding: chunked;q=1"], 400),
        (["Transfer-Encoding : chunked"], 400),
        (["Transfer-Encoding\t: chunked"], 400),
        (["\x0bTransfer-Encoding: chunked"], 400),
        (["X: a\x0bTransfer-Encoding: chunked"], 400),
        (["Transfer-Encoding:"], 400),
        (["Transfer-Encoding: identity"], 400),
        (["Transfer-Encoding: gzip"], 400),
        (["Transfer-Encoding: gzip, chunked"], 501),
    ],
)
async def test_3_a_coding_that_is_not_plain_chunked_is_refused(
    codings: list[str], status: int
) -> None:
    """RFC 9112 §6.1: an unknown coding is 501, one whose framing is in doubt 400."""
    async with gateway(ECHO) as (gw, upstream):
        request = gw.head("POST", "/", *codings) + chunked(BODY)
        await refused(gw, upstream, request, status)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("Transfer_Encoding: chunked", b""),
        ("Content_Length: 99", b""),
        ("X-Transfer-Encoding: chunked", b""),
        ("Transfer-Encoding:\tCHUNKED", chunked(BODY)),
    ],
)
async def test_3_what_only_looks_like_framing_frames_nothing(field: str, body: bytes) -> None:
    """RFC 9112 §6.1: by its name alone; space around a value and the case of a coding are free."""
    async with gateway(ECHO) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.head("POST", "/1", field) + body + gw.get("/2"))
        assert (await client.response()).body == b"POST /1 " + (BODY if body else b"")
        assert (await client.response()).body == b"GET /2 "
        assert b"_" not in upstream.received


async def test_4_chunked_in_http_1_0_is_400() -> None:
    """RFC 9112 §6.1: a Transfer-Encoding in HTTP/1.0 means that the framing is faulty."""
    async with gateway(ECHO) as (gw, upstream):
        head = gw.head("POST", "/", "Transfer-Encoding: chunked", "Connection: keep-alive")
        request = head.replace(b"HTTP/1.1", b"HTTP/1.0") + chunked(BODY)
        await refused(gw, upstream, request, 400)


@pytest.mark.parametrize(
    "chunks",
    [
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"5;a=\x00b\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n',
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\t;a\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX : a\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: a\r\n folded\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\n",
        b"\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_5_a_broken_chunk_is_400_and_never_the_end_of_a_body(chunks: bytes) -> None:
    """RFC 9112 §7.1. The head was legal and is on its way: its sandbox must not see an end."""

    async def script(leg: Leg) -> None:
        await leg.request()
        raise AssertionError("the sandbox took a broken body for a whole one")

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        head = gw.head("POST", "/", "Transfer-Encoding: chunked")
        await client.send(head + chunks + gw.get("/smuggled"))
        response = await client.response()
        assert response.status == 400
        assert response.one("connection") == b"close"
        await client.ended()
        assert b"smuggled" not in upstream.received
        assert len(upstream.legs) <= 1


async def test_5_a_chunk_that_breaks_in_a_later_read_ends_the_upload() -> None:
    """RFC 9112 §7.1: an error long after the head ends the request, and frees what it held."""

    async def script(leg: Leg) -> None:
        await leg.request()
        raise AssertionError("the sandbox took a broken body for a whole one")

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Transfer-Encoding: chunked"))
        await client.send(b"5\r\nhello\r\n")
        await eventually(lambda: b"hello" in upstream.received)
        await client.send(b"zz\r\n")
        assert (await client.response()).status == 400
        await client.ended()


async def test_6_an_endless_chunk_extension_is_bounded() -> None:
    """RFC 9112 §7.1.1: extensions are ignored, so their total is bounded."""
    async with gateway(ECHO) as (gw, _):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Transfer-Encoding: chunked") + b"5;")
        sent = 0
        try:
            while sent < 16 * 2**20:
                await client.send(b"a" * 65536)
                sent += 65536
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        assert sent < 16 * 2**20


async def test_6_endless_trailers_are_bounded() -> None:
    """RFC 9112 §7.1.2: a trailer section is bounded as a header section is."""
    async with gateway(ECHO) as (gw, _):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Transfer-Encoding: chunked") + b"0\r\n")
        sent = 0
        try:
            while sent < 16 * 2**20:
                await client.send(b"X-Trailer: %b\r\n" % (b"a" * 1000) * 64)
                sent += 65536
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        assert sent < 16 * 2**20


async def test_6_many_one_byte_chunks_cost_neither_memory_nor_one_write_each() -> None:
    """A million arrive as a million bytes; chunk for chunk would be six times that (own rule)."""
    count = 1_000_000
    async with gateway(answering(lambda request: ok(b"%d" % len(request.body)))) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Transfer-Encoding: chunked"))
        sending = asyncio.create_task(client.send(chunked(*[b"x"] * count)))
        assert (await client.response()).body == b"%d" % count
        await sending
        assert len(upstream.received) < 1.2 * count


@pytest.mark.parametrize(
    "line",
    [
        b"X-A : b",
        b"X-A\t: b",
        b"X-A: b\r\n folded",
        b"X-A: b\r\n\tfolded",
        b"X-A: a\rb",
        b"X-A: a\nX-B: b",
        b"X-A: a\x00b",
        b"X-A: a\x0bb",
        b"X-A: a\x7fb",
        b"X-A: b\r\n\n",
        b"X-A: b\r\n\r",
        b"X-A\x00: b",
        b"X(A): b",
        b": b",
        b"no colon",
    ],
)
async def test_7_a_malformed_field_line_is_400(line: bytes) -> None:
    """RFC 9112 §5, §5.1, §5.2 and §2.2: no obs-fold, no space, no bare CR, LF or NUL."""
    async with gateway(ECHO) as (gw, upstream):
        await refused(gw, upstream, gw.get("/").replace(b"\r\n\r\n", b"\r\n%b\r\n\r\n" % line), 400)


async def test_7_a_field_that_begins_with_space_is_400() -> None:
    """RFC 9112 §2.2: whitespace between the start line and the first field."""
    async with gateway(ECHO) as (gw, upstream):
        await refused(gw, upstream, gw.get("/").replace(b"\r\nHost", b"\r\n Host"), 400)


@pytest.mark.parametrize("line", [b"GET /\t HTTP/1.1", b"GET / a HTTP/1.1", b"GET\t/ HTTP/1.1"])
async def test_7_a_request_line_with_other_space_is_400(line: bytes) -> None:
    """RFC 9112 §3: a target has no whitespace."""
    async with gateway(ECHO) as (gw, upstream):
        await refused(gw, upstream, gw.get("/").replace(b"GET / HTTP/1.1", line), 400, 505)


async def test_8_an_error_with_the_body_unread_never_makes_a_request_of_the_rest() -> None:
    """RFC 9112 §9.3: who does not read the body must close."""
    async with gateway(ECHO, linger_timeout=0.2) as (gw, upstream):
        request = gw.head("POST", "/", "Content-Length: 1000", to="nobody")
        await refused(gw, upstream, request + b"GET /", 502)


async def test_8_bytes_after_a_request_that_closes_are_not_a_request() -> None:
    """RFC 9112 §9.6: after `Connection: close` nothing more is processed."""
    async with gateway(ECHO) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.get("/1", "Connection: close") + gw.get("/2"))
        response = await client.response()
        assert (response.status, response.one("connection")) == (200, b"close")
        await client.ended()
        assert len(upstream.requests) == 1


async def test_9_connection_cannot_name_away_what_the_gateway_relies_on() -> None:
    """RFC 9110 §7.6.1: it takes away end-to-end fields at most, never framing, Host or auth."""
    async with gateway(ECHO) as (gw, upstream):
        named = "Connection: content-length, host, authorization, transfer-encoding, x-mine"
        fields = ["Authorization: Basic abc", "X-Mine: 1", "X-Other: 2", named]
        response = await gw.ask(gw.post("/", BODY, *fields), "POST")
        assert response.body == b"POST / " + BODY
        (request,) = upstream.requests
        assert request.one("host") == b"box.example"
        assert request.one("content-length") == b"5"
        assert request.has("x-other")
        assert not request.has("x-mine")
        assert not request.has("connection")


async def test_9_connection_cannot_name_away_a_credential_or_a_target() -> None:
    """RFC 9110 §7.6.1: what the gateway itself judges is judged, whatever Connection names."""
    route = {"credential": Credential(token="t0ken")}
    async with gateway(ECHO, authenticator=AccessTokens(), route=route) as (gw, upstream):
        gw.sandboxes.add("other", gw.sandboxes["box"].state)
        named = "Connection: x-access-token, authorization, e2b-sandbox-id, x-forwarded-for, via"
        assert (await gw.ask(gw.get("/", named, "X-Access-Token: wrong"))).status == 401
        assert (await gw.ask(gw.get("/", named, "X-Access-Token: t0ken"))).status == 200
        (request,) = upstream.requests
        assert request.one("x-forwarded-for") == b"127.0.0.1"
        assert request.one("via") == b"1.1 sandbox-gateway"


async def test_12_crlf_before_a_request_is_ignored() -> None:
    """RFC 9112 §2.2: at least one empty line in front of a request line."""
    async with gateway(ECHO) as (gw, _):
        client = await gw.client()
        await client.send(b"\r\n" + gw.get("/1"))
        assert (await client.response()).body == b"GET /1 "
        await client.send(b"\r\n" + gw.get("/2"))
        assert (await client.response()).body == b"GET /2 "


async def test_12_pipelined_requests_are_answered_in_order() -> None:
    """RFC 9112 §9.3.2: also where a later one could be answered sooner."""
    async with gateway(ECHO) as (gw, _):
        client = await gw.client()
        requests = [
            gw.post(f"/{n}", b"body %d" % n) if n % 3 else gw.get(f"/{n}", to="nobody")
            for n in range(100)
        ]
        sending = asyncio.create_task(client.send(b"".join(requests)))
        for n in range(100):
            response = await client.response()
            if n % 3:
                assert response.body == b"POST /%d body %d" % (n, n)
            else:
                assert response.status == 502
        await sending


async def test_12_a_request_byte_by_byte_is_the_same_request() -> None:
    """Where reads end means nothing (own rule)."""
    async with gateway(ECHO) as (gw, upstream):
        client = await gw.client()
        head = gw.head("POST", "/x?y=1", "Transfer-Encoding: chunked")
        for byte in head + chunked(b"hel", b"lo", trailers=b"X-T: 1\r\n"):
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.response()).body == b"POST /x?y=1 hello"
        assert upstream.requests[0].trailers == [(b"X-T", b"1")]


async def test_12_a_body_limit_counts_over_the_whole_body() -> None:
    """RFC 9110 §15.5.14: a chunked body has no length to be judged by: it is counted."""
    async with gateway(ECHO, limits=RequestLimits(max_body=1000)) as (gw, _):
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Transfer-Encoding: chunked"))
        await client.send(chunked(b"a" * 600, b"b" * 600))
        assert (await client.response()).status == 413
        await client.ended()
