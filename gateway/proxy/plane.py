"""The data plane put together: everything between a listening socket and the sandboxes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, cast

from gateway.proxy.admission import Admission
from gateway.proxy.claims import Claims
from gateway.proxy.front import Front, FrontConfig
from gateway.proxy.handler import Proxy, ProxyConfig
from gateway.proxy.journal import Journal
from gateway.proxy.listener import Listener
from gateway.proxy.memory import Memory
from gateway.proxy.reach import ReachConfig, Reacher
from gateway.proxy.target import TargetReader
from gateway.proxy.traces import TracedJournal
from gateway.proxy.uses import CountConfig, Uses
from gateway.sandbox.model import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.authenticator import Authenticator
    from gateway.proxy.claims import Read
    from gateway.proxy.client import Connection
    from gateway.proxy.login import Login
    from gateway.proxy.reach import Waker
    from gateway.proxy.target import TargetConfig
    from gateway.replicas.gate import Gate
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry
    from gateway.telemetry.access_log import AccessLog
    from gateway.telemetry.instruments import Instruments
    from gateway.telemetry.tracing import Tracer
    from gateway.tls.server import TlsServer
    from gateway.upstream.pool import Pool

#: How often idle upstream connections are looked over, in seconds.
_POOL_SWEEP: Final = 5.0


@dataclass(frozen=True, slots=True)
class PlaneConfig:
    """The parts' own configurations. `closed_ports`: those that no request may name."""

    front: FrontConfig
    targets: TargetConfig
    reach: ReachConfig
    proxy: ProxyConfig
    count: CountConfig = field(default_factory=CountConfig)
    closed_ports: frozenset[int] = frozenset()


class DataPlane:
    """Serves requests from `start` until `close`; to be made in a running event loop."""

    def __init__(
        self,
        config: PlaneConfig,
        registry: Registry,
        pool: Pool,
        waker: Waker,
        read: Read,
        authenticator: Authenticator,
        instruments: Instruments,
        access_log: AccessLog | None,
        *,
        tls: TlsServer | None = None,
        synced: Callable[[], bool],
        clock: Callable[[], float],
        login: Login | None = None,
        tracer: Tracer | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`read` asks the API for a sandbox. `synced`: whether the registry is complete.

        `clock` tells epoch seconds. Without `tls`, clients speak plain HTTP; with `login`,
        browsers may exchange a token for a cookie; with `tracer`, requests are traced; with `gate`,
        they are counted as uses of their sandboxes, and wait where one may be falling asleep.
        """
        self._pool = pool
        self._uses = None if gate is None else Uses(gate, config.count)
        front = config.front
        if tracer is None:
            self._journal = Journal(instruments, access_log, clock)
        else:
            self._journal = TracedJournal(instruments, access_log, clock, tracer)
            front = replace(front, special_names=front.special_names | tracer.field_names)
        claims = Claims(registry, read, config.reach.address_doubt)
        reacher = Reacher(registry, pool, waker, claims, config.reach, clock, gate)
        targets = TargetReader(config.targets)
        admission = Admission(
            registry, authenticator, synced, login, targets.names_by_host, config.closed_ports
        )
        proxy = Proxy(
            targets, admission, reacher, pool, self._journal, config.proxy, clock, login, self._uses
        )
        memory = Memory(front.max_buffered, instruments)
        self._front = Front(proxy.begin, proxy.handle, front, memory)
        most = front.max_connections
        self._listener = Listener(
            self._front, tls, room=lambda: most - len(self.client_connections)
        )
        self._sweeper: asyncio.TimerHandle | None = None
        self._unsubscribe = registry.subscribe(self._on_route)
        instruments.gauge(
            "client_connections",
            "Client connections that stand now.",
            lambda: len(self.client_connections),
        )

    @property
    def in_flight(self) -> int:
        """How many requests are under way, waiting ones and tunnels included."""
        return self._journal.in_flight

    @property
    def client_connections(self) -> list[Connection]:
        """The client connections that stand now."""
        return cast("list[Connection]", self._front.connections)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, and return the address taken; raise OSError if it is not to be had."""
        taken = await self._listener.start(host, port)
        self._sweep_pool()
        return taken

    def announce_drain(self) -> None:
        """Tell clients from now on to come again on another connection; still accept them."""
        self._front.draining = True

    async def drain(self, timeout: float) -> bool:
        """Accept nothing more and let what is under way end; return whether it did in time (s).

        A request is over when its client has all of the answer: its connection is then closed.
        """
        self.announce_drain()
        self._listener.close()
        try:
            async with asyncio.timeout(timeout):
                await self._listener.opened()
                await self._front.run_dry()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Break off what is left."""
        self._unsubscribe()
        self._listener.close()
        await self._listener.abandon()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._front.close()
        self._pool.close()

    def _sweep_pool(self) -> None:
        loop = asyncio.get_running_loop()
        self._pool.sweep(loop.time())
        self._sweeper = loop.call_later(_POOL_SWEEP, self._sweep_pool)

    def _on_route(self, before: Route | None, after: Route | None) -> None:
        """Close the idle connections of a life that is over, the moment that is known.

        So are the tunnels that have not kept it from ending.
        """
        if before is None:
            return
        if (
            after is None
            or after.incarnation != before.incarnation
            or after.address != before.address
            or after.tls != before.tls
            or after.state is not State.RUNNING
        ):
            self._pool.retire(before.incarnation)
            if self._uses is not None:
                self._uses.end_tunnels(before.incarnation)
