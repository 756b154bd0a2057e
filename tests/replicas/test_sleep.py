"""The questions about a standby, and the fences that answers put up: every transition, no clock."""

import pytest

from gateway.replicas.sleep import (
    ASKING,
    FENCE,
    WRITING,
    Fences,
    Inquiry,
    Standing,
    Used,
    Word,
    time_left,
)

UID, NEEDED = "uid-1", 300.0


def fenced(question: str = "q1", now: float = 0.0) -> Fences:
    fences = Fences()
    assert fences.ask(question, UID, 400.0, NEEDED, now) is Word.UNUSED
    return fences


def ask(fences: Fences, question: str, now: float, unused_for: float = 400.0) -> object:
    return fences.ask(question, UID, unused_for, NEEDED, now)


# ---- asked ------------------------------------------------------------------------------------


@pytest.mark.parametrize("unused_for", [0.0, 12.5, 299.9])
def test_who_has_used_it_since_says_no_and_how_long_ago_and_fences_nothing(
    unused_for: float,
) -> None:
    fences = Fences()
    assert ask(fences, "q1", 0.0, unused_for) == Used(unused_for)
    assert not fences.by_uid


def test_who_has_not_says_yes_and_fences_for_longer_than_asking_and_writing_take() -> None:
    fence = fenced(now=10.0).by_uid[UID]
    assert fence.word_due(10.0) == FENCE
    assert FENCE > 1.1 * (ASKING + WRITING)
    assert fence.word_due(10.0 + FENCE) == 0.0


def test_a_question_that_is_asked_twice_is_answered_twice_and_the_fence_stands_no_longer() -> None:
    fences = fenced(now=0.0)
    assert ask(fences, "q1", 3.0) is Word.UNUSED
    assert fences.by_uid[UID].word_due(3.0) == FENCE - 3.0


def test_who_came_to_wait_since_makes_the_second_answer_a_no() -> None:
    assert ask(fenced(), "q1", 1.0, unused_for=0.0) == Used(0.0)


def test_the_same_question_after_its_fence_was_given_up_is_too_late() -> None:
    assert ask(fenced(), "q1", FENCE) is Word.LATE


def test_another_question_is_a_no_while_one_stands_and_a_yes_after_that() -> None:
    fences = fenced()
    assert ask(fences, "q2", FENCE - 0.01) is Word.ASKED
    assert ask(fences, "q2", FENCE) is Word.UNUSED
    assert fences.by_uid[UID].word_due(FENCE) == FENCE


def test_a_question_that_was_settled_before_it_came_is_too_late() -> None:
    fences = Fences()
    fences.settle("q1", "another", None, known=True)
    assert ask(fences, "q1", 0.0) is Word.LATE
    assert not fences.by_uid


def test_settled_questions_are_not_remembered_for_ever() -> None:
    fences = Fences()
    fences.settle("q1", UID, None, known=True)
    for number in range(1024):
        fences.settle(f"other-{number}", UID, None, known=True)
    assert ask(fences, "q1", 0.0) is Word.UNUSED


# ---- settled ----------------------------------------------------------------------------------


def test_a_standby_that_never_will_be_opens_at_once() -> None:
    fences = fenced()
    assert fences.settle("q1", UID, None, known=True)
    assert not fences.by_uid


def test_a_standby_that_was_written_opens_by_news_of_it_and_not_by_older_news() -> None:
    fences = fenced()
    assert not fences.settle("q1", UID, 7, known=True)
    assert fences.by_uid[UID].word_due(0.0) == 0.0
    assert not fences.heard(UID, 6)
    assert fences.heard(UID, 7)
    assert not fences.by_uid


def test_one_that_nobody_can_tell_of_opens_by_no_news_but_by_a_claim() -> None:
    fences = fenced()
    assert not fences.settle("q1", UID, None, known=False)
    assert not fences.heard(UID, 10**9)
    assert fences.claimed(UID, fences.by_uid[UID], 0.0)
    assert not fences.by_uid


def test_news_opens_nothing_while_the_word_is_due() -> None:
    fences = fenced()
    assert not fences.heard(UID, 10**9)
    assert UID in fences.by_uid


def test_the_word_on_another_question_lifts_no_fence() -> None:
    fences = fenced("q2")
    assert not fences.settle("q1", UID, None, known=True)
    assert UID in fences.by_uid


def test_a_word_that_comes_after_the_wait_for_it_is_heeded_still() -> None:
    fences = fenced()
    assert fences.by_uid[UID].word_due(FENCE + 1) == 0.0
    assert fences.settle("q1", UID, None, known=True)


# ---- in doubt ---------------------------------------------------------------------------------


def test_a_fence_whose_word_did_not_come_stays_until_a_claim() -> None:
    fences = fenced()
    assert not fences.heard(UID, 10**9)
    assert not fences.claimed(UID, fences.by_uid[UID], FENCE - 0.01)
    assert fences.claimed(UID, fences.by_uid[UID], FENCE)


def test_a_claim_of_before_another_question_says_nothing_of_that_one() -> None:
    fences = fenced()
    before = fences.by_uid[UID]
    ask(fences, "q2", FENCE)
    fences.settle("q2", UID, None, known=False)
    assert not fences.claimed(UID, before, FENCE)
    assert UID in fences.by_uid


@pytest.mark.parametrize("told", [False, True])
def test_a_no_to_the_next_question_leaves_the_doubt_about_the_one_before(told: bool) -> None:
    fences = fenced()
    if told:
        fences.settle("q1", UID, None, known=False)
    ask(fences, "q2", FENCE)
    assert not fences.settle("q2", UID, None, known=True)
    assert fences.by_uid[UID].doubted


def test_a_standby_that_was_written_since_ends_the_doubt_about_the_one_before() -> None:
    fences = fenced()
    ask(fences, "q2", FENCE)
    fences.settle("q2", UID, 9, known=True)
    assert fences.heard(UID, 9)


def test_what_news_were_to_be_waited_for_are_waited_for_after_the_next_question_too() -> None:
    fences = fenced()
    fences.settle("q1", UID, 7, known=True)
    assert ask(fences, "q2", 1.0) is Word.UNUSED
    assert not fences.settle("q2", UID, None, known=True)
    assert fences.heard(UID, 7)


def test_news_that_come_while_the_next_question_stands_are_not_waited_for_again() -> None:
    fences = fenced()
    fences.settle("q1", UID, 7, known=True)
    ask(fences, "q2", 1.0)
    assert not fences.heard(UID, 8)
    assert fences.settle("q2", UID, None, known=True)


# ---- gone -------------------------------------------------------------------------------------


def test_the_fence_of_what_is_gone_is_lifted_unless_word_is_due() -> None:
    fences = fenced()
    assert fences.forget(UID, 1.0) == []
    assert UID in fences.by_uid
    assert fences.forget("another", FENCE) == [UID]
    assert not fences.by_uid
    assert fences.forget(UID, FENCE) == []


def test_what_seemed_to_be_gone_and_is_back_keeps_its_fence() -> None:
    fences = fenced()
    fences.forget(UID, 1.0)
    fences.heard(UID, 5)
    assert fences.forget("another", FENCE) == []
    assert UID in fences.by_uid


def test_a_word_on_what_is_gone_is_heeded_and_leaves_nothing_behind() -> None:
    fences = fenced()
    fences.forget(UID, 1.0)
    assert fences.settle("q1", UID, None, known=True)
    assert fences.forget("another", 1.0) == []

    ask(fences, "q2", 2.0)
    fences.settle("q2", UID, 7, known=True)
    assert fences.forget(UID, 2.0) == [UID]


# ---- the leader -------------------------------------------------------------------------------


def inquiry(*replicas: str) -> Inquiry:
    return Inquiry(100.0, frozenset(replicas))


def test_it_is_granted_when_the_last_has_said_yes() -> None:
    asked = inquiry("a", "b").answered("a", Word.UNUSED)
    assert asked.standing(100.5) is Standing.OPEN
    assert asked.answered("b", Word.UNUSED).standing(100.5) is Standing.GRANTED


def test_a_yes_of_nobody_who_was_asked_counts_nothing_nor_does_a_second_one() -> None:
    asked = inquiry("a", "b").answered("c", Word.UNUSED).answered("a", Word.UNUSED)
    assert asked.answered("a", Word.UNUSED).standing(100.5) is Standing.OPEN
    assert asked.answered("a", Used(0.0)).standing(100.5) is Standing.OPEN


@pytest.mark.parametrize("word", [one for one in Word if one is not Word.UNUSED])
def test_every_other_word_is_a_no_and_says_who_said_it(word: Word) -> None:
    asked = inquiry("a", "b").answered("a", word).answered("b", Word.UNUSED)
    assert asked.standing(100.5) is Standing.REFUSED
    assert (asked.no, asked.by, asked.used_ago) == (word.value, "a", None)


def test_of_several_noes_the_first_is_told_and_the_last_use() -> None:
    asked = inquiry("a", "b", "c")
    asked = asked.answered("a", Used(30.0)).answered("b", Word.UNKNOWN).answered("c", Used(4.0))
    assert (asked.no, asked.by, asked.used_ago) == ("used", "a", 4.0)


def test_answers_that_took_too_long_grant_nothing() -> None:
    asked = inquiry("a").answered("a", Word.UNUSED)
    assert asked.standing(100.0 + ASKING - 0.01) is Standing.GRANTED
    assert asked.standing(100.0 + ASKING) is Standing.REFUSED


def test_the_time_to_write_ends_before_the_first_fence_does() -> None:
    first_fence = 100.0 + FENCE
    assert time_left(100.0, 100.0) == ASKING + WRITING
    assert time_left(100.0, first_fence) < 0.0
    assert 100.0 + time_left(100.0, 100.0) < first_fence
