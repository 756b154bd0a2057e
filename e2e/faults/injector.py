"""Does to a scene what a plan says, and notes what was done to whom and when."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from e2e.waiting import soon

from .ledger import Outcome
from .plan import Fault, Lane, Step, steps
from .timeline import Cause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from e2e.gateways import Gateway

    from .ledger import Record
    from .platform import Box
    from .scene import Scene
    from .soak_sizes import SoakSizes

#: Gateways' answers that are about the API rather than about a sandbox's pod.
_OF_API: Final = frozenset({"wake_failed", "wake_timeout", "wake_overloaded", "not_ready"})

#: The longest that gateways may take to watch again after a fault of the API, in seconds.
_COMES_BACK: Final = 60.0

#: More than the faults that begin while one lasts.
_OPEN: Final = 100

#: Attributes of the way to the API: while the fault lasts, and at other times.
_SWITCHES: Final[Mapping[Fault, tuple[str, object, object]]] = {
    Fault.API_DOWN: ("down", True, False),
    Fault.API_SLOW: ("delay", 2.0, 0.0),
    Fault.API_REFUSES: ("refuse", {429: 0.3, 500: 0.3, 503: 0.3}, {}),
    Fault.API_UNAUTHORIZED: ("refuse", {401: 1.0}, {}),
    Fault.API_FORBIDDEN: ("refuse", {403: 1.0}, {}),
    Fault.CONFLICTS: ("conflicts", 0.5, 0.0),
    Fault.LOST_ANSWERS: ("lost_answers", 0.5, 0.0),
    Fault.WATCHES_STALLED: ("stalled", True, False),
    Fault.WATCHES_EXPIRED: ("expired", True, False),
}


@dataclass(slots=True)
class Injection:
    """One fault that was injected. `subjects`: the sandboxes or gateways concerned."""

    fault: Fault
    lane: Lane
    begin: float
    subjects: frozenset[str]
    end: float = math.inf

    def touches(self, record: Record, grace: float) -> bool:
        """Return whether a request that was not answered right may have met this fault."""
        if record.ended < self.begin or record.sent > self.end + grace:
            return False
        if self.lane is Lane.API:
            return record.reason in _OF_API
        if self.lane is Lane.GATEWAY and record.outcome is Outcome.REFUSED:
            return record.reason == "not_ready" and str(record.gateway) in self.subjects
        return not self.subjects.isdisjoint({record.sandbox, str(record.gateway)})


#: Faults of the API for which a wake may fail; through all others it must come.
_REFUSALS: Final = frozenset(
    {Fault.API_DOWN, Fault.API_REFUSES, Fault.API_UNAUTHORIZED, Fault.API_FORBIDDEN}
)


@dataclass(slots=True)
class Injector:
    """Runs the lanes of a plan. `steady`: the first so many sandboxes are left alone."""

    scene: Scene
    sizes: SoakSizes
    seed: int
    steady: int
    done: list[Injection] = field(default_factory=list)
    #: An address must not change hands while gateways cannot hear of it: nothing could tell them.
    _hearing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[Injection]]:
        """Inject faults for the body's time; each that was begun is ended."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for lane in Lane:
                group.create_task(self._run(lane, stopping))
            try:
                yield self.done
            finally:
                stopping.set()

    async def _run(self, lane: Lane, stopping: asyncio.Event) -> None:
        for step in steps(self.seed, lane):
            try:
                await asyncio.wait_for(stopping.wait(), step.quiet)
            except TimeoutError:
                await self._inject(step)
            else:
                return

    async def _inject(self, step: Step) -> None:
        match step.lane:
            case Lane.API:
                await self._on_the_way(step)
            case Lane.GATEWAY:
                await self._to_a_gateway(step)
            case Lane.SANDBOX | Lane.SLEEP:
                await self._to_sandboxes(step)
            case Lane.INFORMANT:
                async with self._noted(step):
                    await self.sizes.befall(step)

    @asynccontextmanager
    async def _noted(self, step: Step, *subjects: str) -> AsyncIterator[None]:
        noted = Injection(step.fault, step.lane, time.monotonic(), frozenset(subjects))
        self.done.append(noted)
        try:
            yield
        finally:
            noted.end = time.monotonic()

    # ---- the lanes

    async def _on_the_way(self, step: Step) -> None:
        way, timeline = self.scene.way, self.scene.platform.timeline
        async with self._hearing, self._noted(step):
            spans = [timeline.begin(Cause.API_FAULT)]
            if step.fault in _REFUSALS:
                spans.append(timeline.begin(Cause.API_REFUSES))
            if step.fault is Fault.WATCHES_CUT:
                await asyncio.to_thread(way.cut)
            else:
                name, during, after = _SWITCHES[step.fault]
                await asyncio.to_thread(setattr, way, name, during)
                await asyncio.sleep(step.lasts)
                await asyncio.to_thread(setattr, way, name, after)
            # Gateways feel a fault until they have come back from it, which must be soon.
            await soon(self._all_watch, "all gateways watch again", _COMES_BACK)
            for span in spans:
                span.close()

    async def _all_watch(self) -> bool:
        found = [
            asyncio.to_thread(_watches, one.gateway)
            for one in self.scene.fleet.members
            if one.ready
        ]
        return all(await asyncio.gather(*found))

    async def _to_a_gateway(self, step: Step) -> None:
        """The oldest gateway is left alone: its memory is watched."""
        fleet = self.scene.fleet
        member = fleet.members[1 + step.whom[0] % (len(fleet.members) - 1)]
        async with self._noted(step, member.subject):
            if step.fault is Fault.GATEWAY_RESTARTED:
                await fleet.restart(member)
            else:
                await fleet.kill(member)
                await fleet.add()

    async def _to_sandboxes(self, step: Step) -> None:
        platform = self.scene.platform
        found = self._running(step.whom[0], 1)
        if not found:
            return
        (box,) = found
        async with self._noted(step, f"{platform.namespace}/{box.name}"):
            match step.fault:
                case Fault.PAUSED:
                    await platform.pause(box.name)
                case Fault.POD_KILLED:
                    await platform.kill_pod(box.name)
                case Fault.NODE_LOST:
                    box.notice_delay = step.lasts
                    await platform.lose_node(box.name)
                case Fault.PORT_CLOSED:
                    async with platform.closed_port(box.name):
                        await asyncio.sleep(step.lasts)
                case Fault.ACCEPTS_NOTHING:
                    async with platform.accepting_nothing(box.name):
                        await asyncio.sleep(step.lasts)
                case Fault.ADDRESS_GIVEN_AWAY:
                    await self._give_away(box, step)

    async def _give_away(self, box: Box, step: Step) -> None:
        async with self._hearing:
            heirs = [one for one in self._running(step.whom[1], 2) if one is not box]
            if box.running and heirs:
                await self.scene.give_away(box.name, heirs[0].name)

    def in_trouble(self) -> list[str]:
        """Return the names of the sandboxes that are not as they should be just now."""
        last = self.done[-_OPEN:]
        open_now = {name for one in last if one.end == math.inf for name in one.subjects}
        platform = self.scene.platform
        return [
            box.name
            for box in self._shaken()
            if box.down or f"{platform.namespace}/{box.name}" in open_now
        ]

    def _shaken(self) -> list[Box]:
        """Return the sandboxes that are not left alone."""
        boxes = self.scene.platform.boxes
        return [boxes[name] for name in sorted(boxes)[self.steady :]]

    def _running(self, number: int, count: int) -> list[Box]:
        """Return sandboxes that run and want to, the numbered one or those after it."""
        boxes = self._shaken()
        first = number % len(boxes)
        order = boxes[first:] + boxes[:first]
        return [box for box in order if box.running and not box.wants_pause and not box.down][
            :count
        ]


def _watches(gateway: Gateway) -> bool:
    """Return whether a gateway hears of changes; one that has just ended misses nothing."""
    try:
        return all(value for _, value in gateway.metrics("watch_healthy"))
    except OSError:
        return True
