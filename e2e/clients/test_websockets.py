"""Python's clients of WebSockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import websockets

if TYPE_CHECKING:
    from .sleepers import Sleeper

MESSAGES = ("text", b"\x00binary\xff", "x" * 200_000)


async def test_websockets_talks_through_a_wake_compressed(site: Sleeper) -> None:
    async with websockets.connect(
        f"{site.websocket_url}/socket", additional_headers=site.headers, proxy=None
    ) as socket:
        assert socket.response is not None
        assert socket.response.headers["X-Sandbox-Cold-Start"] == "true"
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        for message in MESSAGES:
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping())
    assert socket.close_code == 1000
    assert site.writes == 3


async def test_aiohttp_talks_through_a_wake_and_asks_on_the_same_session(site: Sleeper) -> None:
    async with aiohttp.ClientSession(site.url, headers=site.headers) as session:
        async with session.ws_connect("/socket") as socket:
            await socket.send_str("text")
            assert await socket.receive_str() == "text"
            await socket.send_bytes(b"\x00binary\xff")
            assert await socket.receive_bytes() == b"\x00binary\xff"
        assert socket.close_code == 1000
        async with session.get("/about") as answer:
            assert answer.headers["X-Request-Number"] == "2"
            assert (await answer.json())["cookies"] == {}
    assert site.writes == 3
