"""Request lines, targets, sizes and the gateway's own answers (lines 13 to 19)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.proxy.limits import RequestLimits
from gateway.proxy.reach import ReachConfig
from gateway.proxy.target import TargetConfig

from .harness import Gateway, gateway
from .upstream import ECHO, Upstream

if TYPE_CHECKING:
    from .wire import Message


async def refused(gw: Gateway, upstream: Upstream, request: bytes, *statuses: int) -> Message:
    """Send what is illegal; it is answered, the connection ends, nothing goes upstream."""
    client = await gw.client()
    await client.send(request)
    response = await client.response()
    assert response.status in statuses, (request, response)
    await client.ended()
    assert upstream.received == b""
    return response


# ---- 13 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version",
    [b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/1", b"HTTP/11", b"HTP/1.1"],
)
async def test_13_another_version_is_400_or_505(version: bytes) -> None:
    """RFC 9110 §15.6.6 and 9112 §2.3."""
    async with gateway(ECHO) as (gw, upstream):
        await refused(gw, upstream, gw.get("/").replace(b"HTTP/1.1", version), 400, 505)


async def test_13_a_simple_request_without_a_version_is_400() -> None:
    """RFC 9112 §3: HTTP/0.9 has no version at all."""
    async with gateway(ECHO) as (gw, upstream):
        await refused(gw, upstream, b"GET /\r\n\r\n", 400, 505)


async def test_13_the_preface_of_http_2_is_refused() -> None:
    """RFC 9113 §3.4: prior knowledge of HTTP/2 looks like this to an HTTP/1.1 server."""
    async with gateway(ECHO) as (gw, upstream):
        await refused(gw, upstream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 405, 505)


# ---- 14 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"Host: a.example\r\nHost: b.example\r\n",
        b"Host: a.example\r\nhost: a.example\r\n",
        b"Host: a.example, b.example\r\n",
        b"Host: user@box.example\r\n",
        b"Host: box.example/path\r\n",
        b"Host: http://box.example\r\n",
        b"Host: \r\n",
        b"Host: box.example:\r\n",
        b"Host: box.example:x\r\n",
        b"Host: box.example:0\r\n",
        b"Host: box.example:65536\r\n",
        b"Host: box.example:123456\r\n",
        b"Host: box.example:80:80\r\n",
        b"Host: box example\r\n",
        b"Host: box\\example\r\n",
        b"Host: [::1\r\n",
        b"Host: b\xc3\xb6x.example\r\n",
    ],
)
async def test_14_without_exactly_one_valid_host_it_is_400(host: bytes) -> None:
    """RFC 9112 §3.2."""
    async with gateway(ECHO) as (gw, upstream):
        request = gw.get("/").replace(b"Host: box.example\r\n", host)
        await refused(gw, upstream, request, 400)


@pytest.mark.parametrize(
    "host", [b"box.example", b"box.example:80", b"[::1]:8080", b"[::1]", b"10.0.0.1:65535"]
)
async def test_14_a_valid_host_is_passed_on_as_it_is(host: bytes) -> None:
    """RFC 9110 §7.2: the sandbox sees the authority that the client asked for."""
    async with gateway(ECHO) as (gw, upstream):
        response = await gw.ask(gw.get("/").replace(b"box.example", host))
        assert response.status == 200
        assert upstream.requests[0].one("host") == host


async def test_14_http_1_0_needs_no_host() -> None:
    """RFC 9112 §3.2: only an HTTP/1.1 request must have one; the sandbox gets one all the same."""
    async with gateway(ECHO) as (gw, upstream):
        request = gw.get("/").replace(b"HTTP/1.1\r\nHost: box.example", b"HTTP/1.0")
        assert (await gw.ask(request)).status == 200
        assert upstream.requests[0].one("host") == b"127.0.0.1:%d" % gw.port


# ---- 15, 16, 17 --------------------------------------------------------------------------------


async def test_15_absolute_form_is_taken_where_its_authority_is_the_host() -> None:
    """RFC 9112 §3.2.2: servers must accept it; upstream it is origin-form again."""
    async with gateway(ECHO) as (gw, upstream):
        for target, path in [
            ("http://box.example/a?b", b"/a?b"),
            ("HTTP://BOX.example/", b"/"),
            ("http://box.example", b"/"),
            ("http://box.example?q", b"/?q"),
        ]:
            assert (await gw.ask(gw.get(target))).body == b"GET %b " % path
        assert [one.one("host") for one in upstream.requests] == [b"box.example"] * 4


@pytest.mark.parametrize(
    "target",
    [
        "http://other.example/",
        "http://box.example:81/",
        "http://user@box.example/",
        "http:///",
        "http://",
        "ftp://box.example/",
        "box.example/",
        "box.example:80",
        "?q",
        "*",
    ],
)
async def test_15_another_authority_or_no_known_form_is_400(target: str) -> None:
    """RFC 9112 §3.2: two authorities, of which each side could believe another one."""
    async with gateway(ECHO) as (gw, upstream):
        await refused(gw, upstream, gw.get(target), 400)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT box.example:80 HTTP/1.1", 405),
        (b"CONNECT 169.254.169.254:80 HTTP/1.1", 405),
        (b"TRACE / HTTP/1.1", 405),
    ],
)
async def test_16_connect_and_trace_are_405(line: bytes, status: int) -> None:
    """RFC 9110 §9.3.6, §9.3.8 and §15.5.6: with the methods that there are."""
    async with gateway(ECHO) as (gw, upstream):
        request = gw.get("/").replace(b"GET / HTTP/1.1", line)
        response = await refused(gw, upstream, request, status)
        assert b"GET" in response.one("allow")


async def test_16_a_fragment_is_400() -> None:
    """RFC 9112 §3.2: a fragment is no part of a request target."""
    async with gateway(ECHO) as (gw, upstream):
        for target in ("/a#b", "/#", "http://box.example/#x"):
            await refused(gw, upstream, gw.get(target), 400)


async def test_16_options_of_the_server_as_a_whole_is_answered_here() -> None:
    """RFC 9110 §9.3.7: `OPTIONS *` asks about the gateway and wakes nobody."""
    async with gateway() as (gw, _):
        response = await gw.ask(b"OPTIONS * HTTP/1.1\r\nHost: gateway.example\r\n\r\n")
        assert response.status == 204
        assert b"GET" in response.one("allow")


@pytest.mark.parametrize(
    "target",
    [
        "//",
        "//double//slash",
        "/../..//etc/./passwd",
        "/a%2Fb%2f%2e%2e/",
        "/%00%ff%C3%BC",
        "/a;b=c;d/e,f",
        "/?a=%20&b=%2F&&=;#".rstrip("#"),
        "/?",
        "/~user/$&'()*+,;=:@!",
        "/?next=http://elsewhere.example/?x=1",
        "/%",
        "/%zz",
    ],
)
async def test_17_a_target_arrives_byte_for_byte(target: str) -> None:
    """RFC 9110 §7.7: a path is not decoded, normalized or encoded again on its way."""
    async with gateway(ECHO) as (gw, upstream):
        assert (await gw.ask(gw.get(target))).status == 200
        assert upstream.requests[0].target == target.encode()


async def test_17_the_rest_of_a_path_that_names_its_sandbox_arrives_byte_for_byte() -> None:
    """What remains when the name is taken off is as it was (own rule)."""
    async with gateway(ECHO) as (gw, upstream):
        for rest in ("", "//x", "%2F?a=%2F", "../y", "?q"):
            request = f"GET /kruise/box/{gw.port}/{rest} HTTP/1.1\r\nHost: a.example\r\n\r\n"
            assert (await gw.ask(request.encode())).status == 200
            assert upstream.requests[-1].target == b"/" + rest.encode()


# ---- 18 ----------------------------------------------------------------------------------------

LIMITS = RequestLimits(max_uri=1000, max_head=4000, max_headers=20, max_body=10_000)


async def test_18_a_long_target_is_414() -> None:
    """RFC 9110 §15.5.15."""
    async with gateway(ECHO, limits=LIMITS) as (gw, upstream):
        assert (await gw.ask(gw.get("/" + "a" * 998))).status == 200
        before = upstream.received
        client = await gw.client()
        await client.send(gw.get("/" + "a" * 1001))
        assert (await client.response()).status == 414
        await client.ended()
        assert upstream.received == before


@pytest.mark.parametrize(
    "fields",
    [
        ["X-A: " + "a" * 4000],
        [f"X-{n}: " + "a" * 100 for n in range(40)],
        [f"X-{n}: a" for n in range(30)],
        ["Via: " + "a" * 4000],
    ],
)
async def test_18_a_large_head_is_431(fields: list[str]) -> None:
    """RFC 6585 §5."""
    async with gateway(ECHO, limits=LIMITS) as (gw, upstream):
        await refused(gw, upstream, gw.get("/", *fields), 431)


@pytest.mark.parametrize("endless", [b"a", b"X-A: a\r\n", b"X-A: "])
async def test_18_an_endless_head_is_cut_off_while_it_comes(endless: bytes) -> None:
    """RFC 6585 §5: nothing is gathered beyond the limits, wherever in the head it comes."""
    async with gateway(ECHO, limits=LIMITS) as (gw, _):
        client = await gw.client()
        await client.send(b"GET /" if endless == b"a" else b"GET / HTTP/1.1\r\n")
        sent = 0
        try:
            while sent < 8 * 2**20:
                await client.send(endless * (16384 // len(endless)))
                sent += 16384
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        assert sent < 8 * 2**20


async def test_18_a_body_over_the_limit_is_413() -> None:
    """RFC 9110 §15.5.14: by its length, before any of it is taken."""
    async with gateway(ECHO, limits=LIMITS) as (gw, upstream):
        assert (await gw.ask(gw.post("/", b"a" * 10_000), "POST")).status == 200
        before = upstream.received
        client = await gw.client()
        await client.send(gw.head("POST", "/", "Content-Length: 10001"))
        assert (await client.response()).status == 413
        await client.ended()
        assert upstream.received == before


# ---- 19 ----------------------------------------------------------------------------------------

MARKER = "MARKER-7f3a"


@pytest.mark.parametrize(
    ("request_line", "fields"),
    [
        (f"GET /{MARKER} HTTP/1.1", [f"E2b-Sandbox-Id: {MARKER}"]),
        (f"GET /{MARKER}?{MARKER} HTTP/1.1", ["E2b-Sandbox-Id: box", "E2b-Sandbox-Port: 1"]),
        (f"GET /{MARKER} HTTP/9.9", []),
        (f"GET /{MARKER}#{MARKER} HTTP/1.1", []),
        (f"{MARKER} / HTTP/1.1", []),
        (f"TRACE /{MARKER} HTTP/1.1", [f"X-Secret: {MARKER}"]),
        ("GET / HTTP/1.1", [f"Host: {MARKER}@x", f"{MARKER} : x"]),
        ("GET / HTTP/1.1", [f"E2b-Sandbox-Id: <script>{MARKER}</script>"]),
        ("GET / HTTP/1.1", ["E2b-Sandbox-Id: box", f"E2b-Sandbox-Port: {MARKER}"]),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html,application/xhtml+xml"])
async def test_19_an_error_echoes_nothing_and_is_one_bounded_line_in_the_log(
    request_line: str, fields: list[str], accept: str
) -> None:
    """RFC 9457, RFC 9209: what happened, never what was sent, an address or a trace."""
    async with gateway(ECHO, reach=ReachConfig(dial_timeout=0.1)) as (gw, _):
        lines = [request_line, "Host: box.example", f"Accept: {accept}", *fields]
        response = await gw.ask(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert response.status >= 400
        whole = repr(response)
        for secret in (MARKER, "127.0.0.1", str(gw.port), "Traceback", "gateway.", ".py"):
            assert secret not in whole, whole
        assert response.one("proxy-status").startswith(b"sandbox-gateway; error=")
        (line,) = gw.log()
        assert line["status"] == response.status
        assert "?" not in line.get("path", "")
        assert len(json.dumps(line)) < 2000


async def test_19_a_problem_is_json_and_a_browser_gets_a_page() -> None:
    """RFC 9457 §3."""
    async with gateway(ECHO) as (gw, _):
        problem = await gw.ask(gw.get("/", to="nobody"))
        assert problem.one("content-type") == b"application/problem+json"
        assert json.loads(problem.body) == {
            "type": "about:blank",
            "title": "Sandbox not found",
            "status": 502,
            "detail": "No sandbox answers to this name.",
            "reason": "sandbox_not_found",
        }
        page = await gw.ask(gw.get("/", "Accept: text/html", to="nobody"))
        assert page.one("content-type") == b"text/html; charset=utf-8"
        assert page.body.startswith(b"<!doctype html>")


async def test_19_a_long_path_is_cut_in_the_log() -> None:
    """A log line is bounded whatever was asked for; a query is never in it (own rule)."""
    async with gateway(ECHO) as (gw, _):
        await gw.ask(gw.get("/" + "a" * 8000 + "?token=secret"))
        (line,) = gw.log()
        assert len(line["path"]) == 512
        assert "secret" not in json.dumps(line)


async def test_19_what_names_no_sandbox_is_told_so() -> None:
    """`/healthz` alone is the gateway's own, and only where no target is named (own rule)."""
    targets = TargetConfig(host_suffixes=("sandboxes.example",))
    async with gateway(ECHO, targets=targets) as (gw, upstream):
        health = await gw.ask(b"GET /healthz HTTP/1.1\r\nHost: gateway.example\r\n\r\n")
        assert health.body == b'{"status":"ok"}'
        nothing = await gw.ask(b"GET / HTTP/1.1\r\nHost: gateway.example\r\n\r\n")
        assert nothing.reason == "invalid_target"
        host = b"%d-box.sandboxes.example" % gw.port
        theirs = await gw.ask(b"GET /healthz HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        assert theirs.body == b"GET /healthz "
        assert len(upstream.requests) == 1
