"""Requests read from bytes: whatever the reads, the same requests, bodies and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.body import HIGH_WATER
from gateway.proxy.limits import READ_AHEAD, SPECIAL, RequestLimits
from gateway.proxy.message import RequestHead
from gateway.proxy.parser import Phase, RequestParser
from gateway.sandbox.errors import (
    BadRequest,
    GatewayError,
    HeadersTooLarge,
    PayloadTooLarge,
    RequestTimeout,
    UriTooLong,
    VersionNotSupported,
)
from gateway.upstream.field_names import FieldNames

from .heads import Gathered, Read, cut, make_parser, read

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n"
)
UPGRADE = b"GET /w HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
H2C = (
    b"GET /h HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
)
CLOSE = b"GET /z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def targets(seen: Read) -> list[bytes]:
    return [head.target for head in seen.heads if isinstance(head, RequestHead)]


# ---- heads ---------------------------------------------------------------------------------------


def test_a_head_is_split_in_special_fields_and_lines_kept_as_they_were() -> None:
    seen = read(
        b"PATCH /x?y HTTP/1.1\r\nHOST: a\r\nX-B:1\r\nx-a:  two  words \t\r\nVia: 1.0 f\r\n"
        b"Accept:\r\nVIA: 1.1 g\r\nX-B: \xe9\r\nContent-Length: 0\r\n\r\n"
    )
    assert seen.head == RequestHead(
        method=b"PATCH",
        target=b"/x?y",
        http_1_1=True,
        special={b"host": [b"a"], b"via": [b"1.0 f", b"1.1 g"], b"content-length": [b"0"]},
        lines=[b"X-B: 1\r\n", b"x-a: two  words \t\r\n", b"Accept: \r\n", b"X-B: \xe9\r\n"],
        length=0,
        keep_alive=True,
    )
    assert seen.bodies == [Gathered()]  # there is no body, so nothing ever comes


def test_names_with_underscores_that_shadow_special_ones_are_dropped() -> None:
    seen = read(
        b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: x\r\n"
        b"x-forwarded_for: x\r\nMy_Own: y\r\n\r\n"
    )
    assert seen.head.lines == [b"My_Own: y\r\n"]
    assert b"x-forwarded-for" not in seen.head.special


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: foo, Close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
    ],
)
def test_a_head_says_whether_the_connection_goes_on(
    version: bytes, connection: bytes, keep_alive: bool
) -> None:
    seen = read(b"GET / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, connection))
    assert seen.head.keep_alive is keep_alive
    assert seen.head.http_1_1 is (version == b"1.1")


def test_absolute_form_is_judged_whole_and_passed_on_as_origin_form() -> None:
    assert read(b"GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n").head.target == b"/x?y"


# ---- streams -------------------------------------------------------------------------------------


def test_pipelined_requests_come_in_order_and_with_their_own_bodies() -> None:
    seen = read(b"\r\n" + GET + POST + b"\r\n\r\n" + CHUNKED + GET)
    assert targets(seen) == [b"/a", b"/b", b"/c", b"/a"]
    assert [body.data for body in seen.bodies] == [b"", b"abc", b"abc0123456789", b""]
    assert seen.bodies[2].trailers == [b"X-T: 1\r\n"]
    assert not seen.errors


def test_nothing_after_close_is_a_request() -> None:
    assert targets(read(GET + CLOSE + GET)) == [b"/a", b"/z"]
    assert targets(read(CLOSE, GET)) == [b"/z"]
    old = b"GET /old HTTP/1.0\r\n\r\n"
    assert targets(read(old + GET)) == [b"/old"]
    closing = POST.replace(b"Host: a", b"Host: a\r\nConnection: close")
    seen = read(closing + GET)
    assert targets(seen) == [b"/b"]
    assert seen.bodies[0].data == b"abc"


def test_complete_requests_before_an_illegal_one_are_kept() -> None:
    seen = read(GET + POST + b"BAD\r\n\r\n" + GET)
    assert targets(seen) == [b"/a", b"/b"]
    assert seen.heads[2:] == [BadRequest]


def test_a_parser_that_is_stopped_reads_nothing_more() -> None:
    parser = make_parser()
    assert targets(read(GET, parser=parser)) == [b"/a"]
    parser.stop()
    assert read(GET, b"BAD\r\n\r\n", parser=parser).heads == []


# ---- trailers ------------------------------------------------------------------------------------


def test_trailers_are_never_headers_of_this_request_or_the_next() -> None:
    seen = read(CHUNKED + GET)
    first, second = seen.heads
    assert isinstance(first, RequestHead)
    assert isinstance(second, RequestHead)
    assert first.lines == second.lines == []
    assert seen.bodies[0].trailers == [b"X-T: 1\r\n"]


@pytest.mark.parametrize("name", [b"Host", b"connection", b"X-Forwarded-For", b"X_T", b"Via"])
def test_fields_of_routing_and_control_are_no_trailers(name: bytes) -> None:
    seen = read(CHUNKED.replace(b"X-T: 1", b"X-T: 1\r\n%b: 1" % name) + GET)
    assert seen.bodies[0].trailers == [b"X-T: 1\r\n"]
    assert targets(seen) == [b"/c", b"/a"]


@pytest.mark.parametrize("name", [b"content-length", b"Transfer-Encoding"])
def test_fields_of_framing_among_the_trailers_are_refused(name: bytes) -> None:
    seen = read(CHUNKED.replace(b"X-T: 1", b"X-T: 1\r\n%b: 1" % name) + GET)
    assert targets(seen) == [b"/c"]
    assert (seen.bodies[0].trailers, seen.bodies[0].error) == (None, BadRequest)


# ---- errors in a body ----------------------------------------------------------------------------

START = CHUNKED.partition(b"3;")[0]


@pytest.mark.parametrize(
    ("bad", "before"),
    [
        (b"0x3\r\nabc\r\n", b""),
        (b"+3\r\nabc\r\n", b""),
        (b"\r\nabc\r\n", b""),
        (b"10000000000000000\r\nabc\r\n", b""),
        (b"3\nabc\n", b""),
        (b"3;x\nabc\r\n", b""),
        (b"3\r\nabcd\r\n", b"abc"),
        (b"3\r\nabc\r\nxyz\r\n", b"abc"),
        (b"3\r\nabc\r\n0\r\nX : y\r\n\r\n", b"abc"),
    ],
)
@pytest.mark.parametrize("in_one_read", [True, False])
def test_what_is_wrong_in_a_body_reaches_the_body_and_ends_the_connection(
    bad: bytes, before: bytes, in_one_read: bool
) -> None:
    seen = read(START + bad + GET) if in_one_read else read(START, bad, GET)
    assert targets(seen) == [b"/c"]
    assert not seen.errors
    assert seen.bodies == [Gathered(before, None, BadRequest, seen.bodies[0].pieces)]


def test_an_error_reaches_a_body_that_is_already_being_read() -> None:
    parser = make_parser()
    ((_, body),) = parser.feed_data(START + b"3\r\nabc\r\n")[0]
    sink = Gathered()
    body.attach(sink)
    assert (sink.data, sink.error) == (b"abc", None)
    assert parser.feed_data(b"zz\r\n") == ([], False, b"")
    assert sink.error is BadRequest


# ---- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 1000])
def test_a_target_may_be_as_long_as_the_limit_and_no_longer(step: int) -> None:
    def get(target: bytes) -> Read:
        raw = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        return read(*(raw[at : at + step] for at in range(0, len(raw), step)), max_uri=20)

    assert get(b"/" + b"x" * 19).head.target == b"/" + b"x" * 19
    assert get(b"/" + b"x" * 20).heads == [UriTooLong]


def test_a_head_may_be_as_large_as_the_limit_and_no_larger() -> None:
    def get(value: bytes) -> Read:
        return read(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + value + b"\r\n\r\n", max_head=100)

    spent = len(b"Host: a\r\n") + len(b"X: \r\n")
    assert get(b"v" * (100 - spent)).head.lines
    assert get(b"v" * (101 - spent)).heads == [HeadersTooLarge]


def test_a_head_may_have_as_many_fields_as_the_limit_and_no_more() -> None:
    def get(fields: int) -> Read:
        lines = b"".join(b"X-%d: y\r\n" % number for number in range(fields))
        return read(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n", max_headers=10)

    assert len(get(9).head.lines) == 9
    assert get(10).heads == [HeadersTooLarge]


def test_a_body_of_known_length_over_the_limit_is_refused_at_its_head() -> None:
    assert read(POST, max_body=3).bodies[0].data == b"abc"
    assert read(POST, max_body=2).heads == [PayloadTooLarge]


def test_a_chunked_body_over_the_limit_is_cut_off_where_that_shows() -> None:
    assert read(CHUNKED, max_body=13).bodies[0].trailers is not None
    seen = read(CHUNKED + GET, max_body=12)
    assert targets(seen) == [b"/c"]
    assert seen.bodies[0] == Gathered(b"abc", None, PayloadTooLarge, 1)


def test_each_request_has_the_limits_for_itself() -> None:
    assert len(read((POST + CHUNKED) * 50, max_body=13, max_head=200, max_uri=5).heads) == 100


# ---- memory --------------------------------------------------------------------------------------

ENDLESS = {
    "target": (b"GET /", b"x", UriTooLong),
    "field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"y", HeadersTooLarge),
    "name": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"n", HeadersTooLarge),
    "fields": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n", HeadersTooLarge),
    "shadows": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"HTTP2_Settings: y\r\n", HeadersTooLarge),
    "extension": (START + b"3;", b"x", HeadersTooLarge),
    "trailers": (START + b"0\r\n", b"X: y\r\n", HeadersTooLarge),
    "dropped trailers": (START + b"0\r\n", b"Host: y\r\n", HeadersTooLarge),
    "trailer": (START + b"0\r\nX: ", b"y", HeadersTooLarge),
}  # fmt: skip


@pytest.mark.parametrize(("start", "unit", "error"), ENDLESS.values(), ids=ENDLESS.keys())
@pytest.mark.parametrize("size", [100, 10_000])
def test_nothing_is_gathered_without_end(
    start: bytes, unit: bytes, error: type[Exception], size: int
) -> None:
    parser = make_parser(max_uri=1000, max_head=2000)
    messages = list(parser.feed_data(start)[0])
    fed = 0
    sink = Gathered()
    while not sink.error and not any(isinstance(head, Exception) for head, _ in messages):
        piece = unit * (size // len(unit))
        messages += parser.feed_data(piece)[0]
        fed += len(piece)
        if messages and isinstance(messages[0][0], RequestHead) and fed == len(piece):
            messages[0][1].attach(sink)
        assert fed <= 3000 + 2 * size
    assert [type(head) for head, _ in messages if isinstance(head, Exception)] == (
        [] if sink.error else [error]
    )
    assert sink.error in (None, error)


def test_a_flood_of_tiny_chunks_comes_as_one_piece_a_read() -> None:
    flood = b"1\r\na\r\n" * 50_000
    seen = read(START + flood[: len(flood) // 2], flood[len(flood) // 2 :], b"0\r\n\r\n")
    assert seen.bodies[0].data == b"a" * 50_000

    parser = make_parser()
    ((_, body),) = parser.feed_data(START)[0]
    sink = Gathered()
    body.attach(sink)
    parser.feed_data(flood)
    assert (sink.data, sink.pieces) == (b"a" * 50_000, 1)


def test_a_body_that_nobody_reads_stops_the_connection_being_read() -> None:
    holds: list[bool] = []
    parser = RequestParser(RequestLimits(), FieldNames(SPECIAL), holds.append)
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    ((_, body),) = parser.feed_data(raw + b"x" * HIGH_WATER)[0]
    assert holds == []
    parser.feed_data(b"x")
    assert holds == [True]
    assert body.kept_bytes == HIGH_WATER + 1


# ---- upgrades ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces", [[UPGRADE + b"early"], [UPGRADE, b"early"], [UPGRADE, b"", b"early"]]
)
def test_an_upgrade_hands_over_what_follows(pieces: list[bytes]) -> None:
    seen = read(GET, *pieces)
    assert targets(seen) == [b"/a", b"/w"]
    assert isinstance(seen.heads[1], RequestHead)
    assert seen.heads[1].upgrade == b"websocket"
    assert (seen.upgraded, seen.tail) == (True, b"early")


def test_an_upgrade_that_the_gateway_refused_is_followed_by_requests() -> None:
    parser = make_parser()
    assert read(UPGRADE, parser=parser).upgraded
    parser.set_upgraded(False)
    assert targets(read(GET, parser=parser)) == [b"/a"]


@pytest.mark.parametrize("protocol", [b"h2c", b"H2C", b"websocket, h2c"])
def test_http_2_is_not_passed_on_and_what_follows_is_the_next_request(protocol: bytes) -> None:
    seen = read(H2C.replace(b"h2c", protocol) + GET + H2C + POST)
    assert targets(seen) == [b"/h", b"/a", b"/h", b"/b"]
    assert not seen.upgraded
    assert not seen.errors
    assert isinstance(seen.heads[0], RequestHead)
    assert seen.heads[0].upgrade is None
    assert seen.bodies[3].data == b"abc"


def test_any_number_of_upgrades_that_are_not_passed_on_may_come_at_once() -> None:
    seen = read(H2C * 2000 + UPGRADE + b"early")
    assert targets(seen) == [b"/h"] * 2000 + [b"/w"]
    assert (seen.upgraded, seen.tail) == (True, b"early")


def test_nothing_follows_an_upgrade_with_close_that_is_not_passed_on() -> None:
    seen = read(H2C.replace(b"HTTP2-Settings\r\n", b"close\r\n", 1) + GET)
    assert targets(seen) == [b"/h"]
    assert (seen.upgraded, seen.tail) == (False, b"")


def test_http_1_0_has_no_upgrade() -> None:
    assert read(UPGRADE.replace(b"1.1", b"1.0")).head.upgrade is None


def test_an_upgrade_that_connection_does_not_name_is_none() -> None:
    seen = read(UPGRADE.replace(b"Connection: Upgrade\r\n", b"") + GET)
    assert targets(seen) == [b"/w", b"/a"]
    assert isinstance(seen.heads[0], RequestHead)
    assert seen.heads[0].upgrade is None


# ---- requests that are begun at once -------------------------------------------------------------


def offered(*pieces: bytes, take: bool = True) -> tuple[list[bytes], list[bytes]]:
    """Feed pieces; return the targets that could be taken alone, and those that were left."""
    offers, parser, left = [], make_parser(), Read()
    for piece in pieces:
        alone = parser.feed(piece)
        if alone is not None:
            head = alone[0]
            assert isinstance(head, RequestHead)
            offers.append(head.target)
            if not take:
                parser.messages.append(alone)
        for one, _ in parser.feed_data(b"")[0]:
            left.heads.append(type(one) if isinstance(one, GatewayError) else one)
    return offers, targets(left)


@pytest.mark.parametrize("raw", [GET, POST, CHUNKED, CLOSE])
def test_a_request_that_is_here_alone_and_whole_can_be_taken_at_once(raw: bytes) -> None:
    (target,) = targets(read(raw))
    assert offered(raw) == ([target], [])
    assert offered(raw[:10], raw[10:]) == ([target], [])
    assert offered(raw, take=False) == ([target], [target])


@pytest.mark.parametrize("pieces", [[GET + POST], [GET + b"P"], [POST[:-1], POST[-1:]], [UPGRADE]])
def test_any_other_is_left_to_the_queue(pieces: list[bytes]) -> None:
    assert offered(*pieces) == ([], targets(read(*pieces)))


def test_requests_that_were_taken_are_not_returned_later() -> None:
    assert offered(GET, POST, GET) == ([b"/a", b"/b", b"/a"], [])


# ---- requests that repeat the fields of the one before ------------------------------------------

_LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"GET /a?b=c HTTP/1.1",
        b"POST /b HTTP/1.1",
        b"HEAD /c HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET /#f HTTP/1.1",
        b"GET /\xe9 HTTP/1.1",
        b"GET /" + b"x" * 300 + b" HTTP/1.1",
        b"GET http://a/abs HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"\r\nGET /late HTTP/1.1",
        b"GET / HTTP/1.1\r\nGET /two HTTP/1.1",
        b"GET / HTTP/1.1\r\nX-More: 1",
        b"X: y",
        b"",
    ]
)
_FIELDS = st.sampled_from(
    [
        b"\r\nHost: a\r\n\r\n",
        b"\r\nHost: a\r\nX-A: 1\r\nConnection: keep-alive\r\n\r\n",
        b"\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
        b"\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"\r\n\r\n",
    ]
)


@given(st.lists(st.tuples(_LINES, _FIELDS), min_size=2, max_size=4))
def test_a_repeated_head_is_read_as_if_it_were_the_first(
    heads: list[tuple[bytes, bytes]],
) -> None:
    """A read at a time, or all in pieces, so that nothing can be recognised: the same."""
    raw = [line + fields for line, fields in heads]
    at_once = read(*raw, max_uri=256)
    in_pieces = read(*(bytes([byte]) for byte in b"".join(raw)), max_uri=256)
    assert (at_once.heads, at_once.errors) == (in_pieces.heads, in_pieces.errors)
    assert [one.data for one in at_once.bodies] == [one.data for one in in_pieces.bodies]


def test_requests_that_repeat_their_fields_share_what_is_found_out_about_them() -> None:
    parser = make_parser()
    heads = read(
        b"GET /1" + GET[6:], b"PUT /2" + GET[6:], b"GET /3" + POST[7:], parser=parser
    ).heads
    first, second, third = heads
    assert isinstance(first, RequestHead)
    assert isinstance(second, RequestHead)
    assert isinstance(third, RequestHead)
    assert (second.method, second.target) == (b"PUT", b"/2")
    assert second.findings is first.findings
    assert third.findings is not first.findings


def test_large_heads_are_not_remembered() -> None:
    large = GET[:-2] + b"X: " + b"x" * 5000 + b"\r\n\r\n"
    first, second = read(large, large).heads
    assert isinstance(first, RequestHead)
    assert isinstance(second, RequestHead)
    assert second.findings is not first.findings


# ---- time and phases -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fed", "phase"),
    [
        (b"", Phase.BETWEEN),
        (b"\r\n", Phase.BETWEEN),
        (b"G", Phase.HEAD),
        (GET[:-1], Phase.HEAD),
        (GET, Phase.BETWEEN),
        (POST[:-1], Phase.BODY),
        (CHUNKED[:-1], Phase.BODY),
        (CHUNKED, Phase.BETWEEN),
        (GET + b"P", Phase.HEAD),
    ],
)
def test_only_an_unfinished_head_expires(fed: bytes, phase: Phase) -> None:
    parser = make_parser()
    before = read(fed, parser=parser).heads
    assert parser.phase is phase
    assert parser.expire() is (phase is Phase.HEAD)
    assert read(b"", parser=parser).heads == ([RequestTimeout] if phase is Phase.HEAD else [])
    if phase is Phase.HEAD:
        assert parser.expire() is False
        assert read(GET, parser=parser).heads == []
    assert RequestTimeout not in before


def test_what_the_server_calls_besides_changes_nothing() -> None:
    parser = make_parser()
    parser.feed_data(POST[:-1])
    parser.pause_reading()
    parser.message_consumed()
    parser.feed_eof()
    assert parser.phase is Phase.BODY
    assert targets(read(b"c" + GET, parser=parser)) == [b"/a"]


# ---- any bytes, any split ------------------------------------------------------------------------

STREAMS = [
    GET,
    POST,
    CHUNKED,
    CLOSE,
    H2C,
    UPGRADE,
    b"\r\n",
    b"BAD\r\n\r\n",
    START + b"0x3\r\n",
    b"G",
]


def comparable(seen: Read) -> Any:
    """Reads may cut a body into other pieces; nothing else may differ.

    But of a request without a version llhttp tells another one if it comes right after an upgrade
    that was not passed on: it is refused both ways.
    """
    heads = [BadRequest if one is VersionNotSupported else one for one in seen.heads]
    bodies = [(body.data, body.trailers, body.error) for body in seen.bodies]
    return heads, bodies, seen.upgraded, seen.tail


@settings(deadline=None, max_examples=200)
@given(
    parts=st.lists(st.sampled_from(STREAMS), min_size=1, max_size=5),
    at=st.lists(st.integers(0, 1000), max_size=10),
)
def test_any_split_of_a_stream_gives_the_same(parts: list[bytes], at: list[int]) -> None:
    raw = b"".join(parts)
    assert comparable(read(*cut(raw, at))) == comparable(read(raw))


@settings(deadline=None, max_examples=50)
@given(parts=st.lists(st.sampled_from(STREAMS), min_size=1, max_size=3))
def test_even_byte_by_byte(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    pieces = [raw[at : at + 1] for at in range(len(raw))]
    assert comparable(read(*pieces)) == comparable(read(raw))


@settings(deadline=None, max_examples=300)
@given(
    raw=st.lists(st.sampled_from(STREAMS), min_size=1, max_size=3).map(b"".join),
    where=st.integers(0, 1000),
    what=st.binary(max_size=3),
    gone=st.integers(0, 3),
    at=st.lists(st.integers(0, 1000), max_size=4),
)
def test_any_split_of_a_damaged_stream_gives_the_same(
    raw: bytes, where: int, what: bytes, gone: int, at: list[int]
) -> None:
    where %= len(raw)
    damaged = raw[:where] + what + raw[where + gone :]
    assert comparable(read(*cut(damaged, at))) == comparable(read(damaged))


@settings(deadline=None)
@given(pieces=st.lists(st.binary(max_size=30), max_size=5))
def test_any_bytes_are_read_without_a_fault(pieces: list[bytes]) -> None:
    read(*pieces)


# ---- against another parser ----------------------------------------------------------------------

_NAME = st.text("abcXYZ019!#$%&'*+.^`|~-", min_size=1, max_size=6).map(lambda t: b"x-" + t.encode())
_BYTES = st.binary(max_size=12)
_VALUE = _BYTES.map(lambda raw: bytes(b for b in raw if b in b"\t " or (b > 0x20 and b != 0x7F)))
_TARGET = st.text("abcXYZ019-._~!$&'()*+,;=:@/?%[]{}|^<>\"\\`", max_size=20).map(
    lambda text: b"/" + text.encode()
)


@dataclass(frozen=True)
class Sent:
    """A legal request as it goes over the wire."""

    raw: bytes


@st.composite
def _sent(draw: st.DrawFn) -> Sent:
    method = draw(
        st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD"])
    )
    fields = draw(st.lists(st.tuples(_NAME, _VALUE), max_size=5))
    chunks = draw(st.lists(st.binary(min_size=1, max_size=30), max_size=3))
    trailers = draw(st.lists(st.tuples(_NAME, _VALUE), max_size=2))
    framing, body = b"", b""
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    if kind == "length":
        body = b"".join(chunks)
        framing = b"Content-Length: %d\r\n" % len(body)
    elif kind == "chunked":
        framing = b"Transfer-Encoding: chunked\r\n"
        body = b"".join(b"%x;e=1\r\n%b\r\n" % (len(one), one) for one in chunks)
        body += b"0\r\n" + b"".join(b"%b: %b\r\n" % one for one in trailers) + b"\r\n"
    lines = [b"Host: a.example:80\r\n", framing, *(b"%b:%b\r\n" % one for one in fields)]
    ordered = b"".join(draw(st.permutations(lines)))
    return Sent(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, draw(_TARGET), ordered, body))


def by_h11(raw: bytes) -> list[tuple[Any, ...]]:
    """Return the requests that h11 finds: method, target, fields, body, trailers."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(raw)
    found: list[tuple[Any, ...]] = []
    while True:
        event = server.next_event()
        if isinstance(event, h11.Request):
            found.append((event.method, event.target, event.headers.raw_items(), bytearray(), []))
        elif isinstance(event, h11.Data):
            found[-1][3].extend(event.data)
        elif isinstance(event, h11.EndOfMessage):
            found[-1][4].extend(event.headers.raw_items())
            server.send(h11.Response(status_code=204, headers=[]))
            server.send(h11.EndOfMessage())
            server.start_next_cycle()
        else:
            return found


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    split = [line.removesuffix(b"\r\n").partition(b": ") for line in lines]
    return [(name, value.strip(b" \t")) for name, _, value in split]


def _ordinary(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in fields if name.lower() not in SPECIAL]


@settings(deadline=None, max_examples=200)
@given(
    requests=st.lists(_sent(), min_size=1, max_size=3),
    at=st.lists(st.integers(0, 500), max_size=6),
)
def test_h11_finds_the_same_requests(requests: list[Sent], at: list[int]) -> None:
    raw = b"".join(request.raw for request in requests)
    seen, expected = read(*cut(raw, at)), by_h11(raw)
    assert len(seen.heads) == len(expected) == len(requests)
    for head, body, (method, target, fields, data, trailers) in zip(
        seen.heads, seen.bodies, expected, strict=True
    ):
        assert isinstance(head, RequestHead)
        assert (head.method, head.target) == (method, target)
        assert _fields(head.lines) == _ordinary(fields)
        for name, values in head.special.items():
            assert values == [value for given_name, value in fields if given_name.lower() == name]
        assert body.data == bytes(data)
        assert _fields(body.trailers or []) == _ordinary(trailers)


@settings(deadline=None, max_examples=300)
@given(
    sent=_sent(),
    where=st.integers(0, 500),
    what=st.binary(max_size=2),
    gone=st.integers(0, 2),
)
def test_what_is_admitted_h11_reads_the_same_way(
    sent: Sent, where: int, what: bytes, gone: int
) -> None:
    """Damage a legal request: whatever is still let through means the same to h11."""
    where %= len(sent.raw)
    damaged = sent.raw[:where] + what + sent.raw[where + gone :]
    seen = read(damaged)
    if not seen.heads or not isinstance(seen.heads[0], RequestHead) or seen.upgraded:
        return
    try:
        expected = by_h11(damaged)
    except h11.RemoteProtocolError:
        return  # h11 refuses more; that is its right
    if not expected:
        return
    head, body = seen.heads[0], seen.bodies[0]
    assert head.method == expected[0][0]
    assert expected[0][1].endswith(head.target)
    assert _fields(head.lines) == [one for one in _ordinary(expected[0][2]) if not _shadows(one[0])]
    if body.error is None:
        assert body.data == bytes(expected[0][3])


def _shadows(name: bytes) -> bool:
    return b"_" in name and name.lower().replace(b"_", b"-") in SPECIAL


# ---- reading ahead -------------------------------------------------------------------------------


@pytest.mark.parametrize("between", [GET, POST, CHUNKED], ids=["get", "post", "chunked"])
def test_what_is_far_ahead_stays_bytes_until_it_is_asked_for(between: bytes) -> None:
    parser, raw = make_parser(), between * 5000
    messages, _, _ = parser.feed_data(raw)
    assert READ_AHEAD <= len(messages) < 400
    assert parser.kept_bytes > len(raw) / 2
    taken = len(messages)
    while messages:
        messages, _, _ = parser.feed_data(b"")
        assert len(messages) < 400
        taken += len(messages)
    assert taken == 5000
    assert parser.kept_bytes == 0


def test_what_comes_meanwhile_is_read_behind_it() -> None:
    parser = make_parser()
    parser.feed_data(GET * 1000)
    assert parser.feed(POST) is None
    taken = list(iter(lambda: parser.feed_data(b"")[0], []))
    (last, _) = taken[-1][-1]
    assert isinstance(last, RequestHead)
    assert last.method == b"POST"


def test_nothing_that_was_put_off_is_read_once_the_connection_closes() -> None:
    parser = make_parser()
    parser.feed_data(GET * 1000)
    parser.stop()
    assert parser.feed_data(b"") == ([], False, b"")
    assert parser.kept_bytes == 0


def test_an_upgrade_far_into_a_read_keeps_its_bytes() -> None:
    early = bytes(range(256)) * 40
    raw = POST.replace(b"abc", b"x" * 3000).replace(b"Length: 3", b"Length: 3000") + UPGRADE + early
    messages, upgraded, rest = make_parser().feed_data(raw)
    assert (len(messages), upgraded, rest) == (2, True, early)
