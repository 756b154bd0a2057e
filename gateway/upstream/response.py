"""Reads a sandbox's responses from bytes (RFC 9112), on httptools. No sockets here.

A response with a known length is parsed up to its head; after that bytes are counted and passed
on as they came, since sending them through the parser would halve the speed of large bodies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import httptools

from gateway.sandbox.errors import UpstreamProtocolError
from gateway.upstream.field_names import FieldNames

#: Response fields that are the connection's or the framing's, not the message's (9110 §7.6.1).
_SPECIAL: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
#: Special fields that may be sent on as they came; and what Connection may say then.
_CLEAN: Final = frozenset({b"content-length", b"connection"})
_KEEP: Final = [b"keep-alive"]
_NOTHING: Final[frozenset[bytes]] = frozenset()
_BODYLESS: Final = frozenset({204, 304})

#: What a status line may not have (RFC 9112 §4), and the line of which that need not be asked.
_PLAIN: Final = b"HTTP/1.1 200 OK\r\n"
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_NAMES: Final = FieldNames(_SPECIAL)
_KNOWN: Final = _NAMES.known

#: More than this without a head being complete is no head; nor are trailers of that size.
MAX_RESPONSE_HEAD: Final = 256 * 1024

#: Fields of a head: each costs, so a sandbox could make the gateway work for one of 4 bytes each.
MAX_FIELDS: Final = 1000
#: Bytes in which there is no room for so many.
_FEW: Final = 4 * MAX_FIELDS

#: Interim responses to one request; a sandbox that sends more does not come to an end.
MAX_INTERIMS: Final = 64


@dataclass(slots=True)
class ResponseHead:
    """A response head. `raw` is all of it as it came.

    `length` is the Content-Length as it stood, None if there is none; `bodyless` says that no body
    follows whatever the length. Without a length and not chunked the body ends with the connection.
    `clean`: its only field that is not end-to-end is a Content-Length and maybe the wish to keep
    the connection, so that it may be sent as it came where that is wished, too.
    """

    status: int
    raw: bytes
    length: int | None
    chunked: bool
    bodyless: bool
    clean: bool
    named: frozenset[bytes] = _NOTHING
    upgrade: bytes | None = None

    @property
    def reason(self) -> bytes:
        """The rest of the first line; the head is refused if it has control characters."""
        return self.raw.partition(b"\r\n")[0][len(b"HTTP/1.1 200 ") :]

    @property
    def lines(self) -> list[bytes]:
        """The end-to-end fields, each with its CRLF (RFC 9110 §7.6.1)."""
        taken_out = _SPECIAL | self.named
        lines = self.raw[:-2].splitlines(keepends=True)[1:]
        return [line for line in lines if line.partition(b":")[0].lower() not in taken_out]

    @property
    def interim(self) -> bool:
        """Whether the response itself is still to come."""
        return self.status < 200

    @property
    def ends_with_connection(self) -> bool:
        """Whether only the connection's end tells where the body ends."""
        return not (self.interim or self.bodyless or self.chunked) and self.length is None


class ResponseReader:
    """The response to one request after the other, as its bytes arrive.

    `begin` for each request, then `feed`; after each `feed` the attributes tell what there is:
    `head` (the final one, once it is complete), `parts` (pieces of the body that this feed
    brought), `ended`, and after the end `surplus` (bytes came that belong to nothing), `trailers`.
    `interims` are 1xx heads that this feed brought. `switched` is what followed a 101, which is
    then `head`. `keep_alive`: whether the connection may bring another response. `fed`: bytes of
    this response so far, as long as they go through the parser.
    """

    __slots__ = (
        "_1_1",
        "_interim_count",
        "_left",
        "_moved",
        "_parser",
        "_reading",
        "_special",
        "_to_head",
        "_unread",
        "ended",
        "fed",
        "head",
        "interims",
        "keep_alive",
        "parts",
        "surplus",
        "switched",
        "trailers",
    )

    head: ResponseHead | None
    parts: list[bytes]
    interims: list[ResponseHead]
    trailers: list[bytes]
    switched: bytes | None
    _1_1: bool
    _reading: ResponseHead | None
    _left: int | None
    _special: dict[bytes, list[bytes]]

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = None
        self.keep_alive = True
        self.surplus = False
        self.begin(to_head=False)

    def begin(self, *, to_head: bool) -> None:
        """Expect the response to a request; `to_head`: to HEAD, which gets no body."""
        self._to_head = to_head
        self._left = self._reading = self.head = self.switched = None
        self._interim_count = self._moved = self.fed = 0
        self._unread = b""
        self.parts = []
        self.interims = []
        self.trailers = []
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Take bytes; raise UpstreamProtocolError if they are no legal response."""
        if self._left is not None:
            self._count(data, self._left)
            return
        if self.fed == 0:
            # Cheaper than to ask the parser, which makes a string of the version.
            self._1_1 = data.startswith(b"HTTP/1.1 ")
        if self.head is None:
            self._unread = self._unread + data if self._unread else data
            if len(self._unread) > _FEW and _field_count(self._unread) > MAX_FIELDS:
                raise UpstreamProtocolError
        self.fed += len(data)
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self.ended:
                raise UpstreamProtocolError from error
            self.surplus = True
        head = self.head
        if head is None or head.bodyless or not self.ended:
            self._settle()

    def take_parts(self) -> list[bytes]:
        """Return the pieces of the body that have come since they were taken last."""
        parts = self.parts
        if parts:
            self.parts = []
        return parts

    def _settle(self) -> None:
        """Leave the parser where the body needs none, or has none."""
        head = self.head
        if head is None:
            if self.fed > MAX_RESPONSE_HEAD:
                raise UpstreamProtocolError
        elif self.ended:
            if head.bodyless:
                self._parser = None  # llhttp waits for the body that the head speaks of
        elif head.length is not None:
            self._left = head.length - sum(map(len, self.parts))
            self._parser = None
        elif self.parts:
            self._moved = self.fed
        elif self.fed - self._moved > MAX_RESPONSE_HEAD:
            raise UpstreamProtocolError  # a chunk extension or trailers without end

    # ---- callbacks of httptools

    def on_message_begin(self) -> None:
        if self.ended:
            raise UpstreamProtocolError  # surplus: the response that ended is left as it is
        self._reading = None
        self._special = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        try:
            special = _KNOWN[name]
        except KeyError:
            special = _NAMES.judge(name)
        if special:
            self._special.setdefault(special, []).append(value.strip(b" \t"))
        elif self._reading is not None:
            self.trailers.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        head = self._reading = self._judge_head()
        self._special = {}
        if head.status >= 200:
            self.head = head
            self.ended = head.bodyless

    def on_body(self, data: bytes) -> None:
        if self.ended:
            self.surplus = True
        else:
            self.parts.append(data)

    def on_message_complete(self) -> None:
        head = self._reading
        if head is not None and head.status < 200:
            self._on_interim(head)
        elif self.ended:
            # llhttp knows nothing of HEAD: the end of a body came where none may be.
            chunked = head is not None and head.chunked
            self.surplus = self.surplus or (chunked and self._to_head)
        else:
            self.ended = True

    # ---- the parts of it

    def _judge_head(self) -> ResponseHead:
        parser = self._parser
        assert parser is not None
        clean, self._1_1 = self._1_1, False  # what follows an interim response says so for itself
        if not clean and parser.get_http_version() not in ("1.1", "1.0"):
            raise UpstreamProtocolError
        status = parser.get_status_code()
        special = self._special
        codings = special.get(b"transfer-encoding")
        if status < 100 or (codings is not None and b",".join(codings).lower() != b"chunked"):
            raise UpstreamProtocolError
        length = int(special[b"content-length"][0]) if b"content-length" in special else None
        if status == 204 and (length or codings is not None):
            raise UpstreamProtocolError
        if status >= 200 and not parser.should_keep_alive():
            self.keep_alive = False
        bodyless = self._to_head or status in _BODYLESS
        named = _NOTHING
        if length is None or bodyless or not special.keys() <= _CLEAN:
            clean = False
        if b"connection" in special and special[b"connection"] != _KEEP:
            named, clean = _tokens(special[b"connection"]), False
        upgrade = b", ".join(special[b"upgrade"]) if b"upgrade" in special else None
        raw = self._take_head(final=status >= 200)
        if not raw.startswith(_PLAIN) and _CONTROL.search(raw, 0, raw.index(b"\r\n")) is not None:
            raise UpstreamProtocolError
        return ResponseHead(
            status, raw, length, codings is not None, bodyless, clean, named, upgrade
        )

    def _take_head(self, *, final: bool) -> bytes:
        """Take the bytes of a head that is complete from those that were not read yet."""
        unread = self._unread
        if not unread.startswith(b"HTTP/"):
            unread = unread.lstrip(b"\r\n")  # llhttp passes over them
        end = unread.index(b"\r\n\r\n") + 4
        self._unread = b"" if final else unread[end:]
        return unread[:end]

    def _on_interim(self, head: ResponseHead) -> None:
        assert self._parser is not None
        if head.status == 101 and self._parser.should_upgrade():
            return  # `_switch` comes next
        self._interim_count += 1
        if head.status == 101 or self._interim_count > MAX_INTERIMS:
            # A 101 that names no protocol, or no end of interim responses.
            raise UpstreamProtocolError
        self.interims.append(head)

    def _switch(self, early: bytes) -> None:
        head = self._reading
        if head is None or head.status != 101 or head.upgrade is None:
            raise UpstreamProtocolError
        self.keep_alive = False
        self.head = head
        self.ended = True
        self.switched = early
        self._unread = b""

    def _count(self, data: bytes, left: int) -> None:
        """Take bytes of a body whose length is known."""
        left -= len(data)
        if left < 0:
            self.surplus = True
            data = data[:left]
        self.parts.append(data)
        if left <= 0:
            self._left = None
            self.ended = True
        else:
            self._left = left


def _field_count(unread: bytes) -> int:
    """Return about how many fields there are up to the end of the first head."""
    end = unread.find(b"\r\n\r\n")
    return unread.count(b"\n", 0, len(unread) if end < 0 else end)


def _tokens(values: list[bytes]) -> frozenset[bytes]:
    return frozenset(token.strip().lower() for token in b",".join(values).split(b","))
