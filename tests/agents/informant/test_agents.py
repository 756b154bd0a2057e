"""Which agent is listened to, and what each has to be told."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.agents.informant.agents import MAX_AGENTS, MAX_REFUSALS, Agents, Ask
from gateway.agents.informant.errors import AlreadyKnown, Refused, Unknown
from gateway.resize.messages import (
    AgentDesc,
    AgentIdentification,
    ResourceMessage,
    SizeMessage,
)
from gateway.resize.versions import (
    INFORMANT_V1_0,
    INFORMANT_V1_2,
    INFORMANT_V2_0,
    InformantVersion,
)

FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))


def desc(
    agent: UUID,
    *,
    address: str = "10.0.0.1:80/a",
    oldest: InformantVersion = INFORMANT_V1_0,
    newest: InformantVersion = INFORMANT_V2_0,
) -> AgentDesc:
    return AgentDesc(
        agent_id=agent, serve_addr=address, min_proto_version=oldest, max_proto_version=newest
    )


def size(agent: UUID, number: int) -> SizeMessage:
    data = ResourceMessage(cpu=1000, memory=1024, id=AgentIdentification(agent_id=agent))
    return SizeMessage(data=data, sequence_number=number)


def with_agents(*ids: UUID) -> Agents:
    """Return agents that have registered one after the other, and were told where they stand."""
    agents = Agents()
    for one in ids:
        agents = settled(agents.register(desc(one)).answered(one, Ask.IDENTIFY, 1))
    return agents


def settled(agents: Agents) -> Agents:
    for one in agents.known:
        ask = agents.due(one)
        if ask is not None:
            agents = agents.answered(one.id, ask, 1)
    return agents


def due(agents: Agents) -> dict[UUID, Ask]:
    return {one.id: ask for one in agents.known if (ask := agents.due(one)) is not None}


def current(agents: Agents) -> UUID | None:
    return None if agents.current is None else agents.current.id


# ---- who is current -----------------------------------------------------------------------------


def test_an_agent_is_nothing_before_it_has_answered_to_its_id() -> None:
    agents = Agents().register(desc(FIRST))
    assert current(agents) is None
    assert due(agents) == {}
    assert agents.registered == ()
    with pytest.raises(Unknown):
        agents.get(FIRST)


def test_the_first_agent_is_resumed() -> None:
    agents = Agents().register(desc(FIRST)).answered(FIRST, Ask.IDENTIFY, 1)
    assert current(agents) == FIRST
    assert due(agents) == {FIRST: Ask.RESUME}
    assert due(agents.answered(FIRST, Ask.RESUME, 2)) == {}


def test_the_newest_agent_takes_over() -> None:
    agents = with_agents(FIRST).register(desc(SECOND)).answered(SECOND, Ask.IDENTIFY, 1)
    assert current(agents) == SECOND
    assert due(agents) == {FIRST: Ask.SUSPEND, SECOND: Ask.RESUME}
    assert due(settled(agents)) == {}


def test_who_registered_later_is_newer_whoever_answers_first() -> None:
    agents = Agents().register(desc(FIRST)).register(desc(SECOND))
    agents = agents.answered(SECOND, Ask.IDENTIFY, 1).answered(FIRST, Ask.IDENTIFY, 1)
    assert current(agents) == SECOND
    assert due(agents) == {SECOND: Ask.RESUME}


def test_when_the_current_one_goes_the_newest_left_is_resumed() -> None:
    agents = with_agents(FIRST, SECOND, THIRD).unregister(desc(THIRD))
    assert current(agents) == SECOND
    assert due(agents) == {SECOND: Ask.RESUME}
    assert due(settled(agents).without(SECOND)) == {FIRST: Ask.RESUME}


def test_when_another_one_goes_nothing_changes() -> None:
    agents = with_agents(FIRST, SECOND).unregister(desc(FIRST))
    assert current(agents) == SECOND
    assert due(agents) == {}


def test_who_refuses_to_be_suspended_is_suspended_already() -> None:
    agents = with_agents(FIRST).register(desc(SECOND)).answered(SECOND, Ask.IDENTIFY, 1)
    assert due(agents.refused(FIRST, Ask.SUSPEND)) == {SECOND: Ask.RESUME}


def test_who_refuses_to_be_resumed_is_told_again_until_it_is_given_up() -> None:
    agents = with_agents(FIRST).register(desc(SECOND)).answered(SECOND, Ask.IDENTIFY, 1)
    for _ in range(MAX_REFUSALS - 1):
        agents = agents.refused(SECOND, Ask.RESUME)
        assert due(agents)[SECOND] is Ask.RESUME
    assert current(settled(agents)) == SECOND
    assert current(agents.refused(SECOND, Ask.RESUME)) == FIRST


def test_refusals_that_were_got_over_do_not_count() -> None:
    agents = with_agents(FIRST)
    for _ in range(MAX_REFUSALS + 1):
        agents = agents.refused(FIRST, Ask.RESUME).answered(FIRST, Ask.RESUME, 1)
    assert current(agents) == FIRST


def test_who_does_not_say_its_id_is_forgotten() -> None:
    assert with_agents(FIRST).refused(FIRST, Ask.IDENTIFY) == Agents()


def test_what_comes_of_a_forgotten_agent_changes_nothing() -> None:
    agents = with_agents(FIRST)
    for ask in (*Ask, None):
        assert agents.answered(SECOND, ask, 9) == agents
    for ask in Ask:
        assert agents.refused(SECOND, ask) == agents


def test_the_oldest_gives_way_to_one_too_many() -> None:
    ids = [UUID(int=number) for number in range(1, MAX_AGENTS + 2)]
    agents = with_agents(*ids)
    assert [one.id for one in agents.known] == ids[1:]


def test_the_current_one_never_gives_way() -> None:
    agents = with_agents(FIRST)
    for number in range(10, 30):
        agents = agents.register(desc(UUID(int=number)))
    assert len(agents.known) == MAX_AGENTS
    assert current(agents) == FIRST


# ---- what is refused ----------------------------------------------------------------------------


def test_an_id_is_taken_once() -> None:
    for agents in (Agents().register(desc(FIRST)), with_agents(FIRST, SECOND)):
        with pytest.raises(AlreadyKnown):
            agents.register(desc(FIRST))


@pytest.mark.parametrize(
    ("oldest", "newest", "said"),
    [
        (INFORMANT_V1_0, INFORMANT_V1_2, "not v1.0 to v1.2"),
        (InformantVersion(0), InformantVersion(0), "not <invalid: zero>"),
        (InformantVersion(5), InformantVersion(6), "not <unknown = v2.0 . 1> to"),
        (INFORMANT_V2_0, INFORMANT_V1_0, "not v2.0 to v1.0"),
    ],
)
def test_an_agent_of_other_versions_is_told_which_are_spoken(
    oldest: InformantVersion, newest: InformantVersion, said: str
) -> None:
    with pytest.raises(Refused, match=f"^v2.0 of the protocol is spoken here, {said}") as refused:
        Agents().register(desc(FIRST, oldest=oldest, newest=newest))
    assert refused.value.status == 400


def test_a_newer_agent_that_still_speaks_ours_is_taken() -> None:
    assert Agents().register(desc(FIRST, newest=InformantVersion(9))).known


def test_who_is_not_registered_cannot_unregister() -> None:
    with pytest.raises(Unknown):
        with_agents(FIRST).unregister(desc(SECOND))
    with pytest.raises(Unknown):
        Agents().register(desc(FIRST)).unregister(desc(FIRST))


def test_nobody_unregisters_an_agent_from_another_address() -> None:
    with pytest.raises(Refused, match="another agentServeAddr") as refused:
        with_agents(FIRST).unregister(desc(FIRST, address="10.0.0.2:80/a"))
    assert refused.value.status == 400


# ---- what is commanded --------------------------------------------------------------------------


def test_only_the_current_agent_commands() -> None:
    agents = with_agents(FIRST, SECOND)
    for other in (FIRST, THIRD):
        with pytest.raises(Refused, match="is not the current agent"):
            agents.command(size(other, 9))
    assert agents.command(size(SECOND, 9)).get(SECOND).sequence == 9
    with pytest.raises(Refused):
        Agents().command(size(FIRST, 9))


def test_a_number_that_does_not_grow_is_refused() -> None:
    agents = with_agents(FIRST).command(size(FIRST, 5))
    for number in (1, 4, 5):
        with pytest.raises(Refused, match=f"sequence number {number}: wanted more than 5"):
            agents.command(size(FIRST, number))
    assert agents.command(size(FIRST, 6)).get(FIRST).sequence == 6


def test_the_numbers_of_answers_count_too() -> None:
    agents = with_agents(FIRST).answered(FIRST, None, 7)
    with pytest.raises(Refused):
        agents.command(size(FIRST, 7))
    agents.command(size(FIRST, 8))


def test_an_answer_that_comes_late_is_an_answer_and_takes_nothing_back() -> None:
    agents = with_agents(FIRST, SECOND).without(SECOND).command(size(FIRST, 9))
    agents = agents.answered(FIRST, Ask.RESUME, 3)
    assert agents.get(FIRST).active
    assert agents.get(FIRST).sequence == 9


def test_numbers_are_each_agents_own() -> None:
    agents = with_agents(FIRST).command(size(FIRST, 100))
    agents = agents.register(desc(SECOND)).answered(SECOND, Ask.IDENTIFY, 1)
    assert agents.command(size(SECOND, 2)).get(FIRST).sequence == 100


# ---- any order of events ------------------------------------------------------------------------


class Happenings(RuleBasedStateMachine):
    """Agents come, answer, refuse, fail and go in any order; calls to them are under way."""

    def __init__(self) -> None:
        super().__init__()
        self.agents = Agents()
        self.came: list[UUID] = []
        self.registered: set[UUID] = set()
        #: What each takes itself for, and the greatest number that it has used.
        self.active: set[UUID] = set()
        self.numbers: dict[UUID, int] = {}
        self.calls: list[tuple[UUID, Ask]] = []

    def number(self, agent: UUID) -> int:
        self.numbers[agent] = self.numbers.get(agent, 0) + 1
        return self.numbers[agent]

    def synchronize(self) -> None:
        """What an agent is called about: one thing at a time."""
        left = {one.id for one in self.agents.known}
        self.calls = [(agent, ask) for agent, ask in self.calls if agent in left]
        busy = {agent for agent, _ in self.calls}
        for one in self.agents.known:
            ask = self.agents.due(one)
            if one.id not in busy and ask is not None:
                self.calls.append((one.id, ask))

    @rule()
    def come(self) -> None:
        agent = UUID(int=len(self.came) + 1)
        self.came.append(agent)
        before = {one.id for one in self.agents.known}
        self.agents = self.agents.register(desc(agent))
        gone = before - {one.id for one in self.agents.known}
        assert len(gone) == (len(before) == MAX_AGENTS)
        assert current(self.agents) not in gone
        self.registered -= gone
        self.synchronize()
        self.calls.append((agent, Ask.IDENTIFY))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), outcome=st.sampled_from(["answers", "answers", "refuses", "fails"]))
    def end_call(self, data: st.DataObject, outcome: str) -> None:
        position = data.draw(st.integers(0, len(self.calls) - 1))
        agent, ask = self.calls.pop(position)
        if outcome == "answers":
            self.agents = self.agents.answered(agent, ask, self.number(agent))
            if ask is Ask.IDENTIFY:
                self.registered.add(agent)
            (self.active.add if ask is Ask.RESUME else self.active.discard)(agent)
        elif outcome == "refuses" and ask is not Ask.IDENTIFY:
            self.agents = self.agents.refused(agent, ask)
            if ask is Ask.SUSPEND:
                self.active.discard(agent)
        else:
            self.agents = self.agents.without(agent)
        self.registered &= {one.id for one in self.agents.known}
        self.synchronize()

    @precondition(lambda self: self.registered)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        agent = data.draw(st.sampled_from(sorted(self.registered)))
        self.agents = self.agents.unregister(desc(agent))
        self.registered.discard(agent)
        self.synchronize()

    @precondition(lambda self: self.came)
    @rule(data=st.data(), number=st.integers(1, 50))
    def command(self, data: st.DataObject, number: int) -> None:
        agent = data.draw(st.sampled_from(self.came))
        taken = agent == current(self.agents) and number > self.numbers.get(agent, 0)
        if taken:
            self.numbers[agent] = number
            self.agents = self.agents.command(size(agent, number))
        else:
            with pytest.raises(Refused):
                self.agents.command(size(agent, number))

    @invariant()
    def the_newest_registered_one_is_current(self) -> None:
        newest = max(self.registered, default=None)
        assert current(self.agents) == newest

    @invariant()
    def they_are_not_too_many(self) -> None:
        assert len(self.agents.known) <= MAX_AGENTS

    @invariant()
    def once_all_calls_are_answered_the_current_one_alone_is_active(self) -> None:
        agents, active = self.agents, set(self.active)
        for one in agents.known:
            ask = agents.due(one)
            if ask is not None:
                agents = agents.answered(one.id, ask, 1)
                (active.add if ask is Ask.RESUME else active.discard)(one.id)
        assert due(agents) == {}
        assert active & {one.id for one in agents.known} == self.registered & {current(agents)}


TestHappenings = Happenings.TestCase
