"""Reads requests from bytes: httptools in the place of the parser of aiohttp's server.

aiohttp's own lets through what no hook repairs (the last trailer of a request becomes a header of
the next one on the connection; errors in a later read never reach the body's reader). This one
has the few methods that `aiohttp.web_protocol.RequestHandler` calls; tests pin them.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import httptools

from gateway.proxy import legality
from gateway.proxy.body import NO_BODY, RequestBody
from gateway.proxy.limits import READ_AHEAD, SLICE, slice_size
from gateway.proxy.message import RequestHead, Special
from gateway.proxy.repeats import Repeats
from gateway.sandbox.errors import (
    BadRequest,
    GatewayError,
    HeadersTooLarge,
    PayloadTooLarge,
    RequestTimeout,
    UriTooLong,
)
from gateway.upstream.field_names import DROPPED, ORDINARY

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.limits import RequestLimits
    from gateway.upstream.field_names import FieldNames

    #: What aiohttp queues for its handler: a head, or the error that answers in its place.
    Message = tuple[RequestHead | GatewayError, RequestBody]


class Phase(Enum):
    """Where in the stream of requests the next byte falls."""

    BETWEEN = "between"
    HEAD = "head"
    BODY = "body"


#: Attribute access on an enum is slow (a descriptor on its metaclass), and this is the hot path.
_BETWEEN: Final = Phase.BETWEEN
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY


class RequestParser:
    """The requests of one connection, as they arrive."""

    __slots__ = (
        "_body",
        "_closing",
        "_dead",
        "_fed",
        "_hold",
        "_known",
        "_later",
        "_length",
        "_limits",
        "_lines",
        "_names",
        "_parser",
        "_parts",
        "_progressed",
        "_received",
        "_repeated",
        "_repeats",
        "_rest",
        "_seen",
        "_special",
        "_target",
        "_trailers",
        "_trailers_size",
        "_upgraded",
        "messages",
        "phase",
    )

    def __init__(
        self,
        limits: RequestLimits,
        names: FieldNames,
        hold: Callable[[bool], None],
    ) -> None:
        """`names`: which fields are kept apart; `hold`: stop and resume reading."""
        self._limits = limits
        self._names = names
        self._known = names.known
        self._hold = hold
        self._parser = httptools.HttpRequestParser(self)
        self._repeats = Repeats(max_head=limits.max_head, max_uri=limits.max_uri)
        self.messages: list[Message] = []
        self._upgraded = False
        self._rest = b""
        self._later = b""
        self._length: int | None = 0
        self._dead = False
        self._body: RequestBody = NO_BODY
        self._parts: list[bytes] = []
        self._closing = False
        self._progressed = False
        self._received = 0
        self._fed = 0
        self._seen = 0
        self.on_message_begin()
        self.phase = _BETWEEN

    def feed(self, data: bytes) -> Message | None:
        """Take bytes from the wire; the requests that begin in them are added to `messages`.

        But one that comes alone, and is whole, is returned.
        """
        if self._dead:
            return None
        if self._later:
            self._later += data
            return None
        self._progressed = self.phase is _BETWEEN
        if self._progressed:
            again = None if self.messages else self._repeats.recall(data)
            if again is not None:
                head, body = again
                return head, RequestBody(self._hold, body) if body else NO_BODY
            self._seen = 0
        self._seen += len(data)
        if len(data) > SLICE:
            self._parse_slices(data)
        else:
            self._parse(data)
        if self._parts:
            self._flush_body()
        if not (self._progressed or self._dead):
            self._bound(len(data))
        return self._take_lone(data)

    # ---- what aiohttp's server calls

    def feed_data(self, data: bytes) -> tuple[list[Message], bool, bytes]:
        """Return the requests begun in `data`, whether another protocol follows, and its bytes.

        With no data, what has been fed before is returned, or the next of what was put off.
        """
        if not (data or self.messages):
            data, self._later = self._later, b""
        if data:
            alone = self.feed(data)
            if alone is not None:
                return [alone], False, b""
        messages = self.messages
        if not messages:
            return messages, False, b""
        upgraded, rest = self._upgraded, self._rest
        self.messages, self._upgraded, self._rest = [], False, b""
        return messages, upgraded, rest

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
        self._later = b""

    def refuse(self, error: GatewayError) -> None:
        """Take no more: answer an error in the place of what is half here."""
        if not self._dead:
            self._later = b""
            self._reject(error)

    @property
    def kept_bytes(self) -> int:
        """About how much of what the client sent is kept and belongs to no request yet."""
        unfinished = self._seen if self.phase is _HEAD and not self._dead else 0
        return unfinished + len(self._later)

    # ---- callbacks of httptools

    def on_message_begin(self) -> None:
        self.phase = _HEAD
        self._fed = 0
        self._target = b""
        self._special: Special = {}
        self._repeated = 0
        self._lines: list[bytes] = []
        self._trailers: list[bytes] = []
        self._trailers_size = 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self._limits.max_uri:
            raise UriTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        try:
            special = self._known[name]
        except KeyError:
            special = self._names.judge(name)
        if self.phase is _BODY:
            self._on_trailer(special, name, value)
        elif special:
            if special in self._special:
                self._special[special].append(value.strip(b" \t"))
                self._repeated += 1
            else:
                self._special[special] = [value.strip(b" \t")]
        elif special is not DROPPED:
            self._lines.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        limits, special, lines = self._limits, self._special, self._lines
        if (
            self._seen > limits.max_head
            or len(lines) + len(special) + self._repeated > limits.max_headers
        ):
            self._check_size()
        parser, target = self._parser, self._target
        method: bytes = parser.get_method()
        keep_alive: bool = parser.should_keep_alive()
        http_1_1 = (
            keep_alive and b"connection" not in special and b"proxy-connection" not in special
        )
        if not http_1_1:
            # Only 1.1 keeps a connection without being asked to. The parser makes a string of it.
            http_1_1 = legality.http_1_1(parser.get_http_version())
        legality.check_method(method)
        host = legality.check_host(special, must=http_1_1)
        if b"#" in target or not target.startswith(b"/"):
            target = legality.origin_form(method, target, host)
        if b"via" in special:
            legality.check_loop(special)
        length: int | None = 0
        if b"content-length" in special or b"transfer-encoding" in special:
            length = legality.body_length(special, http_1_1=http_1_1, limit=limits.max_body)
        upgrade = self._wanted_protocol(http_1_1, length) if b"upgrade" in special else None
        if length != 0:
            self._body = RequestBody(self._hold)
        head = RequestHead(method, target, http_1_1, special, lines, length, keep_alive, upgrade)
        self.messages.append((head, self._body))
        self.phase = _BODY
        self._progressed = True
        self._closing = not keep_alive
        self._length = length
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

    def _check_size(self) -> None:
        """Judge a head of which it is not clear that it is small enough."""
        limits, special, lines = self._limits, self._special, self._lines
        values = sum(len(name) + 4 + len(one) for name, all_ in special.items() for one in all_)
        too_many = self._field_count() > limits.max_headers
        if too_many or sum(map(len, lines)) + values > limits.max_head:
            raise HeadersTooLarge

    def _field_count(self) -> int:
        return len(self._lines) + len(self._special) + self._repeated

    def _wanted_protocol(self, http_1_1: bool, length: int | None) -> bytes | None:
        """Return the Upgrade to pass on; HTTP/2 is not spoken, and 1.0 has none (9110 §7.8)."""
        if not self._parser.should_upgrade():
            return None
        if length != 0:
            # llhttp does not frame the body of an upgrade request: it must not be guessed at.
            raise BadRequest("An upgrade request has no body here.")
        asked = b", ".join(self._special.get(b"upgrade", ())).lower()
        return asked if http_1_1 and asked and b"h2c" not in asked else None

    def _on_trailer(self, special: bytes | None, name: bytes, value: bytes) -> None:
        # RFC 9110 §6.5.1: fields of framing, routing and control are no trailers.
        if special == ORDINARY and b"_" not in name:
            self._trailers.append(b"%b: %b\r\n" % (name, value))
            self._trailers_size += len(name) + len(value) + 4
            if self._trailers_size > self._limits.max_head:
                raise HeadersTooLarge

    def _flush_body(self) -> None:
        parts = self._parts
        if parts:
            self._body.feed(parts[0] if len(parts) == 1 else b"".join(parts))
            parts.clear()
            self._progressed = True
            self._fed = 0

    def _take_lone(self, data: bytes) -> Message | None:
        """Return the request that this read brought, if it is whole and the only one."""
        if len(self.messages) != 1 or self.phase is not _BETWEEN or self._upgraded or self._later:
            if self.messages:
                # No more than that is of the head which may have begun after them.
                self._seen = min(self._seen, len(data), SLICE)
            return None
        alone = self.messages.pop()
        if self._seen == len(data):
            self._repeats.remember(alone[0], data)
        return alone

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on(upgrade, data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def _parse_slices(self, data: bytes) -> None:
        """Parse until enough requests are read ahead; put the rest off."""
        begin = 0
        while begin < len(data) and not (self._dead or self._upgraded):
            if len(self.messages) >= READ_AHEAD:
                self._later = data[begin:]
                return
            left = None if self._length is None else self._length - self._received
            end = begin + slice_size(in_body=self.phase is _BODY, left=left)
            self._parse(data[begin:end])
            begin = end
            if self.phase is _HEAD and self._field_count() > self._limits.max_headers:
                self._reject(HeadersTooLarge())  # each field costs, so the rest is not read
        if self._upgraded:
            self._rest += data[begin:]

    def _go_on(self, upgrade: httptools.HttpParserUpgrade | None, data: bytes) -> None:
        """Go on behind an upgrade. What follows one that is not passed on is the next request."""
        while upgrade is not None:
            head, data = self.messages[-1][0], data[upgrade.args[0] :]
            if isinstance(head, RequestHead) and head.upgrade is not None:
                self._upgraded, self._rest = True, data
                return
            upgrade = None
            try:
                if data and not self._dead:
                    self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as another:
                upgrade = another
            except httptools.HttpParserError as error:
                self._fail(error)

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
            self.messages.append((error, NO_BODY))
