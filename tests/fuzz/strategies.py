"""Streams of requests: legal ones of every shape, and any odd bytes.

What is generated holds places for what only a run knows: `MARKER`, which is unique to each request
that is sent, and `PORTS`. They are replaced by as many bytes, so that every length stays right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

from hypothesis import strategies as st

MARKER: Final = b"{marker}"
#: By sandbox.
PORTS: Final = {b"box": b"{prt}", b"other": b"{ort}"}
_PLACES: Final = re.compile(b"|".join(map(re.escape, (MARKER, *PORTS.values()))))

#: A request that is nobody's: hidden in bodies, it must never be taken for one.
SMUGGLED: Final = (
    b"GET /smuggled/{marker} HTTP/1.1\r\nHost: box.example\r\n"
    b"E2b-Sandbox-Id: other\r\nE2b-Sandbox-Port: {ort}\r\n\r\n"
)

Fields = tuple[tuple[bytes, bytes], ...]


class Framing(Enum):
    """How a message says where its body ends."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Body:
    """A body; `sent` is how it goes over the wire."""

    framing: Framing
    content: bytes = b""
    sent: bytes = b""
    trailers: Fields = ()

    @property
    def field(self) -> list[bytes]:
        """Return the field line that frames it."""
        if self.framing is Framing.LENGTH:
            return [b"Content-Length: %d" % len(self.content)]
        return [b"Transfer-Encoding: chunked"] if self.framing is Framing.CHUNKED else []


@dataclass(frozen=True, slots=True)
class LegalRequest:
    """A legal request, and what a sandbox has to see of it.

    `lines` are its field lines as sent. `fields` are the end-to-end ones, names in lower case.
    """

    method: bytes
    written_target: bytes
    target: bytes
    sandbox: bytes
    version: bytes
    lines: tuple[bytes, ...]
    fields: Fields
    body: Body
    closes: bool

    @property
    def head(self) -> bytes:
        start = b"%b %b HTTP/%b" % (self.method, self.written_target, self.version)
        return b"\r\n".join((start, *self.lines)) + b"\r\n\r\n"

    @property
    def sent(self) -> bytes:
        return self.head + self.body.sent


# ---- fields --------------------------------------------------------------------------------------

_NAMES = st.sampled_from([b"X-One", b"X-Two", b"Accept", b"Cookie", b"x_under", b"!#$%&'*+-.^_`|~"])
_VALUES = st.one_of(
    st.sampled_from([b"", b"a", b'"q,;="', b"a b\tc", b"\xe9\xff\x80", b"chunked", b"close"]),
    st.binary(max_size=12).map(
        lambda raw: bytes(byte for byte in raw if byte > 32 and byte != 127)
    ),
)
_SPACES: Final = (b"", b" ", b"\t", b"  ")
_SPELLINGS = st.integers(0, 63)
_PLAIN_FIELDS = st.lists(st.tuples(_NAMES, _VALUES), max_size=4)
_TRAILERS = st.lists(st.tuples(st.sampled_from([b"X-T", b"x-u"]), _VALUES), max_size=2)


def _line(name: bytes, value: bytes, spelling: int) -> bytes:
    """Return a field line in one of its 64 spellings."""
    written = (name, name.lower(), name.upper(), name.swapcase())[spelling % 4]
    before, after = _SPACES[spelling // 4 % 4], _SPACES[spelling // 16]
    return b"%b:%b%b%b" % (written, before, value, after)


# ---- bodies --------------------------------------------------------------------------------------

_CONTENT = st.one_of(
    st.just(b""),
    st.binary(max_size=40),
    st.sampled_from(
        [
            SMUGGLED,
            b"0\r\n\r\n" + SMUGGLED,
            b"\r\n\r\n" + SMUGGLED,
            b"\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
            b"a" * 5000,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ]
    ),
)
_EXTENSIONS = st.sampled_from([b"", b"", b";a", b";a=b", b';a="q;\\"r"', b";a=1;b=2"])
_SIZES = st.sampled_from([b"%x", b"%X", b"%04x", b"%012X"])


@st.composite
def chunked(draw: st.DrawFn) -> Body:
    """A chunked body with extensions and trailers."""
    content = draw(_CONTENT)
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=3)))
    cuts = [
        at for at in cuts if not any(m.start() < at < m.end() for m in _PLACES.finditer(content))
    ]
    sent = b""
    for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        if begin < end:
            size = draw(_SIZES) % (end - begin)
            sent += b"%b%b\r\n%b\r\n" % (size, draw(_EXTENSIONS), content[begin:end])
    trailers = tuple(draw(_TRAILERS))
    sent += draw(st.sampled_from([b"0", b"000"])) + draw(_EXTENSIONS) + b"\r\n"
    sent += b"".join(b"%b: %b\r\n" % trailer for trailer in trailers) + b"\r\n"
    return Body(Framing.CHUNKED, content, sent, trailers)


WITH_LENGTH = _CONTENT.map(lambda content: Body(Framing.LENGTH, content, content))
WITHOUT = st.just(Body(Framing.NONE))


# ---- legal requests ------------------------------------------------------------------------------

_METHODS = st.sampled_from(
    [
        b"GET",
        b"GET",
        b"HEAD",
        b"POST",
        b"POST",
        b"PUT",
        b"PATCH",
        b"DELETE",
        b"OPTIONS",
        b"PROPFIND",
    ]
)
_RESTS = st.one_of(
    st.sampled_from([b"", b"/", b"//x", b"/../..", b"/%2F%00", b"/a;b=c", b"?q=1&r=/x%3Fy", b"?"]),
    st.text("abcXYZ019-._~!$&'()*+,;=:@/?%", max_size=12).map(str.encode),
)
_HOSTS = st.sampled_from([b"box.example", b"BOX.example:80", b"127.0.0.1:65535", b"[::1]", b"a"])
#: Field lines that are legal and that the gateway keeps to itself, or acts upon.
_OWN_LINES = st.sampled_from(
    [
        (b"Connection", b"keep-alive"),
        (b"Connection", b"x-two, te"),
        (b"Connection", b"content-length, host, e2b-sandbox-id"),
        (b"Connection", b"upgrade"),
        (b"Keep-Alive", b"timeout=1"),
        (b"TE", b"trailers"),
        (b"Via", b"1.0 fred"),
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"content_length", b"3"),
        (b"Transfer_Encoding", b"chunked"),
    ]
)
#: Asks for another protocol; the sandbox does not switch. llhttp frames no body behind these.
_UPGRADE = (b"Upgrade", b"foo/1"), (b"Connection", b"Upgrade")


@st.composite
def legal_request(draw: st.DrawFn, *, last: bool = False) -> LegalRequest:
    """A legal request; only the `last` of a connection may end it."""
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"])) if last else b"1.1"
    body = draw(st.one_of(WITHOUT, WITH_LENGTH, chunked() if version == b"1.1" else WITHOUT))
    host, sandbox = draw(_HOSTS), draw(st.sampled_from(sorted(PORTS)))
    target = b"/asked/%b%b" % (MARKER, draw(_RESTS))
    prefix = draw(st.sampled_from([b"", b"", b"", b"http://" + host, b"HTTPS://" + host]))
    plain, own = draw(_PLAIN_FIELDS), draw(st.lists(_OWN_LINES, max_size=2))
    if version == b"1.0":
        own = [line for line in own if line[0] != b"Connection"]
    elif body.framing is Framing.NONE and draw(st.integers(0, 5)) == 0:
        own += _UPGRADE
    closes = last and (version == b"1.0" or draw(st.booleans()))
    if closes and version == b"1.1":
        own.append((b"Connection", b"close"))
    if draw(st.integers(0, 9)) == 0 and body.framing is not Framing.NONE:
        plain.append((b"Expect", b"100-continue"))
    naming = [(b"Host", host), (b"E2b-Sandbox-Id", sandbox), (b"E2b-Sandbox-Port", PORTS[sandbox])]
    written = [_line(name, value, draw(_SPELLINGS)) for name, value in (*naming, *own)]
    lines = draw(st.permutations(written + body.field))
    lines += [_line(name, value, draw(_SPELLINGS)) for name, value in plain]
    named = b",".join(value for name, value in own if name == b"Connection")
    taken = {token.strip().lower() for token in named.split(b",")}
    fields = tuple((n.lower(), v) for n, v in plain if n.lower() not in taken)
    return LegalRequest(
        draw(_METHODS),
        prefix + target,
        target,
        sandbox,
        version,
        tuple(lines),
        fields,
        body,
        closes,
    )


@st.composite
def legal_stream(draw: st.DrawFn, *, may_close: bool = True) -> list[LegalRequest]:
    """One to five legal requests of one connection."""
    count = draw(st.integers(1, 5))
    return [draw(legal_request(last=may_close and n == count - 1)) for n in range(count)]


# ---- any bytes -----------------------------------------------------------------------------------

#: What parsers have disagreed about.
TOKENS: Final = (
    *(bytes([one]) for one in b"\r\n\0\t\x0b\x80\xff :,;-#@05"),
    *(b"\r\n", b"\r\n ", b"\r\n\r\n", b"0\r\n\r\n", b"1\r\n", b"HTTP/1.0", b"%00"),
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Connection: close\r\n",
    b"\r\nHost: other\r\n",
    SMUGGLED,
)


@st.composite
def mutated(draw: st.DrawFn, sent: bytes) -> bytes:
    """The bytes with a few of them put in, left out, repeated or changed, or the end cut off."""
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(sent)))
        end = min(len(sent), begin + draw(st.integers(0, 12)))
        how = draw(st.integers(0, 7))
        if how <= 2:
            sent = sent[:begin] + draw(st.sampled_from(TOKENS)) + sent[begin:]
        elif how == 3:
            sent = sent[:begin] + sent[end:]
        elif how == 4:
            sent = sent[:end] + sent[begin:end] + sent[end:]
        elif how == 5:
            sent = sent[:begin] + draw(st.binary(min_size=1, max_size=2)) + sent[begin + 1 :]
        elif how == 6:
            sent = sent[:begin] + draw(st.sampled_from(TOKENS)) + sent[end:]
        else:
            sent = sent[:begin]
    return sent


#: Where the reads end, in thousandths of what is sent.
cuts = st.lists(st.integers(0, 1000), max_size=6)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Return the data in pieces."""
    places = sorted({len(data) * place // 1000 for place in at} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]
