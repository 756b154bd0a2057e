"""Every line of what makes a request head legal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy import legality
from gateway.sandbox.errors import (
    BadRequest,
    GatewayError,
    LoopDetected,
    MethodNotAllowed,
    NotImplementedByGateway,
    PayloadTooLarge,
    VersionNotSupported,
)

from .heads import read

# ---- version and method --------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "is_1_1"), [("1.1", True), ("1.0", False)])
def test_http_1_is_spoken(version: str, is_1_1: bool) -> None:
    assert legality.http_1_1(version) is is_1_1


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0", ""])
def test_no_other_version_is(version: str) -> None:
    with pytest.raises(VersionNotSupported):
        legality.http_1_1(version)


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE"])
def test_tunnels_and_reflection_are_refused(method: bytes) -> None:
    with pytest.raises(MethodNotAllowed):
        legality.check_method(method)


@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS", b"PROPFIND", b"QUERY"])
def test_other_methods_are_not(method: bytes) -> None:
    legality.check_method(method)


# ---- Host ----------------------------------------------------------------------------------------

GOOD_HOSTS = [
    b"a",
    b"a.example",
    b"8080-box.sandboxes.example:443",
    b"A.Example:1",
    b"a:65535",
    b"a:00080",
    b"10.0.0.7",
    b"[::1]",
    b"[fd00::7]:80",
    b"[::ffff:10.0.0.7]:80",
    b"a_b",
    b"x%20y",
    b"a,b",
    b"a" * legality.MAX_HOST,
]
BAD_HOSTS = [
    b"",
    b" ",
    b"a b",
    b"a:",
    b"a:0",
    b"a:65536",
    b"a:99999",
    b"a:123456",
    b"a:80:80",
    b"a:x",
    b"a:-1",
    b"a:+1",
    b"user@a",
    b"user:pass@a",
    b"a/",
    b"a/b",
    b"http://a",
    b"a?b",
    b"a#b",
    b"a\\b",
    b"[::1",
    b"::1",
    b"[::1]x",
    b"[a.example]",
    b"[]",
    b"[::1%eth0]",
    b'a"b',
    b"<a>",
    b"\xc3\xa9",
    b"a\x00",
    b"a\n",
    b"a" * (legality.MAX_HOST + 1),
]


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_a_valid_host_is_taken_as_it_is(host: bytes) -> None:
    assert legality.check_host({b"host": [host]}, must=True) == host


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize("must", [True, False])
def test_an_invalid_host_is_refused_whatever_the_version(host: bytes, must: bool) -> None:
    with pytest.raises(BadRequest):
        legality.check_host({b"host": [host]}, must=must)


@pytest.mark.parametrize("values", [[b"a", b"a"], [b"a", b"b"], [b"a", b""]])
def test_more_than_one_host_is_refused(values: list[bytes]) -> None:
    with pytest.raises(BadRequest):
        legality.check_host({b"host": values}, must=True)


def test_only_http_1_0_may_do_without_host() -> None:
    assert legality.check_host({}, must=False) is None
    with pytest.raises(BadRequest):
        legality.check_host({}, must=True)


# ---- target --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [b"/", b"//", b"/../a", b"/%2F%00;x=y?q=%20&r", b"/a?b?c/../d", b"//host/path", b"/a:b@c"],
)
def test_origin_form_is_kept_byte_for_byte(target: bytes) -> None:
    assert legality.origin_form(b"GET", target, b"a") == target


@pytest.mark.parametrize(
    ("target", "host", "origin"),
    [
        (b"http://a/x?y", b"a", b"/x?y"),
        (b"https://a/x", b"a", b"/x"),
        (b"HTTP://A.Example:80//x", b"a.example:80", b"//x"),
        (b"http://a", b"a", b"/"),
        (b"http://a?x=/y", b"a", b"/?x=/y"),
    ],
)
def test_absolute_form_of_the_host_becomes_origin_form(
    target: bytes, host: bytes, origin: bytes
) -> None:
    assert legality.origin_form(b"GET", target, host) == origin


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://b/x", b"a"),
        (b"http://a:80/x", b"a"),
        (b"http://a/x", None),
        (b"http://user@a/x", b"a"),
        (b"http:///x", b"a"),
        (b"ftp://a/x", b"a"),
        (b"http:/a/x", b"a"),
        (b"a/x", b"a"),
        (b"?x", b"a"),
        (b"a:443", b"a"),
        (b"*", b"a"),
        (b"", b"a"),
        (b"/x#y", b"a"),
        (b"http://a/#", b"a"),
    ],
)
def test_any_other_target_is_refused(target: bytes, host: bytes | None) -> None:
    with pytest.raises(BadRequest):
        legality.origin_form(b"GET", target, host)


def test_the_asterisk_is_for_options_alone() -> None:
    assert legality.origin_form(b"OPTIONS", b"*", b"a") == b"*"


# ---- length --------------------------------------------------------------------------------------


def test_a_body_has_the_length_that_is_given_or_none() -> None:
    assert legality.body_length({}, http_1_1=True, limit=0) == 0
    assert legality.body_length({b"content-length": [b"007"]}, http_1_1=True, limit=0) == 7
    assert legality.body_length({b"content-length": [b"5"]}, http_1_1=False, limit=5) == 5


@pytest.mark.parametrize("values", [[b"chunked"], [b"Chunked"], [b" chunked\t"]])
def test_a_chunked_body_has_no_length(values: list[bytes]) -> None:
    special = {b"transfer-encoding": values}
    assert legality.body_length(special, http_1_1=True, limit=1) is None


def test_a_length_over_the_limit_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        legality.body_length({b"content-length": [b"6"]}, http_1_1=True, limit=5)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ([b"gzip, chunked"], NotImplementedByGateway),
        ([b"X-Gzip", b"chunked"], NotImplementedByGateway),
        ([b"deflate,chunked"], NotImplementedByGateway),
        ([b"compress, chunked"], NotImplementedByGateway),
        ([b""], BadRequest),
        ([b"identity"], BadRequest),
        ([b"gzip"], BadRequest),
        ([b"xchunked"], BadRequest),
        ([b"chunked, gzip"], BadRequest),
        ([b"chunked, identity"], BadRequest),
        ([b"chunked", b"chunked"], BadRequest),
        ([b"gzip, gzip, chunked"], BadRequest),
        ([b"unheard-of, chunked"], BadRequest),
        ([b",chunked"], BadRequest),
        ([b"chunked;a=b"], BadRequest),
        ([b"\x0bchunked"], BadRequest),
    ],
)
def test_any_other_transfer_coding_is_refused(
    values: list[bytes], error: type[GatewayError]
) -> None:
    with pytest.raises(GatewayError) as caught:
        legality.body_length({b"transfer-encoding": values}, http_1_1=True, limit=0)
    assert type(caught.value) is error


def test_http_1_0_has_no_transfer_coding() -> None:
    with pytest.raises(BadRequest):
        legality.body_length({b"transfer-encoding": [b"chunked"]}, http_1_1=False, limit=0)


# ---- loops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "via",
    [
        [b"1.1 sandbox-gateway"],
        [b"HTTP/1.1 sandbox-gateway"],
        [b"1.0 fred, 1.1 sandbox-gateway"],
        [b"1.0 fred,1.1\t sandbox-gateway ,1.1 last"],
        [b"1.0 fred", b"1.1 sandbox-gateway (a comment)"],
        [b"1.1 sandbox-gateway(x)"],
        [b", ,1.1 sandbox-gateway"],
    ],
)
def test_a_request_that_came_through_here_is_a_loop(via: list[bytes]) -> None:
    with pytest.raises(LoopDetected):
        legality.check_loop({b"via": via})


@pytest.mark.parametrize(
    "via",
    [
        None,
        [b"1.1 fred"],
        [b"1.1 sandbox-gateway-2"],
        [b"1.1 my-sandbox-gateway"],
        [b"1.1 a.sandbox-gateway"],
        [b"1.1 sandbox-gateway.example"],
        [b"sandbox-gateway"],
        [b"1.1 fred (not sandbox-gateway)"],
    ],
)
def test_a_request_that_came_through_others_is_not(via: list[bytes] | None) -> None:
    legality.check_loop({} if via is None else {b"via": via})


@pytest.mark.parametrize("unit", [b",", b", ", b" ", b"\t,", b"a", b",a", b"a ", b",a ", b"1.1 s"])
def test_no_via_takes_long_to_judge(unit: bytes) -> None:
    # Quadratic time would be minutes here, not the milliseconds that linear time takes.
    legality.check_loop({b"via": [unit * (1_000_000 // len(unit))]})


@given(via=st.lists(st.binary(max_size=30), max_size=3))
def test_any_via_is_judged(via: list[bytes]) -> None:
    try:
        legality.check_loop({b"via": via})
    except LoopDetected:
        assert b"sandbox-gateway" in b",".join(via)


# ---- heads as they come in -----------------------------------------------------------------------

HOST = b"Host: a\r\n"
ILLEGAL_HEADS: dict[str, tuple[bytes, type[GatewayError]]] = {
    "no version": (b"GET /\r\n" + HOST, VersionNotSupported),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\n" + HOST, VersionNotSupported),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + HOST, BadRequest),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST, VersionNotSupported),
    "HTTP/1.10": (b"GET / HTTP/1.10\r\n" + HOST, BadRequest),
    "http in lower case": (b"GET / http/1.1\r\n" + HOST, BadRequest),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", BadRequest),
    "a method in lower case": (b"get / HTTP/1.1\r\n" + HOST, BadRequest),
    "a tab for a space": (b"GET\t/ HTTP/1.1\r\n" + HOST, BadRequest),
    "a space after the version": (b"GET / HTTP/1.1 \r\n" + HOST, BadRequest),
    "a tab in the target": (b"GET /a\tb HTTP/1.1\r\n" + HOST, BadRequest),
    "a form feed in the target": (b"GET /a\x0cb HTTP/1.1\r\n" + HOST, BadRequest),
    "a NUL in the target": (b"GET /a\x00b HTTP/1.1\r\n" + HOST, BadRequest),
    "obs-text in the target": (b"GET /\xe9 HTTP/1.1\r\n" + HOST, BadRequest),
    "a fragment": (b"GET /a#b HTTP/1.1\r\n" + HOST, BadRequest),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\n" + HOST, MethodNotAllowed),
    "TRACE": (b"TRACE / HTTP/1.1\r\n" + HOST, MethodNotAllowed),
    "no Host": (b"GET / HTTP/1.1\r\n", BadRequest),
    "two Hosts": (b"GET / HTTP/1.1\r\n" + HOST * 2, BadRequest),
    "another authority": (b"GET http://b/ HTTP/1.1\r\n" + HOST, BadRequest),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n", BadRequest),
    "a line that begins with a space": (b"GET / HTTP/1.1\r\n X: y\r\n" + HOST, BadRequest),
    "a folded field": (b"GET / HTTP/1.1\r\nX: y\r\n z\r\n" + HOST, BadRequest),
    "a field without a name": (b"GET / HTTP/1.1\r\n: y\r\n" + HOST, BadRequest),
    "a field without a colon": (b"GET / HTTP/1.1\r\nX\r\n" + HOST, BadRequest),
    "obs-text in a name": (b"GET / HTTP/1.1\r\nX\x80: y\r\n" + HOST, BadRequest),
    "a bare CR": (b"GET / HTTP/1.1\r\nX: y\rz\r\n" + HOST, BadRequest),
    "a bare LF": (b"GET / HTTP/1.1\nHost: a\n", BadRequest),
    "a bare LF in a field": (b"GET / HTTP/1.1\r\nX: y\nZ: z\r\n" + HOST, BadRequest),
    "a NUL in a field": (b"GET / HTTP/1.1\r\nX: \x00\r\n" + HOST, BadRequest),
    "a control character in a field": (b"GET / HTTP/1.1\r\nX: \x01\r\n" + HOST, BadRequest),
    "a DEL in a field": (b"GET / HTTP/1.1\r\nX: \x7f\r\n" + HOST, BadRequest),
    "a loop": (b"GET / HTTP/1.1\r\nVia: 1.1 sandbox-gateway\r\n" + HOST, LoopDetected),
    "an upgrade with a body": (
        b"POST / HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 1\r\n" + HOST,
        BadRequest,
    ),
}
_BODY_FIELDS: dict[bytes, type[GatewayError]] = {
    b"Content-Length: 3\r\nTransfer-Encoding: chunked": BadRequest,
    b"Transfer-Encoding: chunked\r\nContent-Length: 3": BadRequest,
    b"Content-Length: 3\r\nContent-Length: 3": BadRequest,
    b"Content-Length: 3\r\nContent-Length: 4": BadRequest,
    b"Content-Length: 3, 3": BadRequest,
    b"Content-Length: 3 3": BadRequest,
    b"Content-Length: +3": BadRequest,
    b"Content-Length: -1": BadRequest,
    b"Content-Length: 0x3": BadRequest,
    b"Content-Length: 1_0": BadRequest,
    b"Content-Length: ": BadRequest,
    b"Content-Length: \xb2": BadRequest,
    b"Content-Length: 18446744073709551616": BadRequest,
    b"Transfer-Encoding: xchunked": BadRequest,
    b"Transfer-Encoding: chunked, identity": BadRequest,
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked": BadRequest,
    b"Transfer-Encoding: \x0bchunked": BadRequest,
    b"Transfer-Encoding: gzip, chunked": NotImplementedByGateway,
    b"Transfer-Encoding: gzip": BadRequest,
    b"Transfer-Encoding: ": BadRequest,
}
ILLEGAL_HEADS |= {
    field.decode("latin-1"): (b"POST / HTTP/1.1\r\n" + HOST + field + b"\r\n", error)
    for field, error in _BODY_FIELDS.items()
}


@pytest.mark.parametrize(("raw", "error"), ILLEGAL_HEADS.values(), ids=ILLEGAL_HEADS.keys())
def test_an_illegal_head_is_answered_and_what_follows_is_never_a_request(
    raw: bytes, error: type[GatewayError]
) -> None:
    after = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    assert read(raw + b"\r\n" + after).heads == [error]
    assert read(raw + b"\r\n", after).heads == [error]


def test_transfer_encoding_on_http_1_0_is_refused() -> None:
    raw = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert read(raw).heads == [BadRequest]


def test_connection_cannot_name_away_what_frames_and_routes() -> None:
    raw = b"POST / HTTP/1.1\r\nConnection: content-length, host\r\nContent-Length: 2\r\n\r\nok"
    seen = read(raw.replace(b"\r\n", b"\r\nHost: a\r\n", 1))
    assert seen.head.length == 2
    assert seen.head.first(b"host") == b"a"
    assert seen.bodies[0].data == b"ok"
