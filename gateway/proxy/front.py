"""The listener: aiohttp's server, which makes a `Connection` for each client.

Nothing else in the proxy knows aiohttp. Its server keeps connections, one task a request that has
to wait for something, the order of pipelined answers, lingering and cancellation; what a request is
(`parser`), when a connection has waited for too long (`sweep`), and how bytes are written is ours.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp.web_server import Server

from gateway.proxy.client import Connection
from gateway.proxy.request import Done, Request
from gateway.upstream.field_names import FieldNames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.proxy.body import RequestBody
    from gateway.proxy.limits import RequestLimits
    from gateway.proxy.memory import Memory
    from gateway.proxy.message import RequestHead
    from gateway.sandbox.errors import GatewayError

#: How often deadlines are looked at, in seconds: none is kept more precisely than this.
SWEEP_INTERVAL: Final = 0.25

#: How often a drain looks whether it is done, in seconds.
_DRAIN_POLL: Final = 0.05


@dataclass(frozen=True, slots=True)
class FrontConfig:
    """Limits and times (s) of client connections. `trusted` judges a peer's literal address.

    `max_buffered`: bytes that all connections together may keep in memory.
    `keeps_cookie`: sandboxes may not set the cookie that is the gateway's own.
    """

    limits: RequestLimits
    special_names: frozenset[bytes]
    trusted: Callable[[str], bool]
    head_timeout: float = 15.0
    keep_alive_timeout: float = 75.0
    linger_timeout: float = 5.0
    max_connections: int = 20_000
    max_buffered: int = 512 * 1024 * 1024
    keeps_cookie: bool = False


class Front(Server):
    """All client connections of one listener."""

    def __init__(
        self,
        begin: Callable[[Request], bool],
        handler: Callable[[Request], Awaitable[Done]],
        config: FrontConfig,
        memory: Memory,
    ) -> None:
        """Requests go to `begin` first, which returns False if they have to wait for something.

        Then `handler` answers them, in a task that is cancelled if the client goes. What `begin`
        has taken ends by `Connection.ended` or `hand_over`.
        """
        super().__init__(
            cast("Any", handler),
            request_factory=cast("Any", _make_request),
            handler_cancellation=True,
        )
        self.begin = begin
        self.config = config
        self.memory = memory
        self.names = FieldNames(config.special_names)
        self.draining = False
        self.keeps_cookie = config.keeps_cookie
        self._sweeper: asyncio.TimerHandle | None = None

    def __call__(self) -> Connection:
        """Return the protocol for a new connection."""
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_INTERVAL, self._sweep)
        return Connection(self, self._loop)

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL, self._sweep)
        now = self._loop.time()
        for connection in self.connections:
            cast("Connection", connection).sweep(now)

    def close_idle(self) -> None:
        """Close the connections on which nothing is under way."""
        for connection in self.connections:
            if cast("Connection", connection).idle:
                connection.force_close()

    async def run_dry(self) -> None:
        """Close each connection once it has got the last byte that it waits for.

        Tunnels would not end by themselves, those neither that a wake still opens.
        """
        while self.connections:
            self.end_tunnels()
            self.close_idle()
            await asyncio.sleep(_DRAIN_POLL)

    def end_tunnels(self) -> None:
        """End the tunnels, which would not end by themselves."""
        for connection in self.connections:
            exchange = cast("Connection", connection).exchange
            if exchange is not None:
                exchange.end_tunnel()

    async def close(self) -> None:
        """Break off every connection that is left."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in self.connections:
            cast("Connection", connection).break_off()
        await self.shutdown(timeout=1.0)


def _make_request(
    head: RequestHead | GatewayError | Request,
    body: RequestBody,
    connection: Connection,
    writer: object,  # noqa: ARG001 - aiohttp's writer, which is not used
    task: asyncio.Task[None],
) -> Request:
    if isinstance(head, Request):
        return head
    return Request(head, body, connection, task)
