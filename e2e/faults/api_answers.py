"""What a faulty API says itself, in the real one's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What an API server says of its own haste, in seconds.
_RETRY_AFTER: Final = "1"
#: metav1.StatusReason of what is answered here.
_REASONS: Final[Mapping[int, str]] = {
    401: "Unauthorized",
    403: "Forbidden",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


def status(code: int) -> web.Response:
    """Return a refusal as API servers word it."""
    headers = {"Retry-After": _RETRY_AFTER} if code == 429 else {}
    return web.Response(
        status=code, body=status_body(code), content_type="application/json", headers=headers
    )


def status_body(code: int) -> bytes:
    """Return a metav1.Status."""
    reason = _REASONS[code]
    return (
        b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
        b'"message":"a fault of the test","reason":"%s","code":%d}' % (reason.encode(), code)
    )


def not_found() -> web.Response:
    """Return what is said of a path that nothing serves: no Status, just text."""
    return web.Response(status=404, text="404 page not found\n")
