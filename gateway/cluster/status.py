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
    by reason. `last_error` is for operators: it quotes the API server, never a credential.
    """

    name: str
    phase: Phase
    since: float
    synced: bool = False
    last_contact: float | None = None
    lists: int = 0
    restarts: Mapping[Reason, int] = field(default_factory=dict)
    last_error: str = ""
