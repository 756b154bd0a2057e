"""Replicas that put one sandbox to sleep over a network that may do anything, in virtual time.

Each runs the code that asks, answers and waits; the API, the network between all of them and what
serves requests are made here. What must never be is noted in `violations`, the moment it happens.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from msgspec.structs import replace

from gateway.cluster.pods import Pod
from gateway.replicas import wire
from gateway.replicas.gate import Gate
from gateway.replicas.peers import Peers
from gateway.replicas.sleep import FENCE, WRITING, time_left
from gateway.sandbox.activity import Activity
from gateway.sandbox.errors import ApiUnavailable, ClusterError, Conflict
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments
from tests.sandbox.routes import KEY, make_route
from tests.wake.virtual import VirtualLoop

UID, NEEDED, EPOCH = "uid-1", 15.0, 1_795_342_830.0

ResultT = TypeVar("ResultT")


@dataclass
class Network:
    """How messages fare: one of these delays each, in seconds; `lossy`: some do not arrive."""

    delays: Sequence[float] = (0.01,)
    lossy: bool = False


@dataclass
class Rules:
    """What the protocol does; each may be left out, to see that a test notices."""

    claims: bool = True
    judged_after_reading: bool = True
    new_ones_wait: bool = True
    gates: bool = True
    settled: bool = True


class World:
    """The API with its one sandbox, all replicas, and what is under way between them."""

    def __init__(self, seed: int, rules: Rules | None = None) -> None:
        self.loop = VirtualLoop()
        self.random = Random(seed)
        self.rules = rules or Rules()
        self.between = Network()
        self.api_down = False
        self.route = make_route()
        self.replicas: list[Replica] = []
        self.pods: dict[str, Pod] = {}
        self.violations: list[str] = []
        self.served = 0
        self.standbys = 0
        self._names = itertools.count()

    @property
    def living(self) -> list["Replica"]:
        return [one for one in self.replicas if one.alive]

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def close(self) -> None:
        for one in self.replicas:
            one.die()
        self.pass_time(0.0)
        self.loop.close()

    def start(self, *, fresh: bool = True, rate: float = 1.0) -> "Replica":
        """Add a replica; one that is not `fresh` has waited and listed already."""
        replica = Replica(self, f"gateway-{next(self._names)}", rate)
        self.replicas.append(replica)
        self.pods[replica.name] = Pod(replica.name, replica.name)
        replica.run(replica.begin(FENCE * 0.99 if fresh and self.rules.new_ones_wait else 0.0))
        self.pass_time(0.0)
        return replica

    def crash(self, replica: "Replica", lingers: float) -> None:
        """End a replica; its pod is there for a while still."""
        replica.die()
        self.loop.call_later(lingers, self.pods.pop, replica.name, None)

    def delay(self, network: Network) -> float:
        return self.random.choice(network.delays)

    def is_lost(self, network: Network) -> bool:
        return network.lossy and self.random.random() < 0.3

    # ---- the API --------------------------------------------------------------------------

    def write(self, over: int, **changes: Any) -> Route:
        """Change the object if that is its version; watches tell of it."""
        if over != self.route.version:
            raise Conflict("another version")
        self.route = replace(self.route, version=over + 1, **changes)
        for one in self.living:
            if not one.cut_off:
                self.loop.call_later(self.delay(one.to_api), one.hear, self.route)
        return self.route

    def land(
        self, over: int, sent: float, began: float, tell: Callable[[int | None], None]
    ) -> None:
        """A standby comes to the API; `tell` its version, None: another was there before."""
        held = self.loop.time() - sent > WRITING
        if held and any(one.born > began for one in self.replicas):
            return  # that it was worked on in time is what new replicas rely on
        try:
            route = self.write(over, state=State.PAUSED, address=None)
        except Conflict:
            tell(None)
            return
        self.standbys += 1
        if any(one.inflight for one in self.living):
            self.violations.append("it is put to sleep while it is used")
        tell(route.version)


class Replica:
    """One process: it serves requests, and may ask for a standby."""

    def __init__(self, world: World, name: str, rate: float) -> None:
        self.world, self.name = world, name
        self.born = world.loop.time()
        self.alive, self.listed, self.cut_off = True, False, False
        self.inflight = 0
        self.to_api = Network()
        self.activity, self.registry = Activity(), Registry()
        offset = world.random.choice((0.0, -5000.0, 86_400.0))
        self.clock: Callable[[], float] = lambda: offset + rate * world.loop.time()
        self.gate = Gate(self.activity, self.registry, self.claim, self.clock)
        self.registry.subscribe(
            lambda before, after: self.activity.heed(before, after, self.clock(), EPOCH)
        )
        self.registry.subscribe(self.gate.heed)
        self.peers = Peers(name, self.gate, self, Lines(self), Instruments(), clock=self.clock)
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.world.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.violations.append(f"{type(error).__name__}: {error}")

    def die(self) -> None:
        self.alive, self.inflight = False, 0
        for task in tuple(self._tasks):
            task.cancel()

    async def begin(self, wait: float) -> None:
        await asyncio.sleep(wait)
        while True:
            try:
                route = await self.ask_api(lambda: self.world.route)
            except ApiUnavailable:
                await asyncio.sleep(1.0)
                continue
            self.hear(route)
            self.listed = True
            return

    def hear(self, route: Route) -> None:
        if self.alive:
            self.registry.apply(route)

    def heal(self) -> None:
        self.cut_off = False
        self.hear(self.world.route)

    # ---- towards the API ------------------------------------------------------------------

    async def ask_api(self, act: Callable[[], ResultT]) -> ResultT:
        world = self.world
        await asyncio.sleep(world.delay(self.to_api))
        if world.api_down or self.cut_off or world.is_lost(self.to_api):
            raise ApiUnavailable("no answer")
        result = act()
        await asyncio.sleep(world.delay(self.to_api))
        if world.is_lost(self.to_api):
            raise ApiUnavailable("the answer is lost")
        return result

    async def living(self) -> Sequence[Pod]:
        return await self.ask_api(lambda: tuple(self.world.pods.values()))

    async def claim(self, key: Key, uid: str) -> Route:
        route = await self.ask_api(lambda: self.world.route)
        if route.state is State.RUNNING and self.world.rules.claims:
            route = await self.ask_api(lambda: self.world.write(route.version))
        self.hear(route)
        return route

    async def wake(self) -> None:
        route = await self.ask_api(lambda: self.world.route)
        if route.state is State.PAUSED:
            changes = {"state": State.RUNNING, "address": "10.0.0.7"}
            route = await self.ask_api(lambda: self.world.write(route.version, **changes))
        self.hear(route)

    # ---- what it does ---------------------------------------------------------------------

    async def serve(self, lasts: float) -> None:
        """Serve a request, as the proxy does."""
        if not self.listed:
            return  # it is not ready
        usage = self.activity.enter(UID, self.clock())
        try:
            while True:
                if self.world.rules.gates:
                    await self.gate.wait(KEY, UID)
                route = self.registry.get(KEY)
                assert route is not None
                if route.state is State.RUNNING:
                    break
                try:
                    await self.wake()
                except ClusterError:
                    await asyncio.sleep(0.5)
            if self.world.route.state is not State.RUNNING:
                self.world.violations.append("a request is sent to what sleeps")
            self.inflight += 1
            await asyncio.sleep(lasts)
            self.inflight -= 1
            self.world.served += 1
        finally:
            usage.leave(self.clock())

    async def put_to_sleep(self) -> None:
        """Do what a leader does; that there is one leader only is not relied on."""
        route = self.registry.get(KEY)
        if route is None or route.state is not State.RUNNING:
            return
        question, began, asked = f"q-{next(_QUESTIONS)}", self.clock(), self.world.loop.time()
        verdicts = await self.peers.ask(question, [wire.Item(KEY, UID, NEEDED)])
        version, known = None, True
        if verdicts[UID].granted:
            version, known = await self._write(began, asked)
        if self.world.rules.settled:
            await self.peers.settle(question, [wire.Outcome(KEY, UID, version, known)])

    async def _write(self, began: float, asked: float) -> tuple[int | None, bool]:
        try:
            route = await self.ask_api(lambda: self.world.route)
        except ApiUnavailable:
            return None, True
        self.hear(route)
        left = time_left(began, self.clock())
        if not self.world.rules.judged_after_reading:
            left = max(left, WRITING)
        if route.state is not State.RUNNING or left <= 0:
            return None, True
        landed: asyncio.Future[int | None] = self.world.loop.create_future()
        self._send(route.version, asked, lambda version: self._bring(landed, version))
        try:
            async with asyncio.timeout(left):
                return await landed, True
        except TimeoutError:
            return None, False

    def _send(self, over: int, asked: float, tell: Callable[[int | None], None]) -> None:
        world = self.world
        if not (world.api_down or self.cut_off or world.is_lost(self.to_api)):
            now = world.loop.time()
            world.loop.call_later(world.delay(self.to_api), world.land, over, now, asked, tell)

    def _bring(self, landed: "asyncio.Future[int | None]", version: int | None) -> None:
        if not landed.done() and not self.world.is_lost(self.to_api):
            landed.set_result(version)


_QUESTIONS = itertools.count()


@dataclass
class Lines:
    """Calls between replicas, as `Calls` makes them, but over the world's network."""

    replica: Replica
    silent: dict[str, str] = field(default_factory=dict)

    def keep(self, replicas: Collection[str]) -> None:
        """Nothing is remembered."""

    async def call(
        self, pod: Pod, path: str, message: wire.Message, kind: type[wire.ReplyT], within: float
    ) -> wire.ReplyT | None:
        world = self.replica.world
        answer = world.loop.create_future()
        for _ in range(2 if world.between.lossy and world.random.random() < 0.2 else 1):
            if not world.is_lost(world.between):
                delay = world.delay(world.between)
                world.loop.call_later(delay, self._arrive, pod, path, wire.encode(message), answer)
        try:
            async with asyncio.timeout(within):
                return wire.decode(await answer, kind)
        except TimeoutError:
            return None

    def _arrive(self, pod: Pod, path: str, data: bytes, answer: "asyncio.Future[bytes]") -> None:
        world = self.replica.world
        target = next(one for one in world.replicas if one.name == pod.name)
        if not target.alive:
            return
        said = wire.encode(_answer(target, path, data))
        if not world.is_lost(world.between):
            world.loop.call_later(world.delay(world.between), _bring, answer, said)


def _bring(answer: "asyncio.Future[bytes]", said: bytes) -> None:
    if not answer.done():
        answer.set_result(said)


def _answer(target: Replica, path: str, data: bytes) -> wire.Reply:
    """Answer as the admin API does."""
    if path == wire.ASK_PATH:
        asked = wire.decode(data, wire.Question)
        answers = {
            one.uid: target.gate.ask(asked.question, one.uid, one.needed) for one in asked.items
        }
        return wire.answers_of(target.name, answers)
    told = wire.decode(data, wire.Settlement)
    for one in told.outcomes:
        target.gate.settle(told.question, one.key, one.uid, one.version, one.known)
    return wire.Heard(protocol=wire.PROTOCOL, replica=target.name)
