"""A watch over HTTP: one JSON document a line, until the time is up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.local.api.errors import ApiError
from gateway.local.api.objects import JsonObject, encode
from gateway.local.api.representation import UNCACHED

if TYPE_CHECKING:
    from gateway.local.api.definitions import Definition
    from gateway.local.api.representation import Printer
    from gateway.local.api.subscription import Subscription


_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """Durations of watches, in seconds.

    `longest`: how long a watch lasts that names no time of its own. `bookmark`: how often a
    client learns the version. `write`: how long a client may take nothing before it is cut off.
    """

    longest: float = 1800.0
    bookmark: float = 60.0
    write: float = 30.0


class WatchStream:
    """Sends what a subscription yields; whoever runs it closes the subscription."""

    def __init__(
        self, request: web.Request, definition: Definition, printer: Printer, write_timeout: float
    ) -> None:
        self._request = request
        self._definition = definition
        self._printer = printer
        self._write_timeout = write_timeout
        self._response = web.StreamResponse(
            headers={"Content-Type": "application/json", **UNCACHED}
        )

    async def run(
        self,
        subscription: Subscription,
        *,
        seconds: float,
        bookmark_every: float | None,
        replays: bool,
    ) -> None:
        """Send events for so many seconds, with a bookmark now and then and at the end.

        If it `replays`, one bookmark more says where what was present at first ends.
        An `ApiError` of the subscription goes out as the last event.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        bookmark_at = loop.time() + bookmark_every if bookmark_every else deadline
        if replays:
            await self._replay(subscription, bookmarks=bookmark_every is not None)
        while True:
            try:
                async with asyncio.timeout_at(min(deadline, bookmark_at)):
                    event = await anext(subscription)
            except TimeoutError:
                if bookmark_every:
                    await self._bookmark(subscription.resource_version)
                    bookmark_at = loop.time() + bookmark_every
            except StopAsyncIteration:
                return
            except ApiError as error:
                await self.send("ERROR", error.status())
                return
            else:
                await self.send(event.type, self._printer.one(event.object))
            if loop.time() >= deadline:
                return

    async def _replay(self, subscription: Subscription, *, bookmarks: bool) -> None:
        for event in subscription.take_present():
            await self.send(event.type, self._printer.one(event.object))
        if bookmarks:
            await self._bookmark(subscription.resource_version, annotations=_INITIAL_EVENTS_END)

    async def open(self) -> web.StreamResponse:
        """Send the head at once: the client learns that it is being served."""
        await self._response.prepare(self._request)
        return self._response

    async def send(self, kind: str, obj: JsonObject) -> None:
        """Raises `ConnectionError` if the client is gone, or takes nothing for too long."""
        line = encode({"type": kind, "object": obj}) + b"\n"
        try:
            async with asyncio.timeout(self._write_timeout):
                await self._response.write(line)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionAbortedError("the client of a watch takes nothing") from None

    async def _bookmark(self, version: str, **metadata: object) -> None:
        if not version:
            return
        bookmark = {
            "kind": self._definition.kind,
            "apiVersion": self._definition.api_version,
            "metadata": {"resourceVersion": version, **metadata},
        }
        await self.send("BOOKMARK", self._printer.bookmark(bookmark))
