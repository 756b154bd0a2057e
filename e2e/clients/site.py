"""A web site to have in a sandbox: `python site.py PORT`.

Every answer tells in `X-Request-Number` how many requests the site has had.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = Path(__file__).with_name("page")
_CHUNK: Final = 64 * 1024


def content(size: int) -> Iterator[bytes]:
    """Give so many bytes in pieces, no two pieces alike."""
    for offset in range(0, size, _CHUNK):
        piece = b"%015d\n" % offset * (_CHUNK // 16)
        yield piece[: size - offset]


class Site:
    """What the site remembers between requests."""

    def __init__(self) -> None:
        self._count = 0
        #: Each item lets one more event go.
        self._events: asyncio.Queue[str] = asyncio.Queue()

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/", self.front),
            web.get("/about", self.about),
            web.post("/digest", self.digest),
            web.get("/download", self.download),
            web.get("/events", self.events),
            web.post("/events", self.publish),
            web.get("/socket", self.socket),
            web.static("/page", PAGE),
        ]

    async def number(self, _: web.Request, response: web.StreamResponse) -> None:
        self._count += 1
        response.headers["X-Request-Number"] = str(self._count)

    async def front(self, _: web.Request) -> web.StreamResponse:
        """Give the page, and two cookies: one for scripts and one for the site alone."""
        response = web.FileResponse(PAGE / "index.html")
        response.set_cookie("open", "to-scripts", samesite="Lax")
        response.set_cookie("closed", "to-scripts", samesite="Strict", httponly=True)
        return response

    async def about(self, request: web.Request) -> web.Response:
        """Tell what the site was asked."""
        return web.json_response(
            {
                "host": request.host,
                "proto": request.headers.get("X-Forwarded-Proto"),
                "cookies": dict(request.cookies),
            }
        )

    async def digest(self, request: web.Request) -> web.Response:
        """Tell how long the body is and what its SHA-256, without keeping it."""
        digest, size = hashlib.sha256(), 0
        async for piece in request.content.iter_any():
            digest.update(piece)
            size += len(piece)
        return web.json_response({"size": size, "sha256": digest.hexdigest()})

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Stream so many bytes as `size` says, in chunks."""
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in content(int(request.query["size"])):
            await response.write(piece)
        return response

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send one event at once and each further one when it is published; `end` is the last."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        # A client that loses the stream comes again after 100 milliseconds.
        await response.write(b"retry: 100\n")
        number, text = 0, "welcome"
        while text != "end":
            await response.write(f"id: {number}\nevent: news\ndata: {text}\n\n".encode())
            number, text = number + 1, await self._events.get()
        return response

    async def publish(self, request: web.Request) -> web.Response:
        self._events.put_nowait(await request.text())
        return web.Response(status=204)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Give back every message as it came."""
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            if message.type is WSMsgType.TEXT:
                await websocket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await websocket.send_bytes(message.data)
        return websocket


def application() -> web.Application:
    site = Site()
    made = web.Application()
    made.add_routes(site.routes())
    made.on_response_prepare.append(site.number)
    return made


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
