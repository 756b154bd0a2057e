"""What is asked of a faulty API, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

#: What paths begin with; who asks follows, and then the path.
BY: Final = "/by/"
#: Fields of one connection (RFC 9110 §7.6.1), and those that aiohttp writes itself.
_NOT_PASSED_ON: Final = frozenset(
    {"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"}
)


def who(request: web.BaseRequest) -> str:
    """Return who asks, as the path tells."""
    return request.path.removeprefix(BY).partition("/")[0]


def path(request: web.BaseRequest) -> str:
    """Return the path that is meant, with its query."""
    return "/" + request.raw_path.removeprefix(BY).partition("/")[2]


def is_resize(request: web.BaseRequest) -> bool:
    return request.method == "PATCH" and request.path.endswith("/resize")


def tells_a_sandbox(request: web.BaseRequest, body: bytes) -> bool:
    """Return whether it says what a sandbox is to be."""
    return is_of_sandboxes(request) and "spec" in orjson.loads(body)


def is_of_sandboxes(request: web.BaseRequest) -> bool:
    return "sandboxes" in request.path.split("/")


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what is passed on from one connection to the next."""
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_PASSED_ON}
