"""The rules of an election, one at a time. D is 15 seconds, a right 10, a pause 2 to 2.5."""

from dataclasses import dataclass, field

import pytest

from gateway.cluster.lease import UNKNOWN, Lease
from gateway.replicas.election import REFUSED_PAUSE, ElectionConfig, begin, step
from gateway.replicas.messages import (
    Answered,
    Ask,
    Change,
    Command,
    Event,
    Failed,
    Stop,
    Tick,
    Verb,
)
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    InvalidWrite,
    ObjectGone,
)

CONFIG = ElectionConfig(15.0)
FREE = Lease("1")
TAKEN = Lease("1", "another", 15, 3)


@dataclass
class Candidate:
    """One election, over some time."""

    now: float = 1_000.0
    asked: list[tuple[float, Verb]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.election = begin(CONFIG, "me", self.now)
        self.tell(Tick())

    def tell(self, event: Event) -> None:
        self.election, self._said = step(self.election, event, self.now, 0.0)
        self.asked += [(self.now, one.verb) for one in self._said if isinstance(one, Ask)]

    def after(self, seconds: float) -> None:
        """Let time pass, and nobody answer."""
        until = self.now + seconds
        while self.election.due <= until and not self.election.ended:
            self.now = self.election.due
            self.tell(Tick())
        self.now = until

    def answer(self, lease: Lease | None) -> None:
        assert self.election.asked is not None
        self.tell(Answered(self.election.asked.number, lease))

    def fail(self, error: ClusterError) -> None:
        assert self.election.asked is not None
        self.tell(Failed(self.election.asked.number, error))

    def said(self) -> tuple[Command, ...]:
        """What it said last."""
        return self._said

    def asks(self) -> Verb | None:
        return None if self.election.asked is None else self.election.asked.verb

    def acting(self) -> bool:
        return self.election.acting(self.now)


def mine(version: int) -> Lease:
    return Lease(str(version), "me", 15, 4)


def leader() -> Candidate:
    """Return one that has just been told of the acquisition that it sent at this moment."""
    made = Candidate()
    made.answer(FREE)
    made.answer(mine(2))
    assert made.said() == (Change.LEAD,)
    return made


def test_what_nobody_holds_is_acquired_at_once_and_then_led() -> None:
    candidate = Candidate()
    assert candidate.asks() is Verb.READ
    candidate.answer(FREE)
    assert candidate.said() == (Ask(2, Verb.ACQUIRE, FREE),)
    assert not candidate.acting()
    candidate.answer(mine(2))
    assert candidate.said() == (Change.LEAD,)
    assert candidate.acting()


def test_a_leader_renews_over_the_last_version_and_goes_on() -> None:
    candidate = leader()
    for version in range(2, 30):
        candidate.after(CONFIG.pause)
        assert candidate.said() == (Ask(candidate.election.asks, Verb.RENEW, mine(version)),)
        candidate.answer(mine(version + 1))
        assert candidate.said() == ()
        assert candidate.acting()


def test_a_right_counts_from_the_sending_of_its_renewal() -> None:
    candidate = leader()
    candidate.after(CONFIG.pause)
    sent = candidate.now
    candidate.after(4.0)
    candidate.answer(mine(3))
    candidate.now = sent + CONFIG.right - 0.001
    assert candidate.acting()
    candidate.now = sent + CONFIG.right
    assert not candidate.acting()
    candidate.tell(Tick())
    assert Change.STEP_DOWN in candidate.said()


def test_an_acquisition_that_is_answered_too_late_is_no_right() -> None:
    candidate = Candidate()
    candidate.answer(FREE)
    candidate.now += CONFIG.right
    candidate.answer(mine(2))
    assert Change.LEAD not in candidate.said()
    assert not candidate.acting()


def test_a_leader_without_answers_steps_down_and_looks_before_it_writes_again() -> None:
    candidate = leader()
    began = candidate.now
    candidate.after(CONFIG.right - 0.001)
    assert candidate.acting()
    candidate.after(0.001)
    assert candidate.said()[0] is Change.STEP_DOWN
    verbs = [verb for at, verb in candidate.asked if at > began]
    assert verbs == [Verb.RENEW, Verb.READ], "two attempts fit into a right"
    candidate.answer(mine(2))
    assert candidate.asks() is Verb.RENEW
    candidate.answer(mine(3))
    assert candidate.said() == (Change.LEAD,)


def test_an_answer_to_what_was_given_up_changes_nothing() -> None:
    candidate = leader()
    candidate.after(CONFIG.pause)
    renewal = candidate.election.asks
    candidate.after(CONFIG.patience)
    for pause in (0.0, CONFIG.pause):
        candidate.after(pause)
        before = candidate.election
        candidate.tell(Answered(renewal, mine(3)))
        candidate.tell(Failed(renewal, Conflict("")))
        assert candidate.election == before
    assert candidate.asks() is Verb.READ


def test_a_renewal_that_changed_nothing_is_none() -> None:
    candidate = leader()
    ends = candidate.election.acts_until
    candidate.after(CONFIG.pause)
    candidate.answer(mine(2))
    assert candidate.election.acts_until == ends
    assert candidate.asks() is None


def test_another_is_believed_until_its_lease_was_seen_unchanged_for_its_duration() -> None:
    candidate = Candidate()
    candidate.answer(TAKEN)
    seen = candidate.now
    while candidate.now < seen + CONFIG.lease_duration:
        assert candidate.asks() is not Verb.ACQUIRE
        candidate.after(candidate.election.due - candidate.now)
        if candidate.asks() is Verb.READ:
            candidate.answer(TAKEN)
    assert candidate.now == seen + CONFIG.lease_duration
    assert candidate.asks() is Verb.ACQUIRE


def test_a_lease_is_seen_when_the_answer_is_there_and_not_when_it_was_asked_for() -> None:
    candidate = Candidate()
    candidate.after(4.0)
    candidate.answer(TAKEN)
    assert candidate.election.since == candidate.now


def test_each_change_of_a_lease_begins_its_time_anew() -> None:
    candidate = Candidate()
    for version in range(60):
        candidate.answer(Lease(str(version), "another", 15))
        candidate.after(candidate.election.due - candidate.now)
    assert {verb for _, verb in candidate.asked} == {Verb.READ}


@pytest.mark.parametrize(
    ("duration", "believed"), [(None, 15.0), (1, 15.0), (15, 15.0), (40, 40.0)]
)
def test_a_lease_may_ask_to_be_believed_for_longer_but_not_shorter(
    duration: int | None, believed: float
) -> None:
    candidate = Candidate()
    began = candidate.now
    while candidate.asks() is Verb.READ:
        candidate.answer(Lease("1", "another", duration))
        candidate.after(candidate.election.due - candidate.now)
    assert candidate.asked[-1] == (began + believed, Verb.ACQUIRE)


def test_a_lease_that_is_not_there_is_made_and_believed_like_that_of_another() -> None:
    candidate = Candidate()
    candidate.answer(None)
    assert candidate.said() == (Ask(2, Verb.CREATE, None),)
    made = candidate.now
    while candidate.asks() is not Verb.ACQUIRE:
        candidate.answer(Lease("1", UNKNOWN, 15))
        candidate.after(candidate.election.due - candidate.now)
    assert candidate.now == made + CONFIG.lease_duration


def test_who_loses_the_race_looks_again_after_a_pause() -> None:
    candidate = Candidate()
    candidate.answer(FREE)
    lost = candidate.now
    candidate.fail(Conflict(""))
    assert candidate.asks() is None
    candidate.after(CONFIG.pause)
    assert candidate.asked[-1] == (lost + CONFIG.pause, Verb.READ)


@pytest.mark.parametrize("found", [TAKEN, FREE, None])
def test_a_leader_that_finds_the_lease_with_another_steps_down_at_once(found: Lease | None) -> None:
    candidate = leader()
    candidate.after(CONFIG.pause)
    candidate.fail(Conflict(""))
    assert candidate.acting(), "the version may be another by its own late renewal"
    candidate.after(CONFIG.pause)
    candidate.answer(found)
    assert candidate.said()[0] is Change.STEP_DOWN


def test_a_leader_whose_lease_was_deleted_steps_down_and_waits_like_everybody() -> None:
    candidate = leader()
    candidate.after(CONFIG.pause)
    candidate.fail(ObjectGone(""))
    assert candidate.said() == (Change.STEP_DOWN,)
    candidate.after(CONFIG.pause)
    assert candidate.said() == (Ask(candidate.election.asks, Verb.CREATE, None),)
    candidate.answer(Lease("9", UNKNOWN, 15))
    assert candidate.asks() is None
    assert not candidate.acting()


@pytest.mark.parametrize("error", [AccessDenied(""), InvalidWrite("")])
def test_a_refusal_is_not_hurried(error: ClusterError) -> None:
    candidate = Candidate()
    candidate.fail(error)
    assert candidate.election.due == candidate.now + REFUSED_PAUSE


def test_a_leader_that_is_refused_tries_on_while_it_may_act() -> None:
    candidate = leader()
    candidate.after(CONFIG.pause)
    candidate.fail(AccessDenied(""))
    assert candidate.election.due == candidate.now + CONFIG.pause
    assert candidate.acting()


def test_the_hint_of_the_api_is_heeded_within_reason() -> None:
    hinted, patient = Candidate(), Candidate()
    hinted.fail(ApiUnavailable("", 3.0))
    assert hinted.election.due == hinted.now + CONFIG.pause + 3.0
    patient.fail(ApiUnavailable("", 300.0))
    assert patient.election.due == patient.now + CONFIG.pause + REFUSED_PAUSE


def test_pauses_vary_by_chance() -> None:
    one, other = (
        step(candidate.election, Failed(1, Conflict("")), candidate.now, chance)[0]
        for candidate, chance in ((Candidate(), 0.0), (Candidate(), 0.9))
    )
    assert one.due + 0.2 * CONFIG.pause < other.due <= one.due + 0.25 * CONFIG.pause


# ---- the end ------------------------------------------------------------------------------------


def test_a_leader_that_stops_acts_no_more_before_it_gives_up_the_lease() -> None:
    candidate = leader()
    candidate.tell(Stop())
    assert candidate.said() == (Change.STEP_DOWN, Ask(3, Verb.RELEASE, mine(2)))
    candidate.answer(Lease("3"))
    assert candidate.election.ended


def test_a_replica_that_does_not_lead_stops_at_once() -> None:
    candidate = Candidate()
    candidate.answer(TAKEN)
    candidate.after(CONFIG.pause)
    assert candidate.asks() is Verb.READ
    candidate.tell(Stop())
    assert candidate.said() == ()
    assert candidate.election.ended


def test_what_a_last_write_brings_is_given_up() -> None:
    candidate = Candidate()
    candidate.answer(FREE)
    candidate.tell(Stop())
    assert candidate.asks() is Verb.ACQUIRE
    candidate.answer(mine(2))
    assert candidate.said() == (Ask(3, Verb.RELEASE, mine(2)),)
    assert not candidate.acting()


@pytest.mark.parametrize("error", [Conflict(""), ApiUnavailable(""), AccessDenied("")])
def test_a_lease_that_cannot_be_given_up_is_left_to_run_out(error: ClusterError) -> None:
    candidate = leader()
    candidate.tell(Stop())
    candidate.fail(error)
    assert candidate.election.ended
    candidate.tell(Tick())
    assert candidate.said() == ()


def test_a_stop_without_answers_ends_in_time() -> None:
    candidate = leader()
    candidate.after(CONFIG.pause)
    candidate.tell(Stop())
    candidate.after(CONFIG.patience)
    assert candidate.asks() is Verb.RELEASE
    candidate.after(CONFIG.patience)
    assert candidate.election.ended
