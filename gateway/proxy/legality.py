"""Which request heads are legal. Grammar by RFC 9112 and 9110; what is not clear is refused.

The tokenizer (llhttp, strict) has refused by then: bare CR, LF and NUL, obs-fold, a space before
the colon, repeated or malformed Content-Length, Content-Length beside Transfer-Encoding, bad
chunk sizes. What it lets through stands here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.sandbox.errors import (
    BadRequest,
    LoopDetected,
    MethodNotAllowed,
    NotImplementedByGateway,
    PayloadTooLarge,
    VersionNotSupported,
)

if TYPE_CHECKING:
    from gateway.proxy.message import Special

PSEUDONYM: Final = b"sandbox-gateway"

#: RFC 3986 §3.2.2 host without userinfo, and RFC 9110 §7.2 port, which may not be empty here.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{1,5})?")
#: RFC 9112 §3.2.2 absolute-form, of which only the authority matters.
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
#: An entry of our own in Via: its received-by is the pseudonym (RFC 9110 §7.6.3).
#: No part of it can match what the one before it does: it must not take quadratic time.
_OWN_VIA = re.compile(rb"(?:^|,)\s*[^\s,]+\s+" + re.escape(PSEUDONYM) + rb"\s*(?:[,(]|$)")

#: A DNS name with its last dot, and a port. Longer ones would fill memory: hosts are remembered.
MAX_HOST: Final = 260

_REFUSED_METHODS: Final = frozenset({b"CONNECT", b"TRACE"})
#: Methods of other protocols that the tokenizer knows besides: RTSP, ICE, and HTTP/2's preface.
_FOREIGN_METHODS: Final = frozenset(
    {
        b"ANNOUNCE",
        b"DESCRIBE",
        b"FLUSH",
        b"GET_PARAMETER",
        b"PAUSE",
        b"PLAY",
        b"PRI",
        b"RECORD",
        b"REDIRECT",
        b"SETUP",
        b"SET_PARAMETER",
        b"SOURCE",
        b"TEARDOWN",
    }
)


def http_1_1(version: str) -> bool:
    """Return whether the version is 1.1; 1.0 is the other one that is spoken (RFC 9112 §2.3)."""
    if version == "1.1":
        return True
    if version == "1.0":
        return False
    raise VersionNotSupported


def check_method(method: bytes) -> None:
    """Refuse what a gateway must not relay: tunnels to addresses, and request reflection.

    A request of another protocol is no HTTP/1.0, though its first line looks like it.
    """
    if method in _REFUSED_METHODS:
        raise MethodNotAllowed
    if method in _FOREIGN_METHODS:
        raise BadRequest


def check_host(special: Special, *, must: bool) -> bytes | None:
    """Return the one Host (RFC 9112 §3.2: without exactly one valid Host, 400)."""
    values = special.get(b"host")
    if values is None:
        if must:
            raise BadRequest("A request must have a Host header.")
        return None
    if len(values) != 1 or len(values[0]) > MAX_HOST or not _is_host(values[0]):
        raise BadRequest("A request must have exactly one valid Host header.")
    return values[0]


@lru_cache(maxsize=8192)
def _is_host(value: bytes) -> bool:
    """Judge a Host; the same few come again and again."""
    if _HOST.fullmatch(value) is None:
        return False
    _, colon, port = value.rpartition(b":")
    return not colon or not port.isdigit() or 1 <= int(port) <= 65535


def origin_form(method: bytes, target: bytes, host: bytes | None) -> bytes:
    """Return the target in origin-form, or `*` for OPTIONS (RFC 9112 §3.2).

    Absolute-form is taken where its authority is the Host; another one would make two authorities
    of which the sandbox and the gateway could each believe a different one.
    """
    if b"#" in target:
        raise BadRequest("A request target has no fragment.")
    if target.startswith(b"/"):
        return target
    if target == b"*" and method == b"OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or host is None or absolute[1].lower() != host.lower():
        raise BadRequest("The request target is not in origin-form.")
    rest = absolute[2]
    return rest if rest.startswith(b"/") else b"/" + rest


def body_length(special: Special, *, http_1_1: bool, limit: int) -> int | None:
    """Return the body's length, or None for chunked (RFC 9112 §6.3); `limit` 0 is unlimited."""
    codings = special.get(b"transfer-encoding")
    if codings is not None:
        _check_codings(codings, http_1_1=http_1_1)
        return None
    lengths = special.get(b"content-length")
    if lengths is None:
        return 0
    length = int(lengths[0])
    if limit and length > limit:
        raise PayloadTooLarge
    return length


def _check_codings(codings: list[bytes], *, http_1_1: bool) -> None:
    if not http_1_1:
        raise BadRequest("HTTP/1.0 has no Transfer-Encoding.")
    listed = [coding.strip(b" \t").lower() for coding in b",".join(codings).split(b",")]
    if listed == [b"chunked"]:
        return
    if len(listed) == 2 and listed[1] == b"chunked" and listed[0] in _KNOWN_CODINGS:
        raise NotImplementedByGateway
    raise BadRequest("The Transfer-Encoding is not chunked.")


#: Transfer codings that exist (RFC 9112 §7.2) and are not spoken here.
_KNOWN_CODINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"})


def check_loop(special: Special) -> None:
    """Refuse a request that came through this gateway before (RFC 9110 §7.6.3)."""
    via = special.get(b"via")
    if via is not None and _OWN_VIA.search(b",".join(via)) is not None:
        raise LoopDetected
