"""Latencies as a load saw them, and what is said of many. Pure. Times in seconds."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from e2e.bench.model import rank

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    #: When something was due, on the monotonic clock, and how long after that it was done.
    Sample = Sequence[float]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one load saw of its requests and of its probes.

    `late` are the latenesses of the load itself: so much too long may a latency be.
    """

    requests: Sequence[Sample]
    probes: Sequence[Sample]
    late: Sequence[float]
    failures: Sequence[str]

    @property
    def usual_lateness(self) -> float:
        """Return the lateness that only one in a hundred exceeds."""
        return rank(sorted(self.late), 0.99)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        return cls(told["requests"], told["probes"], told["late"], told["failures"])

    def as_json(self) -> dict[str, Any]:
        """Return it as values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time on the monotonic clock, and the gateway's processor time in it."""

    begin: float
    end: float
    cpu: float

    @property
    def cpu_share(self) -> float:
        """Return which share of one core the gateway used."""
        return self.cpu / (self.end - self.begin)


@dataclass(frozen=True, slots=True)
class Latency:
    """What is said of many latencies."""

    p50: float
    p99: float
    worst: float
    count: int


def latency(samples: Sequence[Sample], window: Window) -> Latency:
    """Return the latencies of what fell due in a window; raise ValueError if nothing did."""
    found = sorted(took for due, took in samples if window.begin <= due < window.end)
    if not found:
        raise ValueError("nothing fell due in this window")
    return Latency(rank(found, 0.5), rank(found, 0.99), found[-1], len(found))


def median_of(rounds: Sequence[Latency], figure: Callable[[Latency], float]) -> float:
    """Return the median of one figure over the rounds."""
    return statistics.median(map(figure, rounds))
