"""One replica that leads, with all its sandboxes and two replicas beside it, in one process.

`python -m e2e.bench.idle_loop COUNT SECONDS LIFE LOOP` prints, as JSON, what processor time passed
within so many seconds of a steady state. LIFE is `used`: every sandbox is used again before its
five minutes are over, on any of the replicas; or `cycled`: nobody uses any, so that each is put to
sleep after its five minutes, and is woken at once. LOOP is `on`, or `off` for the same without the
idle controller, so that the difference is what that costs.

There is no network: a question is a function call, a standby a change of the registry.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvloop
from msgspec.structs import replace

from gateway.replicas.gate import Gate
from gateway.replicas.peers import Verdict
from gateway.replicas.sleep import Used, Word
from gateway.sandbox.activity import Activity
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry
from gateway.sandbox.standby import IdleRules, StandbyPolicy
from gateway.standby.config import IdleConfig
from gateway.standby.controller import IdleController
from gateway.telemetry.instruments import Instruments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.replicas.peers import PeerUse
    from gateway.replicas.sleep import Answer
    from gateway.replicas.wire import Item, Outcome
    from gateway.sandbox.activity import Usage
    from gateway.sandbox.standby import StandbyCheck

TIMEOUT: Final = 300.0
#: How often each sandbox is used, in seconds; how many replicas use them.
USED_EVERY: Final = 200.0
REPLICAS: Final = 3
#: Seconds: between two strokes of the load, before the figures are taken, of one write.
STROKE: Final = 0.01
SETTLING: Final = 8.0
WRITE: Final = 0.005


class Peers:
    """Three gates, asked directly."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = gates
        self.asked = 0

    async def ask(self, question: str, items: Sequence[Item]) -> Mapping[str, Verdict]:
        """Ask each."""
        self.asked += len(items)
        return {item.uid: self._verdict(question, item) for item in items}

    def _verdict(self, question: str, item: Item) -> Verdict:
        answers = [gate.ask(question, item.uid, item.needed) for gate in self.gates]
        used = [one.seconds_ago for one in answers if isinstance(one, Used)]
        return Verdict(_all_yes(answers), min(used, default=None))

    async def settle(self, question: str, outcomes: Sequence[Outcome]) -> None:
        """Tell each."""
        for gate in self.gates:
            for one in outcomes:
                gate.settle(question, one.key, one.uid, one.version, one.known)

    async def uses(self, uid: str) -> Sequence[PeerUse]:
        """Nobody asks."""
        raise NotImplementedError(uid)


def _all_yes(answers: Sequence[Answer]) -> bool:
    return all(one is Word.UNUSED for one in answers)


class Lead:
    """The lead, until it is lost."""

    def __init__(self) -> None:
        self.acting = True
        self.lost = asyncio.Event()

    async def wait_won(self) -> None:
        """Once only."""
        if not self.acting:
            await asyncio.Event().wait()

    async def wait_lost(self) -> None:
        """Wait for `lost`."""
        await self.lost.wait()


class World:
    """All sandboxes, and what happens to them."""

    def __init__(self, count: int, life: str) -> None:
        loop = asyncio.get_running_loop()
        self.clock: Callable[[], float] = loop.time
        self.life = life
        self.registry = Registry()
        self.activities = [Activity() for _ in range(REPLICAS)]
        self.chance = random.Random(7)
        self.asleep: list[Key] = []
        self.slept = self.noted = self.next = 0
        for activity in self.activities:
            self.registry.subscribe(partial(self._heed, activity))
        self.keys = [Key("native", "team", f"box-{number}") for number in range(count)]
        for number in range(count):
            self._make(number)

    def _heed(self, activity: Activity, before: Route | None, after: Route | None) -> None:
        activity.heed(before, after, self.clock(), time.time())

    def _make(self, number: int) -> None:
        policy = StandbyPolicy(enabled=True, idle_timeout=TIMEOUT)
        route = Route(
            key=self.keys[number], uid=f"uid-{number}", id=f"team--box-{number}", version=1,
            state=State.RUNNING, incarnation="1", address="10.0.0.7", idle=IdleRules(policy=policy),
        )  # fmt: skip
        self.registry.apply(route)
        # As if all had gone on for long: each was used some time ago, on one of the replicas.
        used = self.life == "used"
        ago = (USED_EVERY if used else TIMEOUT) * (1 - number / len(self.keys))
        for activity in self.activities:
            earlier = self.chance.random() * (TIMEOUT - ago) if used else 0.0
            self._usage(activity, route.uid).last = self.clock() - ago - earlier
        self._usage(self.chance.choice(self.activities), route.uid).last = self.clock() - ago

    def _usage(self, activity: Activity, uid: str) -> Usage:
        usage = activity.of(uid)
        assert usage is not None
        return usage

    async def go_on(self, itself: bool) -> None:
        """Use sandboxes, or wake those that sleep; `itself`: put them to sleep, too."""
        began, done = self.clock(), 0
        period = USED_EVERY if self.life == "used" else TIMEOUT
        while True:
            await asyncio.sleep(STROKE)
            due = int((self.clock() - began) * len(self.keys) / period)
            for _ in range(due - done):
                if self.life == "used":
                    self._use()
                elif itself:
                    self.put_to_sleep(self._turn())
            done = due
            for key in self.asleep:
                self._change(key, State.RUNNING)
            self.asleep.clear()

    def _turn(self) -> Key:
        self.next = (self.next + 1) % len(self.keys)
        return self.keys[self.next]

    def _use(self) -> None:
        number = self.next
        self._turn()
        activity, now = self.chance.choice(self.activities), self.clock()
        activity.enter(f"uid-{number}", now).leave(now)

    def put_to_sleep(self, key: Key) -> Route:
        """Change a sandbox as the API would."""
        self.slept += 1
        self.asleep.append(key)
        return self._change(key, State.PAUSED)

    def _change(self, key: Key, state: State) -> Route:
        route = self.registry.get(key)
        assert route is not None
        changed = replace(route, version=route.version + 1, state=state)
        self.registry.apply(changed)
        return changed

    # ---- as a writer, and as guests ---------------------------------------------------------

    async def sleep(
        self, key: Key, uid: str, may: Callable[[Route], bool], within: float, why: str = ""
    ) -> Route:
        """Put a sandbox to sleep, if it may be."""
        await asyncio.sleep(WRITE)
        route = self.registry.get(key)
        assert route is not None
        assert may(route), (uid, within, why)
        return self.put_to_sleep(key)

    async def annotate(
        self,
        key: Key,
        uid: str,
        changes: Mapping[str, str | None],
        if_: Callable[[Route], bool] | None = None,
    ) -> Route:
        """Count a note."""
        del uid, changes, if_
        self.noted += 1
        route = self.registry.get(key)
        assert route is not None
        return route

    async def may_sleep(self, route: Route, check: StandbyCheck) -> bool:
        """There is no guest."""
        raise NotImplementedError(route, check)


class Lag:
    """How long the event loop was away at most."""

    def __init__(self) -> None:
        self.most = 0.0

    async def watch(self) -> None:
        """Look each millisecond."""
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.most = max(self.most, time.perf_counter() - before - 0.001)

    async def within(self, seconds: float) -> float:
        """Return the longest in the next so many seconds."""
        self.most, watching = 0.0, asyncio.create_task(self.watch())
        await asyncio.sleep(seconds)
        watching.cancel()
        return self.most


async def measured(count: int, seconds: float, life: str, with_loop: bool) -> dict[str, Any]:
    """Let all go on for a while; return what it took."""
    world, lead, lag = World(count, life), Lead(), Lag()

    async def claim(key: Key, uid: str) -> None:
        raise NotImplementedError(key, uid)

    gates = [Gate(one, world.registry, claim, world.clock) for one in world.activities]
    for gate in gates:
        world.registry.subscribe(gate.heed)
    peers = Peers(gates)
    tasks = [asyncio.create_task(world.go_on(itself=not with_loop))]
    found: dict[str, Any] = {"count": count, "seconds": seconds, "life": life, "loop": with_loop}
    if with_loop:
        controller = IdleController(
            IdleConfig(), world.registry, world.activities[0], peers, world, lead, world,
            Instruments(), clock=world.clock,
        )  # fmt: skip
        tasks.append(asyncio.create_task(controller.run()))
    found["lag_winning"] = await lag.within(SETTLING)
    asked, slept, noted = peers.asked, world.slept, world.noted
    began, processor = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    found["processor"] = time.process_time() - processor
    found["seconds"] = time.perf_counter() - began
    found |= {
        "asked": peers.asked - asked,
        "slept": world.slept - slept,
        "noted": world.noted - noted,
        "tasks": len(asyncio.all_tasks()),
    }
    lead.acting = False
    lead.lost.set()
    found["lag_losing"] = await lag.within(1.0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return found


def main(count: str, seconds: str, life: str, loop: str) -> None:
    print(json.dumps(uvloop.run(measured(int(count), float(seconds), life, loop == "on"))))


if __name__ == "__main__":
    main(*sys.argv[1:])
