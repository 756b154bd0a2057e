"""Three gateways, users who come and go, and what must hold: `python -m e2e.standby --help`.

- no request is lost, and none is answered by anything but its sandbox;
- no sandbox is put to sleep while it is used, or before its idle time is over;
- one that nobody uses sleeps within its idle time and some seconds;
- each transition is one write.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from e2e.clusters import fresh_name
from e2e.faults.api_proxy import Deed, FaultyApi
from e2e.faults.ledger import Ledger
from e2e.faults.platform import Platform
from e2e.faults.timeline import Cause
from e2e.waiting import soon

from .replicas import Replicas
from .users import User

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.faults.ledger import Record
    from e2e.faults.platform import Box
    from e2e.programs import Programs
    from e2e.real_api import RealApi

LEASE_DURATION: Final = 5.0
#: By how much longer than its idle time a sandbox may stay awake (s), and if leaders were replaced
#: meanwhile.
SLACK: Final = 5.0
SLACK_WITHOUT_LEADER: Final = SLACK + LEASE_DURATION
SETTINGS: Final = {
    "lease_duration": f"{LEASE_DURATION:g}s",
    "standby_min_uptime": "1s",
    "drain_delay": "2s",
}
#: What clients may feel: that a gateway was ended. That a sandbox slept is no excuse.
_OF_GATEWAYS: Final = frozenset({Cause.GATEWAY_KILLED, Cause.GATEWAY_DRAINS})
#: Seconds by which a client may hear later than a gateway that its request has ended; what this
#: process has had to wait for a core shortly before comes on top.
_HEARD_LATE: Final = 0.5
_SHORTLY: Final = 2.0
#: Seconds between two looks at how late it is.
_LOOK: Final = 0.05
#: Idle times of the policies, in seconds.
_IDLE_TIMES: Final = (2.0, 3.0, 5.0)


@dataclass(slots=True)
class Lateness:
    """How late this process does what is due: clients in it hear as late of what they are told."""

    _seen: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=1000))

    async def watch(self) -> None:
        """Look at it until cancelled."""
        while True:
            due = time.monotonic() + _LOOK
            await asyncio.sleep(_LOOK)
            now = time.monotonic()
            self._seen.append((now, now - due))

    def since(self, moment: float) -> float:
        """Return all that it was late since then, in seconds."""
        return sum(late for at, late in self._seen if at >= moment)


@dataclass(slots=True)
class Sleeps:
    """Each standby: how long after the end of the last use, and what was used then."""

    users: dict[str, User]
    lateness: Lateness = field(default_factory=Lateness)
    count: int = 0
    in_use: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    #: Seconds over the idle time, of each.
    over: list[float] = field(default_factory=list)
    _without_leader_until: float = 0.0
    _forgotten_until: float = 0.0

    def gateway_killed(self) -> None:
        """What a gateway knew of uses dies with it, if its pod is taken away at once."""
        self._forgotten_until = time.monotonic() + max(_IDLE_TIMES)

    def leader_lost(self) -> None:
        self._without_leader_until = time.monotonic() + max(_IDLE_TIMES) + SLACK_WITHOUT_LEADER

    def note(self, box: Box) -> None:
        """A sandbox is to sleep now, and its pod still lives."""
        user, now = self.users[box.name], time.monotonic()
        self.count += 1
        pod = box.pod
        if pod is not None and pod.in_flight:
            self.in_use.append(f"{box.name}: {pod.in_flight} under way")
            return
        if user.last == float("inf"):
            return  # A request is on its way to a gateway: it wakes it again.
        over = now - user.last - user.idle_timeout
        self.over.append(over)
        slack = SLACK_WITHOUT_LEADER if now < self._without_leader_until else SLACK
        if over > slack:
            self.late.append(f"{box.name}: {over:.1f} s late")
        heard_late = _HEARD_LATE + self.lateness.since(user.last - _SHORTLY)
        if over < -heard_late and now > self._forgotten_until:
            self.early.append(f"{box.name}: {-over:.2f} s early")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run; everything in `wrong` is a fault of the gateway."""

    seconds: float
    seed: int
    right: int
    cold: int
    sleeps: int
    over: Sequence[float]
    wrong: Sequence[str]

    def shown(self) -> str:
        ordered = sorted(self.over) or [0.0]
        middle, last = ordered[len(ordered) // 2], ordered[-1]
        told = (
            f"Seed {self.seed}, {self.seconds:.0f} s: {self.right} requests answered right, "
            f"{self.cold} of them after a wake; {self.sleeps} standbys, {middle:.2f} s (half) to "
            f"{last:.2f} s (all) after the idle time; {len(self.wrong)} violations"
        )
        return "\n".join([told, *self.wrong])


async def run(
    api: RealApi,
    programs: Programs,
    *,
    seconds: float,
    seed: int,
    sandboxes: int,
    replicas: int = 3,
    unrest: bool = True,
) -> Result:
    """Run it. With `unrest`, leaders are killed and gateways replaced meanwhile."""
    home = api.home / fresh_name("standby")
    home.mkdir()
    namespace = fresh_name("standby")
    token = _token(api)
    with FaultyApi.over(api.kubeconfig, home, seed) as way:
        async with (
            Platform.over(api.kubeconfig, namespace) as platform,
            Replicas.over(
                replicas, programs, home, api.kubeconfig,
                lambda name: way.kubeconfig(token, name), namespace,
                platform.timeline, SETTINGS | {"namespaces": namespace},
            ) as fleet,
        ):  # fmt: skip
            return await _Run(platform, fleet, way, seed).go(seconds, sandboxes, unrest=unrest)


def _token(api: RealApi) -> str:
    token: str = yaml.safe_load(api.kubeconfig.read_text())["users"][0]["user"]["token"]
    return token


@dataclass(slots=True)
class _Run:
    platform: Platform
    fleet: Replicas
    way: FaultyApi
    seed: int
    ledger: Ledger = field(default_factory=Ledger)

    async def go(self, seconds: float, count: int, *, unrest: bool) -> Result:
        chance = random.Random(self.seed)
        users = [await self._user(number, chance) for number in range(count)]
        sleeps = Sleeps({user.target.name: user for user in users})
        self.platform.on_sleep = sleeps.note
        ends = time.monotonic() + seconds
        watching = asyncio.create_task(sleeps.lateness.watch())
        async with asyncio.TaskGroup() as group:
            for user in users:
                group.create_task(user.live(ends))
            if unrest:
                group.create_task(self._disturb(ends, chance, sleeps))
        wrong = await self._rest(users)
        watching.cancel()
        wrong += [f"asleep while used: {one}" for one in sleeps.in_use]
        wrong += [f"asleep too late: {one}" for one in sleeps.late]
        wrong += [f"asleep too early: {one}" for one in sleeps.early]
        wrong += [f"not right: {one}" for one in self._unexcused()]
        wrong += self._judge_writes() + self._judge_logs()
        return Result(
            seconds, self.seed, self.ledger.right, self.ledger.cold, sleeps.count, sleeps.over,
            wrong,
        )  # fmt: skip

    async def _user(self, number: int, chance: random.Random) -> User:
        idle = chance.choice(_IDLE_TIMES)
        policy: dict[str, Any] = {"enabled": True, "idle_timeout": f"{idle:g}s"}
        [target] = await self.platform.create(f"box-{number:03}", standby=policy)
        return User(target, idle, self.fleet.place, self.ledger, random.Random(chance.random()))

    async def _disturb(self, ends: float, chance: random.Random, sleeps: Sleeps) -> None:
        """Kill the leader, or replace somebody in order, every now and then."""
        while True:
            pause = chance.uniform(15.0, 25.0)
            if time.monotonic() + pause + 15.0 > ends:
                return
            await asyncio.sleep(pause)
            sleeps.leader_lost()
            leader = await asyncio.to_thread(lambda: self.fleet.leader)
            if leader is not None and chance.random() < 0.5:
                await self.fleet.kill(leader)
                sleeps.gateway_killed()
                await self.fleet.add()
            else:
                await self.fleet.restart(leader or self.fleet.members[0])
            sleeps.leader_lost()

    async def _rest(self, users: Sequence[User]) -> list[str]:
        """Wait until all sleep; return who does not."""
        boxes = self.platform.boxes
        patience = max(_IDLE_TIMES) + SLACK_WITHOUT_LEADER + 15.0
        ends = time.monotonic() + patience
        await _until(lambda: all(box.phase == "Paused" for box in boxes.values()), ends)
        awake = [user.target.name for user in users if boxes[user.target.name].phase != "Paused"]
        await soon(lambda: not self.fleet.total("requests_in_flight"), "nothing is under way")
        return [f"never asleep: {name}" for name in awake]

    def _unexcused(self) -> list[Record]:
        """Return what went wrong for clients, but for what a gateway had that was ended."""
        excuses = self.platform.timeline.excuses
        return [one for one in self.ledger.odd if not excuses(one, _OF_GATEWAYS)]

    def _judge_writes(self) -> list[str]:
        """Each transition is a generation of its object; each write that went through is one."""
        transitions = sum(box.generation - 1 for box in self.platform.boxes.values())
        written = self.way.done[Deed.SPEC_PATCHED]
        return [f"{written} writes for {transitions} transitions"] * (written != transitions)

    def _judge_logs(self) -> list[str]:
        gateways = [*self.fleet.gone, *(one.gateway for one in self.fleet.members)]
        return [
            f"a traceback in the log of {one.program.name}"
            for one in gateways
            if "Traceback" in one.program.errors
        ]


async def _until(check: Any, ends: float) -> None:
    while not check() and time.monotonic() < ends:
        await asyncio.sleep(0.1)
