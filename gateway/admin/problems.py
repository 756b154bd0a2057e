"""What the admin listener answers when it cannot do what was asked (RFC 9457)."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, ClassVar, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.admin.parts import Handler

_log = logging.getLogger(__name__)


class AdminError(Exception):
    """A refusal. The text is safe to send: it never echoes input."""

    status: ClassVar[int] = 400
    reason: ClassVar[str] = "bad_request"
    title: ClassVar[str] = "Bad request"
    headers: ClassVar[dict[str, str]] = {}


class Unauthenticated(AdminError):
    status = 401
    reason = "unauthenticated"
    title = "Unauthenticated"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer realm="sandbox-gateway admin"'}


class Forbidden(AdminError):
    status = 403
    reason = "forbidden"
    title = "Forbidden"


class NotFound(AdminError):
    status = 404
    reason = "not_found"
    title = "Not found"


class Ambiguous(AdminError):
    status = 409
    reason = "ambiguous_target"
    title = "Ambiguous"


class Conflicting(AdminError):
    """What is there has to be mended by hand first."""

    status = 409
    reason = "conflict"
    title = "Conflict"


class TooOften(AdminError):
    status = 429
    reason = "too_often"
    title = "Too many requests"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class Unavailable(AdminError):
    """It may be asked again, in a moment."""

    status = 503
    reason = "unavailable"
    title = "Not available now"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class NotDone(AdminError):
    """The Kubernetes API will not do it, until somebody mends that."""

    status = 500
    reason = "not_done"
    title = "Not done"


#: What naming one sandbox may end in, for the descriptions of operations.
NAMED_PROBLEMS: Final[Mapping[int, str]] = {
    404: "This gateway knows no such sandbox.",
    409: "Two sandboxes have this name: say which by `dialect`.",
}


def problem(status: int, reason: str, title: str, detail: str) -> web.Response:
    """Return the response of a problem."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "reason": reason,
    }
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store"},
    )


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn everything that a handler raises into a problem."""
    try:
        return await handler(request)
    except AdminError as error:
        answer = problem(error.status, error.reason, error.title, str(error))
        answer.headers.update(error.headers)
        return answer
    except web.HTTPException as error:
        return _of_http(error)
    except Exception:  # noqa: BLE001 - the edge: every failure is answered
        _log.exception("an admin request failed")
        return problem(500, "internal_error", "Internal error", "The gateway's log says why.")


def _of_http(error: web.HTTPException) -> web.Response:
    """Keep aiohttp's own answers (404, 405), without their texts: those echo input."""
    title = error.reason
    answer = problem(error.status, title.lower().replace(" ", "_"), title, f"{title}.")
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer
