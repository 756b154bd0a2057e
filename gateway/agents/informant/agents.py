"""The agents that have registered, and which of them is listened to. No I/O, no clock.

The newest agent is the current one; those before it are kept, suspended, in case it goes away:

    registers                 it is asked for its id; until it answers, it is not registered
    answers to its id         registered: the newest such agent is the current one
    fails, or unregisters     forgotten: the newest of those left is the current one

Which agent is the current one follows from that alone. What an agent was told last may be behind
it, and `due` says what it has to be told: `/resume` the current one, `/suspend` every other.

Every message of an agent has a number, greater than those before. By it a command that comes late
is refused; an answer that comes late is an answer all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.agents.informant.errors import AlreadyKnown, Refused, Unknown
from gateway.resize.versions import INFORMANT_V2_0, VersionRange, latest_shared_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from gateway.resize.messages import AgentDesc, SizeMessage

#: The versions that are served.
SPOKEN: Final = VersionRange(INFORMANT_V2_0, INFORMANT_V2_0)
#: Agents that are kept; before a further one the oldest gives way.
MAX_AGENTS: Final = 8
#: How often an agent may refuse to be resumed before it is given up. It refuses as long as it has
#: not read our answer to its registration.
MAX_REFUSALS: Final = 20


class Ask(Enum):
    """What an agent is asked, or told; by its path."""

    IDENTIFY = "/id"
    SUSPEND = "/suspend"
    RESUME = "/resume"


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent. `registered`: it has answered to its id. `active`: it knows that it is current.

    Who knows an agent's id can speak to it and for it, so neither the id nor the path of
    `serve_addr`, which may hold it, is logged or told; `name` stands for them.
    """

    id: UUID
    serve_addr: str
    registered: bool = False
    active: bool = False
    sequence: int = 0
    refusals: int = 0

    @property
    def name(self) -> str:
        """What it is called in the log: where it is, and the beginning of its id."""
        return f"{self.serve_addr.partition('/')[0]} {self.id.hex[:8]}"


@dataclass(frozen=True, slots=True)
class Agents:
    """All agents that are known, oldest first."""

    known: tuple[Agent, ...] = ()

    @property
    def current(self) -> Agent | None:
        """The one that is listened to."""
        return next((one for one in reversed(self.known) if one.registered), None)

    @property
    def registered(self) -> tuple[Agent, ...]:
        """Those that have answered to their id."""
        return tuple(one for one in self.known if one.registered)

    def find(self, agent_id: UUID) -> Agent | None:
        """Return an agent, registered or about to be."""
        return next((one for one in self.known if one.id == agent_id), None)

    def get(self, agent_id: UUID) -> Agent:
        """Return a registered agent; raise Unknown."""
        found = self.find(agent_id)
        if found is None or not found.registered:
            raise Unknown("the agent is not registered")
        return found

    def due(self, agent: Agent) -> Ask | None:
        """Return what an agent has to be told, if anything."""
        current = self.current
        is_current = current is not None and current.id == agent.id
        if not agent.registered or agent.active == is_current:
            return None
        return Ask.RESUME if is_current else Ask.SUSPEND

    # ---- what agents ask ------------------------------------------------------------------------

    def register(self, desc: AgentDesc) -> Agents:
        """Take in an agent that is to be asked for its id; raise AlreadyKnown, Refused."""
        if latest_shared_version(desc.protocols, SPOKEN) is None:
            raise Refused(f"{SPOKEN} of the protocol is spoken here, not {desc.protocols}")
        if self.find(desc.agent_id) is not None:
            raise AlreadyKnown("the agent has registered before")
        return Agents((*self._with_room().known, Agent(desc.agent_id, desc.serve_addr)))

    def unregister(self, desc: AgentDesc) -> Agents:
        """Forget an agent that says that it goes; raise Unknown, Refused."""
        if self.get(desc.agent_id).serve_addr != desc.serve_addr:
            raise Refused("the agent has registered with another agentServeAddr")
        return self.without(desc.agent_id)

    def command(self, message: SizeMessage) -> Agents:
        """Take a command of the current agent; raise Refused if it is not, or comes late."""
        current, agent_id = self.current, message.data.id.agent_id
        if current is None or current.id != agent_id:
            raise Refused("this is not the current agent")
        number = message.sequence_number
        if number <= current.sequence:
            raise Refused(f"sequence number {number}: wanted more than {current.sequence}")
        return self._change(agent_id, lambda agent: replace(agent, sequence=number))

    # ---- how agents answer ----------------------------------------------------------------------

    def answered(self, agent_id: UUID, ask: Ask | None, number: int) -> Agents:
        """Take an agent's answer with its sequence number; `ask` is None for all that is no order.

        One that comes after the agent has been forgotten changes nothing.
        """

        def told(agent: Agent) -> Agent:
            heard = replace(agent, sequence=max(agent.sequence, number))
            if ask is Ask.IDENTIFY:
                return replace(heard, registered=True)
            if ask is None:
                return heard
            return replace(heard, active=ask is Ask.RESUME, refusals=0)

        return self._change(agent_id, told)

    def refused(self, agent_id: UUID, ask: Ask) -> Agents:
        """Take it that an agent was told what does not go with the state that it is in.

        It is suspended already, or cannot be resumed yet. To its id it always has an answer.
        """
        if ask is Ask.SUSPEND:
            return self._change(agent_id, lambda agent: replace(agent, active=False))
        agent = self.find(agent_id)
        if agent is None or ask is Ask.IDENTIFY or agent.refusals + 1 >= MAX_REFUSALS:
            return self.without(agent_id)
        return self._change(agent_id, lambda agent: replace(agent, refusals=agent.refusals + 1))

    def without(self, agent_id: UUID) -> Agents:
        """Forget an agent."""
        return Agents(tuple(one for one in self.known if one.id != agent_id))

    def _change(self, agent_id: UUID, change: Callable[[Agent], Agent]) -> Agents:
        return Agents(tuple(change(one) if one.id == agent_id else one for one in self.known))

    def _with_room(self) -> Agents:
        """Return them with the oldest gone that is not current, if there are too many."""
        if len(self.known) < MAX_AGENTS:
            return self
        current = self.current
        return self.without(next(one.id for one in self.known if one is not current))
