"""Connections to sandboxes, kept by incarnation: one life's connections never serve another's.

Keyed by incarnation and port, not by address: an address may belong to another sandbox's pod by
the time the watch says so.

New connections start slowly. A wake releases all requests that waited, and a server that has just
begun to listen accepts only so many connections at once: what comes in excess of its backlog is
lost or reset. So only a few connections may be under way of which it is not known yet that the
sandbox's machine took anything; each that proves alive lets in another, and many of them let in
more at once. Who waits for its turn meanwhile gets the first connection that comes free.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import ssl
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from gateway.sandbox.errors import SandboxUnreachable
from gateway.upstream.connection import SecureUpstreamConnection, UpstreamConnection

if TYPE_CHECKING:
    from gateway.sandbox.model import Route
    from gateway.telemetry.instruments import Instruments
    from gateway.tls.client import TlsClient
    from gateway.upstream.addresses import AddressGuard

#: Unproven connections to one sandbox: at least so many (the smallest backlogs in use hold five),
#: and one for so many that have proved alive.
WINDOW: Final = 4
PROVEN_PER_TURN: Final = 4
#: How often it is asked whether they have proved alive, in seconds, while somebody waits.
PROOF_INTERVAL: Final = 0.001

#: The part of all idle connections that is closed when there are too many.
_AT_ONCE: Final = 20

#: Lives of which it is remembered that their address was logged.
_TOLD: Final = 1000

_LOG = logging.getLogger(__name__)


class DialRefused(Exception):
    """Nothing accepts connections on this port, or not in time; the request was not sent."""


class _Life:
    """The connections of one incarnation.

    `standing` are all, `idle` those that serve nobody, `fresh` those that have not proved alive.
    `dialling` counts those under way. `waiting` are the requests whose turn has not come: a future
    that gets a connection which came free, or None for leave to dial.
    """

    __slots__ = ("dialling", "fresh", "idle", "standing", "timer", "waiting")

    def __init__(self) -> None:
        self.standing: set[UpstreamConnection] = set()
        self.idle: list[UpstreamConnection] = []
        self.fresh: set[UpstreamConnection] = set()
        self.dialling = 0
        self.waiting: deque[tuple[int, asyncio.Future[UpstreamConnection | None]]] = deque()
        self.timer: asyncio.TimerHandle | None = None

    @property
    def empty(self) -> bool:
        return not (self.standing or self.waiting or self.dialling)

    def may_dial(self) -> bool:
        """Return whether one more connection may be under way."""
        if self.dialling + len(self.fresh) >= WINDOW:
            self.fresh = {one for one in self.fresh if not one.arrived}
        proven = len(self.standing) - len(self.fresh)
        return self.dialling + len(self.fresh) < max(WINDOW, proven // PROVEN_PER_TURN)

    def next_for(self, port: int) -> asyncio.Future[UpstreamConnection | None] | None:
        """Take the first that waits for this port out of the queue."""
        for index, (wanted, turn) in enumerate(self.waiting):
            if wanted == port and not turn.done():
                del self.waiting[index]
                return turn
        return None


class Pool:
    """Hands out connections and takes them back."""

    def __init__(
        self,
        guard: AddressGuard,
        instruments: Instruments,
        *,
        tls: TlsClient,
        connect_timeout: float,
        dead_after: float,
        idle_timeout: float,
        max_idle_per_sandbox: int,
        max_idle: int,
    ) -> None:
        """Times in seconds."""
        self._guard = guard
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._dead_after = dead_after
        self._idle_timeout = idle_timeout
        self._max_idle_per_sandbox = max_idle_per_sandbox
        self._max_idle = max_idle
        self._idle = 0
        self._lives: dict[str, _Life] = {}
        self._open: set[UpstreamConnection] = set()
        self._told: set[str] = set()
        self._taken = instruments.counter(
            "upstream_connections", "Connections to sandboxes taken for a request.", "source"
        )
        self._reused = self._taken.cell("reused")
        self._dialled = self._taken.cell("dialled")
        self._refusals = instruments.counter(
            "upstream_dial_failures", "Connections to sandboxes that could not be made.", "cause"
        )
        for cause in ("refused", "timeout", "address", "tls"):
            self._refusals.prime(cause)
        instruments.gauge(
            "upstream_connections_open",
            "Connections to sandboxes that stand now, idle or in use.",
            lambda: self.open_connections,
        )
        instruments.gauge(
            "upstream_connections_awaited",
            "Requests that wait for their turn to connect to a sandbox.",
            lambda: sum(len(life.waiting) for life in self._lives.values()),
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
                self._idle -= 1
                self._reused.count += 1
                return connection
        return None

    async def connect(self, route: Route, port: int) -> UpstreamConnection:
        """Return a new connection, or one that came free while its turn was waited for.

        Raise DialRefused, or SandboxUnreachable if the address may not be dialled or its TLS does
        not hold.
        """
        address = route.address
        if address is None or not self._guard.allows(address):
            self._refusals.inc("address")
            self._tell_of_address(route)
            raise SandboxUnreachable("The gateway may not connect to where the sandbox is.")
        life = self._lives.setdefault(route.incarnation, _Life())
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._turn(life, port)
                return connection or await self._dial(life, route, address, port)
        except TimeoutError as error:
            self._refusals.inc("timeout")
            raise DialRefused from error
        except ssl.SSLError as error:
            self._refusals.inc("tls")
            self._tell_of_tls(route, port, error)
            raise SandboxUnreachable(
                "The sandbox runs, but does not prove on this port by TLS who it is."
            ) from error
        except OSError as error:
            self._refusals.inc("refused")
            raise DialRefused from error
        finally:
            self._tidy(route.incarnation, life)

    def _tell_of_address(self, route: Route) -> None:
        if self._is_news(route):
            _LOG.warning(
                "%s is at %s, which may not be dialled; see upstream_allow_cidrs",
                route.key,
                route.address,
            )

    def _tell_of_tls(self, route: Route, port: int, error: ssl.SSLError) -> None:
        if self._is_news(route):
            _LOG.warning(
                "%s does not prove who it is by TLS on port %d: %s. Give it a certificate of an "
                "authority in upstream_tls_ca_file for its address, or for the name in the "
                "annotation upstream-tls-server-name; if this port speaks no TLS, mend the "
                "annotation upstream-tls",
                route.key,
                port,
                getattr(error, "verify_message", None) or error.reason,
            )

    def _is_news(self, route: Route) -> bool:
        """Return whether nothing was logged yet of how this life cannot be dialled."""
        if route.incarnation in self._told:
            return False
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told.add(route.incarnation)
        return True

    async def _turn(self, life: _Life, port: int) -> UpstreamConnection | None:
        """Wait for one's turn; return a connection, or None with leave to dial."""
        if not life.waiting and life.may_dial():
            life.dialling += 1
            return None
        turn: asyncio.Future[UpstreamConnection | None]
        turn = asyncio.get_running_loop().create_future()
        life.waiting.append((port, turn))
        self._watch(life)
        try:
            given = await turn
        except asyncio.CancelledError:
            self._give_up(life, port, turn)
            raise
        if given is not None and not given.reusable:
            # It was lost on its way here: a request given to it would wait for nothing.
            raise ConnectionResetError
        return given

    def _give_up(
        self, life: _Life, port: int, turn: asyncio.Future[UpstreamConnection | None]
    ) -> None:
        """Give back what a turn had got, or its place in the queue."""
        if turn.cancelled() or not turn.done():
            with contextlib.suppress(ValueError):
                life.waiting.remove((port, turn))
        elif turn.exception() is None:
            connection = turn.result()
            if connection is None:
                life.dialling -= 1
                self._let_in(life)
            else:
                self.give_back(connection, connection.idle_since)

    async def _dial(self, life: _Life, route: Route, address: str, port: int) -> UpstreamConnection:
        """Connect; leave to dial has been given."""
        try:
            connection = await self._connected(route, address, port)
            if not connection.is_open:
                raise ConnectionResetError
            connection.watch_peer(self._dead_after)
            life.fresh.add(connection)
        finally:
            life.dialling -= 1
            self._let_in(life)
        life.standing.add(connection)
        self._open.add(connection)
        self._dialled.count += 1
        return connection

    async def _connected(self, route: Route, address: str, port: int) -> UpstreamConnection:
        if route.tls is not None and route.speaks_tls(port):
            secure = SecureUpstreamConnection(route.incarnation, port, self._forget)
            await self._tls.connect(secure, address, port, route.tls.server_name or address)
            return secure
        plain = UpstreamConnection(route.incarnation, port, self._forget)
        await asyncio.get_running_loop().create_connection(lambda: plain, address, port)
        return plain

    def give_back(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection for later if it can serve again and its incarnation still lives."""
        life = self._lives.get(connection.incarnation)
        if life is None or not connection.reusable or connection not in life.standing:
            connection.close()
            return
        life.fresh.discard(connection)
        if life.waiting:
            turn = life.next_for(connection.port)
            if turn is not None:
                self._reused.count += 1
                turn.set_result(connection)
                return
        if len(life.idle) >= self._max_idle_per_sandbox:
            connection.close()
            return
        connection.idle_since = now
        life.idle.append(connection)
        self._idle += 1
        if self._idle > self._max_idle:
            self._make_room()

    def retire(self, incarnation: str) -> None:
        """A life is over: close its idle connections, and let those in use serve nobody else."""
        life = self._lives.pop(incarnation, None)
        if life is None:
            return
        self._idle -= len(life.idle)
        for connection in life.idle:
            connection.abort()
        for connection in life.standing:
            connection.spoil()
        for _, turn in life.waiting:
            if not turn.done():
                turn.set_exception(ConnectionAbortedError())
        life.waiting.clear()

    def sweep(self, now: float) -> None:
        """Close connections that have been idle for too long."""
        oldest = now - self._idle_timeout
        for life in self._lives.values():
            for connection in life.idle:
                if connection.idle_since <= oldest:
                    connection.close()

    def _make_room(self) -> None:
        """Close the connections that have been idle for longest; many, since it takes a search."""
        idle = [connection for life in self._lives.values() for connection in life.idle]
        count = 1 + self._max_idle // _AT_ONCE
        for connection in heapq.nsmallest(count, idle, key=attrgetter("idle_since")):
            self._lives[connection.incarnation].idle.remove(connection)
            self._idle -= 1
            connection.close()

    def close(self) -> None:
        """Close everything, in use or not."""
        for incarnation in list(self._lives):
            self.retire(incarnation)
        for connection in list(self._open):
            connection.abort()

    # ---- turns

    def _watch(self, life: _Life) -> None:
        """Look again soon whether those who wait may be let in."""
        if life.timer is None and life.waiting:
            loop = asyncio.get_running_loop()
            life.timer = loop.call_later(PROOF_INTERVAL, self._look_again, life)

    def _look_again(self, life: _Life) -> None:
        life.timer = None
        self._let_in(life)

    def _let_in(self, life: _Life) -> None:
        """Give leave to dial to as many as may."""
        while life.waiting and life.may_dial():
            _, turn = life.waiting.popleft()
            if not turn.done():
                life.dialling += 1
                turn.set_result(None)
        self._watch(life)

    def _forget(self, connection: UpstreamConnection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        life = self._lives.get(connection.incarnation)
        if life is None:
            return
        life.standing.discard(connection)
        life.fresh.discard(connection)
        if connection in life.idle:
            life.idle.remove(connection)
            self._idle -= 1
        self._let_in(life)
        self._tidy(connection.incarnation, life)

    def _tidy(self, incarnation: str, life: _Life) -> None:
        """Forget a life without connections."""
        if life.empty and self._lives.get(incarnation) is life:
            del self._lives[incarnation]
