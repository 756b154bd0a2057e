"""Heads rewritten, both ways. Pure: what a field becomes on the other side (RFC 9110 §7.6).

All fields but the special ones are passed on byte for byte and in order; nothing is invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.proxy.legality import PSEUDONYM

if TYPE_CHECKING:
    from gateway.proxy.message import RequestHead, Special
    from gateway.upstream.response import ResponseHead

_VIA: Final = b"1.1 " + PSEUDONYM
_VIA_LINE: Final = b"Via: " + _VIA + b"\r\n"
_HARMLESS_TOKENS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b""})


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent a request. `trusted`: a proxy of our own, whose X-Forwarded fields are believed."""

    address: str
    trusted: bool
    secure: bool = False

    @property
    def scheme(self) -> bytes:
        """Return the scheme the request came by."""
        return b"https" if self.secure else b"http"

    def scheme_of(self, special: Special) -> bytes:
        """Return the scheme that the client used, which a proxy of our own tells."""
        told = special.get(b"x-forwarded-proto") if self.trusted else None
        return self.scheme if told is None else told[0]


def upstream_head(method: bytes, target: bytes, fields: bytes) -> bytes:
    """Return the head to send to the sandbox; `target` is in origin-form."""
    return b"%b %b HTTP/1.1\r\n%b" % (method, target, fields)


def upstream_fields(head: RequestHead, host: bytes, peer: Peer, passed_on: list[bytes]) -> bytes:
    """Return all of the head to send to the sandbox but its first line.

    `host` is the Host to send, `passed_on` whole lines of special fields that go on to this
    sandbox all the same.
    """
    special = head.special
    lines = head.lines
    if b"connection" in special:
        lines = _without_named(lines, special[b"connection"])
    return b"".join(
        (
            b"Host: %b\r\n" % host,
            *lines,
            *passed_on,
            _framing(head),
            _forwarded(special, peer),
            _via(special),
            _upgrade(head),
            b"\r\n",
        )
    )


def with_lines(fields: bytes, more: bytes) -> bytes:
    """Return a whole header section with more lines at its end."""
    return b"%b%b\r\n" % (fields[:-2], more)


def _without_named(lines: list[bytes], connection: list[bytes]) -> list[bytes]:
    """Return the lines less those that Connection names; framing and Host are not among them."""
    named = {token.strip().lower() for token in b",".join(connection).split(b",")}
    named -= _HARMLESS_TOKENS
    if not named:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in named]


def _framing(head: RequestHead) -> bytes:
    if head.length is None:
        return b"Transfer-Encoding: chunked\r\n"
    if b"content-length" in head.special:
        return b"Content-Length: %d\r\n" % head.length
    return b""


def _forwarded(special: Special, peer: Peer) -> bytes:
    """Return the X-Forwarded fields: overwritten, or for a trusted peer continued."""
    address = peer.address.encode()
    host = special.get(b"host", [b""])[0]
    if not peer.trusted:
        return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
            address,
            peer.scheme,
            host,
        )
    chain = b", ".join([*special.get(b"x-forwarded-for", ()), address])
    scheme = peer.scheme_of(special)
    host = special.get(b"x-forwarded-host", [host])[0]
    lines = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
        chain,
        scheme,
        host,
    )
    if b"forwarded" in special:
        node = b'"[%b]"' % address if b":" in address else address
        lines += b"Forwarded: %b\r\n" % b", ".join([*special[b"forwarded"], b"for=" + node])
    return lines


def _via(special: Special) -> bytes:
    seen = special.get(b"via")
    return _VIA_LINE if seen is None else b"Via: %b\r\n" % b", ".join([*seen, _VIA])


def _upgrade(head: RequestHead) -> bytes:
    if head.upgrade is None:
        return b""
    protocol = b", ".join(head.special[b"upgrade"])
    return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol


def interim_head(status: int, reason: bytes, lines: list[bytes]) -> bytes:
    """Return a 1xx response to relay."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, b"".join(lines))


def switching_head(response: ResponseHead, *, extra: bytes) -> bytes:
    """Return the 101 to relay."""
    return b"HTTP/1.1 101 %b\r\nConnection: Upgrade\r\nUpgrade: %b\r\n%b%b\r\n" % (
        response.reason,
        response.upgrade or b"",
        b"".join(response.lines),
        extra,
    )


def client_head(
    response: ResponseHead, *, chunked: bool, http_1_1: bool, keep_alive: bool, extra: bytes
) -> bytes:
    """Return the head to send to the client; `chunked` says how its body will be framed."""
    if response.clean and http_1_1 and keep_alive and not extra:
        return response.raw
    framing = b""
    if chunked:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif response.length is not None and response.status != 204:
        framing = b"Content-Length: %d\r\n" % response.length
    connection = b""
    if not keep_alive:
        connection = b"Connection: close\r\n"
    elif not http_1_1:
        connection = b"Connection: keep-alive\r\n"
    return b"HTTP/1.1 %d %b\r\n%b%b%b%b\r\n" % (
        response.status,
        response.reason,
        b"".join(response.lines),
        framing,
        connection,
        extra,
    )
