"""What replicas say to each other, as JSON.

Every message names the protocol. One of another protocol, or one that cannot be read, says nothing:
who asked takes that for a no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import msgspec

from gateway.replicas.sleep import Used, Word
from gateway.sandbox.model import Key  # noqa: TC001 - msgspec reads it when it runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.replicas.sleep import Answer

#: Also of another protocol is who has other durations than those of `sleep`.
PROTOCOL: Final = 1

ASK_PATH: Final = "/api/v1/peers/ask"
SETTLE_PATH: Final = "/api/v1/peers/settle"
USES_PATH: Final = "/api/v1/peers/uses"
FAREWELL_PATH: Final = "/api/v1/peers/farewell"

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Unreadable(ValueError):
    """What came is no message of this protocol."""


@dataclass(frozen=True, slots=True)
class Item:
    """A sandbox that is asked about: has nobody used it for `needed` seconds?"""

    key: Key
    uid: _Name
    needed: _Seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the standby of a sandbox.

    It was written as `version`, or never will be (None). Not `known`: nobody can tell.
    """

    key: Key
    uid: _Name
    version: _Count | None
    known: bool


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What every message says."""

    protocol: Literal[1]


class Question(Message, frozen=True):
    """May these sandboxes sleep?"""

    question: _Name
    items: tuple[Item, ...]


class Settlement(Message, frozen=True):
    """The question is over, and this came of it."""

    question: _Name
    outcomes: tuple[Outcome, ...]


class UseQuestion(Message, frozen=True):
    """How is a sandbox used?"""

    uid: _Name


class Farewell(Message, frozen=True):
    """A replica leaves; so many seconds ago it used these sandboxes, by uid."""

    uses: dict[_Name, _Seconds]


class Reply(Message, frozen=True):
    """What every answer says: whose it is."""

    replica: _Name


class Answers(Reply, frozen=True):
    """What a replica answers, by uid: a word, or how many seconds ago it was used."""

    answers: dict[str, Word | _Seconds]

    def of(self, uid: str) -> Answer:
        """Return the answer about one sandbox."""
        said = self.answers.get(uid, Word.SILENT)
        return said if isinstance(said, Word) else Used(said)


class Heard(Reply, frozen=True):
    """The word was taken."""


class Use(Reply, frozen=True):
    """How many use it there, and for how many seconds nobody has (None: it is not known there)."""

    count: _Count
    unused_for: _Seconds | None


MessageT = TypeVar("MessageT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Reply)


def answers_of(replica: str, answers: Mapping[str, Answer]) -> Answers:
    """Return a replica's answers by uid as a message."""
    plain = {uid: one if isinstance(one, Word) else one.seconds_ago for uid, one in answers.items()}
    return Answers(protocol=PROTOCOL, replica=replica, answers=plain)


def encode(message: Message) -> bytes:
    """Return a message as JSON."""
    return msgspec.json.encode(message)


def decode(data: bytes, kind: type[MessageT]) -> MessageT:
    """Read a message; raise Unreadable."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable("this is no message between replicas of this version") from error
