"""What became of each request of a load: whether its own sandbox answered it, and if not, why not.

Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Kind(Enum):
    """How a client talks."""

    GET = "get"
    ECHO = "echo"
    """A POST whose body comes back."""
    EVENTS = "events"
    """Server-sent events, some a second."""
    SOCKET = "socket"
    """One message of a WebSocket and its answer; also the opening of one, and its end."""


class Outcome(Enum):
    """What a client saw."""

    RIGHT = "right"
    """The whole answer, by the sandbox that was asked."""
    REFUSED = "refused"
    """An answer of the gateway itself, with a reason."""
    RESTARTED = "restarted"
    """A WebSocket was told to come again (1012)."""
    LOST = "lost"
    """The connection ended before the answer was whole."""
    UNANSWERED = "unanswered"
    """The client's patience ended first."""
    UNCONNECTED = "unconnected"
    """No connection to the gateway could be made: nothing was sent."""
    WRONG = "wrong"
    """Another sandbox answered, or what came is not what was asked for."""


@dataclass(frozen=True, slots=True)
class Record:
    """One request. `gateway`: its data port. `reason`: what the gateway says, or what failed.

    `told_by`: the sandbox and the pod that say they answered, empty if none did.
    """

    kind: Kind
    number: str
    sandbox: str
    gateway: int
    sent: float
    ended: float
    outcome: Outcome
    status: int = 0
    reason: str = ""
    told_by: tuple[str, str] = ("", "")
    cold: bool = False

    @property
    def seconds(self) -> float:
        return self.ended - self.sent


@dataclass(slots=True)
class Ledger:
    """All records of a load: counted, and kept whole where not everything was right."""

    counts: Counter[tuple[Kind, Outcome]] = field(default_factory=Counter)
    odd: list[Record] = field(default_factory=list)
    cold: int = 0
    """Right answers to requests that had waited for their sandbox."""
    slowest: float = 0.0
    """The longest that a right answer took, in seconds."""
    _right_by_second: Counter[int] = field(default_factory=Counter)

    def note(self, record: Record) -> None:
        self.counts[record.kind, record.outcome] += 1
        if record.outcome is Outcome.RIGHT:
            self.cold += record.cold
            self.slowest = max(self.slowest, record.seconds)
            self._right_by_second[int(record.ended)] += 1
        else:
            self.odd.append(record)

    def count(self, *outcomes: Outcome, kinds: Iterable[Kind] = Kind) -> int:
        """Return how many ended so; without outcomes, how many ended."""
        chosen = set(kinds)
        return sum(
            count
            for (kind, outcome), count in self.counts.items()
            if kind in chosen and (not outcomes or outcome in outcomes)
        )

    @property
    def right(self) -> int:
        return self.count(Outcome.RIGHT)

    def right_between(self, begin: float, end: float) -> int:
        """Return how many were answered right from one moment to another, to the second."""
        return sum(self._right_by_second[second] for second in range(int(begin), int(end) + 1))

    def failed(self) -> list[Record]:
        """Return all that were neither answered right nor told to come again."""
        return [one for one in self.odd if one.outcome is not Outcome.RESTARTED]

    def summary(self) -> dict[str, int]:
        """Return the count of each outcome; refusals and losses apart by reason."""
        told = Counter(
            f"{one.outcome.value}: {one.reason}" if one.reason else one.outcome.value
            for one in self.odd
        )
        return {Outcome.RIGHT.value: self.right, **dict(told.most_common())}
