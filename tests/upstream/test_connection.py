"""Responses read from bytes, however the reads fall, and what a lost connection means."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sandbox.errors import UpstreamProtocolError, UpstreamReset
from gateway.upstream.connection import SecureUpstreamConnection, UpstreamConnection
from gateway.upstream.response import MAX_INTERIMS, MAX_RESPONSE_HEAD, ResponseReader

from .doubles import RecordingSink, RecordingTransport, feed

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n"
    b"3;ext=1\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: t\r\nConnection: x\r\n\r\n"
)
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"
CLOSE_DELIMITED = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nuntil the end"
INTERIMS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: x\r\n\r\n"
)

LOST = ("lost", UpstreamProtocolError, False)


@dataclass
class Wire:
    """A connection in an exchange, and both its ends."""

    connection: UpstreamConnection
    transport: RecordingTransport
    sink: RecordingSink
    closed: list[UpstreamConnection]

    def again(self, *, to_head: bool = False) -> RecordingSink:
        """Begin another exchange."""
        self.connection.release()
        assert self.connection.reusable
        self.sink = RecordingSink()
        self.connection.begin(self.sink, to_head=to_head)
        return self.sink

    def lose(self, exc: Exception | None = None) -> None:
        """Let the transport report its end."""
        self.connection.connection_lost(exc)


def wire(*, to_head: bool = False, peername: tuple[Any, ...] = ("10.0.0.7", 8080)) -> Wire:
    closed: list[UpstreamConnection] = []
    connection = UpstreamConnection("life-1", 8080, closed.append)
    transport = RecordingTransport(peername)
    connection.connection_made(transport)
    sink = RecordingSink()
    connection.begin(sink, to_head=to_head)
    return Wire(connection, transport, sink, closed)


def head(
    status: int, reason: bytes, *lines: bytes, framing: tuple[int | None, bool, bool]
) -> tuple[Any, ...]:
    return ("head", status, reason, lines, framing, None)


# ---- responses -----------------------------------------------------------------------------------


def test_a_body_of_known_length_is_counted_to_its_end() -> None:
    one = wire()
    feed(one.connection, [OK[:-2], b"o", b"k"])
    assert one.sink.events == [head(200, b"OK", framing=(2, False, False))]
    assert (one.sink.body, one.sink.ends) == (b"ok", 1)


def test_a_counted_body_is_passed_on_uncopied() -> None:
    taken: list[bytes] = []

    class Sink(RecordingSink):
        def received(self, head: Any, parts: Any, *, ended: bool) -> None:
            taken.extend(parts)

    one = wire()
    one.connection.release()
    one.connection.begin(Sink(), to_head=False)
    piece = b"x" * 1000
    feed(one.connection, [b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n", piece])
    assert taken[0] is piece


def test_a_chunked_body_loses_its_chunks_and_keeps_its_trailers_apart() -> None:
    one = wire()
    feed(one.connection, [CHUNKED])
    assert one.sink.events == [head(200, b"OK", b"X-A: 1\r\n", framing=(None, True, False))]
    assert (one.sink.body, one.sink.ends) == (b"abc0123456789abcdef", 1)
    assert one.connection.trailers == [b"X-T: t\r\n"]
    one.again()
    assert one.connection.trailers == []


def test_a_body_without_length_ends_with_the_connection() -> None:
    one = wire()
    feed(one.connection, [CLOSE_DELIMITED])
    assert (one.sink.body, one.sink.ends) == (b"until the end", 0)
    one.connection.eof_received()
    one.lose()
    assert one.sink.ends == 1
    assert not one.connection.reusable
    assert one.closed == [one.connection]


def test_a_body_without_length_that_ends_in_a_reset_is_lost() -> None:
    one = wire()
    feed(one.connection, [CLOSE_DELIMITED])
    one.lose(ConnectionResetError())
    assert one.sink.events[-1] == ("lost", UpstreamReset, False)
    assert one.sink.ends == 0


@pytest.mark.parametrize(
    ("raw", "to_head", "framing"),
    [
        (NO_CONTENT, False, (None, False, True)),
        (NOT_MODIFIED, False, (5, False, True)),
        (OK[:-2], True, (2, False, True)),
        (CHUNKED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", True, (None, True, True)),
        (CLOSE_DELIMITED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", True, (None, False, True)),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", False, (0, False, True)),
    ],
)
def test_a_response_without_a_body_ends_at_its_head_and_the_next_is_in_step(
    raw: bytes, to_head: bool, framing: tuple[int | None, bool, bool]
) -> None:
    one = wire(to_head=to_head)
    feed(one.connection, [raw])
    assert one.sink.events[0][4] == framing
    assert (one.sink.body, one.sink.ends) == (b"", 1)
    if b"Transfer-Encoding" in raw or b"Content-Length" in raw or not to_head:
        assert one.again().ends == 0
        feed(one.connection, [OK])
        assert (one.sink.body, one.sink.ends) == (b"ok", 1)


def test_interim_responses_come_one_by_one_before_the_response() -> None:
    one = wire()
    feed(one.connection, [INTERIMS + OK])
    assert one.sink.events == [
        ("interim", 100, b"Continue", ()),
        ("interim", 103, b"Early Hints", (b"Link: </a>\r\n",)),
        head(200, b"OK", framing=(2, False, False)),
    ]
    one.connection.release()
    assert one.connection.reusable


def test_interim_responses_without_end_are_refused() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    one = wire()
    feed(one.connection, [interim * MAX_INTERIMS])
    assert LOST not in one.sink.events
    feed(one.connection, [interim])
    assert one.sink.events[-1] == LOST
    assert one.transport.aborted


def test_a_101_hands_over_the_bytes_that_came_with_it_and_all_later_ones() -> None:
    one = wire()
    feed(one.connection, [SWITCHING + b"early", b"HTTP/1.1 200 OK\r\n\r\n"])
    kind, status, _, lines, _, upgrade = one.sink.events[0]
    assert (kind, status, upgrade) == ("head", 101, b"websocket")
    assert lines == (b"Sec-WebSocket-Accept: x\r\n",)
    assert one.sink.tunnel == b"earlyHTTP/1.1 200 OK\r\n\r\n"
    one.connection.release()
    assert not one.connection.reusable


def test_a_101_may_follow_an_interim_response() -> None:
    one = wire()
    feed(one.connection, [INTERIMS, SWITCHING])
    assert [event[1] for event in one.sink.events] == [100, 103, 101]


def test_a_tunnel_that_ends_is_lost_however_it_ends() -> None:
    one = wire()
    feed(one.connection, [SWITCHING])
    one.lose()
    assert one.sink.events[-1] == ("lost", UpstreamReset, False)


def test_fields_of_the_connection_and_those_it_names_are_taken_out() -> None:
    one = wire()
    raw = (
        b"HTTP/1.1 200 OK\r\nX-Hop: 1\r\nConnection: x-hop, keep-alive\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Connection: close\r\nTE: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-\xc3: no\r\n"
    ).replace(b"X-\xc3: no\r\n", b"x-obs: \xe9\r\n")
    feed(one.connection, [raw + b"Content-Length: 0\r\n\r\n"])
    assert one.sink.events[0][3] == (
        b"Set-Cookie: a=1\r\n",
        b"Set-Cookie: b=2\r\n",
        b"x-obs: \xe9\r\n",
    )


def test_a_426_that_names_an_upgrade_is_an_ordinary_response() -> None:
    one = wire()
    raw = b"HTTP/1.1 426 No\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok"
    feed(one.connection, [raw])
    assert (one.sink.body, one.sink.ends) == (b"ok", 1)


@pytest.mark.parametrize(
    ("version", "field", "reusable"),
    [
        (b"1.1", b"X-A: 1", True),
        (b"1.0", b"X-A: 1", False),
        (b"1.0", b"Connection: keep-alive", True),
        (b"1.1", b"Connection: close", False),
        (b"1.1", b"Connection: x, close", False),
    ],
)
def test_the_response_says_whether_the_connection_may_serve_again(
    version: bytes, field: bytes, reusable: bool
) -> None:
    one = wire()
    feed(one.connection, [b"HTTP/%b 200 OK\r\n%b\r\nContent-Length: 0\r\n\r\n" % (version, field)])
    one.connection.release()
    assert one.connection.reusable is reusable


# ---- illegal responses ---------------------------------------------------------------------------

ILLEGAL = {
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "both lengths, the other way": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"
    ),
    "two equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
    "two different lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n",
    "an empty length": b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
    "a length over 64 bit": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "a 204 with a body": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
    "a chunked 204": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "a coding that is not chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "chunked that is not last": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    "a status line of HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n",
    "a status line of HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 2\r\n\r\n",
    "a folded field": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\n",
    "a bare CR": b"HTTP/1.1 200 OK\r\nX-A: 1\r2\r\nContent-Length: 2\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n",
    "a NUL": b"HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 2\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.9\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a 101 without Upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a 101 without Connection": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
}


@pytest.mark.parametrize("raw", ILLEGAL.values(), ids=ILLEGAL.keys())
@pytest.mark.parametrize("step", [1, 10_000])
def test_an_illegal_response_is_no_response_and_ends_the_connection(raw: bytes, step: int) -> None:
    one = wire()
    feed(one.connection, (raw[at : at + step] for at in range(0, len(raw), step)))
    assert one.sink.events == [LOST]
    assert (one.sink.body, one.sink.ends) == (b"", 0)
    assert one.transport.aborted
    one.connection.release()
    assert not one.connection.reusable


@pytest.mark.parametrize(
    "bad", [b"0x3\r\nabc\r\n", b"+3\r\nabc\r\n", b"3\r\nabcd\r\n", b"3\nabc\n"]
)
def test_a_body_that_turns_illegal_is_lost_after_its_head(bad: bytes) -> None:
    one = wire()
    feed(one.connection, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", bad])
    assert one.sink.events[-1] == LOST
    assert one.sink.ends == 0


def test_a_head_without_end_is_given_up() -> None:
    one = wire()
    line = b"X-A: " + b"a" * 1000 + b"\r\n"
    fed = 0
    one.connection.data_received(b"HTTP/1.1 200 OK\r\n")
    while not one.sink.events:
        one.connection.data_received(line)
        fed += len(line)
        assert fed <= MAX_RESPONSE_HEAD + len(line)
    assert one.sink.events == [LOST]


# ---- surplus -------------------------------------------------------------------------------------

WHOLE = {"counted": OK, "chunked": CHUNKED, "204": NO_CONTENT, "304": NOT_MODIFIED}
SURPLUS = {"garbage": b"garbage", "a response": OK, "an interim": INTERIMS, "a head": b"HTTP/1.1 2"}


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE.keys())
@pytest.mark.parametrize("surplus", SURPLUS.values(), ids=SURPLUS.keys())
@pytest.mark.parametrize("in_one_read", [True, False])
def test_surplus_after_a_response_changes_nothing_of_it_and_ends_the_connection(
    raw: bytes, surplus: bytes, in_one_read: bool
) -> None:
    alone, more = wire(), wire()
    feed(alone.connection, [raw])
    feed(more.connection, [raw + surplus] if in_one_read else [raw, surplus])
    assert more.sink == alone.sink
    assert more.connection.trailers == alone.connection.trailers
    more.connection.release()
    assert not more.connection.reusable


@pytest.mark.parametrize("in_one_read", [True, False])
def test_a_body_after_a_response_to_head_ends_the_connection(in_one_read: bool) -> None:
    one = wire(to_head=True)
    feed(one.connection, [OK] if in_one_read else [OK[:-2], OK[-2:]])
    assert one.sink.body == b""
    assert one.sink.ends == 1
    one.connection.release()
    assert not one.connection.reusable


def test_surplus_of_a_counted_body_is_cut_off() -> None:
    one = wire()
    feed(one.connection, [OK[:-2], b"o", b"kHTTP/1.1 200 OK\r\n\r\n"])
    assert (one.sink.body, one.sink.ends) == (b"ok", 1)
    one.connection.release()
    assert not one.connection.reusable


def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    one = wire()
    feed(one.connection, [OK])
    one.connection.release()
    assert one.connection.reusable
    feed(one.connection, [OK])
    assert one.transport.aborted
    assert not one.connection.reusable


# ---- splits --------------------------------------------------------------------------------------

STREAMS = (
    OK,
    CHUNKED,
    NO_CONTENT,
    NOT_MODIFIED,
    CLOSE_DELIMITED,
    INTERIMS + OK,
    INTERIMS + CHUNKED,
    SWITCHING + b"\x81\x02hi and more",
    INTERIMS + SWITCHING + b"early",
    OK + OK,
    CHUNKED + b"garbage",
    *ILLEGAL.values(),
)


def _outcome(raw: bytes, pieces: list[bytes], *, to_head: bool) -> tuple[Any, ...]:
    one = wire(to_head=to_head)
    feed(one.connection, pieces)
    trailers = [] if to_head else list(one.connection.trailers)
    one.connection.release()
    return one.sink, trailers, one.connection.reusable


def cut(raw: bytes, at: list[int]) -> list[bytes]:
    bounds = [0, *sorted({one % (len(raw) + 1) for one in at}), len(raw)]
    return [raw[a:b] for a, b in pairwise(bounds)]


@settings(deadline=None, max_examples=300)
@given(
    raw=st.sampled_from(STREAMS),
    at=st.lists(st.integers(0, 400), max_size=8),
    to_head=st.booleans(),
)
def test_any_split_of_a_response_gives_the_same(raw: bytes, at: list[int], to_head: bool) -> None:
    assert _outcome(raw, cut(raw, at), to_head=to_head) == _outcome(raw, [raw], to_head=to_head)


@settings(deadline=None)
@given(raw=st.sampled_from(STREAMS))
def test_even_byte_by_byte(raw: bytes) -> None:
    pieces = [raw[at : at + 1] for at in range(len(raw))]
    assert _outcome(raw, pieces, to_head=False) == _outcome(raw, [raw], to_head=False)


_TOKEN = st.text("abcXYZ019-", min_size=1, max_size=8).map(lambda text: b"X-" + text.encode())
_VALUE = st.binary(max_size=12).map(
    lambda raw: bytes(byte for byte in raw if byte >= 0x21 and byte != 0x7F)
)


@st.composite
def _responses(draw: st.DrawFn) -> tuple[bytes, bytes, tuple[bytes, ...], bytes]:
    """Return a legal response: as it stands on the wire, then its reason, fields and body."""
    reason = draw(st.sampled_from([b"", b"OK", b"Not So \xe9"]))
    fields = tuple(
        b"%b: %b\r\n" % one for one in draw(st.lists(st.tuples(_TOKEN, _VALUE), max_size=4))
    )
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
    body = b"".join(chunks)
    if draw(st.booleans()):
        framing, framed = b"Content-Length: %d\r\n" % len(body), body
    else:
        framing = b"Transfer-Encoding: chunked\r\n"
        framed = b"".join(b"%X\r\n%b\r\n" % (len(one), one) for one in chunks) + b"0\r\n\r\n"
    raw = b"HTTP/1.1 200 %b\r\n%b%b\r\n%b" % (reason, b"".join(fields), framing, framed)
    return raw, reason, fields, body


@settings(deadline=None)
@given(
    responses=st.lists(_responses(), min_size=1, max_size=3),
    at=st.lists(st.integers(0, 400), max_size=8),
)
def test_any_legal_response_arrives_as_it_was_sent_on_a_connection_that_serves_again(
    responses: list[tuple[bytes, bytes, tuple[bytes, ...], bytes]], at: list[int]
) -> None:
    one = wire()
    for number, (raw, reason, fields, body) in enumerate(responses):
        sink = one.sink if number == 0 else one.again()
        feed(one.connection, cut(raw, at))
        assert [event[:4] for event in sink.events] == [("head", 200, reason, fields)]
        assert (sink.body, sink.ends) == (body, 1)
    assert one.connection.served == len(responses)


# ---- the connection itself -----------------------------------------------------------------------


def test_it_writes_holds_and_closes_by_its_transport() -> None:
    one = wire()
    one.connection.write(b"GET / HTTP/1.1\r\n\r\n")
    assert one.transport.sent == b"GET / HTTP/1.1\r\n\r\n"
    one.connection.hold(True)
    one.connection.hold(False)
    assert one.transport.readings == [False, True]
    one.connection.pause_writing()
    one.connection.resume_writing()
    assert one.sink.pauses == [True, False]
    one.connection.close()
    assert one.transport.closed


def test_nothing_happens_on_a_connection_that_is_gone() -> None:
    one = wire()
    one.connection.release()
    one.lose()
    assert not one.connection.is_open
    assert one.connection.authority == b":8080"
    one.connection.write(b"x")
    one.connection.hold(True)
    one.connection.pause_writing()
    one.connection.resume_writing()
    one.connection.close()
    one.connection.abort()
    assert one.transport.sent == b""
    assert (one.transport.closed, one.transport.aborted) == (False, False)
    assert one.sink == RecordingSink()
    assert one.closed == [one.connection]


@pytest.mark.parametrize(
    ("peername", "authority"),
    [(("10.0.0.7", 80), b"10.0.0.7:80"), (("fd00::7", 80, 0, 0), b"[fd00::7]:80")],
)
def test_its_authority_is_where_it_leads(peername: tuple[Any, ...], authority: bytes) -> None:
    assert wire(peername=peername).connection.authority == authority


@pytest.mark.parametrize("how", ["close", "abort", "spoil", "eof"])
def test_a_connection_that_is_being_closed_or_was_spoilt_serves_no_other(how: str) -> None:
    one = wire()
    feed(one.connection, [OK])
    one.connection.release()
    assert one.connection.reusable
    if how == "eof":
        one.connection.eof_received()
    else:
        getattr(one.connection, how)()
    assert not one.connection.reusable


def test_an_exchange_that_ends_before_its_response_ends_the_connection() -> None:
    one = wire()
    feed(one.connection, [OK[:-1]])
    one.connection.release()
    assert not one.connection.reusable


def test_a_loss_after_the_response_ended_is_nobodys_business() -> None:
    for raw in (CHUNKED, OK, NO_CONTENT):
        one = wire()
        feed(one.connection, [raw])
        before = list(one.sink.events)
        one.lose()
        assert (one.sink.events, one.sink.ends) == (before, 1)


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("exc", [None, ConnectionResetError(), BrokenPipeError()])
def test_a_loss_before_a_byte_of_the_request_was_acknowledged_leaves_it_untouched(
    exc: Exception | None,
) -> None:
    one = wire()
    one.connection.write(REQUEST)
    one.transport.info.acked += len(REQUEST)
    feed(one.connection, [OK])
    sink = one.again()
    one.connection.write(REQUEST)
    one.lose(exc)
    assert sink.events == [("lost", UpstreamReset, True)]


@pytest.mark.parametrize("exc", [None, ConnectionResetError(), BrokenPipeError()])
@pytest.mark.parametrize("fed", [b"", b"HTTP/1.1 200", INTERIMS, OK[:-1], CHUNKED[:-1]])
def test_a_loss_after_a_byte_of_the_request_was_acknowledged_may_have_acted(
    exc: Exception | None, fed: bytes
) -> None:
    one = wire()
    one.connection.write(REQUEST)
    one.transport.info.acked += 1
    feed(one.connection, [fed])
    one.lose(exc)
    assert one.sink.events[-1] == ("lost", UpstreamReset, False)


class SealingTransport(RecordingTransport):
    """One over which hands were shaken."""

    wire_bytes = 5000


@pytest.mark.parametrize(("more", "untouched"), [(0, True), (1, False)])
def test_over_tls_what_counts_are_the_records_that_were_sent_before(
    more: int, untouched: bool
) -> None:
    connection = SecureUpstreamConnection("life-1", 8443, lambda _: None)
    transport = SealingTransport()
    connection.connection_made(transport)
    sink = RecordingSink()
    connection.begin(sink, to_head=False)
    connection.write(REQUEST)
    transport.info.acked = 1 + transport.wire_bytes + more
    connection.connection_lost(ConnectionResetError())
    assert sink.events == [("lost", UpstreamReset, untouched)]


def test_where_the_kernel_does_not_count_a_loss_may_have_acted() -> None:
    one = wire()
    one.transport.info.known = False
    one.connection.write(REQUEST)
    one.lose()
    assert one.sink.events == [("lost", UpstreamReset, False)]


# ---- on real sockets -----------------------------------------------------------------------------


@dataclass
class Dialled:
    """A connection over TCP and the socket at the sandbox's end."""

    connection: UpstreamConnection
    peer: socket.socket
    gone: asyncio.Event


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


async def _dial(listener: socket.socket) -> Dialled:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: UpstreamConnection("life-1", 80, lambda _: gone.set()), *listener.getsockname()
    )
    peer, _ = listener.accept()
    return Dialled(connection, peer, gone)


@pytest.mark.parametrize("reset", [True, False])
async def test_a_peer_that_took_the_request_and_closed_may_have_acted_on_it(
    listener: socket.socket, reset: bool
) -> None:
    one, sink = await _dial(listener), RecordingSink()
    one.connection.begin(sink, to_head=False)
    one.connection.write(REQUEST)
    assert one.peer.recv(1000) == REQUEST
    if reset:
        one.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.peer.close()
    async with asyncio.timeout(5):
        await one.gone.wait()
    assert sink.events == [("lost", UpstreamReset, False)]


async def test_a_request_written_after_the_peer_closed_is_untouched(
    listener: socket.socket,
) -> None:
    one, sink = await _dial(listener), RecordingSink()
    one.peer.close()
    one.connection.begin(sink, to_head=False)
    one.connection.write(REQUEST)
    async with asyncio.timeout(5):
        await one.gone.wait()
    assert sink.events == [("lost", UpstreamReset, True)]


# ---- heads that may go on as they came -----------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (OK, True),
        (OK.replace(b"\r\n\r\n", b"\r\nX-A: 1\r\n\r\n"), True),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), True),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: x-a\r\n\r\n"), False),
        (OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=5\r\n\r\n"), False),
        (OK.replace(b"\r\n\r\n", b"\r\nProxy-Connection: keep-alive\r\n\r\n"), False),
        (OK.replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\n\r\n"), False),
        (OK.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (CHUNKED, False),
        (CLOSE_DELIMITED, False),
        (NO_CONTENT, False),
        (NOT_MODIFIED, False),
        (INTERIMS + OK, False),
        (b"\r\n\r\n" + OK, False),
    ],
)
def test_a_head_is_clean_where_all_of_it_is_end_to_end(raw: bytes, clean: bool) -> None:
    reader = ResponseReader()
    reader.feed(raw)
    assert reader.head is not None
    assert reader.head.clean is clean
    head = raw.strip(b"\r\n").removeprefix(INTERIMS).partition(b"\r\n\r\n")[0]
    assert reader.head.raw == head + b"\r\n\r\n"
    in_pieces = ResponseReader()
    for byte in raw:
        in_pieces.feed(bytes([byte]))
    assert in_pieces.head is not None
    assert in_pieces.head.raw == reader.head.raw


def test_nothing_of_a_body_is_kept_with_its_head() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
    assert b"".join(reader.take_parts()) == b"x" * 100_000
    kept = (getattr(reader, name) for name in ResponseReader.__slots__)
    assert not [one for one in kept if isinstance(one, bytes) and len(one) > 1000]
