"""What a server may do instead of answering as it should."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Act = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def hang(_: web.Request) -> web.StreamResponse:
    """Do not answer."""
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits so long")


def answers(status: int, body: bytes = b"", **headers: str) -> Act:
    """Answer so."""

    async def answer(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return answer


async def drip(request: web.Request) -> web.StreamResponse:
    """Answer a byte a second, which never comes to an end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(1)


async def cut(request: web.Request) -> web.StreamResponse:
    """Break off in the middle."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.abort()
    return response
