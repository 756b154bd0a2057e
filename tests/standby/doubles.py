"""What the idle controller talks to, scripted: the replicas, the API, the lease and the guests."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.dialects import own
from gateway.replicas.peers import PeerUse, Verdict
from gateway.sandbox.errors import Conflict, ObjectGone, StandbyForbidden
from gateway.sandbox.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.replicas.wire import Item, Outcome
    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry
    from gateway.sandbox.standby import StandbyCheck

GRANTED = Verdict(True)


class Replicas:
    """All replicas: they grant what they are not told to refuse, and count what they are told."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.latency = 0.01
        self.questions: list[list[str]] = []
        self.open: dict[tuple[str, str], Item] = {}
        self.outcomes: list[Outcome] = []
        self.others: list[PeerUse] = []

    async def ask(self, question: str, items: Sequence[Item]) -> Mapping[str, Verdict]:
        assert items
        self.questions.append([item.key.name for item in items])
        for item in items:
            assert (question, item.uid) not in self.open
            self.open[question, item.uid] = item
        await asyncio.sleep(self.latency)
        return {item.uid: self.verdicts.get(item.uid, GRANTED) for item in items}

    async def settle(self, question: str, outcomes: Sequence[Outcome]) -> None:
        for one in outcomes:
            del self.open[question, one.uid]  # each is settled once, and was asked about
        self.outcomes += outcomes
        await asyncio.sleep(self.latency)

    async def uses(self, uid: str) -> Sequence[PeerUse]:
        await asyncio.sleep(self.latency)
        return [PeerUse("this", 0, 0.0), *self.others]


class Api:
    """The API with the sandboxes of a registry, which has its news at once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.latency = 0.02
        self.faults: dict[str, Exception] = {}
        self.slow: dict[str, float] = {}
        #: What happens just before a sandbox is read, of that uid.
        self.reaches: Callable[[str], object] = lambda uid: None
        self.slept: list[str] = []
        self.notes: list[tuple[float, str, Mapping[str, str | None]]] = []
        self.within: list[float] = []
        self.under_way = self.most = 0
        self.calls: Counter[str] = Counter()

    async def sleep(
        self, key: Key, uid: str, may: Callable[[Route], bool], within: float, why: str = ""
    ) -> Route:
        self.calls["sleep"] += 1
        self.within.append(within)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.slow.get(key.name, self.latency))
        finally:
            self.under_way -= 1
        if (fault := self.faults.get(key.name)) is not None:
            raise fault
        self.reaches(uid)
        route = self.registry.get(key)
        if route is None or route.uid != uid:
            raise ObjectGone("gone")
        if not may(route):
            raise StandbyForbidden("it may not")
        self.slept.append(key.name)
        asleep = replace(route, version=route.version + 1, state=State.PAUSED, address=None)
        self.registry.apply(asleep)
        return asleep

    async def annotate(
        self,
        key: Key,
        uid: str,
        changes: Mapping[str, str | None],
        if_: Callable[[Route], bool] | None = None,
    ) -> Route:
        await asyncio.sleep(self.latency)
        if "annotate" in self.faults:
            raise self.faults["annotate"]
        route = self.registry.get(key)
        if route is None or route.uid != uid:
            raise ObjectGone("gone")
        if if_ is not None and not if_(route):
            return route
        self.notes.append((asyncio.get_running_loop().time(), key.name, changes))
        written = own.read({name: text for name, text in changes.items() if text is not None}).idle
        noted = replace(
            route.idle,
            idle_since=written.idle_since,
            last_activity_at=written.last_activity_at,
        )
        changed = replace(route, version=route.version + 1, idle=noted)
        self.registry.apply(changed)
        return changed

    def wake(self, name: str) -> None:
        """Let one run again."""
        route = self.registry.by_name("team", name)
        if route.state is State.RUNNING:
            raise Conflict("it runs")
        awake = replace(
            route, version=route.version + 1, state=State.RUNNING, address="10.0.0.7",
            incarnation=f"{route.uid}/{route.version}",
        )  # fmt: skip
        self.registry.apply(awake)


class Lead:
    """The lease: held from the start, unless told otherwise."""

    def __init__(self, acting: bool = True) -> None:
        self.acting = acting
        self._changed = asyncio.Event()

    def pass_on(self, acting: bool) -> None:
        """Win or lose the lead."""
        self.acting = acting
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_won(self) -> None:
        while not self.acting:
            await self._changed.wait()

    async def wait_lost(self) -> None:
        while self.acting:
            await self._changed.wait()


class Guests:
    """Guests that agree, unless told otherwise."""

    def __init__(self) -> None:
        self.agree = True
        self.takes = 0.01
        self.asked: list[str] = []

    async def may_sleep(self, route: Route, check: StandbyCheck) -> bool:
        self.asked.append(route.key.name)
        await asyncio.sleep(self.takes)
        return self.agree
