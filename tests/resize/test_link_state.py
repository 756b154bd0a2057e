"""What becomes of an informant's calls, in whatever order they come."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.resize.link_state import (
    SPOKEN,
    EndReason,
    Heard,
    LinkEnd,
    LinkEvent,
    Mode,
    Running,
    Said,
    Standing,
    Suspended,
    UpscaleWanted,
    hear,
    not_registered,
    over,
    register,
)
from gateway.resize.messages import (
    InformantDesc,
    MetricsMethod,
    MoreResourcesRequest,
    Prometheus,
    ResumeAgent,
    SuspendAgent,
)
from gateway.resize.versions import INFORMANT_V1_0, INFORMANT_V1_2, INFORMANT_V2_0, InformantVersion

ME, OTHER = UUID(int=1), UUID(int=2)
RESUME, SUSPEND = ResumeAgent(expected_id=ME), SuspendAgent(expected_id=ME)
FRESH = Standing()
ASKED = Standing(id_asked=True)
SUSPENDED = Standing(Mode.SUSPENDED, id_asked=True, version=INFORMANT_V2_0, metrics_port=9100)
RUNNING = replace(SUSPENDED, mode=Mode.RUNNING)
ENDED = over(SUSPENDED)


def want(*, cpu: bool = False, memory: bool = False, agent: UUID = ME) -> MoreResourcesRequest:
    return MoreResourcesRequest(cpu=cpu, memory=memory, expected_id=agent)


def informant(version: InformantVersion = INFORMANT_V2_0, port: int | None = 9100) -> InformantDesc:
    prometheus = None if port is None else Prometheus(port=port)
    return InformantDesc(proto_version=version, metrics_method=MetricsMethod(prometheus=prometheus))


# ---- calls --------------------------------------------------------------------------------------


def test_the_informant_says_which_agent_it_listens_to() -> None:
    assert hear(SUSPENDED, RESUME, ME) == Heard(RUNNING, 200, Running())
    assert hear(RUNNING, SUSPEND, ME) == Heard(SUSPENDED, 200, Suspended())


def test_who_the_agent_is_may_be_asked_at_any_time_until_the_end() -> None:
    assert hear(FRESH, None, ME) == Heard(ASKED, 200)
    assert hear(RUNNING, None, ME) == Heard(RUNNING, 200)
    assert hear(ENDED, None, ME) == Heard(ENDED, 404)


TOO_EARLY = "the informant called before it had taken the agent"


@pytest.mark.parametrize(
    ("standing", "said", "why"),
    [
        (RUNNING, RESUME, "the informant said twice that the agent is running"),
        (SUSPENDED, SUSPEND, "the informant said twice that the agent is suspended"),
        (ASKED, RESUME, TOO_EARLY),
        (ASKED, SUSPEND, TOO_EARLY),
        (ASKED, want(cpu=True), TOO_EARLY),
        (FRESH, RESUME, TOO_EARLY),
    ],
)
def test_what_does_not_fit_is_refused_and_ends_the_link(
    standing: Standing, said: Said, why: str
) -> None:
    heard = hear(standing, said, ME)
    assert (heard.status, heard.standing.mode, heard.event) == (400, Mode.ENDED, None)
    assert heard.end is not None
    assert (heard.end.reason, heard.end.why) == (EndReason.OUT_OF_STEP, why)
    assert heard.end.retry_after < 60


@pytest.mark.parametrize("standing", [FRESH, ASKED, SUSPENDED, RUNNING, ENDED])
@pytest.mark.parametrize(
    "said", [ResumeAgent(expected_id=OTHER), SuspendAgent(expected_id=OTHER), want(agent=OTHER)]
)
def test_what_is_meant_for_another_agent_changes_nothing(standing: Standing, said: Said) -> None:
    assert hear(standing, said, ME) == Heard(standing, 404)


def test_more_may_be_asked_for_of_the_agent_that_is_listened_to() -> None:
    wanted = UpscaleWanted(cpu=False, memory=True)
    assert hear(RUNNING, want(memory=True), ME) == Heard(RUNNING, 200, wanted)
    assert hear(RUNNING, want(), ME) == Heard(RUNNING, 200)
    assert hear(SUSPENDED, want(memory=True), ME) == Heard(SUSPENDED, 400)


def test_more_may_be_asked_for_only_by_a_version_that_has_it() -> None:
    old = replace(RUNNING, version=INFORMANT_V1_0)
    assert hear(old, want(cpu=True), ME) == Heard(old, 400)


# ---- the registration ---------------------------------------------------------------------------


def test_an_informant_that_has_asked_who_the_agent_is_confirms_it() -> None:
    assert register(ASKED, informant()) == (SUSPENDED, None)


@pytest.mark.parametrize(
    ("standing", "answer", "reason", "why"),
    [
        (FRESH, informant(), EndReason.IMPROPER, "did not ask"),
        (ASKED, informant(port=None), EndReason.IMPROPER, "metrics"),
        (
            ASKED,
            informant(INFORMANT_V1_2),
            EndReason.INCOMPATIBLE,
            "chose v1.2, and spoken is v2.0",
        ),
        (ASKED, informant(InformantVersion(7)), EndReason.INCOMPATIBLE, "unknown = v2.0 + 3"),
        (ASKED, informant(InformantVersion(0)), EndReason.INCOMPATIBLE, "invalid"),
    ],
)
def test_an_informant_that_is_none_is_left_for_long(
    standing: Standing, answer: InformantDesc, reason: EndReason, why: str
) -> None:
    after, end = register(standing, answer)
    assert after.mode is Mode.ENDED
    assert end is not None
    assert end.reason is reason
    assert why in end.why
    assert end.retry_after == 300


def test_an_answer_that_comes_after_the_end_revives_nothing() -> None:
    ended = over(ASKED)
    assert register(ended, informant()) == (ended, None)


@pytest.mark.parametrize(
    ("standing", "status", "reason", "soon"),
    [
        (FRESH, None, EndReason.UNREACHABLE, True),
        (ASKED, None, EndReason.UNREACHABLE, True),
        (FRESH, 500, EndReason.UNREACHABLE, True),
        (FRESH, 503, EndReason.UNREACHABLE, True),
        (FRESH, 499, EndReason.IMPROPER, False),
        (FRESH, 400, EndReason.REFUSED, False),
        (ASKED, 400, EndReason.OUT_OF_STEP, True),
        (FRESH, 409, EndReason.OUT_OF_STEP, True),
        (FRESH, 404, EndReason.IMPROPER, False),
        (ASKED, 200, EndReason.IMPROPER, False),
        (FRESH, 302, EndReason.IMPROPER, False),
    ],
)
def test_a_registration_that_fails_says_whether_another_may_fare_better(
    standing: Standing, status: int | None, reason: EndReason, soon: bool
) -> None:
    end = not_registered(standing, status, "so it is")
    assert end.reason is reason
    assert "so it is" in end.why
    assert (end.retry_after < 60) is soon


def test_a_refusal_tells_which_versions_agents_speak() -> None:
    assert str(SPOKEN) in not_registered(FRESH, 400, "no").why


# ---- any order ----------------------------------------------------------------------------------

#: On a busy machine any example may be slow.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Step: TypeAlias = Said | InformantDesc
AGENTS = st.sampled_from([ME, ME, ME, OTHER])
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.none(),
    st.builds(ResumeAgent, expected_id=AGENTS),
    st.builds(SuspendAgent, expected_id=AGENTS),
    st.builds(MoreResourcesRequest, cpu=st.booleans(), memory=st.booleans(), expected_id=AGENTS),
)


class Watched:
    """A link as its owner sees it."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.told: list[LinkEvent] = []
        self.ends: list[LinkEnd] = []

    def take(self, step: Step) -> int | None:
        if isinstance(step, InformantDesc):
            self.standing, end = register(self.standing, step)
            self.ends += [] if end is None else [end]
            return None
        heard = hear(self.standing, step, ME)
        self.standing = heard.standing
        self.told += [] if heard.event is None else [heard.event]
        self.ends += [] if heard.end is None else [heard.end]
        return heard.status


@patient
@given(st.lists(STEPS), st.lists(STEPS, max_size=30), st.booleans())
def test_in_any_order_of_calls_the_owner_is_told_what_is_so(
    before: list[Step], after: list[Step], asked: bool
) -> None:
    link = Watched()
    for step in [*before, *([None] if asked else []), informant(), *after]:
        was = link.standing.mode
        status = link.take(step)
        assert status in (None, 200, 400, 404)
        if was is Mode.ENDED:
            assert status in (None, 404)
            assert link.standing.mode is Mode.ENDED
        if status == 404:
            assert link.standing.mode is was
    turns = [one for one in link.told if not isinstance(one, UpscaleWanted)]
    # One who listens, and one who does not, by turns: never the same twice.
    assert turns == [Running() if at % 2 == 0 else Suspended() for at in range(len(turns))]
    if link.standing.mode is Mode.RUNNING:
        assert turns[-1] == Running()
    if link.standing.mode is Mode.SUSPENDED:
        assert turns[-1:] in ([], [Suspended()])
    assert len(link.ends) == (link.standing.mode is Mode.ENDED)
    for wanted in link.told:
        assert not isinstance(wanted, UpscaleWanted) or wanted.cpu or wanted.memory


@patient
@given(st.lists(STEPS, max_size=30))
def test_nobody_is_told_of_an_agent_that_was_never_confirmed(steps: list[Step]) -> None:
    link = Watched()
    for step in steps:
        link.take(step)
    assert link.told == []
