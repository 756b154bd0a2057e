"""What is known about one reflector, for readiness, metrics and explanations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cluster.recovery import Phase, Reason


@dataclass(frozen=True, slots=True)
class ReflectorStatus:
    """A moment of one reflector. Times are of the monotonic clock.

    `synced`: the routes were complete once, which they also are while the API is not installed.
    `last_contact` is the last answer, event or bookmark; None before the first. `restarts` counts
    by reason. `silent_for` counts seconds since the last contact, or since the start; `stale`: that
    is too long. `last_error` is for operators: it quotes the API server, never a credential.
    """

    name: str
    phase: Phase
    since: float
    synced: bool = False
    last_contact: float | None = None
    lists: int = 0
    restarts: Mapping[Reason, int] = field(default_factory=dict)
    silent_for: float = 0.0
    stale: bool = False
    last_error: str = ""

    def as_json(self) -> dict[str, object]:
        """Return what operators are told of it, as values for JSON."""
        return {
            "name": self.name,
            "phase": self.phase.value,
            "silent_seconds": round(self.silent_for, 1),
            "stale": self.stale,
            "restarts": {reason.value: count for reason, count in self.restarts.items()},
            "last_error": self.last_error or None,
        }
