"""Which sandboxes have an agent while this replica leads: those that ask for it and can."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.cluster.turns import turns
from gateway.resize.agent import Agent
from gateway.resize.state import Phase
from gateway.sandbox.model import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.machines import Machines
    from gateway.cluster.pod_facts import PodFacts
    from gateway.resize.tools import Tools
    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry

_LOG = logging.getLogger(__name__)

#: Seconds from one look at what changes by time alone to the next.
LOOK: Final = 2.0
#: A sandbox that nobody has used for so many seconds may have as little as its floor.
UNUSED: Final = 30.0
#: Seconds after which a sandbox whose agent failed gets another one.
AFTER_A_MISTAKE: Final = 60.0

#: From these a sandbox wakes up.
_ASLEEP: Final = frozenset({State.PAUSING, State.PAUSED, State.RESUMING})
#: In these a sandbox is in a pod that stays.
_TAKEN_ON: Final = frozenset({State.RUNNING, State.PAUSED})


@dataclass(frozen=True, slots=True)
class _Cared:
    """A sandbox with an agent: its own uid, and that of its pod."""

    uid: str
    pod: str
    agent: Agent
    task: asyncio.Task[None]


class Care:
    """Gives agents to sandboxes and takes them away, while `run` runs: once."""

    def __init__(
        self,
        registry: Registry,
        machines: Machines,
        tools: Tools,
        unused_for: Callable[[Route], float | None],
    ) -> None:
        """`unused_for`: seconds since somebody used a sandbox; None while somebody does."""
        self._registry = registry
        self._machines = machines
        self._tools = tools
        self._unused_for = unused_for
        self._cared: dict[Key, _Cared] = {}
        #: By the uids of pods, also where an agent has still to take its leave of its informant.
        self._by_pod: dict[str, Key] = {}
        self._woken: set[Key] = set()
        self._dirty = {route.key for route in registry if route.scaling is not None}
        self._changed = asyncio.Event()

    @property
    def agents(self) -> list[Agent]:
        """All agents."""
        return [cared.agent for cared in self._cared.values()]

    def agent_of(self, route: Route) -> Agent | None:
        """Return a sandbox's agent."""
        cared = self._cared.get(route.key)
        return None if cared is None or cared.uid != route.uid else cared.agent

    def pod_of(self, route: Route) -> PodFacts | None:
        """Return the pod that a sandbox runs in, or is paused in, if that is certain.

        An address alone does not prove it: its API tells of an address when its controller gets
        to it. So the pod must be named by the sandbox's status, or be owned by the sandbox.
        """
        named = self._named_pod(route)
        if named is not None or route.address is None:
            return named
        pod = self._machines.pod_at(route.key.namespace, route.address)
        return pod if pod is not None and route.uid in pod.owners else None

    def _named_pod(self, route: Route) -> PodFacts | None:
        """Return the pod that the sandbox's status names, if it is at its address.

        Others may be there too: the processes of one machine share theirs. One that is paused has
        no address, but may still have its pod.
        """
        owner, _, uid = route.incarnation.partition("/")
        pod = self._machines.pod(uid) if owner == route.uid else None
        if pod is None or pod.terminating or pod.ended or pod.namespace != route.key.namespace:
            return None
        is_there = route.state is State.PAUSED or route.address in pod.addresses
        return pod if is_there else None

    async def run(self) -> None:
        """Do what there is to do until cancelled; then no agent is left."""
        with ExitStack() as stack:
            stack.callback(self._registry.subscribe(self._hear_sandbox))
            stack.callback(self._machines.subscribe(self._hear_pod))
            stack.callback(self._machines.subscribe_nodes(self._hear_node))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look())
                while True:
                    await self._settle(group)
                    await self._changed.wait()

    # ---- events in ----------------------------------------------------------------------------

    def _hear_sandbox(self, before: Route | None, after: Route | None) -> None:
        route = after or before
        assert route is not None, "one of the two is there"
        if route.key not in self._cared and route.scaling is None:
            return
        if after is None or after.state is not State.RUNNING:
            self._woken.discard(route.key)
        elif before is not None and before.state in _ASLEEP:
            self._woken.add(route.key)
        self._mark(route.key)

    def _hear_pod(self, before: PodFacts | None, after: PodFacts | None) -> None:
        for pod in (before, after):
            if pod is not None:
                self._mark_at(pod)

    def _hear_node(self, name: str) -> None:
        for pod in self._machines.on_node(name):
            if (key := self._by_pod.get(pod.uid)) is not None:
                self._mark(key)

    async def _look(self) -> None:
        """Find those that have come into another phase by time alone."""
        while True:
            await asyncio.sleep(LOOK)
            for turn in turns(tuple(self._cared.items()), time.perf_counter):
                for key, cared in turn:
                    route = self._registry.get(key)
                    if route is not None and self._phase(cared, route) is not _phase_of(cared):
                        self._mark(key)
                await asyncio.sleep(0)

    def _mark(self, key: Key) -> None:
        self._dirty.add(key)
        self._changed.set()

    def _mark_at(self, pod: PodFacts) -> None:
        """Look again at who was in a pod, and at those that may be in it."""
        if (cared := self._by_pod.get(pod.uid)) is not None:
            self._mark(cared)
        for address in pod.addresses:
            for route in self._registry.at(address):
                if route.scaling is not None:
                    self._mark(route.key)

    # ---- agents -------------------------------------------------------------------------------

    async def _settle(self, group: asyncio.TaskGroup) -> None:
        """Bring the agents of those that there is news of to what is known now."""
        self._changed.clear()
        dirty, self._dirty = self._dirty, set()
        for turn in turns(tuple(dirty), time.perf_counter):
            for key in turn:
                try:
                    self._settle_one(key, group)
                except Exception:  # noqa: BLE001 - over one sandbox the others must not be forgotten
                    _LOG.exception("an agent failed", extra={"sandbox": str(key)})
            await asyncio.sleep(0)

    def _settle_one(self, key: Key, group: asyncio.TaskGroup) -> None:
        route, cared = self._registry.get(key), self._cared.get(key)
        if cared is not None and not self._is_still(cared, route):
            self._leave(key, cared)
            cared = None
        if route is None:
            return
        if cared is None:
            cared = self._take_on(route, group)
        if cared is not None:
            self._woken.discard(key)
            self._tell(cared, route)

    def _is_still(self, cared: _Cared, route: Route | None) -> bool:
        """Return whether an agent's sandbox is the same in the same pod, and still asks for it."""
        if route is None or route.uid != cared.uid or route.state is State.DEAD:
            return False
        if route.scaling is None or route.scaling.slot != cared.agent.slot or cared.task.done():
            return False
        pod, now_in = self._machines.pod(cared.pod), self.pod_of(route)
        if pod is None or pod.ended or pod.obstacle is not None:
            return False
        return now_in is None or now_in.uid == cared.pod

    def _leave(self, key: Key, cared: _Cared) -> None:
        del self._cared[key]
        cared.task.cancel()

        def left(_: asyncio.Task[None]) -> None:
            del self._by_pod[cared.pod]
            self._mark(key)
            if (pod := self._machines.pod(cared.pod)) is not None:
                self._mark_at(pod)

        cared.task.add_done_callback(left)

    def _take_on(self, route: Route, group: asyncio.TaskGroup) -> _Cared | None:
        if route.scaling is None or route.state not in _TAKEN_ON:
            return None
        key, pod = route.key, self.pod_of(route)
        if pod is None or pod.obstacle is not None or pod.uid in self._by_pod:
            return None
        agent = Agent(self._tools, route, pod, woken=key in self._woken)
        task = group.create_task(_guarded(agent), name=f"agent of {key}")
        task.add_done_callback(lambda _: self._mark(key))
        cared = self._cared[key] = _Cared(route.uid, pod.uid, agent, task)
        self._by_pod[pod.uid] = key
        return cared

    def _tell(self, cared: _Cared, route: Route) -> None:
        """Tell an agent what is known of its sandbox, pod and node."""
        agent, pod = cared.agent, self._machines.pod(cared.pod)
        assert pod is not None, "it is still the one"
        agent.heard_of_sandbox(route)
        if pod is not agent.pod:
            agent.heard_of_pod(pod)
        if agent.state.migrating and not self._is_leaving(pod):
            agent.stays()
        agent.enter(self._phase(cared, route))

    def _phase(self, cared: _Cared, route: Route) -> Phase:
        """Return what may be done to a sandbox now."""
        pod, before = cared.agent.pod, _phase_of(cared)
        if pod.terminating or self._is_leaving(pod):
            return Phase.CHANGING
        if route.state is State.RUNNING:
            unused = self._unused_for(route)
            return Phase.DROWSY if unused is not None and unused >= UNUSED else Phase.AWAKE
        if route.state is State.PAUSED:
            return Phase.ASLEEP
        if route.state is State.RESUMING and before in (Phase.ASLEEP, Phase.WAKING):
            return Phase.WAKING
        return Phase.CHANGING

    def _is_leaving(self, pod: PodFacts) -> bool:
        node = None if pod.node is None else self._machines.node(pod.node)
        return node is not None and node.draining


def _phase_of(cared: _Cared) -> Phase:
    return cared.agent.state.phase


async def _guarded(agent: Agent) -> None:
    """Run an agent; a mistake of ours over one sandbox must not stop the others."""
    try:
        await agent.run()
    except* Exception:  # noqa: BLE001 - whatever it is
        _LOG.exception("an agent failed")
        agent.trouble = "its agent failed, and is begun again in a minute"
        await asyncio.sleep(AFTER_A_MISTAKE)
