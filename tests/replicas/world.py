"""Machines that stand for election over a network that may do anything, in true time.

Each machine has a clock of its own, which neither shows the same time nor runs as fast as others.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random

from gateway.cluster.errors import ApiUnreachable
from gateway.cluster.lease import UNKNOWN, Lease
from gateway.replicas.election import ElectionConfig, begin, step
from gateway.replicas.messages import Answered, Ask, Event, Failed, Stop, Tick, Verb
from gateway.sandbox.errors import AccessDenied, ClusterError, Conflict, ObjectGone

Answer = Lease | ClusterError | None


class Fate(Enum):
    """What becomes of a request."""

    ANSWERED = "answered"
    LOST = "lost"
    ANSWER_LOST = "answer lost"
    DONE_TWICE = "done twice"


@dataclass(frozen=True)
class Route:
    """How requests of a machine fare: seconds to the API, seconds back, and what goes wrong.

    None: as long as it takes just then.
    """

    there: float | None = None
    back: float | None = None
    fate: Fate = Fate.ANSWERED


@dataclass(eq=False)
class Machine:
    """One process, on a machine of its own. `right_ends` is in true time."""

    identity: str
    config: ElectionConfig
    offset: float
    rate: float
    born: float = 0.0
    route: Route = Route()
    denied: bool = False
    alive: bool = True
    frozen: bool = False
    right_ends: float = float("-inf")
    backlog: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.election = begin(self.config, self.identity, self.local(self.born))

    def local(self, now: float) -> float:
        return self.offset + self.rate * now

    def true(self, local: float) -> float:
        return (local - self.offset) / self.rate

    @property
    def running(self) -> bool:
        return self.alive and not self.frozen and not self.election.ended

    def acting(self, now: float) -> bool:
        return self.running and self.election.acting(self.local(now))


@dataclass
class Api:
    """The Lease, and who may write it: whoever names its version."""

    lease: Lease | None = None
    down: bool = False
    #: Whether what writers write as the time is what stands there already.
    time_stands: bool = False
    versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def touch(self, **changes: object) -> Lease:
        assert self.lease is not None
        self.lease = replace(self.lease, version=str(next(self.versions)), **changes)  # type: ignore[arg-type]
        return self.lease

    def ask(self, ask: Ask, machine: Machine) -> Answer:
        if self.down:
            return ApiUnreachable("down")
        if machine.denied:
            return AccessDenied("denied")
        if ask.verb is Verb.READ:
            return self.lease
        if ask.over != self.lease:
            return ObjectGone("gone") if self.lease is None else Conflict("another version")
        return self._write(ask.verb, machine)

    def _write(self, verb: Verb, machine: Machine) -> Lease:
        if verb is Verb.RELEASE:
            return self.touch(holder="")
        if verb is Verb.RENEW:
            assert self.lease is not None
            assert self.lease.holder == machine.identity
            return self.lease if self.time_stands else self.touch()
        duration = round(machine.config.lease_duration)
        if verb is Verb.CREATE:
            self.lease = Lease("0")
            return self.touch(holder=UNKNOWN, duration=duration)
        return self.touch(holder=machine.identity, duration=duration)


class World:
    """All machines, those that are no more among them, and what is under way between them."""

    def __init__(self, api: Api, random: Random) -> None:
        self.now = 0.0
        self.calm = False
        self.random = random
        self.api = api
        self.machines: list[Machine] = []
        self.leaders: list[str] = []
        self._under_way: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    @property
    def acting(self) -> list[Machine]:
        return [one for one in self.machines if one.acting(self.now)]

    def add(self, machine: Machine) -> Machine:
        self.machines.append(machine)
        return machine

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that happens meanwhile, in the order of true time."""
        until = self.now + seconds
        while True:
            dues = [(one.true(one.election.due), one) for one in self.machines if one.running]
            due, machine = min(dues, key=lambda each: each[0], default=(float("inf"), None))
            arrives = self._under_way[0][0] if self._under_way else float("inf")
            if min(due, arrives) > until:
                break
            self.now = max(self.now, min(due, arrives))
            if arrives <= due:
                heapq.heappop(self._under_way)[2]()
            else:
                assert machine is not None
                self.tell(machine, Tick())
        self.now = until

    def tell(self, machine: Machine, event: Event) -> None:
        if machine.frozen:
            machine.backlog.append(event)
        if not machine.running:
            return
        before, local = machine.election, machine.local(self.now)
        if event == Tick():  # what is due is due, however the division was rounded
            local = max(local, before.due)
        machine.election, commands = step(before, event, local, self.random.random())
        for command in commands:
            if isinstance(command, Ask):
                self._send(machine, command)
        if event == Stop():
            machine.right_ends = float("-inf")
        self._check(machine)

    def freeze(self, machine: Machine) -> None:
        machine.frozen = True

    def thaw(self, machine: Machine, *, tick_first: bool) -> None:
        machine.frozen = False
        self._check(machine)
        backlog, machine.backlog = machine.backlog, []
        ticks = [Tick()] if machine.true(machine.election.due) <= self.now else []
        for event in (*ticks, *backlog) if tick_first else (*backlog, *ticks):
            self.tell(machine, event)

    def crash(self, machine: Machine) -> None:
        machine.alive = False

    def _check(self, machine: Machine) -> None:
        """Hold what is promised, in the only moments in which somebody may begin to act."""
        if not machine.acting(self.now):
            return
        others = [one for one in self.machines if one is not machine]
        assert not any(one.acting(self.now) for one in others), "two act"
        for one in others:
            over = one.right_ends + one.config.grace
            assert over <= self.now, f"{one.identity} may not be done yet with what it began"
        assert machine.election.acts_until is not None
        machine.right_ends = machine.true(machine.election.acts_until)
        if self.leaders[-1:] != [machine.identity]:
            self.leaders.append(machine.identity)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something once so much time has passed."""
        heapq.heappush(self._under_way, (self.now + seconds, next(self._order), act))

    # ---- the network ----------------------------------------------------------------------

    def _send(self, machine: Machine, ask: Ask) -> None:
        route = machine.route
        if route.fate is Fate.LOST:
            return
        for _ in range(2 if route.fate is Fate.DONE_TWICE else 1):
            self.later(self._delay(route.there), lambda: self._arrive(machine, ask, route))

    def _arrive(self, machine: Machine, ask: Ask, route: Route) -> None:
        answer = self.api.ask(ask, machine)
        if route.fate is Fate.ANSWER_LOST:
            return
        event: Event
        if isinstance(answer, ClusterError):
            event = Failed(ask.number, answer)
        else:
            event = Answered(ask.number, answer)
        self.later(self._delay(route.back), lambda: self.tell(machine, event))

    def _delay(self, seconds: float | None) -> float:
        if seconds is not None:
            return seconds
        return 0.01 if self.calm else self.random.choice((0.01, 0.01, 0.01, 0.4, 2.0, 4.8))
