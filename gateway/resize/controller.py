"""Right-sizes sandboxes while this replica leads, and tells how their sizes stand."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from gateway.resize.care import AFTER_A_MISTAKE, Care
from gateway.resize.snapshot import ACTIVE, Status, obstructed, sized, standing, unsized
from gateway.sandbox.errors import ClusterError
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from gateway.cluster.machines import Machines
    from gateway.resize.agent import Agent
    from gateway.resize.snapshot import ResizeSnapshot
    from gateway.resize.tools import Tools
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry

_LOG = logging.getLogger(__name__)

#: Seconds until an API that cannot resize pods is asked again.
ASK_AGAIN: Final = 60.0

#: Why nothing is right-sized here.
_ELSEWHERE: Final = (Status.ELSEWHERE, "this replica does not lead")
_UNKNOWN: Final = (Status.PREPARING, "the pods of the cluster are not known yet")
_UNANSWERED: Final = (Status.PREPARING, "the Kubernetes API does not tell whether it resizes pods")
_FAILED: Final = (Status.PREPARING, "right-sizing failed, and is begun again in a minute")


class Leadership(Protocol):
    """Who may act."""

    async def wait_won(self) -> None:
        """Wait until this replica leads."""

    async def wait_lost(self) -> None:
        """Wait until it leads no more."""


class Pods(Protocol):
    """What the cluster gives while this replica leads."""

    @property
    def unsupported(self) -> str:
        """Why pods are not resized, where they are not."""

    def followed(self) -> AbstractAsyncContextManager[Machines]:
        """Know the pods and nodes of the cluster, all of them, for the body's time."""

    async def supported(self) -> bool:
        """Whether this API resizes pods in place; raise a ClusterError."""


class ResizeController:
    """Right-sizes while `run` runs."""

    def __init__(
        self,
        registry: Registry,
        pods: Pods,
        leadership: Leadership,
        tools: Callable[[Machines], Tools],
        unused_for: Callable[[Route], float | None],
    ) -> None:
        """`tools` makes what agents work with; `unused_for`: seconds, None while it is used."""
        self._registry = registry
        self._pods = pods
        self._leadership = leadership
        self._tools = tools
        self._unused_for = unused_for
        self._care: Care | None = None
        self._why_not = _ELSEWHERE

    async def run(self) -> None:
        """Do what there is to do, until cancelled."""
        while True:
            await self._leadership.wait_won()
            async with asyncio.TaskGroup() as term:
                leading = term.create_task(self._keep_leading())
                await self._leadership.wait_lost()
                leading.cancel()

    async def _keep_leading(self) -> None:
        """Lead; after a mistake of ours begin anew: no request is to suffer by this."""
        try:
            while True:
                try:
                    await self._lead()
                except Exception:  # noqa: BLE001 - whatever it is, the gateway goes on without this
                    _LOG.exception("right-sizing failed, and begins anew")
                self._why_not = _FAILED
                await asyncio.sleep(AFTER_A_MISTAKE)
        finally:
            self._why_not = _ELSEWHERE

    async def _lead(self) -> None:
        self._why_not = _UNKNOWN
        try:
            await self._wait_supported()
            async with self._pods.followed() as machines:
                tools = self._tools(machines)
                self._care = Care(self._registry, machines, tools, self._unused_for)
                await self._care.run()
        finally:
            self._care = None

    async def _wait_supported(self) -> None:
        while (found := await self._asked_for_support()) is not None:
            if found != self._why_not:
                _LOG.warning("nothing is right-sized: %s", found[1])
            self._why_not = found
            await asyncio.sleep(ASK_AGAIN)
        self._why_not = _UNKNOWN

    async def _asked_for_support(self) -> tuple[Status, str] | None:
        try:
            supported = await self._pods.supported()
        except ClusterError:
            return _UNANSWERED
        return None if supported else (Status.UNSUPPORTED, self._pods.unsupported)

    # ---- what is known ------------------------------------------------------------------------

    def snapshot(self, route: Route) -> ResizeSnapshot:
        """Return how a sandbox's size stands, as far as this replica knows."""
        if self._care is None:
            return unsized(route, *self._why_not)
        agent = self._care.agent_of(route)
        if agent is not None:
            return sized(route, agent)
        if route.address is None:
            return unsized(route, Status.NO_POD, "it does not run")
        pod = self._care.pod_of(route)
        if pod is None:
            return unsized(route, Status.NO_POD, "no pod is known to be its own, at its address")
        if pod.obstacle is not None:
            return obstructed(route, pod.obstacle)
        return unsized(route, Status.PREPARING, "its agent is about to begin")

    @property
    def agents(self) -> int:
        """How many sandboxes have an agent here."""
        return len(self._agents)

    def standing(self) -> Mapping[str, float]:
        """Return how many of them stand in each way."""
        counts = dict.fromkeys((one.value for one in ACTIVE), 0.0)
        for agent in self._agents:
            counts[standing(agent)[0].value] += 1
        return counts

    def totals(self) -> Mapping[str, Size]:
        """Return what they have, what they should have, and what they might have, together."""
        agents = self._agents
        return {
            "actual": _total(one.state.using.size(one.slot) for one in agents),
            "wanted": _total(one.actions.wanted.size(one.slot) for one in agents),
            "maximum": _total(one.state.rules.high.size(one.slot) for one in agents),
        }

    @property
    def _agents(self) -> list[Agent]:
        return [] if self._care is None else self._care.agents


def _total(sizes: Iterable[Size]) -> Size:
    cpu, memory = 0, 0
    for one in sizes:
        cpu, memory = cpu + one.cpu, memory + one.memory
    return Size(cpu, memory)
