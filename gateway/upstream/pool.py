"""Idle connections to sandboxes, kept by incarnation: one life's connections never serve another's.

Keyed by incarnation and port, not by address: an address may belong to another sandbox's pod by
the time the watch says so.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.sandbox.errors import SandboxUnreachable
from gateway.upstream.connection import UpstreamConnection

if TYPE_CHECKING:
    from gateway.sandbox.model import Route
    from gateway.telemetry.instruments import Instruments
    from gateway.upstream.addresses import AddressGuard


class DialRefused(Exception):
    """Nothing accepts connections on this port, or not in time; the request was not sent."""


class Pool:
    """Hands out connections and takes them back."""

    def __init__(
        self,
        guard: AddressGuard,
        instruments: Instruments,
        *,
        connect_timeout: float,
        idle_timeout: float,
        max_idle_per_sandbox: int,
    ) -> None:
        """Times in seconds."""
        self._guard = guard
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._max_idle = max_idle_per_sandbox
        self._idle: dict[str, list[UpstreamConnection]] = {}
        self._open: set[UpstreamConnection] = set()
        self._connections = instruments.counter(
            "upstream_connections", "Connections to sandboxes taken for a request.", "source"
        )
        self._connections.prime("reused")
        self._connections.prime("dialled")
        self._refusals = instruments.counter(
            "upstream_dial_failures", "Connections to sandboxes that could not be made.", "cause"
        )
        for cause in ("refused", "timeout", "address"):
            self._refusals.prime(cause)
        instruments.gauge(
            "upstream_connections_open",
            "Connections to sandboxes that stand now, idle or in use.",
            lambda: len(self._open),
        )

    @property
    def open_connections(self) -> int:
        """How many connections stand, idle or in use."""
        return len(self._open)

    def take(self, route: Route, port: int) -> UpstreamConnection | None:
        """Return an idle connection of this incarnation to this port, the last used first."""
        idle = self._idle.get(route.incarnation)
        if idle is None:
            return None
        for index in range(len(idle) - 1, -1, -1):
            connection = idle[index]
            if connection.port == port and connection.reusable:
                del idle[index]
                if not idle:
                    del self._idle[route.incarnation]
                self._connections.inc("reused")
                return connection
        return None

    async def dial(self, route: Route, port: int) -> UpstreamConnection:
        """Connect to the route's address; raise DialRefused, or SandboxUnreachable for good."""
        if route.address is None or not self._guard.allows(route.address):
            self._refusals.inc("address")
            raise SandboxUnreachable
        loop = asyncio.get_running_loop()
        connection = UpstreamConnection(route.incarnation, port, self._forget)
        try:
            async with asyncio.timeout(self._connect_timeout):
                await loop.create_connection(lambda: connection, route.address, port)
        except TimeoutError as error:
            self._refusals.inc("timeout")
            raise DialRefused from error
        except OSError as error:
            self._refusals.inc("refused")
            raise DialRefused from error
        self._open.add(connection)
        self._connections.inc("dialled")
        return connection

    def give_back(self, connection: UpstreamConnection, now: float, *, current: bool) -> None:
        """Keep a connection for later if it can serve again and its incarnation is `current`."""
        idle = self._idle.get(connection.incarnation, ())
        if not (current and connection.reusable and len(idle) < self._max_idle):
            connection.close()
            return
        connection.idle_since = now
        self._idle.setdefault(connection.incarnation, []).append(connection)

    def retire(self, incarnation: str) -> None:
        """Close the idle connections of a life that is over."""
        for connection in self._idle.pop(incarnation, ()):
            connection.abort()

    def sweep(self, now: float) -> None:
        """Close connections that have been idle for too long."""
        oldest = now - self._idle_timeout
        for incarnation, idle in list(self._idle.items()):
            kept = [connection for connection in idle if connection.idle_since > oldest]
            if len(kept) == len(idle):
                continue
            for connection in idle:
                if connection.idle_since <= oldest:
                    connection.close()
            if kept:
                self._idle[incarnation] = kept
            else:
                del self._idle[incarnation]

    def close(self) -> None:
        """Close everything, in use or not."""
        for connection in list(self._open):
            connection.abort()

    def _forget(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        idle = self._idle.get(connection.incarnation)
        if idle is not None and connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[connection.incarnation]
