"""A sandbox's responses, legal and not, judged by two parsers of other people."""

from __future__ import annotations

from .answering import Answers, conversations
from .exploring import explore
from .replies import ILLEGAL_REPLIES
from .rig import rig


async def test_responses_come_through_whole_or_are_seen_to_be_broken() -> None:
    """RFC 9112 §6.3 and 8; what is left over of one never begins the next (§9.2)."""
    answers = Answers()
    async with rig(answers.script) as made:
        await explore(made, answers.check, conversations, 60)


async def test_no_illegal_response_is_passed_on_as_a_whole_one() -> None:
    """RFC 9112 §6.3: it is a 502, or broken off, and its connection serves nobody else."""
    answers = Answers()
    async with rig(answers.script) as made:
        for reply in ILLEGAL_REPLIES:
            await made.judged(answers.check(made, [(reply, b"1.1")]))
