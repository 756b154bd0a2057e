"""All of one cluster that the gateway uses: the watches that feed its registry, and its writer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

from gateway.cluster.client import KubeClient
from gateway.cluster.feed import Feed
from gateway.cluster.intake import Intake
from gateway.cluster.metrics import ClusterCounters
from gateway.cluster.places import SERVICES, SLICES
from gateway.cluster.placing import PlaceFeed, Placing
from gateway.cluster.recovery import Phase, Reason
from gateway.cluster.reflector import Reflector
from gateway.cluster.selection import Selection
from gateway.cluster.writer import SandboxWriter
from gateway.dialects.base import selector_of
from gateway.meanwhile import meanwhile
from gateway.sandbox.errors import ObjectGone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from gateway.cluster.config import ClusterConfig
    from gateway.cluster.intake import Malformed
    from gateway.cluster.reflector import Sink
    from gateway.cluster.status import ReflectorStatus
    from gateway.dialects.base import Dialect
    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry
    from gateway.telemetry.instruments import Instruments


class Cluster:
    """An async context: inside it the registry is kept in step and the writer may be used.

    Entering raises ConfigInvalid but does not wait for the API; see `synced`. A mistake in the
    code of a watch cancels the body, as in any TaskGroup: without its news no route is safe.
    """

    client: KubeClient
    writer: SandboxWriter

    def __init__(
        self,
        config: ClusterConfig,
        dialects: Sequence[Dialect],
        registry: Registry,
        instruments: Instruments,
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`wall_clock` gives epoch seconds, `clock` monotonic ones, `chance` a draw of [0, 1)."""
        self._config = config
        self._wall_clock = wall_clock
        self._clock = clock
        self._chance = chance
        self._counters = ClusterCounters(instruments)
        self._registry = registry
        self._placing = Placing(registry) if any(one.by_service for one in dialects) else None
        self._intakes = {one.name: self._make_intake(one) for one in dialects}
        self._reflectors: tuple[Reflector, ...] = ()
        #: Watches that no route hangs on, while somebody has use for them; and, of those that are
        #: over, how often they began again.
        self._besides: list[Reflector] = []
        self._past_restarts = Counter[Reason]()
        self._stack = AsyncExitStack()
        self._show(instruments)

    @property
    def synced(self) -> bool:
        """Whether every watch of the routes knew all its objects once (of an absent API: none)."""
        return bool(self._reflectors) and all(one.synced for one in self._reflectors)

    @property
    def stale(self) -> bool:
        """Whether one of them is without contact for so long that its routes may be wrong."""
        return any(one.stale for one in self._reflectors)

    @property
    def statuses(self) -> tuple[ReflectorStatus, ...]:
        """How each of them fares."""
        return tuple(one.status for one in self._reflectors)

    @property
    def malformed(self) -> tuple[Malformed, ...]:
        """The objects that have no route because they cannot be judged."""
        return tuple(one for intake in self._intakes.values() for one in intake.malformed)

    def watch_of(self, key: Key) -> ReflectorStatus:
        """Return how the watch fares that brings news of this sandbox."""
        names = (key.dialect, f"{key.dialect}/{key.namespace}")
        return next(one.status for one in self._reflectors if one.name in names)

    async def wait_synced(self) -> None:
        """Wait until `synced`."""
        for reflector in self._reflectors:
            await reflector.wait_synced()

    async def read(self, key: Key, uid: str) -> Route:
        """Return the sandbox as the API has it now, and where it has it now.

        Raises ObjectGone where there is none of this uid that can be judged, or a ClusterError.
        """
        route = await self.writer.read(key, uid)
        if self._placing is None or route.backing is None or not route.backing.available:
            return route
        await self._placing.look_up(self.client, route)
        placed = self._registry.get(key)
        if placed is None or placed.uid != uid:
            raise ObjectGone("it was deleted meanwhile")
        return placed

    async def wake(self, key: Key, uid: str) -> Route:
        """Ask for Running, as the writer does (`SandboxWriter.wake`)."""
        return await self.writer.wake(key, uid)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.client = await stack.enter_async_context(KubeClient.connect(self._config))
            self.writer = SandboxWriter(
                self.client, self._intakes, self._wall_clock, self._counters
            )
            stack.push_async_callback(self.writer.close)
            self._reflectors = self._make_reflectors()
            for reflector in self._reflectors:
                await stack.enter_async_context(meanwhile(self._feed(reflector)))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    async def _feed(self, reflector: Reflector) -> None:
        await asyncio.sleep(self._config.begin_after)
        await reflector.run()

    def _make_intake(self, dialect: Dialect) -> Intake:
        join = None if self._placing is None or not dialect.by_service else self._placing.joined
        return Intake(dialect, self._registry, self._counters, join)

    @asynccontextmanager
    async def besides(
        self, name: str, selection: Selection, sink: Sink
    ) -> AsyncIterator[Reflector]:
        """Keep something else in step, too, for the body's time; metrics alone tell of it."""
        reflector = self._make_reflector(name, selection, sink)
        self._besides.append(reflector)
        try:
            async with meanwhile(reflector.run()):
                yield reflector
        finally:
            self._besides.remove(reflector)
            self._past_restarts.update(reflector.status.restarts)

    def _make_reflectors(self) -> tuple[Reflector, ...]:
        namespaces = self._config.namespaces or (None,)
        return tuple(
            made
            for namespace in namespaces
            for made in (*self._sandbox_reflectors(namespace), *self._place_reflectors(namespace))
        )

    def _sandbox_reflectors(self, namespace: str | None) -> Iterator[Reflector]:
        for intake in self._intakes.values():
            dialect = intake.dialect
            selectors = (self._config.label_selector, selector_of(dialect.required_labels))
            selector = ",".join(filter(None, selectors))
            selection = Selection(dialect.resource, namespace, selector)
            yield self._make_reflector(dialect.name, selection, Feed(intake, namespace))

    def _place_reflectors(self, namespace: str | None) -> Iterator[Reflector]:
        if self._placing is None:
            return
        places = self._placing.places
        for resource, table in ((SLICES, places.slices), (SERVICES, places.services)):
            feed = PlaceFeed(self._placing, table, namespace)
            yield self._make_reflector(resource.plural, Selection(resource, namespace), feed)

    def _make_reflector(self, name: str, selection: Selection, sink: Sink) -> Reflector:
        namespace = selection.namespace
        return Reflector(
            name if namespace is None else f"{name}/{namespace}",
            selection,
            self.client,
            sink,
            self._config,
            clock=self._clock,
            chance=self._chance,
        )

    def _show(self, instruments: Instruments) -> None:
        instruments.gauges(
            "watch_synced", "Whether a watch has known all its objects once.", "watch",
            self._each(lambda one: float(one.synced)),
        )  # fmt: skip
        instruments.gauges(
            "watch_stale", "Whether a watch lacks contact for too long.", "watch",
            self._each(lambda one: float(one.stale)),
        )  # fmt: skip
        instruments.gauges(
            "watch_healthy", "Whether a watch is open.", "watch",
            self._each(lambda one: float(one.status.phase is Phase.WATCHING)),
        )  # fmt: skip
        instruments.gauges(
            "watch_silence_seconds", "Seconds since a watch heard anything.", "watch",
            self._each(lambda one: one.silent_for),
        )  # fmt: skip
        instruments.gauges(
            "watch_restarts", "Lists and watches begun again, by reason.", "reason",
            self._restarts,
        )  # fmt: skip
        instruments.gauge(
            "unrouted_objects", "Objects that cannot be judged, so have no route.",
            lambda: len(self.malformed),
        )  # fmt: skip

    def _each(self, read: Callable[[Reflector], float]) -> Callable[[], Mapping[str, float]]:
        return lambda: {one.name: read(one) for one in (*self._reflectors, *self._besides)}

    def _restarts(self) -> Mapping[str, float]:
        counts = self._past_restarts.copy()
        for one in (*self._reflectors, *self._besides):
            counts.update(one.status.restarts)
        return {reason.value: float(counts[reason]) for reason in Reason}
