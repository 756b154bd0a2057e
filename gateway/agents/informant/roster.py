"""Who keeps the agents: calls each as its place among them demands, and looks after it.

Each registered agent has a task of its own, so that one that does not answer holds up no other.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gateway.agents.informant.agents import Agents, Ask
from gateway.agents.informant.caller import agent_url
from gateway.agents.informant.errors import CallFailed, CallRefused, Refused

if TYPE_CHECKING:
    from uuid import UUID

    from gateway.agents.informant.agents import Agent
    from gateway.agents.informant.caller import Caller
    from gateway.resize.messages import AgentDesc, MoreResources, SizeMessage

_LOG = logging.getLogger(__name__)

#: Seconds from one look at an agent to the next, and until one that refused is told again.
CHECK_EVERY: Final = 5.0
TELL_AGAIN: Final = 0.1


class Roster:
    """All agents of this informant; tasks run in the group that is given."""

    def __init__(
        self, caller: Caller, tasks: asyncio.TaskGroup, check_every: float = CHECK_EVERY
    ) -> None:
        self._caller = caller
        self._tasks = tasks
        self._check_every = check_every
        self._agents = Agents()
        #: One for each registered agent, set when any of them may have to be told something.
        self._stirred: dict[UUID, asyncio.Event] = {}

    @property
    def agents(self) -> Agents:
        """All that is known of them now."""
        return self._agents

    async def register(self, desc: AgentDesc) -> None:
        """Register an agent that answers to its id; raise Refused."""
        agent_url(desc.serve_addr)
        before = self._agents
        self._become(before.register(desc))
        for one in before.known:
            if self._agents.find(one.id) is None:
                _LOG.warning("too many agents: the oldest gives way", extra={"agent": one.name})
        agent = self._agents.known[-1]
        try:
            number = await self._caller.ask(agent, Ask.IDENTIFY)
        except CallFailed as error:
            self._become(self._agents.without(agent.id))
            raise Refused(f"the agent does not answer to its id: {error}") from error
        self._become(self._agents.answered(agent.id, Ask.IDENTIFY, number))
        if self._agents.find(agent.id) is None:
            raise Refused("too many agents register at the same time")
        _LOG.info("an agent has registered", extra={"agent": agent.name})

    def unregister(self, desc: AgentDesc) -> bool:
        """Forget an agent; return whether it was the current one. Raise Refused."""
        before = self._agents
        self._become(before.unregister(desc))
        agent = before.get(desc.agent_id)
        _LOG.info("an agent has unregistered", extra={"agent": agent.name})
        return agent is before.current

    def check(self, agent_id: UUID) -> None:
        """Raise Unknown unless the agent is registered."""
        self._agents.get(agent_id)

    def command(self, message: SizeMessage) -> None:
        """Take a command; raise Refused if the agent may not give it."""
        self._become(self._agents.command(message))

    async def try_upscale(self, agent: Agent, needs: MoreResources) -> None:
        """Ask an agent for more; raise CallFailed."""
        number = await self._caller.try_upscale(agent, needs)
        self._become(self._agents.answered(agent.id, None, number))

    def _become(self, agents: Agents) -> None:
        """Let all know what is so now."""
        self._agents = agents
        registered = {one.id for one in agents.registered}
        for gone in self._stirred.keys() - registered:
            self._stirred.pop(gone).set()
        for new in registered - self._stirred.keys():
            stirred = self._stirred[new] = asyncio.Event()
            self._tasks.create_task(self._keep(new, stirred))
        for stirred in self._stirred.values():
            stirred.set()

    async def _keep(self, agent_id: UUID, stirred: asyncio.Event) -> None:
        """Tell an agent what is due, and ask it for its id at times, as long as it is kept."""
        clock = asyncio.get_running_loop().time
        heard = clock()
        while (agent := self._kept(agent_id, stirred)) is not None:
            stirred.clear()
            ask = self._agents.due(agent)
            if ask is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(heard + self._check_every):
                        await stirred.wait()
                        continue
            await self._tell(agent, ask or Ask.IDENTIFY, stirred)
            heard = clock()

    async def _tell(self, agent: Agent, ask: Ask, stirred: asyncio.Event) -> None:
        try:
            number = await self._caller.ask(agent, ask)
        except CallRefused:
            await asyncio.sleep(TELL_AGAIN)
            after = self._agents.refused(agent.id, ask)
        except CallFailed as error:
            _LOG.warning("an agent is given up: %s", error, extra={"agent": agent.name})
            after = self._agents.without(agent.id)
        else:
            after = self._agents.answered(agent.id, ask, number)
        if self._kept(agent.id, stirred) is not None:
            self._become(after)

    def _kept(self, agent_id: UUID, stirred: asyncio.Event) -> Agent | None:
        """Return the agent; None if it is gone, be it that another took its id since."""
        return self._agents.find(agent_id) if self._stirred.get(agent_id) is stirred else None
