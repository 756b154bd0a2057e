"""What was true when: the faults of a run, and which of them is a reason for which refusal.

Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from .ledger import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .ledger import Record


class Cause(Enum):
    """Why a request may fail. The subject is a sandbox, a gateway's data port, or nothing."""

    ASLEEP = "asleep"
    """From the wish that it sleeps to the pod that runs again."""
    LIFE_ENDS = "life ends"
    """The moment at which a pod is told to end."""
    POD_DOWN = "pod down"
    """From the pod's end to the next pod."""
    PORT_CLOSED = "port closed"
    PORT_CLOSES = "port closes"
    """Connections that its server has not accepted yet are reset by the kernel."""
    ACCEPTS_NOTHING = "accepts nothing"
    NODE_LOST = "node lost"
    API_FAULT = "API fault"
    """Gateways cannot hear or write, or not soon."""
    API_REFUSES = "API refuses"
    """It gives no answer, or one that wakes nothing, for as long as a wake is tried."""
    GATEWAY_KILLED = "gateway killed"
    GATEWAY_DRAINS = "gateway drains"
    GATEWAY_HALTED = "gateway halted"


#: Everything that makes a pod end or be out of reach while gateways may not know it yet.
_UNREACHABLE: Final = frozenset(
    {Cause.LIFE_ENDS, Cause.POD_DOWN, Cause.PORT_CLOSED, Cause.ACCEPTS_NOTHING, Cause.NODE_LOST}
)
_ENDED: Final = frozenset({Cause.ASLEEP, Cause.POD_DOWN, Cause.NODE_LOST})
_CUT: Final = frozenset({Cause.LIFE_ENDS, Cause.POD_DOWN, Cause.NODE_LOST, Cause.PORT_CLOSES})
_NOT_WOKEN: Final = (_ENDED, frozenset({Cause.API_REFUSES}))

#: The gateway's reason → the causes that make it true: one of each set.
TRUE_BECAUSE: Final[Mapping[str, tuple[frozenset[Cause], ...]]] = {
    "sandbox_unreachable": (_UNREACHABLE,),
    "upstream_reset": (_CUT,),
    "upstream_timeout": (frozenset({Cause.NODE_LOST}),),
    "wake_failed": _NOT_WOKEN,
    "wake_timeout": _NOT_WOKEN,
    "wake_overloaded": _NOT_WOKEN,
    "not_ready": (frozenset({Cause.GATEWAY_DRAINS}),),
}
#: The gateway's reason → the status that tells it.
STATUS: Final[Mapping[str, int]] = {
    "sandbox_unreachable": 502,
    "upstream_reset": 502,
    "upstream_timeout": 504,
    "wake_failed": 503,
    "wake_timeout": 503,
    "wake_overloaded": 503,
    "not_ready": 503,
}
#: The longest that an answer may take, in seconds: a gateway's patience with the longest fault.
LONGEST: Final = 45.0
#: The same for the answers to what met no fault at all.
UNDISTURBED: Final = 10.0
#: The same for what ends without an answer.
_BROKEN_BECAUSE: Final[Mapping[Outcome, frozenset[Cause]]] = {
    Outcome.LOST: _CUT | {Cause.GATEWAY_KILLED},
    Outcome.UNCONNECTED: frozenset({Cause.GATEWAY_KILLED}),
    Outcome.RESTARTED: frozenset({Cause.GATEWAY_DRAINS}),
}
_GLOBAL: Final = ""


@dataclass(slots=True)
class Span:
    """One fault, from when to when."""

    cause: Cause
    subject: str
    begin: float
    end: float = math.inf

    def close(self) -> None:
        """It is over, if it was not already."""
        self.end = min(self.end, time.monotonic())


@dataclass(slots=True)
class Timeline:
    """All faults of a run. `grace`: for how long after its end a fault may still be felt.

    While gateways cannot hear of a sandbox, its fault goes on for them.
    """

    grace: float = 3.0
    _spans: dict[str, list[Span]] = field(default_factory=dict)

    def begin(self, cause: Cause, subject: str = _GLOBAL) -> Span:
        span = Span(cause, subject, time.monotonic())
        self._spans.setdefault(subject, []).append(span)
        return span

    def excuses(self, record: Record, among: frozenset[Cause] = frozenset(Cause)) -> bool:
        """Return whether what a client saw was true, or could not be helped, at that time.

        Of causes, only these count.
        """
        at_work = self.at_work(record) & among
        if record.outcome is Outcome.RIGHT:
            return record.seconds <= (LONGEST if at_work else UNDISTURBED)
        if record.outcome is Outcome.REFUSED:
            if record.status != STATUS.get(record.reason) or record.seconds > LONGEST:
                return False
            needed = TRUE_BECAUSE.get(record.reason, (frozenset[Cause](),))
            return all(causes & at_work for causes in needed)
        return bool(_BROKEN_BECAUSE.get(record.outcome, frozenset()) & at_work)

    def known_after(self, moment: float) -> float:
        """Return by when every gateway has heard of what was changed at a moment."""
        return self._felt_until(Span(Cause.LIFE_ENDS, _GLOBAL, moment, moment))

    def at_work(self, record: Record) -> frozenset[Cause]:
        """Return the causes that concern a request and could be felt while it was under way."""
        subjects = (_GLOBAL, record.sandbox, str(record.gateway))
        spans = (span for subject in subjects for span in self._spans.get(subject, ()))
        return frozenset(
            span.cause
            for span in spans
            if span.begin <= record.ended and self._felt_until(span) >= record.sent
        )

    def _felt_until(self, span: Span) -> float:
        """Return when the last gateway has heard of a fault's end."""
        until = span.end + self.grace
        if span.cause in (Cause.API_FAULT, Cause.API_REFUSES):
            return until
        for one in self._spans.get(_GLOBAL, ()):
            if one.cause is Cause.API_FAULT and one.begin <= until <= one.end + self.grace:
                until = one.end + self.grace
        return until
