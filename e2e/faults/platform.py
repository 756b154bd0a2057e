"""A light platform of native sandboxes: their objects, their controller and pods that can fail.

The controller does what it finds undone: a sandbox that wants to sleep loses its pod, one that
wants to run gets one. Whoever breaks a pod tells the timeline from when to when.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from e2e.kube_api import GoneError, Object, SandboxApi
from e2e.manifests import NATIVE
from e2e.programs import free_port
from e2e.waiting import soon

from .pods import Deliveries, Pod
from .timeline import Cause, Span, Timeline
from .traffic import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    #: Given a sandbox and an address.
    Known = Callable[[str, str], Awaitable[None]]

#: Between two attempts to watch an API that is away, in seconds.
_PAUSE: Final = 0.05


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True, eq=False)
class Box:
    """One sandbox that is looked after.

    `start_delay`: seconds until its next pod runs, if nobody hurries it. `notice_delay`: seconds
    until it is noticed that its pod is no more. `next_ip`: the address that its next pod gets, else
    a fresh one. `opens`: clear, that pod does not listen yet although it is said to be ready.
    """

    obj: Object
    start_delay: float = 0.0
    notice_delay: float = 0.0
    next_ip: str | None = None
    pod: Pod | None = None
    born_paused: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)
    opens: asyncio.Event = field(default_factory=_set)
    down: Span | None = None

    def learn(self, obj: Object) -> None:
        if int(obj["metadata"]["resourceVersion"]) > int(self.obj["metadata"]["resourceVersion"]):
            self.obj = obj
            self.changed.set()

    @property
    def name(self) -> str:
        name: str = self.obj["metadata"]["name"]
        return name

    @property
    def wants_pause(self) -> bool:
        return bool(self.obj["spec"].get("desiredState") == "Paused")

    @property
    def generation(self) -> int:
        generation: int = self.obj["metadata"]["generation"]
        return generation

    @property
    def phase(self) -> str:
        phase: str = self.obj.get("status", {}).get("phase", "")
        return phase

    @property
    def running(self) -> bool:
        """Whether it runs and its controller has said so."""
        return self.pod is not None and not self.pod.over and self.phase == "Running"

    @property
    def wakes(self) -> int:
        """How often a write has told it to run. Each generation but the first turned it over."""
        return (self.generation - (not self.born_paused)) // 2


class Platform:
    """The sandboxes of one namespace."""

    def __init__(self, api: SandboxApi, namespace: str, timeline: Timeline) -> None:
        self.api = api
        self.namespace = namespace
        self.timeline = timeline
        self.port = free_port()
        self.deliveries = Deliveries()
        self.boxes: dict[str, Box] = {}
        #: Told of each that is to sleep while its pod still lives.
        self.on_sleep: Callable[[Box], None] | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: Pods that may hold connections still.
        self._pods: set[Pod] = set()

    @classmethod
    @asynccontextmanager
    async def over(
        cls, kubeconfig: Path, namespace: str = "default", timeline: Timeline | None = None
    ) -> AsyncIterator[Platform]:
        """Look after a namespace of a real API, as its administrator."""
        async with (
            SandboxApi.connect(kubeconfig, namespace, NATIVE) as api,
            asyncio.TaskGroup() as group,
        ):
            platform = cls(api, namespace, timeline or Timeline())
            running = group.create_task(platform._run())
            try:
                yield platform
            finally:
                running.cancel()
                for task in platform._tasks.values():
                    task.cancel()
                await asyncio.gather(*platform._tasks.values(), return_exceptions=True)
                await asyncio.gather(*(pod.kill() for pod in platform._pods))

    # ---- what users do

    async def create(self, *names: str, paused: bool = False, **spec: Any) -> list[Target]:
        """Create sandboxes and return once they are what they are to be. `spec`: more of it."""
        await asyncio.gather(*(self._create(name, spec, paused=paused) for name in names))
        return [self.target(name) for name in names]

    async def pause(self, name: str) -> None:
        """Put a sandbox to sleep, as somebody else than a gateway does; return once it sleeps."""
        box = self.boxes[name]
        self._end_of_life(box, Cause.ASLEEP)
        box.learn(await self.api.patch(name, desiredState="Paused"))
        await soon(lambda: box.phase == "Paused" or not box.wants_pause, f"{name} sleeps")

    def target(self, name: str) -> Target:
        return Target(self.namespace, name, self.port)

    async def runs(self, name: str) -> Pod:
        """Return the pod of a sandbox once that runs."""
        await soon(lambda: name in self.boxes and self.boxes[name].running, f"{name} runs")
        pod = self.boxes[name].pod
        assert pod is not None
        return pod

    # ---- what fails

    async def kill_pod(self, name: str) -> Pod:
        """End the pod at once; its controller makes another one. Return what was killed."""
        box = self.boxes[name]
        pod = await self.runs(name)
        self._end_of_life(box, Cause.POD_DOWN)
        await self._end(pod)
        box.changed.set()
        return pod

    async def give_away(
        self, loser: str, heir: str, *, told: bool = True, known: Known | None = None
    ) -> str:
        """Kill one sandbox's pod and give its address to another one's next pod.

        Return the address. That the pod is gone is `told` first; else when its controller notices.
        `known`, given the loser and its former address, waits until gateways have heard of it.
        """
        former = await self.kill_pod(loser)
        box, heirs = self.boxes[loser], self.boxes[heir]
        if told:
            await soon(lambda: box.phase != "Running" or box.running, f"the end of {loser} is told")
        if known is not None:
            await known(loser, former.ip)
        heirs.next_ip = former.ip
        await self.kill_pod(heir)
        return former.ip

    async def lose_node(self, name: str) -> None:
        """Let a pod fall silent; once that is noticed it is replaced elsewhere."""
        box = self.boxes[name]
        pod = await self.runs(name)
        self._end_of_life(box, Cause.NODE_LOST)
        await pod.vanish()
        box.changed.set()

    @asynccontextmanager
    async def closed_port(self, name: str) -> AsyncIterator[None]:
        """Nobody listens there for the body's time; the pod lives and keeps its connections."""
        pod = await self.runs(name)
        span = self._spans(Cause.PORT_CLOSED, name)
        closes = self._spans(Cause.PORT_CLOSES, name)
        pod.close_port()
        closes.close()
        try:
            yield
        finally:
            if not pod.over:
                await pod.open()
            span.close()

    @asynccontextmanager
    async def accepting_nothing(self, name: str) -> AsyncIterator[None]:
        """Nobody accepts for the body's time, and the backlog is full soon."""
        pod = await self.runs(name)
        span = self._spans(Cause.ACCEPTS_NOTHING, name)
        pod.stall()
        try:
            yield
        finally:
            pod.resume()
            span.close()

    async def _end(self, pod: Pod) -> None:
        self._pods.discard(pod)
        await pod.kill()

    def _spans(self, cause: Cause, name: str) -> Span:
        return self.timeline.begin(cause, f"{self.namespace}/{name}")

    def _end_of_life(self, box: Box, cause: Cause) -> None:
        """From now until its next pod runs, a sandbox is not to be had."""
        self._spans(Cause.LIFE_ENDS, box.name).close()
        if box.down is None or box.down.cause is not cause:
            span = self._spans(cause, box.name)
            if box.down is not None:
                box.down.close()
            box.down = span

    # ---- its controller

    async def _create(self, name: str, more: Object, *, paused: bool) -> None:
        spec = {
            "desiredState": "Paused" if paused else "Running",
            "wakeOnTraffic": {"enabled": True},
        } | more
        body = {"apiVersion": NATIVE, "kind": "Sandbox", "metadata": {"name": name}, "spec": spec}
        await self.api.create(body)
        wanted = "Paused" if paused else "Running"
        await soon(
            lambda: name in self.boxes and self.boxes[name].phase == wanted, f"{name} is {wanted}"
        )

    async def _run(self) -> None:
        while True:
            with suppress(aiohttp.ClientError):
                listed, version = await self.api.list()
                for obj in listed:
                    self._take("ADDED", obj)
                async for kind, obj in self.api.watch(version):
                    self._take(kind, obj)
            await asyncio.sleep(_PAUSE)

    def _take(self, kind: str, obj: Object) -> None:
        name = obj["metadata"]["name"]
        if kind == "DELETED":
            self.boxes.pop(name, None)
            if (task := self._tasks.pop(name, None)) is not None:
                task.cancel()
        elif name in self.boxes:
            self.boxes[name].learn(obj)
        else:
            box = self.boxes[name] = Box(obj)
            box.born_paused = box.wants_pause
            self._tasks[name] = asyncio.create_task(self._look_after(box))

    async def _look_after(self, box: Box) -> None:
        with suppress(GoneError):
            while True:
                box.changed.clear()
                await self._step(box)
                await box.changed.wait()

    async def _step(self, box: Box) -> None:
        """Do the next thing; what it wrote brings the one after it."""
        lives = box.pod is not None and not box.pod.over
        if box.wants_pause and box.phase != "Paused":
            self._end_of_life(box, Cause.ASLEEP)
            if lives and box.pod is not None:
                if self.on_sleep is not None:
                    self.on_sleep(box)
                await self._report(box, "Pausing")
                await self._end(box.pod)
            await self._report(box, "Paused")
        elif not box.wants_pause and not lives:
            if box.down is None:
                self._end_of_life(box, Cause.ASLEEP)
            await self._start(box)

    async def _start(self, box: Box) -> None:
        if box.phase == "Running":
            await asyncio.sleep(box.notice_delay)
        await self._report(box, "Resuming")
        with suppress(TimeoutError):
            await asyncio.wait_for(box.hurried.wait(), box.start_delay)
        pod = Pod(
            f"{self.namespace}/{box.name}", box.next_ip or next(_FRESH), self.port, self.deliveries
        )
        box.next_ip = None
        self._pods.add(pod)
        late = not box.opens.is_set()
        if not late:
            await pod.open()
        box.pod = pod
        await self._report(box, "Running", pod)
        if late:
            await box.opens.wait()
            await pod.open()
        # A pod that has ended since then is not what brings its sandbox back.
        if box.down is not None and not box.wants_pause and not pod.over:
            box.down.close()
            box.down = None

    async def _report(self, box: Box, phase: str, pod: Pod | None = None) -> None:
        status: Object = {
            "phase": phase,
            "observedGeneration": box.generation,
            "conditions": [{"type": "Ready", "status": "False" if pod is None else "True"}],
            "podIP": pod.ip if pod is not None else None,
            "podUID": pod.uid if pod is not None else None,
        }
        box.learn(await self.api.report(box.name, box.obj["metadata"]["uid"], status))


def _addresses() -> Iterator[str]:
    return (f"127.{a}.{b}.{c}" for a, b, c in product(range(60, 250), range(250), range(1, 250)))


_FRESH: Final = _addresses()
