"""Header fields, both ways (lines 20 to 26)."""

from __future__ import annotations

import gzip
import secrets

import pytest

from gateway.auth.access import AccessTokens
from gateway.proxy.target import TargetConfig
from gateway.sandbox.model import Credential

from .harness import gateway
from .upstream import ECHO, always
from .wire import chunked, ok

#: What a bare request becomes upstream, besides its own request line.
ADDED = [b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"via"]


async def test_20_hop_by_hop_fields_end_here_in_requests() -> None:
    """RFC 9110 §7.6.1: those that are always the connection's, and those that Connection names."""
    fields = [
        "Connection: close, X-Named, x-other",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic abc",
        "TE: trailers",
        "Upgrade: foo",
        "X-Named: 1",
        "x-OTHER: 2",
        "X-Kept: 3",
    ]
    async with gateway(ECHO) as (gw, upstream):
        await gw.ask(gw.get("/", *fields))
        (request,) = upstream.requests
        names = [name.lower() for name, _ in request.fields]
        assert sorted(names) == sorted([*ADDED, b"x-kept"])


async def test_20_hop_by_hop_fields_end_here_in_responses() -> None:
    """RFC 9110 §7.6.1."""
    fields = [
        "Connection: X-Named, keep-alive",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Upgrade: h2c",
        "X-Named: 1",
        "X-Kept: 2",
    ]
    async with gateway(always(ok(b"ok", *fields))) as (gw, _):
        response = await gw.ask(gw.get("/"))
        assert response.fields == [(b"X-Kept", b"2"), (b"Content-Length", b"2")]


async def test_21_via_is_added_and_continued() -> None:
    """RFC 9110 §7.6.3."""
    async with gateway(ECHO) as (gw, upstream):
        await gw.ask(gw.get("/"))
        await gw.ask(gw.get("/", "Via: 1.0 fred", "Via: 1.1 p.example (x)"))
        assert [one.one("via") for one in upstream.requests] == [
            b"1.1 sandbox-gateway",
            b"1.0 fred, 1.1 p.example (x), 1.1 sandbox-gateway",
        ]


@pytest.mark.parametrize(
    "via",
    [
        "1.1 sandbox-gateway",
        "1.0 fred, 1.1 sandbox-gateway, 1.1 p",
        "HTTP/1.1 sandbox-gateway (comment)",
    ],
)
async def test_21_a_request_that_was_here_before_is_508(via: str) -> None:
    """RFC 9110 §7.6.3: Via is for finding loops."""
    async with gateway(ECHO) as (gw, upstream):
        assert (await gw.ask(gw.get("/", f"Via: {via}"))).status == 508
        assert upstream.received == b""


@pytest.mark.parametrize("via", ["1.1 my-sandbox-gateway", "1.1 a (sandbox-gateway)"])
async def test_21_another_name_that_contains_ours_is_no_loop(via: str) -> None:
    """RFC 9110 §7.6.3: the pseudonym is compared whole."""
    async with gateway(ECHO) as (gw, _):
        assert (await gw.ask(gw.get("/", f"Via: {via}"))).status == 200


FORWARDED = [
    "X-Forwarded-For: 9.9.9.9",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "Forwarded: for=9.9.9.9",
]


async def test_22_forwarded_fields_of_an_untrusted_peer_are_overwritten() -> None:
    """RFC 7239 §8.1: anybody can write them."""
    async with gateway(ECHO) as (gw, upstream):
        await gw.ask(gw.get("/", *FORWARDED))
        (request,) = upstream.requests
        assert request.one("x-forwarded-for") == b"127.0.0.1"
        assert request.one("x-forwarded-proto") == b"http"
        assert request.one("x-forwarded-host") == b"box.example"
        assert not request.has("forwarded")


async def test_22_forwarded_fields_of_a_trusted_proxy_are_continued() -> None:
    """RFC 7239 §4: each proxy adds itself at the end."""
    async with gateway(ECHO, trusted=lambda address: address == "127.0.0.1") as (gw, upstream):
        await gw.ask(gw.get("/", *FORWARDED, "X-Forwarded-For: 8.8.8.8"))
        (request,) = upstream.requests
        assert request.one("x-forwarded-for") == b"9.9.9.9, 8.8.8.8, 127.0.0.1"
        assert request.one("x-forwarded-proto") == b"https"
        assert request.one("x-forwarded-host") == b"evil.example"
        assert request.one("forwarded") == b"for=9.9.9.9, for=127.0.0.1"


async def test_23_target_fields_never_reach_a_sandbox_however_they_are_written() -> None:
    """CGI and friends make one name of `X-Sandbox-Id` and `X_Sandbox_ID`: neither goes on."""
    fields = [
        "E2B_SANDBOX_ID: other",
        "e2b-sandbox_port: 1",
        "X-Sandbox-Pod-IP: 10.0.0.1",
        "X_Sandbox_Pod_IP: 10.0.0.1",
        "X-SANDBOX-PORT: 1",
        "X-Sandbox-Uid: 1",
        "X-Sandbox-Timeout: 3",
        "X_Forwarded_For: 9.9.9.9",
        "Content_Length: 4",
        "My_Own: kept",
    ]
    async with gateway(ECHO) as (gw, upstream):
        await gw.ask(gw.get("/", *fields))
        (request,) = upstream.requests
        names = [name.lower() for name, _ in request.fields]
        assert sorted(names) == sorted([*ADDED, b"my_own"])


@pytest.mark.parametrize(
    "fields",
    [
        ["e2b-sandbox-id: other"],
        ["E2B-SANDBOX-ID: box"],
        ["e2b-sandbox-port: 1"],
        ["X-Sandbox-ID: other"],
        ["E2b-Sandbox-Id: box, other"],
    ],
)
async def test_23_a_second_target_is_400_and_never_trusted(fields: list[str]) -> None:
    """A request that passes a check as one sandbox must not be forwarded as another."""
    async with gateway(ECHO) as (gw, upstream):
        gw.sandboxes.add("other", gw.sandboxes["box"].state)
        assert (await gw.ask(gw.get("/", *fields))).status == 400
        assert upstream.received == b""


async def test_23_two_schemes_that_differ_are_400_and_that_agree_are_fine() -> None:
    """Host and header may both name a sandbox, but only the same one and the same port."""
    targets = TargetConfig(host_suffixes=("s.example",))
    async with gateway(ECHO, targets=targets) as (gw, upstream):
        for host, status in [
            (f"{gw.port}-box.s.example", 200),
            (f"{gw.port}-other.s.example", 400),
            (f"{gw.port - 1}-box.s.example", 400),
            ("box.s.example", 400),
        ]:
            request = gw.get("/").replace(b"box.example", host.encode())
            assert (await gw.ask(request)).status == status, host
        assert len(upstream.requests) == 1


async def test_24_the_gateways_credential_never_reaches_a_sandbox() -> None:
    """It is taken out once it was judged; who has it could reach the sandbox by itself."""
    route = {"credential": Credential(token="t0ken")}
    async with gateway(ECHO, authenticator=AccessTokens(), route=route) as (gw, upstream):
        response = await gw.ask(gw.get("/", "X-Access-Token: t0ken", "Authorization: mine"))
        assert response.status == 200
        assert b"t0ken" not in upstream.received
        assert upstream.requests[0].one("authorization") == b"mine"
        assert b"t0ken" not in repr(gw.log()).encode()


async def test_24_nor_in_a_trailer_or_with_an_underscore() -> None:
    """RFC 9110 §6.5.1: trailers could smuggle what fields may not say."""
    route = {"credential": Credential(token="t0ken")}
    async with gateway(ECHO, authenticator=AccessTokens(), route=route) as (gw, upstream):
        head = gw.head(
            "POST",
            "/",
            "X-Access-Token: t0ken",
            "X_Access_Token: t0ken",
            "Transfer-Encoding: chunked",
        )
        trailers = b"X-Access-Token: t0ken\r\nX_Access_Token: t0ken\r\nX-Sum: 1\r\n"
        response = await gw.ask(head + chunked(b"x", trailers=trailers))
        assert response.status == 200
        assert b"t0ken" not in upstream.received
        assert upstream.requests[0].trailers == [(b"X-Sum", b"1")]


async def test_25_order_repetition_case_and_bytes_of_fields_are_kept() -> None:
    """RFC 9110 §5.3 and §5.5: obs-text included."""
    theirs = [
        (b"X-b", b"1"),
        (b"x-A", b"\xe9\xff\x80"),
        (b"Cookie", b"a=1"),
        (b"X-b", b"2"),
        (b"cookie", b"b=2"),
        (b"X-Empty", b""),
        (b"User-Agent", b"one"),
        (b"User-Agent", b"two"),
        (b"X-Spaces", b"in   the\tmiddle"),
    ]
    lines = [b"%b: %b" % field for field in theirs]
    async with gateway(ECHO) as (gw, upstream):
        await gw.ask(gw.get("/", *(line.decode("latin-1") for line in lines)))
        fields = upstream.requests[0].fields
        assert [field for field in fields if field[0].lower() not in ADDED] == theirs


async def test_25_every_set_cookie_of_a_response_arrives_in_order() -> None:
    """RFC 9110 §5.3: Set-Cookie can not be combined."""
    fields = ["Set-Cookie: a=1, x", "X-A: \xe9", "set-cookie: b=2", "Set-Cookie: a=1, x"]
    response = ok(b"", *fields)
    raw = response.replace("\xe9".encode(), b"\xe9")
    async with gateway(always(raw)) as (gw, _):
        answer = await gw.ask(gw.get("/"))
        assert answer.fields == [
            (b"Set-Cookie", b"a=1, x"),
            (b"X-A", b"\xe9"),
            (b"set-cookie", b"b=2"),
            (b"Set-Cookie", b"a=1, x"),
            (b"Content-Length", b"0"),
        ]


async def test_25_the_reason_phrase_is_kept() -> None:
    """RFC 9112 §4: it may be anything, or empty."""
    for line in (b"HTTP/1.1 200 \xc3\x9cber Gut", b"HTTP/1.1 299 ", b"HTTP/1.1 418 I'm a teapot"):
        async with gateway(always(line + b"\r\nContent-Length: 0\r\n\r\n")) as (gw, _):
            assert (await gw.ask(gw.get("/"))).start == line


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
async def test_26_coded_bodies_are_bytes_both_ways(coding: str) -> None:
    """RFC 9110 §8.4 and §7.7: a proxy transforms nothing."""
    body = gzip.compress(b"hello" * 1000) if coding == "gzip" else secrets.token_bytes(5000)
    field = f"Content-Encoding: {coding}"
    async with gateway(always(ok(body, field))) as (gw, upstream):
        response = await gw.ask(gw.post("/", body, field), "POST")
        assert response.body == body
        assert response.one("content-encoding") == coding.encode()
        assert upstream.requests[0].body == body
        assert upstream.requests[0].one("content-encoding") == coding.encode()


async def test_26_nothing_is_invented() -> None:
    """No User-Agent, Accept-Encoding, Date or Server: only what the rules ask for (own rule)."""
    async with gateway(always(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as (gw, upstream):
        response = await gw.ask(gw.get("/"))
        assert response.fields == [(b"Content-Length", b"0")]
        assert [name.lower() for name, _ in upstream.requests[0].fields] == ADDED


async def test_26_a_body_of_any_method_goes_on_and_none_is_made_up() -> None:
    """RFC 9110 §9.3.1: a GET may have one; a POST without a length has none."""
    async with gateway(ECHO) as (gw, upstream):
        asked = await gw.ask(gw.head("GET", "/", "Content-Length: 2") + b"hi")
        assert asked.body == b"GET / hi"
        assert (await gw.ask(gw.head("POST", "/"))).body == b"POST / "
        assert (await gw.ask(gw.head("POST", "/", "Content-Length: 0"))).body == b"POST / "
        assert [one.all("content-length") for one in upstream.requests] == [[b"2"], [], [b"0"]]
