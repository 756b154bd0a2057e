"""The informant: what a sandbox tells the agent that sees to its size.

It measures the load, asks for more before it is too late, and serves the agents' protocol.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.agents.informant.caller import CALL_TIMEOUT, Caller
from gateway.agents.informant.errors import CallFailed
from gateway.agents.informant.gauge import Gauge
from gateway.agents.informant.metrics import Counts, Metrics
from gateway.agents.informant.roster import CHECK_EVERY, Roster
from gateway.agents.informant.server import Server
from gateway.resize.guest import sources
from gateway.resize.guest.load import SAMPLE_EVERY, Averages
from gateway.resize.guest.pressure import Watch
from gateway.resize.guest.sources import Place

if TYPE_CHECKING:
    from uuid import UUID

    from gateway.agents.informant.agents import Agent
    from gateway.resize.messages import MoreResources

_LOG = logging.getLogger(__name__)

#: Seconds from one look at what is lacking to the next, and after a request that failed.
LOOK_EVERY: Final = 0.2
RETRY_AFTER: Final = 1.0


@dataclass(frozen=True, slots=True)
class InformantConfig:
    """Where it listens (port 0: any free one), and what it measures, below `root`.

    In seconds: `check_every`, how often an agent is asked for its id, and `call_timeout`.
    """

    host: str = "0.0.0.0"  # noqa: S104 - agents come from other machines
    port: int = 10301
    place: Place = Place.AUTO
    root: Path = Path("/")
    check_every: float = CHECK_EVERY
    call_timeout: float = CALL_TIMEOUT


class Informant:
    """One sandbox's informant."""

    def __init__(self, config: InformantConfig) -> None:
        """Raise Unmeasurable."""
        #: Where it listens; 0 before that.
        self.port = 0
        self._config = config
        self._gauge = Gauge(sources.find(config.place, config.root))
        self._counts = Counts()
        self._averages = Averages()
        self._watch = Watch()

    async def run(self) -> None:
        """Serve until cancelled; raise OSError where it cannot listen."""
        try:
            async with Caller(self._config.call_timeout) as caller, asyncio.TaskGroup() as tasks:
                await self._serve(Roster(caller, tasks, self._config.check_every), tasks)
        except BaseExceptionGroup as group:
            # What one of its tasks raises ends all of them.
            raise group.exceptions[0] from None

    async def _serve(self, roster: Roster, tasks: asyncio.TaskGroup) -> None:
        server = Server(
            roster, self._metrics(roster), self._counts, self._gauge.memory, self._grown
        )
        try:
            host, self.port = await server.start(self._config.host, self._config.port)
            _LOG.info("listening", extra={"host": host, "port": self.port})
            tasks.create_task(self._measure())
            await self._look_after(roster)
        finally:
            await server.stop()

    def _metrics(self, roster: Roster) -> Metrics:
        return Metrics(
            self._counts,
            load=lambda: self._averages.load,
            memory=self._gauge.memory,
            agents=lambda: len(roster.agents.registered),
        )

    def _grown(self) -> None:
        """What was lacking before there was more says nothing of now."""
        self._watch = Watch()

    async def _measure(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            sample = self._gauge.load()
            self._averages = Averages() if sample is None else self._averages.take(sample, clock())
            await asyncio.sleep(SAMPLE_EVERY)

    async def _look_after(self, roster: Roster) -> None:
        """Ask whoever is the current agent for what is lacking."""
        clock = asyncio.get_running_loop().time
        asked: UUID | None = None
        while True:
            agent = roster.agents.current
            if agent is not None and agent.active:
                if agent.id != asked:
                    self._watch, asked = Watch(), agent.id
                needs = self._look(clock())
                if needs is not None:
                    await self._ask(roster, agent, needs)
            await asyncio.sleep(LOOK_EVERY)

    def _look(self, now: float) -> MoreResources | None:
        memory, strain = self._gauge.memory(), self._gauge.strain()
        if memory is None or strain is None:
            return None
        self._watch = self._watch.look(memory, strain, now)
        return self._watch.needs

    async def _ask(self, roster: Roster, agent: Agent, needs: MoreResources) -> None:
        self._counts.upscale_requests += 1
        wanted = {"agent": agent.name, "cpu": needs.cpu, "memory": needs.memory}
        _LOG.info("more is needed", extra=wanted)
        try:
            await roster.try_upscale(agent, needs)
        except CallFailed as error:
            _LOG.warning("the agent was not told: %s", error, extra=wanted)
            await asyncio.sleep(RETRY_AFTER)
            self._watch = self._watch.unheard()
