"""Heads rewritten both ways: what is removed, what is added, and that all else stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.access import AccessTokens
from gateway.proxy.headers import (
    Peer,
    client_head,
    interim_head,
    switching_head,
    upstream_fields,
    upstream_head,
)
from gateway.proxy.limits import SPECIAL, RequestLimits
from gateway.proxy.parser import RequestParser
from gateway.proxy.target import TargetConfig
from gateway.upstream.field_names import FieldNames
from gateway.upstream.response import ResponseHead

from .heads import make_head, read

if TYPE_CHECKING:
    from gateway.proxy.message import RequestHead

PEER = Peer("203.0.113.9", trusted=False)
PROXY = Peer("10.1.1.1", trusted=True)
ADDED = {"via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "host"}


def forwarded(
    raw: bytes, peer: Peer = PEER, passed_on: list[bytes] | None = None, host: bytes | None = None
) -> bytes:
    """Read a request's lines and return the head that the sandbox gets."""
    head = read(b"GET /x?y HTTP/1.1\r\nHost: a.example\r\n" + raw + b"\r\n").head
    return whole(head, host or b"a.example", peer, passed_on)


def whole(
    head: RequestHead, host: bytes, peer: Peer = PEER, passed_on: list[bytes] | None = None
) -> bytes:
    """Return the head that the sandbox gets."""
    return upstream_head(
        head.method, head.target, upstream_fields(head, host, peer, passed_on or [])
    )


def fields(head: bytes) -> list[tuple[str, str]]:
    """Return the fields of a head by lower-case name, judged by h11."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(head)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    return [(name.decode(), value.decode("latin-1")) for name, value in request.headers]


def values(head: bytes, name: str) -> list[str]:
    return [value for found, value in fields(head) if found == name]


# ---- towards the sandbox -------------------------------------------------------------------------


def test_a_plain_request_gets_what_a_proxy_adds_and_nothing_else() -> None:
    assert forwarded(b"X-A: 1\r\n") == (
        b"GET /x?y HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\n"
        b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Host: a.example\r\nVia: 1.1 sandbox-gateway\r\n\r\n"
    )


def test_order_repetition_case_and_bytes_of_other_fields_stay() -> None:
    lines = b"x-B: 1\r\nAccept: */*\r\nX-b: 2\r\nCookie: a=1\r\nx-o: \xe9\xff\r\nUser-Agent: \r\n"
    assert lines in forwarded(lines)


@pytest.mark.parametrize(
    "hop",
    [
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authenticate: Basic",
        b"Proxy-Authorization: Basic dTpw",
        b"TE: trailers",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        b"Connection: keep-alive",
    ],
)
def test_fields_of_the_connection_end_here(hop: bytes) -> None:
    head = forwarded(hop + b"\r\nX-A: 1\r\n")
    assert {name for name, _ in fields(head)} == {*ADDED, "x-a"}


def test_fields_that_connection_names_end_here_too() -> None:
    head = forwarded(
        b"Connection: X-Hop , close\r\nconnection: x-too\r\nx-hop: 1\r\nX-Too: 2\r\nX-A: 3\r\n"
        b"X-HOP: 4\r\n"
    )
    assert {name for name, _ in fields(head)} == {*ADDED, "x-a"}


def test_connection_cannot_name_away_host_framing_or_a_credential() -> None:
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length, x-access-token, via\r\n"
    head = read(raw + b"Content-Length: 2\r\n\r\nok").head
    token = [b"X-Access-Token: t\r\n"]
    sent = whole(head, b"a", PEER, token)
    assert values(sent, "host") == ["a"]
    assert values(sent, "content-length") == ["2"]
    assert values(sent, "x-access-token") == ["t"]
    assert values(sent, "via") == ["1.1 sandbox-gateway"]


def test_host_is_the_one_that_is_asked_for() -> None:
    assert values(forwarded(b"", host=b"10.0.0.7:80"), "host") == ["10.0.0.7:80"]


def test_the_body_is_framed_as_it_came() -> None:
    raw = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n"
    for line, sent in [
        (b"Content-Length: 007", b"Content-Length: 7\r\n"),
        (b"Content-Length: 0", b"Content-Length: 0\r\n"),
        (b"Transfer-Encoding: Chunked", b"Transfer-Encoding: chunked\r\n"),
    ]:
        head = read(raw % line).head
        assert sent in whole(head, b"a")
    assert b"Content-Length" not in forwarded(b"")


def test_an_upgrade_is_asked_for_again_with_nothing_else_of_connection() -> None:
    raw = b"Connection: keep-alive, Upgrade, X-Hop\r\nUpgrade: WebSocket\r\nX-Hop: 1\r\n"
    head = forwarded(raw + b"Sec-WebSocket-Key: k\r\n")
    assert values(head, "connection") == ["Upgrade"]
    assert values(head, "upgrade") == ["WebSocket"]
    assert values(head, "sec-websocket-key") == ["k"]
    assert values(head, "x-hop") == []


def test_via_is_continued() -> None:
    head = forwarded(b"Via: 1.0 fred\r\nX-A: 1\r\nVIA: 1.1 p.example (x)\r\n")
    assert values(head, "via") == ["1.0 fred, 1.1 p.example (x), 1.1 sandbox-gateway"]


# ---- forwarded -----------------------------------------------------------------------------------

CLAIMED = (
    b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: real.example\r\nForwarded: for=198.51.100.1\r\n"
)


def test_what_an_untrusted_peer_claims_is_overwritten() -> None:
    head = forwarded(CLAIMED * 2)
    assert values(head, "x-forwarded-for") == ["203.0.113.9"]
    assert values(head, "x-forwarded-proto") == ["http"]
    assert values(head, "x-forwarded-host") == ["a.example"]
    assert values(head, "forwarded") == []


def test_what_a_trusted_peer_says_is_continued() -> None:
    head = forwarded(CLAIMED + b"X-Forwarded-For: 198.51.100.2\r\n", PROXY)
    assert values(head, "x-forwarded-for") == ["198.51.100.1, 198.51.100.2, 10.1.1.1"]
    assert values(head, "x-forwarded-proto") == ["https"]
    assert values(head, "x-forwarded-host") == ["real.example"]
    assert values(head, "forwarded") == ["for=198.51.100.1, for=10.1.1.1"]


def test_a_trusted_peer_that_says_nothing_is_a_client_like_any() -> None:
    assert forwarded(b"", PROXY) == forwarded(b"", replace(PROXY, trusted=False))


def test_a_node_of_ipv6_is_quoted_in_forwarded() -> None:
    head = forwarded(b"Forwarded: for=a\r\n", Peer("fd00::1", trusted=True, secure=True))
    assert values(head, "forwarded") == ['for=a, for="[fd00::1]"']
    assert values(head, "x-forwarded-for") == ["fd00::1"]
    assert values(head, "x-forwarded-proto") == ["https"]


def test_a_request_of_http_1_0_without_host_goes_on_with_the_sandboxs() -> None:
    head = read(b"GET / HTTP/1.0\r\n\r\n").head
    sent = whole(head, b"10.0.0.7:80")
    assert values(sent, "host") == ["10.0.0.7:80"]
    assert sent.startswith(b"GET / HTTP/1.1\r\n")


# ---- fields that name targets or carry credentials -----------------------------------------------


@pytest.mark.parametrize("name", sorted(TargetConfig().header_names() | AccessTokens.names))
@pytest.mark.parametrize("spell", [bytes, bytes.upper, lambda name: name.replace(b"-", b"_")])
def test_targets_and_credentials_never_reach_a_sandbox_by_themselves(
    name: bytes, spell: Any
) -> None:
    special = SPECIAL | TargetConfig().header_names() | AccessTokens.names
    parser = RequestParser(RequestLimits(), FieldNames(special), lambda _held: None)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n%b: 1\r\nX-A: 1\r\n\r\n" % spell(name)
    head = read(raw, parser=parser).head
    sent = whole(head, b"a")
    assert {field for field, _ in fields(sent)} == {*ADDED, "x-a"}


_NAME = st.text("abcXYZ019-", min_size=1, max_size=6).map(lambda text: b"X-" + text.encode())
_VALUE = st.binary(max_size=10).map(lambda raw: bytes(b for b in raw if b > 0x20 and b != 0x7F))


@given(st.lists(st.tuples(_NAME, _VALUE), max_size=6), st.booleans())
def test_any_ordinary_field_arrives_as_it_was(
    sent: list[tuple[bytes, bytes]], trusted: bool
) -> None:
    lines = b"".join(b"%b: %b\r\n" % one for one in sent)
    got = fields(forwarded(lines, PROXY if trusted else PEER))
    expected = [(name.lower().decode(), value.decode("latin-1")) for name, value in sent]
    assert [one for one in got if one[0] not in ADDED] == [
        one for one in expected if one[0] not in ADDED
    ]


# ---- towards the client --------------------------------------------------------------------------

LINES = b"Set-Cookie: a=1\r\nset-cookie: b=2\r\n"
OK = ResponseHead(
    status=200,
    raw=b"HTTP/1.1 200 Fine\r\nContent-Length:5\r\n" + LINES + b"X-Hop: 1\r\n\r\n",
    length=5,
    chunked=False,
    bodyless=False,
    clean=False,
    named=frozenset({b"x-hop"}),
)


def client(
    response: ResponseHead = OK, *, chunked: bool = False, http_1_1: bool = True, kept: bool = True
) -> bytes:
    return client_head(response, chunked=chunked, http_1_1=http_1_1, keep_alive=kept, extra=b"")


def test_a_response_keeps_its_status_reason_and_fields() -> None:
    assert client() == b"HTTP/1.1 200 Fine\r\n" + LINES + b"Content-Length: 5\r\n\r\n"
    for line in (b"HTTP/1.1 200 \r\n", b"HTTP/1.1 200\r\n", b"HTTP/1.0 200 \r\n"):
        assert client(replace(OK, raw=line + b"\r\n")).startswith(b"HTTP/1.1 200 \r\n")


def test_a_clean_head_goes_on_as_it_came_where_nothing_is_to_be_said_besides() -> None:
    clean = replace(OK, clean=True)
    assert client(clean) == OK.raw
    assert client(clean, kept=False) == client(OK, kept=False)
    assert client(clean, http_1_1=False) == client(OK, http_1_1=False)
    extra = client_head(clean, chunked=False, http_1_1=True, keep_alive=True, extra=b"X: 1\r\n")
    assert extra == client()[:-2] + b"X: 1\r\n\r\n"


def test_a_response_says_how_its_body_is_framed() -> None:
    assert client(replace(OK, length=None)) == b"HTTP/1.1 200 Fine\r\n" + LINES + b"\r\n"
    assert client(replace(OK, length=None), chunked=True).endswith(
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    assert b"Content-Length: 5\r\n" in client(replace(OK, status=304, bodyless=True))
    no_content = replace(OK, status=204, length=0, bodyless=True)
    assert b"Content-Length" not in client(no_content)


@pytest.mark.parametrize(
    ("http_1_1", "kept", "line"),
    [
        (True, True, b""),
        (True, False, b"Connection: close\r\n"),
        (False, False, b"Connection: close\r\n"),
        (False, True, b"Connection: keep-alive\r\n"),
    ],
)
def test_a_response_says_whether_the_connection_goes_on(
    http_1_1: bool, kept: bool, line: bytes
) -> None:
    expected = b"HTTP/1.1 200 Fine\r\n" + LINES + b"Content-Length: 5\r\n" + line + b"\r\n"
    assert client(http_1_1=http_1_1, kept=kept) == expected


def test_what_the_gateway_adds_comes_last() -> None:
    head = client_head(OK, chunked=False, http_1_1=True, keep_alive=True, extra=b"X-Cold: 1\r\n")
    assert head.endswith(b"Content-Length: 5\r\nX-Cold: 1\r\n\r\n")


def test_interim_responses_and_a_switch_are_relayed() -> None:
    assert interim_head(103, b"Early Hints", [b"Link: a\r\n", b"Link: b\r\n"]) == (
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\nLink: b\r\n\r\n"
    )
    response = replace(OK, status=101, upgrade=b"websocket", length=None)
    assert switching_head(response, extra=b"X-Cold: 1\r\n") == (
        b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        + LINES
        + b"X-Cold: 1\r\n\r\n"
    )


def test_a_peer_knows_its_scheme() -> None:
    assert make_head().first(b"host") == b"gateway.example"
    assert (Peer("a", trusted=False).scheme, Peer("a", trusted=False, secure=True).scheme) == (
        b"http",
        b"https",
    )
