"""Reads requests from bytes: httptools in the place of the parser of aiohttp's server.

aiohttp's own lets through what no hook repairs (the last trailer of a request becomes a header of
the next one on the connection; errors in a later read never reach the body's reader). This one
has the few methods that `aiohttp.web_protocol.RequestHandler` calls; tests pin them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

import httptools

from gateway.proxy import legality
from gateway.proxy.body import NO_BODY, RequestBody
from gateway.proxy.message import RequestHead, Special
from gateway.sandbox.errors import (
    BadRequest,
    GatewayError,
    HeadersTooLarge,
    PayloadTooLarge,
    RequestTimeout,
    UriTooLong,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    #: What aiohttp queues for its handler: a head, or the error that answers in its place.
    Message = tuple[RequestHead | GatewayError, RequestBody]

#: Fields that the gateway reads, rewrites or removes, besides those that the settings name.
SPECIAL: Final = frozenset(
    {
        b"host",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"upgrade",
        b"te",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"http2-settings",
        b"via",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
    }
)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Sizes in bytes. `max_body` 0 is unlimited."""

    max_uri: int = 16 * 1024
    max_head: int = 64 * 1024
    max_headers: int = 128
    max_body: int = 0


class Phase(Enum):
    """Where in the stream of requests the next byte falls."""

    BETWEEN = "between"
    HEAD = "head"
    BODY = "body"


#: Attribute access on an enum is slow (a descriptor on its metaclass), and this is the hot path.
_BETWEEN: Final = Phase.BETWEEN
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY


def _leave(_head: RequestHead | GatewayError, _body: RequestBody) -> bool:
    """Take no request."""
    return False


class RequestParser:
    """The requests of one connection, as they arrive."""

    __slots__ = (
        "_begin",
        "_body",
        "_closing",
        "_dead",
        "_fed",
        "_head_size",
        "_hold",
        "_limits",
        "_lines",
        "_messages",
        "_parser",
        "_parts",
        "_progressed",
        "_received",
        "_special",
        "_special_names",
        "_target",
        "_trailers",
        "phase",
    )

    def __init__(
        self,
        limits: RequestLimits,
        special_names: frozenset[bytes],
        hold: Callable[[bool], None],
        begin: Callable[[RequestHead | GatewayError, RequestBody], bool] = _leave,
    ) -> None:
        """`special_names`: lower-case fields kept apart; `hold`: stop and resume reading.

        `begin` is offered each request that arrived alone and whole; one that it takes is not
        returned by `feed_data`.
        """
        self._limits = limits
        self._special_names = special_names
        self._hold = hold
        self._begin = begin
        self._parser = httptools.HttpRequestParser(self)
        self._messages: list[Message] = []
        self._dead = False
        self.phase = _BETWEEN
        self._body: RequestBody = NO_BODY
        self._parts: list[bytes] = []
        self._closing = False
        self._progressed = False
        self._received = 0
        self._fed = 0
        self._start_head()

    # ---- what aiohttp's server calls

    def feed_data(self, data: bytes) -> tuple[list[Message], bool, bytes]:
        """Return the requests begun in `data`, whether another protocol follows, and its bytes."""
        if self._dead or not data:
            return self._take_messages(), False, b""
        upgraded, rest = False, data
        self._progressed = self.phase is _BETWEEN
        while rest and not upgraded and not self._dead:
            upgraded, rest = self._parse(rest)
        if self._parts:
            self._flush_body()
        if not (self._progressed or self._dead):
            self._bound(len(data))
        messages = self._messages
        if not messages:
            return messages, False, b""
        self._messages = []
        if len(messages) == 1 and self.phase is _BETWEEN and not upgraded:
            head, body = messages[0]
            if self._begin(head, body):
                return [], False, b""
        return messages, upgraded, rest if upgraded else b""

    def feed_eof(self) -> None:
        """Do nothing: the connection's end is seen by the connection."""

    def set_upgraded(self, upgraded: bool) -> None:
        """Do nothing: llhttp resumed by itself after the upgrade request."""

    def message_consumed(self) -> None:
        """Do nothing: the queue's bound is the server's."""

    def pause_reading(self) -> None:
        """Do nothing: what has been read is parsed; the transport is what pauses."""

    def expire(self) -> bool:
        """End an unfinished head by an error; return whether there is one to be fetched."""
        if self._dead or self.phase is not _HEAD:
            return False
        self._reject(RequestTimeout())
        return True

    def stop(self) -> None:
        """Parse nothing more: the connection will be closed after the present answer."""
        self._dead = True

    # ---- callbacks of httptools

    def on_message_begin(self) -> None:
        self.phase = _HEAD
        self._fed = 0
        self._start_head()

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self._limits.max_uri:
            raise UriTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value) + 4
        lower = name.lower()
        if self.phase is _BODY:
            self._on_trailer(lower, name, value)
        elif lower in self._special_names:
            self._special.setdefault(lower, []).append(value.strip(b" \t"))
        elif b"_" not in lower or lower.replace(b"_", b"-") not in self._special_names:
            self._lines.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        limits = self._limits
        if (
            self._head_size > limits.max_head
            or len(self._lines) + len(self._special) > limits.max_headers
        ):
            raise HeadersTooLarge
        head = self._judge_head()
        if head.length != 0:
            self._body = RequestBody(self._hold)
        self._messages.append((head, self._body))
        self.phase = _BODY
        self._progressed = True
        self._closing = not head.keep_alive
        self._fed = 0
        self._received = 0

    def on_body(self, data: bytes) -> None:
        self._received += len(data)
        if 0 < self._limits.max_body < self._received:
            raise PayloadTooLarge
        self._parts.append(data)

    def on_message_complete(self) -> None:
        body = self._body
        if body is not NO_BODY:
            self._flush_body()
            body.feed_end(self._trailers)
            self._body = NO_BODY
        self.phase = _BETWEEN
        self._progressed = True
        # RFC 9112 §9.6: after "close" nothing more is a request.
        self._dead = self._closing

    # ---- the parts of it

    def _take_messages(self) -> list[Message]:
        messages = self._messages
        if messages:
            self._messages = []
        return messages

    def _start_head(self) -> None:
        self._target = b""
        self._special: Special = {}
        self._lines: list[bytes] = []
        self._trailers: list[bytes] = []
        self._head_size = 0

    def _judge_head(self) -> RequestHead:
        parser, special = self._parser, self._special
        method = parser.get_method()
        http_1_1 = legality.http_1_1(parser.get_http_version())
        legality.check_method(method)
        host = legality.check_host(special, must=http_1_1)
        if b"via" in special:
            legality.check_loop(special)
        length: int | None = 0
        if b"content-length" in special or b"transfer-encoding" in special:
            length = legality.body_length(special, http_1_1=http_1_1, limit=self._limits.max_body)
        return RequestHead(
            method,
            legality.origin_form(method, self._target, host),
            http_1_1,
            special,
            self._lines,
            length,
            parser.should_keep_alive(),
            self._wanted_protocol(http_1_1, length) if parser.should_upgrade() else None,
        )

    def _wanted_protocol(self, http_1_1: bool, length: int | None) -> bytes | None:
        """Return the Upgrade to pass on; HTTP/2 is not spoken, and 1.0 has none (9110 §7.8)."""
        if length != 0:
            # llhttp does not frame the body of an upgrade request: it must not be guessed at.
            raise BadRequest("An upgrade request has no body here.")
        asked = b", ".join(self._special.get(b"upgrade", ())).lower()
        return asked if http_1_1 and asked and b"h2c" not in asked else None

    def _on_trailer(self, lower: bytes, name: bytes, value: bytes) -> None:
        if self._head_size > self._limits.max_head:
            raise HeadersTooLarge
        # RFC 9110 §6.5.1: fields of framing, routing and control are no trailers.
        if lower not in self._special_names and b"_" not in lower:
            self._trailers.append(b"%b: %b\r\n" % (name, value))

    def _flush_body(self) -> None:
        parts = self._parts
        if parts:
            self._body.feed(parts[0] if len(parts) == 1 else b"".join(parts))
            parts.clear()
            self._progressed = True
            self._fed = 0

    def _parse(self, data: bytes) -> tuple[bool, bytes]:
        """Parse up to an upgrade; return whether it is passed on as one, and what follows it.

        What follows one that is not passed on is the next request.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            head = self._messages[-1][0]
            passed_on = isinstance(head, RequestHead) and head.upgrade is not None
            return passed_on, data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self._fail(error)
        return False, b""

    def _bound(self, fed: int) -> None:
        """Bound what is gathered unseen of a head, a chunk extension or a trailer."""
        self._fed += fed
        if self._fed > self._limits.max_head + self._limits.max_uri:
            self._reject(HeadersTooLarge())

    def _fail(self, error: httptools.HttpParserError) -> None:
        if self._dead:
            return
        reason = error.__context__
        self._reject(reason if isinstance(reason, GatewayError) else BadRequest())

    def _reject(self, error: GatewayError) -> None:
        self._dead = True
        self._flush_body()
        if self.phase is _BODY:
            self._body.feed_error(error)
        else:
            self._messages.append((error, NO_BODY))
