"""One replica's part in right-sizing running sandboxes, put together."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from gateway import wiring
from gateway.cluster.machines import ALL_NODES, PLACED_PODS, Machines
from gateway.cluster.resizer import Resizer
from gateway.leading import grace_of, leadership_of
from gateway.meanwhile import meanwhile
from gateway.resize.agent_server import AgentServer
from gateway.resize.amounts import Resources
from gateway.resize.controller import ResizeController
from gateway.resize.link import Link
from gateway.resize.metrics import ResizeCounters, show_sizes
from gateway.resize.permits import Permits
from gateway.resize.tools import Tools
from gateway.sandbox.errors import NotWritten

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from gateway.cluster.cluster import Cluster
    from gateway.cluster.pod_facts import PodFacts
    from gateway.replicas.leadership import Leadership, Sole
    from gateway.resize.link_state import LinkEvent
    from gateway.resize.snapshot import ResizeSnapshot
    from gateway.resize.tools import Conversation
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry
    from gateway.sandbox.scaling import Size
    from gateway.settings import Settings
    from gateway.telemetry.instruments import Instruments


class Ground(Protocol):
    """What sandboxes run on, as to their sizes. What is sized are pods, or stands for them."""

    @property
    def unsupported(self) -> str:
        """Why nothing is resized, where that is so."""

    def begun(self) -> AbstractAsyncContextManager[None]:
        """Be ready for the body's time; raise OSError."""

    async def supported(self) -> bool:
        """Whether pods are resized in place; raise a ClusterError."""

    def followed(self) -> AbstractAsyncContextManager[Machines]:
        """Know the pods and nodes, all of them, for the body's time."""

    async def resize(self, pod: PodFacts, target: Size) -> PodFacts:
        """Have a pod resized; return it as it is then. Raise a ClusterError."""

    def link(self, pod: PodFacts, hear: Callable[[LinkEvent], None]) -> Conversation:
        """Begin a conversation with the informant of a pod."""


class Pods:
    """The pods of a cluster, with informants in them."""

    unsupported = "this Kubernetes API does not resize pods in place"

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._cluster = cluster
        self._resizer = Resizer(cluster.client, grace_of(settings))
        self._server = AgentServer(*settings.resize_listen)
        self._port = settings.resize_informant_port
        self._guard = wiring.guard(settings)

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        """Answer informants for the body's time; raise OSError."""
        await self._server.start()
        try:
            yield
        finally:
            await self._server.stop()

    async def supported(self) -> bool:
        """Whether this API resizes pods in place; raise a ClusterError."""
        return await self._resizer.supported()

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[Machines]:
        """Know the pods and nodes of the cluster, all of them, for the body's time."""
        machines = Machines(lambda: pods.stale or nodes.stale)
        besides = self._cluster.besides
        async with (
            besides("placed-pods", PLACED_PODS, machines.pods_sink) as pods,
            besides("nodes", ALL_NODES, machines.nodes_sink) as nodes,
        ):
            await pods.wait_synced()
            await nodes.wait_synced()
            yield machines

    async def resize(self, pod: PodFacts, target: Size) -> PodFacts:
        """Have a pod resized; return it as it is then. Raise a ClusterError."""
        return await self._resizer.resize(pod, target)

    def link(self, pod: PodFacts, hear: Callable[[LinkEvent], None]) -> Link:
        """Begin a conversation with the informant of a pod."""
        address = pod.addresses[0]
        may_call = self._guard.allows(address)
        return Link((address, self._port), self._server, hear, may_call=may_call)


class Resizing:
    """To be made once the cluster was entered; then use `begun`."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        registry: Registry,
        instruments: Instruments,
        unused_for: Callable[[Route], float | None],
        ground: Ground | None = None,
    ) -> None:
        """`unused_for`: for how many seconds nobody has used a sandbox; None: somebody does.

        `ground`: None for the pods of the cluster.
        """
        self._settings = settings
        self._cluster = cluster
        self._ground = ground or Pods(settings, cluster)
        self._leadership = leadership_of(settings, cluster.client, instruments, "resize")
        self._counters = ResizeCounters(instruments)
        self._permits: Permits | None = None
        self._controller = ResizeController(
            registry, self._ground, self._leadership, self._made_tools, unused_for
        )
        #: What ends when this replica is to lead no more.
        self._term = AsyncExitStack()
        show_sizes(instruments, self._controller, self._pressures)

    def snapshot(self, route: Route) -> ResizeSnapshot:
        """Return how a sandbox's size stands, as far as this replica knows."""
        return self._controller.snapshot(route)

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        """Right-size for the body's time, or until this has to `resign`; raise OSError."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._ground.begun())
            stack.push_async_exit(self._term)
            await self._term.enter_async_context(self._leadership)
            await self._term.enter_async_context(meanwhile(self._controller.run()))
            yield

    async def resign(self) -> None:
        """Leave it to others; each informant is told."""
        await self._term.aclose()

    def _made_tools(self, machines: Machines) -> Tools:
        permits = self._permits = Permits(machines, Resources(self._settings.resize_cpu_unit, 1))
        return Tools(
            permits=permits,
            surgeon=_Surgeon(self._ground, machines, self._leadership),
            journal=self._cluster.writer,
            link=self._ground.link,
            counters=self._counters,
            clock=asyncio.get_running_loop().time,
            interval=self._settings.resize_metrics_interval,
        )

    def _pressures(self) -> Iterable[Size]:
        return () if self._permits is None else self._permits.pressure().values()


class _Surgeon:
    """Resizes pods as long as this replica may act, and lets it be known at once."""

    def __init__(self, ground: Ground, machines: Machines, leadership: Leadership | Sole) -> None:
        self._ground = ground
        self._machines = machines
        self._leadership = leadership

    async def resize(self, pod: PodFacts, target: Size) -> PodFacts:
        """Have a pod resized; return it as it is then. Raise a ClusterError.

        It ends, also if cancelled, only once the write has an answer, or has got none in its time:
        until then nobody else is to lead, and the pod is to have no new agent.
        """
        if not self._leadership.acting:
            raise NotWritten("another replica may lead by now")
        writing = asyncio.create_task(self._resize(pod, target))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            while not writing.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({writing})
            raise

    async def _resize(self, pod: PodFacts, target: Size) -> PodFacts:
        changed = await self._ground.resize(pod, target)
        self._machines.learn(changed)
        return changed
