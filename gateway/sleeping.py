"""One replica's part in putting idle sandboxes to sleep, put together.

What counts their use has to hear of every sandbox, and so is made before the first one is known.
The rest begins once the cluster can be asked: who leads, the idle loop, and who puts off what
platforms would end themselves.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway import wiring
from gateway.admin.access import SandboxAccess
from gateway.admin.holds import Holds
from gateway.admin.observers import ObserverRoutes
from gateway.admin.peers import PeerRoutes
from gateway.admin.standby import AutoStandby
from gateway.cluster.pods import Pods
from gateway.leading import leadership_of
from gateway.meanwhile import meanwhile
from gateway.replicas.calls import Calls
from gateway.replicas.gate import Gate
from gateway.replicas.peers import Alone, Peers
from gateway.sandbox.activity import Activity
from gateway.standby.check import GuestCheck
from gateway.standby.controller import IdleController
from gateway.standby.observers import Observers
from gateway.standby.postponer import Postponer
from gateway.upstream.addresses import own_addresses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from gateway.admin.parts import AdminRoutes
    from gateway.auth.authenticator import Authenticator
    from gateway.cluster.cluster import Cluster
    from gateway.reloading import Reloader
    from gateway.replicas.peers import PodList
    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry
    from gateway.settings import Settings
    from gateway.standby.snapshot import Snapshot
    from gateway.telemetry.instruments import Instruments
    from gateway.tls.deployment import Tls
    from gateway.upstream.pool import Pool

#: What the only replica calls itself.
_ONLY: Final = "this replica"


class Sleeping:
    """To be made in a running event loop, before its cluster is entered; then use `begun`."""

    parts: list[AdminRoutes]

    def __init__(
        self, settings: Settings, cluster: Cluster, registry: Registry, instruments: Instruments
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._registry = registry
        self._instruments = instruments
        self._clock = asyncio.get_running_loop().time
        self._activity = Activity()
        self.gate = Gate(self._activity, registry, self._claim, self._clock)
        self._own_addresses = frozenset(str(one.network_address) for one in own_addresses())
        self._observers = self._made_observers()
        self._calls: Calls | None = None
        self._peers: Peers | None = None
        self._controller: IdleController | None = None
        #: What ends when this replica is to lead no more.
        self._term = AsyncExitStack()
        registry.subscribe(self._heed)

    @asynccontextmanager
    async def begun(
        self, pool: Pool, authenticator: Authenticator, tls: Tls, reloader: Reloader
    ) -> AsyncIterator[None]:
        """Put idle sandboxes to sleep for the body's time, or until this has to `resign`."""
        settings, writer = self._settings, self._cluster.writer
        async with AsyncExitStack() as stack:
            calls = self._calls = Calls(wiring.calls(settings), tls.peers)
            await stack.enter_async_context(calls)
            leadership = leadership_of(settings, self._cluster.client, self._instruments)
            peers = self._peers = self._made_peers(calls)
            controller = self._controller = IdleController(
                wiring.idle(settings),
                self._registry,
                self._activity,
                peers,
                writer,
                leadership,
                GuestCheck(pool, settings.standby_check_timeout),
                self._instruments,
                observers=self._observers,
                clock=self._clock,
            )
            postponer = Postponer(
                wiring.postponing(settings),
                self._registry,
                self._activity,
                writer,
                lambda: leadership.acting,
                self._instruments,
                clock=self._clock,
            )
            self.parts = self._made_parts(controller, authenticator, reloader)
            await stack.enter_async_context(meanwhile(postponer.run()))
            if self._observers is not None:
                await stack.enter_async_context(meanwhile(self._observers.run()))
                await stack.enter_async_context(meanwhile(peers.keep_in_sight()))
            # Whatever happens from here on, a lease that was won is given up.
            stack.push_async_exit(self._term)
            await self._term.enter_async_context(leadership)
            await self._term.enter_async_context(meanwhile(controller.run()))
            yield

    async def resign(self) -> None:
        """Leave it to others to put sandboxes to sleep; what this replica uses it still tells."""
        await self._term.aclose()

    async def take_leave(self) -> None:
        """Nothing is used here any more: leave what is known of uses to others, and to objects."""
        assert self._peers is not None, "it has begun"
        assert self._controller is not None, "it has begun"
        await asyncio.gather(self._peers.take_leave(), self._controller.tidy())

    def unused_for(self, route: Route) -> float | None:
        """Return for how many seconds nobody has used a sandbox by this replica; None: one does."""
        usage = self._activity.of(route.uid)
        return None if usage is None or usage.count else usage.unused_for(self._clock())

    async def snapshot(self, route: Route) -> Snapshot:
        """Return how a sandbox stands between use and sleep."""
        assert self._controller is not None, "it has begun"
        return await self._controller.snapshot(route)

    def replace_admin_token(self, token: str) -> None:
        """Show other replicas this token from now on."""
        if self._calls is not None:
            self._calls.replace_token(token)

    # ---- the parts ----------------------------------------------------------------------------

    def _made_peers(self, calls: Calls) -> Peers:
        settings = self._settings
        pods: PodList = Alone(self._name)
        if settings.peer_selector is not None and settings.pod_namespace is not None:
            pods = Pods(self._cluster.client, settings.pod_namespace, settings.peer_selector)
        return Peers(self._name, self.gate, pods, calls, self._instruments)

    def _made_observers(self) -> Observers | None:
        if not self._settings.observe_connections:
            return None
        return Observers(
            self._activity,
            self._gateways,
            self._settings.observed_ignore_cidrs,
            self._clock,
            self._instruments,
        )

    def _made_parts(
        self, controller: IdleController, authenticator: Authenticator, reloader: Reloader
    ) -> list[AdminRoutes]:
        access = SandboxAccess(self._registry, authenticator, self._synced, time.time)
        parts: list[AdminRoutes] = [
            PeerRoutes(self.gate, self._name),
            Holds(self._cluster.writer, access, self._settings.hold_max, time.time),
            AutoStandby(self._registry, controller.snapshot),
        ]
        if self._observers is not None:
            routes = ObserverRoutes(self._observers, wiring.observer_token(self._settings))
            wiring.watch_observer_token(self._settings, reloader, routes.replace_token)
            parts.append(routes)
        return parts

    # ---- what they ask ------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self._settings.pod_name or _ONLY

    def _synced(self) -> bool:
        return self._cluster.synced

    async def _claim(self, key: Key, uid: str) -> None:
        await self._cluster.writer.claim(key, uid)

    def _gateways(self) -> Iterable[str]:
        others = () if self._peers is None else self._peers.addresses
        return self._own_addresses.union(others)

    def _heed(self, before: Route | None, after: Route | None) -> None:
        self._activity.heed(before, after, self._clock(), time.time())
        self.gate.heed(before, after)
        if self._observers is not None:
            self._observers.heed(before, after)
