"""Requests for tests: heads made by hand, bytes read by the parser, bodies gathered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gateway.proxy.limits import SPECIAL, RequestLimits
from gateway.proxy.message import Findings, RequestHead
from gateway.proxy.parser import RequestParser
from gateway.sandbox.errors import GatewayError
from gateway.upstream.field_names import FieldNames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.proxy.body import RequestBody

_HEAD = RequestHead(
    method=b"GET",
    target=b"/",
    http_1_1=True,
    special={b"host": [b"gateway.example"]},
    lines=[],
    length=0,
    keep_alive=True,
)


def make_head(**changes: Any) -> RequestHead:
    """Return a plain GET, changed as told; `special` is added to its Host."""
    special = {**_HEAD.special, **changes.pop("special", {})}
    lines = changes.pop("lines", [])
    return replace(_HEAD, special=special, lines=lines, findings=Findings(), **changes)


def cut(raw: bytes, at: Iterable[int]) -> list[bytes]:
    """Cut bytes at these places, each taken modulo their number."""
    bounds = [0, *sorted({one % (len(raw) + 1) for one in at}), len(raw)]
    return [raw[a:b] for a, b in pairwise(bounds)]


@dataclass
class Gathered:
    """What a body gave to its sink, the pieces joined."""

    data: bytes = b""
    trailers: list[bytes] | None = None
    error: type[GatewayError] | None = None
    pieces: int = 0

    def body_data(self, data: bytes) -> None:
        assert self.trailers is None
        assert self.error is None
        self.data += data
        self.pieces += 1

    def body_end(self, trailers: list[bytes]) -> None:
        assert self.trailers is None
        self.trailers = trailers

    def body_failed(self, error: GatewayError) -> None:
        assert self.error is None
        self.error = type(error)


@dataclass
class Read:
    """What a parser made of some bytes."""

    heads: list[RequestHead | type[GatewayError]] = field(default_factory=list)
    bodies: list[Gathered] = field(default_factory=list)
    upgraded: bool = False
    tail: bytes = b""

    @property
    def head(self) -> RequestHead:
        """The only request, which was legal."""
        assert len(self.heads) == 1
        assert isinstance(self.heads[0], RequestHead)
        return self.heads[0]

    @property
    def errors(self) -> list[type[GatewayError]]:
        """The errors that are answered in the place of a request."""
        return [one for one in self.heads if not isinstance(one, RequestHead)]


def make_parser(**limits: int) -> RequestParser:
    return RequestParser(RequestLimits(**limits), FieldNames(SPECIAL), lambda _held: None)


def read(*pieces: bytes, parser: RequestParser | None = None, **limits: int) -> Read:
    """Read pieces as a connection would; what follows an upgrade is kept as its tail."""
    reader = parser or make_parser(**limits)
    seen = Read()
    bodies: list[RequestBody] = []
    for piece in pieces:
        if seen.upgraded:
            seen.tail += piece
            continue
        messages, seen.upgraded, seen.tail = reader.feed_data(piece)
        while messages:
            for head, body in messages:
                seen.heads.append(type(head) if isinstance(head, GatewayError) else head)
                bodies.append(body)
            if seen.upgraded:
                break
            messages, seen.upgraded, seen.tail = reader.feed_data(b"")  # what was put off
    for body in bodies:
        gathered = Gathered()
        body.attach(gathered)
        seen.bodies.append(gathered)
    return seen
