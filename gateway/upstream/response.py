"""Reads a sandbox's responses from bytes (RFC 9112), on httptools. No sockets here.

A response with a known length is parsed up to its head; after that bytes are counted and passed
on as they came, since sending them through the parser would halve the speed of large bodies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import httptools

from gateway.sandbox.errors import UpstreamProtocolError

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
_BODYLESS: Final = frozenset({204, 304})
_KEEP: Final = [b"keep-alive"]
_HARMLESS_TOKENS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b""})

#: More than this without a head being complete is no head.
MAX_RESPONSE_HEAD: Final = 256 * 1024

#: Interim responses to one request; a sandbox that sends more does not come to an end.
MAX_INTERIMS: Final = 64


@dataclass(slots=True)
class ResponseHead:
    """A response head. `lines` are the end-to-end fields, each with its CRLF.

    `length` is the Content-Length as it stood, None if there is none; `bodyless` says that no body
    follows whatever the length. Without a length and not chunked the body ends with the connection.
    """

    status: int
    reason: bytes
    lines: list[bytes]
    length: int | None
    chunked: bool
    bodyless: bool
    upgrade: bytes | None = None

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
        "_lines",
        "_parser",
        "_reading",
        "_reason",
        "_special",
        "_to_head",
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
    _lines: list[bytes]
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
        self._interim_count = self.fed = 0
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

    # ---- callbacks of httptools

    def on_message_begin(self) -> None:
        if self.ended:
            raise UpstreamProtocolError  # surplus: the response that ended is left as it is
        self._reading = None
        self._reason = b""
        self._lines = []
        self._special = {}

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower not in _SPECIAL:
            self._lines.append(b"%b: %b\r\n" % (name, value))
        elif lower in self._special:
            self._special[lower].append(value.strip(b" \t"))
        else:
            self._special[lower] = [value.strip(b" \t")]

    def on_headers_complete(self) -> None:
        head = self._reading = self._judge_head()
        self._lines, self._special = self.trailers, {}  # what fields come from now on
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
        else:
            self.ended = True

    # ---- the parts of it

    def _judge_head(self) -> ResponseHead:
        parser = self._parser
        assert parser is not None
        if not self._1_1 and parser.get_http_version() not in ("1.1", "1.0"):
            raise UpstreamProtocolError
        self._1_1 = False  # what follows an interim response says so for itself
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
        tokens = special.get(b"connection")
        return ResponseHead(
            status,
            self._reason,
            self._lines if tokens is None or tokens == _KEEP else _without(self._lines, tokens),
            length,
            codings is not None,
            self._to_head or status in _BODYLESS,
            b", ".join(special[b"upgrade"]) if b"upgrade" in special else None,
        )

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


def _without(lines: list[bytes], connection: list[bytes]) -> list[bytes]:
    """Return the fields less those that Connection names (RFC 9110 §7.6.1)."""
    if len(connection) == 1 and connection[0].lower() in _HARMLESS_TOKENS:
        return lines
    named = {token.strip().lower() for token in b",".join(connection).split(b",")}
    named -= _HARMLESS_TOKENS
    if not named:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in named]
