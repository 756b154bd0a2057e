"""OpenKruise sandboxes whose platform pauses them by its own clock, and replicas that use them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gateway.dialects.kruise import Kruise
from gateway.sandbox.activity import Activity
from gateway.sandbox.errors import ApiUnavailable, ObjectGone
from gateway.sandbox.registry import Registry
from gateway.sandbox.texts import format_time
from gateway.standby.postponer import Postponer, PostponerConfig
from gateway.telemetry.instruments import Instruments
from tests.dialects.objects import kruise_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.dialects.base import RawObject
    from gateway.sandbox.errors import ClusterError
    from gateway.sandbox.model import Key, Route

DIALECT = Kruise()
#: What the wall clock says at the loop's time 0.
EPOCH = 1_900_000_000.0


def now() -> float:
    """Return the time as everybody's clocks tell it: the loop's, since 1970."""
    return EPOCH + asyncio.get_running_loop().time()


def _annotate(raw: RawObject, notes: Mapping[str, str]) -> None:
    raw["metadata"]["annotations"] |= {
        f"sandbox-gateway.dev/{name}": said for name, said in notes.items()
    }


@dataclass
class Platform:
    """An API with sandboxes of which some are to be paused at a time, and their controller."""

    objects: dict[str, RawObject] = field(default_factory=dict)
    replicas: list[Replica] = field(default_factory=list)
    #: How long the API takes to write, in seconds, and what it raises instead while it is down.
    latency: float = 0.01
    trouble: ClusterError | None = None
    #: Its controller does nothing.
    stuck: bool = False
    #: When what was paused, and what was written when: by the loop's clock.
    paused: dict[str, float] = field(default_factory=dict)
    writes: list[tuple[str, float]] = field(default_factory=list)
    calls: int = 0
    writing: int = 0
    most_writing: int = 0
    version: int = 100

    def add(
        self,
        name: str = "box",
        pauses_in: float | None = 120.0,
        notes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Make a sandbox that runs; `notes` are annotations of ours."""
        raw = kruise_object()
        raw["metadata"] |= {"name": name, "uid": f"uid-{name}"}
        _annotate(raw, notes)
        rule = {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}}
        raw["spec"] = {"autoPausePolicy": rule}
        if pauses_in is not None:
            raw["spec"]["pauseTime"] = format_time(now() + pauses_in)
        self.put(raw)

    def put(self, raw: RawObject) -> Route:
        """Write an object; all hear of it."""
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        self.objects[raw["metadata"]["uid"]] = raw
        route = DIALECT.route(raw)
        for replica in self.replicas:
            replica.registry.apply(route)
        if route.idle.pause_at is not None:
            loop = asyncio.get_running_loop()
            loop.call_at(route.idle.pause_at - EPOCH, self._pause_by_clock, route.uid)
        return route

    def change(
        self, name: str = "box", notes: Mapping[str, str] = MappingProxyType({}), **spec: Any
    ) -> None:
        """Write a part of an object, as somebody else would."""
        raw = deepcopy(self.objects[f"uid-{name}"])
        raw["spec"] |= spec
        _annotate(raw, notes)
        self.put(raw)

    def delete(self, name: str = "box") -> None:
        self.version += 1
        raw = self.objects.pop(f"uid-{name}")
        for replica in self.replicas:
            replica.registry.remove(DIALECT.route(raw).key, f"uid-{name}", self.version)

    def pauses_in(self, name: str = "box") -> float:
        """Return in how many seconds a sandbox is paused."""
        at = DIALECT.route(self.objects[f"uid-{name}"]).idle.pause_at
        assert at is not None
        return at - now()

    def pauses_at(self, name: str = "box") -> float:
        """Return when a sandbox is paused, by the loop's clock."""
        return asyncio.get_running_loop().time() + self.pauses_in(name)

    def _pause_by_clock(self, uid: str) -> None:
        raw = None if self.stuck else self.objects.get(uid)
        at = DIALECT.route(raw).idle.pause_at if raw is not None else None
        if raw is not None and at is not None and at <= now():
            self.paused[raw["metadata"]["name"]] = asyncio.get_running_loop().time()
            self.change(raw["metadata"]["name"], paused=True)

    # ---- the API ------------------------------------------------------------------------------

    async def postpone(self, key: Key, uid: str, used_at: float) -> Route:
        self.calls += 1
        self.writing += 1
        self.most_writing = max(self.most_writing, self.writing)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.writing -= 1
        if self.trouble is not None:
            raise self.trouble
        raw = self.objects.get(uid)
        if raw is None:
            raise ObjectGone(str(key))
        patch = DIALECT.postpone_patch(raw, used_at)
        if patch is None:
            return DIALECT.route(raw)
        self.writes.append((key.name, asyncio.get_running_loop().time()))
        changed = deepcopy(raw)
        changed["spec"] |= patch["spec"]
        return self.put(changed)

    def goes_down(self) -> None:
        self.trouble = ApiUnavailable("down")


@dataclass
class Replica:
    """A gateway: what it knows, who uses what through it, and whether it leads."""

    registry: Registry
    activity: Activity
    instruments: Instruments
    postponer: Postponer
    leads: list[bool]

    def count(self, metric: str, *labels: str) -> int:
        found = {one.name: one for one in self.instruments.collect()}
        samples = found[f"sandbox_gateway_{metric}"].samples
        return int(sum(one.value for one in samples if [*one.labels.values()] == [*labels]))

    async def use(self, seconds: float, name: str = "box") -> None:
        """Use a sandbox for so long."""
        loop = asyncio.get_running_loop()
        usage = self.activity.enter(f"uid-{name}", loop.time())
        await asyncio.sleep(seconds)
        usage.leave(loop.time())

    async def keep_using(self, seconds: float, every: float, name: str = "box") -> None:
        """Send quick requests for so long, one after the other."""
        ends = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < ends:
            await self.use(0.005, name)
            await asyncio.sleep(every - 0.005)


@asynccontextmanager
async def replica(
    platform: Platform, *, leads: bool = True, cooldown: float = 1.0, concurrency: int = 16
) -> AsyncIterator[Replica]:
    """Run a replica; it has listed what is there."""
    loop = asyncio.get_running_loop()
    registry, activity, instruments = Registry(), Activity(), Instruments()
    leading = [leads]
    registry.subscribe(lambda before, after: activity.heed(before, after, loop.time(), now()))
    for raw in platform.objects.values():
        registry.apply(DIALECT.route(raw))
    postponer = Postponer(
        PostponerConfig(cooldown, concurrency),
        registry,
        activity,
        platform,
        lambda: leading[0],
        instruments,
        clock=loop.time,
        wall_clock=now,
    )
    made = Replica(registry, activity, instruments, postponer, leading)
    platform.replicas.append(made)
    running = loop.create_task(postponer.run())
    try:
        yield made
    finally:
        platform.replicas.remove(made)
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
