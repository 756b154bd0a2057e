"""What agents work with, scripted: pods on a node, an API that resizes them, guests, and a diary.

Who permits, and what is known of pods and nodes, is real.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from gateway.cluster.answers import EventType
from gateway.cluster.machines import Machines
from gateway.resize.amounts import Resources
from gateway.resize.informant_client import LinkFailed
from gateway.resize.link_state import EndReason, LinkEnd, Running
from gateway.resize.messages import DownscaleResult
from gateway.resize.metrics import ResizeCounters
from gateway.resize.permits import Permits
from gateway.resize.scrape import Scraped
from gateway.resize.tools import Tools
from gateway.sandbox.errors import AccessDenied, InvalidWrite
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry
from gateway.sandbox.scaling import Scaling, Size
from gateway.telemetry.instruments import Instruments
from tests.cluster.machine_objects import amounts, container, node_object, pod_object, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.pod_facts import PodFacts
    from gateway.resize.link_state import LinkEvent
    from gateway.resize.messages import AgentRequest, PluginResponse

GI: Final = 2**30
SCALING: Final = Scaling(low=Size(250, GI), high=Size(4000, 16 * GI), slot=GI)
#: Seconds in which everything that is to happen at once has happened.
SOON: Final = 0.5


def size(cpu: int, gib: int) -> Size:
    """Return a size, of memory in GiB."""
    return Size(cpu, gib * GI)


def written(some: Size) -> str:
    """Return a size as tests write it."""
    return f"{some.cpu}m/{some.memory // GI}Gi"


class NotedPermits(Permits):
    """The real ones; the diary has what is asked, and what is granted if that is less."""

    def __init__(self, machines: Machines, diary: list[str]) -> None:
        super().__init__(machines, Resources(250, 1))
        self._diary = diary
        self.broken = False

    def handle(self, request: AgentRequest | bytes) -> PluginResponse:
        assert not isinstance(request, bytes)
        if self.broken:
            raise ValueError("no answer that is one")
        answer = super().handle(request)
        asked, granted = (size(one.vcpus, one.mem) for one in (request.resources, answer.permit))
        partly = "" if granted == asked else f" of which {written(granted)}"
        self._diary.append(f"permit {written(asked)}{partly}")
        return answer

    @property
    def held(self) -> int:
        """How many pods are cared for."""
        return len(self._held)

    @property
    def frozen(self) -> int:
        """How many of them are between two states."""
        return sum(held.frozen for held in self._held.values())


class Guest:
    """The guest at one address: its informant agrees to all, unless told otherwise.

    `end`: what each conversation comes to at once. `faults`: what calls raise, by name. `takes`:
    seconds of each call but for metrics; `leaving`: seconds of the last one.
    """

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary
        self.listens = True
        self.agrees = True
        self.end: LinkEnd | None = None
        self.faults: dict[str, Exception] = {}
        self.takes = self.leaving = 0.01
        self.load, self.memory = 0.9, GI
        self.links: list[GuestLink] = []

    @property
    def link(self) -> GuestLink:
        """The conversation that there is."""
        (found,) = self.links
        return found


class GuestLink:
    """One conversation with it."""

    def __init__(self, guest: Guest, hear: Callable[[LinkEvent], None]) -> None:
        self.guest, self.hear = guest, hear
        self._over: asyncio.Future[LinkEnd] = asyncio.get_running_loop().create_future()

    async def run(self) -> LinkEnd:
        self.guest.links.append(self)
        self.guest.diary.append("register")
        try:
            await asyncio.sleep(self.guest.takes)
            if self.guest.end is not None:
                return self.guest.end
            if self.guest.listens:
                self.hear(Running())
            return await self._over
        finally:
            try:
                await asyncio.sleep(self.guest.leaving)
                self.guest.diary.append("unregister")
            finally:
                self.guest.links.remove(self)

    @property
    def is_over(self) -> bool:
        """Whether the informant has ended it."""
        return self._over.done()

    def forget(self) -> None:
        """The informant has restarted."""
        self._over.set_result(LinkEnd(EndReason.FORGOTTEN, "it does not know the agent"))

    async def upscale(self, size: Size) -> None:
        await self._call("upscale", size)

    async def downscale(self, size: Size) -> DownscaleResult:
        await self._call("downscale", size)
        return DownscaleResult(ok=self.guest.agrees, status="")

    async def metrics(self) -> Scraped:
        await asyncio.sleep(0.01)
        if (fault := self.guest.faults.get("metrics")) is not None:
            raise fault
        load, memory = self.guest.load, self.guest.memory
        return Scraped(load, load, 64 * GI, 64 * GI - memory)

    async def _call(self, name: str, size: Size) -> None:
        self.guest.diary.append(f"{name} {written(size)}")
        await asyncio.sleep(self.guest.takes)
        if (fault := self.guest.faults.get(name)) is not None:
            raise fault


NO_ANSWER: Final = LinkFailed("no answer")


class World:
    """One node, its pods and sandboxes, and what agents do to them.

    The kubelet does what it is asked after `kubelet` seconds; None: never. `verdict`: what it says
    instead. `fault`: what the API raises instead of a resize; `takes`: seconds of one, `answers`:
    seconds from that until its answer is there. `quota`: more it does not take; `only_grows`: less
    memory it does not take. `is_stale`: nothing is heard of nodes and pods any more.
    """

    def __init__(self, cpu: str = "16", memory: str = "64Gi") -> None:
        self.diary: list[str] = []
        self.notes: list[tuple[str, str]] = []
        self.is_stale = False
        self.machines, self.registry = Machines(lambda: self.is_stale), Registry()
        self.instruments = Instruments()
        self.permits = NotedPermits(self.machines, self.diary)
        self.guests: dict[str, Guest] = {}
        self.kubelet: float | None = 0.1
        self.verdict: str | None = None
        self.fault: Exception | None = None
        self.takes = 0.01
        self.answers = 0.0
        self.quota: Size | None = None
        self.only_grows = False
        self._raw: dict[str, dict[str, Any]] = {}
        self._version = 100
        self._room = amounts(cpu, memory)
        self.node()
        self.tools = Tools(
            permits=self.permits,
            surgeon=self,
            journal=self,
            link=self._link,
            counters=ResizeCounters(self.instruments),
            clock=asyncio.get_running_loop().time,
            interval=5.0,
        )

    def since(self, mark: int) -> list[str]:
        """Return what was done since the diary was so long."""
        return self.diary[mark:]

    def count(self, metric: str, *labels: str) -> float:
        """Return a counter."""
        for family in self.instruments.collect():
            for sample in family.samples:
                if (sample.name, tuple(sample.labels.values())) == (
                    f"sandbox_gateway_{metric}",
                    labels,
                ):
                    return float(sample.value)
        raise KeyError(metric)

    # ---- the node and its pods ------------------------------------------------------------------

    def node(self, name: str = "node-1", **spec: Any) -> None:
        """Have a node be so."""
        raw = node_object(name, **spec) | {"status": {"allocatable": self._room}}
        self.machines.nodes_sink.event(EventType.MODIFIED, raw)

    def pod(
        self,
        name: str = "box",
        cpu: str = "1",
        memory: str = "4Gi",
        *,
        uid: str = "",
        address: str = "10.0.0.7",
        owner: str | None = None,
        node: str = "node-1",
    ) -> PodFacts:
        """Have a pod of a sandbox of this name begin, and a guest in it."""
        requests = {"requests": amounts(cpu, memory)}
        raw = pod_object(
            name=name,
            uid=uid or f"pod-{name}",
            node=node,
            address=address,
            metadata={"ownerReferences": [{"uid": owner or f"uid-{name}"}]},
            spec={"containers": [container(resources=requests)]},
            status={"containerStatuses": [told(cpu=cpu, memory=memory)]},
        )
        self.guests.setdefault(address, Guest(self.diary))
        return self._changed(raw)

    def change_pod(self, uid: str = "pod-box", **parts: Any) -> PodFacts:
        """Have fields of a pod's metadata, spec or status be so."""
        raw = self._raw[uid]
        return self._changed(raw | {part: raw[part] | new for part, new in parts.items()})

    def delete_pod(self, uid: str = "pod-box") -> None:
        """Have a pod be gone."""
        self.machines.pods_sink.event(EventType.DELETED, self._raw.pop(uid))

    def has(self, uid: str = "pod-box") -> str:
        """Return what a pod has in fact."""
        actual = self._facts(uid).actual
        assert actual is not None
        return written(actual)

    def _facts(self, uid: str) -> PodFacts:
        found = self.machines.pod(uid)
        assert found is not None
        return found

    def _changed(self, raw: dict[str, Any]) -> PodFacts:
        self._version += 1
        metadata = raw["metadata"] | {"resourceVersion": str(self._version)}
        raw = self._raw[metadata["uid"]] = raw | {"metadata": metadata}
        self.machines.pods_sink.event(EventType.MODIFIED, raw)
        return self._facts(metadata["uid"])

    # ---- sandboxes ------------------------------------------------------------------------------

    def sandbox(self, name: str = "box", **changes: Any) -> Route:
        """Have a sandbox be so; unless told otherwise it runs in its pod."""
        key = Key("native", "team-a", name)
        known = self.registry.get(key)
        route = known or Route(
            key=key,
            uid=f"uid-{name}",
            id=f"team-a--{name}",
            version=1,
            state=State.RUNNING,
            incarnation=f"uid-{name}/pod-{name}",
            address="10.0.0.7",
            scaling=SCALING,
        )
        self._version += 1
        route = replace(route, version=self._version, **changes)
        self.registry.apply(route)
        return route

    def pause(self, name: str = "box") -> None:
        """Have a sandbox sleep."""
        self.sandbox(name, state=State.PAUSED, address=None)

    def delete_sandbox(self, name: str = "box") -> None:
        """Have a sandbox be gone."""
        self._version += 1
        self.registry.remove(Key("native", "team-a", name), f"uid-{name}", self._version)

    # ---- what agents work with ------------------------------------------------------------------

    async def resize(self, pod: PodFacts, target: Size) -> PodFacts:
        """Ask for another size, as the API does."""
        self.diary.append(f"resize {written(target)}")
        await asyncio.sleep(self.takes)
        if self.fault is not None:
            raise self.fault
        self._judge(pod, target)
        wanted = amounts(f"{target.cpu}m", str(target.memory))
        spec = {"containers": [container(resources={"requests": wanted})]}
        changed = self.change_pod(pod.uid, spec=spec, status=self._verdict())
        if self.verdict is None and self.kubelet is not None:
            status = {"containerStatuses": [told(cpu=wanted["cpu"], memory=wanted["memory"])]}
            loop = asyncio.get_running_loop()
            loop.call_later(self.kubelet, self._settle, pod.uid, status)
        await asyncio.sleep(self.answers)
        return changed

    def _judge(self, pod: PodFacts, target: Size) -> None:
        quota, has = self.quota, pod.desired
        if quota is not None and (target.cpu > quota.cpu or target.memory > quota.memory):
            raise AccessDenied("a quota")
        if self.only_grows and has is not None and target.memory < has.memory:
            raise InvalidWrite("memory limits cannot be decreased")

    def _verdict(self) -> dict[str, Any]:
        pending = {"type": "PodResizePending", "status": "True", "reason": self.verdict}
        return {"conditions": [] if self.verdict is None else [pending]}

    def _settle(self, uid: str, status: dict[str, Any]) -> None:
        if uid in self._raw:
            self.change_pod(uid, status=status)

    def note(self, route: Route, reason: str, message: str, *, warning: bool = False) -> None:
        """Put down what a user is told."""
        assert warning == (reason != "Resized")
        self.notes.append((reason, message))

    def _link(self, pod: PodFacts, hear: Callable[[LinkEvent], None]) -> GuestLink:
        return GuestLink(self.guests[pod.addresses[0]], hear)
