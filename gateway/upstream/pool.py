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


class _Life:
    """The connections of one incarnation: all that stand, and of these the idle ones."""

    __slots__ = ("idle", "standing")

    def __init__(self) -> None:
        self.standing: set[UpstreamConnection] = set()
        self.idle: list[UpstreamConnection] = []


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
        self._lives: dict[str, _Life] = {}
        self._open: set[UpstreamConnection] = set()
        self._taken = instruments.counter(
            "upstream_connections", "Connections to sandboxes taken for a request.", "source"
        )
        self._reused = self._taken.cell("reused")
        self._dialled = self._taken.cell("dialled")
        self._refusals = instruments.counter(
            "upstream_dial_failures", "Connections to sandboxes that could not be made.", "cause"
        )
        for cause in ("refused", "timeout", "address"):
            self._refusals.prime(cause)
        instruments.gauge(
            "upstream_connections_open",
            "Connections to sandboxes that stand now, idle or in use.",
            lambda: self.open_connections,
        )

    @property
    def open_connections(self) -> int:
        """How many connections stand, idle or in use."""
        return len(self._open)

    def take(self, route: Route, port: int) -> UpstreamConnection | None:
        """Return an idle connection of this incarnation to this port, the last used first."""
        life = self._lives.get(route.incarnation)
        if life is None:
            return None
        idle = life.idle
        for index in range(len(idle) - 1, -1, -1):
            connection = idle[index]
            if connection.port == port and connection.reusable:
                del idle[index]
                self._reused.count += 1
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
        self._lives.setdefault(route.incarnation, _Life()).standing.add(connection)
        self._open.add(connection)
        self._dialled.count += 1
        return connection

    def give_back(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection for later if it can serve again and its incarnation still lives."""
        life = self._lives.get(connection.incarnation)
        if (
            life is None
            or not connection.reusable
            or connection not in life.standing
            or len(life.idle) >= self._max_idle
        ):
            connection.close()
            return
        connection.idle_since = now
        life.idle.append(connection)

    def retire(self, incarnation: str) -> None:
        """A life is over: close its idle connections, and let those in use serve nobody else."""
        life = self._lives.pop(incarnation, None)
        if life is None:
            return
        for connection in life.idle:
            connection.abort()
        for connection in life.standing:
            connection.spoil()

    def sweep(self, now: float) -> None:
        """Close connections that have been idle for too long."""
        oldest = now - self._idle_timeout
        for life in self._lives.values():
            for connection in life.idle:
                if connection.idle_since <= oldest:
                    connection.close()

    def close(self) -> None:
        """Close everything, in use or not."""
        for connection in list(self._open):
            connection.abort()

    def _forget(self, connection: UpstreamConnection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        life = self._lives.get(connection.incarnation)
        if life is None:
            return
        life.standing.discard(connection)
        if connection in life.idle:
            life.idle.remove(connection)
        if not life.standing:
            del self._lives[connection.incarnation]
