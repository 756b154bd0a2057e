"""The answers that the gateway makes itself: problem details, or a small page for a browser.

They say what happened and what to do, and never echo what the client sent, an address or a trace.
`Proxy-Status` (RFC 9209) lets a client tell them from the sandbox's own.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from gateway.sandbox.errors import GatewayError

_CLOSE: Final = b"Connection: close\r\n"


def error_response(
    error: GatewayError,
    page: bytes | None = None,
    *,
    to_head: bool,
    keep_alive: bool,
    extra: bytes = b"",
) -> bytes:
    """Return the whole response for an error; `to_head` leaves the body out.

    `page` is what a browser gets in the place of problem details, `extra` are further fields.
    """
    body = _problem(error) if page is None else page
    kind = b"application/problem+json" if page is None else b"text/html; charset=utf-8"
    lines = [
        b"Content-Type: %b\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"
        % (kind, len(body)),
        b"Proxy-Status: sandbox-gateway; error=%b\r\n" % error.proxy_error.encode(),
        extra,
    ]
    if error.status == 401:
        lines.append(b'WWW-Authenticate: Bearer realm="sandbox"\r\n')
    if error.status == 405:
        lines.append(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n")
    if error.status == 503:
        lines.append(b"Retry-After: %d\r\n" % max(1, math.ceil(error.retry_after or 1)))
    if page is not None and error.refresh is not None:
        lines.append(b"Refresh: %d\r\n" % error.refresh)
    return response(error.status, lines, b"" if to_head else body, keep_alive=keep_alive)


def response(status: int, lines: list[bytes], body: bytes, *, keep_alive: bool) -> bytes:
    """Return a whole response of our own; `lines` are its fields, each with CRLF."""
    head = b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())
    return b"".join((head, *lines, b"" if keep_alive else _CLOSE, b"\r\n", body))


def health(*, keep_alive: bool) -> bytes:
    """Return the answer to `/healthz` on the data port, where no sandbox is named."""
    body = b'{"status":"ok"}'
    lines = [b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)]
    return response(200, lines, body, keep_alive=keep_alive)


def options(*, keep_alive: bool) -> bytes:
    """Return the answer to `OPTIONS *`, which asks about the gateway itself (9110 §9.3.7)."""
    lines = [b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"]
    return response(204, lines, b"", keep_alive=keep_alive)


def _problem(error: GatewayError) -> bytes:
    return orjson.dumps(
        {
            "type": "about:blank",
            "title": error.title,
            "status": error.status,
            "detail": error.text,
            "reason": error.reason,
        }
    )
