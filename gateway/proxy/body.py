"""A request body on its way from the client: held back in small amounts, or passed straight on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sandbox.errors import GatewayError

#: Bytes of an unread body that are taken from a client before its connection is no longer read.
HIGH_WATER: Final = 64 * 1024


class BodySink(Protocol):
    """Who takes the body once it is known where it goes."""

    def body_data(self, data: bytes) -> None:
        """Take a piece."""

    def body_end(self, trailers: list[bytes]) -> None:
        """Take the end; trailers are whole lines, for a chunked body only."""

    def body_failed(self, error: GatewayError) -> None:
        """Learn that the rest will not come, since it was not legal."""


class RequestBody:
    """One request's body.

    Until a sink is attached at most about HIGH_WATER bytes are kept; `hold` is told to stop and
    resume reading. aiohttp's server needs `is_eof`, `readany` and `set_exception`.
    """

    __slots__ = (
        "_ended",
        "_error",
        "_held",
        "_hold",
        "_kept",
        "_sink",
        "_size",
        "_trailers",
        "_waiter",
    )

    def __init__(self, hold: Callable[[bool], None], whole: bytes = b"") -> None:
        """`whole`: all of a body that has come already."""
        self._hold = hold
        self._held = False
        self._kept = [whole] if whole else []
        self._size = len(whole)
        self._sink: BodySink | None = None
        self._ended = bool(whole)
        self._error: GatewayError | None = None
        self._trailers: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None

    # ---- from the parser

    def feed(self, data: bytes) -> None:
        """Take a piece from the wire."""
        if self._sink is not None:
            self._sink.body_data(data)
            return
        self._kept.append(data)
        self._size += len(data)
        self._wake()
        if self._size > HIGH_WATER and not self._held:
            self._held = True
            self._hold(True)

    def feed_end(self, trailers: list[bytes]) -> None:
        """Take the end from the wire."""
        self._ended = True
        self._trailers = trailers
        if self._sink is not None:
            self._sink.body_end(trailers)
        self._wake()

    def feed_error(self, error: GatewayError) -> None:
        """Take it that what came next was not legal: there is no end."""
        self._error = error
        if self._sink is not None:
            self._sink.body_failed(error)
        self._wake()

    # ---- to the exchange

    @property
    def ended(self) -> bool:
        """Whether the whole body has arrived, read or not."""
        return self._ended

    @property
    def kept_bytes(self) -> int:
        """Bytes held in memory now."""
        return self._size

    def take_whole(self) -> bytes | None:
        """Return the body if it has come whole and without trailers; None: `attach` to it."""
        if not self._ended or self._trailers or self._error is not None:
            return None
        return self._take()

    def attach(self, sink: BodySink) -> None:
        """Pass on what is kept, and from now on whatever comes, to `sink`."""
        self._sink = sink
        kept = self._take()
        if kept:
            sink.body_data(kept)
        if self._error is not None:
            sink.body_failed(self._error)
        elif self._ended:
            sink.body_end(self._trailers)

    def detach(self) -> None:
        """Keep what comes from now on."""
        self._sink = None

    def _take(self) -> bytes:
        kept = b"".join(self._kept) if len(self._kept) != 1 else self._kept[0]
        self._kept.clear()
        self._size = 0
        if self._held:
            self._held = False
            self._hold(False)
        return kept

    # ---- to aiohttp's server, which reads the rest of an unread body before it closes

    def is_eof(self) -> bool:
        """Whether everything has been taken that will ever come."""
        return (self._ended or self._error is not None) and not self._kept

    async def readany(self) -> bytes:
        """Return what has come, waiting for something; empty at the end."""
        while not self._kept and not self._ended and self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._take()

    def set_exception(self, exc: BaseException) -> None:
        """Do nothing: aiohttp marks the body as no longer of use."""

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _NoBody(RequestBody):
    """The body of a request that has none; one for all."""

    __slots__ = ()

    def attach(self, sink: BodySink) -> None:
        """Nothing will come: the head says so."""

    def is_eof(self) -> bool:
        return True


NO_BODY: Final = _NoBody(lambda _: None)
NO_BODY.feed_end([])
