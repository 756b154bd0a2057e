"""The answers that the gateway makes itself: problem details, or a small page for a browser.

They say what happened and what to do, and never echo what the client sent, an address or a trace.
`Proxy-Status` (RFC 9209) lets a client tell them from the sandbox's own.
"""

from __future__ import annotations

import html
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from gateway.proxy.message import RequestHead
    from gateway.sandbox.errors import GatewayError

_CLOSE: Final = b"Connection: close\r\n"

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:34em;padding:0 1em}}
h1{{font-size:1.4em}}small{{color:#777}}</style></head>
<body><h1>{title}</h1><p>{text}</p><small>{status} {reason} · sandbox-gateway</small></body></html>
"""


def wants_page(head: RequestHead | None) -> bool:
    """Return whether the client is a browser: it prefers text/html (RFC 9110 §12.5.1)."""
    if head is None:
        return False
    accepted = next((value for name, value in head.fields() if name == b"accept"), b"")
    return accepted.lower().lstrip().startswith(b"text/html")


def error_response(
    error: GatewayError, *, page: bool, to_head: bool, keep_alive: bool, extra: bytes = b""
) -> bytes:
    """Return the whole response for an error; `to_head` leaves the body out."""
    body = _page(error) if page else _problem(error)
    kind = b"text/html; charset=utf-8" if page else b"application/problem+json"
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


def _page(error: GatewayError) -> bytes:
    return _PAGE.format(
        title=html.escape(error.title),
        text=html.escape(error.text),
        status=error.status,
        reason=error.reason,
    ).encode()
