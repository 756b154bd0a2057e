"""An ordinary proxy on aiohttp's server and client: `plain_aiohttp.py PORT ID=ORIGIN...`.

As a good programmer would write it in an afternoon: it streams both ways and drops the fields that
belong to one connection. It has nothing of what else the gateway does.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

import aiohttp
import uvloop
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

SESSION: Final = web.AppKey("session", aiohttp.ClientSession)
ORIGINS: Final = web.AppKey("origins", dict[str, str])

#: Fields that are about one connection only (RFC 9110, section 7.6.1).
HOP_BY_HOP: Final = frozenset(
    name.lower()
    for name in (
        hdrs.CONNECTION,
        hdrs.KEEP_ALIVE,
        hdrs.PROXY_AUTHENTICATE,
        hdrs.PROXY_AUTHORIZATION,
        hdrs.TE,
        hdrs.TRAILER,
        hdrs.TRANSFER_ENCODING,
        hdrs.UPGRADE,
    )
)


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return the fields that are passed on."""
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in HOP_BY_HOP)


async def forward(request: web.Request) -> web.StreamResponse:
    """Send a request to its sandbox, and the answer back."""
    origin = request.app[ORIGINS].get(request.headers.get("e2b-sandbox-id", ""))
    if origin is None:
        raise web.HTTPNotFound
    headers = end_to_end(request.headers)
    headers["X-Forwarded-For"] = request.remote or ""
    headers["X-Forwarded-Proto"] = request.scheme
    if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
        return await tunnel(request, origin + request.raw_path, headers)
    try:
        async with request.app[SESSION].request(
            request.method,
            origin + request.raw_path,
            headers=headers,
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(
                status=answer.status, reason=answer.reason, headers=end_to_end(answer.headers)
            )
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response
    except aiohttp.ClientConnectionError as error:
        raise web.HTTPBadGateway from error


async def tunnel(
    request: web.Request, url: str, headers: Mapping[str, str]
) -> web.WebSocketResponse:
    """Pass a WebSocket's messages on until one side closes."""
    own = {name: value for name, value in headers.items() if not name.startswith("Sec-WebSocket")}
    client = web.WebSocketResponse()
    async with request.app[SESSION].ws_connect(url, headers=own) as sandbox:
        await client.prepare(request)
        ways = {asyncio.create_task(pump(client, sandbox))}
        ways.add(asyncio.create_task(pump(sandbox, client)))
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        await client.close()
    await asyncio.gather(*ways)
    return client


async def pump(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    """Pass the messages of one direction on until the source closes."""
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)


async def session(app: web.Application) -> AsyncIterator[None]:
    """Have one client session for as long as the program runs."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),  # cookies are the clients' own
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
    ) as app[SESSION]:
        yield


def main(port: int, origins: dict[str, str]) -> None:
    app = web.Application()
    app[ORIGINS] = origins
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=port, backlog=4096, access_log=None, loop=loop)


if __name__ == "__main__":
    main(int(sys.argv[1]), dict(pair.split("=", 1) for pair in sys.argv[2:]))
