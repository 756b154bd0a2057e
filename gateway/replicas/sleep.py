"""May a sandbox be put to sleep? What the leader asks each replica, and what a replica then keeps.

The leader asks every replica that may be serving. A replica that has used the sandbox since says
no, and for how long it has not. One that says yes *fences* the sandbox: requests that come to it
from then on wait until it is known what became of the standby. Silence is a no.

What makes it safe, whatever is slow, lost or dies:

- a replica that said yes lets no request through before it has the leader's word (the standby was
  written as this version, or never will be), or has made sure for itself. For that word it waits
  `FENCE` by its own clock, longer than anybody may take to write;
- to make sure is to *claim* the sandbox: a write of its own over it. A standby is written only over
  what was read before it, so one that is still on its way after the claim never lands, however
  long a network or a machine that stood still has kept it;
- the leader writes only if every yes came within `ASKING` after it began to ask, and within
  `WRITING` from then on (`time_left`): judged once more over what it has just read;
- a replica that the leader did not know of, since it is new, neither lists nor serves anything in
  the first `FENCE` of its life. It has no fence to claim: this alone rests on time, and on a
  request to the API being worked on within the second and more by which `FENCE` is longer;
- so a standby is written only while every replica holds its requests back, and none is under way.

Durations are by each machine's own clock; `FENCE` has a margin for clocks of different rates.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

#: Seconds: how long answers are waited for, how long the API may take to write, and how long a
#: replica waits for word of it: both, with a fifth for clocks that differ and timers that are late.
ASKING: Final = 1.0
WRITING: Final = 5.0
FENCE: Final = (ASKING + WRITING) * 1.2

#: Questions remembered as settled. One that was settled so many ago is not on its way any more.
_SETTLED: Final = 1024


def time_left(began: float, now: float) -> float:
    """Return for how many seconds a standby may be written by who began to ask at `began`.

    Both by a clock that goes on while the machine is suspended, since the others' do.
    """
    return began + ASKING + WRITING - now


# ---- answers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Used:
    """A no: the sandbox was last used so many seconds ago (0: it is used now)."""

    seconds_ago: float


class Word(Enum):
    """An answer that needs no number."""

    #: A yes: nobody used it for as long as the question says, and now nobody can.
    UNUSED = "unused"
    #: A no: what is not known here may be used here.
    UNKNOWN = "unknown"
    #: A no: another question about it stands, and a fence cannot be lifted by two.
    ASKED = "asked"
    #: A no: the question was settled before it came, or is over otherwise.
    LATE = "late"
    #: A no: nothing was said, or nothing that can be read.
    SILENT = "silent"


Answer = Used | Word


# ---- what a replica keeps ---------------------------------------------------------------------


@dataclass(slots=True)
class Fence:
    """Why requests to a sandbox wait, and for what.

    Until `until` for the word on `question`, unless that is `settled`. Then for news of the version
    `opens_at` or a later one. If it is `doubted` that a standby can still land: for a claim.
    """

    question: str
    until: float
    settled: bool = False
    doubted: bool = False
    opens_at: int | None = None

    def word_due(self, now: float) -> float:
        """Return for how many seconds the word on its question is waited for; 0: no more."""
        return 0.0 if self.settled else max(self.until - now, 0.0)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.settled and not self.doubted and self.opens_at is None


class Fences:
    """The sandboxes of one replica to which requests wait now.

    `by_uid` is to be read only. What ends waits tells by True that it did.
    """

    def __init__(self) -> None:
        self.by_uid: dict[str, Fence] = {}
        self._settled: OrderedDict[str, None] = OrderedDict()
        self._gone: set[str] = set()

    def ask(self, question: str, uid: str, unused_for: float, needed: float, now: float) -> Answer:
        """Answer a question about a sandbox that this replica has not used for `unused_for`."""
        if question in self._settled:
            return Word.LATE
        fence = self.by_uid.get(uid)
        if fence is not None and fence.question != question and fence.word_due(now):
            return Word.ASKED
        if unused_for < needed:
            return Used(unused_for)
        if fence is None:
            self.by_uid[uid] = Fence(question, now + FENCE)
        elif fence.question != question:
            self.by_uid[uid] = _following(fence, question, now)
        elif not fence.word_due(now):
            return Word.LATE
        return Word.UNUSED

    def settle(self, question: str, uid: str, version: int | None, *, known: bool) -> bool:
        """Take the asker's word: the standby was written as `version`, or never will be (None).

        Not `known`: the asker cannot tell.
        """
        self._remember(question)
        fence = self.by_uid.get(uid)
        if fence is None or fence.question != question:
            return False
        fence.settled = True
        if not known:
            fence.doubted = True
        elif version is not None:
            # What was on its way before can land no more: this was written over what it was for.
            fence.doubted = False
            fence.opens_at = max(version, fence.opens_at or 0)
        return self._opened_if_over(uid, fence)

    def heard(self, uid: str, version: int) -> bool:
        """Take note that the sandbox is known as it was at `version`."""
        self._gone.discard(uid)
        fence = self.by_uid.get(uid)
        if fence is None or fence.opens_at is None or version < fence.opens_at:
            return False
        fence.opens_at = None
        return self._opened_if_over(uid, fence)

    def claimed(self, uid: str, fence: Fence, now: float) -> bool:
        """Take note that the sandbox was claimed, after the word for this fence was waited for."""
        if self.by_uid.get(uid) is not fence or fence.word_due(now):
            return False
        self._open(uid)
        return True

    def forget(self, uid: str, now: float) -> list[str]:
        """Take note that there is no such sandbox any more; return whose fences are lifted so.

        One about which a question stands keeps its fence until then: where it seems to be gone only
        because its API is, it comes back.
        """
        if uid in self.by_uid:
            self._gone.add(uid)
        over = [each for each in self._gone if not self._is_awaited(each, now)]
        for each in over:
            self._open(each)
        return over

    def _is_awaited(self, uid: str, now: float) -> bool:
        fence = self.by_uid.get(uid)
        return fence is not None and fence.word_due(now) > 0

    def _opened_if_over(self, uid: str, fence: Fence) -> bool:
        if fence.is_over:
            self._open(uid)
        return fence.is_over

    def _open(self, uid: str) -> None:
        self.by_uid.pop(uid, None)
        self._gone.discard(uid)

    def _remember(self, question: str) -> None:
        self._settled[question] = None
        if len(self._settled) > _SETTLED:
            self._settled.popitem(last=False)


def _following(fence: Fence, question: str, now: float) -> Fence:
    """Return the fence of another question; what was not known of the one before is not yet."""
    doubted = fence.doubted or not fence.settled
    return Fence(question, now + FENCE, doubted=doubted, opens_at=fence.opens_at)


# ---- what the leader keeps --------------------------------------------------------------------


class Standing(Enum):
    """How an inquiry stands."""

    OPEN = "open"
    GRANTED = "granted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Inquiry:
    """The leader's question about one sandbox, to `awaited` replicas, begun at `began`.

    `no` is the first no, as it is counted, and `by` the replica that said it. `used_ago` is the
    least that any replica said.
    """

    began: float
    awaited: frozenset[str]
    no: str = ""
    by: str = ""
    used_ago: float | None = None

    def answered(self, replica: str, answer: Answer) -> Inquiry:
        """Return the inquiry after an answer; a second one from the same replica counts no more."""
        if replica not in self.awaited:
            return self
        after = replace(self, awaited=self.awaited - {replica})
        if answer is Word.UNUSED:
            return after
        if not self.no:
            after = replace(after, no=_name_of(answer), by=replica)
        if isinstance(answer, Used):
            ago = answer.seconds_ago
            least = ago if self.used_ago is None else min(ago, self.used_ago)
            after = replace(after, used_ago=least)
        return after

    def standing(self, now: float) -> Standing:
        """Return whether the standby may be written at `now`."""
        if self.no:
            return Standing.REFUSED
        if now >= self.began + ASKING:
            return Standing.REFUSED  # also if all have answered: their fences count from then
        return Standing.OPEN if self.awaited else Standing.GRANTED


def _name_of(answer: Answer) -> str:
    return "used" if isinstance(answer, Used) else answer.value
