"""What a sandbox may answer: legal responses of every framing, broken ones, and any odd bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from hypothesis import strategies as st

from .strategies import MARKER, Body, Fields, Framing, chunked, cuts, mutated
from .tricks import BAD_CHUNKS, BAD_LINES


class Kind(Enum):
    """What may come of a reply."""

    LEGAL = "legal"
    #: Legal, and then bytes that nobody asked for.
    SURPLUS = "surplus"
    #: No legal response, or only the beginning of one.
    BROKEN = "broken"
    #: Anything.
    ODD = "odd"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a sandbox answers to a request of this method: `sent`, in reads that end `at`.

    Then it closes, or with `resets` resets, its connection if it `closes`. What follows says what
    the client has to get of a legal one; `to_end`: only the connection's end says that it is whole.
    `later` is sent in a read of its own.
    """

    kind: Kind
    method: str
    sent: bytes
    at: list[int]
    closes: bool
    resets: bool = False
    status: int = 0
    fields: Fields = ()
    body: bytes = b""
    trailers: Fields = ()
    interims: tuple[int, ...] = ()
    to_end: bool = False
    later: bytes = b""


_METHODS = st.sampled_from(["GET", "GET", "HEAD", "POST"])
_STATUSES = st.sampled_from([200, 200, 200, 201, 206, 301, 404, 500, 599, 204, 304])
_FIELDS = st.lists(
    st.builds(
        b"%b: %b".__mod__,
        st.tuples(
            st.sampled_from([b"X-One", b"Set-Cookie", b"ETag", b"Server"]),
            st.sampled_from([b"", b"a", b"b=c; Path=/", b"\xe9\xff", b"chunked", b"x y"]),
        ),
    ),
    max_size=3,
)
#: Fields that are the connection's: they must not come through.
_HOP_BY_HOP = st.lists(
    st.sampled_from(
        [b"Connection: keep-alive", b"Keep-Alive: timeout=1", b"Connection: x-hop\r\nX-Hop: 1"]
    ),
    max_size=2,
)
_INTERIMS = st.lists(st.sampled_from([100, 102, 103]), max_size=2).map(tuple)
_CONTENT = st.sampled_from(
    [
        b"",
        MARKER,
        MARKER + b"\x00\xff" * 50,
        MARKER + b"\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        b"0\r\n\r\n",
        MARKER * 1000,
    ]
)
_SIMPLE_BODIES = st.builds(
    lambda framing, content: Body(framing, content, content),
    st.sampled_from([Framing.LENGTH, Framing.CLOSE]),
    _CONTENT,
)


_END_TO_END: Final = frozenset({b"X-One", b"Set-Cookie", b"ETag", b"Server", b"X-Marker"})


@st.composite
def legal_reply(draw: st.DrawFn) -> Reply:
    """A legal response of any framing, with interim ones before it."""
    method, status = draw(_METHODS), draw(_STATUSES)
    body = draw(st.one_of(_SIMPLE_BODIES, chunked()))
    bodyless = method == "HEAD" or status in {204, 304}
    closes = body.framing is Framing.CLOSE or draw(st.integers(0, 4)) == 0
    lines = [b"X-Marker: " + MARKER, *draw(_FIELDS), *draw(_HOP_BY_HOP)]
    if closes and draw(st.booleans()):
        lines.append(b"Connection: close")
    if status != 204:
        lines += body.field
    lines = draw(st.permutations(lines))
    interims = draw(_INTERIMS)
    early = b"".join(b"HTTP/1.1 %d Early\r\nX-Early: 1\r\n\r\n" % one for one in interims)
    head = b"HTTP/1.1 %d Reason\r\n%b\r\n\r\n" % (status, b"\r\n".join(lines))
    named = [line.split(b": ", 1) for line in lines]
    return Reply(
        Kind.LEGAL,
        method,
        early + head + (b"" if bodyless else body.sent),
        draw(cuts),
        closes,
        status=status,
        fields=tuple((name.lower(), value) for name, value in named if name in _END_TO_END),
        body=b"" if bodyless else body.content,
        trailers=() if bodyless else tuple((name.lower(), value) for name, value in body.trailers),
        interims=interims,
        to_end=body.framing is Framing.CLOSE and not bodyless,
    )


_SURPLUS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nX-Marker: surplus\r\n\r\nsurplus!",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"surplus",
        b"\x00",
        b"0\r\n\r\n",
        b"H",
    ]
)
_SELF_DELIMITED = legal_reply().filter(lambda reply: not reply.to_end)
with_surplus = st.builds(
    lambda reply, surplus: replace(reply, kind=Kind.SURPLUS, sent=reply.sent + surplus),
    # A last chunk that comes along with the answer to HEAD is passed over, and reaches nobody.
    _SELF_DELIMITED.filter(lambda reply: reply.method != "HEAD" or b"chunked" not in reply.sent),
    _SURPLUS,
) | st.builds(
    lambda reply, surplus: replace(reply, kind=Kind.SURPLUS, later=surplus),
    _SELF_DELIMITED,
    _SURPLUS,
)


@st.composite
def cut_short(draw: st.DrawFn) -> Reply:
    """The beginning of a response that says itself where it ends, then the connection's end."""
    reply = draw(_SELF_DELIMITED)
    length = draw(st.integers(0, len(reply.sent) - 1))
    sent, resets = reply.sent[:length], draw(st.booleans())
    return replace(reply, kind=Kind.BROKEN, sent=sent, closes=True, resets=resets)


_OK: Final = b"HTTP/1.1 200 OK\r\nX-Marker: {marker}\r\n"
_CHUNKED: Final = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_BROKEN: Final = (
    *(_OK + line + b"\r\n\r\nhello" for line in BAD_LINES if not line.startswith(b"Host")),
    *(_CHUNKED + body for body in BAD_CHUNKS),
    b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 99 Low\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 2000 High\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nhello",
    b"HTTP/1.1 101 Switching\r\nContent-Length: 5\r\n\r\nhello",
    b"ICY 200 OK\r\n\r\nhello",
    b"hello",
    b"\x16\x03\x01\x00\xa5\x01\x00",
)
#: One of each kind.
ILLEGAL_REPLIES: Final = tuple(
    Reply(Kind.BROKEN, "GET", sent, [], closes=False) for sent in _BROKEN
)
illegal_reply = st.builds(
    lambda reply, at: replace(reply, at=at), st.sampled_from(ILLEGAL_REPLIES), cuts
)


@st.composite
def odd_reply(draw: st.DrawFn) -> Reply:
    """Any bytes, then the connection's end."""
    reply = draw(legal_reply() | illegal_reply)
    sent, resets = draw(mutated(reply.sent)), draw(st.integers(0, 3)) == 0
    return replace(reply, kind=Kind.ODD, sent=sent, closes=True, resets=resets)


replies = st.lists(
    st.one_of(legal_reply(), legal_reply(), with_surplus, cut_short(), illegal_reply, odd_reply()),
    max_size=4,
).flatmap(lambda some: legal_reply().map(lambda last: [*some, last]))
