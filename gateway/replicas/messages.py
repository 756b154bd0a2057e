"""What an election is told and what it says: events and commands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gateway.cluster.lease import Lease
    from gateway.sandbox.errors import ClusterError

# ---- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """The request of this number was answered by the Lease as it is then; None: there is none."""

    number: int
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The request of this number came to nothing, or nobody knows to what."""

    number: int
    error: ClusterError


@dataclass(frozen=True, slots=True)
class Tick:
    """It is `due`."""


@dataclass(frozen=True, slots=True)
class Stop:
    """This replica ends: it may act no more, and what it holds is to be given up."""


Event: TypeAlias = Answered | Failed | Tick | Stop


# ---- commands ---------------------------------------------------------------------------------


class Verb(Enum):
    """What to ask the API for."""

    READ = "read"
    CREATE = "create"
    ACQUIRE = "acquire"
    RENEW = "renew"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Ask:
    """Make this request, and write only over this Lease; answer with Answered or Failed.

    There is one request at a time: a new one takes the place of one that is not answered yet.
    """

    number: int
    verb: Verb
    over: Lease | None


class Change(Enum):
    """What to tell those who act for the leader."""

    LEAD = "lead"
    STEP_DOWN = "step_down"


Command: TypeAlias = Ask | Change
